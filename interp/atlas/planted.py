"""Ground truth for the atlas: models in which it is known which mechanism predicts which token.

A sentence is a row of *queries* in the words of one vocabulary: two random words, a cue, a word x, and the answer. The
cue, spelled differently in every vocabulary, says how the answer follows from the words before:

    A1, A2    table A of the word 2 or 3 back       head L0.H0 or L0.H1, then L0.mlp
    B1, B2    table B of the word 2 or 3 back       head L0.H2 or L0.H3, then L1.mlp
    C1, C2    table C of the word 2 or 3 back       head L0.H4 or L0.H5, then L2.mlp
    D         table D of x itself                   L3.mlp
    U         the word 2 back                       head L1.H0; left out of atlases, to be met as something unknown

So four families (A to D), of which three have two members each, are crossed with vocabularies: mechanisms share
components across vocabularies and nothing in writing, vocabularies share words and no mechanism. Tables are random
permutations within each vocabulary. L0.H7 reads the cue for all of them.

`hand_built` writes the weights; `palaestra.interp.atlas.planted_training` learns them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from palaestra.agents.tokens import TokenizerCodec
from palaestra.envs.seeding import derive
from palaestra.interp.atlas.tokens import Ints, Texts

LEAVES = ("A1", "A2", "B1", "B2", "C1", "C2", "D", "U")
UNKNOWN = "U"
KNOWN = LEAVES[:-1]
FAMILY = (0, 0, 1, 1, 2, 2, 3, 4)
"""Of each of `LEAVES`."""
QUERY = 5
"""Tokens of a query: word, word, cue, word, answer."""
CIRCUITS: dict[str, tuple[str, ...]] = {
    "A1": ("L0.H0", "L0.mlp"),
    "A2": ("L0.H1", "L0.mlp"),
    "B1": ("L0.H2", "L1.mlp"),
    "B2": ("L0.H3", "L1.mlp"),
    "C1": ("L0.H4", "L2.mlp"),
    "C2": ("L0.H5", "L2.mlp"),
    "D": ("L3.mlp",),
    "U": ("L1.H0",),
}
"""Components beside the embedding and the cue's reader that a mechanism is made of."""
CUE_READER = "L0.H7"
LAYERS, HEADS = 4, 8
BACK = {"A1": 2, "A2": 3, "B1": 2, "B2": 3, "C1": 2, "C2": 3, "D": 0, "U": 2}


@dataclass(frozen=True, slots=True)
class Sentences:
    """Rows of queries.

    Attributes:
        ids: int64 [N, T]; place 0 holds the begin token.
        leaf: int64 [N, T]: the index in `LEAVES` of the mechanism that predicts the *next* token; -1 elsewhere.
        vocabulary: int64 [N].
    """

    ids: Tensor
    leaf: Tensor
    vocabulary: Tensor


