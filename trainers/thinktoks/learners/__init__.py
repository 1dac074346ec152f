"""Seven ways to predict the next token: how a model may compute before it speaks.

    plain        no thoughts (with a model that goes through its layers again: the same compute without thoughts)
    pause        a fixed number of empty tokens, Goyal et al. (2023), arXiv 2310.02226
    thoughts     thinking tokens by policy gradient, in groups in which the empty thought is one arm
    rlp          thoughts of a fixed length, paid by information gain, Hatamizadeh et al. (2025), arXiv 2510.01265
    quiet        the same with a mixing head, after Quiet-STaR, Zelikman et al. (2024), arXiv 2403.09629
    continuous   thoughts that are hidden states, Coconut, Hao et al. (2024), arXiv 2412.06769
    ponder       embeddings mixed of one's own predictions, PonderLM, Zeng et al. (2025), arXiv 2505.20674

`make_learner` makes one by name.
"""

from __future__ import annotations

from typing import Any

from palaestra.envs.errors import OptionError, UnknownName
from palaestra.trainers.thinktoks.learners import continuous, fixed, ponder, quiet, sampled  # noqa: F401  register
from palaestra.trainers.thinktoks.learners.base import Learner, Read, Reader, Step, makers, register_learner


def make_learner(name: str, reader: Reader, **options: Any) -> Learner:
    """Make a learner.

    Raises:
        UnknownName: No such learner; the nearest is offered.
        OptionError: An option that it does not have, or out of range.
    """
    known = makers()
    if name not in known:
        raise UnknownName("learner", name, known, f"There are {', '.join(known)}.")
    try:
        return known[name](reader, **options)
    except (TypeError, ValueError) as error:
        raise OptionError(f"learner {name!r} does not take these options: {error}") from None


__all__ = ["Learner", "Read", "Reader", "Step", "make_learner", "makers", "register_learner"]
