"""Clauses on who knows what: many short games of different seeds, compared with each other.

The examiner plays openings of many games; where chance makes them differ, with few different sequences of its own
choices, so that players often come to know the same while the states differ. With *perfect information* that must not
happen. With *imperfect information* it must happen (or nothing was compared), and then the player must be shown the
same.
"""

from __future__ import annotations

from collections.abc import Iterator

from palaestra.envs.conformance.common import Examination, canonical, difference, information_state
from palaestra.envs.events import Event
from palaestra.envs.game import Game
from palaestra.envs.parts import part_text
from palaestra.envs.seeding import Dice, derive

STEPS = 10
"""Steps of each game that are compared."""

LINES_OF_PLAY = 4
"""Different sequences of choices among the games of a game with chance."""


def examine_knowledge(exam: Examination, games: int) -> None:
    """Examine the clauses ``information`` and ``privacy``, whichever is the one for this game."""
    perfect = exam.make(0).facts.information == "perfect"
    if "privacy" in exam.clauses:
        _audiences(exam, games)
    if perfect and "information" in exam.clauses:
        _perfect(exam, games)
    if not perfect and "privacy" in exam.clauses:
        _imperfect(exam, games)


def _openings(exam: Examination, games: int) -> Iterator[tuple[int, int, Game, int]]:
    """Yield (seed, step, game, number of events before the step) before the first and after every step."""
    for seed in range(games):
        game = exam.make(seed)
        line = seed % LINES_OF_PLAY if game.facts.chance else seed
        dice = Dice(derive("conformance", "line of play", line))
        yield seed, 0, game, 0
        for step in range(1, STEPS + 1):
            before = len(game.log)
            for player in game.players_to_move():
                game.apply(player, game.sample_action(player, dice))
            if len(game.log) == before and game.is_over():
                break
            yield seed, step, game, before


def _perfect(exam: Examination, games: int) -> None:
    """Players who have been shown the same at every step are in the same state."""
    states: dict[tuple[int, int], tuple[str, int]] = {}
    shown: dict[int, int] = {}
    for seed, step, game, before in _openings(exam, games):
        for player in range(game.facts.players):
            news = [event.to_json() for event in game.log[before:] if event.visible_to(player)]
            shown[player] = derive(shown[player] if step else 0, game.observation(player), canonical(news))
            state = canonical(game.state())
            known, other = states.setdefault((player, shown[player]), (state, seed))
            if known != state:
                message = f"player {player + 1} is shown the same as with seed {other}, but the state is another"
                exam.breach("information", f"seed {seed}, step {step}", f"{message}, so information is not perfect")


def _imperfect(exam: Examination, games: int) -> None:
    """Players who know the same are shown the same, whatever the rest of the state is."""
    known: dict[tuple[int, str], tuple[dict[str, str], str, int]] = {}
    for seed, step, game, _ in _openings(exam, games):
        for player in range(game.facts.players):
            knowledge = information_state(game, player)
            if knowledge is None:
                message = "hidden information is declared, but neither information_state nor knowledge tells which"
                exam.breach("privacy", "opening", f"{message}; return all that the player may know from one of them")
            shown = {
                "observation": game.observation(player),
                "role": game.role(player),
                "knowledge": canonical(game.knowledge(player)),
                "news": repr([e for e in game.log if e.source != player and e.visible_to(player)]),
            }
            if player in game.players_to_move():
                shown["list of legal actions"] = repr(list(game.legal_actions(player)))
            state = canonical(game.state())
            before, other_state, other = known.setdefault((player, canonical(knowledge)), (shown, state, seed))
            if differs := difference(before, shown):
                message = f"player {player + 1} knows the same as with seed {other} ({knowledge!r}), but"
                exam.breach("privacy", f"seed {seed}, step {step}", f"{message} {differs}")
            exam.report.compared += state != other_state
    if not exam.report.compared and exam.make(0).facts.players == 1:
        exam.report.notes.append(f"in {games} games nothing was ever hidden from the only player")
    elif not exam.report.compared:
        message = f"in {games} games no player ever knew the same in two different states"
        cure = "raise pairs or choose options for a smaller game, unless nothing is hidden or everything is told"
        exam.breach("privacy", "openings", f"{message}, so nothing was compared; {cure}")


def _audiences(exam: Examination, games: int) -> None:
    """What only some may see does not show up elsewhere in front of the others."""
    for seed, step, game, before in _openings(exam, min(games, 40)):
        for event in game.log[before:]:
            for player in range(game.facts.players) if event.to is not None else ():
                if not event.visible_to(player) and _overheard(game, player, event):
                    message = f"player {player + 1} can read an event that was not for it: {event}"
                    exam.breach("privacy", f"seed {seed}, step {step}", message)


def _overheard(game: Game, player: int, event: Event) -> bool:
    said = part_text(event.content)
    own = "\n".join(part_text(other.content) for other in game.log if other.visible_to(player))
    return bool(said.strip()) and said in game.observation(player) and said not in own
