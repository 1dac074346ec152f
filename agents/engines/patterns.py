"""Replies that keep a form: which tokens may come next, so that a regular expression can still be matched.

llguidance reads the expression and the tokenizer and says which tokens are open (Geng et al., "JSONSchemaBench",
arXiv 2501.10868, compares it with others); about 50 microseconds a token. What it closes has logit minus infinity, so a
reply is drawn from the policy's distribution over the tokens that are open, and its log-probabilities are of that one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from palaestra.agents.engines.base import EngineError, Sampling


class Patterns:
    """Makes matchers for one tokenizer.

    Args:
        tokenizer: A `transformers` fast tokenizer.
        size: Tokens of the model; those that the tokenizer does not have are closed.
    """

    def __init__(self, tokenizer: Any, size: int) -> None:
        self._tokenizer, self._size = tokenizer, size
        self._made: dict[tuple[int, ...], Any] = {}  # by stop ids; making one takes a second

    def matcher(self, sampling: Sampling) -> Matcher:
        """Return what follows one reply.

        Raises:
            ValueError: The pattern is no regular expression, or nothing could end the reply.
        """
        from llguidance import LLMatcher
        from llguidance.hf import from_tokenizer

        if not sampling.stop_ids:
            raise ValueError("a reply with a pattern ends with a stop token; give stop_ids.")
        if sampling.stop_ids not in self._made:
            self._made[sampling.stop_ids] = from_tokenizer(self._tokenizer, self._size, list(sampling.stop_ids))
        inner = LLMatcher(self._made[sampling.stop_ids], LLMatcher.grammar_from_regex(sampling.pattern), log_level=0)
        if error := inner.get_error():
            said = [line.removeprefix("error: ") for line in error.splitlines() if line.startswith("error: ")]
            reason = (said or error.splitlines())[0]
            raise ValueError(f"pattern {sampling.pattern!r} cannot be kept: {reason}.")
        return Matcher(inner, sampling.pattern)


class Matcher:
    """Follows one reply."""

    def __init__(self, inner: Any, pattern: str) -> None:
        self._inner, self._pattern = inner, pattern

    def open(self, size: int) -> torch.Tensor:
        """Return which tokens may come next, [size] bool."""
        bits = np.frombuffer(self._inner.compute_bitmask(), dtype=np.uint8)
        found = np.unpackbits(bits, bitorder="little")[:size].astype(bool)
        return torch.from_numpy(np.pad(found, (0, size - len(found))))

    def consume(self, token: int) -> None:
        """Go on behind a token that was open."""
        if not self._inner.consume_token(token):
            raise EngineError(f"token {token} was drawn against pattern {self._pattern!r}: {self._inner.get_error()}")
