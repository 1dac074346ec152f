"""Role-conditioned baselines: an episode's return, minus what this role in this game usually gets, on every sampled
token.

Words. A *key* is (game, role). Each key has an exponential moving average of returns and of squared returns; their
values *before* this batch are the *baseline* b and, by their variance, the *spread* s. The advantage of a seat's
episode with return R is

    A = (R - b) / s          (s = 1 unless ``scale_by_spread``)

In zero-sum self-play a mean over both seats is 0 whatever the policy does, and a first mover's edge would be credited
to its moves; a baseline per role removes both: SPIRAL (Liu et al. 2025, arXiv 2506.24119), where it is called
role-conditioned advantage estimation.

Start. A key that has no average yet takes, for each episode, the mean (and spread) of the *other* episodes of the
batch: like every later baseline it is independent of R, so the estimate is unbiased from the first batch. A single
first episode has nothing to be compared with and weighs 0.

Update. A batch with n episodes of a key counts as n single updates with ``decay``: average <- decay^n average + (1 -
decay^n) batch mean. So the memory is about 1 / (1 - decay) episodes whatever the batch size, and the order within a
batch does not matter. The average starts at the first batch's mean, hence needs no bias correction.

Baselines are read before they are updated, and `state_dict` belongs into the checkpoint: a run that restarts without
them trains its first batches on wrong signs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from palaestra.envs.errors import OptionError
from palaestra.trainers.credit.base import CreditError, by_seat_episode, fill, register_credit, trainable
from palaestra.trainers.rows import Row

Key = tuple[str, str]
SMALLEST_SPREAD = 1e-6  # in the game's own units; below it returns are equal up to rounding


@dataclass
class Baseline:
    """Moving averages of one key: of returns, of their squares, and the number of episodes seen."""

    mean: float
    square: float
    episodes: int

    @property
    def spread(self) -> float:
        """Return the standard deviation; 1 where returns do not vary, so that dividing by it changes nothing."""
        return _spread(self.mean, self.square)


@register_credit("role_baseline")
class RoleBaseline:
    """REINFORCE with a baseline per game and role; see the module docstring.

    Args:
        decay: Of the averages, per episode.
        scale_by_spread: Divide by the running standard deviation of the key; games with different units then weigh
            alike.
        failure_penalty: Illegal and unparsable replies weigh at most minus this, in the units of A; None for no such
            rule.
        length_neutral: Give every seat's episode the same total weight however many tokens it has (the batch's mean
            number of tokens), instead of the same weight per token. Meant for the ``tokens`` denominator.
        per_role: Keep a baseline for each role; without it all roles of a game share one, as the ablation arm that it
        is.

    Raises:
        OptionError: ``decay`` outside [0, 1), or a negative penalty.
    """

    def __init__(
        self,
        decay: float = 0.95,
        scale_by_spread: bool = False,
        failure_penalty: float | None = 1.0,
        length_neutral: bool = False,
        per_role: bool = True,
    ) -> None:
        if not 0 <= decay < 1:
            raise OptionError(f"decay must lie in [0, 1), found {decay}; 0.95 remembers about 20 episodes")
        if failure_penalty is not None and failure_penalty < 0:
            raise OptionError(f"failure_penalty must not be negative, found {failure_penalty}; null switches it off")
        self.decay = decay
        self.scale_by_spread = scale_by_spread
        self.failure_penalty = failure_penalty
        self.length_neutral = length_neutral
        self.per_role = per_role
        self.baselines: dict[Key, Baseline] = {}

    def assign(self, rows: Sequence[Row], *, kl: float = 0.0) -> list[Row]:
        """Return the rows with weights, then let the baselines learn from their returns."""
        episodes = by_seat_episode(rows)
        returns: dict[Key, list[float]] = {}
        lengths = {}
        for seat, parts in episodes.items():
            if parts[0].return_ is not None:
                returns.setdefault(self._key(parts[0]), []).append(parts[0].return_)
                lengths[seat] = sum(int(trainable(row).sum()) for row in parts)
        trained = [length for length in lengths.values() if length]
        mean_length = sum(trained) / len(trained) if trained else 0.0

        filled: list[Row] = []
        for row in rows:
            seat, key = (row.episode_id, row.player), self._key(row)
            advantage = None if row.return_ is None else self._advantage(key, row.return_, returns[key])
            scale = mean_length / lengths[seat] if self.length_neutral and lengths.get(seat) else 1.0
            filled.append(fill(row, advantage, kl=kl, scale=scale, failure_penalty=self.failure_penalty))
        for key, values in sorted(returns.items()):
            self._update(key, values)
        return filled

    def state_dict(self) -> dict[str, Any]:
        """Return the baselines as JSON data; floats survive `json` exactly."""
        baselines = [[*key, known.mean, known.square, known.episodes] for key, known in sorted(self.baselines.items())]
        return {"rule": "role_baseline", "baselines": baselines}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over saved baselines.

        Raises:
            CreditError: The state is another rule's.
        """
        if state.get("rule") != "role_baseline":
            raise CreditError(
                f"the saved credit state is of rule {state.get('rule')!r}, not 'role_baseline'; resume with that rule"
            )
        self.baselines = {(game, role): Baseline(mean, square, n) for game, role, mean, square, n in state["baselines"]}

    def _key(self, row: Row) -> Key:
        return (row.game, row.role if self.per_role else "*")

    def _advantage(self, key: Key, value: float, batch: list[float]) -> float | None:
        known = self.baselines.get(key)
        if known is not None:
            baseline, spread = known.mean, known.spread
        elif (others := len(batch) - 1) > 0:
            baseline = (math.fsum(batch) - value) / others
            spread = _spread(baseline, (math.fsum(other * other for other in batch) - value * value) / others)
        else:
            return None
        return (value - baseline) / (spread if self.scale_by_spread else 1.0)

    def _update(self, key: Key, values: list[float]) -> None:
        mean = math.fsum(values) / len(values)
        square = math.fsum(value * value for value in values) / len(values)
        known = self.baselines.get(key)
        if known is None:
            self.baselines[key] = Baseline(mean, square, len(values))
            return
        kept = self.decay ** len(values)
        known.mean = kept * known.mean + (1 - kept) * mean
        known.square = kept * known.square + (1 - kept) * square
        known.episodes += len(values)


def _spread(mean: float, square: float) -> float:
    variance = square - mean * mean
    return math.sqrt(variance) if variance > SMALLEST_SPREAD**2 else 1.0
