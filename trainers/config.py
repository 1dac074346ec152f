"""The configuration of a run: typed, checked before anything starts, and the same from YAML, Python, Tune and the
command line.

`RunConfig` is the whole; its parts are small models with a sentence for every field (`palaestra.trainers.config_game`
has those of a game). An unknown key names itself and the nearest right one. `load_config` reads YAML and applies
``a.b=c`` overrides, whose values are read as YAML. The resolved configuration is written into the run folder and is all
that `palaestra resume` needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from palaestra.trainers.config_file import ConfigError, Section, load, parse
from palaestra.trainers.config_game import GameSection, ReplySection, RulesSection
from palaestra.trainers.loss import LossSettings
from palaestra.trainers.schedules import schedule

ScheduleSpec = float | dict[str, Any]


class LoraSection(Section):
    """The shape of the adapter (Hu et al., 2021)."""

    rank: int = Field(16, ge=1)
    """Rank of every update."""
    alpha: float = Field(32, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout before the update; anything but 0 makes the sampled and the trained policy differ."""
    targets: str | list[str] = "all-linear"
    """Module names that get an update, or ``all-linear``."""


class ThinkingSection(Section):
    """Thinking tokens that the adapter gets (`palaestra.agents.thinking`)."""

    kinds: int = Field(8, ge=1, le=1024)
    """How many there are."""
    most: int = Field(4, ge=1, le=256)
    """Most of them before one real token."""


class ModelSection(Section):
    """The base model and the adapter that is trained on it."""

    source: str = "smollm2"
    """``smollm2``, ``tiny:RECIPE``, a hub id or a folder; with ``@PATH`` training starts from that adapter, which is
    then the reference too."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the frozen weights; adapters are always float32. ``auto``: bfloat16 on a GPU, float32 on a CPU (where
    bfloat16 may be 2 to 3 times as fast, but seeds are no longer exact)."""
    lora: LoraSection = LoraSection()
    thinking: ThinkingSection | None = None
    """Thinking tokens beside the model's own; null for none, or for those that the start adapter has."""


class CreditSection(Section):
    """How an episode becomes token weights."""

    rule: str = "role_baseline"
    """Registered credit rule: ``role_baseline`` for games against others, ``group_relative`` for single seats."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The rule's own options."""
    kl: ScheduleSpec = 0.0
    """Coefficient of the KL to the frozen reference, per token; a number or a schedule."""


class LossSection(Section):
    """The token loss; `palaestra.trainers.loss` has the formulas."""

    clip_low: float = Field(0.2, ge=0, le=1)
    """The ratio to the sampling policy is clipped at 1 - clip_low,"""
    clip_high: float = Field(0.2, ge=0)
    """and at 1 + clip_high."""
    dual_clip: float | None = None
    """Largest ratio that counts for tokens with a negative advantage; null for no bound."""
    denominator: Literal["tokens", "rows", "constant"] = "tokens"
    """What every stream is divided by: its tokens, rows of per-row means, or rows × ``max_length``."""
    max_length: int | None = Field(None, ge=1)
    """Tokens per row for the ``constant`` denominator."""
    entropy: ScheduleSpec = 0.0
    """Coefficient of the entropy bonus; a number or a schedule."""
    kl_estimator: Literal["k3", "k2"] = "k3"
    """Estimator of the KL to the reference."""

    def settings(self, entropy_weight: float) -> LossSettings:
        """Return what `token_loss` takes."""
        kind = self.denominator
        return LossSettings(
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            dual_clip=self.dual_clip,
            pg=kind,
            ce=kind,
            kl=kind,
            max_length=self.max_length,
            entropy_weight=entropy_weight,
            kl_estimator=self.kl_estimator,
        )


class OptimizerSection(Section):
    """AdamW on the adapters."""

    lr: ScheduleSpec = 2e-4
    """Learning rate; a number or a schedule."""
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients of an adapter are clipped to this norm."""
    epochs: int = Field(1, ge=1)
    """Passes over each iteration's rows."""
    minibatches: int = Field(1, ge=1)
    """Optimizer steps per pass."""
    token_budget: int = Field(4096, ge=16)
    """Most tokens, padding included, of one forward-backward pass."""


