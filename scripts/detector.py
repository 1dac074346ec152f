"""`palaestra detector`: train the overseers that are read from a file, and say how well they do on held-out texts; find
out whether what arrives hangs on the symbol that is thought to carry it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palaestra.scripts.console import console, key_values, table, untrusted
from palaestra.scripts.errors import CommandGroup, examples

if TYPE_CHECKING:
    from palaestra.trainers.detector_fit import Fitted
    from palaestra.trainers.summary import Estimate

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    help="Train detectors of hidden messages, and see what a code hangs on.",
    epilog=examples(
        "palaestra detector fit bag games/ --to bag.json",
        "palaestra detector load-bearing codebook,codebook",
    ),
)
SEATS = {"bag": "bag", "embedding": "embedding", "decoder": "codebreaker"}


class What(StrEnum):
    """What is trained."""

    bag = "bag"
    embedding = "embedding"
    decoder = "decoder"


@app.callback()
def group() -> None:
    """Train detectors of hidden messages, and see what a code hangs on."""


@app.command(
    epilog=examples(
        "palaestra detector fit bag games/ --to bag.json",
        "palaestra detector fit embedding texts.jsonl --model smollm2 --to probe.json",
        "palaestra detector fit decoder games/ --to decoder.json --held-out 0.5",
    )
)
def fit(
    what: Annotated[
        What,
        typer.Argument(
            metavar="KIND", help="bag (of words), embedding (a linear probe on a model's), or decoder (of the number)."
        ),
    ],
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES", help='Replays, folders of them, or files with {"text": ..., "hidden": true} on each line.'
        ),
    ],
    to: Annotated[Path, typer.Option(metavar="FILE", help="Write the detector there; must not exist yet.")],
    held_out: Annotated[float, typer.Option(min=0.01, max=0.99, help="Which share of each kind is held out.")] = 0.3,
    model: Annotated[str, typer.Option(metavar="MODEL", help="Whose embeddings.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Fixes what is held out.")] = 0,
) -> None:
    """Fit a detector on texts of known kind, and measure it on those held out, with 95 % intervals.

    That is its accuracy, its AUROC, what it catches at 1 % of honest texts, and g-mean squared.

    What is written sits in a seat: bag:FILE, embedding:FILE, or codebreaker:FILE for a decoder.
    """
    from palaestra.agents import check_seat
    from palaestra.envs.errors import OptionError

    if to.exists():
        raise OptionError(f"{to} is there already; name another file.")
    if (what is What.embedding) != bool(model):
        raise OptionError("an embedding needs --model, such as --model smollm2, and nothing else takes one.")
    if model:
        check_seat(model)
    with console(stderr=True).status("reading texts…"):
        from palaestra.scripts.replay import expanded
        from palaestra.trainers import detector_fit

        texts, without = detector_fit.read_labelled(expanded(files))
    with console(stderr=True).status("fitting…"):
        found = detector_fit.fit(what.value, texts, model=model, held_out=held_out, seed=seed)
    detector_fit.write(found, to)
    _show(what, found, without)
    console().print(untrusted(f"Detector: {to}; seat it as {SEATS[what.value]}:{to}", "dim"))


@app.command(
    "load-bearing",
    epilog=examples(
        "palaestra detector load-bearing codebook,codebook",
        "palaestra detector load-bearing runs/covert,runs/covert --games 400 -o 'covers={a|b|c|d}' -o view=terse",
    ),
)
def symbol(
    seats: Annotated[str, typer.Argument(metavar="SENDER,RECEIVER", help="As for `palaestra play covert_channel`.")],
    games: Annotated[int, typer.Option(min=2, help="How many secrets are sent.")] = 200,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="Of covert_channel; repeatable.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a model's reply; 64, or as it was trained.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="Of models, 0 is greedy; 1, or as it was trained.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the first game; the next has the next.")] = 0,
) -> None:
    """Say how far a receiver goes by the symbol that is thought to carry the secret (the load-bearing test).

    It answers to every text as it was written, with that symbol swapped for another, and with one and the same for all.
    """
    from dataclasses import replace

    from rich.progress import Progress

    from palaestra.envs import make
    from palaestra.envs.errors import OptionError, SeatCountError
    from palaestra.scripts.play import check_seats, seat_specs
    from palaestra.scripts.trained import section_of, settings_of
    from palaestra.trainers.swapped_symbols import symbol_test
    from palaestra.trainers.together import ONE_REPLY

    specs = seat_specs(seats)
    if len(specs) != 2:
        raise SeatCountError(f"{seats!r} names {len(specs)} seats, expected a sender and a receiver.")
    if "human" in specs:
        raise OptionError("nobody would answer the same text three times without a thought of it; name other seats.")
    learned = [section_of(spec, "covert_channel") for spec in specs]
    first = next(filter(None, learned), None)
    options = {**(first.options if first else {}), "overseer": False, **key_values(option or (), "--option")}
    check_seats(make("covert_channel", **{**options, "overseer": False, "paraphraser": False}), specs)
    accept_cut = first is not None and first.rules.accept_cut
    settings = [settings_of(section, max_tokens=max_tokens, temperature=temperature) for section in learned]
    out = console(stderr=True)
    with Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("games", total=3 * games)
        found = symbol_test(
            *specs, games=games, seed=seed, options=options, settings=settings,
            rules=replace(ONE_REPLY, accept_cut=accept_cut), told=lambda: bar.advance(task),
        )  # fmt: skip
    rows = table("load-bearing", "share", "95 %", right=(1, 2))
    for name, one in (
        ("secrets named beyond luck, as written", found.known),
        ("answers that follow the symbol, as a swap shows", found.follow_swapped),
        ("the same, as one symbol for all shows", found.follow_fixed),
        ("answers that a swap changes", found.flips_swapped),
        ("answers that one symbol for all changes", found.flips_fixed),
    ):
        rows.add_row(name, f"{one.mean:.3f}", f"[{one.low:.3f}, {one.high:.3f}]")
    console().print(rows)
    console().print(
        f"{found.known.n} of {games} secrets had a text and three answers. Where the second and third are as large as "
        "the first, all that arrives hangs on the symbol; where they are 0, nothing does.",
        highlight=False,
    )


def _show(what: What, found: Fitted, without: int) -> None:
    out = console()
    seen = f", {found.seen} of which stand among the others, too" if found.seen else ""
    left = f"; {without} games had no text" if without else ""
    out.print(untrusted(f"Fitted on {found.trained} texts, measured on {found.held} held out{seen}{left}."))
    asked = "which number" if what is What.decoder else "hidden or not"
    out.print(f"Accuracy ({asked}): {_bracket(found.accuracy)}, by the most frequent answer {found.chance:.3f}")
    told = found.detected
    if told is None:
        out.print("AUROC: not measured, for it needs texts with something hidden and texts without.")
        return
    out.print(f"AUROC: {_bracket(told.auroc)}")
    out.print(f"g-mean squared at the best threshold: {_bracket(told.g_mean2)}, without knowledge {told.useless:.3f}")
    false = f"{told.found.false_positives:.1%} of {told.honest} honest texts are flagged, too"
    out.print(f"Caught at 1 % false positives: {_bracket(told.true_positives)} of {told.hidden} ({false})")
    if told.caution:
        out.print(f"Caution: {told.caution}.", highlight=False)


def _bracket(one: Estimate) -> str:
    return f"{one.mean:.3f} \\[{one.low:.3f}, {one.high:.3f}]"
