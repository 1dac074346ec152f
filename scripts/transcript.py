"""Games as a reader sees them: live at the table (`Stage`), or from a replay (`show_episode`).

A spectator sees everything, thoughts dimmed. Where a person sits at the table, the seat itself shows what that player
may see, and the stage adds only what comes after its last turn: nobody reads the cards off the screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from palaestra.envs.episode import Attempt, Episode, Turn
from palaestra.envs.events import render
from palaestra.envs.match import Match, MatchRules, Recorder, split_thought
from palaestra.envs.parts import part_text
from palaestra.scripts.console import barred, console, plain, untrusted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


class Stage:
    """Prints a match as it is played: a recorder for `Match`.

    Args:
        people: Players who sit at this terminal; without any, everything is shown.
        observations: Whether a spectator also sees what each player was shown.
        also: Another recorder, told first, so that what is shown has been written.
    """

    def __init__(self, people: Sequence[int] = (), *, observations: bool = True, also: Recorder | None = None) -> None:
        self.people = tuple(people)
        self.observations = observations
        self.also = also
        self._match: Match | None = None
        self._console: Console = console()

    def begin(self, match: Match) -> None:
        """Show who sits where."""
        self._match = match
        if self.also:
            self.also.begin(match)
        game = match.game
        roles = [game.role(player) for player in range(len(match.seats))]
        self._console.print(_heading(game.id, game.seed, [seat.name for seat in match.seats], roles))

    def turn(self, turn: Turn) -> None:
        """Show a turn, unless it is a player's own business."""
        if self.also:
            self.also.turn(turn)
        assert self._match is not None
        recorded = turn.number < len(self._match.prefix)
        if not self.people and not recorded:
            seat, markers = self._match.seats[turn.player].name, self._match.rules.thought
            show_turn(self._console, turn, seat, markers, observations=self.observations)

    def end(self, episode: Episode) -> None:
        """Show what people have not seen yet, and how it ended."""
        if self.also:
            self.also.end(episode)
        assert self._match is not None
        for player in self.people:
            texts = [render(self._match.unseen(player)), self._match.game.board(player)]
            self._console.print(untrusted("\n" + "\n".join(text for text in texts if text)))
        self._console.print(ending(episode))

    def close(self) -> None:
        """Close the other recorder."""
        if (close := getattr(self.also, "close", None)) is not None:
            close()


def show_episode(episode: Episode, *, observations: bool) -> None:
    """Print a whole episode."""
    out = console()
    out.print(_heading(episode.game, episode.seed, episode.seats, episode.roles))
    markers = MatchRules.from_json(episode.rules).thought
    for turn in episode.turns:
        show_turn(out, turn, episode.seats[turn.player], markers, observations=observations)
    out.print(ending(episode))


def show_turn(out: Console, turn: Turn, seat: str, markers: tuple[str, str], *, observations: bool) -> None:
    """Print one turn: what was shown, thought, said, refused and done."""
    from rich.text import Text

    role = f" ({turn.role})" if turn.role else ""
    out.print(
        Text.assemble(
            (f"\n{turn.number + 1:>3}  ", "dim"), (f"Player {turn.player + 1}", "bold"), untrusted(f"{role}, {seat}")
        )
    )
    if observations and turn.observation:
        out.print(barred(out, untrusted(turn.observation, "dim"), "dim"))
    for attempt in turn.attempts:
        _show_attempt(out, attempt, turn, markers)
    if turn.substituted:
        out.print(Text.assemble("     chosen at random instead: ", _action(turn)))
    elif turn.action is None:
        out.print(Text("     out of patience: forfeits", "bold red"))


def ending(episode: Episode) -> Text:
    """Return how an episode ended, in a line or two."""
    from rich.text import Text

    turns = f"after {len(episode.turns)} turn{'s' if len(episode.turns) != 1 else ''}"
    how = {"finished": f"Finished {turns}", "unfinished": f"Unfinished {turns}; no result"}.get(episode.outcome)
    if how is None:
        loser = episode.forfeited_by
        how = f"Forfeited {turns} by player {loser + 1}" if loser is not None else f"Forfeited {turns}"
    text = Text.assemble("\n", (how, "bold"))
    if episode.returns is not None:
        scores = ", ".join(f"player {player + 1} {value:+g}" for player, value in enumerate(episode.returns))
        text.append(f": {scores}")
    for key, value in episode.result.items():
        text.append("\n  ").append_text(untrusted(f"{key}: {value}", "dim"))
    return text


def _heading(game: str, seed: int, seats: Sequence[str], roles: Sequence[str]) -> Text:
    from rich.text import Text

    text = Text.assemble(untrusted(game, "bold cyan"), (f", seed {seed}", "dim"))
    for player, (seat, role) in enumerate(zip(seats, roles, strict=True)):
        text.append_text(untrusted(f"\n  Player {player + 1}{f' ({role})' if role else ''}: {seat}"))
    return text


def _show_attempt(out: Console, attempt: Attempt, turn: Turn, markers: tuple[str, str]) -> None:
    from rich.text import Text

    said = split_thought(part_text(attempt.reply.content), markers)[1]
    if attempt.thought:
        out.print(barred(out, untrusted(f"thinks: {attempt.thought}", "dim italic"), "dim"))
    if attempt.status != "ok":
        out.print(barred(out, untrusted(said or "(nothing)", "red"), "red"))
        told = (untrusted(f"{attempt.status}: ", "bold red"), untrusted(attempt.reason, "red"))
        out.print(barred(out, Text.assemble(*told), "red"))
    else:
        action = _action(turn)
        if plain(said.strip()) != action.plain:
            out.print(barred(out, untrusted(said)))
        out.print(Text.assemble("     ", action))


def _action(turn: Turn) -> Text:
    return untrusted("" if turn.action is None else part_text(turn.action), "bold green")
