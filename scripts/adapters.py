"""`palaestra adapters`: a local library of adapters, compared, merged and served from one base."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from palaestra.scripts.console import console, untrusted
from palaestra.scripts.errors import CommandGroup, examples

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    help="A local library of adapters: add, show, compare, merge, serve.",
    epilog=examples(
        "palaestra adapters add runs/quickstart --name kuhn",
        "palaestra adapters compare kuhn trader --pairs 32",
    ),
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="As `palaestra adapters list` shows it.")]
Names = Annotated[list[str], typer.Argument(metavar="NAMES", help="As `palaestra adapters list` shows them.")]


@app.command("list", epilog=examples("palaestra adapters list"))
def list_() -> None:
    """List the adapters of the library."""
    from rich.table import Table

    from palaestra.agents.models import library

    table = Table(box=None, pad_edge=False)
    for column in ("name", "base", "tasks", "run", "licence", "identity"):
        table.add_column(column)
    for name in library.names():
        card = library.card_of(name)
        cells = (name, card.base, ", ".join(card.tasks), card.run, card.licence, card.identity)
        table.add_row(*(untrusted(cell or "-") for cell in cells))
    console().print(table if table.row_count else "The library is empty; `palaestra adapters add` fills it.")


@app.command(epilog=examples("palaestra adapters show kuhn"))
def show(name: Name) -> None:
    """Show an adapter's card, after a look at whether its files are what was added."""
    from palaestra.agents.models import library

    folder, card = library.folder_of(name), library.card_of(name)
    out = console()
    origin = f"{card.run}, iteration {card.iteration}" if card.run else ""
    merged = " + ".join(f"{weight:g} x {parent}" for parent, weight in card.parents)
    for key, value in (
        ("identity", card.identity),
        ("base", f"{card.base} ({card.fingerprint})" if card.fingerprint else card.base),
        ("tasks", ", ".join(card.tasks)),
        ("run", origin),
        ("merged from", merged),
        ("reference", card.reference),
        ("licence", card.licence),
        ("notes", card.notes),
        ("folder", str(folder)),
    ):
        if value:
            out.print(untrusted(f"{key:12} {value}"), soft_wrap=True)
    for one in card.ratings:
        span = "" if one.low is None or one.high is None else f" [{one.low:+.2f}, {one.high:+.2f}]"
        text = f"{one.result:+.2f}{span} a game, {100 * one.legal:.0f} % legal, {one.games} games"
        out.print(untrusted(f"{one.task:12} against {one.opponent}: {text}"), soft_wrap=True)


@app.command(epilog=examples("palaestra adapters add runs/quickstart --name kuhn", "palaestra adapters add kuhn@17"))
def add(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A run, a version, or a PEFT folder.")],
    name: Annotated[str, typer.Option(help="What it will be called; the source's last word if not given.")] = "",
    licence: Annotated[str, typer.Option(help="For its card, such as Apache-2.0.")] = "",
    notes: Annotated[str, typer.Option(help="For its card.")] = "",
) -> None:
    """Copy an adapter into the library."""
    from palaestra.agents.models import library

    called = name or source.rstrip("/").rpartition("/")[2].replace("@", "-")
    card = library.add(source, called, licence=licence, notes=notes)
    tasks = (
        f"trained on {', '.join(card.tasks)}" if card.tasks else card.notes or "it does not say what it was trained on"
    )
    console().print(untrusted(f"{called}: {card.identity}, {tasks}"))


@app.command(epilog=examples("palaestra adapters remove kuhn"))
def remove(name: Name) -> None:
    """Forget an adapter."""
    from palaestra.agents.models import library

    library.remove(name)
    console().print(untrusted(f"{name} is removed."))


@app.command(epilog=examples("palaestra adapters merge kuhn trader --weights 0.5,0.5 --to both"))
def merge(
    names: Names,
    to: Annotated[str, typer.Option(help="Name of the new adapter.")],
    weights: Annotated[str, typer.Option(help="One for each, with commas; equal if not given.")] = "",
    svd: Annotated[bool, typer.Option("--svd", help="Bring the rank back to the largest of theirs.")] = False,
) -> None:
    """Merge adapters of one base into one: the weighted sum of what they change."""
    from palaestra.agents.models.merging import merge as merged
    from palaestra.envs.errors import OptionError

    try:
        given = [float(part) for part in weights.split(",")] if weights else [1 / len(names)] * len(names)
    except ValueError:
        raise OptionError(f"--weights is {weights!r}, expected numbers with commas, such as 0.5,0.5.") from None
    with console(stderr=True).status("merging…"):
        card = merged(names, given, to, "svd" if svd else "cat")
    console().print(untrusted(f"{to}: {card.identity}"))


@app.command(epilog=examples("palaestra adapters compare kuhn trader --pairs 32"))
def compare(
    names: Names,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of games for each adapter and task.")] = 16,
    opponent: Annotated[str, typer.Option(help="Who is played against.")] = "random",
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Play every adapter, and the base, at every task that one of them was trained on; results go on their cards."""
    from rich.table import Table

    from palaestra.scripts.live import number
    from palaestra.trainers.compare import compare as measured

    with console(stderr=True).status("playing…"):
        found = measured(names, pairs=pairs, opponent=opponent, seed=seed)
    table = Table(box=None, pad_edge=False, title=f"result a game against {opponent}, legal replies")
    table.add_column("")
    for task in found.tasks:
        table.add_column(task)
    for policy in found.policies:
        cells = [found.scores[policy, task] for task in found.tasks]
        table.add_row(untrusted(policy), *(f"{number(one.result)}, {100 * one.legal.mean:.0f} %" for one in cells))
    console().print(table)


@app.command(epilog=examples("palaestra adapters serve kuhn trader --port 8000"))
def serve(
    names: Names,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
) -> None:
    """Serve adapters of one base, and the base, behind an OpenAI-compatible address."""
    from palaestra.envs.errors import OptionError, PalaestraError, install_command

    try:
        from aiohttp import web
    except ImportError:
        raise PalaestraError(f"serving needs aiohttp; install it with {install_command('server')}.") from None
    from palaestra.agents.engines.base import BASE
    from palaestra.agents.models import library
    from palaestra.agents.router import plug, served
    from palaestra.agents.serving import application

    bases = sorted({library.card_of(name).base for name in names})
    if len(bases) != 1 or not bases[0]:
        raise OptionError(f"{', '.join(names)} are adapters of {len(bases)} bases, or do not say of which.")
    with console(stderr=True).status("loading the model…"):
        loaded, engine = served(bases[0])
        policies = {bases[0]: BASE, **{name: plug(bases[0], name) for name in names}}
    where = f"http://{host}:{port}/v1"
    console(stderr=True).print(untrusted(f"{', '.join(policies)} at {where}; Ctrl-C ends it."), soft_wrap=True)
    app_: Any = application(engine, loaded.codec, policies)
    try:
        web.run_app(app_, host=host, port=port, print=None)
    except OSError as error:
        raise PalaestraError(f"{where} cannot be served ({error.strerror or error}); choose another --port.") from None
