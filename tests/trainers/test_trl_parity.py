"""The token loss equals `GRPOTrainer._compute_loss` of TRL 1.16.0 where both can express the same thing.

What TRL calls a loss type is here a denominator. The golden numbers come from TRL itself (`tests/oracles/trl_loss.py`).
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from palaestra.trainers.loss import LossSettings, TokenBatch, score_rows, token_loss

ORACLES = Path(__file__).parent.parent / "oracles"
GOLDEN = json.loads((ORACLES / "trl_loss.json").read_text())
DENOMINATOR = {"grpo": "rows", "bnpo": "tokens", "dr_grpo": "constant"}


def ours(golden: dict, case: dict) -> tuple[float, torch.Tensor, dict, float]:
    """Return our loss, gradient and metrics of a golden case, and the share of rows that have members."""
    given, start = golden["inputs"], golden["prompt"]
    logits = torch.tensor(given["logits"], dtype=torch.float64, requires_grad=True)
    tokens = torch.tensor(given["tokens"])

    def whole(name: str) -> torch.Tensor:
        full = torch.zeros(tokens.shape, dtype=torch.float64)
        full[:, start:] = torch.tensor(given[name], dtype=torch.float64)
        return full

    member = (whole("completion_mask") * whole("tool_mask")).bool()
    if case["empty_row"]:
        member[2] = False
    none = torch.zeros_like(member)
    weight = {"pg": whole("advantages") * member, "ce": none.double(), "kl": case["beta"] * member.double()}
    batch = TokenBatch(
        tokens=tokens,
        attention=torch.ones_like(member),
        behaviour=whole("old"),
        weight=weight,
        member={"pg": member, "ce": none, "kl": member},
        reference=whole("reference"),
    )
    denominator = DENOMINATOR[case["loss_type"]]
    settings = LossSettings(
        clip_low=golden["clip"][0],
        clip_high=golden["clip"][1],
        dual_clip=case["delta"],
        pg=denominator,
        kl=denominator,
        max_length=golden["max_length"],
        entropy_weight=case["entropy_coef"],
    )
    logprobs, entropy = score_rows(logits, tokens, case["temperature"], entropy_grad=bool(case["entropy_coef"]))
    loss, metrics = token_loss(logprobs, batch, batch.counts(), settings, entropy=entropy)
    loss.backward()
    return loss.item(), logits.grad, metrics, member.any(-1).double().mean().item()


@pytest.mark.parametrize(
    "case", GOLDEN["cases"], ids=lambda c: "-".join(f"{c[k]}" for k in ("loss_type", "beta", "delta", "empty_row"))
)
def test_loss_gradient_and_metrics_equal_those_of_trl(case):
    loss, gradient, metrics, filled = ours(GOLDEN, case)
    # TRL counts a fully masked row as a row, we do not: means over rows differ by just the share of rows with members.
    factor = filled if case["loss_type"] != "bnpo" else 1.0
    assert loss * factor == pytest.approx(case["loss"], rel=1e-9, abs=1e-9)
    torch.testing.assert_close(
        gradient * factor, torch.tensor(case["gradient"], dtype=torch.float64), rtol=1e-9, atol=1e-9
    )
    assert gradient.abs().max() > 1e-3
    for name, value in case["metrics"].items():
        # TRL reports metrics in float32.
        assert metrics[name].item() == pytest.approx(value, rel=1e-6), name


def test_every_loss_type_is_compared_with_and_without_kl_and_clipping_happens_on_both_sides():
    plain = [case for case in GOLDEN["cases"] if case["delta"] is None and not case["empty_row"]]
    assert {(case["loss_type"], case["beta"]) for case in plain} == {(k, b) for k in DENOMINATOR for b in (0.0, 0.04)}
    assert GOLDEN["trl"] == "1.16.0"
    assert plain[0]["metrics"]["clip_low"] > 0
    assert plain[0]["metrics"]["clip_high"] > 0


def test_the_comparison_notices_a_changed_clip_range():
    case = GOLDEN["cases"][0]
    loss, *_ = ours({**GOLDEN, "clip": [0.2, 0.2]}, case)
    assert loss != pytest.approx(case["loss"], abs=1e-6)


@pytest.mark.oracle
def test_trl_itself_still_gives_the_golden_numbers(tmp_path):
    python = sys.executable
    if importlib.util.find_spec("trl") is None:
        python = str(Path(__file__).parent.parent.parent / ".venv-oracle" / "bin" / "python")
        if not Path(python).exists():
            pytest.fail("TRL is not installed here and there is no .venv-oracle; run `make oracle` first")
    made = tmp_path / "trl_loss.json"
    subprocess.run([python, str(ORACLES / "trl_loss.py"), str(made)], check=True, timeout=300)
    fresh = json.loads(made.read_text())
    assert fresh["inputs"].keys() == GOLDEN["inputs"].keys()
    for name, values in fresh["inputs"].items():  # another processor rounds a logarithm otherwise
        torch.testing.assert_close(torch.tensor(values), torch.tensor(GOLDEN["inputs"][name]), rtol=1e-6, atol=1e-6)
    for new, stored in zip(fresh["cases"], GOLDEN["cases"], strict=True):
        assert new["loss"] == pytest.approx(stored["loss"], rel=1e-6, abs=1e-6)
        torch.testing.assert_close(torch.tensor(new["gradient"]), torch.tensor(stored["gradient"]))
