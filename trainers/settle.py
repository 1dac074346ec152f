"""What can be wrong with a configuration beyond its form, found before anything starts.

`settle` looks every name up (games and their options, opponents, credit rule, model, start adapter), fetches the model,
and writes paths out in full, so that a resumed run and a runner with another working directory mean the same files.
"""

from __future__ import annotations

from pathlib import Path

import torch

from palaestra.agents import check_seat, seat_names
from palaestra.agents.document_reader import scorer
from palaestra.agents.engines.base import BASE
from palaestra.agents.models.sources import ModelSource
from palaestra.agents.thinking import Thinking
from palaestra.agents.thinking_adapter import recorded
from palaestra.envs import make
from palaestra.envs.errors import PalaestraError, UnknownName
from palaestra.envs.games.next_token import NextToken, settings_of, settings_text
from palaestra.envs.match import Match
from palaestra.envs.seat import RandomSeat
from palaestra.envs.seeding import derive
from palaestra.trainers.availability import UnfitModel, require_fit_beside
from palaestra.trainers.config import ConfigError, GameSection, HindsightSection, RunConfig
from palaestra.trainers.credit import make_credit
from palaestra.trainers.hindsight.ask import principles
from palaestra.trainers.module import lora_fields
from palaestra.trainers.tasks import SELF, games_of

DRAWN = 32
"""Documents that are drawn to see how long they are."""


def settle(config: RunConfig) -> RunConfig:
    """Return the configuration with its model's paths written out; the model is on this machine afterwards.

    Raises:
        PalaestraError: A name that is not known, an option that a game or rule does not take, a model that cannot be
            had, an adapter that was made for another base, or a model that is to paraphrase or monitor and fails its
            own check; the sentence begins with the key.
    """
    source = ModelSource.parse(config.model.source)
    adapter = source.adapter_folder()
    thinking = _thinking(config, adapter)
    config = config.model_copy(
        update={
            "games": [
                _reading(f"games.{number}", section, source, thinking) if section.reads else section
                for number, section in enumerate(config.games)
            ]
        }
    )
    for number, section in enumerate(config.games):
        where = f"games.{number}"
        _check_game(where, section)
        _check_fixed(where, section)
        for name in section.opponents:
            _check_seat(f"{where}.opponents", name, (SELF, BASE), section)
        _check_seat("evaluation.opponent", config.evaluation.opponent, (BASE,), section)
    try:
        credit = make_credit(config.credit.rule, **config.credit.options)
    except PalaestraError as error:
        raise ConfigError(f"credit: {error}") from None
    if getattr(credit, "compares_groups", False):
        _check_groups(config)
    reads = [number for number, section in enumerate(config.games) if section.reads]
    if reads and not getattr(credit, "reads_documents", False):
        raise ConfigError(
            f"credit.rule: {config.credit.rule} would take thoughts that were not drawn for drawn ones; "
            f"games.{reads[0]} ({config.games[reads[0]].game}) is paid by the rule thoughts."
        )
    if getattr(credit, "reads_documents", False):
        _check_documents(config, getattr(credit, "cost", 0.0), getattr(credit, "horizon", 1))
    if config.hindsight is not None:
        if config.hindsight.critic != "frozen" and len(config.adapter_names()) > 1:
            raise ConfigError(
                "hindsight.critic: a critic that moves follows one adapter; use adapters: shared, or critic: frozen."
            )
        config = config.model_copy(update={"hindsight": _hindsight(config.hindsight)})
    folder = source.fetch()
    if adapter is None:
        _check_targets(config, folder)
    for number, section in enumerate(config.games):
        others = [name for name, weight in section.opponents.items() if weight and name != SELF]
        others += [config.evaluation.opponent] if config.evaluation.pairs else []
        cure = f"--set games.{number}.unchecked=true"
        try:
            require_fit_beside(section, others, base=config.model.source, unchecked_by=cure)
        except UnfitModel as error:
            raise ConfigError(f"games.{number}: {error}") from None
    name = str(Path(source.name).expanduser().resolve()) if source.kind == "folder" else source.name
    settled = ModelSource(source.kind, name, str(adapter.resolve()) if adapter else None)
    return config.model_copy(update={"model": config.model.model_copy(update={"source": str(settled)})})


def _thinking(config: RunConfig, adapter: Path | None) -> Thinking | None:
    """Return the thinking tokens that the policy will have; how many real tokens there are is not known yet."""
    section, has = config.model.thinking, None if adapter is None else recorded(adapter)
    if has is not None and section is not None:
        raise ConfigError("model.thinking: the start adapter has thinking tokens already; leave this out.")
    return has or (None if section is None else Thinking(1, section.kinds, section.most))


