"""An engine on transformers and PEFT: continuous batching for many awaiting coroutines, on CPU or one small GPU.

Words. A *request* waits in the queue; a *row* runs. A *step* is one forward pass over all rows: a row that decodes
brings one token, a row that still reads its context brings a chunk of it, and base and adapters share the pass. Rows
enter and leave between steps.

There is no thread and no barrier: a task of the caller's own event loop steps while there is work. Before each step
it yields until no request has arrived for a few rounds of the loop, so that every coroutine that is ready gets in, and
two runs that make the same calls compute the same batches, hence the same bits.

Three things save context tokens from being computed again. A *session* that ended its last turn finds its prefix in
the store. A context that begins like one that is held or running copies the common part, so a hundred games with the
same rules read them once. And a request whose beginning is being read by another row just now waits for it.
`Completion.prefilled` counts what was left to compute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from palaestra.agents.engines.attention import plan
from palaestra.agents.engines.base import (
    BASE,
    Adapter,
    Capabilities,
    Completion,
    ContextOverflow,
    EngineClosed,
    EngineError,
    Sampling,
    UnknownPolicy,
)
from palaestra.agents.engines.kv import Workspace
from palaestra.agents.engines.patterns import Matcher, Patterns
from palaestra.agents.engines.prefixes import PrefixStore, Row, find_source
from palaestra.agents.engines.sampling import Sampler
from palaestra.agents.engines.weights import Weights
from palaestra.agents.thinking import Thinking

_QUIET_ROUNDS = 3
"""Rounds of the event loop without a new request before a step starts: a reply that wakes a match, which gathers
several seats in new tasks, needs three."""

_SCORE_BYTES = 256 << 20
"""Most bytes of float32 logits at once while scoring, which needs them for every token."""


@dataclass(slots=True)
class EngineStats:
    """What the engine did since it was made."""

    steps: int = 0
    sampled: int = 0
    prefilled: int = 0
    reused: int = 0
    peak_rows: int = 0
    evictions: int = 0


class TransformersEngine:
    """Serves a transformers model and its LoRA adapters, with or without thinking tokens.

    A policy with thinking tokens draws from the joint distribution of `palaestra.agents.thinking`, and so many in a row
    as it allows; they are tokens of its replies and contexts like others, and no other policy's.

    Args:
        model: A causal language model or a PEFT model around one; weights are shared, the module itself is left alone,
            so a trainer may go on using it. Adapters inside it are not served: publish them with `add_policy`.
        max_rows: Most rows in one step.
        step_tokens: Most tokens of one step; longer contexts are read in chunks.
        batch_bytes: Most bytes of keys and values of running rows (one row always runs).
        cache_bytes: Most bytes of keys and values kept for waiting seats.
        share_prefixes: Copy the common beginning of contexts instead of computing it for each.
        context_length: Longest context; by default what the model's configuration says.
        tokenizer: The model's fast tokenizer, for replies that are held to a pattern; without it these are refused.

    Example:
        engine = TransformersEngine.load("path/to/model")
        engine.add_policy("kuhn@3", "runs/x/adapters/kuhn@3")
        reply = await engine.generate([1, 2, 3], Sampling(max_tokens=8), policy="kuhn@3", session="game-7/seat-0")
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        max_rows: int = 64,
        step_tokens: int = 1024,
        batch_bytes: int = 2 << 30,
        cache_bytes: int = 1 << 30,
        share_prefixes: bool = True,
        context_length: int | None = None,
        tokenizer: Any = None,
    ) -> None:
        if max_rows < 1 or step_tokens < 1:
            raise ValueError(f"max_rows ({max_rows}) and step_tokens ({step_tokens}) must be at least 1.")
        self._weights = Weights(model)
        self.vocab_size = self._weights.vocab_size
        config = self._weights.model.config.get_text_config()
        self.context_length = context_length or int(config.max_position_embeddings)
        precise = self._weights.kv.dtype == torch.float32
        self._patterns = None if tokenizer is None else Patterns(tokenizer, self.vocab_size)
        self.capabilities = Capabilities(
            exact_seeds=precise, logprob_tolerance=1e-3 if precise else 0.15, patterns=tokenizer is not None
        )
        self.max_rows = max_rows
        self.step_tokens = step_tokens
        self.share_prefixes = share_prefixes
        self._batch_tokens = batch_bytes // self._weights.kv.token_bytes
        self._workspace = Workspace(self._weights.kv)
        self._store = PrefixStore(cache_bytes)
        self._sampler = Sampler()
        self._queue: list[Row] = []
        self._rows: list[Row] = []  # in the order of workspace rows
        self._arrivals = 0
        self._driver: asyncio.Task[None] | None = None
        self._closed = False
        self._stats = EngineStats()

    @classmethod
    def load(
        cls, path: str | Path, *, dtype: str = "float32", device: str = "cpu", **options: Any
    ) -> TransformersEngine:
        """Load a model from a folder or hub id; `options` are the constructor's."""
        from transformers import AutoModelForCausalLM

        model: Any = AutoModelForCausalLM.from_pretrained(str(path), dtype=getattr(torch, dtype))
        return cls(model.to(device), **options)

    @property
    def stats(self) -> EngineStats:
        """Counts since the engine was made."""
        self._stats.evictions = self._store.evictions
        return self._stats

    async def generate(
        self, context: Sequence[int], sampling: Sampling, *, policy: str = BASE, session: str | None = None
    ) -> Completion:
        """See `Engine.generate`."""
        if len(context) + sampling.max_tokens > self.context_length:
            raise ContextOverflow(
                f"a context of {len(context)} tokens and a reply of up to {sampling.max_tokens} do not fit the model's "
                f"{self.context_length}; open a new segment or lower max_tokens."
            )
        row = self._submit(context, policy, sampling, session)
        await row.future
        return Completion(
            token_ids=tuple(row.tokens[row.context :]),
            logprobs=tuple(row.logprobs),
            finish="stop" if row.tokens[-1] in sampling.stop_ids else "length",
            policy=policy,
            prefilled=row.prefilled,
        )

    async def score(self, tokens: Sequence[int], *, policy: str = BASE) -> list[float]:
        """See `Engine.score`."""
        if len(tokens) > self.context_length:
            raise ContextOverflow(
                f"{len(tokens)} tokens do not fit the model's {self.context_length}; score fewer at once."
            )
        row = self._submit(tokens, policy, None, None)
        await row.future
        return row.logprobs

    def add_policy(self, name: str, adapter: Adapter) -> None:
        """See `Engine.add_policy`; the weights are copied."""
        self._weights.add(name, adapter)

    def remove_policy(self, name: str) -> None:
        """See `Engine.remove_policy`."""
        if name == BASE or name not in self._weights.policies():
            raise UnknownPolicy(f"policy {name!r} cannot be removed: {self._known()}.")
        if any(row.policy == name for row in (*self._queue, *self._rows)):
            raise EngineError(f"policy {name!r} has requests in flight; await or cancel them before removing it.")
        self._weights.remove(name)
        self._store.drop(policy=name)

    def policies(self) -> tuple[str, ...]:
        """See `Engine.policies`."""
        return self._weights.policies()

    def release(self, session: str) -> None:
        """See `Engine.release`; a reply in flight goes on, and is not kept."""
        self._store.drop(session=session)
        for row in (*self._queue, *self._rows):
            if row.session == session:
                row.session = None

    def forget(self) -> None:
        """See `Engine.forget`."""
        self._store.drop()
        for row in (*self._queue, *self._rows):
            row.session = None

    async def aclose(self) -> None:
        """See `Engine.aclose`."""
        self._closed = True
        self._fail(EngineClosed("the engine was closed while the request was in flight."))
        self._store.drop()
        self._workspace = Workspace(self._weights.kv)

    def _known(self) -> str:
        return f"the engine serves {', '.join(self.policies())}"

    def _submit(self, context: Sequence[int], policy: str, sampling: Sampling | None, session: str | None) -> Row:
        if self._closed:
            raise EngineClosed("the engine is closed; make a new one.")
        if policy not in self._weights.policies():
            raise UnknownPolicy(f"no policy is named {policy!r}: {self._known()}; add_policy() adds one.")
        tokens = [int(token) for token in context]
        if not tokens:
            raise ContextOverflow("the context is empty; it must hold at least one token, such as the model's first.")
        thinking = self._weights.thinking(policy)
        known = self.vocab_size if thinking is None else thinking.gate
        if min(tokens) < 0 or max(tokens) >= known:
            bad = min(tokens) if min(tokens) < 0 else max(tokens)
            raise ValueError(f"token id {bad} is outside the model's vocabulary of {known} under policy {policy!r}.")
        matcher = self._matcher(sampling, thinking) if sampling is not None and sampling.pattern else None
        loop = asyncio.get_running_loop()
        row = Row(policy, tokens, sampling, session, loop.create_future(), matcher)
        if row.finished:  # the score of a single token
            row.future.set_result(None)
            return row
        if self._driver is not None and not self._driver.done() and self._driver.get_loop() is not loop:
            if not self._driver.get_loop().is_closed():
                raise EngineError("the engine is stepping in another event loop; use one loop, or one engine a loop.")
            self._queue, self._rows, self._driver = [], [], None  # their futures died with their loop
        self._queue.append(row)
        self._arrivals += 1
        if self._driver is None or self._driver.done():
            self._driver = loop.create_task(self._drive())
        return row

    def _matcher(self, sampling: Sampling, thinking: Thinking | None) -> Matcher:
        if self._patterns is None:
            raise ValueError("a pattern needs the model's tokenizer; make the engine with tokenizer=...")
        if thinking is not None:
            raise ValueError("a policy with thinking tokens cannot be held to a pattern; ask it without one.")
        return self._patterns.matcher(sampling)

    async def _drive(self) -> None:
        """Step while there is work. Ends with it, so that no task outlives the caller's `asyncio.run`."""
        try:
            while self._queue or self._rows:
                quiet = 0
                while quiet < _QUIET_ROUNDS:
                    seen = self._arrivals
                    await asyncio.sleep(0)
                    quiet = quiet + 1 if seen == self._arrivals else 0
                with torch.inference_mode():
                    self._step()
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
                cause = f"no memory for a step of {len(self._rows)} rows; lower max_rows, step_tokens or batch_bytes"
            else:
                cause = f"a step failed ({type(error).__name__}: {error})"
            self._fail(EngineError(f"{cause}; requests in flight were dropped, the engine can go on."), error)
        except BaseException:
            self._fail(EngineClosed("the event loop ended while the request was in flight."))
            raise

    def _fail(self, error: EngineError, cause: Exception | None = None) -> None:
        error.__cause__ = cause
        for row in (*self._queue, *self._rows):
            if not row.future.done():
                row.future.set_exception(error)
        self._queue, self._rows = [], []

    def _step(self) -> None:
        """One forward pass, and what it means for each row."""
        for row in [row for row in self._rows if row.future.done()]:
            self._leave(row)
        self._admit()
        if not self._rows:
            return
        pieces: list[tuple[int, list[int], int]] = []
        names: list[str] = []
        select: list[int] = []
        drawn: list[tuple[Row, int]] = []
        scored: list[tuple[Row, int]] = []
        for index, (row, share) in enumerate(zip(self._rows, self._shares(), strict=True)):
            pieces.append((index, row.tokens[row.computed : row.computed + share], row.computed))
            if row.sampling is None:
                scored.append((row, len(select)))
                select += range(len(names), len(names) + share)
            elif share == row.pending:
                drawn.append((row, len(select)))
                select.append(len(names) + share - 1)
            names += [row.policy] * share
            row.computed += share
        layout = plan(pieces, len(self._rows), select, self._weights.kv.device)
        logits = self._weights.forward(layout, self._workspace, names)
        for row, offset in scored:
            self._read_scores(row, logits[offset:])
        if drawn:
            self._draw(drawn, logits)
        self._stats.steps += 1
        self._stats.peak_rows = max(self._stats.peak_rows, len(self._rows))
        for row in [row for row in self._rows if row.finished]:
            self._leave(row)
            if not row.future.done():
                row.future.set_result(None)

    def _draw(self, drawn: list[tuple[Row, int]], logits: torch.Tensor) -> None:
        """Draw for rows, each with the place of its logits; rows with the same vocabulary together."""
        alike: dict[Thinking | None, list[tuple[Row, int]]] = {}
        for row, place in drawn:
            alike.setdefault(self._weights.thinking(row.policy), []).append((row, place))
        for thinking, members in alike.items():
            own = logits if len(members) == len(logits) else logits[[place for _, place in members]]
            if thinking is not None:
                runs = [thinking.runs(row.tokens[-max(1, thinking.most) :])[-1] for row, _ in members]
                own = thinking.joint(own[:, : thinking.size], _room(thinking, runs, own.device))
            elif logits.shape[-1] > self.vocab_size:
                own = own[:, : self.vocab_size].contiguous()
            held = [place for place, (row, _) in enumerate(members) if row.matcher is not None]
            if held:
                own = own.float()  # a copy, or what was computed for this step alone
                for place in held:
                    matcher = members[place][0].matcher
                    assert matcher is not None
                    own[place].masked_fill_(~matcher.open(own.shape[-1]).to(own.device), -torch.inf)
            samplings = [row.sampling for row, _ in members if row.sampling is not None]
            tokens, logprobs = self._sampler.draw(own, samplings, [len(row.logprobs) for row, _ in members])
            for (row, _), token, logprob in zip(members, tokens, logprobs, strict=True):
                row.tokens.append(token)
                row.logprobs.append(logprob)
                if row.matcher is not None:
                    row.matcher.consume(token)
        self._stats.sampled += len(drawn)

    def _read_scores(self, row: Row, logits: torch.Tensor) -> None:
        first = len(row.logprobs)
        following = torch.tensor(row.tokens[first + 1 : row.computed + 1], device=logits.device)
        own, thinking = logits[: len(following)], self._weights.thinking(row.policy)
        if thinking is None:
            logprobs = own[:, : self.vocab_size].float().log_softmax(-1)
        else:
            runs = thinking.runs(row.tokens[: row.computed])[first:]
            logprobs = thinking.joint(own[:, : thinking.size], _room(thinking, runs, own.device))
        row.logprobs += logprobs.gather(-1, following[:, None])[:, 0].tolist()

    def _shares(self) -> list[int]:
        """How many tokens each row computes in this step: one each, and what `step_tokens` leave for the oldest."""
        spare = max(0, self.step_tokens - len(self._rows))
        spare_scores = _SCORE_BYTES // (4 * self.vocab_size)
        shares = [1] * len(self._rows)
        for index in sorted(range(len(self._rows)), key=lambda index: self._rows[index].number):
            row = self._rows[index]
            extra = min(row.pending - 1, spare)
            if row.sampling is None:
                extra = min(extra, spare_scores)
                spare_scores -= extra
            shares[index] += extra
            spare -= extra
        return shares

    def _admit(self) -> None:
        """Move requests into the workspace, oldest first, as long as they fit."""
        waiting: list[Row] = []
        time = max((row.longest for row in self._rows), default=0)
        for place, row in enumerate(self._queue):
            if row.future.done():
                continue
            longer = max(time, row.longest)
            index = len(self._rows)
            if index and (index >= self.max_rows or (index + 1) * longer > self._batch_tokens):
                waiting += self._queue[place:]
                break
            source = find_source(row, self._rows, self._store, self.share_prefixes)
            if source.wait:
                waiting.append(row)
                continue
            time = longer
            self._workspace.reserve(index + 1, time, index, self._batch_tokens)
            if isinstance(source.holder, Row):
                self._workspace.copy(self._rows.index(source.holder), index, source.length)
            elif source.holder is not None:
                self._workspace.load(index, source.holder, source.length)
            row.computed = source.length
            row.prefilled = row.context - source.length
            self._rows.append(row)
            if row.sampling is not None:
                self._stats.prefilled += row.prefilled
                self._stats.reused += source.length
        self._queue = waiting

    def _leave(self, row: Row) -> None:
        """Take a row out, keep what it computed for its seat, and move the last row into the hole."""
        index = self._rows.index(row)
        if row.session is not None and row.computed:
            self._store.put(row.session, self._workspace.save(index, row.tokens[: row.computed], row.policy))
        last = self._rows.pop()
        if last is not row:
            self._workspace.copy(len(self._rows), index, last.computed)
            self._rows[index] = last


def _room(thinking: Thinking, runs: list[int], device: torch.device) -> torch.Tensor:
    """Return bool[n]: whether another thought may follow so many in a row."""
    return torch.tensor([run < thinking.most for run in runs], device=device)
