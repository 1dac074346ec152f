"""`palaestra thoughts`: documents as a model with thinking tokens reads them, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palaestra.scripts.console import console, untrusted
from palaestra.scripts.errors import examples

if TYPE_CHECKING:
    from palaestra.envs.documents.vocabulary import Encoded, Vocabulary
    from palaestra.trainers.thinktoks.learners.base import Readings

EXAMPLES = examples(
    "palaestra thoughts runs/experiments/thinktoks/cpu/s3_shown-0",
    "palaestra thoughts smollm2@thinker --task text --settings length=400 --to thoughts.html",
)


def thoughts(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A cell of `palaestra experiment thinktoks`, or a model whose adapter thinks."
        ),
    ],
    task: Annotated[
        str | None, typer.Option(help="Kind of documents; a cell's own if not given, natural text for a model.")
    ] = None,
    settings: Annotated[str, typer.Option(metavar="KEY=VALUE,…", help="Options of that kind.")] = "",
    documents: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of the first document; the others follow.")] = 0,
    to: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("thoughts.html"),
) -> None:
    """Write a page that shows where a model thinks, and what its thoughts gain, token by token."""
    from palaestra.envs.documents import document_of
    from palaestra.envs.documents.vocabulary import encode
    from palaestra.envs.games.next_token import settings_of
    from palaestra.envs.seeding import Dice
    from palaestra.trainers.thinktoks.page import spots_of, write_page

    options: dict[str, Any] = dict(settings_of(settings))
    with console(stderr=True).status("reading…"):
        if task is not None:
            document_of(task, Dice(seed), **options)  # a wrong option is found before a model is loaded
        learner, words, own = _cell(Path(source)) if Path(source, "checkpoints").is_dir() else _model(source)
        read: list[Encoded]
        if task is None and own:
            read = own[:documents]
            about = "held-out documents of its own training"
        else:
            kind = task or "text"
            read = [encode(document_of(kind, Dice(seed + n), **options), words) for n in range(documents)]
            about = f"documents of task {kind}{f' with {settings}' if settings else ''}, from seed {seed}"
        about = f"{source} reads {about}, at its likeliest decisions."
        path = write_page(to, Path(source).name, about, spots_of(learner, read, words, seed))
    console().print(untrusted(str(path)), soft_wrap=True)


def _model(source: str) -> tuple[Readings, Vocabulary, list[Encoded]]:
    """Return a model with its adapter, as its decisions are likeliest."""
    from palaestra.agents.models.cache import ModelError
    from palaestra.agents.models.sources import ModelSource
    from palaestra.agents.thinking import thinking_of
    from palaestra.agents.thinking_adapter import load
    from palaestra.agents.vocabularies import ModelVocabulary
    from palaestra.trainers.thinktoks.learners.base import Reader
    from palaestra.trainers.thinktoks.learners.sampled import Thoughts

    loaded = ModelSource.parse(source).load()
    thinking = thinking_of(loaded.model)
    if thinking is None or loaded.adapter is None:
        raise ModelError(f"model {source!r} has no thinking tokens; name an adapter that has some, as MODEL@FOLDER.")
    words = ModelVocabulary(loaded.codec)
    model = load(loaded.model, loaded.adapter).eval()
    return Thoughts(Reader(model, thinking, tuple(words.start))), words, []


def _cell(folder: Path) -> tuple[Readings, Vocabulary, list[Encoded]]:
    """Return the learner of a cell as its last checkpoint left it, and its held-out documents."""
    from palaestra.agents.models.cache import ModelError
    from palaestra.trainers.checkpoint import Checkpoints
    from palaestra.trainers.experiments.framework import Cell, Scale
    from palaestra.trainers.experiments.thinktoks import EXPERIMENT
    from palaestra.trainers.experiments.thinktoks_arms import plan_of
    from palaestra.trainers.thinktoks.learners.sampled import Sampled
    from palaestra.trainers.thinktoks.training import Training

    arm, _, seed = folder.resolve().name.rpartition("-")
    latest = Checkpoints(folder / "checkpoints", keep=1).latest()
    if arm not in {one.name for one in EXPERIMENT.arms} or not seed.isdigit() or latest is None:
        raise ModelError(f"{folder} is no cell of the experiment thinktoks, such as s3_shown-0, with a checkpoint.")
    scale: Scale = "gpu" if folder.resolve().parent.name == "gpu" else "cpu"
    training = Training(plan_of(Cell(EXPERIMENT.name, arm, int(seed), scale, folder)))
    training.load_checkpoint(str(latest))
    training.learner.reader.model.eval()
    if not isinstance(training.learner, Sampled):
        raise ModelError(f"{folder} holds a learner that draws no thoughts; there is nothing to show.")
    return training.learner, training.plan.words, training.plan.measured()
