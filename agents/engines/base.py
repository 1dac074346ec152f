"""The engine contract: token ids in, token ids and log-probabilities out, for a named policy version.

Words. A *policy* is the frozen base model, named `BASE`, or the base with one LoRA adapter, named by an immutable
version such as `negotiation@17`. A *context* is everything the model has read so far, as token ids. A *session* names
one seat's growing context: the next call's context begins with the previous context and reply, so an engine may keep
that row's KV cache between turns and compute only what is new. *Prefill* is that computing of context tokens.

Invariants, each a clause of `palaestra.agents.engines.conformance`:

* A reply is a function of (weights of the policy, context, sampling) alone: not of what else is in the batch, not of
  the session, up to near-ties of floating point.
* A stored log-probability is the policy's own: of the tempered distribution that the token was drawn from, or of the
  untempered one at temperature 0. Hence no top-k and no top-p: they would sample from another distribution than the
  one the learner can compute.
* A policy name means one set of weights for ever. Caches are keyed by (policy, session), so a new version never reads
  keys and values of an old one.
* A session only saves time. Lost, evicted or contradicted by the next context, it changes `prefilled` and nothing else.

Knows nothing of text, games or training, and imports no torch, so that anything may import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from palaestra.envs.errors import PalaestraError

if TYPE_CHECKING:
    from pathlib import Path

BASE = "base"
"""Name of the frozen base model: the policy without an adapter."""

Adapter: TypeAlias = "str | Path | tuple[Any, dict[str, Any]] | tuple[Any, dict[str, Any], Any]"
"""A PEFT folder, or (`peft.LoraConfig`, state dict as `peft.get_peft_model_state_dict` returns it), and with thinking
tokens also their `palaestra.agents.thinking.Thinking`."""


class EngineError(PalaestraError):
    """An engine cannot do what was asked of it."""


class AdapterError(EngineError, ValueError):
    """An adapter does not fit the base, contradicts an earlier one of its name, or is not what the engine serves."""


class UnknownPolicy(EngineError, LookupError):
    """A request names a policy that the engine does not hold."""


class ContextOverflow(EngineError, ValueError):
    """Context and reply together do not fit the model; nothing was computed."""


class EngineClosed(EngineError, RuntimeError):
    """The engine was closed, or its stepping loop failed, while or before the request ran."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one reply is drawn.

    Args:
        max_tokens: Most tokens of the reply, at least 1; a stop token counts.
        temperature: Divides the logits; 0 is greedy.
        seed: Key of the noise. Equal (policy, context, sampling) give equal replies; give every turn its own.
        stop_ids: A sampled token among these ends the reply and is part of it.
        pattern: A regular expression that the whole reply matches, its stop token aside, unless `max_tokens` cut it;
            drawn from the tokens that can still lead to a match, and so are the log-probabilities. Empty for none.
    """

    max_tokens: int
    temperature: float = 1.0
    seed: int = 0
    stop_ids: tuple[int, ...] = ()
    pattern: str = ""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}, but a reply has at least 1 token.")
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}, but it must be finite and at least 0 (0 is greedy).")


@dataclass(frozen=True, slots=True)
class Completion:
    """One reply and what it took.

    Args:
        token_ids: The sampled tokens, the stop token included.
        logprobs: One natural log-probability per token, of the distribution it was drawn from (untempered if greedy).
        finish: `stop` when a stop token ended the reply, `length` when `max_tokens` did.
        policy: The policy version that produced it.
        prefilled: Context tokens computed for this call; a session that held its cache shows the new suffix only.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]
    policy: str
    prefilled: int


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine states about itself; the conformance suite reports what it could not demand.

    Args:
        exact_seeds: A seeded reply does not depend on the batch it was computed in, up to near-ties.
        prefill_block: Reuse of a session's cache is rounded down to multiples of this many tokens.
        logprob_tolerance: Largest difference to the same model computed in float32.
        patterns: Replies can be held to a pattern (`Sampling.pattern`); else a request for it is refused.
    """

    exact_seeds: bool = True
    prefill_block: int = 1
    logprob_tolerance: float = 1e-3
    patterns: bool = False


@runtime_checkable
class Engine(Protocol):
    """Serves a frozen base model and any number of its adapters to many awaiting coroutines at once."""

    vocab_size: int
    context_length: int
    capabilities: Capabilities

    async def generate(
        self,
        context: Sequence[int],
        sampling: Sampling,
        *,
        policy: str = BASE,
        session: str | None = None,
    ) -> Completion:
        """Sample a reply to `context`.

        Cancelling the awaiting task withdraws the request and leaves every other one alone.

        Raises:
            ContextOverflow: `len(context) + max_tokens` exceeds `context_length`, or the context is empty.
            UnknownPolicy: no policy of this name was added.
            ValueError: a pattern that is no regular expression, or that the engine or the policy cannot keep.
        """
        ...

    async def score(self, tokens: Sequence[int], *, policy: str = BASE) -> list[float]:
        """log p(tokens[i] | tokens[:i]) for i = 1, 2, ..., untempered: `len(tokens) - 1` natural logarithms."""
        ...

    def add_policy(self, name: str, adapter: Adapter) -> None:
        """Serve `adapter` as `name`. A known name with equal weights is a no-op.

        Raises:
            AdapterError: the name is `BASE` or holds other weights, or the adapter was made for another base.
        """
        ...

    def remove_policy(self, name: str) -> None:
        """Forget a policy and its caches; it must have no request in flight."""
        ...

    def policies(self) -> tuple[str, ...]:
        """Names that `generate` accepts, `BASE` first, then in order of addition."""
        ...

    def release(self, session: str) -> None:
        """Drop what is cached for a seat under any policy; unknown sessions are fine."""
        ...

    def forget(self) -> None:
        """Drop everything cached, so that what follows is computed as by a new engine.

        A runner calls it before each batch of episodes: which tokens are computed together decides the last bits of
        a log-probability, and a resumed run must compute what the uninterrupted one did.
        """
        ...

    async def aclose(self) -> None:
        """End requests in flight with `EngineClosed`, free caches and processes; calling it twice is fine."""
        ...
