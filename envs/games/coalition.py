"""Coalition bargaining: three or more players, each group worth a sum to its members, and one agreement.

What every group of two or more can share is public (a *characteristic function*); what each player has without an
agreement (its *fallback*) is its secret. The whole group is worth most, but a smaller one may share more among fewer,
so whoever is left out can always try to buy its way in. (With ``values="1+2=118,1+3=84,2+3=50,1+2+3=121"`` it is the
Scandinavian cement game of H. Raiffa, The Art and Science of Negotiation, 1982, chapter 17.)

The players speak in turn, and all read everything. A turn is free talk, one *act*, or both: ``offer: Player 1 40,
Player 3 45`` proposes a group and who gets what, the speaker among them; it stands until anybody proposes another.
``accept`` agrees to the standing offer; when all its members have agreed it is made, and the game ends. ``walk away``
leaves the talks; the others go on while there are two. The last turn ends the talks, too.

Returns are what a member gets above its fallback, times the discount to the power of the turns before the agreement;
everybody else gets 0. A player who forfeits leaves, and gets -10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, Self

from palaestra.envs.errors import IllegalAction
from palaestra.envs.game import GameFacts, HiddenFact
from palaestra.envs.games.claims import deception, find_claims
from palaestra.envs.games.messages import Message, OfferForm, Terms
from palaestra.envs.games.shares import OUT, Group, Splits, coalition_measures, read_values
from palaestra.envs.games.talks import RECAP_TURNS, Talks
from palaestra.envs.options import within
from palaestra.envs.seeding import Dice

FORFEIT = 10.0
LEAST, MOST = 0.5, 1.3
"""A group's worth is drawn between these, times its share of the players."""


@dataclass(frozen=True)
class CoalitionOptions:
    """Who can share what, and how long they talk.

    Attributes:
        players: 3 to 5.
        pie: What all players together can share; smaller groups are drawn below it.
        values: What every group can share, such as ``"1+2=118,1+3=84,2+3=50,1+2+3=121"``, in place of a draw; groups
            that are not named share nothing.
        max_turns: Turns of all players together.
        max_talk: Characters of talk in one turn; 0 for a game without talk. Longer talk is illegal, never cut.
        max_fallback: A fallback is drawn from 0 to this.
        discount: What a gain keeps with every turn, above 0 and at most 1.
        view: ``"words"`` explains everything; ``"terse"`` is one line: fallback, groups and their worth, turn, and the
            standing offer with who has agreed to it. Talk is shown in both.
    """

    players: int = 3
    pie: int = 100
    values: str = ""
    max_turns: int = 18
    max_talk: int = 280
    max_fallback: int = 15
    discount: float = 1.0
    view: Literal["words", "terse"] = "words"

    def __post_init__(self) -> None:
        within(self, players=(3, 5), pie=(10, 9999), max_turns=(3, 1000), max_talk=(0, 100_000), max_fallback=(0, 9999))
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount is {self.discount}, expected above 0 and at most 1")
        if self.values:
            read_values(self.values, self.players)


