"""The byte tokenizer: ids 0 to 255 are bytes, then come four control ids.

A context begins with ``<|bos|>``; ``<|reply|>`` ends a message and asks for a reply, ``<|end|>`` ends a reply (and a
system text). One control id between speakers keeps rows short. It is an ordinary fast tokenizer with an ordinary chat
template.
"""

from __future__ import annotations

from typing import Any

CONTROLS = ("<|bos|>", "<|reply|>", "<|end|>", "<|pad|>")
VOCAB_SIZE = 256 + len(CONTROLS)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'user' %}<|reply|>{% else %}<|end|>{% endif %}{% endfor %}"
)


def make_tokenizer(context: int) -> Any:
    """Return the tokenizer of a model that reads ``context`` tokens, as a `transformers` fast tokenizer."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(vocab={char: byte for byte, char in enumerate(_byte_alphabet())}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in CONTROLS])
    bos, _, end, pad = CONTROLS
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token=end,
        pad_token=pad,
        model_max_length=context,
        chat_template=CHAT_TEMPLATE,
    )


def _byte_alphabet() -> list[str]:
    """Return the printable character that byte-level tokenizers write for each byte (GPT-2's table).

    Bytes that print as themselves in Latin-1 stand for themselves; the others take characters from U+0100 on, in order.
    """
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = iter(range(256, 512))
    return [chr(byte if byte in plain else next(spare)) for byte in range(256)]
