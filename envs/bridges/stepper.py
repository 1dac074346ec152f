"""A match turned inside out: ordinary code asks "who must reply?" and answers, step by step.

A `Match` is a coroutine that asks its seats. The ecosystems next door want the reverse: an environment that is told an
action and returns the next observation. A `Stepper` plays the very same match with *outside* seats, whose ``act``
waits for a reply from the caller, and runs the coroutine until such a seat is waiting or the match is over. So rules
of conduct, re-asks, forfeits and simultaneous moves are the match's own and are written once.

Invariants: between two calls the match stands still; all outside players that must reply are in ``requests`` at once
(seats of one round are asked in the same pass of the event loop), and all of them are answered together; nothing runs
in another thread.

The event loop is private and shared by the steppers of one thread, so that opponents backed by one engine wait in one
loop, and a thousand environments need one file descriptor set. It also runs where a loop is running already, as in a
notebook.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from palaestra.envs.episode import Episode, Reply, Status
from palaestra.envs.game import Game
from palaestra.envs.match import Match, MatchRules
from palaestra.envs.parts import Action
from palaestra.envs.seat import Seat, View


class Stepper:
    """One match, driven by the caller.

    Args:
        game: A fresh game; the stepper takes ownership.
        inside: Seats that play by themselves; all other players are outside.
        rules: Rules of conduct.

    Attributes:
        requests: The view of every outside player that must reply now, by player.
        episode: The episode when it is over, else None.
        verdicts: Status and reason of each player's last reply.

    Raises:
        Exception: Whatever an inside seat raises comes out of the call that let it play.
    """

    def __init__(self, game: Game, inside: Mapping[int, Seat], rules: MatchRules) -> None:
        self.requests: dict[int, View] = {}
        self.episode: Episode | None = None
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._runner = _runner()
        players = range(game.facts.players)
        seats = [inside[player] if player in inside else _Outside(self) for player in players]
        self.match = _WatchedMatch(game, seats, rules, record=False)
        self.verdicts = self.match.verdicts
        loop = self._runner.loop
        self._task = loop.create_task(self.match.play())
        self._task.add_done_callback(lambda _: loop.stop())
        # Environments are often dropped without close(); the seats are then closed when the loop turns next.
        weakref.finalize(self, _abandon, loop, self._task)
        self._advance()

    def answer(self, replies: Mapping[int, Reply]) -> None:
        """Give every waiting player's reply and play on to the next request or the end."""
        if replies.keys() != self._waiting.keys():
            raise ValueError(f"replies of players {sorted(replies)}, but {sorted(self._waiting)} must reply")
        waiting, self._waiting = self._waiting, {}
        self.requests = {}
        for player in sorted(replies):
            waiting[player].set_result(replies[player])
        self._advance()

    def view(self, player: int) -> View:
        """Return what ``player`` may see now, whether or not it must reply."""
        if player in self.requests:
            return self.requests[player]
        match = self.match
        return View(match, player, match.game.role(player), len(match.turns), 0, "", match._seen[player])

    def close(self) -> None:
        """Break the match off; its seats are closed."""
        loop = self._runner.loop
        if not self._task.done() and not loop.is_closed():
            self._task.cancel()
            with self._runner.entered():
                while not self._task.done():
                    loop.run_forever()
        self.requests, self._waiting = {}, {}

    def _advance(self) -> None:
        with self._runner.entered():
            # Another stepper of this thread may stop the loop, too: hence a loop, and not one run.
            while not (self._waiting or self._task.done()):
                self._runner.loop.run_forever()
        if self._task.done():
            self.episode = self._task.result()


class _Outside:
    """A seat whose replies come from the stepper's caller."""

    name = "outside"

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = weakref.proxy(stepper)

    async def act(self, view: View) -> Reply:
        stepper = self._stepper
        loop = stepper._runner.loop
        future: asyncio.Future[Reply] = loop.create_future()
        stepper.requests[view.player] = view
        stepper._waiting[view.player] = future
        loop.stop()  # at the end of this pass, in which the other players of the round are asked, too
        return await future


class _WatchedMatch(Match):
    """A match that remembers its last verdict on each player, which a step must report."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.verdicts: dict[int, tuple[Status, str]] = {}

    def _judge(self, player: int, reply: Reply, apply: bool) -> tuple[str, Action | None, Status, str]:
        judged = super()._judge(player, reply, apply)
        self.verdicts[player] = judged[2], judged[3]
        return judged


class _Runner:
    """An event loop, closed when nothing uses it any more, and a lock against two threads stepping in it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.process = os.getpid()
        self._lock = threading.RLock()
        weakref.finalize(self, _close, self.loop, self.process)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Allow ``run_forever`` here, by one thread at a time."""
        with self._lock, _no_loop_running():
            yield


@contextmanager
def _no_loop_running() -> Iterator[None]:
    """Allow a loop to run inside a running one, which stands still meanwhile, as in any call that takes time."""
    outer = asyncio._get_running_loop()
    if outer is None:
        yield
        return
    task = asyncio.current_task(outer)
    if task is not None:
        asyncio.tasks._leave_task(outer, task)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(outer)
        if task is not None:
            asyncio.tasks._enter_task(outer, task)


def _abandon(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Episode]) -> None:
    """Have an unfinished match cancelled by whoever lets the loop turn next; may be called from any thread."""
    if not task.done() and not loop.is_closed():
        loop.call_soon_threadsafe(task.cancel)


def _close(loop: asyncio.AbstractEventLoop, process: int) -> None:
    """Let abandoned matches end, then close the loop."""
    if process != os.getpid() or loop.is_closed():
        return
    with _no_loop_running():
        if tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            all_done = asyncio.gather(*tasks, return_exceptions=True)
            all_done.add_done_callback(lambda _: loop.stop())
            while not all_done.done():  # each match stops the loop when it ends
                loop.run_forever()
    loop.close()


_local = threading.local()
_inherited: list[_Runner] = []
"""Loops of a parent process: closing them here would disturb the parent, whose descriptors they share."""


def _runner() -> _Runner:
    """Return this thread's runner; a forked child gets its own."""
    runner: _Runner | None = getattr(_local, "runner", None)
    if runner is not None and runner.process != os.getpid():
        _inherited.append(runner)
        runner = None
    if runner is None:
        runner = _local.runner = _Runner()
    return runner
