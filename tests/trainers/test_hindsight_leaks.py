"""What a player could not know is found where it is stated, and nowhere else."""

from __future__ import annotations

import time

import pytest

from palaestra.envs import make
from palaestra.trainers.hindsight.leaks import stated, uses_what_was_hidden


def kuhn(mine: int, other: int):
    return next(game for seed in range(99) if (game := make("kuhn_poker", seed=seed)).cards == [mine, other])


@pytest.mark.parametrize(
    ("text", "leak"),
    [
        ("The opponent had K, so a bet loses.", True),
        ("It lost. the OTHER held a King!", True),
        ("They had the king\npass", True),
        ("The other may have K.", False),
        ("If the opponent has K, a bet loses.", False),
        ("Q is beaten by K alone. The other bet.", False),
        ("The opponent had J.", False),
        ("The other is a kingpin.", False),
        ("", False),
    ],
)
def test_the_others_card_is_a_leak_where_it_is_stated(text: str, leak: bool) -> None:
    assert uses_what_was_hidden(kuhn(1, 2), 0, text) == leak
    assert not uses_what_was_hidden(kuhn(1, 0), 0, text.replace("J", "Q"))


def test_a_fallback_is_a_leak_until_its_player_names_it() -> None:
    game = make("coalition", seed=3)
    fallback = game.fallbacks[1]
    text = f"The fallback of Player 2 is {fallback}, so it accepts."
    assert uses_what_was_hidden(game, 0, text)
    assert not uses_what_was_hidden(game, 1, text)
    assert not uses_what_was_hidden(game, 0, text.replace("Player 2", "Player 22"))
    table = make("bargaining", seed=3)
    assert uses_what_was_hidden(table, 0, f"The other has the fallback {table.fallbacks[1]}.")
    assert not uses_what_was_hidden(table, 0, f"The other has the fallback {table.fallbacks[1] + 1}.")
    assert uses_what_was_hidden(make("open_minds", seed=3, inner="coalition"), 0, text)


def test_a_flood_is_read_in_linear_time() -> None:
    facts = [(("other",), ("K",))]
    for text in ("other " * 50_000, "." * 200_000, "K;" * 100_000):
        began = time.process_time()
        assert not stated(text, facts)
        assert time.process_time() - began < 10  # a tenth of a second, or minutes
