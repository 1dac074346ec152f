"""Dealing anew: the player sees the same and keeps its own, and what it cannot know is as likely as the rules say."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyspiel
import pytest

from palaestra.envs import Game, make, play
from palaestra.envs.errors import CannotRedeal
from palaestra.envs.registry import game_ids
from palaestra.envs.seat import RandomSeat
from palaestra.envs.seeding import Dice

SERVED: list[tuple[str, dict[str, Any]]] = [
    ("kuhn_poker", {}),
    ("negotiation", {}),
    ("bargaining", {}),
    ("coalition", {}),
    ("auction", {}),
    ("auction", {"kind": "second_price", "players": 3}),
    ("auction", {"kind": "ascending"}),
    ("contest", {"judges": 1}),
    ("matrix_game", {}),
    ("open_minds", {}),
    ("open_minds", {"inner": "auction"}),
    ("openspiel/leduc_poker", {}),
    ("openspiel/liars_dice", {}),
    ("openspiel/kuhn_poker", {"players": 3}),
    ("openspiel/goofspiel", {}),
    ("openspiel/repeated_leduc_poker", {}),
    ("openspiel/first_sealed_auction", {}),
]
"""Games that say how; those of perfect information, in which players move one at a time, need not."""

REFUSED = ("cot_relay", "covert_channel", "encoded_reasoning", "hindsight_bias", "liars", "mafia", "next_token", "risk",
           "terminal_surprise")  # fmt: skip


def positions(name: str, options: dict[str, Any], seed: int) -> list[tuple[Game, int]]:
    """Return the positions of a random game, each with the player who moved there."""
    game, found = make(name, seed=seed, **options), []
    seats = [RandomSeat(9 * seed + player) for player in range(game.facts.players)]
    for player, action in play(game.clone(), seats).actions:
        found.append((game.clone(), player))
        game.apply(player, action)
    return found


def private(game: Game, player: int) -> Any:
    """Return what a player knows, but for what changes when others choose again at the same time."""
    known = game.knowledge(player)
    return {key: value for key, value in known.items() if key != "to_move"}


@pytest.mark.parametrize(("name", "options"), SERVED, ids=[f"{name} {options or ''}" for name, options in SERVED])
def test_the_player_sees_the_same_and_the_rest_varies(name: str, options: dict[str, Any]) -> None:
    changed = 0
    for seed in range(6):
        for game, player in positions(name, options, seed):
            before = (game.state_hash(), game.observation(player), private(game, player))
            for number in range(3):
                try:
                    anew = game.redealt(player, Dice(derived := 100 * seed + number))
                except CannotRedeal:
                    assert name.startswith("openspiel/first_sealed_auction")  # the other's bid is hidden
                    continue
                assert anew.observation(player) == before[1]
                assert private(anew, player) == before[2]
                assert anew.legal_actions(player) == game.legal_actions(player)
                assert player in anew.players_to_move()
                assert anew.state_hash() == game.redealt(player, Dice(derived)).state_hash()
                assert [event for event in anew.log if event.visible_to(player)] == [
                    event for event in game.log if event.visible_to(player)
                ]
                changed += anew.state() != game.state()
                finish(anew, number)
            assert game.state_hash() == before[0]
    assert changed > 10


@pytest.mark.parametrize(("name", "options"), SERVED, ids=[f"{name} {options or ''}" for name, options in SERVED])
def test_earlier_positions_of_another_deal_are_those_that_led_to_it(name: str, options: dict[str, Any]) -> None:
    """The player saw the same all along, the actions were legal, and in the end all others know what they know."""
    changed = 0
    for seed in range(3):
        before: list[tuple[Game, int, Any]] = []
        for game, player in positions(name, options, seed):
            try:
                world = game.redealt(player, Dice(seed))
            except CannotRedeal:
                assert name.startswith("openspiel/first_sealed_auction")
                break
            for earlier, mover, action in before:
                anew = earlier.dealt_as(world)
                assert anew.observation(player) == earlier.observation(player)
                anew.check(mover, action)
                changed += anew.state() != earlier.state()
            there = game.dealt_as(world)
            # who has chosen at the same time chooses again in the world, and knows what it chose before it
            for other in range(game.facts.players if there.players_to_move() == world.players_to_move() else 0):
                assert there.observation(other) == world.observation(other)
                assert private(there, other) == private(world, other)
            chosen = play(game.clone(), [RandomSeat(9 * seed + one) for one in range(game.facts.players)])
            before.append((game, player, chosen.actions[0][1]))
    assert changed > 3 or name in ("contest", "matrix_game", "openspiel/goofspiel", "openspiel/first_sealed_auction")


def finish(game: Game, seed: int) -> None:
    """Play a game to its end, at random: what was dealt anew is a game like any other."""
    dice = Dice(seed)
    while movers := game.players_to_move():
        game.apply(movers[0], game.sample_action(movers[0], dice))
    low, high = game.facts.min_return, game.facts.max_return
    assert all(low <= value <= high for value in game.returns())


def test_every_game_deals_anew_or_says_that_it_does_not() -> None:
    own = [name for name in game_ids() if not name.startswith("test/")]  # other tests register games
    for name in own:
        game = make(name)
        hides = game.facts.information == "imperfect" or game.facts.simultaneous
        if name in REFUSED:
            with pytest.raises(CannotRedeal, match="does not say how hidden information is drawn anew"):
                game.redealt(0, Dice(0))
        else:
            assert not hides or any(name == served for served, _ in SERVED), name
            game.redealt(0, Dice(0))


def test_leduc_poker_deals_each_other_hand_as_often_as_it_is_likely() -> None:
    """Six cards; the own one and, later, the public one are known: the other's is one of five, then of four."""
    game = make("openspiel/leduc_poker", seed=3)
    for known in (1, 2):
        spiel = game.spiel_state()
        player = spiel.current_player()
        rest = 6 - known
        counts: Counter[tuple[int, ...]] = Counter()
        for number in range(600):
            counts[tuple(game.redealt(player, Dice(number)).spiel_state().history())] += 1
        assert len(counts) == rest
        assert max(abs(count / 600 - 1 / rest) for count in counts.values()) < 0.07
        game.apply(player, "Call")
        game.apply(1 - player, "Call")


