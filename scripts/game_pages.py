"""The pages in ``docs/games``: each written from the game itself, so that none can be out of date."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from palaestra.agents.seats import seats_of
from palaestra.envs import Game, entry, make
from palaestra.envs.goldens import OPTIONS
from palaestra.envs.options import explained
from palaestra.envs.seeding import Dice
from palaestra.scripts.envs import kind, type_words

LATER = 25
"""Turn at which a page looks at a game again."""
EXAMPLES = 8
RESULTS = Path("results", "baselines.json")


def write_pages(folder: Path, names: list[str], results: Path = RESULTS) -> list[Path]:
    """Write a page for every game, and return the files."""
    ratings = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {}
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in names:
        path = folder / f"{name.replace('/', '.')}.md"
        path.write_text(page(name, ratings), encoding="utf-8")
        written.append(path)
    return written


def page(name: str, ratings: Mapping[str, Any]) -> str:
    """Return a game's page as Markdown; ``ratings`` is what `palaestra tournament --save` wrote."""
    game = make(name, **OPTIONS.get(name, {}))
    summary = game.summary[:1].upper() + game.summary[1:]
    parts = [
        f"# {name}",
        f"{summary if summary.endswith('?') else f'{summary}.'} Version {game.version}. This page is written by "
        "`palaestra envs --pages docs/games`.",
        _about(game),
        "## Facts",
        _facts(name, make(name)),
        "## What a player reads",
        _positions(game, OPTIONS.get(name, {})),
        "## Answers",
        _answers(game),
        "## Options",
        _options(make(name)),
        "## Baselines",
        _baselines(name, ratings),
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _about(game: Game) -> str:
    """Return the text at the head of the game's module, without its first line."""
    text = inspect.cleandoc(sys.modules[type(game).__module__].__doc__ or "")
    return text.replace("``", "`")


def _facts(name: str, game: Game) -> str:
    facts = game.facts
    rows = {
        "players": facts.players,
        "roles": ", ".join(facts.roles),
        "kind": kind(facts),
        "returns": f"{facts.min_return:g} to {facts.max_return:g}",
        "longest game": f"{facts.max_turns} turns",
        "longest observation": f"{facts.max_observation_chars} characters",
        "thoughts": f"{entry(name).visibility} by default",
    }
    return "| | |\n|---|---|\n" + "\n".join(f"| {key} | {value} |" for key, value in rows.items())


def _fenced(text: str) -> str:
    ticks = "```"
    while ticks in text:
        ticks += "`"
    return f"{ticks}text\n{text}\n{ticks}"


def _positions(game: Game, options: Mapping[str, Any]) -> str:
    """Return the opening, and a later position of random play, as the player to move reads them."""
    chosen = f" with {', '.join(f'{key}={value}' for key, value in options.items())}" if options else ""
    player = game.players_to_move()[0]
    found = [f"Player {player + 1} at the beginning (seed 0{chosen}):", _fenced(game.observation(player))]
    later = game.clone()
    dice, turns = Dice(0), 0
    last = later.clone()
    while turns < LATER and not later.is_over():
        last = later.clone()
        mover = later.players_to_move()[0]
        later.apply(mover, later.sample_action(mover, dice))
        turns += 1
    shown = last if later.is_over() else later
    player = shown.players_to_move()[0]
    found += [f"Player {player + 1} some random turns later, in a fresh context:", _fenced(shown.observation(player))]
    return "\n\n".join(found)


def _answers(game: Game) -> str:
    """Return answers of different kinds from a few random games, as the record keeps them."""
    seen: dict[tuple[str, ...], str] = {}
    for seed in range(6):
        one, dice = make(game.id, seed=seed, **OPTIONS.get(game.id, {})), Dice(seed)
        for _ in range(200):
            if one.is_over():
                break
            mover = one.players_to_move()[0]
            action = str(one.sample_action(mover, dice))
            shape = tuple(word.lower() for word in action.split() if word.isalpha() or word.endswith(":"))[:2]
            seen.setdefault(shape, action)
            one.apply(mover, action)
    listed = list(dict.fromkeys(seen.values()))[:EXAMPLES]
    if len(listed) < EXAMPLES:
        mover = game.players_to_move()[0]
        listed = list(dict.fromkeys([*listed, *map(str, game.legal_actions(mover))]))[:EXAMPLES]
    free = "An answer may stand in more text, where it is plain which it is; what is recorded is, for example:"
    return f"{free}\n\n" + _fenced("\n".join(action.replace("\n", " / ") for action in listed))


def _options(game: Game) -> str:
    fields = dataclasses.fields(type(game.options))
    if not fields:
        return "It has none."
    hints = typing.get_type_hints(type(game.options))
    rows = []
    for field in fields:
        words, default = type_words(hints[field.name]).replace("|", "or"), getattr(game.options, field.name)
        rows.append(f"| `{field.name}` | {words} | `{default!r}` |")
    said = explained(type(game.options))
    listed = "\n".join(f"* `{name}`: {said[name]}" for name in (field.name for field in fields) if name in said)
    listed = listed.replace("``", "`")
    return "\n".join(["| option | type | default |", "|---|---|---|", *rows]) + f"\n\n{listed}"


def _baselines(name: str, ratings: Mapping[str, Any]) -> str:
    standing = next((one for one in ratings.get("standings", ()) if one["label"] == name), None)
    if standing is None:
        scripted = ", ".join(f"`{seat}`" for seat in seats_of(name))
        if not scripted:
            return "Beside `random` nobody here plays it by a script."
        return f"Beside `random` these play it by a script (`palaestra.agents.seats` says how): {scripted}."
    rows = [
        f"| `{ratings['config']['entrants'][line['entrant']]}` | {line['rating'][0]:.0f} "
        f"[{line['rating'][1]:.0f}, {line['rating'][2]:.0f}] | {line['points']:.0%} | {line['seats']} | "
        f"{line['legal']:.1%} |"
        for line in standing["lines"]
    ]
    table = next(table for table in ratings["config"]["tables"] if table["game"] == name)
    options = ", ".join(f"{key}={value}" for key, value in table["options"].items())
    command = "palaestra tournament configs/tournaments/baselines.yaml"
    played = ", ".join([f"{standing['games']} games in seat-turned groups", *([options] if options else [])])
    where = f"{ratings['hardware']['cpu']}, {ratings['hardware']['cores']} cores"
    head = (
        f"`{command}` ({played}, seed {ratings['config']['seed']}, {where}). Ratings are Bradley and Terry's with 95 % "
        "bootstrap intervals; points are the share won of what was played for."
    )
    title = "| seat | rating | points | seats held | legal replies |\n|---|---|---|---|---|"
    return "\n".join([head, "", title, *rows])
