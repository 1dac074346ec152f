"""Risk: conquest by dice, with cards, continents, missions and talk, on a map that is data.

A *round* is a turn of every player who is still in. A turn goes through *phases*: place new armies (trading in cards
for more), attack as often as one likes, fortify once. In every phase the player may also speak, to all or to one,
and offer or accept peace; treaties bind nobody, but whoever breaks one is named.

Dice: the attacker throws up to three, one fewer than its armies; the defender up to two. The highest of each are
compared, then the second; ties are the defender's. After a conquest as many armies as dice move in, and more if one
likes.

A player who conquered something draws a card at the end of the turn. Three cards of one kind, or of three kinds (a wild
card is any), buy armies: 4, 6, 8, 10, 12, 15, then 5 more each time. With five cards one must trade. Who eliminates a
player gets its cards.

The last player wins, or the first to fulfil its secret mission; when the last round is over, territories decide. With
s a player's share of the territories held by players (1 for a winner, 0 for who is out) its return is
(n s - 1) / (n - 1): 1 for everything, 0 for an even share, and the returns of all players add up to 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self, cast

from palaestra.envs.errors import IllegalAction, UnparsableAction
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.games import risk_words as words
from palaestra.envs.games.risk_map import RiskMap, load_map
from palaestra.envs.games.risk_orders import Order, fault, filled_in, nearest, read_order, write_order
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice

ROLES = tuple(f"player {number}" for number in range(1, 7))
NEUTRAL = -1
START_ARMIES = {2: 40, 3: 35, 4: 30, 5: 25, 6: 20}
"""Armies of a player at the start on the classic map of 42 territories; scaled to the size of others."""
SETS = (4, 6, 8, 10, 12, 15)
KINDS = ("infantry", "cavalry", "artillery")
WILD = "wild"
HAND = 5
"""Cards with which a player must trade."""

Phase = Literal["claim", "deploy", "place", "attack", "occupy", "fortify", "over"]


@dataclass(frozen=True)
class RiskOptions:
    """Map, players and rules.

    Attributes:
        map: ``classic`` (42 territories), ``small`` (12), or the content of a map file
            (`palaestra.envs.games.risk_map.read_map`).
        players: 2 to 6; with 2, a neutral side that never moves holds a third of the map.
        start: ``dealt`` deals territories and armies by lot; ``claimed`` lets the players claim and place in turn.
        missions: Whether each player has a secret mission.
        max_rounds: Rounds after which territories decide.
        max_attacks: Attacks in one turn; after these the player can only fortify.
        messages: Messages and treaty offers in one turn; 0 for a game without talk.
        private_messages: Whether a message may go to one player alone.
        max_talk: Characters of one message.
        fortify: Whether armies march through any chain of own territories or to a neighbour only.
        view: ``list`` names every territory with its neighbours; ``map`` draws the map from its layout, too.
    """

    map: str | dict[str, Any] = "classic"
    players: int = 3
    start: Literal["dealt", "claimed"] = "dealt"
    missions: bool = False
    max_rounds: int = 12
    max_attacks: int = 10
    messages: int = 1
    private_messages: bool = True
    max_talk: int = 200
    fortify: Literal["chain", "neighbour"] = "chain"
    view: Literal["list", "map"] = "list"

    def __post_init__(self) -> None:
        if not 2 <= self.players <= 6:
            raise ValueError(f"players is {self.players}, expected 2 to 6")
        for name, least in (("max_rounds", 1), ("max_attacks", 1), ("messages", 0), ("max_talk", 20)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {least}")
        chart = load_map(self.map)
        sides = max(3, self.players)
        if len(chart.territories) < sides:
            raise ValueError(f"map {chart.name} has {len(chart.territories)} territories, too few for {sides} sides")
        if self.view == "map" and not chart.layout:
            raise ValueError(f"map {chart.name} has no layout to draw; use view=list")


class Mission(NamedTuple):
    """A secret aim: continents to hold, a number of territories to hold, or a player to outlive."""

    kind: Literal["continents", "territories", "eliminate"]
    continents: tuple[int, ...] = ()
    number: int = 0


class Treaty(NamedTuple):
    """Peace between two players, the one who offered it first; in force through round ``until`` once accepted."""

    proposer: int
    partner: int
    rounds: int
    until: int
    """0 while it is an offer."""


class Risk(Game):
    """One game; players and territories are numbered from 0."""

    id = "risk"
    summary = "conquest with dice, cards and diplomacy, 2 to 6 players"
    Options = RiskOptions

    chart: RiskMap
    owner: list[int]
    """By territory, its player or `NEUTRAL`."""
    armies: list[int]
    hands: list[list[int]]
    """Cards of each player; card c < territories shows that territory, others are wild."""
    deck: list[int]
    discard: list[int]
    sets_traded: int
    reserve: list[int]
    """Armies that each player still has to put on the map."""
    phase: Phase
    current: int
    round: int
    attacks: int
    """Attacks in this turn."""
    said: int
    """Messages and offers in this turn."""
    conquered: bool
    front: tuple[int, int]
    """Where the last conquest was: from, to."""
    out: tuple[int, ...]
    """Players who are eliminated or have left, in order."""
    treaties: list[Treaty]
    broken: list[tuple[int, int, int]]
    """(round, breaker, victim) of attacks under a treaty."""
    agreed: int
    """Treaties that were accepted."""
    missions: tuple[Mission, ...]
    winner: int | None

    @property
    def facts(self) -> GameFacts:
        return self._facts

    def setup(self) -> None:
        options: RiskOptions = self.options
        self.chart = load_map(options.map)
        size, players = len(self.chart.territories), options.players
        self._facts = _facts(options, self.chart)
        self.owner, self.armies = [NEUTRAL] * size, [0] * size
        self.hands = [[] for _ in range(players)]
        self.deck = list(range(size + 2))
        self.dice.shuffle(self.deck)
        self.discard, self.treaties, self.broken = [], [], []
        self.sets_traded = self.attacks = self.said = self.agreed = 0
        self.conquered = False
        self.front = (0, 0)
        self.out = ()
        self.winner = None
        self.round, self.current = 1, 0
        sides = max(3, players)
        start = max(START_ARMIES[players] * size // 42, -(-size // sides) + 2)
        self.reserve = [start] * players
        self.missions = tuple(self._deal_missions()) if options.missions else ()
        if players == 2:
            self._neutral(start)
        if options.start == "claimed":
            self.phase = "claim"
            return
        self._deal()
        self._begin_turn()

    def _deal_missions(self) -> list[Mission]:
        size, players = len(self.chart.territories), self.options.players
        drawn = []
        for player in range(players):
            pile = [Mission("continents", continents) for continents in self.chart.missions]
            pile.append(Mission("territories", number=-(-size * 4 // 7)))
            pile += [Mission("eliminate", number=other) for other in range(players) if other != player and players > 2]
            drawn.append(self.dice.choice(pile))
        return drawn

    def _neutral(self, start: int) -> None:
        """Give a third of the map to the neutral side, its armies spread evenly."""
        size = len(self.chart.territories)
        territories = list(range(size))
        self.dice.shuffle(territories)
        held = territories[: size // 3]
        for index, territory in enumerate(sorted(held)):
            self.armies[territory] = start // len(held) + (index < start % len(held))

    def _deal(self) -> None:
        free = [territory for territory, count in enumerate(self.armies) if not count]
        self.dice.shuffle(free)
        for index, territory in enumerate(free):
            self._put(index % self.options.players, territory)
        for player, left in enumerate(self.reserve):
            own = self.held(player)
            for _ in range(left):
                self._put(player, self.dice.choice(own))

    def _put(self, player: int, territory: int, count: int = 1) -> None:
        self.owner[territory] = player
        self.armies[territory] += count
        self.reserve[player] -= count

    # ------------------------------------------------------------------ looking

    def players_to_move(self) -> tuple[int, ...]:
        return () if self.phase == "over" else (self.current,)

    def held(self, player: int) -> list[int]:
        """Return a player's territories."""
        return [territory for territory, owner in enumerate(self.owner) if owner == player]

    def continents_of(self, player: int) -> list[int]:
        """Return the continents that a player holds entirely."""
        return [
            index
            for index, continent in enumerate(self.chart.continents)
            if all(self.owner[territory] == player for territory in continent.territories)
        ]

    def income(self, player: int) -> int:
        """Return the armies a player gets at the beginning of a turn, cards apart."""
        bonus = sum(self.chart.continents[index].bonus for index in self.continents_of(player))
        return max(3, len(self.held(player)) // 3) + bonus

    def kind(self, card: int) -> str:
        """Return a card's kind."""
        return WILD if card >= len(self.chart.territories) else KINDS[card % 3]

    def sets(self, player: int) -> list[tuple[int, int, int]]:
        """Return the sets that can be traded, as positions in the hand from 0, in order."""
        hand = self.hands[player]
        found = []
        for a in range(len(hand)):
            for b in range(a + 1, len(hand)):
                for c in range(b + 1, len(hand)):
                    kinds = [self.kind(hand[one]) for one in (a, b, c)]
                    plain = [kind for kind in kinds if kind != WILD]
                    if len(plain) < 3 or len(set(plain)) != 2:
                        found.append((a, b, c))
        return found

    def set_value(self) -> int:
        """Return the armies that the next set brings."""
        traded = self.sets_traded
        return SETS[traded] if traded < len(SETS) else SETS[-1] + 5 * (traded - len(SETS) + 1)

    def must_trade(self) -> bool:
        """Return whether the player to move must trade in cards before anything else."""
        return self.phase == "place" and len(self.hands[self.current]) >= HAND

    def fronts(self, player: int) -> list[tuple[int, int]]:
        """Return all (from, to) a player could attack."""
        return [
            (start, target)
            for start in self.held(player)
            if self.armies[start] > 1
            for target in self.chart.borders[start]
            if self.owner[target] != player
        ]

    def marches(self, player: int) -> list[tuple[int, int]]:
        """Return all (from, to) between which a player could move armies at the end of its turn."""
        own = set(self.held(player))
        found = []
        for start in sorted(own):
            if self.armies[start] > 1:
                reached = (
                    self._reached(start, own)
                    if self.options.fortify == "chain"
                    else own.intersection(self.chart.borders[start])
                )
                found += [(start, target) for target in sorted(reached) if target != start]
        return found

    def _reached(self, start: int, own: set[int]) -> set[int]:
        reached, frontier = {start}, [start]
        while frontier:
            for neighbour in self.chart.borders[frontier.pop()]:
                if neighbour in own and neighbour not in reached:
                    reached.add(neighbour)
                    frontier.append(neighbour)
        return reached

    def prompt(self, player: int) -> str:
        return words.prompt(self, player)

    def recap(self, player: int) -> str:
        return words.recap(self, player)

    def board(self, player: int) -> str:
        return words.board(self, player)

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return the whole position but the deck and what others hold, with every event this player has seen."""
        return {
            "player": player,
            "current": self.current,
            "phase": self.phase,
            "round": self.round,
            "territories": list(self.chart.territories),
            "borders": [list(neighbours) for neighbours in self.chart.borders],
            "continents": [
                {"name": one.name, "bonus": one.bonus, "territories": list(one.territories)}
                for one in self.chart.continents
            ],
            "owner": list(self.owner),
            "armies": list(self.armies),
            "reserve": self.reserve[player] if player == self.current else 0,
            "reserves": list(self.reserve),
            "hand": [[card, self.kind(card)] for card in self.hands[player]],
            "sets": [list(one) for one in self.sets(player)],
            "cards": [len(hand) for hand in self.hands],
            "sets_traded": self.sets_traded,
            "front": list(self.front) if self.phase == "occupy" else None,
            "attacks": self.attacks,
            "said": self.said,
            "conquered": self.conquered,
            "out": list(self.out),
            "mission": list(self.missions[player]) if self.missions else None,
            "treaties": [list(one) for one in self.treaties if player in one[:2]],
            "events": [event.to_json() for event in self.log if event.visible_to(player)],
        }

    # ------------------------------------------------------------------ orders

    def legal_actions(self, player: int) -> Sequence[str]:
        """Return examples of every kind of order that is legal now."""
        return [write_order(order, self.chart) for order in self._examples()]

    def _examples(self) -> list[Order]:
        player, reserve = self.current, self.reserve[self.current]
        found: list[Order] = []
        match self.phase:
            case "claim":
                found = [Order("claim", where=territory) for territory, count in enumerate(self.armies) if not count]
            case "deploy":
                found = [Order("place", armies=((territory, 1),)) for territory in self.held(player)]
            case "place":
                found = [Order("trade", cards=cards) for cards in self.sets(player)]
                if not self.must_trade():
                    found += [Order("place", armies=((territory, reserve),)) for territory in self.held(player)]
            case "attack":
                for start, target in self.fronts(player):
                    most = min(3, self.armies[start] - 1)
                    found += [Order("attack", where=start, to=target, number=dice) for dice in (most, 0)]
                found.append(Order("done"))
            case "occupy":
                found = [Order("move", number=count) for count in range(self.armies[self.front[0]])]
            case "fortify":
                found = [
                    Order("fortify", where=start, to=target, number=self.armies[start] - 1)
                    for start, target in self.marches(player)
                ]
                found.append(Order("done"))
        if found and self.said < self.options.messages:
            found += words.remarks(self)
        return found

    def parse(self, player: int, text: str) -> Action:
        try:
            order = filled_in(self, player, read_order(text, self.chart, self.phase))
        except UnparsableAction as error:
            raise UnparsableAction(error.reason + nearest(text, self.chart)) from None
        return write_order(order, self.chart)

    def check(self, player: int, action: Action) -> None:
        self._checked(player, action)

    def _checked(self, player: int, action: Action) -> Order:
        """Return what a canonical action says, if it is legal."""
        try:
            order = read_order(action, self.chart, self.phase) if isinstance(action, str) else None
        except UnparsableAction as error:
            raise IllegalAction(error.reason) from None
        if order is None or write_order(order, self.chart) != action:
            raise IllegalAction(f"{action!r:.80} is not in canonical form; pass what `parse` returns.")
        if reason := fault(self, player, order):
            raise IllegalAction(reason)
        return order

    def sample_action(self, player: int, dice: Dice) -> Action:
        """Return a random order: of a random kind first, so that there is not only attack, and placements are split."""
        examples = self._examples()
        kind = dice.choice(sorted({order.kind for order in examples}))
        order = dice.choice([one for one in examples if one.kind == kind])
        if order.kind == "place" and self.reserve[player] > 1 and self.phase == "place":
            first = 1 + dice.below(self.reserve[player])
            other = dice.choice(self.held(player))
            parts = Counter({order.armies[0][0]: first})
            parts[other] += self.reserve[player] - first
            order = order._replace(armies=tuple((where, count) for where, count in parts.items() if count))
        return write_order(order, self.chart)

    # ------------------------------------------------------------------ what happens

    def _apply(self, player: int, action: Action) -> None:
        order = read_order(cast(str, action), self.chart, self.phase)
        match order.kind:
            case "say":
                self.said += 1
                to = None if order.to < 0 else (player, order.to)
                self.emit("message", order.text, source=player, to=to)
            case "offer":
                self.said += 1
                self.treaties.append(Treaty(player, order.to, order.number, 0))
                self._tell(player, f"offers Player {order.to + 1} peace for {order.number} rounds", (player, order.to))
            case "accept":
                self._accept(player, order.to)
            case "claim":
                self._put(player, order.where)
                self._tell(player, f"claims {self._at(order.where)}")
                self._next_to_start()
            case "place":
                self._place(player, order)
            case "trade":
                self._trade(player, order.cards)
            case "attack":
                self._attack(player, order)
            case "move":
                self._move(*self.front, order.number)
                self.phase = "attack"
                self._after_attack(player)
            case "fortify":
                self._move(order.where, order.to, order.number)
                self._tell(player, f"moves {order.number} from {self._at(order.where)} to {self._at(order.to)}")
                self._end_turn()
            case "done" if self.phase == "attack":
                self._to_fortify(player)
            case "done":
                self._end_turn()

    def _at(self, territory: int) -> str:
        return self.chart.territories[territory]

    def _tell(self, player: int, what: str, to: tuple[int, ...] | None = None) -> None:
        self.emit("move", f"Player {player + 1} {what}.", source=player, to=to)

    def _announce(self, text: str) -> None:
        self.emit("admin", text)

    def _move(self, start: int, target: int, count: int) -> None:
        self.armies[start] -= count
        self.armies[target] += count

    def _next_to_start(self) -> None:
        """While the map is claimed and filled, the players take turns; then the first turn begins."""
        if all(self.armies):
            self.phase = "deploy"
        waiting = [
            player for player in self._order_after(self.current) if self.reserve[player] or self.phase == "claim"
        ]
        if waiting:
            self.current = waiting[0]
        else:
            self.current = self._order_after(self.options.players - 1)[0]
            self._begin_turn()

    def _order_after(self, player: int) -> list[int]:
        """Return the players who are in, beginning with the one after ``player``."""
        count = self.options.players
        return [one % count for one in range(player + 1, player + 1 + count) if one % count not in self.out]

    def _begin_turn(self) -> None:
        self.phase = "place"
        self.attacks = self.said = 0
        self.conquered = False
        self.treaties = [one for one in self.treaties if not one.until or one.until >= self.round]
        self.reserve[self.current] += self.income(self.current)

    def _place(self, player: int, order: Order) -> None:
        for territory, count in order.armies:
            self._put(player, territory, count)
        listing = ", ".join(f"{count} in {self._at(territory)}" for territory, count in order.armies)
        self._tell(player, f"places {listing}")
        if self.phase == "deploy":
            self._next_to_start()
        elif not self.reserve[player]:
            self.phase = "attack"
            self._after_attack(player)

    def _trade(self, player: int, cards: tuple[int, ...]) -> None:
        hand = self.hands[player]
        traded = [hand[position] for position in cards]
        self.hands[player] = [card for position, card in enumerate(hand) if position not in cards]
        self.discard += traded
        value = self.set_value()
        self.sets_traded += 1
        self.reserve[player] += value
        own = [card for card in traded if card < len(self.owner) and self.owner[card] == player]
        bonus = ""
        if own:
            self.armies[own[0]] += 2
            bonus = f" and 2 in {self._at(own[0])}, which a card shows"
        kinds = ", ".join(self.kind(card) for card in traded)
        self._tell(player, f"trades {kinds} for {value} armies{bonus}")

    def _attack(self, player: int, order: Order) -> None:
        start, target = order.where, order.to
        defender = self.owner[target]
        self.attacks += 1
        self._check_treaty(player, defender)
        lost = [0, 0]
        thrown = order.number
        rolls = []
        while self.armies[start] > 1 and self.armies[target] > 0:
            thrown = min(order.number or 3, 3, self.armies[start] - 1)
            attack = sorted((1 + self.dice.below(6) for _ in range(thrown)), reverse=True)
            defence = sorted((1 + self.dice.below(6) for _ in range(min(2, self.armies[target]))), reverse=True)
            for one, other in zip(attack, defence, strict=False):
                side = 0 if other >= one else 1
                lost[side] += 1
                self.armies[(start, target)[side]] -= 1
            rolls.append((attack, defence))
            if order.number:
                break
        whose = f"Player {defender + 1}'s" if defender != NEUTRAL else "the neutral"
        attack, defence = rolls[-1]
        dice = f" ({' '.join(map(str, attack))} against {' '.join(map(str, defence))})" if len(rolls) == 1 else ""
        told = f"attacks {whose} {self._at(target)} from {self._at(start)}{dice}: loses {lost[0]}, kills {lost[1]}"
        if self.armies[target]:
            self._tell(player, told)
            self._after_attack(player)
            return
        self._tell(player, f"{told}, and conquers it")
        self.conquered = True
        self.owner[target] = player
        self._move(start, target, min(thrown, self.armies[start] - 1))
        if defender != NEUTRAL and not self.held(defender):
            self._eliminated(defender, player)
        if self._won(player):
            return
        self.front = (start, target)
        if self.armies[start] > 1:
            self.phase = "occupy"
        else:
            self._after_attack(player)

    def _check_treaty(self, player: int, defender: int) -> None:
        for treaty in self.treaties:
            if treaty.until >= self.round and {treaty.proposer, treaty.partner} == {player, defender}:
                self.broken.append((self.round, player, defender))
                self._announce(f"Player {player + 1} breaks the peace with Player {defender + 1}.")
        self.treaties = [
            one for one in self.treaties if not (one.until and {one.proposer, one.partner} == {player, defender})
        ]

    def _accept(self, player: int, proposer: int) -> None:
        index, offer = next(
            (index, one) for index, one in enumerate(self.treaties) if one[:2] == (proposer, player) and not one.until
        )
        self.treaties[index] = offer._replace(until=self.round + offer.rounds - 1)
        self.agreed += 1
        self._announce(f"Player {player + 1} and Player {proposer + 1} make peace for {offer.rounds} rounds.")

    def _eliminated(self, loser: int, by: int) -> None:
        self.out = (*self.out, loser)
        self.hands[by] += self.hands[loser]
        self.hands[loser] = []
        self._announce(f"Player {loser + 1} is eliminated by Player {by + 1}.")
        self.treaties = [one for one in self.treaties if loser not in one[:2]]

    def _after_attack(self, player: int) -> None:
        """End the game if it is won; let a player with too many cards trade; go on to fortify if no attack is left."""
        if self._won(player):
            return
        if len(self.hands[player]) > HAND:
            self.phase = "place"
        elif self.attacks >= self.options.max_attacks or not self.fronts(player):
            self._to_fortify(player)

    def _won(self, player: int) -> bool:
        left = [one for one in range(self.options.players) if one not in self.out]
        mission = self.missions[player] if self.missions else None
        neutral = NEUTRAL in self.owner
        if len(left) == 1 or (not neutral and len(self.held(player)) == len(self.owner)):
            self._end(left[0], "the last player on the map")
        elif mission is not None and self._fulfilled(player, mission):
            self._end(player, f"the mission was to {words.mission(self, mission)}")
        return self.phase == "over"

    def _fulfilled(self, player: int, mission: Mission) -> bool:
        match mission.kind:
            case "continents":
                return set(mission.continents) <= set(self.continents_of(player))
            case "territories":
                return len(self.held(player)) >= mission.number
        return mission.number in self.out

    def _to_fortify(self, player: int) -> None:
        self.phase = "fortify"
        if not self.marches(player):
            self._end_turn()

    def _end_turn(self) -> None:
        player = self.current
        if self.conquered:
            self._draw_card(player)
        self._next_turn()

    def _draw_card(self, player: int) -> None:
        if not self.deck:
            self.deck, self.discard = self.discard, []
            self.dice.shuffle(self.deck)
        if self.deck:
            card = self.deck.pop()
            self.hands[player].append(card)
            self.emit("admin", f"You draw {words.card(self, card)}.", to=(player,))

    def _next_turn(self) -> None:
        following = self._order_after(self.current)
        if not following:
            return
        after = following[0]
        if after <= self.current:
            if self.round >= self.options.max_rounds:
                self._end(None, f"round {self.round} was the last")
                return
            self.round += 1
        self.current = after
        self._begin_turn()
        self._won(after)

    def _end(self, winner: int | None, why: str) -> None:
        self.winner = winner
        self.phase = "over"
        who = "Territories decide" if winner is None else f"Player {winner + 1} wins"
        self._announce(f"{who}: {why}.")

    def withdraw(self, player: int) -> bool:
        """Make the player's armies neutral; the others play on, and the last one wins."""
        if player in self.out or self.phase == "over":
            return True
        self.out = (*self.out, player)
        self.owner = [NEUTRAL if owner == player else owner for owner in self.owner]
        self.discard += self.hands[player]
        self.hands[player] = []
        self.reserve[player] = 0
        self.treaties = [one for one in self.treaties if player not in one[:2]]
        self._announce(f"Player {player + 1} leaves; its armies are neutral now.")
        left = [one for one in range(self.options.players) if one not in self.out]
        if len(left) == 1:
            self._end(left[0], "the last player on the map")
        elif player == self.current:
            if self.phase in ("claim", "deploy"):
                self._next_to_start()
            else:
                self._next_turn()
        return True

    # ------------------------------------------------------------------ how it ends

    def shares(self) -> list[float]:
        """Return each player's share of what players hold; all of it for a winner."""
        if self.winner is not None:
            return [float(player == self.winner) for player in range(self.options.players)]
        counts = [len(self.held(player)) for player in range(self.options.players)]
        return [count / sum(counts) if sum(counts) else 1 / len(counts) for count in counts]

    def returns(self) -> tuple[float, ...]:
        count = self.options.players
        return tuple((count * share - 1) / (count - 1) for share in self.shares())

    def result(self) -> dict[str, Any]:
        """Return the winner (None if territories decided), what everybody holds, and how the treaties were kept."""
        players = range(self.options.players)
        return {
            "winner": self.winner,
            "rounds": self.round,
            "territories": [len(self.held(player)) for player in players],
            "armies": [sum(self.armies[territory] for territory in self.held(player)) for player in players],
            "out": list(self.out),
            "treaties": self.agreed,
            "treaties_broken": [sum(breaker == player for _, breaker, _ in self.broken) for player in players],
            "missions": [words.mission(self, mission) for mission in self.missions],
        }

    def state(self) -> dict[str, Any]:
        return {
            "owner": self.owner,
            "armies": self.armies,
            "hands": self.hands,
            "deck": self.deck,
            "discard": self.discard,
            "sets_traded": self.sets_traded,
            "reserve": self.reserve,
            "phase": self.phase,
            "current": self.current,
            "round": self.round,
            "attacks": self.attacks,
            "said": self.said,
            "conquered": self.conquered,
            "front": self.front,
            "out": self.out,
            "treaties": self.treaties,
            "broken": self.broken,
            "agreed": self.agreed,
            "missions": self.missions,
            "winner": self.winner,
        }

    def _clone_state_into(self, twin: Self) -> None:
        for name in ("owner", "armies", "deck", "discard", "reserve", "treaties", "broken"):
            setattr(twin, name, getattr(self, name).copy())
        twin.hands = [hand.copy() for hand in self.hands]


def _facts(options: RiskOptions, chart: RiskMap) -> GameFacts:
    """Return the facts; a turn is bounded by its messages, trades, placements, attacks and marches."""
    size, players = len(chart.territories), options.players
    # Every trade uses three cards, and a hand holds less than nine even after another player's is won.
    turn = 2 * options.messages + 3 * 3 + (size + 9) + 2 * options.max_attacks + 2
    placing = size + players * START_ARMIES[players] * max(size, 42) // 42 if options.start == "claimed" else 0
    listing = sum(len(name) for name in chart.territories)
    chars = 2600 + 3 * listing + size * 26 + sum(len(chart.borders[one]) * 24 for one in range(size))
    chars += words.RECAP_EVENTS * (options.max_talk + 140) + (60 * size if options.view == "map" else 0)
    return GameFacts(
        players=players,
        min_return=-1 / (players - 1),
        max_return=1.0,
        max_turns=options.max_rounds * players * turn + placing * (1 + 2 * options.messages),
        max_observation_chars=chars,
        roles=ROLES[:players],
        chance=True,
        information="imperfect",
        enumerable=False,
    )
