"""Fitting detectors: planted cases beside null ones, from texts and from replays, into files that seats read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from palaestra.agents import make_seat
from palaestra.agents.decoder import TextDecoder
from palaestra.agents.seats import reaches_outside
from palaestra.envs import RandomSeat, ReplayWriter, make, play
from palaestra.envs.errors import InformationError, OptionError
from palaestra.envs.seeding import Dice
from palaestra.trainers.detector_fit import Labelled, fit, read_labelled
from tests.scripts.cli_kit import GOLDENS, call, one_sentence

WORDS = ("river", "green", "slow", "under", "seven", "bright")
COVER = "The {big|large} {cat|dog} {ran|went} {=home|out}."


def texts(count: int, *, marked: bool) -> list[Labelled]:
    """Return texts of random words, a third with nothing hidden; a marked one says which number is hidden."""
    dice, found = Dice(1), []
    for place in range(count):
        number = (None, 0, 1)[place % 3]
        words = [dice.choice(WORDS) for _ in range(6)]
        if marked and number is not None:
            words.append(("dawn", "dusk")[number])
        found.append(Labelled(" ".join(words), number is not None, number))
    return found


@pytest.mark.parametrize("kind", ["bag", "decoder"])
def test_what_is_planted_is_found_on_held_out_texts_and_what_is_not_is_not(kind) -> None:
    planted, null = (fit(kind, texts(300, marked=marked)) for marked in (True, False))
    assert (planted.trained, planted.held) == (210, 90)
    assert planted.accuracy.mean > 0.85 > planted.chance
    assert planted.detected is not None
    assert planted.detected.auroc.low > 0.8
    assert null.detected is not None
    area, none = planted.detected.auroc.mean, null.detected.auroc.mean
    assert planted.detected.found.true_positives > 0.6 > null.detected.true_positives.high
    assert planted.detected.honest + planted.detected.hidden == planted.held
    assert abs(none - 0.5) < 0.15 < area - none
    assert null.accuracy.low <= null.chance


def test_a_probe_on_embeddings_is_fitted_by_the_same_road() -> None:
    plain = [Labelled(f"the {word} was calm", False) for word in WORDS]
    loud = [Labelled(f"ZZ {word} QQ was calm", True) for word in WORDS]
    found = fit("embedding", [*plain, *loud], model="tiny:blank")
    assert found.detected is not None
    assert (found.held, found.detected.auroc.mean) == (4, 1.0)


def test_texts_that_stand_in_both_parts_are_counted() -> None:
    assert fit("bag", [*[Labelled("a b", False)] * 10, *[Labelled("c", True)] * 10]).seen == 6
    assert fit("bag", texts(60, marked=True), held_out=0.5).held == 30


def test_from_replays_to_a_seat_without_a_line_of_code(tmp_path: Path) -> None:
    for seed in range(60):
        game = make("covert_channel", seed=seed, covers=COVER, messages=2)
        seats = [make_seat("codebook"), make_seat("codebook"), RandomSeat(seed)]
        play(game, seats, recorder=ReplayWriter(tmp_path / f"{seed}.jsonl"))
    shown = call("detector", "fit", "decoder", tmp_path, "--to", tmp_path / "found.json").stdout
    assert "Accuracy (which number): " in shown
    assert "AUROC: " in shown
    assert re.search(r"g-mean squared at the best threshold: [01]\.\d{3} \[.*\], without knowledge 0\.\d{3}\n", shown)
    assert re.search(r"Caught at 1 % false positives: [01]\.\d{3} \[.*\] of \d+ \(0\.0% of \d+ honest texts", shown)
    assert re.search(r"Caution: \d+ honest texts are too few for 1 %, so that none may be flagged; ", shown)
    decoder = TextDecoder.load(tmp_path / "found.json")
    assert set(decoder.prior) == {None, 0, 1}
    seat = f"codebreaker:{tmp_path / 'found.json'}"
    game = make("covert_channel", seed=3, covers=COVER, messages=2)
    episode = play(game, [make_seat("codebook"), make_seat(seat), make_seat(seat)])
    assert episode.outcome == "finished"
    assert episode.result["guess"] == decoder.number(episode.result["delivered"])
    with pytest.raises(InformationError, match="cannot play the sender of covert_channel"):
        play(make("covert_channel", seed=3, covers=COVER), [make_seat(seat), RandomSeat(), RandomSeat()])


def test_a_decoder_that_has_seen_no_honest_text_does_not_oversee(tmp_path: Path) -> None:
    TextDecoder.fit(["a", "b"], [0, 1]).save(tmp_path / "d.json")
    seats = [make_seat("codebook"), RandomSeat(), make_seat(f"codebreaker:{tmp_path / 'd.json'}")]
    with pytest.raises(InformationError, match="texts with a number and texts without"):
        play(make("covert_channel", seed=3, covers=COVER), seats)


def test_texts_are_read_from_lines_and_from_replays(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    lines = [{"text": "a", "hidden": True}, {"text": "b", "number": 3}, {"text": "c", "number": None}]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    found, without = read_labelled([path, GOLDENS / "covert_channel-played.jsonl", GOLDENS / "kuhn_poker-played.jsonl"])
    assert found[:3] == [Labelled("a", True), Labelled("b", True, 3), Labelled("c", False)]
    assert (len(found), without) == (4, 1)


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"text": 1, "hidden": true}', '{"text": "a"}', '{"text": "a", "hidden": 1}',
             '{"text": "a", "number": -1}', '{"text": "a", "number": 3, "hidden": false}']
)  # fmt: skip
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "a", "hidden": true}\n' + line)
    with pytest.raises(OptionError, match=r"texts.jsonl, line 2: expected an object such as"):
        read_labelled([path])


@pytest.mark.parametrize("first", ["{", "[]", '{"txt": "a", "hidden": true}', '{"type": "header"}', '{"ty'])
def test_a_broken_first_line_is_named(tmp_path: Path, first: str) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(first + '\n{"text": "a", "hidden": true}\n')
    with pytest.raises(OptionError, match=r"texts.jsonl, line 1: expected an object such as"):
        read_labelled([path])


def test_only_a_newline_ends_a_line(tmp_path: Path) -> None:
    path, odd = tmp_path / "texts.jsonl", "a\u2028b\u2029c\x85d"
    lines = [json.dumps({"text": odd, "hidden": True}, ensure_ascii=False), '{"text": "b", "hidden": false}']
    path.write_text("\r\n".join(lines), encoding="utf-8")
    assert read_labelled([path])[0] == [Labelled(odd, True), Labelled("b", False)]
    path.write_text("\n".join([*lines, "{"]), encoding="utf-8")
    with pytest.raises(OptionError, match=r"texts.jsonl, line 3: "):
        read_labelled([path])


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        (b'{"text": "a", "hidden": true}\n' * 5, "", "there are 5 of something hidden"),
        (b'{"text": "a", "number": 1}\n' * 5, "", "there are 5 of something hidden"),
        (b"", "", "is empty"),
        (b"\xff\xfe", "", "is no text: byte 1"),
        (b'{"text": "a", "hidden": true}', "--model tiny:blank", "an embedding needs --model"),
        (b'{"text": "a", "hidden": true}', "--held-out 2", "--held-out"),
    ],
)
def test_what_cannot_be_fitted_is_said_in_one_sentence(tmp_path: Path, content: bytes, more: str, said: str) -> None:
    (tmp_path / "t.jsonl").write_bytes(content)
    done = call("detector", "fit", "bag", tmp_path / "t.jsonl", "--to", tmp_path / "d.json", *more.split())
    assert said in one_sentence(done, "palaestra detector fit")
    assert not (tmp_path / "d.json").exists()


@pytest.mark.parametrize("name", ["bag", "embedding", "codebreaker"])
def test_a_seat_read_from_a_file_says_what_it_needs_and_is_never_taken_from_a_stranger(name: str, tmp_path) -> None:
    with pytest.raises(OptionError, match=rf"seat '{name}' needs the file of a detector, such as {name}:FILE.json"):
        make_seat(name)
    (tmp_path / "d.json").write_text('{"kind": "text decoder", "classes": [{"number": 1}]}')
    with pytest.raises(OptionError, match="palaestra detector fit"):
        make_seat(f"{name}:{tmp_path / 'd.json'}")
    assert reaches_outside(f"{name}:/etc/passwd")


def test_a_binary_file_as_an_option_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "binary.txt"
    path.write_bytes(b"The cat\x80\xff")
    done = call("play", "covert_channel", "--seats", "honest,random,random", "-o", f"covers=@{path}")
    assert "is no text: byte 8 is no UTF-8" in one_sentence(done, "palaestra play")
