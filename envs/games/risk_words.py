"""What Risk tells its players: rules, map, hand, treaties and what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palaestra.envs.events import render
from palaestra.envs.games.risk_orders import Order

if TYPE_CHECKING:
    from palaestra.envs.games.risk import Mission, Risk

RECAP_EVENTS = 12
"""Events that a self-contained observation repeats."""

TASKS = {
    "claim": "Claim a free territory: claim NAME.",
    "deploy": "Put one of your {0} armies on a territory of yours: place 1 NAME.",
    "place": "Place your {0} new armies, all in one order: place 2 NAME, 1 NAME.",
    "attack": (
        "Attack ({1} left in this turn): attack FROM -> TO with 3 (1 to 3 dice, or all: until it is decided), or done."
    ),
    "occupy": "{2} is yours, with {3} armies. Move 0 to {4} more in from {5}: move {4}, for example.",
    "fortify": "Move armies once from one territory of yours to another, or not: fortify FROM -> TO 3, or done.",
}


def prompt(game: Risk, player: int) -> str:
    """Return the rules with these options and the player's mission."""
    options = game.options
    size = len(game.chart.territories)
    two = " A neutral side that never moves holds the rest." if options.players == 2 else ""
    talk = ""
    if options.messages:
        often = "Once" if options.messages == 1 else f"{options.messages} times"
        private = " or tell Player 2: TEXT" if options.private_messages else ""
        talk = (
            f" {often} a turn you may also speak before an order: say: TEXT{private} (at most "
            f"{options.max_talk} characters), or offer peace to Player 2 for 3 rounds; the other may write accept "
            "peace with Player 1. Nothing binds anybody."
        )
    aim = (
        f" Your secret mission, with which you win at once: {mission(game, game.missions[player])}."
        if game.missions
        else ""
    )
    continents = ", ".join(f"{one.name} {one.bonus}" for one in game.chart.continents)
    return (
        f"Risk, {options.players} players, {size} territories. You are Player {player + 1}.{two} In a turn you place "
        "new armies (a third of your territories, at least 3, and for whole continents: "
        f"{continents}), attack neighbours, and may move armies once. Attackers throw up to 3 dice, defenders 2; the "
        "highest are compared, ties are the defender's, one army stays behind. A turn with a conquest earns a card; "
        "three of a kind or one of each buy armies (trade 1 2 3), and with 5 cards you must trade. The last player "
        f"wins; after round {options.max_rounds} territories decide.{aim} One order in each answer, on a line of its "
        f"own; the last one counts.{talk}"
    )


def recap(game: Risk, player: int) -> str:
    """Return the last things that happened or were said in front of the player."""
    seen = [event for event in game.log if event.visible_to(player)]
    return render(seen[-RECAP_EVENTS:])


def board(game: Risk, player: int) -> str:
    """Return the map, who holds what, the player's cards and treaties, and what is asked."""
    lines = [f"Round {game.round} of {game.options.max_rounds}."]
    if game.options.view == "map":
        lines.append(drawing(game))
    lines += listing(game)
    lines.append(_players(game))
    if hand := game.hands[player]:
        lines.append(
            "Your cards: " + ", ".join(f"{index + 1} {card(game, one)}" for index, one in enumerate(hand)) + "."
        )
    lines += _treaties(game, player)
    if player in game.players_to_move():
        lines.append(_task(game, player))
    return "\n".join(lines)


def listing(game: Risk) -> list[str]:
    """Return a line for each continent's territories: holder, armies, neighbours."""
    names, lines = game.chart.territories, []
    for continent in game.chart.continents:
        lines.append(f"{continent.name} (+{continent.bonus}):")
        for territory in continent.territories:
            near = ", ".join(names[one] for one in game.chart.borders[territory])
            lines.append(f" {names[territory]} {_holder(game, territory)}{game.armies[territory]}: {near}")
    return lines


def _holder(game: Risk, territory: int) -> str:
    owner = game.owner[territory]
    if owner >= 0:
        return f"P{owner + 1} "
    return "neutral " if game.armies[territory] else "free "


def drawing(game: Risk) -> str:
    """Return the map drawn from its layout: first letters, holder and armies of each territory at its place."""
    chart = game.chart
    columns = 1 + max(column for column, _ in chart.layout)
    rows = 1 + max(row for _, row in chart.layout)
    cells = [["" for _ in range(columns)] for _ in range(rows)]
    for territory, (column, row) in enumerate(chart.layout):
        owner = game.owner[territory]
        short = "".join(
            word[:3] if len(chart.territories[territory].split()) == 1 else word[0]
            for word in chart.territories[territory].split()
        )
        cells[row][column] = f"{short}:{owner + 1 if owner >= 0 else '-'}x{game.armies[territory]}"
    width = max(len(cell) for row in cells for cell in row)
    return "\n".join(" ".join(cell.ljust(width) for cell in row).rstrip() for row in cells)


def _players(game: Risk) -> str:
    parts = []
    for player in range(game.options.players):
        if player in game.out:
            parts.append(f"Player {player + 1} is out")
            continue
        held = game.held(player)
        armies = sum(game.armies[one] for one in held)
        bonus = [game.chart.continents[one].name for one in game.continents_of(player)]
        whole = f", all of {', '.join(bonus)}" if bonus else ""
        cards = len(game.hands[player])
        parts.append(f"Player {player + 1}: {len(held)} territories, {armies} armies, {cards} cards{whole}")
    return "; ".join(parts) + f". The next set buys {game.set_value()} armies."


def _treaties(game: Risk, player: int) -> list[str]:
    lines = []
    for one in game.treaties:
        if player not in (one.proposer, one.partner):
            continue
        other = one.partner if one.proposer == player else one.proposer
        if one.until:
            lines.append(f"Peace with Player {other + 1} through round {one.until}.")
        elif one.proposer == player:
            lines.append(f"You have offered Player {other + 1} peace for {one.rounds} rounds.")
        else:
            lines.append(f"Player {other + 1} offers you peace for {one.rounds} rounds.")
    return lines


def _task(game: Risk, player: int) -> str:
    names = game.chart.territories
    if game.must_trade():
        return "You must trade a set of cards, such as: trade " + " ".join(str(one + 1) for one in game.sets(player)[0])
    start, target = game.front
    left = game.options.max_attacks - game.attacks
    return TASKS[game.phase].format(
        game.reserve[player], left, names[target], game.armies[target], game.armies[start] - 1, names[start]
    )


def card(game: Risk, number: int) -> str:
    """Return a card in words."""
    kind = game.kind(number)
    return kind if number >= len(game.chart.territories) else f"{game.chart.territories[number]} ({kind})"


def mission(game: Risk, aim: Mission) -> str:
    """Return a mission in words."""
    match aim.kind:
        case "continents":
            return "hold " + " and ".join(game.chart.continents[one].name for one in aim.continents)
        case "territories":
            return f"hold {aim.number} territories"
    return f"see Player {aim.number + 1} out, whoever does it"


def remarks(game: Risk) -> list[Order]:
    """Return examples of what the player to move may say."""
    player, options = game.current, game.options
    others = [one for one in range(options.players) if one != player and one not in game.out]
    found = [Order("say", text="I mean no harm.")]
    for other in others:
        between = [one for one in game.treaties if {one.proposer, one.partner} == {player, other}]
        if options.private_messages:
            found.append(Order("say", to=other, text="Let us be friends."))
        if not between:
            found.append(Order("offer", to=other, number=min(2, options.max_rounds)))
        if any(one.proposer == other and not one.until for one in between):
            found.append(Order("accept", to=other))
    return found
