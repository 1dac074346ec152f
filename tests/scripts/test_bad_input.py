"""Bad input: one sentence on stderr, status 2, no traceback, and nothing lost."""

import errno
import os
import resource
import shutil

import pytest

from palaestra.agents.human import HumanSeat
from palaestra.envs import Match, MatchRules, ReplayWriter, Scripted, make
from palaestra.envs.errors import ContractError, PalaestraError
from palaestra.envs.match import run
from palaestra.envs.replay_lines import read_lines, seal
from palaestra.scripts.errors import sentence
from tests.scripts.cli_kit import GOLDENS, PROGRAM, call, one_sentence, spawn

CONFIG = """
name: r
model: {source: "tiny:blank"}
games: [{game: kuhn_poker}]
iterations: 1
"""


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("trian", "no such command 'trian'. Did you mean 'train'?"),
        ("--frob", "no such option: --frob."),
        ("play", "missing argument 'GAME'."),
        ("play kuhn_pokr", "unknown game 'kuhn_pokr'. Did you mean 'kuhn_poker'?"),
        ("play kuhn_poker --option veiw=terse", "Did you mean 'view'?"),
        ("play kuhn_poker --option view", "--option 'view' has no value; write it as key=value."),
        ("play kuhn_poker --option view=long", "option 'view' of kuhn_poker is 'long', expected "),
        ("play kuhn_poker -o view=terse -o view=words", "--option 'view' is given twice"),
        ("play kuhn_poker --seats random", "kuhn_poker has 2 players, but --seats names 1 (random)"),
        ("play kuhn_poker --seats random,random,random", "but --seats names 3 (random, random, random)"),
        ("play kuhn_poker --seats randm,random", "unknown seat 'randm'. Did you mean 'random'?"),
        ("play kuhn_poker --seats tiny:kuhm,random", "Did you mean 'kuhn'?"),
        ("play tic_tac_toe --seats mcts:many,random", "seat 'mcts:many' cannot have the parameter 'many'"),
        ("play kuhn_poker --seats mcts,random", "kuhn_poker hides"),
        ("play kuhn_poker --seed soon", "invalid value for '--seed'"),
        ("play kuhn_poker --games 0", "invalid value for '--games'"),
        ("play kuhn_poker --visibility all", "invalid value for '--visibility'"),
        ("play kuhn_poker --visibility monitor", "--visibility monitor and --monitor PLAYER go together"),
        ("play kuhn_poker --visibility monitor --monitor 3 --seats random,random", "kuhn_poker has players 1 to 2"),
        ("envs ches", "Did you mean 'chess'?"),
        ("envs openspiel/leduc_pokr", "openspiel/leduc_poker"),
        ("replay shw", "Did you mean 'show'?"),
        ("replay show nothing.jsonl", "replay nothing.jsonl does not exist"),
        ("replay resume nothing.jsonl", "replay nothing.jsonl does not exist"),
        ("replay verify .", "folder . holds no replays"),
        ("replay record-goldens ches", "Did you mean 'chess'?"),
        ("models path tiny:kuhm", "Did you mean 'kuhn'?"),
        ("models fetch smollm", "Did you mean 'smollm2'?"),
        ("train missing.yaml", "config file 'missing.yaml' does not exist"),
        ("train r.yaml --set modle.source=x", "Did you mean 'model'?"),
        ("train r.yaml --set iterations=many", "iterations: input should be a valid integer"),
        ("train r.yaml --set iterations", "--set 'iterations' has no value"),
        ("resume nowhere", "nowhere is no run folder"),
        ("report nowhere", "nowhere is no run folder"),
        ("evaluate tiny:blank kuhn_pokr", "Did you mean 'kuhn_poker'?"),
        ("evaluate tiny:blnk kuhn_poker --pairs 1", "Did you mean 'blank'?"),
        ("evaluate tiny:blank kuhn_poker --pairs 1 --opponent randm", "Did you mean 'random'?"),
        ("experiment kuhm", "Did you mean 'kuhn'?"),
        ("bench env", "Did you mean 'envs'?"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(command, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(CONFIG)
    words = command.split()
    result = call(*words)
    assert result.exit_code == 2
    named = [word for word in words[:2] if word in {"replay", "models", words[0]} or words[0] in {"replay", "models"}]
    group = words[0] in {"trian", "--frob"} or words[:2] == ["replay", "shw"]
    assert said in one_sentence(result, " ".join(["palaestra", *(named[:-1] if group else named)]))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("loss.clip=1", "Did you mean 'clip_"),
        ("model.source=tiny:kuhm", "Did you mean 'kuhn'?"),
        ("model.source=tiny:blank@nowhere", "unknown adapter folder 'nowhere'"),
        ("games.0.game=kuhn", "Did you mean 'kuhn_poker'?"),
        ("games.0.options.veiw=terse", "Did you mean 'view'?"),
        ("games.0.opponents.randm=1", "Did you mean 'random'?"),
        ("evaluation.opponent=randm", "Did you mean 'random'?"),
        ("credit.rule=role_baselin", "Did you mean 'role_baseline'?"),
    ],
)
def test_nothing_is_made_when_a_name_in_a_configuration_is_wrong(setting, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(CONFIG)
    result = call("train", "r.yaml", "--set", setting)
    assert result.exit_code == 2
    assert said in one_sentence(result, "palaestra train")
    assert [path.name for path in tmp_path.iterdir()] == ["r.yaml"]


# ---------------------------------------------------------------------- replays


@pytest.fixture
def golden(tmp_path):
    return shutil.copy(GOLDENS / "tic_tac_toe-played.jsonl", tmp_path / "game.jsonl")


def test_an_edited_replay_is_refused_and_the_line_named(golden):
    text = golden.read_bytes()
    golden.write_bytes(text.replace(b'"action":"5"', b'"action":"6"', 1))
    assert golden.read_bytes() != text
    assert "game.jsonl, line " in one_sentence(call("replay", "show", golden), "palaestra replay show")


def test_a_replay_of_a_newer_schema_is_refused(golden):
    previous, lines = "", []
    for line in read_lines(golden):
        previous, sealed = seal(previous, {**line, "schema": 99} if line["type"] == "header" else line)
        lines.append(sealed)
    golden.write_bytes(b"".join(lines))
    assert "99" in one_sentence(call("replay", "show", golden), "palaestra replay show")


def test_a_replay_torn_in_its_first_line_is_refused(golden):
    golden.write_bytes(golden.read_bytes()[:50])
    assert "ends inside its first line" in one_sentence(call("replay", "show", golden), "palaestra replay show")


def test_a_replay_torn_in_its_last_line_is_shown_with_a_note(golden):
    golden.write_bytes(golden.read_bytes()[:-20])
    done = spawn("replay", "show", golden)
    assert done.returncode == 0
    assert done.stderr.startswith("palaestra: note: ")
    assert len(done.stderr.splitlines()) == 1
    assert "The record has no end" in done.stdout


def test_verify_looks_at_all_files_and_names_those_that_differ(golden, tmp_path):
    (tmp_path / "a.jsonl").write_text("no replay\n")
    previous, lines = "", []
    for line in read_lines(golden):
        changed = {**line, "hash": 16 * "0"} if line.get("turn") == 2 else line
        previous, sealed = seal(previous, changed)
        lines.append(sealed)
    (tmp_path / "b.jsonl").write_bytes(b"".join(lines))
    result = call("replay", "verify", tmp_path)
    assert result.exit_code == 1
    assert result.stdout.startswith("1 of 3 replays verified")
    faults = result.stderr.splitlines()
    assert len(faults) == 2
    assert "a.jsonl" in faults[0]
    assert "b.jsonl, turn 3" in faults[1]


def test_a_record_takes_the_place_of_no_file_unless_it_is_told_to(tmp_path, golden):
    before = golden.read_bytes()
    again = ("play", "tic_tac_toe", "--seats", "random,random", "--replay", golden)
    assert "is there already; name another file" in one_sentence(call(*again), "palaestra play")
    into_itself = ("replay", "resume", golden, "--turn", "1", "--seats", "random,random", "--replay", golden)
    assert "is there already" in one_sentence(call(*into_itself), "palaestra replay resume")
    measured = ("evaluate", "tiny:blank", "kuhn_poker", "--replays", tmp_path)
    assert "holds replays already" in one_sentence(call(*measured), "palaestra evaluate")
    assert golden.read_bytes() == before
    assert call(*again, "--overwrite").exit_code == 0
    assert golden.read_bytes() != before


def test_a_finished_game_is_resumed_from_a_turn_only(golden):
    assert "is of a finished game; --turn N" in one_sentence(
        call("replay", "resume", golden), "palaestra replay resume"
    )


def test_a_recorded_seat_that_is_nowhere_is_named_with_the_cure(tmp_path):
    path = tmp_path / "game.jsonl"
    seats = [Scripted("1"), Scripted("2")]
    seats[0].name = "run@3"
    run(Match(make("tic_tac_toe"), seats, MatchRules(max_turns=2), recorder=ReplayWriter(path)).play())
    said = one_sentence(call("replay", "resume", path, "--turn", "2"), "palaestra replay resume")
    assert "the recorded seat 'run@3' cannot be taken here; name the players with --seats" in said


def test_verify_says_which_games_have_no_end(golden):
    golden.write_bytes(b"".join(golden.read_bytes().splitlines(keepends=True)[:-1]))
    assert "1 of 1 replays verified" in (shown := call("replay", "verify", golden).stdout)
    assert "1 without an end" in shown


def test_a_person_without_standard_input_is_told_so(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(PalaestraError, match="standard input is closed"):
        run(Match(make("tic_tac_toe"), [HumanSeat(), HumanSeat()]).play())


def test_a_turn_that_does_not_exist_cannot_be_resumed_from(golden):
    result = call("replay", "resume", golden, "--seats", "random,random", "--turn", "99")
    assert "cannot be taken up after 99" in one_sentence(result, "palaestra replay resume")


# ---------------------------------------------------------------------- the machine


def test_a_full_disk_ends_a_game_with_a_sentence():
    result = call("play", "kuhn_poker", "--seats", "random,random", "--replay", "/dev/full")
    assert result.exit_code == 2
    assert "No space left" in one_sentence(result, "palaestra play")


def test_a_file_that_may_not_grow_keeps_its_finished_turns(tmp_path):
    path = tmp_path / "game.jsonl"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # noqa: E731
    program = [PROGRAM[0], "-c", "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);" + PROGRAM[2]]
    done = spawn(
        *("play", "tic_tac_toe", "--seats", "random,random", "--replay", path), program=program, preexec_fn=limit
    )
    assert done.returncode == 2
    assert "the turns before are safe" in one_sentence(done, "palaestra play")
    assert path.stat().st_size == 2000
    assert "  1  Player 1" in spawn("replay", "show", path).stdout


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    result = call("play", "kuhn_poker", "--seats", "random,random", "--replay", tmp_path / "file" / "x.jsonl")
    assert "cannot be created" in one_sentence(result, "palaestra play")


def test_a_missing_extra_is_named_with_the_command_that_installs_it(tmp_path):
    (tmp_path / "r.yaml").write_text(CONFIG)
    program = [PROGRAM[0], "-c", "import sys; sys.modules['torch'] = None;" + PROGRAM[2]]
    done = spawn("train", "r.yaml", program=program, cwd=tmp_path)
    assert done.returncode == 2
    said = one_sentence(done, "palaestra train")
    assert said == "this needs the package torch; run `pip install -c constraints.txt -e '.[train]'`."


def test_an_adapter_for_another_base_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    (tmp_path / "palaestra.json").write_text('{"base": "0123456789abcdef"}')
    result = call("play", "kuhn_poker", "--seats", f"tiny:blank@{tmp_path},random")
    assert result.exit_code == 2
    assert "was trained on another base (fingerprint 0123456789abcdef) than tiny:blank" in result.stderr
    assert "Traceback" not in result.stderr


# ---------------------------------------------------------------------- what has a sentence, and what has not


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "`palaestra resume RUN` goes on"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x/metrics.jsonl"), 2, "runs/x/metrics.jsonl; finished"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 2, "the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 2, "the disk is full"),
        (MemoryError(), 2, "memory ran out; finished games and checkpoints are kept"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: tried 8 bytes"), 2, "memory ran out"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), 2, "memory ran out"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "/x: permission denied"),
        (
            ModuleNotFoundError("No module named 'ray.rllib'", name="ray.rllib"),
            2,
            "`pip install -c constraints.txt -e '.[train]'`",
        ),
        (ContractError("bounds", "a return is too high"), 2, "bounds: a return is too high"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_happens_to_a_run_has_a_sentence(error, status, said):
    text, found = sentence(error, "palaestra train")
    assert said in text
    assert found == status
    assert "\n" not in text


def test_the_cause_of_an_error_counts_as_well():
    outer = RuntimeError("the learner failed")
    outer.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "the disk is full" in sentence(outer, "palaestra train")[0]


@pytest.mark.parametrize(
    "error", [ValueError("x"), AssertionError(), ModuleNotFoundError(name="palaestra.x"), OSError(5, "x")]
)
def test_a_bug_has_no_sentence_and_keeps_its_traceback(error):
    assert sentence(error, "palaestra train") is None


def test_a_bug_in_a_command_is_shown_with_its_traceback(monkeypatch):
    monkeypatch.setattr("palaestra.envs.make", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call("play", "kuhn_poker", "--seats", "random,random")


def test_errors_inside_ray_are_said_as_if_they_had_happened_here():
    inner = ContractError("bounds", "a return is too high")
    remote = type("RayTaskError", (Exception,), {"__module__": "ray.exceptions", "cause": inner})("a long traceback")
    assert sentence(remote, "palaestra train")[0] == "bounds: a return is too high"


@pytest.mark.parametrize("option", ["seed=3", "id=x", "self=1"])
def test_a_seed_among_the_options_is_a_sentence(option: str) -> None:
    result = call("play", "tic_tac_toe", "--seats", "random,random", "-o", option)
    assert result.exit_code == 2
    assert "is no option of tic_tac_toe" in result.output
