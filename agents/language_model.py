"""The language-model seat: a policy of an engine, playing through a context that only grows.

The seat shows the model what `View` says is new, as one user message, and samples a reply. Inside a *segment* nothing
that the model has read or said is ever rendered or tokenised again: the next message is appended to the exact tokens
before it, so that the engine may keep its KV cache and the learner may train a whole segment as one row. A new
segment, which begins with a self-contained observation, opens

* at the first turn, and when a match is resumed in the middle (there is no context to go on from);
* when the next message and the longest allowed reply would no longer fit the model (``"overflow"``, recorded in the
  reply's ``info``);
* at every turn with ``context="fresh"``.

What other players wrote reaches the tokenizer as plain characters (`TextCodec.encode_untrusted`), so no text of
theirs can close a turn or speak as the system.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from palaestra.agents.engines.base import BASE, Completion, ContextOverflow, Engine, Sampling
from palaestra.agents.tokens import TextCodec
from palaestra.envs.episode import Reply, TokenRecord
from palaestra.envs.seat import View

_sessions = itertools.count()


@dataclass(frozen=True, slots=True)
class ReplySettings:
    """How a language-model seat is asked.

    Attributes:
        max_tokens: Most tokens of one reply, thought included.
        temperature: Divides the logits; 0 is greedy.
        context: ``"growing"`` keeps one context as long as it fits; ``"fresh"`` starts anew at every turn.
        system: The system message; None for whatever the model's own template says, "" for none.
        choose: Answer with the likeliest of the words that the game knows (`View.action_words`) in place of a drawn
            text, as benchmarks of multiple choice do; one pass for each. Where there are none, a text is drawn. It is
            for measuring: the recorded log-probabilities are those of the word as a text.
        structured: Draw only replies of the form that the game gives (`View.reply_pattern`), if it gives one and the
            engine can; else they are drawn freely and read as they are. Not for a policy that learns from them: the
            recorded log-probabilities are of the tokens that the form leaves open.
    """

    max_tokens: int = 64
    temperature: float = 1.0
    context: Literal["growing", "fresh"] = "growing"
    system: str | None = None
    choose: bool = False
    structured: bool = False


class LanguageModelSeat:
    """Plays one seat of one match with one immutable policy version.

    Args:
        engine: Serves the policy; many seats share it.
        codec: The tokenizer of the engine's model.
        policy: Version to play with, from the first turn to the last.
        settings: How replies are drawn.
        name: For records; by default the policy's name.
    """

    def __init__(
        self,
        engine: Engine,
        codec: TextCodec,
        *,
        policy: str = BASE,
        settings: ReplySettings | None = None,
        name: str | None = None,
    ) -> None:
        self.engine = engine
        self.codec = codec
        self.policy = policy
        self.settings = settings or ReplySettings()
        self.name = name or policy
        self._context: list[int] = []
        self._last_reply: tuple[int, ...] = ()
        self._segment = -1
        self._session = ""

    async def act(self, view: View) -> Reply:
        """Return the model's reply with its exact tokens.

        Raises:
            ContextOverflow: Even a fresh context cannot hold the observation and a reply.
        """
        settings = self.settings
        message, opened = self._message(view)
        self._context += message
        if settings.choose and (words := view.action_words()):
            done = await self._likeliest(words, " " if view.begun() else "")
        else:
            sampling = Sampling(
                max_tokens=settings.max_tokens,
                temperature=settings.temperature,
                seed=view.seed,
                stop_ids=self.codec.stop_ids,
                pattern=view.reply_pattern() if settings.structured and self.engine.capabilities.patterns else "",
            )
            done = await self.engine.generate(self._context, sampling, policy=self.policy, session=self._session)
        self._context += done.token_ids
        self._last_reply = done.token_ids
        return Reply(
            self.codec.decode(done.token_ids),
            truncated=done.finish == "length",
            tokens=TokenRecord(self._segment, tuple(message), done.token_ids, done.logprobs, self.policy),
            info={"new_segment": opened} if opened == "overflow" else None,
        )

    async def _likeliest(self, words: Sequence[str], before: str) -> Completion:
        """Return the word whose tokens are likeliest behind the context, the first of equals."""
        rows = [self.codec.encode_untrusted(before + word) for word in words]
        scored = await asyncio.gather(*(self.engine.score([*self._context, *row], policy=self.policy) for row in rows))
        logprobs = [scores[-len(row) :] for scores, row in zip(scored, rows, strict=True)]
        best = max(range(len(rows)), key=lambda number: sum(logprobs[number]))
        return Completion(tuple(rows[best]), tuple(logprobs[best]), "stop", self.policy, len(self._context))

    def can_read(self, text: str) -> bool:
        """Return whether a fresh context holds ``text`` and a reply."""
        return len(self._first_message(text)) <= self._room

    @property
    def _room(self) -> int:
        return self.engine.context_length - self.settings.max_tokens

    def _first_message(self, text: str) -> list[int]:
        return [*self.codec.chat_open(self.settings.system), *self.codec.user_turn(text)]

    def close(self) -> None:
        """Free the engine's cache for this seat."""
        if self._session:
            self.engine.release(self._session)

    def _message(self, view: View) -> tuple[list[int], str]:
        """Return the tokens to append and why a new segment was opened, if one was."""
        settings, codec = self.settings, self.codec
        begun = codec.encode_untrusted(view.begun())
        room = self._room - len(begun)
        why = "first" if self._segment < 0 else "fresh" if settings.context == "fresh" else ""
        if not why:
            message = [*codec.after_reply(self._last_reply), *codec.user_turn(view.observation())]
            if len(self._context) + len(message) <= room:
                return [*message, *begun], ""
            why = "overflow"
        self.close()
        self._segment += 1
        self._session = f"seat-{next(_sessions)}"
        self._context, self._last_reply = [], ()
        message = self._first_message(view.opening())
        if len(message) > room:
            raise ContextOverflow(
                f"{view.game_id}'s observation takes {len(message)} tokens and the reply up to {settings.max_tokens}, "
                f"but {self.name} reads only {self.engine.context_length}; use a shorter view of the game or a smaller "
                "max_tokens."
            )
        return [*message, *begun], why