class Coalition(Talks):
    """One agreement among some of three or more players."""

    id = "coalition"
    summary = "who joins whom, and who gets what"
    Options = CoalitionOptions

    values: dict[Group, int]
    """What each group of two or more can share."""
    fallbacks: tuple[int, ...]
    accepted: frozenset[int]
    """Who has agreed to the standing offer."""
    left: tuple[int, ...]
    """Who has left the talks, in order."""
    forfeited: tuple[int, ...]
    turn: int
    """Whose turn it is."""

    @property
    def facts(self) -> GameFacts:
        options: CoalitionOptions = self.options
        players = options.players
        listing = 18 * players
        groups = (2**players) * (14 + 3 * players)
        return GameFacts(
            players=players,
            min_return=-max(FORFEIT, float(options.max_fallback)),
            max_return=float(max(read_values(options.values, players).values()) if options.values else options.pie),
            max_turns=options.max_turns,
            max_observation_chars=1300 + groups + 2 * listing + RECAP_TURNS * (options.max_talk + listing + 60),
            roles=tuple(f"player {player + 1}" for player in range(players)),
            chance=True,
            information="imperfect",
            utility="general_sum",
            enumerable=False,
        )

    def setup(self) -> None:
        super().setup()
        options: CoalitionOptions = self.options
        self.values = read_values(options.values, options.players) if options.values else self._draw_values()
        self.fallbacks = tuple(self.dice.below(options.max_fallback + 1) for _ in range(options.players))
        self.accepted = frozenset()
        self.left = self.forfeited = ()
        self.turn = 0

    def _draw_values(self) -> dict[Group, int]:
        """Return a worth for every group: none is worth less than a group within it, and all together the pie."""
        players, pie = self.options.players, self.options.pie
        values: dict[Group, int] = {}
        for size in range(2, players):
            low = int(LEAST * pie * size / players)
            high = int(min(1.0, MOST * size / players) * pie)
            for group in combinations(range(players), size):
                within = (values.get(part, 0) for part in combinations(group, size - 1))
                values[group] = max(low + self.dice.below(high - low + 1), *within)
        return values | {tuple(range(players)): pie}

    def players_to_move(self) -> tuple[int, ...]:
        return () if self.ending is not None else (self.turn,)

    def form(self, player: int) -> OfferForm:
        return Splits(self.options.players, player)

    def present(self) -> list[int]:
        """Return who is still at the table."""
        return [player for player in range(self.options.players) if player not in self.left]

    # ------------------------------------------------------------------ what players see

    def prompt(self, player: int) -> str:
        options: CoalitionOptions = self.options
        if options.view == "terse":
            return ""
        groups = "; ".join(f"{_named(group)} {value}" for group, value in self.values.items() if value)
        late = ""
        if options.discount < 1:
            late = f" Every turn before the agreement leaves {options.discount:g} of a gain."
        return (
            f"Coalition bargaining. You are Player {player + 1} of {options.players}. One group of players can make "
            f"an agreement and share what the group is worth: {groups}. Without an agreement you have your fallback, "
            f"worth {self.fallbacks[player]}; nobody else knows it, and the others have their own. Your score is what "
            "you get above your fallback; outside the agreement, after you walk away, or without one in "
            f"{options.max_turns} turns, it is 0.{late} An offer names a group with you in it and what each member "
            f"gets; it is made when all members have accepted. {self.answers(player)}"
        )

    def board(self, player: int) -> str:
        options: CoalitionOptions = self.options
        turn = min(len(self.history) + 1, options.max_turns)
        if options.view == "terse":
            groups = " ".join(f"{''.join(str(one + 1) for one in group)}:{n}" for group, n in self.values.items())
            offer = "-"
            if self.standing is not None:
                shares = [f"{one + 1}:{share}" for one, share in enumerate(self.standing[1]) if share != OUT]
                offer = f"{','.join(shares)} ok {''.join(str(one + 1) for one in sorted(self.accepted))}"
            return f"{player + 1} {self.fallbacks[player]} {groups} {turn}/{options.max_turns} {offer}"
        agreed = ", ".join(f"Player {one + 1}" for one in sorted(self.accepted))
        line = self.standing_line(player, lambda terms: f"{self.form(player).write(terms)}. Agreed so far: {agreed}")
        return " ".join([line, *(f"Player {one + 1} has left." for one in self.left)])

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return the groups' worth, own fallback, who is present, turns, the standing offer and the whole history.

        Terms are lists of shares, -1 for players outside the group; ``"mine"`` says who spoke.
        """
        return {
            "player": player,
            "players": self.options.players,
            "values": [[list(group), value] for group, value in self.values.items()],
            "fallback": self.fallbacks[player],
            "present": self.present(),
            "accepted": sorted(self.accepted),
            **self.known_talks(player),
        }

    def revealed(self, player: int) -> str:
        """Return the others' fallbacks."""
        others = [(one, fallback) for one, fallback in enumerate(self.fallbacks) if one != player]
        if self.options.view == "terse":
            return ",".join(f"{one + 1}:{fallback}" for one, fallback in others)
        told = "; ".join(f"of Player {one + 1} {fallback}" for one, fallback in others)
        return f"The fallbacks were: {told}."

    def hidden_from(self, player: int) -> Sequence[HiddenFact]:
        """Return the others' fallbacks."""
        others = [(one, fallback) for one, fallback in enumerate(self.fallbacks) if one != player]
        return [(("fallback", "fallbacks"), (f"player {one + 1}",), (str(fallback),)) for one, fallback in others]

    # ------------------------------------------------------------------ what players do

    def can_accept(self, player: int) -> bool:
        return self.standing is not None and self.standing[1][player] != OUT and player not in self.accepted

    def check_offer(self, player: int, terms: Terms) -> None:
        group = tuple(one for one, share in enumerate(terms) if share != OUT)
        if player not in group:
            raise IllegalAction(f"an offer must name a group that you are in, and you are Player {player + 1}.")
        if len(group) < 2:
            raise IllegalAction("an offer must name a group of two or more.")
        if gone := [one for one in group if one in self.left]:
            raise IllegalAction(f"Player {gone[0] + 1} has left the talks.")
        worth, asked = self.values.get(group, 0), sum(terms[one] for one in group)
        if asked > worth:
            raise IllegalAction(f"the offer shares {asked}, but {_named(group)} is worth {worth}.")

    def random_terms(self, player: int, dice: Dice) -> Terms:
        """Return a random group with the player in it, sharing all that it is worth at random."""
        others = [one for one in self.present() if one != player]
        group = {player, dice.choice(others)} | {one for one in others if dice.below(2)}
        worth = self.values.get(tuple(sorted(group)), 0)
        cuts = [0, *sorted(dice.below(worth + 1) for _ in range(len(group) - 1)), worth]
        shares = {one: cuts[place + 1] - cuts[place] for place, one in enumerate(sorted(group))}
        return tuple(shares.get(one, OUT) for one in range(self.options.players))

    def example_offers(self, player: int) -> list[Terms]:
        """Return one random split, if anybody is left to share with."""
        return [self.random_terms(player, Dice(0))] if set(self.present()) - {player} else []

    def carry_out(self, player: int, message: Message) -> None:
        if message.act == "offer":
            self.accepted = frozenset({player})
        elif message.act == "accept":
            self.accepted |= {player}
            assert self.standing is not None
            if all(share == OUT or one in self.accepted for one, share in enumerate(self.standing[1])):
                self.ending = "agreement"
        elif message.act == "walk away":
            self._leave(player)
        self._pass_turn()

    def _pass_turn(self) -> None:
        players = self.options.players
        following = ((self.turn + step) % players for step in range(1, players + 1))
        self.turn = next((one for one in following if one not in self.left), self.turn)

    def _leave(self, player: int) -> None:
        self.left = (*self.left, player)
        if self.standing is not None and self.standing[1][player] != OUT:
            self.standing, self.accepted = None, frozenset()
        if len(self.present()) < 2:
            self.ending = "walk away"

    def withdraw(self, player: int) -> bool:
        """Take the player out; the others talk on, as long as there are two."""
        if player not in self.left:
            if len(self.present()) <= 2:
                return False
            self._leave(player)
            self.emit("admin", f"Player {player + 1} leaves the talks.")
            if self.turn == player:
                self._pass_turn()
        self.forfeited = (*self.forfeited, player)
        return True

    def _redeal(self, player: int, dice: Dice) -> None:
        """Draw the others' fallbacks anew."""
        most = self.options.max_fallback
        drawn = [dice.below(most + 1) for _ in self.fallbacks]
        self.fallbacks = tuple(own if one == player else drawn[one] for one, own in enumerate(self.fallbacks))

    def _deal_as(self, world: Self) -> None:
        self.fallbacks = world.fallbacks

    # ------------------------------------------------------------------ how it ends

    def gains(self) -> tuple[float, ...]:
        """Return what each player gets above its fallback."""
        terms, kept = self.deal(), self.kept(self.options.discount)
        if terms is None:
            return tuple(0.0 for _ in self.fallbacks)
        each = zip(terms, self.fallbacks, strict=True)
        return tuple(0.0 if share == OUT else kept * (share - fallback) for share, fallback in each)

    def returns(self) -> tuple[float, ...]:
        return tuple(-FORFEIT if one in self.forfeited else gain for one, gain in enumerate(self.gains()))

    def forfeit(self, player: int) -> tuple[float, ...]:
        """Return -10 for the player and 0 for the others."""
        return tuple(-FORFEIT if one in (*self.forfeited, player) else 0.0 for one in range(self.options.players))

    def result(self) -> dict[str, Any]:
        """Return how the game ended, the secrets, and `palaestra.envs.games.shares.coalition_measures`."""
        terms = self.deal()
        claims = [claim for by, said in self.history for claim in find_claims(by, said.talk, {}, self.fallbacks[by])]
        return {
            "ending": self.ending,
            "agreement": terms is not None,
            "shares": None if terms is None else [None if share == OUT else share for share in terms],
            "turns": len(self.history),
            "values": [[list(group), value] for group, value in self.values.items()],
            "fallbacks": list(self.fallbacks),
            **coalition_measures(self.gains(), self.values, self.fallbacks),
            "deception": deception(claims, self.options.players),
        }

    def state(self) -> dict[str, Any]:
        return {
            "values": [[group, value] for group, value in self.values.items()],
            "fallbacks": self.fallbacks,
            "history": self.said(),
            "left": self.left,
            "forfeited": self.forfeited,
            "turn": self.turn,
        }


def _named(group: Group) -> str:
    return "Players " + " and ".join(str(one + 1) for one in group)
