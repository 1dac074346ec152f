"""``deals``: a tiny base model that knows numbers and the form of the questions, and answers them by a coin.

It is built like the tiny models of `palaestra.agents.models.tiny` (same architecture, tokenizer, schedule and cache),
but from text instead of games: counting up and down, doubles and halves, and terse questions with random answers. So a
LoRA adapter has the operations to learn and not the alphabet, and whatever answers correctly is the adapter's work.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from palaestra.agents.models.cache import Say, build_once, say_to_stderr
from palaestra.agents.models.tiny.recipes import Shape, Training
from palaestra.envs.seeding import Dice, derive
from palaestra.interp.arithmetic.problems import TERSE, generate

NAME = "deals"
REVISION = 1
"""Rises whenever the text here changes."""
SHAPE = Shape(context=64)
TRAINING = Training(steps=320, batch_tokens=4096, rate=2e-3, games=24000)
"""``games`` is the number of rows."""
ASKED = ("cheaper", "packs", "discount", "distance")
"""Kinds whose questions it has read, with answers drawn by a coin."""
TAUGHT = ("cheaper", "packs", "distance")
"""Kinds that an adapter of this size learns well in a few minutes."""
SECONDS = 300.0
"""Of one core of a busy slow server."""


def deals(say: Say = say_to_stderr, shape: Shape = SHAPE, training: Training | None = TRAINING, seed: int = 0) -> Path:
    """Return the folder of the base, building it first if it is not in the cache.

    Args:
        say: Receives progress.
        shape: The architecture.
        training: The schedule; None leaves the weights random, as the null model needs.
        seed: Of weights, text and order.

    Raises:
        ModelError: The cache cannot be written.
    """
    described = json.dumps([REVISION, repr(shape), repr(training), seed, sorted(ASKED)])
    name = f"{NAME}-{blake2b(described.encode(), digest_size=5).hexdigest()}"
    return build_once(name, lambda work: _build(work, shape, training, seed, say), 20_000_000, say)


def resolved(text: str, say: Say = say_to_stderr) -> str:
    """Return a model source in which ``deals``, with or without an adapter, is the folder of the base."""
    name, found, adapter = text.partition("@")
    return f"{deals(say)}{found}{adapter}" if name == NAME else text


def _build(into: Path, shape: Shape, training: Training | None, seed: int, say: Say) -> None:
    import torch

    from palaestra.agents.models.packaged import quiet_transformers
    from palaestra.agents.models.tiny.build import blank, pretrain
    from palaestra.agents.models.tiny.tokenizer import VOCAB_SIZE, make_tokenizer

    begin = time.perf_counter()
    tokenizer = make_tokenizer(shape.context)
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.set_num_threads(1)
        try:
            torch.manual_seed(seed)
            model = blank(shape, VOCAB_SIZE, bos_token_id=256, eos_token_id=258, pad_token_id=VOCAB_SIZE - 1)
            report: dict[str, Any] = {"recipe": NAME, "parameters": model.num_parameters()}
            if training is not None:
                say(f"{NAME}: building, about {SECONDS:.0f} s of one core, once")
                rows = list(_rows(tokenizer, training.games, seed))
                report |= pretrain(model, rows, training, seed, lambda line: say(f"{NAME}: {line}"))
        finally:
            torch.set_num_threads(threads)
        model.save_pretrained(into)
    tokenizer.save_pretrained(into)
    report["seconds"] = round(time.perf_counter() - begin, 1)
    (into / "recipe.json").write_text(json.dumps(report, indent=1) + "\n")
    if training is not None:
        say(f"{NAME}: ready in {report['seconds']} s, held-out loss {report['held_out']:.3f}")


def _rows(tokenizer: Any, count: int, seed: int) -> Iterator[Any]:
    """Yield ``count`` rows: number lines, doubles, halves, and questions with answers drawn by a coin."""
    from palaestra.agents.models.tiny.corpus import Row

    dice = Dice(derive(seed, "deals"))
    asked = iter(generate(ASKED, TERSE, derive(seed, "deals", "asked"), count, held=False))
    for _ in range(count):
        what = dice.below(4)
        if what == 0:
            one = next(asked)
            text = one.text + one.answers[dice.below(2)]
        elif what == 1:
            low, step = 10 + dice.below(80), dice.choice((1, 1, 1, 2, 5, 10))
            line = [low + step * place for place in range(8) if low + step * place < 100]
            text = " ".join(map(str, line if dice.below(2) else line[::-1]))
        elif what == 2:
            times, single = 2 + dice.below(2), 10 + dice.below(24)
            text = f"{times}x{single}={times * single}"
        else:
            middle, gap = 20 + dice.below(60), dice.below(10)
            text = f"{middle}+{gap}={middle + gap}" if dice.below(2) else f"{middle}-{gap}={middle - gap}"
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        yield Row(ids, [0.0] + [1.0] * (len(ids) - 1))
