"""Models for the tests of arithmetic: a random one, and a GPT-2 written by hand whose every part is known."""

import numpy as np
import torch

from palaestra.agents.models.tiny.build import blank
from palaestra.agents.models.tiny.recipes import Shape
from palaestra.agents.models.tiny.tokenizer import VOCAB_SIZE, make_tokenizer
from palaestra.agents.tokens import TokenizerCodec
from palaestra.interp.opened import OpenModel

SMALL = Shape(hidden=32, layers=2, inner=48, heads=2, context=64)


def codec():
    return TokenizerCodec(make_tokenizer(64))


def random_llama(seed=0, adapter=False, shape=SMALL):
    """A Llama with random weights in float64, and a LoRA adapter with random B on every linear layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = blank(shape, VOCAB_SIZE, bos_token_id=256, eos_token_id=258, pad_token_id=VOCAB_SIZE - 1)
        if adapter:
            from peft import LoraConfig, get_peft_model

            model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
            for name, one in model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(one, std=0.2)
    return OpenModel(model.double().eval().requires_grad_(False), codec(), f"random {seed}")


FEATURES = [
    *("value", "mark 0", "mark 1", "mark 2", "mark 3", "sum a", "sum b", "yes", "constant", "spare"),
    *(f"place {place}" for place in range(10)),
]
BIG = 1e6
WIDTH = 2 * len(FEATURES)
READ_AT = (2, 3, 5, 6)
"""Where "<bos>C47 52 <?" has the tens and units of a and of b."""
MARKS = np.random.default_rng(11).normal(size=(4, 10))
"""What head k votes for yes where it reads digit d."""


def h(gap):
    """What the MLP votes for yes: bent at -4 and at 6."""
    return 0.5 * np.maximum(gap + 4, 0) - 0.8 * np.maximum(gap - 6, 0)


def planted():
    """A GPT-2 of one layer that answers "C47 52 <?" with f(a) + g(b) + h(a - b), and where each of them is computed.

    Each feature is a pair of dimensions (+x, -x), so that centring changes nothing, and a constant a million times as
    large as the rest makes every LayerNorm multiply by the same number. Head k looks from the last place at one digit,
    writes 10 or 1 times its value into one of two sums and its mark to the answer; the MLP bends the difference.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCAB_SIZE, n_positions=64, n_embd=WIDTH, n_layer=1, n_head=4, n_inner=4, activation_function="relu",
        tie_word_embeddings=False, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
        bos_token_id=256, eos_token_id=258, layer_norm_epsilon=0.0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).double().eval().requires_grad_(False)
    for one in model.parameters():
        one.zero_()
    at = {name: 2 * k for k, name in enumerate(FEATURES)}

    def pair(name, value=1.0):
        found = torch.zeros(WIDTH, dtype=torch.float64)
        found[at[name]], found[at[name] + 1] = value, -value
        return found

    body = model.transformer
    for digit in range(10):
        marks = sum(pair(f"mark {head}", MARKS[head, digit]) for head in range(4))
        body.wte.weight[ord("0") + digit] = pair("value", digit) + marks
    for place in range(64):
        body.wpe.weight[place] = pair("constant", BIG) + (pair(f"place {place}") if place < 10 else 0)
    deviation = BIG * (2 / WIDTH) ** 0.5
    block = body.h[0]
    for norm in (block.ln_1, block.ln_2, body.ln_f):
        norm.weight.fill_(deviation)
    width = WIDTH // 4
    attention = block.attn
    for head, place in enumerate(READ_AT):
        q, k, v = (part * WIDTH + head * width for part in range(3))
        attention.c_attn.bias[q] = 60.0 * width**0.5
        attention.c_attn.weight[at[f"place {place}"], k] = 1.0
        attention.c_attn.weight[at["value"], v] = 1.0
        attention.c_attn.weight[at[f"mark {head}"], v + 1] = 1.0
        attention.c_proj.weight[head * width + 1] = pair("yes")
        attention.c_proj.weight[head * width] = pair("sum a" if head < 2 else "sum b", 10.0 if head % 2 == 0 else 1.0)
    for neuron, (bend, weight) in enumerate(((4.0, 0.5), (-6.0, -0.8))):
        block.mlp.c_fc.weight[at["sum a"], neuron], block.mlp.c_fc.weight[at["sum b"], neuron] = 1.0, -1.0
        block.mlp.c_fc.bias[neuron] = bend
        block.mlp.c_proj.weight[neuron] = pair("yes", weight)
    model.lm_head.weight[ord("y")] = pair("yes", 0.25)
    model.lm_head.weight[ord("n")] = pair("yes", -0.25)
    return OpenModel(model, codec(), "planted")
