"""Training a learner on documents: the same documents in the same order for every learner, and everything measured.

A *plan* says what is read, by whom, and how long; its documents follow from the seed and the number of the step alone,
and held-out ones from neither, so all learners and seeds are measured on the same. A *point* of the curve is what one
measurement found. A training can be saved at any step and goes on with the same numbers (test).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from palaestra.agents.models.sources import ModelSource
from palaestra.agents.thinking import Thinking, extend
from palaestra.agents.thinking_adapter import save, token_fields
from palaestra.agents.vocabularies import ModelVocabulary
from palaestra.envs.documents import document_of
from palaestra.envs.documents.vocabulary import Encoded, Vocabulary, encode, vocabulary
from palaestra.envs.options import within
from palaestra.envs.seeding import Dice, derive
from palaestra.trainers import checkpoint
from palaestra.trainers.checkpoint import CheckpointError, TrainingState
from palaestra.trainers.schedules import Schedule, cosine
from palaestra.trainers.thinktoks.learners import Learner, Read, Reader, make_learner
from palaestra.trainers.thinktoks.models import Shape, fresh_model

WARM = 0.05
"""Share of the steps in which the rate rises to its value."""
LARGEST_GRADIENT = 1.0
MODEL, BESIDE = "model", "beside"
"""Names of the two parts of a checkpoint: the model's trained tensors, and those of the learner's own modules."""


@dataclass(frozen=True)
class Lesson:
    """Documents of one kind, for a share of the training.

    Attributes:
        task: A kind of document.
        settings: Its options.
        share: Part of the training's steps, relative to the other lessons' shares.
    """

    task: str
    settings: dict[str, Any] = field(default_factory=dict)
    share: float = 1.0


@dataclass(frozen=True)
class Plan:
    """What is read, by whom, and how long.

    Attributes:
        lessons: In order; measured is always the last one.
        learner, options: A learner by name, and its options.
        model: None for one that begins from nothing, of ``shape``, and reads bytes; else a source such as ``smollm2``,
            which reads its own tokens and whose vocabulary is extended; an adapter after the ``@``, such as one from
            other reasoning training, is merged into it first.
        rank: Of the LoRA adapter around ``model``, which holds the new rows, too; 0 trains the model whole.
        kinds, most: Thinking tokens there are, and most before a real token.
        steps, documents: Steps, and documents in each.
        rate: Learning rate, after the warm-up and before it falls along a cosine to a tenth.
        held_out: Documents that are measured.
        seed: Of the weights, the documents and all that is drawn.
    """

    lessons: tuple[Lesson, ...]
    learner: str
    options: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    rank: int = 0
    shape: Shape = field(default_factory=Shape)
    kinds: int = 8
    most: int = 8
    steps: int = 1000
    documents: int = 32
    rate: float = 1e-3
    held_out: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.lessons:
            raise ValueError("a plan has at least one lesson")
        if not sum(lesson.share for lesson in self.lessons) > 0 or any(lesson.share < 0 for lesson in self.lessons):
            raise ValueError("shares of lessons must not be negative, and one of them above 0")
        if self.rank and self.model is None:
            raise ValueError(f"rank is {self.rank}, but there is no model to adapt; name one, or leave the rank out")
        within(
            self,
            rank=(0, 4096),
            kinds=(1, 1024),
            most=(0, 256),
            steps=(0, 10**9),
            documents=(1, 10**6),
            held_out=(1, 10**6),
        )

    @property
    def words(self) -> Vocabulary:
        """Return the vocabulary that the documents are written in."""
        return vocabulary(self.model or "bytes")

    def lesson(self, step: int) -> Lesson:
        """Return what is read at a step."""
        total = sum(lesson.share for lesson in self.lessons)
        reached = 0.0
        for lesson in self.lessons:
            reached += lesson.share / total
            if step < reached * self.steps - 1e-9:
                return lesson
        return self.lessons[-1]

    def drawn(self, step: int) -> list[Encoded]:
        """Return the documents of a step."""
        lesson = self.lesson(step)
        return [self._encoded(lesson, derive(self.seed, "document", step, place)) for place in range(self.documents)]

    def measured(self) -> list[Encoded]:
        """Return the held-out documents, the same for every seed."""
        return [self._encoded(self.lessons[-1], derive("held out", place)) for place in range(self.held_out)]

    def _encoded(self, lesson: Lesson, seed: int) -> Encoded:
        return encode(document_of(lesson.task, Dice(seed), **lesson.settings), self.words)


def make_reader(plan: Plan) -> Reader:
    """Return the model of a plan, with thinking tokens, as it begins."""
    if plan.model is None:
        # what a context begins with is one more token, which no document has
        thinking = Thinking(plan.words.size + 1, plan.kinds, plan.most)
        return Reader(fresh_model(thinking, plan.shape, plan.seed), thinking, (plan.words.size,))
    loaded = ModelSource.parse(plan.model).load()
    model = loaded.model
    if loaded.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(loaded.adapter)).merge_and_unload()
    thinking = extend(model, plan.kinds, plan.most)
    if plan.rank:
        from peft import LoraConfig, get_peft_model

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            rows = token_fields(model)
            config = LoraConfig(r=plan.rank, lora_alpha=2 * plan.rank, target_modules="all-linear", **rows)
            model = get_peft_model(model, config)
    model.eval()  # without dropout: what is learned from has to be what was drawn
    on_disk = loaded.fingerprint if plan.rank and loaded.adapter is None else ""
    return Reader(model, thinking, tuple(ModelVocabulary(loaded.codec).start), on_disk)


class Training:
    """A learner on its way.

    Attributes:
        plan: What is read.
        learner: With its model.
        taken: Steps so far.
        work: What they have cost, in tokens times layers (`palaestra.trainers.thinktoks.learners.base`).
        skipped: Steps among them that changed nothing, because their gradient was not finite.

    Args:
        plan: What is read.
        device: Where the model is.
    """

    def __init__(self, plan: Plan, device: str = "cpu") -> None:
        self.plan = plan
        reader = make_reader(plan)
        reader.model.to(device)
        self.learner: Learner = make_learner(plan.learner, reader, **plan.options)
        self.taken = self.work = self.skipped = 0
        self._rate: Schedule = cosine(plan.rate, plan.rate / 10)
        self._optimizer = torch.optim.AdamW(self._parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01)
        self._measured = plan.measured()

    def _parameters(self) -> list[torch.nn.Parameter]:
        modules = [self.learner.reader.model, *self.learner.modules()]
        return [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]

    def take(self) -> dict[str, float]:
        """Take one step and return what it measured of itself."""
        plan = self.plan
        if self.taken >= plan.steps:
            raise ValueError(f"all {plan.steps} steps are taken; make a plan of more")
        progress = self.taken / plan.steps
        step = self.learner.step(plan.drawn(self.taken), derive(plan.seed, "step", self.taken), progress)
        self._optimizer.zero_grad(set_to_none=True)
        step.loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters(), LARGEST_GRADIENT))
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(progress) * min(1.0, (progress + 1 / plan.steps) / WARM)
        if np.isfinite(norm):
            self._optimizer.step()
        else:
            self.skipped += 1
        self.taken += 1
        self.work += step.work
        return {**step.metrics, "grad_norm": norm}

    def measure(self) -> dict[str, float | None]:
        """Return a point of the curve, from the held-out documents."""
        reads = [
            read
            for first in range(0, len(self._measured), self.plan.documents)
            for read in self.learner.read(self._measured[first : first + self.plan.documents], seed=0)
        ]
        return {"step": self.taken, "work": self.work, "skipped": self.skipped, **summary(reads, self._measured)}

    # ------------------------------------------------------------------ state

    def publish(self, folder: Path) -> None:
        """Write the adapter of a plan that has a rank, as every command reads it (`palaestra.agents.thinking_adapter`).

        Raises:
            ValueError: The model was trained whole, or is no model on disk.
        """
        reader = self.learner.reader
        if not reader.fingerprint:
            raise ValueError("the model was trained whole, or another adapter was merged into it; give the plan a rank")
        save(reader.model, folder, reader.fingerprint)

    def save_checkpoint(self, folder: str) -> None:
        """Write weights, optimizer and the number of steps."""
        state = self._optimizer.state_dict()
        parts: dict[str, dict[str, Any]] = {MODEL: self._named(), BESIDE: self._beside()}
        moments = {
            MODEL: {
                str(number): {key: value.detach().cpu().clone() for key, value in values.items()}
                for number, values in state["state"].items()
            }
        }
        tensors: dict[str, dict[str, torch.Tensor]] = {
            part: {name: tensor.detach().cpu().clone() for name, tensor in named.items()}
            for part, named in parts.items()
        }
        scalars = {MODEL: [dict(group.items()) for group in state["param_groups"]]}
        facts = {"iteration": self.taken, "work": self.work, "skipped": self.skipped}
        checkpoint.write(Path(folder), facts, TrainingState(tensors, moments, scalars))

    def load_checkpoint(self, folder: str) -> None:
        """Invert `save_checkpoint`.

        Raises:
            CheckpointError: It is damaged, or another plan's.
        """
        facts, state = checkpoint.read(Path(folder))
        with torch.no_grad():
            for part, own in ((MODEL, self._named()), (BESIDE, self._beside())):
                found = state.adapters.get(part, {})
                if {name: tensor.shape for name, tensor in own.items()} != {
                    name: tensor.shape for name, tensor in found.items()
                }:
                    raise CheckpointError(f"checkpoint {folder} is of another plan; delete it to begin anew.")
                for name, tensor in own.items():
                    tensor.copy_(found[name])
        groups = [{**group, "betas": tuple(group["betas"])} for group in state.scalars[MODEL]]
        moments = {int(number): values for number, values in state.moments.get(MODEL, {}).items()}
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.taken, self.work, self.skipped = (int(facts[name]) for name in ("iteration", "work", "skipped"))

    def _named(self) -> dict[str, torch.nn.Parameter]:
        model = self.learner.reader.model
        return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}

    def _beside(self) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        for number, module in enumerate(self.learner.modules()):
            found |= {f"{number}.{name}": parameter for name, parameter in module.named_parameters()}
        average = getattr(self.learner, "average", None)
        if average is not None:
            found |= {f"average.{name}": parameter for name, parameter in average.named_parameters()}
        return found


def summary(reads: Sequence[Read], documents: Sequence[Encoded]) -> dict[str, float | None]:
    """Return what readings of documents come to.

    Returns:
        ``hard`` and ``easy``: mean loss of scored tokens that take computation or do not, in nats; ``hard_thoughts``
        and ``easy_thoughts``: mean thoughts before tokens of that kind where thinking is allowed; ``right``: share of
        hard scored tokens with a probability above one half; ``loss``: mean loss of all scored tokens, in nats;
        ``rate``: thoughts in all for each of these. Without such tokens a value is None.
    """
    loss = np.concatenate([-read.logprobs for read in reads])
    thoughts = np.concatenate([read.thoughts for read in reads])
    scored, hard, open_ = (
        np.concatenate([getattr(document, name) for document in documents]) for name in ("scored", "hard", "open")
    )

    def mean(values: np.ndarray, which: np.ndarray) -> float | None:
        return float(values[which].mean()) if which.any() else None

    return {
        "hard": mean(loss, scored & hard),
        "easy": mean(loss, scored & ~hard),
        "hard_thoughts": mean(thoughts, open_ & hard),
        "easy_thoughts": mean(thoughts, open_ & ~hard),
        "loss": mean(loss, scored),
        "rate": float(thoughts.sum() / scored.sum()) if scored.any() else None,
        "right": mean(loss < np.log(2), scored & hard),
    }
