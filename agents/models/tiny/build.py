"""Building a recipe: weights from a seed, rows from its corpus, a short pre-training, a model folder in the cache.

Deterministic: equal recipes on equal machines and library versions give equal bytes (threads are fixed, no global
random state is read or left changed). Another machine may round differently and then has another base: compare
fingerprints before an adapter travels.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palaestra.agents.models.cache import ModelError, Say, build_once, model_dir, say_to_stderr
from palaestra.agents.models.tiny.corpus import Row, write_corpus
from palaestra.agents.models.tiny.recipes import Recipe, Shape, Training, recipe
from palaestra.agents.models.tiny.search import REVISION as SEARCHES
from palaestra.agents.models.tiny.search import write_traces
from palaestra.agents.models.tiny.tokenizer import VOCAB_SIZE, make_tokenizer
from palaestra.agents.tokens import TokenizerCodec
from palaestra.envs import entry
from palaestra.envs.errors import install_command

if TYPE_CHECKING:
    import torch

REVISION = 6
"""Rises whenever the code here, the tokenizer or the questions change what a recipe builds."""
_THREADS = 1  # two would be faster alone, but wait for each other on a busy machine (seen: 20 times slower)
_NEEDS_BYTES = 20_000_000
_SPREAD = 0.06  # of the initial weights; transformers' 0.02 suits widths ten times this one and starts much slower
_PAD = VOCAB_SIZE - 1
_LINE = 256  # tokens; rows are packed into lines of this length (a longer row gets a line to itself)


def folder(name: str) -> Path:
    """Return where the model of a recipe is or would be: its name holds the recipe's hash.

    Raises:
        UnknownName: No such recipe.
    """
    return model_dir(_cache_name(recipe(name)))


def _cache_name(one: Recipe) -> str:
    games = [
        [mix.game, getattr(entry(mix.game).load(), "version", 0), dict(mix.options), mix.share]
        + ([mix.fresh] if mix.fresh else [])
        + ([list(mix.seats)] if mix.seats else [])
        + ([mix.visibility] if mix.visibility else [])
        + ([["told", mix.told]] if mix.told else [])
        for mix in one.corpus
    ]
    training = None if one.training is None else asdict(one.training)
    described = [REVISION, one.name, asdict(one.shape), training, one.seed, games]
    if one.traces:
        described.append([one.traces, SEARCHES])
    text = json.dumps(described, sort_keys=True)
    return f"tiny-{one.name}-{blake2b(text.encode(), digest_size=5).hexdigest()}"


def build(name: str, say: Say = say_to_stderr) -> Path:
    """Return the folder of a recipe's model, building it first if it is not there.

    Raises:
        UnknownName: No such recipe.
        ModelError: PyTorch is missing, or the cache cannot be written.
    """
    one = recipe(name)
    return build_once(_cache_name(one), lambda work: _build(one, work, say), _NEEDS_BYTES, say)


def _build(one: Recipe, into: Path, say: Say) -> None:
    try:
        import torch
    except ImportError as error:
        raise ModelError(f"tiny models need PyTorch and transformers; run `{install_command('train')}`.") from error
    from palaestra.agents.models.packaged import quiet_transformers

    start = time.perf_counter()
    tokenizer = make_tokenizer(one.shape.context)
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.set_num_threads(_THREADS)
        try:
            torch.manual_seed(one.seed)
            model = blank(one.shape, VOCAB_SIZE, bos_token_id=256, eos_token_id=258, pad_token_id=_PAD)
            report: dict[str, Any] = {"recipe": f"tiny:{one.name}", "parameters": model.num_parameters()}
            if one.training is not None:
                say(f"tiny:{one.name}: building, about {one.seconds:.0f} s of one core, once")
                rows = list(_rows(one, TokenizerCodec(tokenizer), one.training.games))
                report |= pretrain(model, rows, one.training, one.seed, lambda line: say(f"tiny:{one.name}: {line}"))
        finally:
            torch.set_num_threads(threads)
        model.save_pretrained(into)
    tokenizer.save_pretrained(into)
    report["seconds"] = round(time.perf_counter() - start, 1)
    (into / "recipe.json").write_text(json.dumps(report, indent=1) + "\n")
    if one.training is not None:
        say(f"tiny:{one.name}: ready in {report['seconds']} s, held-out loss {report['held_out']:.3f}")


def _rows(one: Recipe, codec: TokenizerCodec, count: int) -> Iterator[Row]:
    if one.traces is not None:
        return write_traces(one.traces, codec, count, one.seed)
    return write_corpus(one.corpus, codec, count, one.seed)


def blank(shape: Shape, vocabulary: int, **ids: Any) -> Any:
    """Return a small Llama with weights from torch's generator.

    Args:
        shape: Its architecture.
        vocabulary: Tokens that it knows.
        **ids: Of special tokens, as `LlamaConfig` names them.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        initializer_range=_SPREAD,
        **ids,
    )
    return LlamaForCausalLM(config)


