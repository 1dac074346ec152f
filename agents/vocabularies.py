"""The tokenizers of models as vocabularies of documents: ``vocabulary("smollm2")``, ``vocabulary("tiny:kuhn")``.

Importing this module makes them known to `palaestra.envs.documents`; a model is looked up when its name is first used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from palaestra.agents.tokens import TextCodec
from palaestra.envs.documents.vocabulary import Vocabulary, on_unknown
from palaestra.envs.errors import UnknownName


@dataclass(frozen=True, slots=True)
class ModelVocabulary:
    """A model's tokenizer; text is plain characters, whatever it looks like."""

    codec: TextCodec

    @property
    def size(self) -> int:
        return self.codec.vocab_size

    @property
    def start(self) -> list[int]:
        """Return the tokens that every context of the model begins with."""
        return self.codec.chat_open("")

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        return self.codec.encode_untrusted(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens."""
        return self.codec.decode(ids)


@lru_cache(maxsize=4)
def model_vocabulary(name: str) -> Vocabulary | None:
    """Return the vocabulary of a model, fetching the model if need be; None where nobody knows the name."""
    from palaestra.agents.models.sources import ModelSource

    try:
        source = ModelSource.parse(name)
    except UnknownName:
        return None
    return ModelVocabulary(source.codec())


on_unknown(model_vocabulary)