class ResourcesSection(Section):
    """Where the run runs."""

    runners: int = Field(1, ge=0)
    """Remote processes that play matches; 0 plays in the driver."""
    learners: int = Field(0, ge=0)
    """Remote learner processes; 0 learns in the driver."""
    gpus_per_runner: float = Field(0, ge=0)
    gpus_per_learner: float = Field(0, ge=0)
    threads: int = Field(0, ge=0)
    """Torch threads per process; 0 for all cores."""
    address: str | None = None
    """Address of a Ray cluster; null starts one on this machine."""
    concurrent_games: int = Field(64, ge=1)
    """Matches that one runner plays at once."""
    sample_timeout_s: float = Field(3600, gt=0)
    """A runner that has not answered by then is given up, and its games go to the others."""
    restart_timeout_s: float = Field(300, gt=0)
    """With no runner left alive, how long to wait for one that Ray starts again."""


class CheckpointSection(Section):
    every: int = Field(1, ge=1)
    """Iterations between checkpoints."""
    keep: int = Field(2, ge=1)
    """Checkpoints that are kept."""


class HindsightSection(Section):
    """The frozen reference reviews finished games, and what it would have said is learned; see
    `palaestra.trainers.hindsight`."""

    use: Literal["verified", "unverified", "shuffled", "judge", "tokens", "tokens_shuffled", "tokens_by_place"] = (
        "verified"
    )
    """What the reference is used for. It proposes replies, of which are learned: those that did better when tried out
    (``verified``), all (``unverified``), or, as a null arm, the verified ones dealt out to each other's turns
    (``shuffled``). It scores turns (``judge``), or its own likelihoods, with hindsight and with wrong hindsight, say on
    which tokens of a turn the game's result falls (``tokens``); the null arms of that deal the same sizes out at random
    over the tokens of their game (``tokens_shuffled``), or over all games among tokens at the same place of their
    replies (``tokens_by_place``)."""
    share: float = Field(0.25, ge=0, le=1)
    """Share of the trained policy's turns that are reviewed at the end of a game, drawn by the run's seed."""
    events: float = Field(0.0, ge=0, le=1)
    """Share of the turns after which something told that they may have been wrong (a refused reply, `Game.feedback`)
    that are reviewed by what was told then."""
    called: bool = False
    """Whether turns in which the policy writes ``[review]`` are reviewed, too."""
    pairs: int = Field(8, ge=3)
    """Pairs of continuations by which a claim is tried out."""
    budget: int = Field(1024, ge=1)
    """Most claims of an iteration that are tried out, those first whose game's returns differ most."""
    weight: ScheduleSpec = 1.0
    """Weight of the cross-entropy on a proposed reply, or of a judge's score; a number or a schedule."""
    form: Literal["full", "reply", "game"] = "full"
    """What the reviewer is asked for: mistake, reason and reply of a turn, the reply alone, or turn, reason and reply
    of every mistake of a whole game (``share`` is then one of games; after events it is asked as in ``full``)."""
    principles: str | None = None
    """A file of principles that the reviewer is to go by, ``own`` for the one in here, null for none."""
    structured: bool | None = None
    """Whether reviews are drawn in the form that is asked for, proposing only replies that were legal where these can
    be listed; otherwise they are drawn freely and read as they are. Null: yes, but not in the form ``reply``."""
    leak: float | None = Field(None, lt=0)
    """Least mean log-probability, in nats a token, that the reference gives a proposed reply behind what was known at
    the time; a reply to which it could not be led without hindsight is a leak. Null: no such check."""
    clip: float = Field(3.0, gt=0)
    """Of ``tokens`` and its nulls: the most that one token counts, relative to the mean of its game."""
    gate: int = Field(64, ge=0)
    """Games that the reference plays before training, to see whether what it says with hindsight does better than what
    it says without; if not, hindsight is off, and the report says so. 0: no such test, and the report says that."""
    critic: Literal["frozen", "gated", "average", "live"] = "frozen"
    """Who reviews: the frozen reference, or, for comparison, a critic that moves; see
    `palaestra.trainers.hindsight.critic`."""
    refresh: int = Field(10, ge=1)
    """Iterations between the refreshes of a critic that moves."""
    waves: int = Field(2, ge=1)
    """Parts into which an iteration's games are divided: the first is reviewed while the next is played."""
    max_chars: int = Field(4000, ge=100)
    """Most characters of what the reviewer is shown."""
    reply: ReplySection = ReplySection(max_tokens=160, context="fresh")
    """How the reviewer is asked."""


