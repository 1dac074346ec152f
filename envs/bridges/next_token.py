"""Gymnasium: next-token prediction with thinking tokens, ``palaestra/NextToken-v0``, in numbers.

    import gymnasium, palaestra.envs
    env = gymnasium.make("palaestra/NextToken-v0", task="chain", settings="group=s3,length=4", cost=0.1)
    observation, info = env.reset(seed=7)
    observation, reward, terminated, truncated, info = env.step({"think": 1, "logits": zeros})

The rules are those of the game `palaestra.envs.games.next_token`; this is the same episode with arrays for parts.

Observation: ``tokens`` int64[N], what was placed so far, thinking token k as V + k, padded with 0; ``thinking``
int8[N], which of them are thoughts; ``length``, how many were placed; ``left``, thinking tokens that may still come
before the next real one. N is ``longest * (1 + most)``, V the vocabulary.

Action: ``think``, 0 to advance and k + 1 for thinking token k; ``logits`` float32[V], which are normalised over the
real vocabulary, and matter only where one advances. A thought where none is allowed advances.

Reward, in nats: minus ``cost`` for a thought; for advancing the log score of the true token, 0 where the document does
not score it. Who gives the score is ``scorer``: without one the action's own distribution (*live*); with one it is
asked instead, such as a frozen model or a moving average. With ``potential=True``, which needs a scorer, a thought is
paid what it does for the scorer's log score of the next token at once, and advancing only what the token had without
any thought; the rewards of an episode have the same sum (potential-based shaping, Ng, Harada & Russell, 1999).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from palaestra.envs import registry
from palaestra.envs.bridges.table import next_seed
from palaestra.envs.errors import OptionError
from palaestra.envs.games.next_token import FLOOR, THINKING, NextToken
from palaestra.envs.parts import Distribution, Tokens

Scorer = Callable[[NDArray[np.int64], NDArray[np.bool_]], NDArray[np.float64]]
"""From tokens so far, int64[n], and which of them are thoughts, bool[n], to log-probabilities float64[V]."""

Observation = dict[str, Any]


class NextTokenEnv(gymnasium.Env[Observation, dict[str, Any]]):
    """See the module docstring.

    Args:
        scorer: Gives the log score instead of the action.
        potential: Pay thoughts at once for what they do.
        game, version: Filled in by ``gymnasium.make``.
        render_mode: ``"ansi"`` or None.
        **options: The game's own options.

    Raises:
        UnknownName, OptionError: As for the game.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012  gymnasium declares it so

    def __init__(
        self,
        *,
        scorer: Scorer | None = None,
        potential: bool = False,
        game: str = "next_token",
        version: int | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        if render_mode not in (None, "ansi"):
            raise OptionError(f"render_mode is {render_mode!r}, expected 'ansi' or None.")
        if potential and scorer is None:
            raise OptionError("potential=True pays thoughts by a scorer; give one.")
        self.render_mode = render_mode
        self.scorer, self.potential = scorer, potential
        self._name, self._options = game, options
        opening = self._made(0)
        self._words = opening.words.size
        self._room = opening.options.longest * (1 + opening.options.most)
        self._game: NextToken | None = None
        self._told = 0.0
        self.action_space = spaces.Dict(
            {
                "think": spaces.Discrete(1 + opening.options.thoughts),
                "logits": spaces.Box(-math.inf, math.inf, (self._words,), np.float32),
            }
        )
        self.observation_space = spaces.Dict(
            {
                "tokens": spaces.Box(0, self._words + opening.options.thoughts - 1, (self._room,), np.int64),
                "thinking": spaces.MultiBinary(self._room),
                "length": spaces.Box(0, self._room, (), np.int64),
                "left": spaces.Box(0, opening.options.most, (), np.int64),
            }
        )

    def _made(self, seed: int) -> NextToken:
        game = registry.make(self._name, seed=seed, **self._options)
        assert isinstance(game, NextToken)
        return game

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start the document that ``palaestra.envs.make("next_token", seed=seed)`` draws."""
        super().reset(seed=seed)
        self._game = self._made(next_seed(self.np_random) if seed is None else seed)
        self._told = self._belief()
        return self._observation(), self._info()

    def step(self, action: dict[str, Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Think or advance.

        Raises:
            OptionError: Logits of another shape, or with NaN, or all -inf; nothing has changed.
            ResetNeeded: The document is over.
        """
        game = self._game
        if game is None or game.is_over():
            raise ResetNeeded("the document is over; call reset().")
        think = int(action["think"])
        if think and game.left():
            before = self._told
            game.apply(0, Tokens((think - 1,), THINKING))
            self._told = self._belief()
            gain = self._told - before if self.potential else 0.0
            return self._observation(), gain - game.options.cost, False, False, self._info()
        logprobs = normalised(np.asarray(action["logits"], np.float64), self._words)
        place, pondered = game.position, game.pondered
        paid = self._score(place, logprobs)
        if self.potential and pondered:  # the thoughts were paid for the rest
            paid -= self._told - self._first
        game.apply(0, Distribution(tuple(logprobs.tolist())))
        over = game.is_over()
        self._told = 0.0 if over else self._belief()
        return self._observation(), paid, over, False, self._info()

    def render(self) -> str | None:  # type: ignore[override]
        """Return the text so far, in mode ``"ansi"``."""
        return self._game.board(0) if self.render_mode == "ansi" and self._game is not None else None

    # ------------------------------------------------------------------ scores

    def _score(self, place: int, logprobs: NDArray[np.float64]) -> float:
        """Return the log score of the token that is due."""
        assert self._game is not None
        encoded = self._game.encoded
        if not encoded.scored[place]:
            return 0.0
        found = logprobs if self.scorer is None else self._asked()
        return max(float(found[encoded.ids[place]]), FLOOR)

    def _belief(self) -> float:
        """Return the potential: the scorer's log score of the token that is due, in nats."""
        game = self._game
        if not self.potential or game is None or game.is_over():
            return 0.0
        value = self._score(game.position, np.zeros(0))
        if not game.pondered:
            self._first = value
        return value

    def _asked(self) -> NDArray[np.float64]:
        assert self._game is not None
        assert self.scorer is not None
        tokens = np.array(self._game.placed, np.int64)
        found = np.asarray(self.scorer(tokens, tokens >= self._words), np.float64)
        if found.shape != (self._words,) or np.isnan(found).any():
            raise OptionError(f"the scorer must give {self._words} log-probabilities, none of them NaN.")
        return found

    # ------------------------------------------------------------------ what is seen

    def _observation(self) -> Observation:
        game = self._game
        assert game is not None
        tokens = np.zeros(self._room, np.int64)
        tokens[: len(game.placed)] = game.placed
        return {
            "tokens": tokens,
            "thinking": (tokens >= self._words).astype(np.int8),
            "length": np.array(len(game.placed), np.int64),
            "left": np.array(game.left(), np.int64),
        }

    def _info(self) -> dict[str, Any]:
        game = self._game
        assert game is not None
        return {"result": game.result()} if game.is_over() else {}


def normalised(logits: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return log-probabilities of logits over the real vocabulary.

    Raises:
        OptionError: Another shape, NaN, +inf, or no token that is possible.
    """
    if logits.shape != (size,):
        raise OptionError(f"logits have shape {logits.shape}, expected ({size},).")
    if np.isnan(logits).any() or not np.isfinite(top := logits.max()):
        raise OptionError("logits hold NaN or +inf, or are all -inf; they are no distribution.")
    shifted = logits - top
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))
