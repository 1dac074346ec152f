"""The examiner: plays a game and raises at the first breach of the contract of `palaestra.envs.game`.

    from palaestra.envs.conformance import check_game
    print(check_game("my_game"))            # a registered name, or a game class that is not registered yet

A *clause* is one part of the contract with a name; a `ContractError` carries it. Clauses are examined in this order,
so that the most telling one speaks first:

    json           state, events, options and result are JSON data and come back the same
    facts          facts, roles and teams stay the same; who is to move is as declared
    reading        looking at a game (observation, legal actions, parsing, ...) does not change it
    text           observations within ``max_observation_chars``, the prompt the same throughout
    clone          a clone is equal, plays on equally, and neither touches the other
    actions        what is listed or sampled is legal and reads as itself, what is not listed is refused
    refusal        a refused action changes nothing and says why; no text, however odd, raises anything else
    simultaneity   nothing shows that a player has chosen until all have, and the order of choices does not matter
    voice          nothing a player writes stands at the beginning of a line that another player reads
    chance         the dice are used only if chance is declared, and without chance the seed does not matter
    returns        one per player, within bounds, adding up as declared; after a forfeit, too
    withdrawal     a player who leaves is not asked again, and the others end the game; or nothing changes
    length         every game ends by itself within ``max_turns``
    determinism    the same seed and actions give the same game to the last character
    information    with perfect information, players who were shown the same are in the same state
    privacy        otherwise, what a player is shown depends on nothing but what it may know
    interleaving   games played at once in one process are byte for byte the games played alone
    replay         a recorded game is read, verified, written and resumed without a difference

*Privacy* needs the game's word for what a player may know: ``information_state(player)``, a string that names all that
the player has seen and done (OpenSpiel's term), or else `Game.knowledge`. Two games in which it is equal must look the
same to that player.

`Report` says how much was examined: a kit that saw no ending has proved nothing about endings, and raises.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from palaestra.envs.conformance.common import CLAUSES, Examination, Report
from palaestra.envs.conformance.games import examine_games
from palaestra.envs.conformance.knowledge import examine_knowledge
from palaestra.envs.conformance.matches import examine_interleaving, examine_replays
from palaestra.envs.errors import ContractError
from palaestra.envs.game import Game
from palaestra.envs.registry import entry

__all__ = ["CLAUSES", "Report", "check_game"]


def check_game(
    game: str | Callable[..., Game],
    *,
    episodes: int = 10,
    seeds: Iterable[int] | None = None,
    interleaved: int = 30,
    pairs: int = 200,
    clauses: Collection[str] = CLAUSES,
    **options: Any,
) -> Report:
    """Examine a game; return what was examined, or raise at the first breach.

    Args:
        game: A registered name, or a game class (or another callable with its arguments).
        episodes: Games played to the end with every position looked at, with seeds 0, 1, ...
        seeds: Their seeds, if others are wanted.
        interleaved: Matches played at once and compared with the same matches alone.
        pairs: Openings compared with each other for the clauses on information.
        clauses: Which to examine.
        **options: Options of the game.

    Raises:
        ContractError: The first breach; ``clause`` names it.
    """
    if unknown := set(clauses) - set(CLAUSES):
        raise ValueError(f"unknown clauses {sorted(unknown)}; choose from {', '.join(CLAUSES)}")
    factory = entry(game).load() if isinstance(game, str) else game
    defaults = dict(entry(game).defaults) if isinstance(game, str) else {}
    exam = Examination(factory, {**defaults, **options}, frozenset(clauses))
    chosen = list(range(episodes) if seeds is None else seeds)
    if not chosen:
        raise ContractError("length", "no episode was asked for, so nothing would be known about endings")
    examine_games(exam, chosen)
    examine_knowledge(exam, pairs)
    examine_interleaving(exam, interleaved)
    examine_replays(exam, chosen)
    return exam.report
