"""Every error a user of Palaestra's environments can meet, drawn once.

A message says what was asked, why it cannot be, and what to do, in one sentence that begins with the user's own word
for the thing. The command line prints that sentence and exits with status 2; a traceback is for bugs only.

    PalaestraError
    ├── UnknownName (LookupError)        no such game, option, seat, model, ...; `nearest` holds the best guess
    ├── OptionError (ValueError)         an option of the wrong type or out of range
    ├── SeatCountError (ValueError)      seats do not fit the game
    ├── ActionError (ValueError)         a reply that is no move: the player may be asked again
    │   ├── UnparsableAction             no action found in the text, or two readings of it
    │   └── IllegalAction                an action, but not now
    ├── InformationError (RuntimeError)  a seat asked for more than it may know
    ├── ContractError (AssertionError)   a game broke the contract of `palaestra.envs.game`
    ├── NotationError (ValueError)       text that is no valid PGN, SGF, FEN, ...
    ├── BrokenPlugin (ImportError)       an installed package offers something that cannot be loaded
    └── ReplayError (ValueError)
        ├── MissingReplay (FileNotFoundError)  no such file
        ├── NotAReplay                   a file that is something else
        ├── UnwritableReplay             the disk is full, or the folder may not be written to
        ├── TornReplay                   the file ends before a complete first line
        ├── EditedReplay                 a line does not match its content hash
        ├── NewerReplay                  written by a newer schema or game version
        └── ReplayMismatch               re-execution reached another state; `turn` says where
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PalaestraError(Exception):
    """Base of all errors whose message is meant for the user."""


class UnknownName(PalaestraError, LookupError):
    """A name that is not registered.

    Args:
        what: The user's word for the kind of thing, such as ``"game"``.
        name: What was asked for.
        known: Names that exist, from which the nearest is offered.
        cure: What to do when no name is near.
    """

    def __init__(self, what: str, name: str, known: Iterable[str] = (), cure: str = "") -> None:
        matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.55)
        self.nearest = matches[0] if matches else None
        hint = f" Did you mean {self.nearest!r}?" if self.nearest else ""
        self.name = name
        super().__init__(f"unknown {what} {name!r}.{hint}{' ' + cure if cure else ''}")


class OptionError(PalaestraError, ValueError):
    """An option value that its declaration does not allow."""


class BrokenPlugin(PalaestraError, ImportError):
    """An installed package offers something that cannot be loaded."""


class SeatCountError(PalaestraError, ValueError):
    """The number of seats is not the number of players."""


class ActionError(PalaestraError, ValueError):
    """A reply that does not move the game on. ``reason`` is what the player is told."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class UnparsableAction(ActionError):
    """No action was found in the text, or it can be read in two ways."""


class IllegalAction(ActionError):
    """The text is an action, but the rules do not allow it now."""


class InformationError(PalaestraError, RuntimeError):
    """A seat asked for something that the rules hide from it."""


class CannotRedeal(PalaestraError, NotImplementedError):
    """A game with hidden information that does not say how it is drawn anew."""


class ContractError(PalaestraError, AssertionError):
    """A game does not keep the contract. ``clause`` names the part of it."""

    def __init__(self, clause: str, message: str) -> None:
        self.clause = clause
        super().__init__(f"{clause}: {message}")


class NotationError(PalaestraError, ValueError):
    """Text that is not valid in the notation it claims to be in."""


class ReplayError(PalaestraError, ValueError):
    """A replay file that cannot be used as it is."""


class MissingReplay(ReplayError, FileNotFoundError):
    """There is no file of that name."""


class NotAReplay(ReplayError):
    """The file holds something else."""


class UnwritableReplay(ReplayError):
    """A replay could not be written; the turns before are safe."""


class TornReplay(ReplayError):
    """The file ends before its header is complete."""


class EditedReplay(ReplayError):
    """A line was changed after it was written."""


class NewerReplay(ReplayError):
    """The replay needs a newer or different release."""


class ReplayMismatch(ReplayError):
    """Re-execution differs from the record. ``turn`` is the first turn that differs."""

    def __init__(self, turn: int, message: str) -> None:
        self.turn = turn
        super().__init__(message)


def install_command(extra: str) -> str:
    """Return what installs an extra (``"core"`` is none of them), in the folder of the source."""
    return f"pip install -c constraints.txt -e '.{'' if extra == 'core' else f'[{extra}]'}'"
