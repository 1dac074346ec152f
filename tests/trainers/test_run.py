"""A run and its folder: what it leaves behind, how it is stopped, and what it says when it cannot go on."""

import json
import os
import shutil
import signal
import struct

import pytest
import yaml

from palaestra.agents.engines.base import BASE
from palaestra.agents.models.sources import ModelSource
from palaestra.envs import read_replay, verify
from palaestra.envs.errors import OptionError, PalaestraError
from palaestra.trainers.checkpoint import CheckpointError
from palaestra.trainers.cluster import ClusterError
from palaestra.trainers.config import ConfigError
from palaestra.trainers.metrics import MetricsError, MetricsLog
from palaestra.trainers.report import write_report
from palaestra.trainers.run import Interrupted, RunError, open_run, resume, train
from palaestra.trainers.summary import Score
from tests.trainers.run_kit import Watch, checkpoint_bytes, data, replay_bytes, small

pytestmark = pytest.mark.usefixtures("local_ray")


def events(folder) -> list[tuple[int, str]]:
    """Return (step, tag) of every scalar in the event files, read as the TFRecord format says."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        raw = path.read_bytes()
        while raw:
            (length,) = struct.unpack("<Q", raw[:8])
            event = Event.FromString(raw[12 : 12 + length])
            found += [(event.step, value.tag) for value in event.summary.value]
            raw = raw[16 + length :]
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory, local_ray):
    """A finished run of two games with an adapter each, its watcher, and its folder."""
    games = [data()["games"][0], {**data()["games"][0], "game": "tic_tac_toe", "options": {"view": "terse"}}]
    watch = Watch()
    folder = train(
        small(adapters="per_env", games=games, evaluation={"pairs": 2}), tmp_path_factory.mktemp("run") / "r", watch
    )
    return folder, watch


def test_a_run_leaves_all_that_it_promises(finished):
    folder, watch = finished
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.yaml", "metrics.jsonl", "tensorboard", "replays", "adapters", "checkpoints",
                     "evaluation.json", "adapter-small-kuhn_poker", "adapter-small-tic_tac_toe"}  # fmt: skip
    assert sorted(path.name for path in (folder / "adapters").iterdir()) == [
        f"small-{game}@{number}" for game in ("kuhn_poker", "tic_tac_toe") for number in range(3)
    ]
    assert len(watch.summaries) == 2
    assert set(watch.scores) == {"before", "after"}
    assert [score.games for score in watch.scores["after"]] == [4, 4]


def test_every_adapter_and_the_base_is_measured_on_every_game(finished):
    folder, _ = finished
    run = open_run(folder)
    cross = run.comparison()
    own = [f"small-{game}" for game in ("kuhn_poker", "tic_tac_toe")]
    assert cross.policies == (BASE, *own)
    assert cross.tasks == ("kuhn_poker", "tic_tac_toe")
    assert set(cross.scores) == {(policy, task) for policy in cross.policies for task in cross.tasks}
    after = [Score.from_json(one) for one in run.evaluation()["after"]]
    assert [cross.scores[adapter, task] for adapter, task in zip(own, cross.tasks, strict=True)] == after
    for (_, task), one in cross.scores.items():
        assert (one.game, one.games) == (task, 4)
    before = [Score.from_json(one) for one in run.evaluation()["before"]]
    # an adapter that was never trained says what the base says, on the same games
    assert [cross.scores[BASE, task].result for task in cross.tasks] == [one.result for one in before]
    page = write_report(folder).read_text(encoding="utf-8")
    table = page.partition("Every adapter on every game")[2].partition("</table>")[0]
    assert [row.count('<td class="n">') for row in table.split("</tr>")[1:-1]] == [2, 2, 2]
    assert table.count("trained here") == 2
    assert "base (tiny:blank)" in table


def test_a_comparison_that_was_lost_is_measured_again_and_a_damaged_one_is_said(finished, local_ray, tmp_path):
    folder = tmp_path / "r"
    shutil.copytree(finished[0], folder)
    before = (folder / "comparison.json").read_bytes()
    (folder / "comparison.json").write_text('{"base": 1')
    with pytest.raises(OptionError, match=r"comparison.json cannot be read .*; delete it, and `palaestra resume`"):
        resume(folder)
    (folder / "comparison.json").unlink()
    resume(folder)
    assert (folder / "comparison.json").read_bytes() == before


def test_every_game_of_a_run_is_a_replay_that_verifies(finished):
    folder, _ = finished
    counts = {when: len(list((folder / "replays" / when).glob("*.jsonl"))) for when in ("train", "before", "after")}
    assert counts == {"train": 12, "before": 8, "after": 8}
    for path in (folder / "replays").rglob("*.jsonl"):
        assert verify(path) > 0


def test_metrics_and_events_say_the_same_and_games_add_up(finished):
    folder, watch = finished
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [0, 1]
    for line in lines:
        assert line["games"] == 6 == line["finished"] + line["forfeited"] + line["unfinished"]
        rates = [line[f"{kind}_rate"] for kind in ("legal", "illegal", "unparsable", "truncated")]
        assert sum(rates) == pytest.approx(1)
    tags = set(events(folder))
    assert {(summary.iteration, key) for summary in watch.summaries for key in summary.flat()} <= tags


def test_the_final_adapter_is_the_last_version_and_can_be_played_with(finished):
    folder, _ = finished
    final = (folder / "adapter-small-kuhn_poker" / "adapter_model.safetensors").read_bytes()
    assert final == (folder / "adapters" / "small-kuhn_poker@2" / "adapter_model.safetensors").read_bytes()
    first = (folder / "adapters" / "small-kuhn_poker@0" / "adapter_model.safetensors").read_bytes()
    assert final != first
    ModelSource.parse(f"tiny:blank@{folder / 'adapter-small-kuhn_poker'}").load()


def test_a_finished_run_is_left_as_it_is(finished):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".jsonl", ".safetensors")}
    metrics = (folder / "metrics.jsonl").read_text()
    watch = Watch()
    resume(folder, watch)
    assert not watch.summaries
    assert "starting Ray, runners and learner" not in watch.said
    assert (folder / "metrics.jsonl").read_text() == metrics
    replays = [path for path in before if "replays" in path.parts or path.suffix == ".safetensors"]
    assert all(path.stat().st_mtime_ns == before[path] for path in replays)


def test_training_into_a_run_folder_again_is_refused(finished):
    with pytest.raises(RunError, match=r"holds a run already.*palaestra resume"):
        train(small(), finished[0])


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"is no run folder"):
        resume(tmp_path)
    (tmp_path / "config.yaml").write_text("games: [")
    with pytest.raises(PalaestraError, match=r"no valid YAML"):
        resume(tmp_path)


@pytest.mark.parametrize("text", ["", "foo", "[1]"])
def test_a_configuration_that_holds_no_keys_is_refused(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config.yaml holds .*, expected keys and values"):
        resume(tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]", '{"before": 3}', '{"before": [{}]}'])
def test_a_damaged_evaluation_is_named_before_anything_starts(finished, text):
    path = finished[0] / "evaluation.json"
    before = path.read_text()
    watch = Watch()
    try:
        path.write_text(text)
        for use in (lambda: resume(finished[0], watch), lambda: write_report(finished[0])):
            with pytest.raises(RunError, match=r"evaluation.json cannot be read .*; delete it"):
                use()
        assert not watch.summaries
    finally:
        path.write_text(before)


def test_a_run_that_could_not_begin_is_not_in_the_way_of_the_next_try(tmp_path):
    with pytest.raises(ClusterError, match=r"lower resources.runners"):
        train(small(resources={"runners": 1, "gpus_per_runner": 64}), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_two_processes_cannot_train_into_one_folder(tmp_path):
    told = []

    def second(summary):
        with pytest.raises(RunError, match=r"is in use by another process") as error:
            resume(tmp_path / "r")
        told.append(str(error.value))

    train(small(iterations=1), tmp_path / "r", Watch(second))
    assert len(told) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"optimizer": {"lr": 0.5}}, "optimizer is"),
        ({"seed": 3}, "seed is 3, but the run was trained with 0"),
        ({"model": {"source": "tiny:blank", "lora": {"rank": 3}}}, "model is"),
    ],
)
def test_an_edited_configuration_is_refused_in_one_sentence(finished, change, told):
    folder, _ = finished
    path = folder / "config.yaml"
    before = path.read_text()
    try:
        path.write_text(yaml.safe_dump({**yaml.safe_load(before), **change}))
        with pytest.raises(RunError, match=told):
            resume(folder)
    finally:
        path.write_text(before)


@pytest.mark.slow
def test_more_iterations_may_be_asked_for_later(tmp_path):
    folder = train(small(iterations=1, evaluation={"pairs": 1}), tmp_path / "r")
    path = folder / "config.yaml"
    longer = {**yaml.safe_load(path.read_text()), "iterations": 2}
    longer["optimizer"]["token_budget"] += 100
    path.write_text(yaml.safe_dump(longer))
    watch = Watch()
    resume(folder, watch)
    assert [summary.iteration for summary in watch.summaries] == [1]
    measured = [read_replay(one).episode for one in (folder / "replays" / "after").glob("*.jsonl")]
    assert {name for one in measured for name in one.seats} == {"small@2", "random"}
    final, last = folder / "adapter", folder / "adapters" / "small@2"
    assert (final / "adapter_model.safetensors").read_bytes() == (last / "adapter_model.safetensors").read_bytes()


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_serves_when_it_is_deleted(tmp_path):
    folder = train(small(), tmp_path / "r")
    damaged = folder / "checkpoints" / "00002"
    whole = checkpoint_bytes(folder, 2)
    (damaged / "tensors.safetensors").write_bytes(b"x" * 100)
    shutil.rmtree(folder / "adapter")
    with pytest.raises(CheckpointError, match=r"00002 cannot be read.*delete that folder"):
        resume(folder)
    for file in damaged.iterdir():
        file.unlink()
    damaged.rmdir()
    resume(folder)
    assert checkpoint_bytes(folder, 2) == whole


@pytest.mark.slow
def test_a_run_that_is_prolonged_keeps_the_last_value_of_its_schedules(tmp_path):
    lr = {"kind": "linear", "start": 1e-2, "end": 1e-3}
    folder = train(small(iterations=2, optimizer={"lr": lr, "token_budget": 512}), tmp_path / "r")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "iterations": 4}))
    resume(folder)
    rates = [json.loads(line)["learner"]["lr"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rates == pytest.approx([1e-2, 1e-3, 1e-3, 1e-3])


@pytest.mark.slow
def test_a_run_goes_on_from_another_working_directory(tmp_path, monkeypatch):
    (tmp_path / "model").symlink_to(ModelSource.parse("tiny:blank").fetch())
    monkeypatch.chdir(tmp_path)
    model = {"source": "./model", "lora": {"rank": 2, "alpha": 4}}
    with pytest.raises(Interrupted):
        train(small(model=model), "r", Watch(lambda summary: os.kill(os.getpid(), signal.SIGINT)))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert write_report(resume(tmp_path / "r")).is_file()


def test_of_two_that_begin_in_one_folder_the_first_is_left_alone(tmp_path):
    class Late(Watch):
        def began(self, what):
            if "looking up names" in what and not (tmp_path / "r" / "config.yaml").exists():
                train(small(iterations=1), tmp_path / "r")

    with pytest.raises(RunError, match="holds a run already"):
        train(small(iterations=2), tmp_path / "r", Late())
    assert open_run(tmp_path / "r").finished()


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
def test_one_turned_bit_in_a_checkpoint_is_found(tmp_path, name):
    folder = train(small(iterations=1), tmp_path / "r")
    path = folder / "checkpoints" / "00001" / name
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"seen") + 8 if name.endswith("json") else -1] ^= 1
    path.write_bytes(raw)
    shutil.rmtree(folder / "adapter")
    with pytest.raises(CheckpointError, match="is not as it was written"):
        resume(folder)


def test_the_first_ctrl_c_ends_the_iteration_with_a_checkpoint_and_resuming_changes_nothing(tmp_path):
    model = {"source": "tiny:blank", "lora": {"rank": 2, "alpha": 4, "dropout": 0.2}}
    config = small(iterations=3, checkpoint={"every": 3, "keep": 9}, model=model)
    straight = train(config, tmp_path / "straight")

    def stop(summary):
        if summary.iteration == 0:
            os.kill(os.getpid(), signal.SIGINT)

    watch = Watch(stop)
    with pytest.raises(Interrupted, match=r"stopped after iteration 1 of 3; `palaestra resume .*from iteration 1"):
        train(config, tmp_path / "stopped", watch)
    assert "press Ctrl-C again to stop at once" in watch.said[-1]
    assert (tmp_path / "stopped" / "checkpoints" / "00001").is_dir()
    resume(tmp_path / "stopped")
    assert checkpoint_bytes(tmp_path / "stopped", 3) == checkpoint_bytes(straight, 3)
    assert replay_bytes(tmp_path / "stopped") == replay_bytes(straight)


def test_a_second_ctrl_c_stops_at_once_and_keeps_what_is_finished(tmp_path):
    handlers = signal.getsignal(signal.SIGINT)

    def stop(summary):
        if summary.iteration == 1:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=r"stopped at once; .*from iteration 2"):
        train(small(iterations=5), tmp_path / "r", Watch(stop))
    assert signal.getsignal(signal.SIGINT) is handlers
    assert len((tmp_path / "r" / "metrics.jsonl").read_text().splitlines()) == 2
    assert len(replay_bytes(tmp_path / "r")) == 12


@pytest.mark.slow
def test_lines_and_versions_beyond_the_checkpoint_are_dropped_on_resuming(tmp_path):
    folder = train(small(), tmp_path / "r")
    whole = (folder / "metrics.jsonl").read_text()
    first = json.loads(whole.splitlines()[0])
    beyond = json.dumps({**first, "iteration": 7})
    (folder / "metrics.jsonl").write_text(f"{whole}{beyond}\n" + '{"iteration": 8, "to')
    (folder / "adapters" / "small@9").mkdir()
    shutil.rmtree(folder / "adapter")  # else the run is finished, and left as it is
    resume(folder)
    assert (folder / "metrics.jsonl").read_text() == whole
    assert not (folder / "adapters" / "small@9").exists()


def test_numbers_that_cannot_be_written_end_the_run_with_a_sentence(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path, 0)
    (tmp_path / "metrics.jsonl").mkdir()
    watch = Watch()
    train(small(iterations=1), tmp_path / "r", watch)
    with pytest.raises(MetricsError, match=r"could not be written.*free some space"):
        log.add(watch.summaries[0])
    log.close()


def test_the_python_example_of_the_algorithm_runs():
    from palaestra.trainers.algorithm import SelfPlayConfig

    algorithm = SelfPlayConfig().self_play(**data()).build_algo()
    try:
        result = algorithm.train()
        assert result["training_iteration"] == 1
        assert result["self_play"]["games"] == 6
    finally:
        algorithm.stop()


def test_a_run_without_replays_keeps_none(tmp_path):
    folder = train(small(iterations=1, replays="none"), tmp_path / "r")
    assert not list((folder / "replays").rglob("*.jsonl"))
    assert write_report(folder).is_file()


def test_an_open_run_is_as_it_was_saved(finished):
    run = open_run(finished[0])
    assert run.config.adapters == "per_env"
    assert set(run.evaluation()) == {"before", "after"}


def test_a_contest_is_trained_with_its_judges_frozen(tmp_path):
    """The base model judges from seats 3 and 4; only what the writers wrote is trained on."""
    rules = {kind: {"reasks": 0, "then": "random"} for kind in ("illegal", "unparsable", "truncated")}
    game = {
        "game": "contest",
        "options": {"max_answer": 60},
        "fixed_seats": {3: "base", 4: "base"},
        "reply": {"max_tokens": 6},
        "rules": {**rules, "accept_cut": True},
    }
    watch = Watch()
    folder = train(small(games=[game], iterations=1, games_per_iteration=4), tmp_path / "r", watch)
    assert watch.summaries[0].games == 4
    assert watch.summaries[0].trained_tokens > 0
    for path in sorted((folder / "replays" / "train").glob("*.jsonl")):
        episode = read_replay(path).episode
        assert episode.roles == ("writer", "writer", "judge", "judge")
        assert episode.seats[2:] == ("base", "base")
        assert verify(path) == 4


def test_games_are_reviewed_by_the_reference_and_what_it_said_is_kept(tmp_path):
    """A blank reference, drawn freely, says nothing sensible, which is counted and trains nothing."""
    folder = train(small(iterations=1, hindsight={"share": 1.0, "gate": 0, "structured": False}), tmp_path / "r")
    [line] = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    reviews = [json.loads(line) for line in (folder / "reviews.jsonl").read_text().splitlines()]
    learner = line["learner"]
    assert learner["hindsight/reviewed"] == len(reviews) > 6
    assert learner["hindsight/reviewed"] == learner.get("hindsight/unparsable", 0) + learner.get(
        "hindsight/truncated", 0
    )
