"""`palaestra envs`: the games, and one game closely."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palaestra.scripts.console import barred, console, table, untrusted
from palaestra.scripts.errors import examples
from palaestra.trainers import quiet

if TYPE_CHECKING:
    from palaestra.envs import Game, GameFacts

EXAMPLES = examples(
    "palaestra envs",
    "palaestra envs chess",
    "palaestra envs --all",
    "palaestra envs openspiel/leduc_poker",
    "palaestra envs --pages docs/games",
)


def envs(
    game: Annotated[str | None, typer.Argument(metavar="GAME", help="Show this game closely.")] = None,
    all_games: Annotated[
        bool, typer.Option("--all", help="Also list games made on demand, such as OpenSpiel's.")
    ] = False,
    pages: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write a page for each game (or for GAME) there.")
    ] = None,
) -> None:
    """List the games; or show one: facts, options, an example of what a player reads."""
    if pages is not None:
        from palaestra.envs import game_ids
        from palaestra.scripts.game_pages import write_pages

        for path in write_pages(pages, [game] if game else game_ids()):
            console().print(untrusted(str(path)), soft_wrap=True)
    elif game is None:
        _list(all_games)
    else:
        _show(game)


def _list(all_games: bool) -> None:
    from palaestra.envs import entry, game_ids, make
    from palaestra.envs.registry import family_prefixes

    out = console()
    wide = out.width >= 110
    rows = table("game", "players", "kind", "thoughts", "version", *["what it is"] * wide, right=(1, 4))
    # OpenSpiel writes what it thinks of some of its games past Python, to the file descriptor
    with quiet.without_line(b"OpenSpiel exception:"), quiet.without_line(b"has known issues."):
        for name in game_ids(families=all_games):
            made = make(name)
            rows.add_row(
                untrusted(name, "cyan"),
                str(made.facts.players),
                kind(made.facts).replace(" information", ""),
                entry(name).visibility,
                str(made.version),
                *[untrusted(made.summary, "dim")] * wide,
            )
    out.print(rows)
    if not all_games:
        for prefix in family_prefixes():
            out.print(untrusted(f"{prefix}NAME makes more games on demand; `palaestra envs --all` lists them.", "dim"))
    out.print(untrusted("`palaestra envs GAME` shows one closely, `palaestra play GAME` plays it.", "dim"))


def kind(facts: GameFacts) -> str:
    """Return a game's kind in a few words, such as ``chance, imperfect information, zero sum``."""
    words = ["simultaneous"] * facts.simultaneous + ["chance"] * facts.chance
    return ", ".join([*words, f"{facts.information} information", facts.utility.replace("_", " ")])


def _show(name: str) -> None:
    from rich.text import Text

    from palaestra.envs import entry, make

    game = make(name)
    facts = game.facts
    out = console()
    out.print(
        Text.assemble(
            (name, "bold cyan"), f", version {game.version}", *([f": {game.summary}"] if game.summary else [])
        )
    )
    shown = {
        "players": str(facts.players),
        "roles": ", ".join(facts.roles),
        "kind": kind(facts),
        "returns": f"{facts.min_return:g} to {facts.max_return:g}",
        "longest game": f"{facts.max_turns} turns",
        "observation": f"up to {facts.max_observation_chars} characters",
        "actions": f"{' or '.join(facts.actions)}, {'listed' if facts.enumerable else 'free, examples are listed'}",
        "thoughts": f"{entry(name).visibility} by default",
    }
    rows = table(show_header=False)
    for _ in range(2):
        rows.add_column(overflow="fold")
    for key, value in shown.items():
        rows.add_row(Text(key, "bold"), untrusted(value))
    out.print(rows)
    _options(out, game)
    if game.players_to_move():
        player = game.players_to_move()[0]
        out.print(Text(f"What player {player + 1} reads first (seed 0)", "bold"))
        out.print(barred(out, untrusted(game.observation(player), "dim"), "dim"))
        legal = [str(action) for action in game.legal_actions(player)]
        more = [f"and {len(legal) - 12} more"] * (len(legal) > 12)
        comma = "; " if any("," in action for action in legal) else ", "
        out.print(Text.assemble(("Legal: ", "bold"), untrusted(comma.join(legal[:12] + more))))


def _options(out: Any, game: Game) -> None:
    from rich.text import Text

    from palaestra.envs.options import explained

    fields = dataclasses.fields(type(game.options))
    if not fields:
        out.print(Text("It has no options.", "dim"))
        out.print()
        return
    hints = typing.get_type_hints(type(game.options))
    rows = table("option", "type", "default")
    for field in fields:
        value = getattr(game.options, field.name)
        rows.add_row(untrusted(field.name, "cyan"), untrusted(type_words(hints[field.name])), untrusted(repr(value)))
    out.print(rows)
    for name, words in explained(type(game.options)).items():
        out.print(untrusted(f"{name}: {words}".replace("``", ""), "dim"))
    out.print()
    shown = ((field.name, getattr(game.options, field.name)) for field in fields)
    name, value = next(((name, value) for name, value in shown if isinstance(value, (int, float))), ("NAME", "VALUE"))
    out.print(untrusted(f"`palaestra play {game.id} --option {name}={value}` sets one.", "dim"))
    out.print()


def type_words(hint: Any) -> str:
    """Return a type as a user would write it."""
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(map(str, typing.get_args(hint)))
    return getattr(hint, "__name__", str(hint)) if typing.get_origin(hint) is None else str(hint).replace("typing.", "")
