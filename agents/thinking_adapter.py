"""Thinking tokens as an ordinary PEFT adapter: LoRA matrices, and the new rows of the two ends.

PEFT trains single rows of a table (``trainable_token_indices``) and saves them with the matrices. Where input and
output embeddings are one table, the rows of one are those of the other; where they are two, both are named. What PEFT
does not know is what the rows mean: `save` writes that beside them (``palaestra.json``), and `load` extends the base
accordingly.

    thinking = extend(model, kinds=8, most=4)
    peft = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", **token_fields(model)))
    ...                                          # train it
    save(peft, folder, fingerprint)              # and ModelSource.parse(f"smollm2@{folder}").load() knows what to do
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from palaestra.agents.models.adapters import STAMP, WrongBase, facts, stamp
from palaestra.agents.models.cache import ModelError
from palaestra.agents.thinking import Thinking, extend, thinking_of

FACT = "thinking"
"""The entry of ``palaestra.json`` that says what an adapter's rows mean."""


def token_fields(model: Any) -> dict[str, Any]:
    """Return the fields of `peft.LoraConfig` by which the rows of an extended model are trained.

    Args:
        model: A transformers model that `extend` extended.

    Raises:
        ValueError: The model was not extended, or its head has a bias, which PEFT would leave out.
    """
    thinking = _of(model)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        raise ValueError(
            f"the head of {type(model).__name__} has a bias, which PEFT leaves out where it trains rows; train the "
            "model whole, or use one whose head has none"
        )
    names = {module: path for path, module in model.named_modules()}
    # PEFT lets the head follow only where the configuration says so.
    tied = head.weight is embedding.weight and bool(model.config.get_text_config().tie_word_embeddings)
    ends = [embedding] if tied else [embedding, head]
    return {"trainable_token_indices": {names[end]: list(range(thinking.real, thinking.size)) for end in ends}}


def save(peft: Any, folder: Path, base: str, name: str = "default", **more: Any) -> Path:
    """Write an adapter as PEFT does, with what its rows mean; return where it is: as PEFT has it, an adapter with
    another name than ``default`` lies in a folder of that name.

    Args:
        peft: A `peft.PeftModel` around an extended model.
        folder: Where PEFT writes.
        base: Fingerprint of the base before it was extended.
        name: The adapter's name in ``peft``.
        **more: Further JSON facts.
    """
    thinking = _of(peft)
    # Otherwise PEFT sees that the vocabulary grew, and writes both tables whole.
    peft.save_pretrained(str(folder), selected_adapters=[name], save_embedding_layers=False)
    place = folder if name == "default" else folder / name
    stamp(place, base, **{**more, FACT: asdict(thinking)})
    return place


def payload(peft: Any, name: str = "default") -> tuple[Any, dict[str, Any], Thinking]:
    """Return a copy of an adapter in the form that `Engine.add_policy` takes."""
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(peft, adapter_name=name, save_embedding_layers=False)
    copied = {key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}
    return copy.deepcopy(peft.peft_config[name]), copied, _of(peft)


def recorded(folder: Path) -> Thinking | None:
    """Return what an adapter folder says of its thinking tokens, None if it has none.

    Raises:
        ModelError: It contradicts itself.
    """
    found = facts(folder).get(FACT)
    if found is None:
        return None
    try:
        thinking = Thinking(**found)
        numbers = (thinking.real, thinking.kinds, thinking.most)
        if any(type(number) is not int for number in numbers) or type(thinking.fixed) is not bool:
            raise TypeError(f"{found} are no whole numbers")
        rows = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["trainable_token_indices"]
        agree = rows and all(one == list(range(thinking.real, thinking.size)) for one in rows.values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        agree = False
    if not agree:
        raise ModelError(
            f"{folder / STAMP} and adapter_config.json disagree on the thinking tokens of adapter {folder}; restore "
            "both from a copy."
        )
    return thinking


def prepare(model: Any, folder: Path) -> None:
    """Extend a base as an adapter needs it; a model that is extended so already stays as it is.

    Raises:
        WrongBase: The adapter has other thinking tokens than the model, or was made for a base of another vocabulary.
    """
    wanted, has = recorded(folder), thinking_of(model)
    if wanted is None or wanted == has:
        return
    if has is not None:
        raise WrongBase(
            f"adapter {folder} has {_words(wanted)}, but the model was extended with {_words(has)}; load the base anew."
        )
    real = int(model.get_input_embeddings().weight.shape[0])
    if real != wanted.real:
        raise WrongBase(
            f"adapter {folder} was made for a base of {wanted.real} tokens, this one has {real}; name the base that it "
            "was trained on."
        )
    extend(model, wanted.kinds, wanted.most, wanted.fixed)


def load(model: Any, folder: Path, *, trainable: bool = False) -> Any:
    """Return a `peft.PeftModel` of a base, extended in place, and the adapter in ``folder``.

    Raises:
        WrongBase: See `prepare`.
    """
    from peft import PeftModel

    prepare(model, folder)
    return PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)


def _of(model: Any) -> Thinking:
    thinking = thinking_of(model)
    if thinking is None:
        raise ValueError(f"{type(model).__name__} has no thinking tokens; extend() gives it some")
    return thinking


def _words(thinking: Thinking) -> str:
    number = "always" if thinking.fixed else "at most"
    return f"{thinking.kinds} thinking tokens after {thinking.real} real ones, {number} {thinking.most} in a row"
