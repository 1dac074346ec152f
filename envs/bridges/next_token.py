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
asked instead, such as a frozen model or a moving average (`palaestra.agents.token_scorers`). With ``potential=True``,
which needs a scorer, a thought is paid what it does for the scorer's log score of the next token at once, and advancing
only what the token had without any thought; the rewards of an episode have the same sum (potential-based shaping, Ng,
Harada & Russell, 1999).

What a step is worth to a learner is known at the end: ``info["returns"]`` of the last step holds, for every step of the
episode, its reward and those of the steps after it until ``horizon`` real tokens were placed (0: to the end of the
document), discounted by ``discount`` a real token.
"""

from __future__ import annotations

import math
import operator
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
from palaestra.envs.games.next_token import FLOOR, THINKING, TOLERANCE, NextToken
from palaestra.envs.parts import Distribution, Tokens

Scorer = Callable[[NDArray[np.int64], NDArray[np.bool_]], NDArray[np.float64]]
"""From tokens so far, int64[n], and which of them are thoughts, bool[n], to log-probabilities float64[V]."""

Observation = dict[str, Any]


class NextTokenEnv(gymnasium.Env[Observation, dict[str, Any]]):
    """See the module docstring.

    Args:
        scorer: Gives the log score instead of the action.
        potential: Pay thoughts at once for what they do.
        horizon: Real tokens that a step is paid for in ``info["returns"]``; 0 for all that follow.
        discount: Of these, per real token, from 0 to 1.
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
        horizon: int = 0,
        discount: float = 1.0,
        game: str = "next_token",
        version: int | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        if render_mode not in (None, "ansi"):
            raise OptionError(f"render_mode is {render_mode!r}, expected 'ansi' or None.")
        if potential and scorer is None:
            raise OptionError("potential=True pays thoughts by a scorer; give one.")
        if scorer is not None and not callable(scorer):
            raise OptionError(
                f"scorer is {scorer!r}, expected a function from tokens to log-probabilities, such as a frozen model's."
            )
        whole, real = isinstance(horizon, (int, np.integer)), isinstance(discount, (int, float, np.number))
        if not (whole and real and horizon >= 0 and 0 <= discount <= 1):
            raise OptionError(
                f"horizon is {horizon!r} and discount {discount!r}, expected a whole number from 0, and 0 to 1."
            )
        self.render_mode = render_mode
        self.scorer, self.potential = scorer, potential
        self.horizon, self.discount = horizon, discount
        self._name, self._options = game, options
        opening = self._made(0)
        self._words = opening.words.size
        self._room = opening.options.longest * (1 + opening.options.most)
        self._thoughts = opening.options.thoughts
        self._game: NextToken | None = None
        self._told = self._first = 0.0
        self._paid: list[tuple[float, bool]] = []
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
        """Start the document that ``palaestra.envs.make("next_token", seed=seed)`` draws.

        Raises:
            OptionError: It has fewer tokens than the horizon.
        """
        super().reset(seed=seed)
        game = self._made(next_seed(self.np_random) if seed is None else seed)
        if self.horizon > len(game.encoded):
            raise OptionError(
                f"a horizon of {self.horizon} tokens does not fit a document of {len(game.encoded)}; use a shorter one."
            )
        self._game = game
        self._told = self._first = self._belief(self._game)
        self._paid = []
        return self._observation(), self._info()

    def step(self, action: dict[str, Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Think or advance.

        Raises:
            OptionError: No such thinking token; logits of another shape, or with NaN, or all -inf; or a scorer that
                gives no log-probabilities. Nothing has changed.
            ResetNeeded: The document is over.
        """
        game = self._game
        if game is None or game.is_over():
            raise ResetNeeded("the document is over; call reset().")
        think, logits = self._read(action)
        thinks = bool(think and game.left())
        # the scorer is asked before anything is taken over: if it fails, the same step can be taken again
        after = game.clone() if self.potential else game
        if thinks:
            after.apply(0, Tokens((think - 1,), THINKING))
            belief = self._belief(after)
            paid = (belief - self._told if self.potential else 0.0) - game.options.cost
        else:
            logprobs = normalised(logits, self._words)
            paid = self._score(game, logprobs)
            if self.potential and game.pondered:  # the thoughts were paid for the rest
                paid -= self._told - self._first
            after.apply(0, Distribution(tuple(logprobs.tolist())))
            belief = self._first = self._belief(after)
        self._game, self._told = after, belief
        self._paid.append((paid, not thinks))
        return self._observation(), paid, after.is_over(), False, self._info()

    def _read(self, action: dict[str, Any]) -> tuple[int, NDArray[np.float64]]:
        """Return the parts of an action."""
        try:
            think, logits = operator.index(action["think"]), np.asarray(action["logits"], np.float64)
        except (TypeError, KeyError, ValueError, IndexError) as error:
            raise OptionError(
                f"an action is {{'think': whole number, 'logits': {self._words} numbers}}, not this one ({error})."
            ) from None
        if not 0 <= think <= self._thoughts:
            raise OptionError(
                f"think is {think}, expected 0 to advance, or 1 to {self._thoughts} for a thinking token."
            )
        return think, logits

    def render(self) -> str | None:  # type: ignore[override]
        """Return the text so far, in mode ``"ansi"``."""
        return self._game.board(0) if self.render_mode == "ansi" and self._game is not None else None

    # ------------------------------------------------------------------ scores

    def _score(self, game: NextToken, logprobs: NDArray[np.float64]) -> float:
        """Return the log score of the token that is due."""
        encoded, place = game.encoded, game.position
        if not encoded.scored[place]:
            return 0.0
        found = logprobs if self.scorer is None else self._asked(game, self.scorer)
        return max(float(found[encoded.ids[place]]), FLOOR)

    def _belief(self, game: NextToken) -> float:
        """Return the potential: the scorer's log score of the token that is due, in nats."""
        return 0.0 if not self.potential or game.is_over() else self._score(game, np.zeros(0))

    def _asked(self, game: NextToken, scorer: Scorer) -> NDArray[np.float64]:
        tokens = np.array(game.placed, np.int64)
        try:
            found = np.asarray(scorer(tokens, tokens >= self._words), np.float64)
        except (TypeError, ValueError) as error:
            raise OptionError(f"the scorer gave no array of numbers: {error}") from error
        if found.shape != (self._words,) or np.isnan(found).any():
            raise OptionError(f"the scorer must give {self._words} log-probabilities, none of them NaN.")
        if not abs(total := float(np.exp(np.minimum(found, 1.0)).sum()) - 1.0) < TOLERANCE:
            raise OptionError(f"the scorer's probabilities sum to {1 + total:.4f}, expected 1; normalise them.")
        return found

    def returns(self) -> NDArray[np.float64]:
        """Return float64[steps]: what each step of the episode so far is worth; see the module docstring."""
        found = np.zeros(len(self._paid))
        if not self.horizon:
            ahead = 0.0
            for step, (paid, advances) in reversed([*enumerate(self._paid)]):
                found[step] = ahead = paid + (self.discount if advances else 1.0) * ahead
            return found
        for step in range(len(self._paid)):
            real = 0
            for paid, advances in self._paid[step:]:
                found[step] += self.discount**real * paid
                real += advances
                if real == self.horizon:
                    break
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
        return {"result": game.result(), "returns": self.returns()} if game.is_over() else {}


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
