"""A person at the terminal: sees what a model would see, and types what a model would write.

The line editor is prompt_toolkit's, which waits inside the event loop: other matches go on meanwhile, and Ctrl-C ends
the wait at once and leaves the terminal as it was. (A thread blocked in ``input()`` can be neither woken nor ended.)

    TAB            completes a legal move
    ?              lists the legal moves
    Ctrl-D         leaves the table: `PlayerLeft`, whose message is fit for the command line
    Ctrl-C         KeyboardInterrupt, as everywhere

Either way the turns played so far are in the replay, and can be gone on from. What other players wrote is shown with
its control characters made visible, so that nobody can write on somebody else's screen. Two people at one terminal are
asked one after the other, also where the game lets them choose at once; nothing hides the screen from the other.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.input import Input
from prompt_toolkit.output import Output

from palaestra.envs.episode import Reply
from palaestra.envs.errors import PalaestraError
from palaestra.envs.seat import View

HELP = "? lists the legal moves, TAB completes, Ctrl-D leaves the game"
LISTED = 400
"""Legal moves that are listed; nobody reads more."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class PlayerLeft(PalaestraError, RuntimeError):
    """A person has ended the game."""


class HumanSeat:
    """Asks a person for every move.

    Args:
        name: For records.
        input, output: A terminal other than the process's own, such as a connection's.

    While playing:
        PlayerLeft: The person pressed Ctrl-D, or the input has ended.
        PalaestraError: There is no input.
        KeyboardInterrupt: The person pressed Ctrl-C.
    """

    def __init__(self, name: str = "human", *, input: Input | None = None, output: Output | None = None) -> None:
        self.name = name
        self._input = input
        self._output = output
        self._session: PromptSession[str] | None = None

    async def act(self, view: View) -> Reply:
        """Show what is new, and return what is typed; it is the match that judges it."""
        if self._input is None and sys.stdin is None:
            raise PalaestraError(
                f"player {view.player + 1} is a person, but standard input is closed; run it at a terminal, or seat "
                "somebody else."
            )
        async with _terminal_lock():
            session = self._session = self._session or PromptSession(input=self._input, output=self._output)
            legal, spelled = view.legal_actions(), view.spelled_actions()
            words = tuple(dict.fromkeys((*spelled, *legal)))
            if view.first:
                self._print(HELP)
            self._print(f"\n{visible(view.observation())}")
            asking = f"player {view.player + 1} ({view.role})> "
            while True:
                try:
                    text = await session.prompt_async(
                        asking, completer=_Moves(words), complete_while_typing=False, handle_sigint=False
                    )
                except EOFError:
                    raise PlayerLeft(
                        f"player {view.player + 1} left {view.game_id} at its turn {view.turn + 1}; the turns before "
                        "are kept where the game is recorded, and `palaestra replay resume` goes on from there."
                    ) from None
                if text.strip() == "?":
                    self._print(listing(spelled))
                elif text.strip():
                    return Reply(text)

    def _print(self, text: str) -> None:
        assert self._session is not None
        output = self._session.output
        output.write(text + "\n")
        output.flush()


class _Moves(Completer):
    """Completes the line to a legal move, whatever the case."""

    def __init__(self, legal: Sequence[str]) -> None:
        self.legal = legal

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        typed = document.text_before_cursor.lstrip()
        for move in self.legal:
            if move.lower().startswith(typed.lower()):
                yield Completion(move, start_position=-len(typed))


def listing(legal: Sequence[str]) -> str:
    """Return the legal moves as one paragraph."""
    more = f", and {len(legal) - LISTED} more" if len(legal) > LISTED else ""
    return f"Legal moves: {visible(', '.join(legal[:LISTED]))}{more}"


def visible(text: str) -> str:
    """Return text with control characters (all but newlines and tabs) replaced by marks that do nothing."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


_locks: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()


def _terminal_lock() -> asyncio.Lock:
    """Return the lock of this event loop: one prompt at a time."""
    return _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())


__all__ = ["HumanSeat", "PlayerLeft"]
