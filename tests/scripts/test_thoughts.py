"""`palaestra thoughts`: a page of a cell, a page of an adapter, and what cannot be shown."""

import pytest
from peft import LoraConfig, get_peft_model

from palaestra.agents.models.sources import ModelSource
from palaestra.agents.thinking import extend
from palaestra.agents.thinking_adapter import save, token_fields
from palaestra.trainers.checkpoint import Checkpoints
from palaestra.trainers.experiments.framework import Cell
from palaestra.trainers.experiments.thinktoks_arms import plan_of
from palaestra.trainers.thinktoks.training import Training
from tests.scripts.cli_kit import call


def cell_folder(root, arm="s3_thoughts"):
    folder = root / "cpu" / f"{arm}-0"
    folder.mkdir(parents=True)
    training = Training(plan_of(Cell("thinktoks", arm, 0, "cpu", folder)))
    Checkpoints(folder / "checkpoints", keep=1).save(training, 0)
    return folder


def test_a_cell_reads_its_own_documents_or_others(tmp_path):
    folder = cell_folder(tmp_path)
    page = tmp_path / "page.html"
    assert call("thoughts", folder, "--documents", 2, "--to", page).exit_code == 0
    assert page.read_text(encoding="utf-8").count('<div class="text">') == 2
    found = call("thoughts", folder, "--task", "text", "--settings", "length=9", "--documents", 1, "--to", page)
    assert found.exit_code == 0, found.stderr
    assert "documents of task text with length=9" in page.read_text(encoding="utf-8")


def test_an_adapter_reads_with_its_own_thinking_tokens(tmp_path):
    loaded = ModelSource.parse("tiny:blank").load()
    extend(loaded.model, 3, 2)
    lora = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", **token_fields(loaded.model))
    folder = save(get_peft_model(loaded.model, lora), tmp_path / "thinker", loaded.fingerprint)
    page = tmp_path / "page.html"
    found = call(
        "thoughts", f"tiny:blank@{folder}", "--settings", "length=20,where=every", "--documents", 1, "--to", page
    )
    assert found.exit_code == 0, found.stderr
    assert "thinks with probability 0." in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["tiny:blank"], "has no thinking tokens"),
        (["tiny:blank", "--task", "chian"], "unknown task 'chian'"),
        (["nowhere"], "unknown model 'nowhere'"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(given, told, tmp_path):
    found = call("thoughts", *given, "--to", tmp_path / "page.html")
    assert found.exit_code == 2
    assert told in " ".join(found.stderr.split())
    assert not list(tmp_path.iterdir())


def test_a_learner_that_draws_no_thoughts_has_none_to_show(tmp_path):
    found = call("thoughts", cell_folder(tmp_path, "s3_ponder"), "--to", tmp_path / "page.html")
    assert found.exit_code == 2
    assert "that draws no thoughts" in " ".join(found.stderr.split())
