"""Review: what should have been said, asked of somebody who knows how it ended.

A finished game of another kind is shown from the seat of one of its players, up to one of its turns, with what was said
there, how the game ended and what became known then (`Game.revealed`). The reviewer says whether that was a mistake,
what could have been recognised *from what was known at the time*, and what should have been said. Whether it is right
is not judged here: a claim is tried out in clones of the game (`palaestra.trainers.hindsight.verify`).

A trainer gives the text itself (``shown``), which makes the frozen reference a seat like any other: its reviews are
replies with a status, in batches beside new games. Without it the game plays a random game of ``game`` and asks about
one of its turns. ``form="reply"`` asks for the better reply and nothing else, for models of a million parameters;
``form="score"`` for a number from -3, a blunder, to 3. With ``form="game"`` all turns of the player are shown, by
number, and the reviewer names those that were mistakes, none or several. ``principles`` are what the reviewer is to go
by.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Self

from palaestra.envs.errors import IllegalAction, UnparsableAction
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.games.review_mistakes import (
    LINE,
    LONGEST,
    MOST_MISTAKES,
    mistakes_in,
    read_mistakes,
    shown_game,
    write_mistakes,
)
from palaestra.envs.options import within
from palaestra.envs.parts import Action, well_formed
from palaestra.envs.registry import make
from palaestra.envs.seeding import Dice

LONGEST_PRINCIPLES = 2000
MOST_REPLIES = 64
SCORES = tuple(range(-3, 4))
_SCORE = re.compile(r"(?<![\w.+-])[+-]?\d{1,3}(?!\w|\.\w)")
_YES = {"yes": True, "no": False, "true": True, "false": False}


@dataclass(frozen=True)
class ReviewOptions:
    """What is reviewed.

    Attributes:
        game: A game that is played at random, whose options are its defaults; for ``shown=""``.
        terse: Whether that game is asked for its ``terse`` view.
        shown: The text to review, in place of such a game.
        form: ``full``: mistake, because and reply, a line each; ``reply``: the whole answer is the better reply;
            ``score``: a number from -3 to 3; ``game``: turn, because and reply for every mistake of a whole game.
        principles: What the reviewer is to go by, at most 2000 characters.
        max_chars: Most characters of ``shown``.
        replies: The replies that may be proposed, where they can be listed; for engines that hold replies to a form.
    """

    game: str = "kuhn_poker"
    terse: bool = False
    shown: str = ""
    form: Literal["full", "reply", "score", "game"] = "full"
    principles: str = ""
    max_chars: int = 8000
    replies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        within(self, max_chars=(100, 100_000))
        if len(self.replies) > MOST_REPLIES or not all(one and one.isprintable() for one in self.replies):
            raise ValueError(f"replies are up to {MOST_REPLIES} lines of text, none of them empty")
        if len(self.shown) > self.max_chars:
            raise ValueError(f"shown has {len(self.shown)} characters; {self.max_chars} are allowed (max_chars)")
        if len(self.principles) > LONGEST_PRINCIPLES:
            raise ValueError(f"principles has {len(self.principles)} characters; {LONGEST_PRINCIPLES} are allowed")
        if self.game == "review":
            raise ValueError("a review of a review is not offered; name another game")


class Review(Game):
    """One seat, one turn."""

    id = "review"
    version = 1
    summary = "what should have been said, asked of somebody who knows how it ended"
    Options = ReviewOptions

    shown: str
    turns: list[tuple[int, Action]]
    """(player, action) of the reviewed game, where it was played here."""
    turn: int
    """Which of these is reviewed; of a whole game the first of its player."""
    answer: str

    @property
    def facts(self) -> GameFacts:
        return GameFacts(
            players=1,
            min_return=0.0,
            max_return=1.0,
            max_turns=1,
            max_observation_chars=1000 + LONGEST_PRINCIPLES + self.options.max_chars,
            roles=("reviewer",),
            chance=True,
            utility="general_sum",
            enumerable=False,
        )

    def setup(self) -> None:
        self.turns, self.turn, self.answer = [], 0, ""
        self.shown = self.options.shown or self._play()

    def _play(self) -> str:
        """Play a game at random and return what is shown of it."""
        game = self.reviewed()
        over = game.clone()
        while movers := over.players_to_move():
            action = over.sample_action(movers[0], self.dice)
            over.apply(movers[0], action)
            self.turns.append((movers[0], action))
        self.turn = self.dice.below(len(self.turns))
        for player, action in self.turns[: self.turn]:
            game.apply(player, action)
        player, said = self.turns[self.turn]
        if self.options.form == "game":
            self.turn = next(number for number, (mover, _) in enumerate(self.turns) if mover == player)
            again, seen = self.reviewed(), list[tuple[str, str]]()
            for mover, action in self.turns:
                if mover == player:
                    seen.append((again.board(player) if seen else again.observation(player), str(action)))
                again.apply(mover, action)
            return shown_game(seen, over.returns()[player], over.revealed(player), most=self.options.max_chars)
        told = shown(
            game.observation(player), str(said), over.returns()[player], over.revealed(player),
            terse=self.options.form == "reply", most=self.options.max_chars,
        )  # fmt: skip
        return told

    def reviewed(self) -> Game:
        """Return the reviewed game at its start."""
        view = {"view": "terse"} if self.options.terse else {}
        return make(self.options.game, seed=self.dice.seed, **view)

    def players_to_move(self) -> tuple[int, ...]:
        return () if self.answer else (0,)

    def prompt(self, player: int) -> str:
        if self.options.form == "reply":
            return ""
        begin = "You review a finished game. You know how it ended; its player did not."
        if self.options.principles:
            begin = f"{begin} Go by these principles:\n{self.options.principles}\n"
        if self.options.form == "score":
            return (
                f"{begin} How good was the reply, judged by what the player could know then? Answer with one number "
                "from -3 (a blunder) to 3 (the best reply there was)."
            )
        if self.options.form == "game":
            return (
                f"{begin} Its turns are numbered. Which replies were mistakes, judged by what the player could know "
                "then, and what should have been said? Answer 'No mistake', or in three lines for each mistake:\n"
                "Turn: its number\n"
                "Because: one sentence, about what could have been recognised then\n"
                "Reply: what should have been said, as that game wants it"
            )
        return (
            f"{begin} Was the reply a mistake, judged by "
            "what the player could know then, and what should have been said? Answer in three lines:\n"
            "Mistake: yes or no\n"
            "Because: one sentence, about what could have been recognised then\n"
            "Reply: what should have been said, as that game wants it"
        )

    def board(self, player: int) -> str:
        return self.shown

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return the reviewed game (its seed and turns, where it was played here), the turn, and the form."""
        options: ReviewOptions = self.options
        return {
            "game": options.game,
            "terse": options.terse,
            "seed": self.dice.seed,
            "turns": [list(turn) for turn in self.turns],
            "turn": self.turn,
            "form": options.form,
        }

    def legal_actions(self, player: int) -> Sequence[str]:
        if self.options.form == "reply":
            return ["pass", "bet"]
        if self.options.form == "score":
            return [str(score) for score in SCORES]
        if self.options.form == "game":
            return [write_mistakes([(1, "It could not win.", "pass")]), write_mistakes([])]
        return [write_review(True, "It could not win.", "pass"), write_review(False, "It was right.", "bet")]

    def action_words(self, player: int) -> Sequence[str]:
        return ()

    def reply_pattern(self, player: int) -> str:
        form = self.options.form
        if form == "score":
            return "-?[1-3]|0"
        listed = "|".join(map(re.escape, self.options.replies))
        if form == "reply":
            return listed
        reply = listed or "[^\\n]{1,100}"
        claim = f"Because: [^\\n]{{1,200}}\\nReply: ({reply})"
        if form == "game":
            turn = f"Turn: [1-9][0-9]{{0,2}}\\n{claim}"
            return f"No mistake|{turn}(\\n{turn}){{0,{MOST_MISTAKES - 1}}}"
        return f"Mistake: (no|yes\\n{claim})"

    def parse(self, player: int, text: str) -> Action:
        whole = well_formed(text).strip()
        if self.options.form == "reply":
            if not whole or len(whole) > LONGEST or not whole.isprintable():
                raise UnparsableAction(f"answer with the better reply, one line of at most {LONGEST} characters.")
            return whole
        if self.options.form == "score":
            said = {int(number) for number in _SCORE.findall(whole)}
            if len(said) != 1 or not said <= set(SCORES):
                raise UnparsableAction("answer with one number from -3 to 3.")
            return str(said.pop())
        if self.options.form == "game":
            return mistakes_in(whole)
        with suppress(ValueError):
            return write_review(*read_review(whole))
        found = [one for line in whole.split("\n") if (one := LINE.fullmatch(line.strip()))]
        lines = {one[1].lower(): one[2].strip() for one in found}
        mistake = _YES.get(lines.get("mistake", "").strip(" .*").lower())
        reply = lines.get("reply", "").strip(" *`")
        if mistake is None or (mistake and not reply):
            raise UnparsableAction("answer in three lines: 'Mistake: yes' or 'no', 'Because: ...', 'Reply: ...'.")
        return write_review(mistake, lines.get("because", "").strip(" *`"), reply)

    def check(self, player: int, action: Action) -> None:
        if self.options.form == "reply":
            if not isinstance(action, str) or not action.strip() or len(action) > LONGEST or not action.isprintable():
                raise IllegalAction("a better reply is one line; pass what `parse` returns.")
            return
        if self.options.form == "score":
            if not isinstance(action, str) or action not in map(str, SCORES):
                raise IllegalAction("a score is one number from -3 to 3; pass what `parse` returns.")
            return
        if self.options.form == "game":
            try:
                canonical = write_mistakes(read_mistakes(action))
            except ValueError as error:
                raise IllegalAction(f"this is no review of a game ({error}); pass what `parse` returns.") from None
            if canonical != action:
                raise IllegalAction("this is not how mistakes are written; pass what `parse` returns.")
            return
        try:
            mistake, because, reply = read_review(action)
        except ValueError as error:
            raise IllegalAction(f"this is no review ({error}); pass what `parse` returns.") from None
        if write_review(mistake, because, reply) != action:
            raise IllegalAction("this is not how a review is written; pass what `parse` returns.")

    def sample_action(self, player: int, dice: Dice) -> Action:
        """Return a review that says something at random."""
        if self.options.form == "score":
            return str(dice.choice(SCORES))
        reply = dice.choice(["pass", "bet"])
        if self.options.form == "game":
            return write_mistakes([(1 + dice.below(3), "By chance.", reply)][: dice.below(2)])
        return reply if self.options.form == "reply" else write_review(dice.below(2) == 1, "By chance.", reply)

    def _apply(self, player: int, action: Action) -> None:
        self.answer = str(action)

    def returns(self) -> tuple[float, ...]:
        return (float(bool(self.answer)),)

    def result(self) -> dict[str, Any]:
        """Return ``mistake``, ``because`` and ``reply``, or the ``score``, or the ``mistakes`` of a whole game."""
        if self.options.form == "score":
            return {"score": int(self.answer)}
        if self.options.form == "game":
            found = ({"turn": turn, "because": because, "reply": reply}
                     for turn, because, reply in read_mistakes(self.answer))  # fmt: skip
            return {"mistakes": list(found)}
        if self.options.form == "reply":
            return {"mistake": True, "because": "", "reply": self.answer}
        mistake, because, reply = read_review(self.answer)
        return {"mistake": mistake, "because": because, "reply": reply}

    def state(self) -> dict[str, Any]:
        return {"shown": self.shown, "turns": self.turns, "turn": self.turn, "answer": self.answer}

    def _clone_state_into(self, twin: Self) -> None:
        twin.turns = list(self.turns)


