"""Planted organisms: the module that was changed is known, and what it does.

A rank-1 change of one module is trained to make a token likelier at the end of any text; then all other modules get
random rank-1 changes beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from palaestra.agents.models.sources import ModelSource
from palaestra.envs.seeding import Dice, derive
from palaestra.interp.architecture import anatomy
from palaestra.interp.diff.pair import Pair, adapter_pair, switchable
from palaestra.interp.diff.texts import THINGS, texts
from palaestra.interp.opened import OpenModel
from palaestra.interp.organisms.examples import Example, loss_of
from palaestra.interp.prompts import Prompts


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """A planted organism.

    Attributes:
        pair: Before and after.
        module: Where the change was trained.
        prompts: Texts that training did not see, with the token that was made likelier as answer.
        gained: What it gained in log-probability there, nats.
        seed: By which it was made.
    """

    pair: Pair
    module: str
    prompts: Prompts
    gained: float
    seed: int


def planted(base: str, seed: int, *, steps: int = 60, rate: float = 2e-2, count: int = 32) -> Planted:
    """Train a planted organism, without decoys; module, token and texts are functions of the seed.

    Args:
        base: A model source without an adapter.
        seed: Of everything random.
        steps, rate: Of training, in batches of 16 texts.
        count: Texts that it is measured on.
    """
    from peft import LoraConfig, get_peft_model

    from palaestra.interp.metrics import log_probability

    loaded = ModelSource.parse(base).load()
    dice = Dice(derive(seed, "planted"))
    rows = [row[:32] for row in texts(loaded.source, loaded.codec, 2 * count + 32, seed)]
    learnt, held = rows[count:], rows[:count]
    config = LoraConfig(r=1, lora_alpha=1, target_modules="all-linear", lora_dropout=0.0, init_lora_weights=True)
    torch.manual_seed(seed)
    model = get_peft_model(loaded.model, config)
    layers = {
        name: module
        for name, module in switchable(anatomy(model.get_base_model())).items()
        if hasattr(module, "lora_A")
    }
    chosen = dice.choice(sorted(layers))
    token = (
        97 + dice.below(26) if loaded.source.kind == "tiny" else loaded.codec.encode_untrusted(dice.choice(THINGS))[0]
    )
    for name, module in layers.items():
        module.requires_grad_(False)
        if name == chosen:
            module.lora_A.requires_grad_(True)
            module.lora_B.requires_grad_(True)

    def examples(step: int) -> list[Example]:
        found = []
        for _ in range(16):
            row = learnt[dice.below(len(learnt))]
            end = 4 + dice.below(max(1, len(row) - 5))
            found.append(Example((*row[:end], token), 1))
        return found

    _train(model, examples, steps=steps, rate=rate)
    opened = OpenModel(model, loaded.codec, f"{base}, planted {seed}")
    prompts = Prompts.of(held, [[token]] * len(held))
    pair = adapter_pair(opened, None, "default", base, f"planted {seed}")
    return Planted(pair, chosen, prompts, _gain(pair, prompts, log_probability), seed)


def _train(model: Any, examples: Callable[[int], Sequence[Example]], *, steps: int, rate: float) -> None:
    """Train the parameters that want gradients, in place, at a rate that falls to nothing along a cosine."""
    chosen = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(chosen, lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.eval()  # no dropout, so that an organism is a function of its seed
    for step in range(steps):
        loss = loss_of(model, examples(step), keep=0.2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.requires_grad_(False)


def with_decoys(made: Planted, share: float) -> Planted:
    """Return a planted organism with random rank-1 changes of all other modules, in the same model.

    Args:
        made: The organism; its pair means another model afterwards, for the weights are changed in place.
        share: Frobenius norm of each decoy, as a share of the planted change's; 0 for none.
    """
    opened = made.pair.opened
    layers = {name: module for name, module in switchable(opened.anatomy).items() if hasattr(module, "lora_A")}
    size = float(layers[made.module].get_delta_weight("default").norm())  # type: ignore[operator]
    generator = torch.Generator().manual_seed(derive(made.seed, "decoys") % 2**62)
    with torch.no_grad():
        for name, module in layers.items():
            if name == made.module:
                continue
            one: Any = module
            a, b = one.lora_A["default"].weight, one.lora_B["default"].weight
            a.copy_(torch.randn(a.shape, generator=generator))
            b.copy_(torch.randn(b.shape, generator=generator))
            b.mul_(share * size / one.get_delta_weight("default").norm())
    pair = adapter_pair(opened, None, "default", made.pair.before_name, made.pair.after_name)
    return replace(made, pair=pair)


def _gain(pair: Pair, prompts: Prompts, metric: Any) -> float:
    with pair.before() as opened:
        before = metric(opened(prompts.ids), prompts)
    with pair.after() as opened:
        return float((metric(opened(prompts.ids), prompts) - before).mean())
