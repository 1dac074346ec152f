"""Risk: maps as data, the odds of the dice, cards, treaties, missions, orders in many spellings, secrets."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaestra.agents import make_seat
from palaestra.envs import RandomSeat, make, play
from palaestra.envs.conformance import CLAUSES, check_game
from palaestra.envs.errors import IllegalAction, InformationError, OptionError, UnparsableAction
from palaestra.envs.events import render
from palaestra.envs.games.risk import NEUTRAL, Mission, Risk, Treaty
from palaestra.envs.games.risk_map import load_map, parse_map, read_map
from palaestra.envs.seeding import Dice

RING = {
    "name": "ring",
    "continents": [
        {"name": "North", "bonus": 2, "territories": ["Ash", "Birch", "Cedar"]},
        {"name": "South", "bonus": 3, "territories": ["Dale", "Elm Wood", "Fern"]},
    ],
    "borders": [
        ["Ash", "Birch"],
        ["Birch", "Cedar"],
        ["Cedar", "Dale"],
        ["Dale", "Elm Wood"],
        ["Elm Wood", "Fern"],
        ["Fern", "Ash"],
    ],
    "missions": [["North"], ["South"]],
}
ASH, BIRCH, CEDAR, DALE, ELM, FERN = range(6)


def game_of(
    owners: str, armies: list[int], *, players: int = 3, phase: str = "place", seed: int = 0, **options
) -> Risk:
    """A game on the ring, player 1 to move; ``owners`` has a digit for each territory, 0 for neutral."""
    game = Risk(map=RING, players=players, seed=seed, **options)
    game.owner = [int(one) - 1 for one in owners]
    game.armies = list(armies)
    game.reserve = [0] * players
    game.reserve[0] = game.income(0) if phase == "place" else 0
    game.phase = phase
    return game


def order(game: Risk, *texts: str) -> Risk:
    for text in texts:
        (player,) = game.players_to_move()
        game.apply(player, game.parse(player, text))
    return game


# ---------------------------------------------------------------------- maps


def test_the_classic_map_has_its_42_territories_and_83_borders() -> None:
    chart = load_map("classic")
    assert len(chart.territories) == 42
    assert sum(map(len, chart.borders)) == 2 * 83
    assert {one.name: (len(one.territories), one.bonus) for one in chart.continents} == {
        "North America": (9, 5),
        "South America": (4, 2),
        "Europe": (7, 5),
        "Africa": (6, 3),
        "Asia": (12, 7),
        "Australia": (4, 2),
    }
    assert len(load_map("small").territories) == 12


def changed(**changes) -> dict:
    return {**json.loads(json.dumps(RING)), **changes}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            changed(borders=RING["borders"][:2] + [["Dale", "Fern"], ["Dale", "Elm Wood"]]),
            "Dale, Elm Wood, Fern cannot be reached from Ash",
        ),
        (
            changed(borders=[*RING["borders"], ["Ash", "Bich"]]),
            "names 'Bich', which is no territory; did you mean 'Birch'",
        ),
        (changed(borders=[*RING["borders"], ["Ash", "Ash"]]), "'Ash' cannot border itself"),
        (
            changed(continents=[*RING["continents"], {"name": "West", "bonus": 1, "territories": ["ash"]}]),
            "'Ash' is there twice",
        ),
        (changed(continents=[{"name": "N", "bonus": -1, "territories": ["A"]}]), "bonus -1"),
        (changed(continents=[{"name": "N", "territories": ["A"]}]), "needs name, bonus and territories"),
        (changed(continents=[{"name": "N", "bonus": 1, "territories": ["all"]}]), "'all' cannot name a territory"),
        (changed(continents=[{"name": "N", "bonus": 1, "territories": ["<b>"]}]), "cannot name a territory"),
        (changed(border=[]), "unknown key 'border'; did you mean 'borders'"),
        (
            changed(continents=[*RING["continents"], {"name": "West", "bonus": 1, "territories": ["Ash "]}]),
            "write it with single spaces and none around it",
        ),
        (changed(continents=[{**RING["continents"][0], "bonsu": 3}]), "unknown key 'bonsu' of a continent"),
        (changed(missions=[[]]), "a mission names no continent"),
        (changed(name=["ring"]), "is no text of one line"),
        (changed(name="a\nb"), "is no text of one line"),
        (changed(missions=[["East"]]), "names 'East', which is no continent"),
        (changed(layout={"Ash": [0, 0]}), "leaves out 'Birch'"),
        (changed(layout={"Ash": [0, -1]}), "expected a column and a row"),
        ([], "a map is an object"),
    ],
)
def test_a_wrong_map_is_refused_with_what_is_wrong(data: object, said: str) -> None:
    with pytest.raises(OptionError, match=re.escape(said)):
        parse_map(data, "test")


def test_a_map_file_is_read_and_a_replay_cannot_make_anybody_open_one(tmp_path: Path) -> None:
    path = tmp_path / "ring.json"
    path.write_text(json.dumps(RING))
    assert make("risk", map=read_map(path)).chart.name == "ring"
    with pytest.raises(OptionError, match="there is no map"):
        make("risk", map=str(path))
    path.write_text("{")
    with pytest.raises(OptionError, match="is no JSON"):
        read_map(path)
    with pytest.raises(OptionError, match="cannot be read"):
        read_map(tmp_path / "none.json")


def test_a_map_without_a_layout_cannot_be_drawn() -> None:
    with pytest.raises(OptionError, match="has no layout"):
        make("risk", map=RING, view="map")
    assert "Ala:" in make("risk", view="map").board(0)


# ---------------------------------------------------------------------- dice


def exact_losses(attackers: int, defenders: int) -> dict[int, float]:
    """Probability of each number of defenders killed in one throw, by counting all throws."""
    pairs = min(attackers, defenders)
    found = dict.fromkeys(range(pairs + 1), 0.0)
    throws = list(itertools.product(range(1, 7), repeat=attackers + defenders))
    for throw in throws:
        attack, defence = sorted(throw[:attackers])[::-1], sorted(throw[attackers:])[::-1]
        found[sum(attack[i] > defence[i] for i in range(pairs))] += 1 / len(throws)
    return found


@pytest.mark.parametrize(("attackers", "defenders"), [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)])
def test_the_dice_fall_as_counting_all_throws_says(attackers: int, defenders: int) -> None:
    expected = exact_losses(attackers, defenders)
    games = 3000
    counted = dict.fromkeys(expected, 0)
    for seed in range(games):
        game = game_of("123123", [9, 9, 9, 9, 9, 9], phase="attack")
        game.dice = Dice(seed)
        game.armies[BIRCH] = defenders if defenders == 1 else 9
        before = game.armies[BIRCH]
        order(game, f"attack Ash -> Birch with {attackers}")
        left = 0 if game.owner[BIRCH] == 0 else game.armies[BIRCH]
        counted[before - left] += 1
    for killed, chance in expected.items():
        deviation = (chance * (1 - chance) / games) ** 0.5
        assert abs(counted[killed] / games - chance) < 4 * deviation, (killed, chance, counted)


def test_an_attack_to_the_end_is_decided() -> None:
    for seed in range(50):
        game = game_of("123123", [9, 5, 1, 1, 1, 1], phase="attack")
        game.dice = Dice(seed)
        total = sum(game.armies)
        order(game, "attack Ash -> Birch with all")
        assert game.armies[ASH] == 1 or game.owner[BIRCH] == 0
        assert sum(game.armies) < total


def test_as_many_armies_as_dice_move_in_and_one_stays() -> None:
    game = game_of("123123", [9, 1, 1, 1, 1, 1], phase="attack")
    game.dice = next(dice for dice in map(Dice, range(99)) if order_conquers(dice))
    order(game, "attack Ash -> Birch with 3")
    assert game.phase == "occupy"
    assert game.armies[BIRCH] == 3
    with pytest.raises(IllegalAction, match=r"0 to \d can"):
        order(game, f"move {game.armies[ASH]}")
    order(game, "move all")
    assert game.armies[ASH] == 1
    assert game.phase == "attack"


def order_conquers(dice: Dice) -> bool:
    game = game_of("123123", [9, 1, 1, 1, 1, 1], phase="attack")
    game.dice = dice.clone()
    return order(game, "attack Ash -> Birch with 3").owner[BIRCH] == 0


# ---------------------------------------------------------------------- armies, cards, marches


def test_armies_come_by_territories_and_continents() -> None:
    assert game_of("112233", [1] * 6).income(0) == 3
    assert game_of("111233", [1] * 6).income(0) == 3 + 2
    classic = make("risk", seed=4)
    classic.owner = [0] * 42
    assert classic.income(0) == 14 + 5 + 2 + 5 + 3 + 7 + 2


def test_all_new_armies_are_placed_in_one_order() -> None:
    game = game_of("112233", [1] * 6)
    with pytest.raises(IllegalAction, match="you place 2 armies, but have 3"):
        order(game, "place 2 Ash")
    with pytest.raises(IllegalAction, match="Cedar is not yours"):
        order(game, "place 3 Cedar")
    order(game, "place 2 Ash, 1 Birch")
    assert game.armies[:2] == [3, 2]
    assert game.phase == "attack"


def test_sets_rise_in_value_and_a_shown_territory_gets_two_armies() -> None:
    game = game_of("112233", [1] * 6)
    values = []
    for _ in range(8):
        game.hands[0] = [ASH, DALE, FERN, 7]  # kinds 0, 0, 2, wild
        assert (0, 1, 3) in game.sets(0)
        assert (0, 1, 2) not in game.sets(0)
        before = game.reserve[0]
        order(game, "trade 1 2 4")
        values.append(game.reserve[0] - before)
    assert values == [4, 6, 8, 10, 12, 15, 20, 25]
    assert game.armies[ASH] == 1 + 8 * 2


def test_with_five_cards_one_must_trade() -> None:
    game = game_of("112233", [1] * 6)
    game.hands[0] = [0, 1, 2, 3, 4]
    with pytest.raises(IllegalAction, match="with 5 cards you must trade first, such as: trade 1 2 3"):
        order(game, "place 3 Ash")
    order(game, "trade 1 2 3", "place 7 Ash")
    assert game.phase == "attack"


def test_a_conquest_earns_one_card_and_an_elimination_all_of_the_losers() -> None:
    game = game_of("122333", [30, 1, 1, 1, 1, 1], phase="attack")
    game.hands[1] = [3, 4]
    order(game, "attack Ash -> Birch with all", "move 20", "attack Birch -> Cedar with all")
    assert game.out == (1,)
    assert game.hands[0] == [3, 4]
    order(game, "move all", "done", "done") if game.phase == "occupy" else order(game, "done", "done")
    assert len(game.hands[0]) == 3


def test_who_gets_too_many_cards_trades_at_once() -> None:
    game = game_of("123333", [30, 1, 1, 1, 1, 1], phase="attack")
    game.hands = [[0, 1, 2], [3, 4, 5], []]
    order(game, "attack Ash -> Birch with all", "move 3")
    assert game.phase == "place"
    assert game.must_trade()


def test_marches_follow_chains_or_go_to_neighbours_only() -> None:
    chain = game_of("111223", [5, 1, 1, 1, 1, 1], phase="fortify")
    assert (ASH, CEDAR) in chain.marches(0)
    order(chain, "fortify Ash -> Cedar 4")
    assert chain.armies[:3] == [1, 1, 5]
    near = game_of("111223", [5, 1, 1, 1, 1, 1], phase="fortify", fortify="neighbour")
    with pytest.raises(IllegalAction, match="no way"):
        order(near, "fortify Ash -> Cedar 4")


def test_a_turn_has_a_limited_number_of_attacks() -> None:
    game = game_of("123123", [50, 50, 9, 9, 9, 9], phase="attack", max_attacks=2)
    order(game, "attack Ash -> Birch with 1", "attack Ash -> Birch with 1")
    assert game.phase != "attack"


# ---------------------------------------------------------------------- ends


def test_territories_decide_after_the_last_round_and_returns_add_up_to_nothing() -> None:
    game = game_of("111223", [1] * 6, phase="fortify", max_rounds=1)
    game.current = 2
    order(game, "done")
    assert game.is_over()
    assert game.returns() == pytest.approx(((3 * 3 / 6 - 1) / 2, 0.0, (3 / 6 - 1) / 2))
    assert sum(game.returns()) == pytest.approx(0)


def test_a_fulfilled_mission_wins_at_once_and_nobody_else_sees_it() -> None:
    game = game_of("112333", [30, 1, 1, 1, 1, 1], phase="attack", missions=True)
    game.missions = (Mission("continents", (0,)), Mission("territories", number=4), Mission("eliminate", number=0))
    assert "hold North" in game.prompt(0)
    assert "hold North" not in game.prompt(1) + game.prompt(2)
    game.armies[BIRCH] = 30
    order(game, "attack Birch -> Cedar with all")
    assert game.winner == 0
    assert game.returns() == (1.0, -0.5, -0.5)


def test_the_last_player_wins_and_two_players_have_a_neutral_between_them() -> None:
    duel = make("risk", map="small", players=2, seed=1)
    assert duel.owner.count(NEUTRAL) == 4
    game = game_of("110000", [1] * 6, players=2, phase="attack")
    game.owner = [0, 1, NEUTRAL, NEUTRAL, NEUTRAL, NEUTRAL]
    game.armies[ASH] = 40
    order(game, "attack Ash -> Birch with all")
    assert game.winner == 0
    assert game.returns() == (1.0, -1.0)


def test_who_leaves_becomes_neutral_and_the_last_one_wins() -> None:
    game = game_of("112233", [2] * 6)
    game.withdraw(0)
    assert game.players_to_move() == (1,)
    assert game.owner[:2] == [NEUTRAL, NEUTRAL]
    game.withdraw(2)
    assert game.winner == 1


# ---------------------------------------------------------------------- talk


def heard(game: Risk, player: int) -> str:
    return render(event for event in game.log if event.visible_to(player))


def test_a_private_message_is_private_and_a_public_one_is_not() -> None:
    game = order(
        game_of("112233", [1] * 6, messages=2),
        "tell Player 2: let us crush attack Ash -> Cedar with 3",
        "say: hello all",
    )
    assert "Player 1 says: let us crush" in heard(game, 1)
    assert "crush" not in heard(game, 2) + game.observation(2)
    assert "Player 1 says: hello all" in heard(game, 2)
    assert game.phase == "place"
    with pytest.raises(IllegalAction, match="you may speak 2 times a turn"):
        order(game, "say: more")


def test_a_treaty_is_offered_accepted_kept_in_view_and_its_breach_is_named() -> None:
    game = order(game_of("123123", [9] * 6), "offer peace to Player 2 for 3 rounds")
    assert "Player 1 offers you peace for 3 rounds." in game.board(1)
    assert "peace for" not in game.board(2)
    order(game, "place 3 Ash", "done", "accept peace with player 1")
    assert game.treaties == [Treaty(0, 1, 3, 3)]
    order(game, "place 3 Birch", "attack Birch -> Ash with 1")
    assert "Player 2 breaks the peace with Player 1." in heard(game, 2)
    assert game.treaties == []
    assert game.result()["treaties_broken"] == [0, 1, 0]


def test_peace_that_nobody_offered_cannot_be_accepted_and_talk_can_be_switched_off() -> None:
    with pytest.raises(IllegalAction, match="Player 2 has offered you no peace"):
        order(game_of("112233", [1] * 6), "accept peace with Player 2")
    with pytest.raises(IllegalAction, match="there is no talk"):
        order(game_of("112233", [1] * 6, messages=0), "say: hello")
    with pytest.raises(IllegalAction, match="messages go to all"):
        order(game_of("112233", [1] * 6, private_messages=False), "tell Player 2: hello")


def test_hands_and_deck_show_nowhere_else() -> None:
    game = game_of("112233", [1] * 6)
    game.hands = [[0, 1], [2, 3], []]
    other = game.clone()
    other.hands[1] = [5, 7]
    other.deck.reverse()
    for player in (0, 2):
        assert game.observation(player) == other.observation(player)
        assert game.knowledge(player) == other.knowledge(player)
    assert game.observation(1) != other.observation(1)


# ---------------------------------------------------------------------- orders


@pytest.mark.parametrize(
    ("phase", "text", "read"),
    [
        ("place", "place 2 Ash, 1 Birch", "place 2 Ash, 1 Birch"),
        ("place", "I'd put 2 armies in Ash and 1 army on Birch.", "place 2 Ash, 1 Birch"),
        ("place", "Deploy Ash: 2, Birch: 1", "place 2 Ash, 1 Birch"),
        ("place", "2 Ash, 1 Birch", "place 2 Ash, 1 Birch"),
        ("place", "reinforce Ash", "place 3 Ash"),
        ("place", "place 1 ash, 2 ASH", "place 3 Ash"),
        ("attack", "Attack Ash -> Fern with 2", "attack Ash -> Fern with 2"),
        ("attack", "I attack from Ash to Fern using 2 dice!", "attack Ash -> Fern with 2"),
        ("attack", "attack Fern from Ash with all", "attack Ash -> Fern with all"),
        ("attack", "attack ash to fern", "attack Ash -> Fern with 3"),
        ("attack", "**attack Birch → Cedar with 1**", "attack Birch -> Cedar with 1"),
        ("attack", "We could attack Ash -> Fern with 3.\nBetter not: done", "done"),
        ("attack", "say: attack Ash -> Fern with 3", "say: attack Ash -> Fern with 3"),
        ("attack", "Tell player 2: hi\n there", "tell Player 2: hi"),
        ("attack", "end turn", "done"),
        ("fortify", "move 2 armies from Ash to Birch", "fortify Ash -> Birch 2"),
        ("fortify", "fortify Ash to Birch", "fortify Ash -> Birch 8"),
        ("fortify", "pass", "done"),
    ],
)
def test_how_orders_are_read(phase: str, text: str, read: str) -> None:
    game = game_of("112233", [9] * 6, phase=phase)
    assert game.parse(0, text) == read


@pytest.mark.parametrize(
    "text", ["", "I wait.", "attack", "place armies", "attack Ashes -> Fern with 1", "place Ash, Birch"]
)
def test_what_is_no_order_is_unparsable(text: str) -> None:
    with pytest.raises(UnparsableAction):
        game_of("112233", [9] * 6).parse(0, text)


def test_an_unknown_territory_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnparsableAction, match="Did you mean 'Birch'"):
        game_of("112233", [9] * 6, phase="attack").parse(0, "attack Brich")


@pytest.mark.parametrize(
    ("phase", "text", "why"),
    [
        ("attack", "attack Ash -> Cedar with 1", "does not border Ash; it borders Birch, Fern"),
        ("attack", "attack Cedar -> Dale with 1", "Cedar is not yours"),
        ("attack", "attack Ash -> Birch with 1", "Birch is yours"),
        ("attack", "attack Ash -> Fern with 4", "4 dice are too many"),
        ("attack", "place 3 Ash", "no order of this phase"),
        ("place", "trade 1 2 3", "you have no set"),
        ("fortify", "fortify Ash -> Birch 9", "1 to 8 can"),
    ],
)
def test_why_an_order_is_refused(phase: str, text: str, why: str) -> None:
    with pytest.raises(IllegalAction, match=why):
        order(game_of("112233", [9] * 6, phase=phase), text)


# ---------------------------------------------------------------------- whole games


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.booleans(), st.booleans())
def test_armies_and_cards_are_never_lost_or_made(seed: int, players: int, claimed: bool, missions: bool) -> None:
    game = make(
        "risk", map="small", seed=seed, players=players, start="claimed" if claimed else "dealt", missions=missions
    )
    dice = Dice(seed)
    while not game.is_over():
        (player,) = game.players_to_move()
        assert player not in game.out
        game.apply(player, game.sample_action(player, dice))
        cards = sorted([*game.deck, *game.discard, *itertools.chain(*game.hands)])
        assert cards == list(range(14))
        assert all(count >= 0 for count in [*game.armies, *game.reserve])
        assert all(game.armies) or game.phase == "claim"
    assert sum(game.returns()) == pytest.approx(0)


@pytest.mark.parametrize(
    "options",
    [
        {"map": "small", "players": 2},
        pytest.param(
            {"map": "small", "players": 4, "start": "claimed", "missions": True, "view": "map"}, marks=pytest.mark.slow
        ),
        pytest.param({"players": 6, "messages": 0, "fortify": "neighbour", "max_rounds": 3}, marks=pytest.mark.slow),
    ],
    ids=["duel", "claimed", "six"],
)
def test_other_tables_keep_the_contract_too(options: dict) -> None:
    clauses = set(CLAUSES) - (set() if "start" in options else {"privacy"})
    report = check_game("risk", episodes=2, interleaved=4, pairs=40, clauses=clauses, **options)
    assert report.finished == 2


def test_random_play_ends_in_every_way() -> None:
    winners = [
        play(make("risk", map="small", seed=seed, missions=True), [RandomSeat(seat) for seat in range(3)]).result[
            "winner"
        ]
        for seed in range(30)
    ]
    assert None in winners
    assert set(winners) - {None}


def test_the_warlord_gives_legal_orders_and_beats_chance() -> None:
    worth = 0.0
    for seed in range(6):
        for own in range(3):
            options = {"map": "small", "start": "claimed" if seed % 2 else "dealt"}
            seats = [make_seat("warlord") if seat == own else RandomSeat(seat) for seat in range(3)]
            episode = play(make("risk", seed=seed, **options), seats)
            assert episode.returns is not None
            assert episode.count("ok", own) == sum(turn.player == own for turn in episode.turns)
            worth += episode.returns[own] / 18
    assert worth > 0.5


def test_the_warlord_plays_risk_only_and_wants_a_margin() -> None:
    with pytest.raises(OptionError, match="at least 1"):
        make_seat("warlord:0.5")
    with pytest.raises(InformationError, match="plays risk only"):
        play(make("tic_tac_toe"), [make_seat("warlord"), RandomSeat()])