def shown(
    observation: str, said: str, result: float | None, told: str, *, terse: bool = False, most: int | None = None
) -> str:
    """Return a turn as a reviewer sees it: the end first, then what the player saw and said.

    Args:
        observation: What the player was shown at that turn.
        said: What it replied.
        result: The player's return; None in the middle of the game.
        told: What became known at the end (`Game.revealed`), or what the event told (`Game.feedback`).
        terse: The return, what became known, and the observation, with single spaces between them.
        most: Characters; of a longer observation the beginning is left out, for what was said last and the reply
            matter most.
    """
    barred = observation if terse else "\n".join(f"| {line}" for line in observation.splitlines())

    def told_with(saw: str) -> str:
        if terse:
            return " ".join(part for part in ("" if result is None else f"{result:+g}", told, saw) if part)
        end = f"How it ended: this player got {result:g}. {told}" if result is not None else f"What came of it: {told}"
        return f"{end}\nWhat the player saw:\n{saw}\nWhat the player replied: {' '.join(said.split())[:LONGEST]}"

    whole = told_with(barred)
    if most is None or len(whole) <= most:
        return whole
    room = max(0, most - len(told_with("...")))
    return told_with(f"...{barred[len(barred) - room :]}")[:most]


def write_review(mistake: bool, because: str, reply: str) -> str:
    """Return a review in its canonical form, JSON on one line."""
    whole = {
        "mistake": mistake,
        "because": " ".join(because.split())[:LONGEST],
        "reply": " ".join(reply.split())[:LONGEST],
    }
    return json.dumps(whole, ensure_ascii=False)


def read_review(text: object) -> tuple[bool, str, str]:
    """Invert `write_review`.

    Raises:
        ValueError: It is none.
    """
    try:
        found = json.loads(text) if isinstance(text, str) and len(text) <= 20 * LONGEST else None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(found, dict) or set(found) != {"mistake", "because", "reply"}:
        raise ValueError("mistake, because and reply are needed")
    mistake, because, reply = found["mistake"], found["because"], found["reply"]
    if not isinstance(mistake, bool) or not isinstance(because, str) or not isinstance(reply, str):
        raise ValueError("mistake is true or false, the others are texts")
    return mistake, because, reply
