"""Golden numbers of `GRPOTrainer._compute_loss`, TRL 1.16.0: losses, metrics and gradients on small tensors in float64.

TRL is no dependency of Palaestra, so this runs in an environment of its own:

    make oracle
    .venv-oracle/bin/python tests/oracles/trl_loss.py tests/oracles/trl_loss.json

The file holds the inputs, too, so that nothing depends on a random generator's version. TRL's method is called as it
is, on an object that carries just the attributes it reads; the model is a table of logits whose gradient is recorded.
"""

import json
import sys
from collections import defaultdict
from types import MethodType, SimpleNamespace

import numpy as np
import torch
import trl
from accelerate import Accelerator
from trl import GRPOTrainer
from trl.trainer.utils import selective_log_softmax_and_entropy

ROWS, PROMPT, COMPLETION, VOCABULARY = 3, 2, 6, 4
EPSILON_LOW, EPSILON_HIGH, MAX_LENGTH = 0.2, 0.3, 9


def inputs() -> dict:
    """Return the tensors all cases share, as nested lists."""
    random = np.random.default_rng(16)
    shape = (ROWS, COMPLETION)
    logits = random.normal(size=(ROWS, PROMPT + COMPLETION, VOCABULARY))
    tokens = random.integers(VOCABULARY, size=(ROWS, PROMPT + COMPLETION))
    everything = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    chosen = np.take_along_axis(everything[:, PROMPT - 1 : -1], tokens[:, PROMPT:, None], -1)[..., 0]
    completion = np.ones(shape, int)
    completion[1, 4:] = 0  # shorter than the others: padding
    tool = np.ones(shape, int)
    tool[0, 2:4] = 0  # written by the environment in the midst of a reply
    return {
        "logits": logits.tolist(),
        "tokens": tokens.tolist(),
        "completion_mask": completion.tolist(),
        "tool_mask": tool.tolist(),
        # Wide enough that ratios fall on both sides of the clip range and above delta.
        "old": (chosen + random.normal(scale=0.5, size=shape)).tolist(),
        "reference": (chosen + random.normal(scale=0.3, size=shape)).tolist(),
        "advantages": random.normal(size=shape).tolist(),
    }


def cases() -> list[dict]:
    """Return the settings of every case."""
    plain = {"temperature": 1.0, "delta": None, "entropy_coef": 0.0, "empty_row": False}
    every = [{**plain, "loss_type": kind, "beta": beta} for kind in ("grpo", "bnpo", "dr_grpo") for beta in (0.0, 0.04)]
    for kind in ("grpo", "bnpo", "dr_grpo"):
        every.append({**plain, "loss_type": kind, "beta": 0.04, "delta": 1.5, "temperature": 0.7})
        every.append({**plain, "loss_type": kind, "beta": 0.04, "empty_row": True})
    every.append({**plain, "loss_type": "bnpo", "beta": 0.04, "entropy_coef": 0.01})
    return every


def run(given: dict, case: dict) -> dict:
    """Call TRL and return its loss, the gradient with respect to the logits, and its metrics."""
    logits = torch.tensor(given["logits"], dtype=torch.float64, requires_grad=True)

    def model(input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, fused_lm_head: bool):
        logps, entropy = selective_log_softmax_and_entropy(
            logits[:, :-1], input_ids[:, 1:], temperature=case["temperature"]
        )
        return SimpleNamespace(log_probs=logps, entropy=entropy)

    model.training = True
    trainer = SimpleNamespace(
        accelerator=Accelerator(cpu=True),
        model=model,
        args=SimpleNamespace(delta=case["delta"], use_bias_correction_kl=False),
        beta=case["beta"],
        loss_type=case["loss_type"],
        epsilon_low=EPSILON_LOW,
        epsilon_high=EPSILON_HIGH,
        max_completion_length=MAX_LENGTH,
        importance_sampling_level="token",
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        aux_loss_enabled=False,
        use_adaptive_entropy=False,
        entropy_coef=case["entropy_coef"],
        _entropy_bonus_enabled=case["entropy_coef"] != 0.0,
        current_gradient_accumulation_steps=1,
        _metrics={"train": defaultdict(list)},
    )
    trainer._get_per_token_logps_and_entropies = MethodType(GRPOTrainer._get_per_token_logps_and_entropies, trainer)
    tokens = torch.tensor(given["tokens"])
    completion_mask = torch.tensor(given["completion_mask"])
    if case["empty_row"]:
        completion_mask[2] = 0
    batch = {
        "prompt_ids": tokens[:, :PROMPT],
        "prompt_mask": torch.ones_like(tokens[:, :PROMPT]),
        "completion_ids": tokens[:, PROMPT:],
        "completion_mask": completion_mask,
        "tool_mask": torch.tensor(given["tool_mask"]),
        "advantages": torch.tensor(given["advantages"], dtype=torch.float64),
        "old_per_token_logps": torch.tensor(given["old"], dtype=torch.float64),
        "ref_per_token_logps": torch.tensor(given["reference"], dtype=torch.float64),
    }
    loss = GRPOTrainer._compute_loss(trainer, model, batch)
    loss.backward()
    names = {
        "entropy": "entropy",
        "kl_reference": "kl",
        "clip_low": "clip_ratio/low_mean",
        "clip_high": "clip_ratio/high_mean",
    }
    recorded = trainer._metrics["train"]
    metrics = {ours: recorded[theirs][0] for ours, theirs in names.items() if theirs in recorded}
    return {**case, "loss": loss.item(), "gradient": logits.grad.tolist(), "metrics": metrics}


def main(path: str) -> None:
    """Write the golden numbers to ``path``."""
    if trl.__version__ != "1.16.0":
        sys.exit(f"trl_loss.py: parity is claimed with TRL 1.16.0, but {trl.__version__} is installed; run make oracle")
    given = inputs()
    golden = {
        "made by": "tests/oracles/trl_loss.py",
        "trl": trl.__version__,
        "clip": [EPSILON_LOW, EPSILON_HIGH],
        "max_length": MAX_LENGTH,
        "prompt": PROMPT,
        "inputs": given,
        "cases": [run(given, case) for case in cases()],
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(golden, file)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
