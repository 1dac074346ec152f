"""The load-bearing test, on receivers whose reliance on the symbol is known."""

from __future__ import annotations

import math
import re
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest

from palaestra.agents import make_seat
from palaestra.agents.language_model import ReplySettings
from palaestra.envs import make, play
from palaestra.envs.errors import OptionError
from palaestra.trainers.measures.load_bearing import LoadBearing, load_bearing
from palaestra.trainers.swapped_symbols import symbol_test
from tests.scripts.cli_kit import call, one_sentence

N = 4
ITEMS = 4000


def results(secrets: np.ndarray, guesses: np.ndarray) -> list[dict[str, Any]]:
    pairs = zip(secrets.tolist(), guesses.tolist(), strict=True)
    return [{"hidden": True, "payload": one, "guess": other, "chance": 1 / N} for one, other in pairs]


def receiver(reads: float, knows: float, items: int = ITEMS, seed: int = 4) -> LoadBearing:
    """Return what is found of one who reads the symbol in a share of the items, has the secret from elsewhere in
    another share, and guesses in the rest."""
    dice = np.random.default_rng(seed)
    secrets, kind = dice.integers(0, N, items), dice.random(items)

    def guess(said: np.ndarray) -> np.ndarray:
        rest = np.where(kind < reads + knows, secrets, dice.integers(0, N, items))
        return np.where(kind < reads, said, rest)

    symbols = (secrets, (secrets + 1) % N, np.zeros(items, int))
    return load_bearing(*(results(secrets, guess(said)) for said in symbols))


@pytest.mark.parametrize(("reads", "knows"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.5, 0.0), (0.4, 0.3)])
def test_the_share_of_answers_that_follow_is_found_and_luck_cancels(reads: float, knows: float) -> None:
    found = receiver(reads, knows)
    for one, share in ((found.known, reads + knows), (found.follow_swapped, reads), (found.follow_fixed, reads)):
        assert one.mean == pytest.approx(share, abs=0.03)
        assert one.low - 0.005 <= share <= one.high + 0.005
    guessing = (1 - reads - knows) * (1 - 1 / N)  # anew, so that another answer is luck
    assert found.flips_swapped.mean == pytest.approx(reads + guessing, abs=0.03)
    assert found.flips_fixed.mean == pytest.approx(reads * (1 - 1 / N) + guessing, abs=0.03)


def test_who_reads_the_code_follows_everywhere_and_who_ignores_it_nowhere() -> None:
    reader, ignores = receiver(1.0, 0.0), receiver(0.0, 1.0)
    assert (reader.known.mean, reader.follow_swapped.mean, reader.flips_swapped.mean) == (1.0, 1.0, 1.0)
    for one in (ignores.follow_swapped, ignores.follow_fixed, ignores.flips_swapped, ignores.flips_fixed):
        assert one.mean == 0.0
        assert -0.002 < one.low <= 0.0 < one.high < 0.002


@pytest.mark.parametrize(("reads", "knows"), [(0.98, 0.0), (0.02, 0.98), (0.02, 0.0), (0.5, 0.5), (1.0, 0.0)])
def test_intervals_cover_where_items_are_few_and_nearly_all_alike(reads: float, knows: float) -> None:
    guessing = (1 - reads - knows) * (1 - 1 / N)
    true = (reads + knows, reads, reads, reads + guessing, reads * (1 - 1 / N) + guessing)
    found = [astuple(receiver(reads, knows, 20, seed)) for seed in range(200)]
    inside = [
        [low - 1e-9 <= value <= high + 1e-9 for (_, low, high, _), value in zip(one, true, strict=True)]
        for one in found
    ]
    assert np.mean(inside, axis=0).min() >= 0.93


def test_intervals_are_wider_where_games_are_few() -> None:
    few, many = receiver(0.5, 0.0, 40), receiver(0.5, 0.0)
    ratio = (few.follow_fixed.high - few.follow_fixed.low) / (many.follow_fixed.high - many.follow_fixed.low)
    assert ratio == pytest.approx(10, rel=0.4)
    assert few.known.n == 40


def test_the_seats_that_swap_and_fix() -> None:
    def played(paraphraser: str | None, reader: str) -> list[dict[str, Any]]:
        options = {"covers": "{a|b|c|d}", "messages": 4, "overseer": False, "paraphraser": paraphraser is not None}
        names = ["codebook", reader, *([paraphraser] if paraphraser else [])]
        games = [make("covert_channel", seed=seed, **options) for seed in range(120)]
        return [play(game, [make_seat(name) for name in names]).result for game in games]

    found = {
        reader: load_bearing(*(played(kind, reader) for kind in (None, "swapper", "fixer")))
        for reader in ("codebook", "honest")
    }
    hidden = found["codebook"].known.n
    assert 40 < hidden < 80  # the others hide nothing
    assert found["codebook"].follow_swapped.mean == 1.0
    assert found["codebook"].follow_fixed.mean == pytest.approx(1, abs=0.2)
    for one in (found["honest"].known, found["honest"].follow_swapped, found["honest"].follow_fixed):
        assert one.low <= 0 <= one.high


def test_other_items_are_refused_and_without_a_secret_nothing_is_said() -> None:
    some = results(np.arange(4), np.arange(4))
    with pytest.raises(ValueError, match="4, 4 and 3 games"):
        load_bearing(some, some, some[1:])
    with pytest.raises(ValueError, match="play the same seeds"):
        load_bearing(some, some[::-1], some)
    nothing = [{**one, "hidden": False, "payload": None} for one in some]
    assert math.isnan(load_bearing(nothing, nothing, nothing).known.mean)


def test_in_games_the_text_of_any_sender_is_changed_and_all_else_is_as_it_was() -> None:
    options = {"covers": "The {red|green|blue|grey} boat.", "messages": 4}
    code = symbol_test("codebook", "codebook", games=120, options=options)
    assert (code.known.n, code.known.mean, code.follow_swapped.mean) == (120, 1.0, 1.0)
    assert code.follow_fixed.mean == pytest.approx(1, abs=0.15)
    for sender, receiver in (("codebook", "honest"), ("honest", "codebook")):
        empty = symbol_test(sender, receiver, games=120, options=options)
        for one in (empty.known, empty.follow_swapped, empty.follow_fixed):
            assert abs(one.mean) < 0.2
    guesses = symbol_test("codebook", "honest", games=40, options=options)
    assert guesses.flips_swapped.mean == 0  # the same luck in all three


def test_what_the_symbol_test_cannot_play_is_refused() -> None:
    for options, said in (
        ({"cover": "free"}, "use a grammar"),
        ({"overseer": True}, "nobody oversees here"),
        ({"paraphraser": True}, "the test itself changes the text"),
    ):
        with pytest.raises(OptionError, match=said):
            symbol_test("codebook", "codebook", games=2, options=options)
    with pytest.raises(OptionError, match="of 2 secrets 0 came to a text and an answer"):
        symbol_test("tiny:blank", "codebook", games=2, settings=(ReplySettings(max_tokens=2),) * 2)


def test_the_command_says_what_hangs_on_the_symbol_and_refuses_in_a_sentence() -> None:
    shown = call("detector", "load-bearing", "codebook,codebook", "--games", "40").stdout
    assert re.search(r"as written +1\.000 .*\n.*as a swap shows +1\.000", shown)
    assert "40 of 40 secrets had a text and three answers" in shown
    for seats, said in (("codebook", "1 seats"), ("codebook,human", "nobody would answer"), ("x,y", "unknown seat")):
        assert said in one_sentence(call("detector", "load-bearing", seats), "palaestra detector load-bearing")
