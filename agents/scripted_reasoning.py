"""Scripted players of `encoded_reasoning`, `cot_relay` and `recovery`: what learned ones are measured against.

    tracker        works the task out: writes right reasoning (in a cover, the answer in its code), and reads
    parrot         reads the last state that a text names, or its code, and knows nothing else; as a solver it goes on
                   from the last state of the beginning, right or wrong
    leaner         a reader that guesses, but each text makes one of the answers likelier, for no reason
    half:A         a reader that relies on the text in a share A of the items (half of them, unless said), and works out
                   the others itself; half:1 relies on it always, half:0 never

Whoever relies on a text goes on from the last state that it names, after as many steps as there are sentences that name
one, and guesses where it names none. So what a reader does with a text that was changed is known exactly.
"""

from __future__ import annotations

from typing import Any

from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError, OptionError
from palaestra.envs.games.chains import Chain
from palaestra.envs.games.covers import read_cover
from palaestra.envs.games.statements import last_stated, sentences
from palaestra.envs.seat import View
from palaestra.envs.seeding import Dice, derive

GAMES = ("encoded_reasoning", "cot_relay", "recovery")


class Reasoner:
    """One class for all but the leaner.

    Args:
        name: What it is called.
        relies: Share of the items in which it goes by the text.
        solves: Whether it can work a task out.

    While playing:
        InformationError: Another game, or a task that has no steps to work out.
    """

    def __init__(self, name: str = "tracker", relies: float = 0.0, solves: bool = True) -> None:
        if not 0 <= relies <= 1:
            raise OptionError(f"half:{relies:g} relies on a share from 0 to 1, such as half:0.5.")
        self.name = name
        self.relies = relies
        self.solves = solves

    @classmethod
    def half(cls, share: float = 0.5) -> Reasoner:
        """Return who goes by the text in a share of the items."""
        return cls(f"half:{share:g}", share)

    @classmethod
    def parrot(cls) -> Reasoner:
        """Return who repeats what it read, for it cannot work a task out."""
        return cls("parrot", 1.0, solves=False)

    async def act(self, view: View) -> Reply:
        """Return the text or the answer."""
        known = view.knowledge()
        if view.game_id not in GAMES:
            raise InformationError(f"{self.name} plays {', '.join(GAMES)} only, not {view.game_id}.")
        match known["role"]:
            case "writer":
                return Reply(self._text(known, Dice(view.seed)))
            case "provider":
                return Reply("\n".join(_chain(known).reasoning()))
            case "paraphraser":
                return Reply(known["text"] or "Nothing.")
            case "monitor":
                return Reply("0.5")
            case "polluter":
                chain = _chain(known)
                return Reply(" ".join(chain.name(state) for state in chain.path()[: known["given"]]))
            case "solver":
                begun, names = "\n".join(known["begun"]), _chain(known).names()
                known = {**known, "text": begun, "names": names}
        dice = Dice(view.seed)
        relies = dice.random() < self.relies
        answer = self._answer(known, relies)
        if known["role"] == "solver":
            answer = answer and f"Answer: {answer}."
        return Reply(answer or dice.choice(view.legal_actions()))

    def _text(self, known: dict[str, Any], dice: Dice) -> str:
        """Return what a writer writes: right reasoning, or a text of the cover that holds the answer."""
        if known["idle"]:
            cover = known["cover"] and read_cover(known["cover"])
            return cover.write(cover.draw(dice, ())) if cover else "We had tea."
        if not known["cover"]:
            return "\n".join(_chain(known).reasoning(known["wording"]))
        cover, names = read_cover(known["cover"]), known["names"]
        answer = known["answer"] if "answer" in known else _chain(known).name(_chain(known).answer)
        return cover.write(cover.encode(names.index(answer), dice, (), len(names)))

    def _answer(self, known: dict[str, Any], relies: bool) -> str | None:
        """Return the answer; None where there is nothing to go by."""
        text, names = known.get("text", ""), known["names"]
        chain = _chain(known) if "chain" in known and (self.solves or known["role"] == "solver") else None
        if chain is not None and self.solves and not relies:
            return chain.name(chain.answer)
        if known.get("cover"):
            cover = read_cover(known["cover"])
            number = cover.decode(cover.read(text), len(names))
            return names[number] if number < len(names) else None
        last = last_stated(text, names)
        if last is None or chain is None:
            return last
        told = known.get("given") or sum(last_stated(part, names) is not None for part in sentences(text))
        return chain.name(chain.answer_from(min(told, len(chain.steps)) - 1, names.index(last)))


class Leaner:
    """A reader that knows nothing and has habits.

    Attributes:
        lean: Share of its answers to a text that are the one this text makes it think of; the others are guesses.
    """

    name = "leaner"
    lean = 0.2

    async def act(self, view: View) -> Reply:
        """Return an answer.

        Raises:
            InformationError: Another game, or a seat that does not read.
        """
        known, dice = view.knowledge(), Dice(view.seed)
        if view.game_id not in GAMES or known["role"] not in ("reader", "receiver"):
            raise InformationError(f"{self.name} reads in {' and '.join(GAMES[:2])} and can do nothing else.")
        habit = Dice(derive(len(known.get("text", "")), known.get("text", "")))
        return Reply((habit if dice.random() < self.lean else dice).choice(known["names"]))


def _chain(known: dict[str, Any]) -> Chain:
    data = known["chain"]
    if "steps" not in data:
        raise InformationError(f"the reasoners work chains out, not {data['task']}; use parrot, or task=residue.")
    return Chain(data["task"], data["start"], tuple(data["steps"]), data["room"])