def pretrain(model: Any, rows: Sequence[Row], training: Training, seed: int, say: Say) -> dict[str, Any]:
    """Train ``model`` on nineteen twentieths of ``rows``; return tokens seen and the held-out loss.

    The held-out loss is the mean over tokens of weight 1, which are replies and answers.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(rows), generator=generator).tolist()
    held = [rows[index] for index in order[: len(rows) // 20]]
    kept = [rows[index] for index in order[len(rows) // 20 :]]
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, training.steps))
    lines = max(1, training.batch_tokens // _LINE)
    batches = _endless(kept, lines, generator)
    model.train()
    tokens = 0
    start = shown = time.monotonic()
    for step in range(training.steps):
        batch = next(batches)
        # one divisor for all batches, so that a token counts the same whatever it is batched with
        loss = (_losses(model, batch) * batch.weights).sum() / (training.batch_tokens / 2)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        tokens += int((batch.document > 0).sum())
        if time.monotonic() - shown >= 5:
            shown = time.monotonic()
            left = (shown - start) / (step + 1) * (training.steps - step - 1)
            say(f"step {step + 1} of {training.steps}, {left:.0f} s left")
    model.eval()
    return {"tokens": tokens, "rows": len(rows), "held_out": _held_out(model, held, lines)}


def _rate(step: int, steps: int) -> float:
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows packed into B lines of T tokens, several a line, each seeing only itself.

    ids, document, position: int64[B, T]; document 0 is padding, 1, 2, ... are the rows of a line. weights: float32[B,
    T], of the
    loss of predicting the *next* token.
    """

    ids: torch.Tensor
    document: torch.Tensor
    position: torch.Tensor
    weights: torch.Tensor


def _pack(rows: Sequence[Row], lines: int) -> Iterator[_Batch]:
    """Yield the rows in the given order, as many to a line as fit; each batch has ``lines`` lines but the last."""
    import torch

    def finish(packed: list[list[Row]]) -> _Batch:
        length = max(_LINE, max(sum(len(row.ids) for row in line) for line in packed))
        ids, document, position = (torch.full((len(packed), length), value) for value in (_PAD, 0, 0))
        weights = torch.zeros(len(packed), length)
        for number, line in enumerate(packed):
            start = 0
            for which, row in enumerate(line, 1):
                end = start + len(row.ids)
                ids[number, start:end] = torch.tensor(row.ids)
                document[number, start:end] = which
                position[number, start:end] = torch.arange(len(row.ids))
                weights[number, start : end - 1] = torch.tensor(row.weights[1:])
                start = end
        return _Batch(ids, document, position, weights)

    packed: list[list[Row]] = [[]]
    room = _LINE
    for row in rows:
        if len(row.ids) > room and packed[-1]:
            if len(packed) == lines:
                yield finish(packed)
                packed = []
            packed.append([])
            room = _LINE
        packed[-1].append(row)
        room -= len(row.ids)
    yield finish(packed)


def _losses(model: Any, batch: _Batch) -> torch.Tensor:
    """Return float32[B, T], in nats, of predicting the next token; 0 at the last."""
    import torch

    length = batch.ids.shape[1]
    same = batch.document[:, None, :, None] == batch.document[:, None, None, :]  # [B, 1, T, T]
    mask = same & torch.ones(length, length, dtype=torch.bool).tril()
    logits = model(input_ids=batch.ids, attention_mask=mask, position_ids=batch.position, use_cache=False).logits
    following = torch.nn.functional.pad(batch.ids[:, 1:], (0, 1), value=-100)
    losses: torch.Tensor = torch.nn.functional.cross_entropy(logits.transpose(1, 2), following, reduction="none")
    return losses


def _held_out(model: Any, rows: Sequence[Row], lines: int) -> float:
    import torch

    total = count = 0.0
    with torch.no_grad():
        for batch in _pack(rows, lines):
            sampled = (batch.weights == 1).float()
            total += float((_losses(model, batch) * sampled).sum())
            count += float(sampled.sum())
    return total / max(1.0, count)


def _endless(rows: Sequence[Row], lines: int, generator: torch.Generator) -> Iterator[_Batch]:
    """Yield batches for ever; every epoch has its own order."""
    import torch

    while True:
        order = torch.randperm(len(rows), generator=generator).tolist()
        yield from _pack([rows[index] for index in order], lines)
