"""Another deal of an OpenSpiel game that a player cannot tell from the one that was played.

A *deal* is what chance did: one outcome for each chance node of a history. The deals that count are those after which
every action of the history is legal and the player sees the same at every step, those of the deal included. They are
listed, by playing the history again with every outcome that keeps to this, and one is drawn by its probability: so the
draw is exact. Actions are not changed: where another player's choice was hidden there is no chance to draw it by, and
where deals are too many to be listed nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from palaestra.envs.errors import CannotRedeal
from palaestra.envs.seeding import Dice

MOST_STEPS = 20_000
"""States that are visited in listing deals; about a second."""

Seen = Callable[[Any], str]
"""From a state to what the player sees of it."""
Step = tuple[int, ...]
"""An outcome of chance, an action, or an action of every player."""


Deal = tuple[float, list[Step]]
"""The probability of chance, and the steps of the history with it."""


def deals_of(start: Callable[[], Any], steps: list[Step], player: int, seen: Seen, name: str) -> list[Deal]:
    """Return all deals that a player cannot tell from the one that was played, which is among them.

    Args:
        start: Makes a fresh `pyspiel.State`.
        steps: Of the history, in order.
        player: To whom all looks the same.
        seen: What it sees; with the order of steps it is all that it knows.
        name: Of the game, for messages.

    Raises:
        CannotRedeal: Another player's choice was hidden from the player, or there are too many deals.
    """
    state = start()
    wanted = [seen(state)]
    for step in steps:
        if not state.is_chance_node() and _hides(state, step, player, seen):
            raise CannotRedeal(
                f"{name} hides a player's choice from another here, and nothing says how it would be made anew; use "
                "the deal that was played."
            )
        _play(state, step)
        wanted.append(seen(state))
    return _deals(start(), steps, wanted, seen, name)


def redealt(start: Callable[[], Any], deals: list[Deal], dice: Dice) -> Any:
    """Return the state after one of `deals_of`, drawn by its probability."""
    drawn = deals[dice.weighted([chance for chance, _ in deals]) if len(deals) > 1 else 0][1]
    state = start()
    for step in drawn:
        _play(state, step)
    return state


def _play(state: Any, step: Step) -> None:
    if state.is_simultaneous_node():
        state.apply_actions(list(step))
    else:
        state.apply_action(step[0])


def _hides(state: Any, step: Step, player: int, seen: Seen) -> bool:
    """Return whether another player could have chosen otherwise here, and ``player`` would have seen the same."""
    movers = range(len(step)) if state.is_simultaneous_node() else [state.current_player()]
    played = state.clone()
    _play(played, step)
    told = seen(played)
    for place, mover in enumerate(movers):
        for action in state.legal_actions(mover) if mover != player else ():
            if action != step[place]:
                other = state.clone()
                _play(other, (*step[:place], action, *step[place + 1 :]))
                if seen(other) == told:
                    return True
    return False


def _deals(state: Any, steps: list[Step], wanted: list[str], seen: Seen, name: str) -> list[Deal]:
    """Return the probability of chance and the steps of every deal under which a player sees what is ``wanted``: before
    each step, and at the end. The one that was played is among them."""
    found: list[Deal] = []
    waiting: list[tuple[Any, float, list[Step]]] = [(state, 1.0, [])]
    visited = 0
    while waiting:
        state, chance, done = waiting.pop()
        visited += 1
        if visited > MOST_STEPS:
            raise CannotRedeal(f"{name} has too many deals to draw one of them here; use the deal that was played.")
        if seen(state) != wanted[len(done)]:
            continue
        if len(done) == len(steps):
            found.append((chance, done))
            continue
        for step, likely in _ways(state, steps[len(done)]):
            following = state.clone()
            _play(following, step)
            waiting.append((following, chance * likely, [*done, step]))
    return found


def _ways(state: Any, step: Step) -> list[tuple[Step, float]]:
    """Return what may stand at a step: any outcome of chance, or the action that was played if it is legal."""
    if state.is_chance_node():
        return [((action,), chance) for action, chance in state.chance_outcomes()]
    if state.is_terminal():
        return []
    movers = range(len(step)) if state.is_simultaneous_node() else [state.current_player()]
    # a player without a choice at a simultaneous node stands in the history with action 0
    if all(action in (state.legal_actions(mover) or [0]) for action, mover in zip(step, movers, strict=True)):
        return [(step, 1.0)]
    return []