def test_deals_are_drawn_by_their_chance_among_all_that_look_the_same() -> None:
    """Against OpenSpiel's own tree: all openings of liar's dice, two dice each, with the player's own as rolled."""
    game = make("openspiel/liars_dice", seed=1, numdice=2)
    player = game.players_to_move()[0]
    mine = slice(0, 2) if player == 0 else slice(2, 4)
    own = game.spiel_state().history()[mine]
    likely: dict[tuple[int, ...], float] = {}

    def walk(state: Any, chance: float) -> None:
        if state.is_chance_node():
            for action, part in state.chance_outcomes():
                walk(state.child(action), chance * part)
        elif state.history()[mine] == own:
            likely[tuple(state.history())] = chance

    walk(pyspiel.load_game("liars_dice(numdice=2)").new_initial_state(), 1.0)
    drawn = Counter(tuple(game.redealt(player, Dice(number)).spiel_state().history()) for number in range(1080))
    assert drawn.keys() <= likely.keys()
    assert len(likely) == 36
    expected = {deal: 1080 * chance / sum(likely.values()) for deal, chance in likely.items()}
    chi = sum((drawn[deal] - wanted) ** 2 / wanted for deal, wanted in expected.items())
    assert chi < 2 * len(likely)  # its mean is one less than there are deals


def test_a_hidden_choice_of_another_is_not_made_up() -> None:
    game = make("openspiel/phantom_ttt")
    first = game.players_to_move()[0]
    game.apply(first, game.legal_actions(first)[0])
    with pytest.raises(CannotRedeal, match="hides a player's choice from another"):
        game.redealt(1 - first, Dice(0))


def test_deals_that_are_too_many_are_not_listed() -> None:
    with pytest.raises(CannotRedeal, match="too many deals"):
        make("openspiel/gin_rummy").redealt(0, Dice(0))


def test_who_has_chosen_unseen_at_the_same_time_chooses_again() -> None:
    game = make("matrix_game")
    game.apply(1, game.legal_actions(1)[0])
    assert game.players_to_move() == (0,)
    assert game.redealt(0, Dice(0)).players_to_move() == (0, 1)
    game = make("auction", kind="first_price", players=3)
    game.apply(2, "bid 1")
    anew = game.redealt(0, Dice(0))
    assert anew.players_to_move() == (0, 1, 2)


def test_values_of_items_that_were_not_put_up_are_drawn_for_everybody() -> None:
    game = make("auction", kind="first_price", items=3)
    rest = [game.redealt(0, Dice(number)).values for number in range(40)]
    assert {values[0][0] for values in rest} == {game.values[0][0]}
    assert len({values[0][1] for values in rest}) > 5
    assert len({values[1][0] for values in rest}) > 5


def test_points_dealt_anew_are_what_the_options_ask_for() -> None:
    for seed in range(5):
        game = make("bargaining", seed=seed, log_rolling=20)
        for number in range(10):
            anew = game.redealt(1, Dice(number))
            assert anew.preferences[1] == game.preferences[1]
            assert anew.fallbacks[1] == game.fallbacks[1]
            assert anew._potential() >= 20
            assert anew._both_can_gain()
