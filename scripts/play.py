"""`palaestra play`: seats at a table, shown live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from palaestra.scripts.console import console, key_values, table, untrusted
from palaestra.scripts.errors import examples
from palaestra.scripts.trained import UNCHECKED, section_of, settings_of, tell

if TYPE_CHECKING:
    from palaestra.agents.language_model import ReplySettings
    from palaestra.envs import Episode, Game, MatchRules, Reply, Seat, View
    from palaestra.trainers.summary import Estimate

EXAMPLES = examples(
    "palaestra play tic_tac_toe",
    "palaestra play chess --seats human,mcts:200 --replay game.jsonl",
    "palaestra play kuhn_poker --seats smollm2@runs/quickstart,random --games 20",
    "palaestra play go --seats mcts,random --option size=9 --seed 7",
    "palaestra play negotiation --seats human,fair --visibility public",
)


def play(
    game: Annotated[str, typer.Argument(metavar="GAME", help="A game; `palaestra envs` lists them.")],
    seats: Annotated[
        str,
        typer.Option(
            help="One per player, separated by commas: human, random, mcts:SIMULATIONS, a negotiator (greedy, "
            "conceder:0.5, tit-for-tat, fair), or a model such as smollm2@runs/x or tiny:kuhn."
        ),
    ] = "human,random",
    seed: Annotated[int, typer.Option(min=0, help="Fixes all chance; game N of several has seed + N - 1.")] = 0,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="An option of the game; repeatable.")
    ] = None,
    visibility: Annotated[
        Literal["private", "public", "team", "monitor"] | None,
        typer.Option(help="Who reads thoughts; the game's own rule if not given."),
    ] = None,
    monitor: Annotated[
        list[int] | None, typer.Option(min=1, help="A player who reads all thoughts under monitor; repeatable.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Record the game; several games get -0001, -0002, ...")
    ] = None,
    games: Annotated[int, typer.Option(min=1, help="How many games to play.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Most tokens of a model's reply, thought included; 64, or as it was trained."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="Of models, 0 is greedy; 1, or as it was trained.")
    ] = None,
    unchecked: Annotated[bool, typer.Option("--unchecked", help=UNCHECKED)] = False,
) -> None:
    """Play a game: people, search, scripts and language models at one table.

    A model with an adapter is asked as it was trained: the same options, system message and length of reply.
    """
    from palaestra.envs import Match, MatchRules, entry, make
    from palaestra.envs.errors import OptionError
    from palaestra.envs.match import run
    from palaestra.envs.options import refuse_reserved

    given: dict[str, Any] = {**key_values(option or (), "--option")}
    refuse_reserved(given, game)
    known = entry(game)
    specs = seat_specs(seats)
    learned = [section_of(spec, game) for spec in specs]
    first = next(filter(None, learned), None)
    options = {**(first.options if first else {}), **given}
    rules = MatchRules(
        visibility or known.visibility,
        tuple(number - 1 for number in monitor or ()),
        accept_cut=first is not None and first.rules.accept_cut,
    )
    if (rules.visibility == "monitor") != bool(rules.monitors):
        raise OptionError("--visibility monitor and --monitor PLAYER go together; give both or neither.")
    opening = make(game, seed=seed, **options)
    check_seats(opening, specs)
    if beyond := [number for number in monitor or () if number > opening.facts.players]:
        raise OptionError(f"--monitor {beyond[0]}: {game} has players 1 to {opening.facts.players}.")
    paths = [_numbered(replay, number, games) for number in range(games)]
    unless_recorded(paths, overwrite)
    settings = [settings_of(section, max_tokens=max_tokens, temperature=temperature) for section in learned]
    for spec, section, asked in zip(specs, learned, settings, strict=True):
        if section is not None:
            tell(spec, section, game, options, asked)
    if not unchecked:
        try_models(game, options, specs, settings)
    people = [player for player, spec in enumerate(specs) if spec == "human"]
    episodes = []
    for number in range(games):
        dealt = make(game, seed=seed + number, **options)
        match = Match(
            dealt,
            take_seats(specs, settings, dealt),
            rules,
            recorder=_recorder(paths[number], people, quiet=games > 1 and not people),
        )
        episodes.append(run(match.play()))
        if games > 1 and not people:
            _line(number, episodes[-1])
    if games > 1:
        _tally(specs, episodes)
        _measures(opening.innermost.id, specs, episodes, rules)
    if replay is not None:
        what = str(paths[0]) if games == 1 else f"{paths[0]} to {paths[-1].name if paths[-1] else ''}"
        console().print(untrusted(f"Recorded: {what}; `palaestra replay show FILE` shows it again.", "dim"))


def try_models(game: str, options: dict[str, Any], specs: list[str], settings: list[ReplySettings]) -> None:
    """Try the models that are to paraphrase or monitor, before the first game."""
    from palaestra.agents import is_model

    if not any(map(is_model, specs)):
        return  # and torch is not loaded
    out = console(stderr=True)
    with out.status("looking who may monitor or paraphrase…"):
        from palaestra.trainers.availability import require_fit

        require_fit(
            game, options, enumerate(specs), settings.__getitem__, unchecked_by="--unchecked",
            told=lambda sentence: out.print(untrusted(sentence, "dim"), soft_wrap=True),
        )  # fmt: skip


def seat_specs(text: str) -> list[str]:
    """Return the seats of ``--seats``."""
    return [spec.strip() for spec in text.split(",") if spec.strip()]


def check_seats(game: Any, specs: list[str]) -> None:
    """Raise before anything is loaded if the seats do not fit the game, or are none."""
    from palaestra.agents import check_seat
    from palaestra.envs.errors import SeatCountError

    players = game.facts.players
    if len(specs) != players:
        sample = ",".join([*specs, *["random"] * players][:players])
        raise SeatCountError(
            f"{game.id} has {players} player{'s' if players != 1 else ''}, but --seats names {len(specs)} "
            f"({', '.join(specs) or 'nobody'}); write for example --seats {sample}."
        )
    for spec in specs:
        check_seat(spec, game.id, game.options_json())


def unless_recorded(paths: list[Path | None], overwrite: bool) -> None:
    """Raise before a game begins if its record would take the place of a file."""
    from palaestra.envs.errors import UnwritableReplay

    there = [path for path in paths if path is not None and path.is_file()]
    if there and not overwrite:
        raise UnwritableReplay(f"{there[0]} is there already; name another file, or add --overwrite to replace it.")


def take_seats(
    specs: list[str], settings: list[ReplySettings], game: Game, match_seed: int | None = None
) -> list[Seat]:
    """Make the seats for a match of ``game``; models are loaded once."""
    from palaestra.agents import make_seat

    with console(stderr=True).status("taking seats…"):
        made = [
            make_seat(spec, settings=asked, game=game, seed=match_seed)
            for spec, asked in zip(specs, settings, strict=True)
        ]
    return [
        seat if spec == "human" or "human" not in specs else _Thinking(seat)
        for spec, seat in zip(specs, made, strict=True)
    ]


class _Thinking:
    """A seat that shows a person that it is thinking."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat

    @property
    def name(self) -> str:
        return self.seat.name

    async def act(self, view: View) -> Reply:
        if view.facts.simultaneous:  # the person may be typing
            return await self.seat.act(view)
        with console(stderr=True).status(untrusted(f"player {view.player + 1} ({self.name}) is thinking…", "dim")):
            return await self.seat.act(view)

    @property
    def can_read(self) -> Any:
        return getattr(self.seat, "can_read", None)

    def close(self) -> None:
        if (close := getattr(self.seat, "close", None)) is not None:
            close()


