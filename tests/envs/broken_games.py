"""Small games, each sound but for one clause of the contract, and the sound games that they were made from."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from palaestra.envs.errors import IllegalAction, UnparsableAction
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.games.kuhn_poker import CARDS, KuhnPoker
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice


class Take(Game):
    """Two players take 1 or 2 from a heap of five; who takes the last wins."""

    id = "take"
    heap: int
    mover: int
    moves: list[str]
    FACTS: ClassVar[GameFacts] = GameFacts(2, -1.0, 1.0, 5, 60, ("first", "second"))

    @property
    def facts(self) -> GameFacts:
        return self.FACTS

    def setup(self) -> None:
        self.heap, self.mover, self.moves = 5, 0, []

    def players_to_move(self) -> tuple[int, ...]:
        return (self.mover,) if self.heap else ()

    def prompt(self, player: int) -> str:
        return "Take 1 or 2."

    def board(self, player: int) -> str:
        return f"{self.heap} left. Moves: {''.join(self.moves)}."

    def legal_actions(self, player: int) -> Sequence[str]:
        return ["1", "2"][: self.heap]

    def action_words(self, player: int) -> Sequence[str]:
        return ["1", "2", "3"]

    def _apply(self, player: int, action: Action) -> None:
        self.heap -= int(str(action))
        self.mover = 1 - player
        self.moves.append(str(action))

    def returns(self) -> tuple[float, ...]:
        return (-1.0, 1.0) if self.mover == 0 else (1.0, -1.0)

    def state(self) -> dict[str, Any]:
        return {"heap": self.heap, "mover": self.mover, "moves": self.moves}


class Morra(Game):
    """Both players show 1 or 2 fingers at once, three times; who guesses parity, simply: even sums are player 1's."""

    id = "morra"
    chosen: dict[int, str]
    rounds: list[list[str]]
    FACTS: ClassVar[GameFacts] = GameFacts(2, -3.0, 3.0, 6, 80, ("even", "odd"), simultaneous=True)

    @property
    def facts(self) -> GameFacts:
        return self.FACTS

    def setup(self) -> None:
        self.chosen, self.rounds = {}, []

    def players_to_move(self) -> tuple[int, ...]:
        return () if len(self.rounds) == 3 else tuple(p for p in (0, 1) if p not in self.chosen)

    def prompt(self, player: int) -> str:
        return "Show 1 or 2."

    def board(self, player: int) -> str:
        return f"Shown: {self.rounds}."

    def legal_actions(self, player: int) -> Sequence[str]:
        return ("1", "2")

    def _apply(self, player: int, action: Action) -> None:
        self.chosen[player] = str(action)
        if len(self.chosen) == 2:
            self.rounds.append([self.chosen[0], self.chosen[1]])
            self.chosen = {}

    def returns(self) -> tuple[float, ...]:
        gain = float(sum(1 if one == other else -1 for one, other in self.rounds))
        return (gain, -gain)

    def state(self) -> dict[str, Any]:
        return {"chosen": {str(player): shown for player, shown in sorted(self.chosen.items())}, "rounds": self.rounds}


class Talk(Game):
    """Two players say two things each, anything but nothing; both get a point for staying polite."""

    id = "talk"
    said: list[str]
    FACTS: ClassVar[GameFacts] = GameFacts(
        2, 0.0, 1.0, 4, 8000, ("one", "other"), utility="identical", enumerable=False
    )

    @property
    def facts(self) -> GameFacts:
        return self.FACTS

    def setup(self) -> None:
        self.said = []

    def players_to_move(self) -> tuple[int, ...]:
        return (len(self.said) % 2,) if len(self.said) < 4 else ()

    def prompt(self, player: int) -> str:
        return "Say something."

    def board(self, player: int) -> str:
        return f"{len(self.said)} of 4 said."

    def legal_actions(self, player: int) -> Sequence[str]:
        return ("hello", "good bye")

    def parse(self, player: int, text: str) -> Action:
        if not text.strip():
            raise UnparsableAction("say something.")
        return text[:1000]

    def check(self, player: int, action: Action) -> None:
        if not isinstance(action, str):
            raise IllegalAction("say it in words.")

    def _apply(self, player: int, action: Action) -> None:
        self.said.append(str(action))
        self.speak(player, str(action))

    def speak(self, player: int, said: str) -> None:
        self.emit("message", said, source=player)

    def returns(self) -> tuple[float, ...]:
        return (1.0, 1.0)

    def state(self) -> dict[str, Any]:
        return {"said": self.said}


def facts_of(base: type[Game], **changed: Any) -> GameFacts:
    """Return the base's facts with some changed."""
    from dataclasses import replace

    return replace(base.FACTS, **changed)  # type: ignore[attr-defined]


# ---------------------------------------------------------------- one clause each


class NumbersAsKeys(Take):
    def state(self) -> dict[str, Any]:
        return {**super().state(), "taken by": {self.mover: self.heap}}


class RoleOutOfNowhere(Take):
    def role(self, player: int) -> str:
        return "winner" if self.heap == 1 else super().role(player)


class HandsOutItsList(Take):
    def setup(self) -> None:
        super().setup()
        self.known = ["1", "2"]

    def legal_actions(self, player: int) -> Sequence[str]:
        del self.known[self.heap :]
        return self.known


class TalksTooMuch(Take):
    def recap(self, player: int) -> str:
        return "history " * 4 if self.heap == 1 else ""


class CloneForgets(Take):
    def recap(self, player: int) -> str:
        return getattr(self, "last", "")

    def _apply(self, player: int, action: Action) -> None:
        super()._apply(player, action)
        self.last = f"Last: {action}"

    def clone(self) -> CloneForgets:
        twin = super().clone()
        vars(twin).pop("last", None)
        return twin