def _reading(where: str, section: GameSection, source: ModelSource, thinking: Thinking | None) -> GameSection:
    """Return a section of documents with what follows from the model written out."""
    if thinking is None:
        raise ConfigError(f"{where}: {section.game} trains thinking tokens; give the model some in model.thinking.")
    if section.reply.temperature != 1:
        raise ConfigError(f"{where}.reply.temperature: decisions to think are drawn at temperature 1.")
    if section.reading.shown and section.group_size < 2 + section.reading.empty:
        raise ConfigError(
            f"{where}.group_size: {section.group_size} leaves no reading with thoughts of its own beside the shown and "
            f"the empty one; have at least {2 + section.reading.empty}."
        )
    try:
        scorer(section.reading.scorer)
    except UnknownName as error:
        raise ConfigError(f"{where}.documents.scorer: {error}") from None
    own = {"vocabulary": str(source.base), "thoughts": thinking.kinds, "most": thinking.most}
    for key, value in own.items():
        if section.options.get(key, value) != value:
            raise ConfigError(
                f"{where}.options.{key}: the model has {value}, not {section.options[key]}; leave this out."
            )
    settings = section.options.get("settings")
    if settings and (found := settings_of(settings)).get("file"):
        found["file"] = str(Path(found["file"]).expanduser().resolve())
        own["settings"] = settings_text(found)
    return section.model_copy(update={"options": {**section.options, **own}, "documents": section.reading})


def _hindsight(section: HindsightSection) -> HindsightSection:
    """Return the section with its file of principles written out in full."""
    if not section.share and not section.events and not section.called:
        raise ConfigError("hindsight: no turn would be reviewed; raise share or events.")
    try:
        principles(section)
    except PalaestraError as error:
        raise ConfigError(f"hindsight.principles: {error}") from None
    if section.principles in (None, "own"):
        return section
    return section.model_copy(update={"principles": str(Path(str(section.principles)).expanduser().resolve())})


def _check_documents(config: RunConfig, cost: float, horizon: int) -> None:
    """Raise if the rule would be handed rows without predicted tokens, would charge another cost than the game, or
    would be handed documents that are shorter than its horizon; some are drawn to see how long they are."""
    for number, section in enumerate(config.games):
        if not section.reads:
            raise ConfigError(
                f"games.{number}: {config.credit.rule} pays for predicted tokens, and {section.game} has none; train "
                "it in a run of its own."
            )
        charged = make(section.game, **section.options).options.cost
        if charged != cost:
            raise ConfigError(
                f"credit.options.cost: a thought costs {charged:g} nats in games.{number} and {cost:g} here; give both "
                "the same."
            )
        drawn = [
            make(section.game, seed=derive(config.seed, "length", seed), **section.options) for seed in range(DRAWN)
        ]
        worked = any(thoughts for game in drawn if isinstance(game, NextToken) for thoughts in game.encoded.worked)
        if section.reading.shown and not worked:
            raise ConfigError(
                f"games.{number}.documents.shown: documents of task {section.options.get('task')!r} have no worked "
                "thoughts to show; leave this out."
            )
        shortest = min(len(game.encoded) for game in drawn if isinstance(game, NextToken))
        if shortest < horizon:
            raise ConfigError(
                f"credit.options.horizon: {horizon} tokens, but documents of games.{number} have as few as {shortest}; "
                "lower it, or have longer documents."
            )


def _check_groups(config: RunConfig) -> None:
    """Raise if the rule would have nothing to compare: the run would end well and train nothing."""
    played = games_of(config, 0)
    for number, section in enumerate(config.games):
        if min(section.group_size, played.count(number)) < 2:
            raise ConfigError(
                f"games.{number}.group_size: {config.credit.rule} compares episodes that start alike, but of "
                f"{section.game} {played.count(number)} are played in an iteration, in groups of {section.group_size}; "
                "have at least 2 of each."
            )


def _check_targets(config: RunConfig, folder: Path) -> None:
    """Raise if the adapter's targets are no modules of the model, whose structure is made without its weights."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    except (OSError, ValueError):
        return  # no model, or none that can be had so; whoever loads it says what is wrong
    try:
        with torch.device("meta"):
            get_peft_model(model, LoraConfig(**lora_fields(config)))
    except (ValueError, TypeError, KeyError) as error:
        linear = {name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
        said = " ".join(str(error).split())[:200].rstrip(".")
        raise ConfigError(
            f"model.lora: PEFT cannot adapt this model so ({said}). Its linear modules are "
            f"{', '.join(sorted(linear))}; name some of them, or write all-linear."
        ) from None


def _check_game(where: str, section: GameSection) -> None:
    try:
        game = make(section.game, **section.options)
        Match(game, [RandomSeat()] * game.facts.players, section.rules.of(section.game))
    except (PalaestraError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from None


def _check_fixed(where: str, section: GameSection) -> None:
    players = make(section.game, **section.options).facts.players
    if beyond := [seat for seat in section.fixed_seats if seat > players]:
        raise ConfigError(f"{where}.fixed_seats: {section.game} has seats 1 to {players}, not {beyond[0]}.")
    if len(section.fixed_seats) >= players:
        raise ConfigError(f"{where}.fixed_seats: no seat is left to train; free one.")
    for name in section.fixed_seats.values():
        _check_seat(f"{where}.fixed_seats", name, (BASE,), section)


def _check_seat(where: str, spec: str, own: tuple[str, ...], section: GameSection) -> None:
    if spec in own:
        return
    try:
        check_seat(spec, section.game, section.options)
    except UnknownName:
        known = [*own, *seat_names()]
        cure = f"It can be {', '.join(known)}, or a model."
        raise ConfigError(f"{where}: {UnknownName('seat', spec, known, cure)}") from None
    except PalaestraError as error:
        raise ConfigError(f"{where}: {error}") from None
