"""`palaestra replay`: look at recorded games, execute them again, go on from any turn."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from palaestra.scripts.console import console, plain, untrusted
from palaestra.scripts.errors import CommandGroup, examples
from palaestra.scripts.trained import UNCHECKED

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    help="Look at recorded games, execute them again, go on from any turn.",
    epilog=examples(
        "palaestra replay show game.jsonl",
        "palaestra replay verify runs/quickstart/replays",
        "palaestra replay resume game.jsonl --turn 4 --seats human,random",
    ),
)

Files = Annotated[list[Path], typer.Argument(metavar="FILES", help="Replays, or folders of them.")]


@app.command(epilog=examples("palaestra replay show game.jsonl", "palaestra replay show games/*.jsonl --brief"))
def show(
    files: Files,
    brief: Annotated[bool, typer.Option("--brief", help="Leave out what players were shown.")] = False,
) -> None:
    """Print games turn by turn: what was shown, thought, said, refused and done."""
    from palaestra.envs import read_replay
    from palaestra.scripts.transcript import show_episode

    for path in expanded(files):
        replay = read_replay(path)
        out = console()
        if len(files) > 1 or path != files[0]:
            out.print(untrusted(f"\n{path}", "bold"))
        show_episode(replay.episode, observations=not brief)
        if not replay.complete:
            out.print(untrusted(f"The record has no end; `palaestra replay resume {path}` goes on from there.", "dim"))


@app.command(epilog=examples("palaestra replay verify game.jsonl", "palaestra replay verify runs/quickstart/replays"))
def verify(files: Files) -> None:
    """Execute games again and compare a state hash at every turn; exit status 1 if any differs."""
    from rich.progress import track

    import palaestra.agents.vocabularies  # noqa: F401  documents may be written in a model's tokens
    from palaestra.envs import PalaestraError, read_replay
    from palaestra.envs import verify as verify_replay

    paths = expanded(files)
    turns = endless = 0
    faults: list[str] = []
    progress = console(stderr=True)
    for path in track(paths, "replays", console=progress, transient=True, disable=not progress.is_terminal):
        try:
            turns += verify_replay(path)
            with warnings.catch_warnings(action="ignore"):  # told of by `verify_replay`
                endless += not read_replay(path).complete
        except PalaestraError as error:
            faults.append(f"{path}: {error}")
    errors = console(stderr=True)
    for fault in faults:
        errors.print(untrusted(fault, "red"), soft_wrap=True)
    good = len(paths) - len(faults)
    cut = f" {endless} without an end: cut short, or being played." if endless else ""
    console().print(f"{good} of {len(paths)} replays verified, {turns} turns compared.{cut}")
    if faults:
        raise typer.Exit(1)


@app.command(
    epilog=examples(
        "palaestra replay resume game.jsonl",
        "palaestra replay resume game.jsonl --turn 4 --seats human,mcts --replay other-line.jsonl",
    )
)
def resume(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A replay.")],
    seats: Annotated[str | None, typer.Option(help="As for `palaestra play`; the recorded seats if not given.")] = None,
    turn: Annotated[int | None, typer.Option(min=0, help="Keep this many turns; all of them if not given.")] = None,
    replay: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Record there; FILE-resumed.jsonl if not given."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    unchecked: Annotated[bool, typer.Option("--unchecked", help=UNCHECKED)] = False,
) -> None:
    """Go on from any turn of a recorded game, with the same seats or others."""
    import palaestra.agents.vocabularies  # noqa: F401  documents may be written in a model's tokens
    from palaestra.agents.seats import reaches_outside
    from palaestra.envs import ReplayWriter, make, read_replay
    from palaestra.envs import resume as resume_match
    from palaestra.envs.errors import ReplayError, UnknownName
    from palaestra.envs.match import run
    from palaestra.scripts.play import check_seats, seat_specs, take_seats, try_models, unless_recorded
    from palaestra.scripts.trained import recorded_seat, section_of, settings_of
    from palaestra.scripts.transcript import Stage

    with warnings.catch_warnings(action="ignore"):  # the note on a torn line comes when the match is made
        record = read_replay(file)
    episode = record.episode
    if record.complete and turn is None:
        raise ReplayError(f"replay {file.name} is of a finished game; --turn N goes on after its first N turns.")
    if seats is None:
        specs = [recorded_seat(name, file) for name in episode.seats]
        if programs := [spec for spec in specs if reaches_outside(spec)]:
            raise ReplayError(
                f"the recorded seat {programs[0]!r} runs a program or calls a server; if you trust it, give --seats."
            )
    else:
        specs = seat_specs(seats)
    try:
        opening = make(episode.game, seed=episode.seed, **episode.options)
        check_seats(opening, specs)
    except UnknownName as error:
        if seats is not None:
            raise
        raise ReplayError(
            f"the recorded seat {error.name!r} cannot be taken here; name the players with --seats."
        ) from None
    target = replay or file.with_name(f"{file.stem}-resumed.jsonl")
    unless_recorded([target], overwrite)
    settings = [settings_of(section_of(spec, episode.game)) for spec in specs]
    if not unchecked:
        try_models(episode.game, episode.options, specs, settings)
    stage = Stage([player for player, spec in enumerate(specs) if spec == "human"], also=ReplayWriter(target))
    sitting = take_seats(specs, settings, opening, episode.match_seed)
    run(resume_match(file, sitting, turn=turn, recorder=stage).play())
    console().print(untrusted(f"Recorded: {target}", "dim"))


@app.command(
    epilog=examples("palaestra replay export game.jsonl --to game.pgn", "palaestra replay export go.jsonl --to go.sgf")
)
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A replay of chess or Go.")],
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there; to the terminal if not given.")] = None,
) -> None:
    """Write a chess game as PGN, a Go game as SGF, for other programs to read."""
    from palaestra.envs import read_replay
    from palaestra.envs.errors import NotationError, UnwritableReplay
    from palaestra.envs.notation.pgn import episode_to_pgn
    from palaestra.envs.notation.sgf import episode_to_sgf
    from palaestra.envs.parts import well_formed

    writers = {"chess": episode_to_pgn, "go": episode_to_sgf}
    episode = read_replay(file).episode
    if episode.game not in writers:
        raise NotationError(f"a game of {episode.game} has no notation of its own; PGN is for chess, SGF for go.")
    text = writers[episode.game](episode)
    if to is None:
        print(plain(text))
    elif to.exists():
        raise UnwritableReplay(f"{to} is there already; name another file.")
    else:
        to.write_text(well_formed(text), encoding="utf-8")


@app.command(epilog=examples("palaestra replay derailment games/", "palaestra replay derailment runs/talks/replays"))
def derailment(files: Files) -> None:
    """Compare how often replies fail after a player's messages with how often they fail elsewhere."""
    from palaestra.envs import read_replay
    from palaestra.scripts.console import table
    from palaestra.trainers.derailment import listed, merged, tallies

    episodes = [(path, read_replay(path).episode) for path in expanded(files)]
    found = listed(merged(tallies(episode, place=path.name) for path, episode in episodes))
    out = console()
    if not found:
        out.print(f"In {len(episodes)} games nobody was heard by another player.")
        return
    columns = ("after a message of", "replies of", "failed after it", "elsewhere", "rise, 95 % interval")
    shown = table(*columns, right=(2, 3, 4))
    for one in found:
        tally, rise = one.tally, one.rise
        shown.add_row(
            untrusted(one.speaker),
            untrusted(one.listener),
            f"{tally.after_failed} of {tally.after}",
            f"{tally.other_failed} of {tally.other}",
            "nothing elsewhere"
            if rise is None
            else f"{100 * rise.mean:+.1f} [{100 * rise.low:+.1f}, {100 * rise.high:+.1f}] %",
        )
    out.print(shown)
    for one in found:
        for example in one.tally.examples:
            where = f"{one.listener} after {one.speaker}, {example.place}"
            out.print(f"\n[bold]{example.verdict}[/bold]", untrusted(where))
            out.print(untrusted(example.said), untrusted(example.reply, "red"), sep="\n")


@app.command(
    "record-goldens", epilog=examples("palaestra replay record-goldens", "palaestra replay record-goldens chess")
)
def record_goldens(
    games: Annotated[list[str] | None, typer.Argument(metavar="GAMES", help="Games; all if none is given.")] = None,
    folder: Annotated[Path, typer.Option(help="Where they are kept.")] = Path("tests/replays"),
) -> None:
    """Record the golden replays anew: on purpose only, after the rules of a game have changed."""
    from palaestra.envs.goldens import record_goldens as record

    with console(stderr=True).status("playing…"):
        written = record(folder, games or None)
    for path in written:
        console().print(untrusted(str(path)), soft_wrap=True)


def expanded(files: list[Path]) -> list[Path]:
    """Return the files, and every ``.jsonl`` below the folders; a folder without any is an error."""
    from palaestra.envs.errors import MissingReplay

    paths: list[Path] = []
    for path in files:
        found = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
        if not found:
            raise MissingReplay(f"folder {path} holds no replays (*.jsonl); name another.")
        paths += found
    return paths