def _recorder(path: Path | None, people: list[int], *, quiet: bool) -> Any:
    from palaestra.envs import ReplayWriter
    from palaestra.scripts.transcript import Stage

    writer = None if path is None else ReplayWriter(path)
    return writer if quiet else Stage(people, also=writer)


def _numbered(path: Path | None, number: int, games: int) -> Path | None:
    if path is not None and path.is_dir():
        return path / f"game-{number + 1:04d}.jsonl"
    if path is None or games == 1:
        return path
    return path.with_name(f"{path.stem}-{number + 1:04d}{path.suffix or '.jsonl'}")


def _line(number: int, episode: Episode) -> None:
    from palaestra.scripts.transcript import ending

    text = ending(episode)
    console().print(f"{number + 1:>4}  ", untrusted(text.plain.strip().partition("\n")[0]), sep="")


def _tally(specs: list[str], episodes: list[Episode]) -> None:
    from statistics import fmean

    rows = table(
        "player", "seat", "mean return", "won", "drawn", "lost", "legal replies", "forfeits", right=range(2, 8)
    )
    for player, spec in enumerate(specs):
        returns = [episode.returns[player] for episode in episodes if episode.returns is not None]
        attempts = [
            one for episode in episodes for turn in episode.turns if turn.player == player for one in turn.attempts
        ]
        legal = sum(one.status == "ok" for one in attempts)
        rows.add_row(
            str(player + 1),
            untrusted(spec),
            f"{fmean(returns):+.3f}" if returns else "none",
            str(sum(value > 0 for value in returns)),
            str(sum(value == 0 for value in returns)),
            str(sum(value < 0 for value in returns)),
            f"{legal} of {len(attempts)}",
            str(sum(episode.forfeited_by == player for episode in episodes)),
        )
    console().print()
    console().print(rows)


