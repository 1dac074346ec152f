"""Orders in Risk: how they are written, how they are read out of what a player says, and when they are refused.

    claim Peru                              place 3 Peru, 2 Alaska         trade 1 2 3
    attack Alaska -> Kamchatka with 3       attack Peru -> Brazil with all
    move 4                                  fortify Peru -> Brazil 3       done
    say: text                               tell Player 2: text
    offer peace to Player 2 for 3 rounds    accept peace with Player 2

An order stands on one line; the last line that holds one counts, and in it the last order. A line that begins with
``say:`` or ``tell Player 2:`` is a message to its end, whatever it says. A count that is left out is filled in where
there is only one sensible reading: the most dice for one throw, all new armies in the one territory that is named.
"""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from palaestra.envs.errors import UnparsableAction
from palaestra.envs.games.risk_map import RiskMap
from palaestra.envs.grammar import shorten

if TYPE_CHECKING:
    from palaestra.envs.games.risk import Risk

Kind = Literal["claim", "place", "trade", "attack", "move", "fortify", "done", "say", "offer", "accept"]

_NUMBER = r"(?:(?<!\d)\d++)"

MOST = -1
"""A count that was not written: as many as there can be."""

EXAMPLES = {
    "claim": "claim {0}",
    "deploy": "place 1 {0}",
    "place": "place 2 {0}, 1 {1}",
    "attack": "attack {0} -> {1} with 3, or done",
    "occupy": "move 3",
    "fortify": "fortify {0} -> {1} 2, or done",
    "over": "done",
}


class Order(NamedTuple):
    """One order.

    Attributes:
        where, to: Territories; for messages and treaties ``to`` is a player, -1 for all.
        number: Dice (0: until it is decided), armies or rounds.
        armies: (territory, count) of a placement, each territory once.
        cards: Positions in the hand, from 0, ascending.
    """

    kind: Kind
    where: int = -1
    to: int = -1
    number: int = 0
    armies: tuple[tuple[int, int], ...] = ()
    cards: tuple[int, ...] = ()
    text: str = ""


def write_order(order: Order, chart: RiskMap) -> str:
    """Return an order in its one canonical form."""
    names = chart.territories
    match order.kind:
        case "claim":
            return f"claim {names[order.where]}"
        case "place":
            return "place " + ", ".join(f"{count} {names[territory]}" for territory, count in order.armies)
        case "trade":
            return "trade " + " ".join(str(card + 1) for card in order.cards)
        case "attack":
            return f"attack {names[order.where]} -> {names[order.to]} with {order.number or 'all'}"
        case "move":
            return f"move {order.number}"
        case "fortify":
            return f"fortify {names[order.where]} -> {names[order.to]} {order.number}"
        case "say":
            return f"say: {order.text}" if order.to < 0 else f"tell Player {order.to + 1}: {order.text}"
        case "offer":
            return f"offer peace to Player {order.to + 1} for {order.number} rounds"
        case "accept":
            return f"accept peace with Player {order.to + 1}"
    return "done"


def read_order(text: str, chart: RiskMap, phase: str) -> Order:
    """Return the last order that a text names; counts that it leaves open are `MOST`.

    Raises:
        UnparsableAction: No order, or one that is not complete.
    """
    for line in map(_single_spaced, reversed(text.splitlines())):
        if (order := _message(line)) is not None or (order := _last(line, chart, phase)) is not None:
            return order
    example = EXAMPLES[phase].format(*chart.territories)
    raise UnparsableAction(f"no order found in {shorten([text], 80)!r}; write one on a line, such as {example}.")


def _single_spaced(line: str) -> str:
    return " ".join(line.split())


_MESSAGE = re.compile(r"\W*(?:say\s*:|tell\s+player\s*(\d)\s*:)\s*(\S.*)", re.IGNORECASE)


def _message(line: str) -> Order | None:
    found = _MESSAGE.match(line)
    if found is None:
        return None
    return Order("say", to=int(found[1]) - 1 if found[1] else -1, text=found[2])