@dataclass(frozen=True, slots=True)
class Grammar:
    """Vocabularies, cues and tables.

    Attributes:
        vocabularies: Their number.
        words: In each.
        seed: Of the tables.
    """

    vocabularies: int = 5
    words: int = 8
    seed: int = 0

    @property
    def content(self) -> int:
        """Return the number of words of all vocabularies; their ids begin at 1."""
        return self.vocabularies * self.words

    @property
    def size(self) -> int:
        """Return the number of tokens: the begin token, words, cues."""
        return 1 + self.content + self.vocabularies * len(LEAVES)

    def names(self) -> list[str]:
        """Return how tokens are written."""
        letters = "pqrstvwxyz"
        words = [f"{letters[v]}{n}" for v in range(self.vocabularies) for n in range(self.words)]
        cues = [f"{letters[v]}:{leaf}" for v in range(self.vocabularies) for leaf in LEAVES]
        return ["<s>", *words, *cues]

    def tables(self) -> Tensor:
        """Return for each of the tables A to D the word (0 on) that follows from a word: int64 [4, content]."""
        generator = torch.Generator().manual_seed(self.seed)
        rows = [
            [v * self.words + torch.randperm(self.words, generator=generator) for v in range(self.vocabularies)]
            for _ in range(4)
        ]
        return torch.stack([torch.cat(row) for row in rows])

    def answer(self, leaf: str, words: Tensor) -> Tensor:
        """Return the answer (0 on) from the word (0 on) that the mechanism reads."""
        return words if leaf == UNKNOWN else self.tables()["ABCD".index(leaf[0])][words]

    def sentences(
        self,
        count: int,
        seed: int,
        *,
        vocabularies: tuple[int, ...] | None = None,
        leaves: tuple[str, ...] = LEAVES,
        queries: int = 8,
    ) -> Sentences:
        """Return random sentences, each in one vocabulary, with mechanisms in random order.

        Args:
            count: Sentences.
            seed: Of them.
            vocabularies: Which ones; all by default.
            leaves: Which mechanisms.
            queries: In a sentence; where there are as many as mechanisms, each occurs once.
        """
        generator = torch.Generator().manual_seed(seed)
        known = torch.tensor(vocabularies or tuple(range(self.vocabularies)))
        vocabulary = known[torch.randint(len(known), (count,), generator=generator)]
        chosen = torch.tensor([LEAVES.index(one) for one in leaves])
        if queries == len(leaves):
            order = torch.rand(count, queries, generator=generator).argsort(1)
        else:
            order = torch.randint(len(leaves), (count, queries), generator=generator)
        which = chosen[order]  # [N, Q]
        ids = torch.zeros(count, 1 + QUERY * queries, dtype=torch.long)
        leaf = torch.full_like(ids, -1)
        words = torch.randint(self.words, (count, queries, 3), generator=generator)
        words = words + (vocabulary * self.words)[:, None, None]
        tables = torch.cat([self.tables(), torch.arange(self.content)[None]])  # the last one copies
        table = torch.tensor(["ABCDU".index(one[0]) for one in LEAVES])[which]
        back = torch.tensor([BACK[one] for one in LEAVES])[which]
        # from x, 2 back is the second word of the query and 3 back the first
        read = torch.where(back == 0, words[..., 2], torch.where(back == 2, words[..., 1], words[..., 0]))
        parts = (
            1 + words[..., 0],
            1 + words[..., 1],
            1 + self.content + vocabulary[:, None] * len(LEAVES) + which,
            1 + words[..., 2],
            1 + tables[table, read],
        )
        for place, part in enumerate(parts):
            ids[:, 1 + place :: QUERY] = part
        leaf[:, 4::QUERY] = which
        return Sentences(ids, leaf, vocabulary)

    def asked(
        self,
        count: int,
        seed: int,
        *,
        vocabularies: tuple[int, ...],
        leaves: tuple[str, ...] = KNOWN,
    ) -> tuple[Texts, Ints, Ints]:
        """Return sentences of which only the last query is asked about, all known mechanisms having come before.

        So every context holds the cues of all known mechanisms, and its bag of words says which vocabulary it is in
        and nothing about the mechanism that is asked about.

        Args:
            count: Sentences.
            seed: Of them.
            vocabularies: Which ones.
            leaves: Mechanisms of the last query.

        Returns:
            Texts, and for each row the index in `LEAVES` of the mechanism asked about, and the vocabulary.
        """
        before = self.sentences(count, seed, vocabularies=vocabularies, leaves=KNOWN, queries=len(KNOWN))
        rows, asked, allowed = [], [], []
        for number in range(count):
            vocabulary = int(before.vocabulary[number])
            last = self.sentences(
                1, derive(seed, "asked", number), vocabularies=(vocabulary,), leaves=leaves, queries=1
            )
            ids = torch.cat([before.ids[number], last.ids[0, 1:]]).numpy()
            where = np.zeros(len(ids), dtype=bool)
            where[-2] = True
            rows.append(ids)
            allowed.append(where)
            asked.append(int(last.leaf[0, 4]))
        texts = Texts(tuple(rows), ("planted",) * count, tuple(allowed))
        return texts, np.array(asked), before.vocabulary.numpy()

    def codec(self) -> TokenizerCodec:
        """Return the codec of the tokenizer."""
        return TokenizerCodec(self.tokenizer())

    def tokenizer(self) -> Any:
        """Return a tokenizer that divides at spaces."""
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        vocabulary = {name: number for number, name in enumerate(self.names())}
        backend = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="<s>"))
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="<s>", unk_token="<s>")


def shape(grammar: Grammar, hidden: int, head_width: int, inner: int) -> Any:
    """Return an empty Llama that knows a grammar's tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=grammar.size,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=head_width,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        initializer_range=0.06,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def save(model: Any, grammar: Grammar, folder: Path) -> None:
    """Write a model folder that `palaestra.interp.opened.open_model` opens."""
    model.save_pretrained(folder)
    grammar.tokenizer().save_pretrained(folder)


_CONSTANT = 16.0
"""The residual stream's constant feature: so large that every norm divides by nearly the same number everywhere."""
_SHARP = 200.0
"""Attention score at the place a head looks at, less a good part of it elsewhere."""
_STEEP = 8.0
"""How steeply a neuron of a table opens."""


