"""`palaestra detector`: train the overseers that are read from a file, and say how well they do on held-out texts."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palaestra.scripts.console import console, untrusted
from palaestra.scripts.errors import CommandGroup, examples

if TYPE_CHECKING:
    from palaestra.trainers.detector_fit import Fitted
    from palaestra.trainers.summary import Estimate

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    help="Train detectors of hidden messages.",
    epilog=examples("palaestra detector fit bag games/ --to bag.json"),
)
SEATS = {"bag": "bag", "embedding": "embedding", "decoder": "codebreaker"}


class What(StrEnum):
    """What is trained."""

    bag = "bag"
    embedding = "embedding"
    decoder = "decoder"


@app.callback()
def group() -> None:
    """Train detectors of hidden messages."""


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