class ListsTheImpossible(Take):
    def legal_actions(self, player: int) -> Sequence[str]:
        return ["1", "2"]

    def check(self, player: int, action: Action) -> None:
        if action not in ["1", "2"][: self.heap]:
            raise IllegalAction(f"{action} cannot be taken.")

    def sample_action(self, player: int, dice: Dice) -> Action:
        return dice.choice(["1", "2"][: self.heap])


class GrowsImpatient(Take):
    def setup(self) -> None:
        super().setup()
        self.interruptions = 0

    def apply(self, player: int, action: Action) -> None:
        self.interruptions += player not in self.players_to_move()
        super().apply(player, action)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "interruptions": self.interruptions}


class ShowsWhoIsReady(Morra):
    def board(self, player: int) -> str:
        return super().board(player) + (" Your opponent has chosen." if 1 - player in self.chosen else "")


class LendsItsVoice(Talk):
    def speak(self, player: int, said: str) -> None:
        self.emit("move", f"Player {player + 1} says {said}", source=player)


class DeniesChance(Take):
    def setup(self) -> None:
        super().setup()
        self.heap = 3 + self.dice.below(3)


class PaysTooMuch(Take):
    def returns(self) -> tuple[float, ...]:
        return tuple(2 * gain for gain in super().returns())


class AsksWhoHasLeft(Take):
    def withdraw(self, player: int) -> bool:
        return True


class LongerThanDeclared(Take):
    FACTS = facts_of(Take, max_turns=3)


class NamesEveryInstance(Take):
    instances: ClassVar[int] = 0

    def setup(self) -> None:
        super().setup()
        type(self).instances += 1
        self.number = self.instances

    def recap(self, player: int) -> str:
        return f"Game {self.number}."


class HidesCardsButSaysPerfect(KuhnPoker):
    @property
    def facts(self) -> GameFacts:
        from dataclasses import replace

        return replace(super().facts, information="perfect")


class MarksTheCards(KuhnPoker):
    def board(self, player: int) -> str:
        return f"Your opponent frowns{'.' * self.cards[1 - player]}\n{super().board(player)}"


class OneDeckForAll(KuhnPoker):
    deck: ClassVar[list[int]] = []

    def setup(self) -> None:
        super().setup()
        type(self).deck = self.cards

    def board(self, player: int) -> str:
        return f"Your card: {CARDS[type(self).deck[player]]}. {self.history}"


class RecordsTooLittle(Take):
    @dataclass(frozen=True)
    class Options:
        """``heap`` is a pair, whose first number counts; a list, as JSON makes of it, is not understood."""

        heap: Any = (5, 6)

    def setup(self) -> None:
        super().setup()
        self.heap = self.options.heap[0] if isinstance(self.options.heap, tuple) else 4


# ---------------------------------------------------------------- caught too, by the clause that comes first


class SharesItsListWithItsClone(Take):
    def _clone_state_into(self, twin: Game) -> None:
        pass


class RollsItsOwnDice(Take):
    def setup(self) -> None:
        super().setup()
        self.heap = random.randrange(3, 6)


class NeverEnds(Take):
    def _apply(self, player: int, action: Action) -> None:
        self.mover = 1 - player


class IsOverAtOnce(Take):
    def setup(self) -> None:
        super().setup()
        self.heap = 0


class FallsOverOddText(Take):
    def parse(self, player: int, text: str) -> Action:
        return super().parse(player, text.encode().decode())


class AcceptsWhatItDoesNotList(Take):
    def check(self, player: int, action: Action) -> None:
        if action not in ("1", "2", "3"):
            raise IllegalAction("take 1, 2 or 3.")


class DeclaresZeroSumOnly(Take):
    def forfeit(self, player: int) -> tuple[float, ...]:
        return (-1.0, -1.0)


class MeansNothingConstant(Take):
    FACTS = facts_of(Take, utility="constant_sum")

    def returns(self) -> tuple[float, ...]:
        return (1.0, 0.0) if self.moves[0] == "1" else (0.0, 0.0)


class FirstToChooseWins(Morra):
    def _apply(self, player: int, action: Action) -> None:
        if not self.chosen and action == "1":
            self.first = player
        super()._apply(player, action)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "first": getattr(self, "first", None)}


class ReadsTheLogAloud(KuhnPoker):
    def setup(self) -> None:
        super().setup()
        for player in (0, 1):
            self.emit("move", f"You draw the {CARDS[self.cards[player]]}.", to=(player,))

    def recap(self, player: int) -> str:
        return " ".join(str(event.content) for event in self.log if event.to)

    def board(self, player: int) -> str:
        return self.history


class WillNotSayWhatIsKnown(KuhnPoker):
    information_state = None  # type: ignore[assignment]
    knowledge = Take.knowledge  # type: ignore[assignment]


class CallsEverythingKnown(KuhnPoker):
    def information_state(self, player: int) -> str:
        return f"{self.cards}{self.history}"


class ReadsItselfWrong(Take):
    def parse(self, player: int, text: str) -> Action:
        return "1" if text == "2" else super().parse(player, text)


class DrawsWithoutSaying(KuhnPoker):
    @property
    def facts(self) -> GameFacts:
        from dataclasses import replace

        return replace(super().facts, chance=False)


class ChangesItsPrompt(Take):
    def prompt(self, player: int) -> str:
        return f"Take 1 or 2 of {self.heap}."


class MovesTwoAtOnce(Morra):
    FACTS = facts_of(Morra, simultaneous=False)
