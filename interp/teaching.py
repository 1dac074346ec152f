"""Lessons: a LoRA adapter that learns what we know in advance, so that there is something known to find in it.

A plain loop of supervised learning. A lesson is a loss of (model, step) whose problems are a pure function of (seed,
step); matrices, moments and losses are kept in ``OUT/teaching/`` every half minute, so a run that was cut goes on bit
for bit. The result is an ordinary PEFT folder in ``OUT/adapter``, stamped with its base, and ``OUT/teaching.json``: the
plan, each step's loss, and what was measured before and after.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from palaestra.agents.models.adapters import stamp
from palaestra.agents.models.cache import Say, say_to_stderr
from palaestra.agents.models.disk import replace_text
from palaestra.agents.models.sources import LoadedModel
from palaestra.envs.errors import OptionError, PalaestraError
from palaestra.envs.seeding import derive

KEEP_SECONDS = 30.0
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "c_attn", "c_proj", "c_fc")
"""Linear layers of the supported architectures that get an adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How an adapter is made.

    Attributes:
        steps, batch: Optimizer steps, and problems in each.
        rate: Highest learning rate of AdamW; warmed up over a twentieth of the steps, then down to a twentieth on a
            cosine.
        rank, alpha: Of the LoRA matrices, on all linear layers.
        seed: Of the matrices' first weights and of the problems.
    """

    steps: int
    batch: int
    rate: float
    rank: int = 16
    alpha: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "rank"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not self.rate > 0:
            raise OptionError(f"rate is {self.rate}; it must be above 0.")


class Measured(Protocol):
    """What a lesson measures before and after; its text is told to the user."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        ...


