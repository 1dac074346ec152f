"""Transformers built by hand, whose circuits are known: GPT-2s whose residual stream is made of named slots.

tok    one-hot token             pos    one-hot position
prev   what head `previous` writes: the token before
out    what is read by the unembedding
junk   what everybody else reads and writes: heads and MLPs with random weights that nobody listens to
"""

import math

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from palaestra.interp.opened import OpenModel
from palaestra.interp.prompts import Pairs, Prompts

VOCABULARY, LENGTH, JUNK = 10, 8, 6
SLOTS = {"tok": VOCABULARY, "pos": LENGTH, "prev": VOCABULARY, "out": VOCABULARY, "junk": JUNK}
WIDTH = sum(SLOTS.values())
HEADS = 4
HEAD = WIDTH // HEADS
SHARPNESS = 3.0
"""By how much the place that a planted head looks at outweighs another, in logits; softmax is not saturated."""


def slot(name: str) -> slice:
    """Where a slot lies in the residual stream."""
    names = list(SLOTS)
    start = sum(SLOTS[one] for one in names[: names.index(name)])
    return slice(start, start + SLOTS[name])


def blank(layers: int, seed: int) -> GPT2LMHeadModel:
    """A model of distractors: every head and MLP reads tokens and junk, and writes junk."""
    assert WIDTH % HEADS == 0
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=LENGTH,
        n_embd=WIDTH,
        n_layer=layers,
        n_head=HEADS,
        n_inner=2 * WIDTH,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = GPT2LMHeadModel(config).double().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for one in model.parameters():
        one.zero_()
    model.transformer.wte.weight[:, slot("tok")] = torch.eye(VOCABULARY, dtype=torch.float64)
    model.transformer.wpe.weight[:, slot("pos")] = torch.eye(LENGTH, dtype=torch.float64)
    model.lm_head.weight[:, slot("out")] = torch.eye(VOCABULARY, dtype=torch.float64)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    for block in model.transformer.h:
        block.ln_1.weight.fill_(1)
        block.ln_2.weight.fill_(1)
        block.attn.c_attn.weight[slot("tok")] = 0.2 * noise(VOCABULARY, 3 * WIDTH)
        block.attn.c_attn.weight[slot("junk")] = 0.2 * noise(JUNK, 3 * WIDTH)
        block.attn.c_proj.weight[:, slot("junk")] = 0.01 * noise(WIDTH, JUNK)
        block.mlp.c_fc.weight[slot("tok")] = 0.2 * noise(VOCABULARY, 2 * WIDTH)
        block.mlp.c_fc.weight[slot("junk")] = 0.2 * noise(JUNK, 2 * WIDTH)
        block.mlp.c_proj.weight[:, slot("junk")] = 0.01 * noise(2 * WIDTH, JUNK)
    model.transformer.ln_f.weight.fill_(1)
    return model


def plant(
    model: GPT2LMHeadModel,
    layer: int,
    head: int,
    *,
    query: tuple[str, torch.Tensor],
    key: tuple[str, torch.Tensor],
    value: str,
    to: str,
) -> None:
    """Put a head in place: queries and keys are matrices from slots [slot, n], values are copied from slot to slot."""
    attention = model.transformer.h[layer].attn
    # behind LayerNorm a one-hot entry of a stream with two of them is about 1 / sqrt(2 / WIDTH)
    size = 1 / math.sqrt(2 / WIDTH)
    sharp = math.sqrt(SHARPNESS * math.sqrt(HEAD)) / size
    for number, (source, matrix) in enumerate((query, key)):
        columns = slice(number * WIDTH + head * HEAD, number * WIDTH + (head + 1) * HEAD)
        attention.c_attn.weight[:, columns] = 0
        attention.c_attn.weight[slot(source), columns.start : columns.start + matrix.shape[1]] = sharp * matrix
    start = 2 * WIDTH + head * HEAD
    attention.c_attn.weight[:, start : start + HEAD] = 0
    attention.c_attn.weight[slot(value), start : start + SLOTS[value]] = torch.eye(SLOTS[value], dtype=torch.float64)
    attention.c_proj.weight[head * HEAD : (head + 1) * HEAD] = 0
    rows = slice(head * HEAD, head * HEAD + SLOTS[to])
    attention.c_proj.weight[rows, slot(to)] = torch.eye(SLOTS[to], dtype=torch.float64) / size


def copy(seed: int = 0) -> tuple[OpenModel, Pairs, set[str], set[str]]:
    """Answer with the first token: one head, in layer 1, looks at position 0.

    Returns:
        Model, pairs whose first tokens differ, true components, true edges.
    """
    model = blank(2, seed)
    first = torch.zeros(LENGTH, 1, dtype=torch.float64)
    first[0] = 1
    everywhere = torch.ones(LENGTH, 1, dtype=torch.float64)
    plant(model, 1, 2, query=("pos", everywhere), key=("pos", first), value="tok", to="out")
    rows = _rows(8, seed)
    corrupt = [[(row[0] + 3) % VOCABULARY, *row[1:]] for row in rows]
    pairs = _pairs(rows, corrupt, [row[0] for row in rows], [row[0] for row in corrupt])
    return OpenModel(model, name="copy"), pairs, {"embed", "L1.H2"}, {"embed->L1.KV2.v", "L1.H2->logits"}


def induction(seed: int = 0) -> tuple[OpenModel, Pairs, set[str], set[str]]:
    """... A B ... A -> B: a head of layer 0 notes the token before, one of layer 1 looks for its own token there.

    Returns:
        Model, pairs in which the first A is another token, true components, true edges.
    """
    model = blank(2, seed)
    shift = torch.zeros(LENGTH, LENGTH, dtype=torch.float64)
    shift[torch.arange(1, LENGTH), torch.arange(LENGTH - 1)] = 1
    same = torch.eye(LENGTH, dtype=torch.float64)
    plant(model, 0, 1, query=("pos", shift), key=("pos", same), value="tok", to="prev")
    match = torch.eye(VOCABULARY, dtype=torch.float64)
    plant(model, 1, 3, query=("tok", match), key=("prev", match), value="tok", to="out")
    rows, corrupt, answers, foils = [], [], [], []
    for number in range(8):
        a, b, c, d = torch.randperm(VOCABULARY, generator=torch.Generator().manual_seed(100 * seed + number))[
            :4
        ].tolist()
        rows.append([c, a, b, d, c, a])
        corrupt.append([c, d, b, d, c, a])  # d comes before, so nothing new is in the prompt
        answers.append(b)
        foils.append(c)
    pairs = _pairs(rows, corrupt, answers, foils)
    nodes = {"embed", "L0.H1", "L1.H3"}
    return OpenModel(model, name="induction"), pairs, nodes, {"embed->L0.KV1.v", "L0.H1->L1.KV3.k", "L1.H3->logits"}


def _rows(count: int, seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed + 1)
    return [torch.randint(VOCABULARY, (6,), generator=generator).tolist() for _ in range(count)]


def _pairs(rows: list[list[int]], corrupt: list[list[int]], answers: list[int], foils: list[int]) -> Pairs:
    ends = ([[one] for one in answers], [[one] for one in foils])
    return Pairs(Prompts.of(rows, *ends), Prompts.of(corrupt, *ends))


PLANTED = {"copy": copy, "induction": induction}