class EvaluationSection(Section):
    """Strength before and after training: seat-flipped pairs with the same seeds and sampling."""

    pairs: int = Field(32, ge=0)
    """Pairs of games per game of the run; 0 for no evaluation."""
    opponent: str = "random"
    """Who is played against."""


class RunConfig(Section):
    """A self-play run."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run folder and of the adapter's versions."""
    seed: int = Field(0, ge=0)
    """Fixes everything random in the run."""
    model: ModelSection = ModelSection()
    games: Annotated[list[GameSection], Field(min_length=1)]
    adapters: Literal["shared", "per_env"] = "shared"
    """One adapter for all games, or one for each."""
    iterations: int = Field(10, ge=1)
    games_per_iteration: int = Field(32, ge=1)
    credit: CreditSection = CreditSection()
    loss: LossSection = LossSection()
    optimizer: OptimizerSection = OptimizerSection()
    resources: ResourcesSection = ResourcesSection()
    checkpoint: CheckpointSection = CheckpointSection()
    evaluation: EvaluationSection = EvaluationSection()
    hindsight: HindsightSection | None = None
    """Whether finished games are reviewed; null for not."""
    replays: Literal["all", "none"] = "all"
    """Whether every episode is kept as a replay."""

    @model_validator(mode="after")
    def _schedules_parse(self) -> RunConfig:
        for where, spec in (
            ("credit.kl", self.credit.kl),
            ("loss.entropy", self.loss.entropy),
            ("optimizer.lr", self.optimizer.lr),
            *([("hindsight.weight", self.hindsight.weight)] if self.hindsight else []),
        ):
            try:
                values = [schedule(spec)(step / 20) for step in range(21)]
                if not all(math.isfinite(value) and value >= 0 for value in values):
                    raise ValueError(f"{spec} takes values that are negative or no numbers; keep it at 0 or above")
            except (ValueError, LookupError) as error:
                raise ValueError(f"{where}: {error}") from None
        try:
            self.loss.settings(0.0)
        except ValueError as error:
            raise ValueError(f"loss: {error}") from None
        return self

    @model_validator(mode="after")
    def _one_temperature_per_game(self) -> RunConfig:
        heats: dict[str, float] = {}
        for number, section in enumerate(self.games):
            heat = section.reply.temperature
            if heat == 0:
                raise ValueError(
                    f"games.{number}.reply.temperature: training needs one above 0; what is greedy has no probabilities"
                )
            if heats.setdefault(section.game, heat) != heat:
                raise ValueError(
                    f"games.{number}.reply.temperature: {section.game} stands here twice, with temperatures "
                    f"{heats[section.game]:g} and {heat:g}; give it one, since its rows are scored at one"
                )
        return self

    def adapter_names(self) -> list[str]:
        """Return the names of the adapters that are trained."""
        if self.adapters == "shared":
            return [self.name]
        names: list[str] = []
        for section in self.games:
            name = f"{self.name}-{section.game.replace('/', '.')}"
            again = sum(one == name or one.startswith(f"{name}.") for one in names)
            names.append(f"{name}.{again + 1}" if again else name)
        return names

    def adapter_of(self, game_index: int) -> str:
        """Return the adapter that plays game number ``game_index``."""
        return self.adapter_names()[0 if self.adapters == "shared" else game_index]


def parse_config(data: Any, source: str = "config") -> RunConfig:
    """Check plain data and return the configuration of a run; errors as for `palaestra.trainers.config_file.parse`."""
    return parse(RunConfig, data, source)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a YAML file and apply overrides such as ``optimizer.lr=1e-4`` or ``games.0.options.view=terse``.

    Raises:
        ConfigError: The file cannot be read, is no mapping, or has a wrong key or value.
    """
    return load(RunConfig, path, overrides)


__all__ = [
    "ConfigError",
    "GameSection",
    "ReplySection",
    "RulesSection",
    "RunConfig",
    "load_config",
    "parse_config",
]