def _measures(game: str, specs: list[str], episodes: list[Episode], rules: MatchRules) -> None:
    """Print what finished games say of themselves: means of the numbers in their results, and what only many of them
    say."""
    from palaestra.trainers.summary import mean_interval
    from palaestra.trainers.tournament.measures import numbers

    results = [episode.result for episode in episodes if episode.outcome == "finished"]
    found: dict[tuple[str, int | None], list[float]] = {}
    for result in results:
        for name, seat, value in numbers(result, len(specs)):
            found.setdefault((name, seat), []).append(value)
    if not found:
        return
    together, caution = _channel(game, results)
    rows = table("what the games say", "player", "mean", "95 %", "games", right=(2, 3, 4))
    means: dict[tuple[str, int | None], Estimate] = {key: mean_interval(values) for key, values in found.items()}
    means |= {(name, None): one for name, one in together.items()}
    for (name, seat), mean in means.items():
        between = "" if mean.low != mean.low else f"[{mean.low:.4g}, {mean.high:.4g}]"
        player = "" if seat is None else str(seat + 1)
        rows.add_row(untrusted(name.replace("_", " ")), player, f"{mean.mean:.4g}", between, str(mean.n))
    console().print()
    console().print(rows)
    if caution:
        console().print(f"Overseer: {caution}.", highlight=False)
    if game == "liars" and len(results) > 1:
        _stalemate(results, open_thoughts=rules.all_read(len(specs)))


def _channel(game: str, results: list[dict[str, Any]]) -> tuple[dict[str, Estimate], str]:
    """Return what got through from the sender to the receiver and how well the overseer saw it, as far as they say, and
    what the latter's sample is too small for."""
    from palaestra.trainers.measures.channels import CHANNELS, overseen, overseer_numbers, payload, payload_numbers

    if game not in CHANNELS:
        return {}, ""
    arrived, seen = payload(results), overseen(results)
    told = {**(payload_numbers(arrived) if arrived else {}), **(overseer_numbers(seen) if seen else {})}
    return told, seen.caution if seen else ""


def _stalemate(results: list[dict[str, Any]], *, open_thoughts: bool) -> None:
    from palaestra.trainers.measures.beliefs import beliefs

    found = beliefs(results, open_thoughts=open_thoughts)
    read = "; ".join(
        f"player {player + 1} gives the other's number {one.on_truth:.3f}, "
        + (
            f"{one.excess.mean:+.3f} beyond what was said (p = {one.p_value:.3f})"
            if one.excess.n
            else "and no two games in which the same was said"
        )
        for player, one in enumerate(found.readings)
    )
    ends = {
        "stalemate": "both read the other's thoughts, and neither gains: a stalemate",
        "none": "no stalemate" if found.open else "no stalemate, for thoughts cannot be read",
        "undecided": "whether it is a stalemate these games do not say; play more, or ask fewer questions",
    }
    console().print(f"\nBeliefs: {read}; {ends[found.verdict]}.", highlight=False)


__all__ = ["check_seats", "play", "seat_specs", "take_seats", "try_models", "unless_recorded"]
