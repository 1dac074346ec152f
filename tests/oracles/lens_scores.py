"""Golden numbers of `transformer_lens.tools.analysis.attribution_patch`, 4.3.0, on small random models.

transformer-lens is no dependency of Palaestra, so this runs in an environment of its own:

    make oracle
    .venv-oracle/bin/python tests/oracles/lens_scores.py tests/oracles

``lens_models.safetensors`` holds the weights, so that nothing depends on a random generator's version;
``lens_scores.json`` the prompts and scores. transformer-lens takes the gradient at the run that it calls corrupt and
looks towards the other one. Given our corrupt prompts as its clean ones, its score is ours with the other sign.
"""

import json
import sys
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY, PROMPTS, LENGTH = 23, 3, 6
SHAPES = {
    "gpt2": (
        GPT2LMHeadModel,
        GPT2Config(vocab_size=VOCABULARY, n_positions=8, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0),
    ),
    "llama": (
        LlamaForCausalLM,
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=8,
            intermediate_size=12,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
        ),
    ),
}


def model(family: str, weights: dict[str, torch.Tensor]):
    """Return one of the models with given weights, in float32 and eval mode."""
    kind, config = SHAPES[family]
    found = kind(config).eval()
    own = {name.removeprefix(f"{family}."): value for name, value in weights.items() if name.startswith(f"{family}.")}
    missing, strange = found.load_state_dict(own, strict=False)
    assert not strange, strange
    assert all(name == "lm_head.weight" for name in missing), missing
    return found


def random_weights() -> dict[str, torch.Tensor]:
    """Return weights large enough for every component to matter."""
    torch.manual_seed(7)
    found = {}
    for family, (kind, config) in SHAPES.items():
        made = kind(config)
        for name, value in made.named_parameters():
            scale = 0.4 if value.ndim > 1 else 0.2
            start = 1.0 if "norm" in name or (".ln_" in name and name.endswith("weight")) else 0.0
            found[f"{family}.{name}"] = start * (value.ndim == 1) + scale * torch.randn_like(value)
    return found


def prompts() -> dict[str, list]:
    """Return clean and corrupt ids, and an answer and a foil each."""
    torch.manual_seed(8)
    clean = torch.randint(VOCABULARY, (PROMPTS, LENGTH))
    corrupt = clean.clone()
    corrupt[:, 2] = (corrupt[:, 2] + 5) % VOCABULARY
    corrupt[1, 4] = (corrupt[1, 4] + 1) % VOCABULARY
    return {"clean": clean.tolist(), "corrupt": corrupt.tolist(), "answers": [3, 5, 7], "foils": [11, 13, 17]}


def named(node) -> str:
    """Return Palaestra's name of a node."""
    part = {"embed": "embed", "logits": "logits", "mlp_out": f"L{node.layer}.mlp", "mlp_in": f"L{node.layer}.mlp"}
    head = {"attn_head_out": f"L{node.layer}.H{node.head}", "q_input": f"L{node.layer}.H{node.head}.q"}
    group = {f"{one}_input": f"L{node.layer}.KV{node.head}.{one}" for one in "kv"}
    return {**part, **head, **group}[node.kind]


def words() -> PreTrainedTokenizerFast:
    """Return a tokenizer, which transformer-lens will have; it is never used."""
    listed = {str(number): number for number in range(VOCABULARY)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(listed, "0")), eos_token="0", bos_token="0")


def scores(family: str, weights: dict[str, torch.Tensor], given: dict[str, list], granularity: str) -> list:
    """Return what transformer-lens says of each prompt: nodes with their places, edges summed over places."""
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.tools.analysis import EdgeAttributionConfig, attribution_patch

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = model(family, weights)
        found.save_pretrained(folder)
        words().save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(folder, hf_model=found, dtype=torch.float32)
    bridge.eval()
    listed = []
    for row in range(PROMPTS):

        def metric(logits, row=row):
            return logits[0, -1, given["answers"][row]] - logits[0, -1, given["foils"][row]]

        result = attribution_patch(
            bridge,
            torch.tensor(given["corrupt"][row])[None],
            torch.tensor(given["clean"][row])[None],
            metric,
            EdgeAttributionConfig(granularity=granularity),
        )
        if granularity == "edge":
            totals = defaultdict(float)
            for (writer, reader), score in result.edge_scores.items():
                totals[named(writer), named(reader)] += score
            listed.append([[*names, score] for names, score in totals.items()])
        else:
            listed.append([[named(one), one.position, score] for one, score in result.node_scores.items()])
    return listed


def main(folder: Path) -> None:
    """Write the golden files, keeping weights that are there."""
    stored = folder / "lens_models.safetensors"
    if not stored.exists():
        save_file(random_weights(), stored)
    weights = load_file(stored)
    given = prompts()
    found = {
        "made by": "tests/oracles/lens_scores.py",
        "transformer-lens": "4.3.0",
        "prompts": given,
        "nodes": {family: scores(family, weights, given, "node") for family in SHAPES},
        "edges": {"gpt2": scores("gpt2", weights, given, "edge")},  # it refuses edges where keys are grouped
    }
    (folder / "lens_scores.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
