"""Open minds: any game, in which the players read each other's thoughts before they act.

Who reads whose thoughts is a rule of the match (`palaestra.envs.match.MatchRules.visibility`), so any game can be
played with open minds. What this one adds are the two things that an experiment on it needs. Before the first move
every player thinks once, in turn (``think_first``), so that nobody acts without having read the others; and the payoff
can be changed from the game's own to a *common* one, in which everybody gets what the first player gets. So the same
cards and the same moves make four arms: {private, public} thoughts and {own, common} payoff. With opposed interests a
thought that others read should be empty or mislead; with common ones it should tell them what to do.

By default thoughts are public. In the thinking round any reply will do: its thought is what counts, and what stands
beside it is read by nobody.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from palaestra.envs import registry
from palaestra.envs.game import Game, GameFacts, HiddenFact
from palaestra.envs.options import refuse_reserved
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice

READY = "ready"
THINK = "think"
EXTRA_CHARS = 400


@dataclass(frozen=True)
class OpenMindsOptions:
    """Which game, for whom, and whether all think first.

    Attributes:
        inner: Any other game's name.
        inner_options: Its options.
        payoff: The game's ``own``, or a ``common`` one: what the first player gets.
        think_first: Whether every player thinks once before the first move.
        view: ``words`` explains what is added to the game, ``terse`` marks the thinking round and nothing else.
    """

    inner: str = "kuhn_poker"
    inner_options: dict[str, Any] = field(default_factory=dict)
    payoff: Literal["own", "common"] = "own"
    think_first: bool = True
    view: Literal["words", "terse"] = "words"

    def __post_init__(self) -> None:
        if self.inner == OpenMinds.id:
            raise ValueError(f"inner is {self.inner}, expected another game")
        refuse_reserved(self.inner_options, self.inner)
        registry.make(self.inner, **self.inner_options)


class OpenMinds(Game):
    """Delegates everything to the game inside, but for the thinking round and the payoff."""

    id = "open_minds"
    version = 1
    summary = "any game, with the others' thoughts to read before one acts"
    Options = OpenMindsOptions

    inner: Game
    thinking: tuple[int, ...]
    """Players who have still to think."""

    def setup(self) -> None:
        options: OpenMindsOptions = self.options
        self.inner = registry.make(options.inner, seed=self.seed, **options.inner_options)
        self.dice, self.log = self.inner.dice, self.inner.log
        facts = self.inner.facts
        self.thinking = tuple(range(facts.players)) if options.think_first else ()
        self._facts = dataclasses.replace(
            facts,
            max_turns=facts.max_turns + len(self.thinking),
            max_observation_chars=facts.max_observation_chars + EXTRA_CHARS,
            utility="identical" if options.payoff == "common" else facts.utility,
        )

    @property
    def facts(self) -> GameFacts:
        return self._facts

    @property
    def inside(self) -> Game:
        return self.inner

    @property
    def moves_inside(self) -> bool:
        return not self.thinking

    def players_to_move(self) -> tuple[int, ...]:
        return self.thinking[:1] or self.inner.players_to_move()

    def role(self, player: int) -> str:
        return self.inner.role(player)

    def team(self, player: int) -> int:
        """Return the game's own team, or one for all where the payoff is common."""
        return 0 if self.options.payoff == "common" else self.inner.team(player)

    # ------------------------------------------------------------------ what players see

    def prompt(self, player: int) -> str:
        parts = [self.inner.prompt(player)]
        if self.options.view == "terse":
            return parts[0]
        if self.options.payoff == "common":
            parts.append("Here all players get what Player 1 gets: you win and lose together.")
        if self.options.think_first:
            parts.append(
                "Before the first move every player thinks, in turn; then the game begins. You are shown what the "
                "others think, and they what you think, where that is the rule at this table."
            )
        return "\n".join(part for part in parts if part)

    def recap(self, player: int) -> str:
        return self.inner.recap(player)

    def board(self, player: int) -> str:
        board = self.inner.board(player)
        if not self.thinking:
            return board
        mine = player == self.thinking[0]
        if self.options.view == "terse":
            return f"{board} {THINK}" if mine else board
        now = "Think now; you do not move yet." if mine else "The others are thinking."
        return f"{board}\n{now}" if board else now

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return what the game inside lets the player know (`Game.knowledge`, and its name of that if it has one)."""
        named = getattr(self.inner, "information_state", None)
        known = {"information_state": named(player)} if named is not None else {}
        return {**self.inner.knowledge(player), **known, "thinking": len(self.thinking)}

    # ------------------------------------------------------------------ what players do

    def legal_actions(self, player: int) -> Sequence[str]:
        return [READY] if self.thinking else self.inner.legal_actions(player)

    def spelled_actions(self, player: int) -> Sequence[str]:
        return [READY] if self.thinking else self.inner.spelled_actions(player)

    def action_words(self, player: int) -> Sequence[str]:
        return [READY] if self.thinking else self.inner.action_words(player)

    def parse(self, player: int, text: str) -> Action:
        """Read the game's own actions; in the thinking round every text."""
        return READY if self.thinking else self.inner.parse(player, text)

    def check(self, player: int, action: Action) -> None:
        if self.thinking:
            super().check(player, action)
        else:
            self.inner.check(player, action)

    def sample_action(self, player: int, dice: Dice) -> Action:
        return READY if self.thinking else self.inner.sample_action(player, dice)

    def _apply(self, player: int, action: Action) -> None:
        if self.thinking:
            self.thinking = self.thinking[1:]
        else:
            self._lent().apply(player, action)

    def withdraw(self, player: int) -> bool:
        """Take the player out of the game inside, if that can go on without it."""
        if not self._lent().withdraw(player):
            return False
        self.thinking = tuple(other for other in self.thinking if other != player)
        return True

    def _redeal(self, player: int, dice: Dice) -> None:
        inner = self._lent()
        if inner.facts.information == "imperfect" or inner.facts.simultaneous:
            inner._redeal(player, dice)

    def _deal_as(self, world: Self) -> None:
        inner = self._lent()
        if inner.facts.information == "imperfect" or inner.facts.simultaneous:
            inner._deal_as(world.inner)

    def revealed(self, player: int) -> str:
        return self.inner.revealed(player)

    def hidden_from(self, player: int) -> Sequence[HiddenFact]:
        return self.inner.hidden_from(player)

    def feedback(self, player: int) -> str:
        return self.inner.feedback(player)

    def _lent(self) -> Game:
        """Return the game inside with our dice and log, which a match or a search may have replaced."""
        self.inner.dice, self.inner.log = self.dice, self.log
        return self.inner

    # ------------------------------------------------------------------ how it ends

    def returns(self) -> tuple[float, ...]:
        returns = tuple(self.inner.returns())
        return (returns[0],) * len(returns) if self.options.payoff == "common" else returns

    def forfeit(self, player: int) -> tuple[float, ...]:
        """Return what the game inside says; the least for everybody where the payoff is common."""
        return super().forfeit(player) if self.options.payoff == "common" else self.inner.forfeit(player)

    def result(self) -> dict[str, Any]:
        return self.inner.result()

    def state(self) -> dict[str, Any]:
        return {"thinking": self.thinking, "game": self.inner.state(), "version": self.inner.version}

    def _clone_state_into(self, twin: Self) -> None:
        twin.inner = self.inner.clone()
        twin.inner.dice, twin.inner.log = twin.dice, twin.log