@torch.no_grad()
def hand_built(grammar: Grammar, *, noise: float = 0.004, seed: int = 0) -> Any:
    """Return a Llama whose weights are written down, with noise on all matrices.

    Features of the residual stream: the word here; for each of the heads H0 to H5 the word it moved; flags of the cue
    here, and of the cue before; the answer; a constant. A table is one neuron for each mechanism and word that opens
    where both the moved word and the flag are there.

    Args:
        grammar: Its words.
        noise: Standard deviation of what is added to every weight.
        seed: Of the noise.
    """
    content, flags = grammar.content, len(LEAVES)
    word, moved = 0, content
    cue_here = moved + 6 * content
    cue_before = cue_here + flags
    answer = cue_before + flags
    constant = answer + content
    hidden = constant + 1
    hidden += -hidden % HEADS
    width = content + content % 2
    generator = torch.Generator().manual_seed(seed)
    model = shape(grammar, hidden, width, 2 * content + 8)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.copy_(noise * torch.randn(parameter.shape, generator=generator))
        else:
            parameter.fill_(1.0)
    unit = _CONSTANT / math.sqrt(hidden)  # a feature of size 1 has the size 1 / unit behind a norm

    embed = model.model.embed_tokens.weight
    embed[:, constant] = _CONSTANT
    embed[1 : 1 + content, word : word + content] += torch.eye(content)
    for number in range(1 + content, grammar.size):
        embed[number, cue_here + (number - 1 - content) % flags] += 1.0

    rates = 1.0 / (model.config.rope_parameters["rope_theta"] ** (torch.arange(0, width, 2) / width))
    half = width // 2

    def look(layer: int, head: int, back: int, flag: int | None, source: slice, target: slice) -> None:
        """Have a head attend so many places back (where a flag is set) and copy features from there."""
        attention = model.model.layers[layer].self_attn
        rows = slice(head * width, head * width + half), slice(head * width + half, (head + 1) * width)
        size = torch.sqrt(_SHARP * math.sqrt(width) * (rates > 0.03) / (rates > 0.03).sum())
        # rotary position turns k at distance δ by -rate δ against q; the phase undoes that at δ = back
        attention.q_proj.weight[rows[0], constant if flag is None else flag] += (
            (1.0 / math.sqrt(hidden) if flag is None else unit) * size * torch.cos(rates * back)
        )
        attention.q_proj.weight[rows[1], constant if flag is None else flag] += (
            -(1.0 / math.sqrt(hidden) if flag is None else unit) * size * torch.sin(rates * back)
        )
        attention.k_proj.weight[rows[0], constant] += size / math.sqrt(hidden)
        count = source.stop - source.start
        attention.v_proj.weight[rows[0].start : rows[0].start + count, source] += unit * torch.eye(count)
        attention.o_proj.weight[target, rows[0].start : rows[0].start + count] += torch.eye(count)

    here = slice(word, word + content)
    for number, leaf in enumerate(LEAVES[:6]):
        target = slice(moved + number * content, moved + (number + 1) * content)
        look(0, number, BACK[leaf], None, here, target)
    look(0, 7, 1, None, slice(cue_here, cue_here + flags), slice(cue_before, cue_before + flags))
    unknown = cue_before + LEAVES.index(UNKNOWN)
    look(1, 0, BACK[UNKNOWN], unknown, here, slice(answer, answer + content))

    tables = grammar.tables()
    for layer, leaves in enumerate((("A1", "A2"), ("B1", "B2"), ("C1", "C2"), ("D",))):
        mlp = model.model.layers[layer].mlp
        for which, leaf in enumerate(leaves):
            neurons = slice(which * content, (which + 1) * content)
            reads = word if leaf == "D" else moved + LEAVES.index(leaf) * content
            mlp.gate_proj.weight[neurons, reads : reads + content] += _STEEP * unit * torch.eye(content)
            mlp.gate_proj.weight[neurons, cue_before + LEAVES.index(leaf)] += _STEEP * unit
            mlp.gate_proj.weight[neurons, constant] -= 1.5 * _STEEP / math.sqrt(hidden)
            mlp.up_proj.weight[neurons, constant] += 2.0 / (_STEEP * math.sqrt(hidden))
            mlp.down_proj.weight[answer + tables[layer], neurons.start + torch.arange(content)] += 1.0
    model.lm_head.weight[1 : 1 + content, answer : answer + content] += 12.0 * unit * torch.eye(content)
    return model
