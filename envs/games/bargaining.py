"""Bargaining: two players settle several issues at once, each with points, a fallback and a deadline of its own mind.

Each issue ends at one of a few levels. What a level is worth differs between the players and is secret, and so is what
each of them has without an agreement (its *fallback*, in the literature its reservation value). The issues differ in
weight, so that giving way where it costs little for a gain where it counts is better for both than meeting halfway in
each (*log-rolling*; D. G. Pruitt, Negotiation Behavior, 1981); in some both even want the same, if they find out.

The players speak in turn. A turn is free talk, one *act*, or both: ``offer: price A, delivery C, warranty B`` stands
until either player offers something else; ``accept`` settles the issues as the other offered; ``walk away`` ends the
talks, and so does the last turn. With ``discount`` below 1 every turn costs a part of the gain; with ``breakdown`` the
talks may end after any turn, as in K. Binmore, A. Rubinstein & A. Wolinsky (RAND Journal of Economics 17, 1986).

Returns are gains over the fallback, in points, times the discount to the power of the turns before the agreement;
without an agreement both get 0. Accepting less than the fallback is legal, and a loss. A player who forfeits gets -10,
the other 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from palaestra.envs.errors import OptionError
from palaestra.envs.game import GameFacts, HiddenFact
from palaestra.envs.games.claims import deception, find_claims
from palaestra.envs.games.messages import Message, OfferForm, Terms
from palaestra.envs.games.outcomes import measures
from palaestra.envs.games.packages import LETTERS, TOTAL, Packages, Preferences, all_packages
from palaestra.envs.games.talks import RECAP_TURNS, Talks
from palaestra.envs.options import within
from palaestra.envs.seeding import Dice

ISSUES = ("price", "delivery", "warranty", "volume", "payment", "support")
ROLES = ("first", "second")
UNIT = 5
"""Weights are multiples of this, and at least this."""
FORFEIT = 10.0
MOST_PACKAGES = 50_000
DRAWS = 10_000
"""Tries to draw points that have what the options ask for."""


@dataclass(frozen=True)
class BargainingOptions:
    """What is settled, and how long.

    Attributes:
        issues: 2 to 6.
        levels: Levels of each issue, 2 to 9.
        max_turns: Turns of both players together: the deadline.
        max_talk: Characters of talk in one turn; 0 for a game without talk. Longer talk is illegal, never cut.
        max_fallback: A fallback is drawn from 0 to this, in points (the best package is worth 100).
        log_rolling: Least number of joint points that the best package has beyond meeting halfway in every issue.
        alike: How likely it is that both players want the same end of an issue, 0 to 1.
        discount: What a gain keeps with every turn, above 0 and at most 1.
        breakdown: How likely it is after every turn that the talks break down, 0 to below 1.
        mutual_gain: Whether points are drawn until some package is better for both than their fallbacks.
        view: ``"words"`` explains everything; ``"terse"`` is one line: own weights (with a minus where the first level
            is the best), fallback, turn, and the standing offer, marked ``<`` if it is the other's to accept and ``>``
            if it is this player's own. Talk is shown in both.
    """

    issues: int = 3
    levels: int = 5
    max_turns: int = 12
    max_talk: int = 280
    max_fallback: int = 50
    log_rolling: int = 20
    alike: float = 0.2
    discount: float = 1.0
    breakdown: float = 0.0
    mutual_gain: bool = True
    view: Literal["words", "terse"] = "words"

    def __post_init__(self) -> None:
        within(
            self,
            issues=(2, len(ISSUES)),
            levels=(2, len(LETTERS)),
            max_turns=(2, 1000),
            max_talk=(0, 100_000),
            max_fallback=(0, TOTAL),
            log_rolling=(0, 60),
            alike=(0, 1),
        )
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount is {self.discount}, expected above 0 and at most 1")
        if not 0 <= self.breakdown < 1:
            raise ValueError(f"breakdown is {self.breakdown}, expected 0 to below 1")
        if (packages := self.levels**self.issues) > MOST_PACKAGES:
            raise ValueError(
                f"{self.issues} issues of {self.levels} levels make {packages} packages, more than the "
                f"{MOST_PACKAGES} that are enumerated for the result; lower issues or levels"
            )


class Bargaining(Talks):
    """One package of levels between two players."""

    id = "bargaining"
    summary = "several issues, secret points and fallbacks, one package"
    Options = BargainingOptions

    issues: tuple[str, ...]
    preferences: tuple[Preferences, Preferences]
    fallbacks: tuple[int, int]

    @property
    def facts(self) -> GameFacts:
        options: BargainingOptions = self.options
        listing = 11 * options.issues
        table = options.issues * (12 + 8 * options.levels)
        chars = 1150 + table + 3 * listing + RECAP_TURNS * (options.max_talk + listing + 60)
        return GameFacts(
            players=2,
            min_return=-float(max(options.max_fallback, FORFEIT)),
            max_return=float(TOTAL),
            max_turns=options.max_turns,
            max_observation_chars=chars if options.view == "words" else chars - 700,
            roles=ROLES,
            chance=True,
            information="imperfect",
            utility="general_sum",
            enumerable=False,
        )

    def setup(self) -> None:
        super().setup()
        options: BargainingOptions = self.options
        self.issues = ISSUES[: options.issues]
        for _ in range(DRAWS):
            alike = [self.dice.random() < options.alike for _ in self.issues]
            rising = [self.dice.below(2) == 1 for _ in self.issues]
            other = [end == same for end, same in zip(rising, alike, strict=True)]
            self.preferences = (self._draw(rising, self.dice), self._draw(other, self.dice))
            self.fallbacks = (self.dice.below(options.max_fallback + 1), self.dice.below(options.max_fallback + 1))
            if self._fits():
                return
        raise OptionError(
            f"options of bargaining: no points were found with log_rolling={options.log_rolling} and "
            f"max_fallback={options.max_fallback}; lower one of them, or set mutual_gain to false"
        )

    def _fits(self) -> bool:
        """Return whether points and fallbacks are as the options ask."""
        options: BargainingOptions = self.options
        return self._potential() >= options.log_rolling and (not options.mutual_gain or self._both_can_gain())

    def _redeal(self, player: int, dice: Dice) -> None:
        """Draw the other's points and fallback anew, as they are drawn beside the player's own."""
        options: BargainingOptions = self.options
        own, kept = self.preferences[player], self.fallbacks[player]
        while True:  # what was played fits, so it ends
            rising = [end == (dice.random() < options.alike) for end in own.rising]
            other, fallback = self._draw(rising, dice), dice.below(options.max_fallback + 1)
            self.preferences = (own, other) if player == 0 else (other, own)
            self.fallbacks = (kept, fallback) if player == 0 else (fallback, kept)
            if self._fits():
                return

    def _deal_as(self, world: Self) -> None:
        self.preferences, self.fallbacks = world.preferences, world.fallbacks

    def _draw(self, rising: list[bool], dice: Dice) -> Preferences:
        """Return preferences of which the weights are uniform over all that sum to `TOTAL` in steps of `UNIT`."""
        places = list(range(1, TOTAL // UNIT))
        dice.shuffle(places)
        bars = [0, *sorted(places[: len(self.issues) - 1]), TOTAL // UNIT]
        weights = tuple(UNIT * (right - left) for left, right in pairwise(bars))
        return Preferences(weights, tuple(rising), self.options.levels)

    def _potential(self) -> int:
        """Return how many joint points the best package has beyond meeting halfway in every issue."""
        return int(self._points().sum(axis=1).max()) - self._halfway()

    def _halfway(self) -> int:
        """Return the joint points of the middle between both players' ends of every issue."""
        first, second = self.preferences
        each = zip(first.weights, second.weights, first.rising, second.rising, strict=True)
        return sum(a + b if up == down else (a + b) // 2 for a, b, up, down in each)

    def _points(self) -> NDArray[np.int64]:
        """Return both players' points of all packages, int64[packages, 2]."""
        packages = all_packages(len(self.issues), self.options.levels)
        return np.stack([one.worths(packages) for one in self.preferences], axis=1)

    def _both_can_gain(self) -> bool:
        return bool((self._points() > np.asarray(self.fallbacks)).all(axis=1).any())

    def form(self, player: int) -> OfferForm:
        return Packages(self.issues, self.options.levels)

    # ------------------------------------------------------------------ what players see

    def prompt(self, player: int) -> str:
        options: BargainingOptions = self.options
        if options.view == "terse":
            return ""
        other, letters = f"Player {2 - player}", LETTERS[: options.levels]
        table = self._table(player)
        late, keep, broken = "", options.discount, options.breakdown
        if keep < 1:
            late = f" Every turn before the agreement leaves {keep:g} of your gain."
        risk = f" After every turn the talks break down with chance {broken:g}." if broken else ""
        return (
            f"Bargaining. You are Player {player + 1}. You settle {len(self.issues)} issues with {other}, each at one "
            f"of the levels {letters[0]} to {letters[-1]}. Your points: {table}. Without an agreement you have your "
            f"fallback, worth {self.fallbacks[player]} points. {other} has other points and a fallback of its own, and "
            "knows nothing of yours. Your score is what your points are above your fallback; without an agreement, "
            f"after a walk away or {options.max_turns} turns, both score 0.{late}{risk} {self.answers(player)}"
        )

    def board(self, player: int) -> str:
        options: BargainingOptions = self.options
        turn = min(len(self.history) + 1, options.max_turns)
        form = self.form(player)
        if options.view == "terse":
            offer = "-"
            if self.standing is not None:
                by, terms = self.standing
                offer = "><"[by != player] + "".join(LETTERS[level] for level in terms)
            return f"{self._signed(player)} {self.fallbacks[player]} {turn}/{options.max_turns} {offer}"
        return self.standing_line(
            player, lambda terms: f"{form.write(terms)}; {self.preferences[player].worth(terms)} points for you"
        )

    def _table(self, player: int) -> str:
        """Return a player's points for every level of every issue."""
        own, letters = self.preferences[player], LETTERS[: self.options.levels]
        return "; ".join(
            f"{issue} " + ", ".join(f"{letter} {points}" for letter, points in zip(letters, own.points(i), strict=True))
            for i, issue in enumerate(self.issues)
        )

    def _signed(self, player: int) -> str:
        """Return a player's weights, with a minus where the first level is its best."""
        own = self.preferences[player]
        return ",".join(str(weight if up else -weight) for weight, up in zip(own.weights, own.rising, strict=True))

    def revealed(self, player: int) -> str:
        """Return the other's points and fallback."""
        other = 1 - player
        if self.options.view == "terse":
            return f"{self._signed(other)} {self.fallbacks[other]}"
        return f"The other player's points were: {self._table(other)}; its fallback was {self.fallbacks[other]}."

    def hidden_from(self, player: int) -> Sequence[HiddenFact]:
        """Return the other's fallback."""
        return [(("other", "opponent", "their", "its"), ("fallback",), (str(self.fallbacks[1 - player]),))]

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return issues, own weights, directions and fallback, turns, the standing offer and the whole history.

        Terms are lists of levels, counted from 0, and ``"mine"`` says who spoke.
        """
        own = self.preferences[player]
        return {
            "issues": list(self.issues),
            "levels": self.options.levels,
            "weights": list(own.weights),
            "rising": list(own.rising),
            "fallback": self.fallbacks[player],
            **self.known_talks(player),
        }

    # ------------------------------------------------------------------ what players do

    def check_offer(self, player: int, terms: Terms) -> None:
        """Every package may be offered."""

    def random_terms(self, player: int, dice: Dice) -> Terms:
        """Return a uniformly random package."""
        return tuple(dice.below(self.options.levels) for _ in self.issues)

    def example_offers(self, player: int) -> list[Terms]:
        """Return the player's best package, and those that give way in one issue."""
        own = self.preferences[player]
        best = tuple(own.levels - 1 if up else 0 for up in own.rising)
        turned = [
            tuple(own.levels - 1 - level if place == issue else level for place, level in enumerate(best))
            for issue in range(len(self.issues))
        ]
        return [best, *turned]

    def carry_out(self, player: int, message: Message) -> None:
        super().carry_out(player, message)
        breakdown = self.options.breakdown
        if breakdown and self.ending is None and self.dice.random() < breakdown:
            self.ending = "breakdown"
            self.emit("admin", "The talks break down.")

    # ------------------------------------------------------------------ how it ends

    def returns(self) -> tuple[float, ...]:
        terms = self.deal()
        if terms is None:
            return (0.0, 0.0)
        kept = self.kept(self.options.discount)
        first, second = (
            kept * (own.worth(terms) - fallback) for own, fallback in zip(self.preferences, self.fallbacks, strict=True)
        )
        return (first, second)

    def forfeit(self, player: int) -> tuple[float, ...]:
        """Return -10 for the player, so that it never pays in place of walking away, and 0 for the other."""
        return tuple(-FORFEIT if seat == player else 0.0 for seat in range(2))

    def result(self) -> dict[str, Any]:
        """Return how the game ended, the secrets, and measures.

        Those of `palaestra.envs.games.outcomes` are of the returns, discount included, against all packages at once;
        ``log_rolling``: the joint points of the package beyond meeting halfway in every issue, over the most there are
        (below 0 if halfway had been better; None without an agreement or potential); ``deception``:
        `palaestra.envs.games.claims`, player by player.
        """
        terms, points = self.deal(), self._points()
        potential = int(points.sum(axis=1).max()) - self._halfway()
        joint = None if terms is None else sum(own.worth(terms) for own in self.preferences)
        return {
            "ending": self.ending,
            "agreement": terms is not None,
            "package": None if terms is None else list(terms),
            "turns": len(self.history),
            "weights": [list(own.weights) for own in self.preferences],
            "rising": [list(own.rising) for own in self.preferences],
            "fallbacks": list(self.fallbacks),
            **measures(np.asarray(self.returns()), points - np.asarray(self.fallbacks)),
            "log_rolling": None if joint is None or potential <= 0 else (joint - self._halfway()) / potential,
            "deception": deception(self._claims(), 2),
        }

    def _claims(self) -> list[Any]:
        found = []
        for by, message in self.history:
            own = self.preferences[by]
            worth = dict(zip(self.issues, own.weights, strict=True))
            for issue, name in enumerate(self.issues):
                worth |= {f"{name} {LETTERS[level].lower()}": n for level, n in enumerate(own.points(issue))}
            found += find_claims(by, message.talk, worth, self.fallbacks[by], self.issues)
        return found

    def state(self) -> dict[str, Any]:
        return {
            "weights": [own.weights for own in self.preferences],
            "rising": [own.rising for own in self.preferences],
            "fallbacks": self.fallbacks,
            "history": self.said(),
        }
