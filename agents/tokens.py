"""Between text and token ids: how a conversation becomes one growing row of ids.

Words. A *codec* belongs to one tokenizer. A *frame* is the template's own text around what people say: the marker
that opens a user turn, the marker that opens a reply, and so on. A *control id* is the id of any token that was added
to the vocabulary by hand: special tokens and chat-template markers.

Invariants, each with a test:

* Append-only. The ids of a conversation are ``chat_open + user_turn + reply + after_reply + user_turn + ...``;
  nothing is ever rendered or tokenised a second time, so the ids that were sampled are the ids that are trained on.
* On an ordinary conversation the concatenation equals ``tokenizer.apply_chat_template``. (It differs, on purpose,
  where a template rewrites the past, and where a message begins or ends with white space that the tokenizer would
  join to the frame.)
* Text is data. Whatever another player, a tool or a user writes is encoded with no added token in sight, so no text
  at all yields a control id, and decoding gives
  the text back if the vocabulary holds all bytes (a lone surrogate becomes "?").
* Thoughts are silent. Ids that the model or the tokenizer does not have, such as thinking tokens, decode to nothing.

The frame is found by rendering the model's own chat template around sentinels, so there is no table of templates
here. A model without a template gets the *plain* frame: messages and replies are lines. Imports neither torch nor
transformers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from palaestra.envs.errors import PalaestraError
from palaestra.envs.parts import well_formed


class CodecError(PalaestraError, ValueError):
    """A tokenizer or chat template that cannot be used append-only."""


@runtime_checkable
class TextCodec(Protocol):
    """Text in, token ids out, and back; what a language-model seat needs of a tokenizer."""

    stop_ids: tuple[int, ...]
    """Ids that end a reply."""
    vocab_size: int

    def encode_untrusted(self, text: str) -> list[int]:
        """Return the ids of ``text`` as plain characters: none is a control id, whatever it contains."""
        ...

    def chat_open(self, system: str | None = None) -> list[int]:
        """Return the ids that begin a context. ``None`` means whatever the template says by itself."""
        ...

    def user_turn(self, text: str) -> list[int]:
        """Return the ids of one message to the model, up to where its reply begins."""
        ...

    def after_reply(self, reply_ids: Sequence[int]) -> list[int]:
        """Return what must follow a reply before the next `user_turn`: its stop token if it lacks one, then frame."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids`` without special tokens, such as the stop token of a reply, and without ids that
        the model or the tokenizer does not have, such as thinking tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """The template's ids around the content: ``start | system_open S system_close``, then per exchange
    ``user_open U reply_open R reply_close``. A context opens with ``start`` if there is no system text."""

    start: tuple[int, ...]
    system_open: tuple[int, ...]
    system_close: tuple[int, ...]
    user_open: tuple[int, ...]
    reply_open: tuple[int, ...]
    reply_close: tuple[int, ...]


