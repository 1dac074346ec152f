"""`palaestra evaluate`: a model's strength in one game, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palaestra.scripts.console import console, key_values, untrusted
from palaestra.scripts.errors import examples
from palaestra.scripts.trained import UNCHECKED, section_of, tell

if TYPE_CHECKING:
    from palaestra.agents.models.sources import ModelSource

EXAMPLES = examples(
    "palaestra evaluate smollm2@runs/quickstart kuhn_poker",
    "palaestra evaluate tiny:board tic_tac_toe --opponent mcts:200 --pairs 64 --option view=terse",
    "palaestra evaluate smollm2@runs/quickstart kuhn_poker --opponent base --replays games/",
)


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model, with an adapter after @.")],
    game: Annotated[str, typer.Argument(metavar="GAME", help="A game; `palaestra envs` lists them.")],
    opponent: Annotated[
        str, typer.Option(help="Any seat of `palaestra play`, or base: the model without its adapter.")
    ] = "random",
    pairs: Annotated[int, typer.Option(min=1, help="Start positions; each is played once from every seat.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Fixes start positions and sampling.")] = 0,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="An option of the game; repeatable.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a reply, thought included; 32, or as it was trained.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="Sampling temperature, 0 is greedy; 1, or as it was trained.")
    ] = None,
    replays: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Record all games there.")] = None,
    unchecked: Annotated[bool, typer.Option("--unchecked", help=UNCHECKED)] = False,
) -> None:
    """Measure a model against a fixed opponent over seat-flipped pairs: the same seeds, every seat in turn.

    A model with an adapter is measured as it was trained: the same options, rules, system message and length of reply.
    Intervals are 95 %. Legal replies stand beside the result, because a model that cannot answer loses, too.
    """
    from palaestra.agents import check_seat
    from palaestra.agents.models.sources import ModelSource
    from palaestra.envs import make
    from palaestra.envs.errors import OptionError, UnwritableReplay
    from palaestra.envs.options import refuse_reserved

    given: dict[str, Any] = {**key_values(option or (), "--option")}
    refuse_reserved(given, game)
    source = ModelSource.parse(model)
    learned = section_of(model, game)
    options = {**(learned.options if learned else {}), **given}
    make(game, **options)
    if opponent == "human":
        raise OptionError("a person cannot be measured against in many games at once; `palaestra play` seats one.")
    if opponent != "base":
        check_seat(opponent, game, options)  # names and values are checked before anything heavy is loaded
    if replays is not None and next(replays.glob("*.jsonl"), None) is not None:
        raise UnwritableReplay(f"folder {replays} holds replays already; name another, or move them away.")
    with console(stderr=True).status("loading the model…"):
        from palaestra.trainers.availability import require_fit_beside
        from palaestra.trainers.config import parse_config
        from palaestra.trainers.summary import score
        from palaestra.trainers.tasks import evaluation_tasks

        section = learned or parse_config({"games": [{"game": game}]}, "evaluate").games[0]
        asked = {"max_tokens": max_tokens, "temperature": temperature}
        reply = section.reply.model_copy(update={key: value for key, value in asked.items() if value is not None})
        section = section.model_copy(update={"options": options, "reply": reply})
        if learned:
            tell(model, learned, game, options, reply.settings())
        if not unchecked:
            require_fit_beside(section, [opponent], base=str(source.base), unchecked_by="--unchecked")
        engine, codec, reader, policy = _engine(source)
    tasks = evaluation_tasks(
        section,
        game_index=0,
        pairs=pairs,
        seed=seed,
        policy=policy,
        opponent=opponent,
        replays=None if replays is None else str(replays),
        meta={"model": model, "evaluation": opponent},
    )
    played = _play(engine, codec, reader, tasks)
    from palaestra.scripts.live import scores_table

    out = console()
    out.print(scores_table({model: score(played, opponent)}))
    if replays is not None:
        out.print(untrusted(f"{len(played)} replays: {replays}", "dim"))


def _engine(source: ModelSource) -> tuple[Any, Any, Any, str]:
    """Return engine, codec, reader of documents, and the policy to measure."""
    from palaestra.agents.document_reader import DocumentReader
    from palaestra.agents.engines.base import BASE
    from palaestra.agents.engines.transformers_engine import TransformersEngine
    from palaestra.agents.vocabularies import ModelVocabulary

    loaded = source.load()
    engine = TransformersEngine(loaded.model)
    reader = DocumentReader(loaded.model, ModelVocabulary(loaded.codec).start)
    policy = BASE
    if loaded.adapter is not None:
        policy = str(source)
        engine.add_policy(policy, loaded.adapter)
        reader.add_policy(policy, loaded.adapter)
    return engine, loaded.codec, reader, policy


def _play(engine: Any, codec: Any, reader: Any, tasks: list[Any]) -> list[Any]:
    """Play the tasks with a bar."""
    import asyncio

    from rich.progress import Progress

    from palaestra.trainers.arena import play_tasks

    async def all_of_them() -> list[Any]:
        try:
            return await play_tasks(engine, codec, tasks, reader=reader, told=lambda played: bar.advance(task))
        finally:
            await engine.aclose()

    out = console(stderr=True)
    with Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("games", total=len(tasks))
        return asyncio.run(all_of_them())