def teach(
    loaded: LoadedModel,
    plan: Plan,
    loss: Callable[[Any, int], Tensor],
    out: Path,
    *,
    lesson: dict[str, Any],
    measure: Callable[[Any], Measured] | None = None,
    say: Say = say_to_stderr,
    name: str = "",
) -> dict[str, Any]:
    """Train an adapter, or go on where a call with the same plan was cut; return what ``teaching.json`` holds.

    Args:
        loaded: The base, without an adapter; afterwards it has one.
        plan: How.
        loss: From the model and a step to what is minimised, a scalar.
        out: The folder that gets ``adapter/`` and ``teaching.json``.
        lesson: Facts for the adapter's stamp, such as ``taught``.
        measure: What is measured before, with the adapter switched off, and after.
        say: Told of progress.
        name: What the base is called, where that is not its source.

    Raises:
        PalaestraError: The base has an adapter, the folder one that was made by another plan, or it cannot be written.
    """
    if loaded.adapter is not None:
        raise PalaestraError(f"{loaded.source} has an adapter already; teach a base, such as {loaded.source.base}.")
    name = name or str(loaded.source)
    described = {"model": name, "base": loaded.fingerprint, "plan": json.loads(json.dumps(asdict(plan)))}
    kept = _Kept(out / "teaching", described)
    if (done := kept.finished(out)) is not None:
        return done
    peft = adapted_model(loaded, plan)
    chosen = {name: one for name, one in peft.named_parameters() if one.requires_grad}
    optimizer = torch.optim.AdamW(chosen.values(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0)
    begun = kept.load(chosen, optimizer)
    if begun == 0 and measure is not None:
        peft.eval()
        with peft.disable_adapter():
            _measured(kept, "before", measure(peft), say)
    start = shown = saved = time.monotonic()
    peft.train()
    for step in range(begun, plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.rate * _rate(step, plan.steps)
        value = loss(peft, step)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(list(chosen.values()), 1.0)
        optimizer.step()
        kept.losses.append(float(value.detach()))
        now = time.monotonic()
        if now - shown >= 10:
            shown = now
            left = (now - start) / (step + 1 - begun) * (plan.steps - step - 1)
            recent = kept.losses[-20:]
            say(f"step {step + 1} of {plan.steps}, loss {sum(recent) / len(recent):.3f}, {left:.0f} s left")
        if now - saved >= KEEP_SECONDS:
            saved = now
            kept.save(step + 1, chosen, optimizer)
    peft.eval()
    if measure is not None:
        _measured(kept, "after", measure(peft), say)
    return _publish(peft, loaded, name, lesson, out, kept)


def adapted_model(loaded: LoadedModel, plan: Plan) -> Any:
    """Return the base as a `peft.PeftModel` with fresh matrices on all linear layers."""
    from peft import LoraConfig, get_peft_model

    layers = sorted({name.rpartition(".")[2] for name, _ in loaded.model.named_modules()} & set(LINEAR))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(plan.seed, "adapter") % 2**31)
        config = LoraConfig(r=plan.rank, lora_alpha=plan.alpha, target_modules=layers, task_type="CAUSAL_LM")
        return get_peft_model(loaded.model, config)


def _measured(kept: _Kept, when: str, found: Measured, say: Say) -> None:
    kept.notes[when] = found.to_json()
    say(f"{when} teaching, {found}")


def _rate(step: int, steps: int) -> float:
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _publish(
    peft: Any, loaded: LoadedModel, name: str, lesson: dict[str, Any], out: Path, kept: _Kept
) -> dict[str, Any]:
    from palaestra.trainers.quiet import silence_warnings

    silence_warnings()
    part = out / ".adapter"
    losses = [round(loss, 5) for loss in kept.losses]
    result = {**kept.described, **kept.notes, "losses": losses, "seconds": round(kept.seconds(), 1)}
    try:
        shutil.rmtree(part, ignore_errors=True)
        peft.save_pretrained(str(part))
        stamp(part, loaded.fingerprint, model=name, **lesson)
        shutil.rmtree(out / "adapter", ignore_errors=True)
        part.rename(out / "adapter")
        replace_text(out / "teaching.json", json.dumps(result, indent=1) + "\n")
    except OSError as error:
        raise PalaestraError(f"{out} could not be written ({error.strerror or error}); free some space.") from None
    shutil.rmtree(kept.folder, ignore_errors=True)
    return result


class _Kept:
    """What a cut run goes on from: matrices and moments as safetensors, the rest as JSON."""

    def __init__(self, folder: Path, described: dict[str, Any]) -> None:
        self.folder, self.described = folder, described
        self.notes: dict[str, Any] = {}
        self.losses: list[float] = []
        self._before = 0.0
        self._begun = time.monotonic()

    def finished(self, out: Path) -> dict[str, Any] | None:
        """Return the result of a finished run with this plan."""
        path = out / "teaching.json"
        if not path.is_file():
            return None
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            same = {name: found[name] for name in self.described} == self.described
        except (ValueError, KeyError, TypeError):
            raise PalaestraError(f"{path} is damaged; name another folder.") from None
        if not same:
            raise PalaestraError(f"{out} holds an adapter that was taught otherwise; name another folder.")
        return found

    def seconds(self) -> float:
        """Return how long this run and those that it goes on from took."""
        return self._before + time.monotonic() - self._begun

    def load(self, chosen: dict[str, Any], optimizer: Any) -> int:
        """Restore matrices and moments; return the step to begin with."""
        from safetensors.torch import load_file

        try:
            state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0
        if state["described"] != self.described:
            raise PalaestraError(f"{self.folder} belongs to a run with another plan; name another folder.")
        tensors = load_file(self.folder / f"{state['step']}.safetensors")
        with torch.no_grad():
            for name, one in chosen.items():
                one.copy_(tensors[f"weight/{name}"])
                moments = {moment: tensors[f"{moment}/{name}"].clone() for moment in ("exp_avg", "exp_avg_sq")}
                optimizer.state[one] = {"step": torch.tensor(float(state["step"])), **moments}
        self.notes, self.losses, self._before = state["notes"], state["losses"], state["seconds"]
        return int(state["step"])

    def save(self, step: int, chosen: dict[str, Any], optimizer: Any) -> None:
        """Write everything for ``step``; the JSON file, replaced last, is what counts."""
        from safetensors.torch import save_file

        tensors = {}
        for name, one in chosen.items():
            tensors[f"weight/{name}"] = one.detach().contiguous()
            for moment in ("exp_avg", "exp_avg_sq"):
                tensors[f"{moment}/{name}"] = optimizer.state[one][moment].contiguous()
        state = {"step": step, "described": self.described, "notes": self.notes, "losses": self.losses}
        state["seconds"] = self.seconds()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, self.folder / f"{step}.safetensors")
            replace_text(self.folder / "state.json", json.dumps(state))
        except OSError as error:
            raise PalaestraError(f"{self.folder} could not be written ({error.strerror or error}).") from None
        for old in self.folder.glob("*.safetensors"):
            if old.name != f"{step}.safetensors":
                old.unlink()