class TokenizerCodec:
    """The codec of a Hugging Face *fast* tokenizer, with its chat template or, without one, in the plain frame.

    Args:
        tokenizer: A `transformers` fast tokenizer.
        stop_ids: Ids that end a reply besides the tokenizer's own end token and the one the template closes a reply
            with (the model's generation config may name more).
        rows: Real tokens of the model, where they are known. A tokenizer may name more ids than these, which the model
            never saw and which thinking tokens then take: they decode to nothing.

    Raises:
        CodecError: The tokenizer is not a fast one, or its template cannot be continued by appending.
    """

    def __init__(self, tokenizer: Any, stop_ids: Sequence[int] = (), rows: int | None = None) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise CodecError(
                f"tokenizer {type(tokenizer).__name__} is not a fast tokenizer, so text cannot be kept apart from "
                "control tokens; use a model folder that has a tokenizer.json."
            )
        self.tokenizer = tokenizer
        self.vocab_size = len(tokenizer)
        self._rows = rows
        self._backend = backend
        self._plain, self.control_ids = _without_added_tokens(backend)
        self.has_template = bool(tokenizer.chat_template)
        self.frame = self._template_frame() if self.has_template else self._plain_frame()
        ends = {*stop_ids, *([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])}
        if not self.has_template:
            ends.update(self._newline_ids())
        elif self.frame.reply_close and self.frame.reply_close[0] in self.control_ids:
            ends.add(self.frame.reply_close[0])
        self.stop_ids = tuple(sorted(ends))

    def encode_untrusted(self, text: str) -> list[int]:
        """Return the ids of ``text`` as plain characters: none is a control id, whatever it contains."""
        text = well_formed(text)
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        if self.control_ids.isdisjoint(ids):
            return ids
        # Unigram vocabularies hold their control pieces among the ordinary ones; spelled out, no text matches them.
        ids = [one for char in text for one in self._plain.encode(char, add_special_tokens=False).ids]
        if not self.control_ids.isdisjoint(ids):
            raise CodecError(
                "the tokenizer turns single characters into control tokens; it cannot read other players' text."
            )
        return ids

    def chat_open(self, system: str | None = None) -> list[int]:
        """Return the ids that begin a context. ``None`` means whatever the template says by itself."""
        if system is None:
            return list(self.frame.start)
        return [*self.frame.system_open, *self.encode_untrusted(system), *self.frame.system_close]

    def user_turn(self, text: str) -> list[int]:
        """Return the ids of one message to the model, up to where its reply begins."""
        return [*self.frame.user_open, *self.encode_untrusted(text), *self.frame.reply_open]

    def after_reply(self, reply_ids: Sequence[int]) -> list[int]:
        """Return what must follow a reply before the next `user_turn`: its stop token if it lacks one, then frame."""
        close = list(self.frame.reply_close)
        last = reply_ids[-1] if reply_ids else None
        if last is not None and close and last == close[0]:
            return close[1:]
        if not self.has_template and last in self.stop_ids:
            return []
        return close

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids`` without special tokens, such as the stop token of a reply, and without ids that
        the model or the tokenizer does not have, such as thinking tokens."""
        known = [one for one in ids if self._rows is None or one < self._rows]
        text: str = self._backend.decode(known, skip_special_tokens=True)
        return text

    def _trusted(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def _newline_ids(self) -> set[int]:
        return {one for one in range(self.vocab_size) if "\n" in self._backend.decode([one], skip_special_tokens=True)}

    def _plain_frame(self) -> Frame:
        bos = self.tokenizer.bos_token_id
        start = tuple(one for one in self.tokenizer.encode("") if one == bos)
        line = tuple(self.encode_untrusted("\n"))
        return Frame(start, start, line, (), line, line)

    def _template_frame(self) -> Frame:
        """Cut the template's text at the sentinels. The names of the pieces are those of `Frame`."""
        talk = _render(self.tokenizer, "user", "assistant", "user", reply=True)
        head, _, end_of_reply, reply_open = _cut(talk, 3)
        _, _, reply_close = _cut(_render(self.tokenizer, "user", "assistant"), 2)
        user_open = end_of_reply.removeprefix(reply_close)
        if not (end_of_reply.startswith(reply_close) and head.endswith(user_open)):
            raise CodecError(
                "the chat template renders the first and later messages differently, so a conversation cannot grow by "
                "appending; use a model whose template marks every turn alike (ChatML, Llama 3, Gemma) or a base model."
            )
        start = head.removesuffix(user_open)
        try:
            system_open, gap, _ = _cut(_render(self.tokenizer, "system", "user", reply=True), 2)
        except CodecError:
            gap = ""
        if not gap.endswith(user_open) or not gap:
            # Without a system role of its own, a template shows the rules as a first message that nobody answers.
            _, user_close = _cut(_render(self.tokenizer, "user"), 1)
            system_open, gap = head, user_close + user_open
        pieces = (start, system_open, gap.removesuffix(user_open), user_open, reply_open, reply_close)
        return Frame(*(self._trusted(piece) for piece in pieces))


_SENTINELS = ("Palaestraone", "Palaestratwo", "Palaestrathree")


def _render(tokenizer: Any, *roles: str, reply: bool = False) -> str:
    """Return the template's text around one sentinel a message.

    Raises:
        CodecError: The template refuses these roles in this order.
    """
    messages = [{"role": role, "content": word} for role, word in zip(roles, _SENTINELS, strict=False)]
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=reply)
    except Exception as error:  # templates raise jinja2's errors, and through filters any other
        raise CodecError(f"the chat template refuses the roles {', '.join(roles)}: {error}") from error
    return text


def _cut(text: str, sentinels: int) -> list[str]:
    pieces = []
    for word in _SENTINELS[:sentinels]:
        piece, found, text = text.partition(word)
        if not found or word in text:
            raise CodecError(
                "the chat template does not show every message exactly once, so it cannot grow by appending."
            )
        pieces.append(piece)
    return [*pieces, text]


def _without_added_tokens(backend: Any) -> tuple[Any, frozenset[int]]:
    """Return a twin of a `tokenizers.Tokenizer` that knows no added token, and the ids of those tokens.

    The library's own switch (``encode_special_tokens``) still matches added tokens that are not marked special, such
    as a model's ``<think>`` or ``<tool_call>``. The model's unknown-word id is no control id: it stands for ordinary
    text. Nor is white space, runs of which Gemma's vocabulary holds as added tokens.
    """
    from tokenizers import Tokenizer

    spec = json.loads(backend.to_str())
    unknown = spec["model"].get("unk_token") or ""
    if isinstance(spec["model"].get("unk_id"), int):
        unknown = spec["model"]["vocab"][spec["model"]["unk_id"]][0]
    added = {one["id"]: one["content"] for one in spec["added_tokens"]}
    control = frozenset(number for number, content in added.items() if content != unknown and content.strip())
    spec.update(added_tokens=[], post_processor=None, truncation=None, padding=None)
    return Tokenizer.from_str(json.dumps(spec)), control