def _last(line: str, chart: RiskMap, phase: str) -> Order | None:
    """Return the order that ends last in a line."""
    grammar = _grammar(chart.territories)
    orders = [
        (match.end(), match.start(), kind, match)
        for kind, pattern in grammar.orders
        for match in pattern.finditer(line)
    ]
    if not orders:
        return grammar.bare(line, phase)
    _, _, kind, match = max(orders, key=lambda one: (one[0], -one[1]))
    return grammar.order(kind, match, phase)


class _Grammar:
    """The patterns for one map's names."""

    def __init__(self, territories: tuple[str, ...]) -> None:
        self.numbers = {_key(name): index for index, name in enumerate(territories)}
        self.names = territories
        spelled = sorted((r"\s+".join(map(re.escape, name.split())) for name in territories), key=len, reverse=True)
        self.name = rf"(?<![\w'-])(?:{'|'.join(spelled)})(?![\w'-])"
        arrow = r"\s*(?:-+>|=+>|→|to|into|against|-)\s*"
        many = rf"(?:{_NUMBER}|all)"
        dice = rf"(?:\s*,?\s*(?:with|using)\s+({many})(?:\s+(?:dice|armies|die))?)?"
        count = rf"(?:\s*[,:]?\s*(?:with\s+)?({many})\b)?"
        force = rf"{many}\s*(?:new\s+)?(?:armies|army|troops|units)?\s*(?:in|on|to|at|into)?\s*"
        item = rf"(?>{force}{self.name}|{self.name}\s*(?:[:=+]|with)?\s*{many}|{self.name})"
        self.items = re.compile(item, re.IGNORECASE)
        listing = rf"({item}(?:(?:\s*[,;&+]\s*|\s+)(?:and\s+)?{item})*+)"
        raw: list[tuple[str, str]] = [
            ("attack", rf"\battack(?:s|ing)?\s+(?:from\s+)?({self.name}){arrow}({self.name}){dice}"),
            ("attack from", rf"\battack(?:s|ing)?\s+({self.name})\s+from\s+({self.name}){dice}"),
            ("fortify", rf"\bfortify\s+(?:from\s+)?({self.name}){arrow}({self.name}){count}"),
            (
                "fortify count",
                rf"\b(?:fortify|move)\s+({many})\s*(?:armies|army|troops|units)?\s*(?:from\s+)?({self.name}){arrow}({self.name})",
            ),
            ("place", rf"\b(?:place|put|deploy|reinforce|add)\s+{listing}"),
            ("claim", rf"\bclaim\s+({self.name})"),
            ("move", rf"\bmove\s+({many})\b"),
            ("trade", rf"\btrade\b(?:\s+in)?(?:\s+cards?)?((?:\s*(?:,|and|\+)?\s*#?{_NUMBER})*+)"),
            ("done", r"\b(?:done|end\s+(?:the\s+|my\s+)?(?:turn|attacks?)|no\s+(?:more\s+)?attacks?|stop|pass)\b"),
            ("offer", r"\boffer\s+peace\s+(?:to|with)\s+player\s*(\d)\s+for\s+(\d{1,3})\s+rounds?\b"),
            ("accept", r"\baccept\s+(?:the\s+)?peace\s+(?:with|from|of)\s+player\s*(\d)\b"),
        ]
        self.orders = [(kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in raw]
        self.only_name = re.compile(rf"\W*({self.name})\W*", re.IGNORECASE)
        self.only_count = re.compile(rf"\W*({many})(?:\s+armies)?\W*", re.IGNORECASE)
        self.only_items = re.compile(rf"\W*{listing}\W*", re.IGNORECASE)

    def order(self, kind: str, match: re.Match[str], phase: str) -> Order:
        match kind:
            case "attack":
                return Order("attack", self.number(match[1]), self.number(match[2]), _count(match[3], every=0))
            case "attack from":
                return Order("attack", self.number(match[2]), self.number(match[1]), _count(match[3], every=0))
            case "fortify":
                return Order("fortify", self.number(match[1]), self.number(match[2]), _count(match[3]))
            case "fortify count":
                return Order("fortify", self.number(match[2]), self.number(match[3]), _count(match[1]))
            case "place":
                return self.placement(match[1])
            case "claim":
                return Order("claim", self.number(match[1]))
            case "move":
                return Order("move", number=_count(match[1]))
            case "trade":
                return Order("trade", cards=tuple(sorted({_whole(one) - 1 for one in re.findall(r"\d+", match[1])})))
            case "offer":
                return Order("offer", to=int(match[1]) - 1, number=_whole(match[2]))
            case "accept":
                return Order("accept", to=int(match[1]) - 1)
        return Order("done")

    def bare(self, line: str, phase: str) -> Order | None:
        """Return what a line without a verb means in this phase, if it can mean one thing only."""
        if phase == "claim" and (found := self.only_name.fullmatch(line)):
            return Order("claim", self.number(found[1]))
        if phase in ("place", "deploy") and (found := self.only_items.fullmatch(line)):
            return self.placement(found[1])
        if phase == "occupy" and (found := self.only_count.fullmatch(line)):
            return Order("move", number=_count(found[1]))
        return None

    def placement(self, listing: str) -> Order:
        """Return a placement; a territory that is named twice gets both."""
        counts: dict[int, int] = {}
        for item in self.items.finditer(listing):
            name = re.search(self.name, item[0], re.IGNORECASE)
            assert name is not None
            digits = re.search(r"\d+", item[0])
            count = _whole(digits[0]) if digits else MOST
            territory = self.number(name[0])
            if MOST in (count, counts.get(territory, 0)) and counts:
                raise UnparsableAction("say how many armies go to each territory, such as: place 2 " + name[0] + ".")
            counts[territory] = counts.get(territory, 0) + count
        return Order("place", armies=tuple(counts.items()))

    def number(self, name: str) -> int:
        return self.numbers[_key(name)]


def _key(name: str) -> str:
    return _single_spaced(name.lower())


def _count(text: str | None, every: int = MOST) -> int:
    """Return a written count; `MOST` if there is none, and ``every`` for the word *all*."""
    if text is None:
        return MOST
    return every if text.lower() == "all" else _whole(text)


def _whole(digits: str) -> int:
    """Return a number; of one that is longer than any count of this game, the beginning, which is too much as well."""
    return int(digits[:9])


@lru_cache(maxsize=32)
def _grammar(territories: tuple[str, ...]) -> _Grammar:
    return _Grammar(territories)


def filled_in(game: Risk, player: int, order: Order) -> Order:
    """Return the order with the counts that were left open."""
    if order.kind == "place" and len(order.armies) == 1 and order.armies[0][1] == MOST:
        return order._replace(armies=((order.armies[0][0], 1 if game.phase == "deploy" else game.reserve[player]),))
    if order.kind == "trade" and not order.cards and len(sets := game.sets(player)) == 1:
        return order._replace(cards=sets[0])
    if order.number != MOST:
        return order
    if order.kind == "attack":
        return order._replace(number=max(1, min(3, game.armies[order.where] - 1)))
    start = game.front[0] if order.kind == "move" else order.where
    return order._replace(number=max(1, game.armies[start] - 1))


PHASES: dict[str, tuple[str, ...]] = {
    "claim": ("claim",),
    "deploy": ("place",),
    "place": ("place", "trade"),
    "attack": ("attack", "done"),
    "occupy": ("move",),
    "fortify": ("fortify", "done"),
}


def fault(game: Risk, player: int, order: Order) -> str:
    """Return why an order is not legal now; empty if it is."""
    if order.kind in ("say", "offer", "accept"):
        return _talk_fault(game, player, order)
    if order.kind not in PHASES[game.phase]:
        example = EXAMPLES[game.phase].format(*game.chart.territories)
        return f"{order.kind!r} is no order of this phase ({game.phase}); write {example}."
    names = game.chart.territories
    match order.kind:
        case "claim" if game.armies[order.where]:
            return f"{names[order.where]} is taken."
        case "place":
            return _placement_fault(game, player, order)
        case "trade":
            return _trade_fault(game, player, order)
        case "attack":
            return _attack_fault(game, player, order)
        case "move":
            most = game.armies[game.front[0]] - 1
            return "" if 0 <= order.number <= most else f"{order.number} more armies cannot move; 0 to {most} can."
        case "fortify":
            return _march_fault(game, player, order)
    return ""


def _talk_fault(game: Risk, player: int, order: Order) -> str:
    options = game.options
    if not options.messages:
        return "there is no talk in this game; write an order."
    if order.kind != "accept" and game.said >= options.messages:
        return f"you may speak {options.messages} times a turn, and you have; write an order."
    if len(order.text) > options.max_talk:
        return f"your message has {len(order.text)} characters; at most {options.max_talk} are allowed."
    if order.to >= 0 and (order.to >= options.players or order.to in game.out or order.to == player):
        return f"Player {order.to + 1} is not there to talk to."
    if order.kind == "say":
        hidden = order.to >= 0 and not options.private_messages
        return "messages go to all in this game; begin with say:" if hidden else ""
    between = [one for one in game.treaties if {one.proposer, one.partner} == {player, order.to}]
    if order.kind == "accept":
        offered = any(one.proposer == order.to and not one.until for one in between)
        return "" if offered else f"Player {order.to + 1} has offered you no peace."
    if not 1 <= order.number <= options.max_rounds:
        return f"peace can be offered for 1 to {options.max_rounds} rounds."
    return f"there is a treaty or an offer with Player {order.to + 1} already." if between else ""


def _placement_fault(game: Risk, player: int, order: Order) -> str:
    if game.must_trade():
        return f"with {len(game.hands[player])} cards you must trade first, such as: trade {_positions(game, player)}."
    names = game.chart.territories
    for territory, count in order.armies:
        if game.owner[territory] != player:
            return f"{names[territory]} is not yours."
        if count < 1:
            return f"{count} armies in {names[territory]} is no placement; leave it out."
    total = sum(count for _, count in order.armies)
    if game.phase == "deploy":
        return "" if total == 1 else "place one army at a time now."
    due = game.reserve[player]
    return "" if total == due else f"you place {total} armies, but have {due}; place all of them in one order."


def _positions(game: Risk, player: int) -> str:
    return " ".join(str(card + 1) for card in game.sets(player)[0])


def _trade_fault(game: Risk, player: int, order: Order) -> str:
    sets = game.sets(player)
    if order.cards in sets:
        return ""
    if not sets:
        return "you have no set to trade: three of one kind, or one of each."
    return f"these cards are no set; trade {_positions(game, player)}, for example."


def _attack_fault(game: Risk, player: int, order: Order) -> str:
    names, start, target = game.chart.territories, order.where, order.to
    if game.owner[start] != player:
        return f"{names[start]} is not yours."
    if game.owner[target] == player:
        return f"{names[target]} is yours."
    if target not in game.chart.borders[start]:
        near = ", ".join(names[one] for one in game.chart.borders[start])
        return f"{names[target]} does not border {names[start]}; it borders {near}."
    if game.armies[start] < 2:
        return f"{names[start]} has 1 army, and one must stay."
    if order.number > min(3, game.armies[start] - 1):
        return f"{order.number} dice are too many for {game.armies[start]} armies: at most 3, and one army stays."
    return ""


def _march_fault(game: Risk, player: int, order: Order) -> str:
    names, start, target = game.chart.territories, order.where, order.to
    for territory in (start, target):
        if game.owner[territory] != player:
            return f"{names[territory]} is not yours."
    if (start, target) not in game.marches(player):
        if game.armies[start] < 2:
            return f"{names[start]} has 1 army, and one must stay."
        return f"no way through your territories leads from {names[start]} to {names[target]}."
    most = game.armies[start] - 1
    return "" if 1 <= order.number <= most else f"{order.number} armies cannot move; 1 to {most} can."


def nearest(text: str, chart: RiskMap) -> str:
    """Return a hint at the territory that a word of the text may mean; empty if there is none."""
    words = re.findall(r"[A-Za-z][A-Za-z'-]{3,}", text)
    for word in dict.fromkeys(reversed(words)):
        if close := difflib.get_close_matches(word.title(), chart.territories, n=1, cutoff=0.75):
            return f" Did you mean {close[0]!r}?"
    return ""
