"""Distillation of a run's verified hindsight into a LoRA adapter by TRL: `SFTTrainer` and `DPOTrainer`.

Both see the token ids that the policy saw (`palaestra.trainers.hindsight.pairs`), so neither tokenises anything, and a
text with chat markers in it stays plain characters. The reference of DPO (Rafailov et al., 2023, arXiv 2305.18290) is
the base without the adapter.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from palaestra.agents.models.adapters import stamp
from palaestra.agents.models.sources import ModelSource
from palaestra.envs.errors import PalaestraError, install_command
from palaestra.trainers.hindsight.pairs import Pair, export, pairs_of
from palaestra.trainers.module import lora_fields
from palaestra.trainers.run import open_run

Method = Literal["sft", "dpo"]
METHODS: tuple[Method, ...] = ("sft", "dpo")


@dataclass(frozen=True, slots=True)
class DistillPlan:
    """How pairs become an adapter.

    Attributes:
        method: ``sft`` or ``dpo``.
        epochs: Passes over the pairs. rate: Learning rate. batch: Pairs in a step.
        beta: Of DPO: how strongly the adapter is held to the base.
        seed: Of the adapter's first weights and of the order.
    """

    method: Method
    epochs: float = 3.0
    rate: float = 2e-4
    batch: int = 8
    beta: float = 0.1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Distilled:
    """What came of it.

    Attributes:
        adapter: The PEFT folder. data: The exported files. pairs: How many there were.
        first, last: Loss of the first and of the last step.
    """

    adapter: Path
    data: tuple[Path, ...]
    pairs: int
    first: float
    last: float


def distill(folder: Path, plan: DistillPlan) -> Distilled:
    """Train an adapter on a run's pairs; it lies in ``distilled/METHOD`` in the run's folder, beside the data.

    Raises:
        RunError, ConfigError: It is no run.
        NoPairs: It has no accepted review.
        PalaestraError: TRL is not installed, or the disk is full.
    """
    pairs, codec = pairs_of(folder)
    run = open_run(folder)
    place = run.folder / "distilled"
    data = export(pairs, codec, place)
    source = ModelSource.parse(run.config.model.source)
    if source.adapter_folder() is not None:
        raise PalaestraError(
            f"run {folder} began with an adapter, and what it learned is a change of that; distill runs that begin "
            "with a base."
        )
    if run.config.model.thinking is not None:
        raise PalaestraError(
            f"run {folder} has thinking tokens, which no text of its reviews holds; distill other runs."
        )
    loaded = ModelSource.parse(str(source.base)).load()
    peft, losses = _trained(loaded, lora_fields(run.config), pairs, plan, place)
    part = place / f".{plan.method}"
    shutil.rmtree(part, ignore_errors=True)
    try:
        peft.save_pretrained(str(part))
        stamp(
            part,
            loaded.fingerprint,
            model=str(source.base),
            run=run.config.name,
            distilled=plan.method,
            pairs=len(pairs),
            iteration=run.config.iterations,
            games=[section.model_dump(mode="json") for section in run.config.games],
        )
        shutil.rmtree(place / plan.method, ignore_errors=True)
        part.rename(place / plan.method)
    except OSError as error:
        raise PalaestraError(f"{place} could not be written ({error.strerror or error}); free some space.") from None
    return Distilled(place / plan.method, tuple(data), len(pairs), losses[0], losses[-1])


def _trained(
    loaded: Any, lora: dict[str, Any], pairs: Sequence[Pair], plan: DistillPlan, place: Path
) -> tuple[Any, list[float]]:
    """Return the model with its trained adapter, and the loss of each step."""
    try:
        datasets: Any = importlib.import_module("datasets")
        trl: Any = importlib.import_module("trl")
    except ImportError:
        raise PalaestraError(f"distilling needs TRL; install it with {install_command('distill')}.") from None
    from peft import LoraConfig
    from transformers import AutoTokenizer, PrinterCallback

    tokenizer = AutoTokenizer.from_pretrained(str(loaded.folder))
    common: dict[str, Any] = {
        "output_dir": str(place / ".work"),
        "num_train_epochs": plan.epochs,
        "per_device_train_batch_size": plan.batch,
        "learning_rate": plan.rate,
        "seed": plan.seed,
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1,
        "disable_tqdm": True,
        "bf16": False,
        "activation_checkpointing": False,
        "max_length": None,
        "dataloader_pin_memory": False,
    }
    arguments: dict[str, Any] = {
        "model": loaded.model,
        "processing_class": tokenizer,
        "peft_config": LoraConfig(**lora),
    }
    datasets.disable_progress_bars()
    trainer: Any
    if plan.method == "sft":
        table = [
            {
                "input_ids": [*pair.prompt, *pair.chosen],
                "completion_mask": [0] * len(pair.prompt) + [1] * len(pair.chosen),
            }
            for pair in pairs
        ]
        config = trl.SFTConfig(**common, completion_only_loss=True)
        trainer = trl.SFTTrainer(args=config, train_dataset=datasets.Dataset.from_list(table), **arguments)
    else:

        class Prepared(trl.DPOTrainer):
            """Takes token ids; TRL's own preparation would tokenise texts."""

            def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
                return dataset

        rows = [
            {"prompt_ids": list(one.prompt), "chosen_ids": list(one.chosen), "rejected_ids": list(one.rejected)}
            for one in pairs
        ]
        trainer = Prepared(
            args=trl.DPOConfig(**common, beta=plan.beta),
            train_dataset=datasets.Dataset.from_list(rows),
            **arguments,
        )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    shutil.rmtree(place / ".work", ignore_errors=True)
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return trainer.model, losses
