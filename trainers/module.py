"""The policy module: one frozen base model and the LoRA adapters that are trained on it, as an RLlib `TorchRLModule`.

The *reference* is the base with no adapter. If training starts from an adapter (``model.source: smollm2@runs/x``), that
adapter is frozen too and is the reference, and every trained adapter begins as a copy of it. If it has thinking tokens,
so have they, and what is scored is the joint distribution that engines draw from (`palaestra.agents.thinking`); if it
has none, the run's configuration may give them some (``model.thinking``). The module's state is its adapters alone: the
base is never saved, sent or changed.

Only the tokens that count are scored (`palaestra.trainers.loss.score_hidden`): the vocabulary head, a good part of a
small model, sees nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from palaestra.agents.engines.canary import plain_score
from palaestra.agents.models.heads import head_is_plain
from palaestra.agents.thinking import ADVANCE, thinking_of
from palaestra.agents.thinking_adapter import token_fields
from palaestra.envs.seeding import derive
from palaestra.trainers.adapters import AdapterWeights, Canary
from palaestra.trainers.base_model import base_model
from palaestra.trainers.config import RunConfig
from palaestra.trainers.loss import TokenBatch, score_hidden, score_rows

REFERENCE = "reference"
"""Name of the frozen start adapter, where there is one."""
CANARY_TOKENS = 12
IMPOSSIBLE = -1e30


class PolicyModule(TorchRLModule):
    """Built by RLlib from ``model_config={"run": ...}``, the resolved run configuration as plain data."""

    peft: Any  # a peft.PeftModel, whose delegated attributes a type checker cannot see

    def setup(self) -> None:
        """Load the base and add the adapters, whose first weights are a function of the run's seed."""
        config = RunConfig.model_validate(self.model_config["run"])
        self._base = base_model(config)  # held, so that a local runner finds it
        loaded, tree = self._base.loaded, self._base.tree()
        self.fingerprint = loaded.fingerprint
        self.names = config.adapter_names()
        self._lora: dict[str, Any] = lora_fields(config)
        if loaded.adapter is None and thinking_of(tree) is not None:
            self._lora |= token_fields(tree)
        # PEFT's names are parts of module paths, which a user's name, with its dots, cannot be.
        self._inside = {name: f"trained{number}" for number, name in enumerate(self.names)}
        self._reference: str | None = None
        if loaded.adapter is not None:
            start = PeftModel.from_pretrained(tree, str(loaded.adapter), adapter_name=REFERENCE, is_trainable=False)
            self._lora = _fields_of(start.peft_config[REFERENCE])
            if "trainable_token_indices" not in self._lora and thinking_of(tree) is not None:
                self._lora |= token_fields(tree)
            weights = _tensors(start, REFERENCE)
            for inside in self._inside.values():
                start.add_adapter(inside, LoraConfig(**self._lora))
                whole = {**_tensors(start, inside), **weights}  # the rows of new thinking tokens are not in the start
                set_peft_model_state_dict(start, whole, adapter_name=inside)
            self.peft, self._reference = start, REFERENCE
        else:
            with torch.random.fork_rng(devices=[]):
                for number, name in enumerate(self.names):
                    torch.manual_seed(derive(config.seed, "adapter", name) % 2**63)
                    if number == 0:
                        self.peft = get_peft_model(tree, LoraConfig(**self._lora), adapter_name=self._inside[name])
                    else:
                        self.peft.add_adapter(self._inside[name], LoraConfig(**self._lora))
        self.thinking = thinking_of(tree)
        for name, parameter in self.peft.named_parameters():
            if _trained(name):
                parameter.data = parameter.data.float()
                parameter.requires_grad_(not _belongs(name, REFERENCE))
        with self.peft.disable_adapter():
            self._plain_head = head_is_plain(self.peft.get_base_model())

    # ------------------------------------------------------------------ forward

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        """Score one micro-batch: ``batch`` holds a `TokenBatch`, the adapter's name (None: the reference), the
        temperature of sampling, whether the entropy needs a gradient, and whether the rows are readings. Returns
        ``logprobs`` and ``entropy``, float32[B, T], and for readings, where these are about decisions, ``predicted``,
        the log-probabilities of real tokens. Rows of the same tokens are computed once; with dropout they share its
        draws."""
        everything: TokenBatch = batch["tokens"]
        tokens, place = everything.once()
        model = self.peft.get_base_model()
        entropy_grad = batch.get("entropy_grad", False)
        if batch.get("reading"):
            return {name: values[place] for name, values in self._read(tokens, batch, entropy_grad).items()}
        room = None if self.thinking is None else self.thinking.room(tokens.tokens)
        with self.using(batch.get("adapter")):
            if not self._plain_head:
                logits = model(input_ids=tokens.tokens, attention_mask=tokens.attention.long(), use_cache=False).logits
                logits = self._joint(logits, room)
                logprobs, entropy = score_rows(logits, tokens.tokens, batch["temperature"], entropy_grad=entropy_grad)
                return {"logprobs": logprobs[place], "entropy": entropy[place]}
            body = model.get_decoder()
            hidden = body(
                input_ids=tokens.tokens, attention_mask=tokens.attention.long(), use_cache=False
            ).last_hidden_state
            head = model.get_output_embeddings()
            needed = None if room is None else room[:, :-1][tokens.scored[:, 1:]]
            logprobs, entropy = score_hidden(
                hidden,
                lambda states: self._joint(head(states), needed),
                tokens,
                batch["temperature"],
                entropy_grad=entropy_grad,
            )
        return {"logprobs": logprobs[place], "entropy": entropy[place]}

    def _read(self, batch: TokenBatch, settings: dict[str, Any], entropy_grad: bool) -> dict[str, Tensor]:
        """Score readings: decisions and predicted tokens apart, only where a stream needs them."""
        thinking = self.thinking
        if thinking is None:
            raise ValueError("rows with scores need a model with thinking tokens; give model.thinking, or an adapter")
        needed = batch.scored[:, 1:]
        model = self.peft.get_base_model()
        ids: dict[str, Any] = {"input_ids": batch.tokens, "attention_mask": batch.attention.long(), "use_cache": False}
        with self.using(settings.get("adapter")):
            if self._plain_head:
                hidden = model.get_decoder()(**ids).last_hidden_state
                logits = model.get_output_embeddings()(hidden[:, :-1][needed])
            else:
                logits = model(**ids).logits[:, :-1][needed]
        following = batch.tokens[:, 1:][needed]
        decisions = thinking.decisions(logits).clamp(min=IMPOSSIBLE)
        kind = torch.where(following >= thinking.real, following - thinking.real + 1, ADVANCE)
        real = thinking.real_logprobs(logits).gather(-1, following.clamp(max=thinking.real - 1)[:, None])[:, 0]
        with torch.set_grad_enabled(entropy_grad and torch.is_grad_enabled()):
            entropy = -(decisions.exp() * decisions).sum(-1)
        found = {"logprobs": decisions.gather(-1, kind[:, None])[:, 0], "entropy": entropy, "predicted": real}
        row, column = needed.nonzero(as_tuple=True)
        return {
            name: values.new_zeros(batch.tokens.shape).index_put((row, column + 1), values)
            for name, values in found.items()
        }

    def _joint(self, logits: Tensor, room: Tensor | None) -> Tensor:
        """Return logits of what engines draw from; what is impossible is finite, or no entropy could be computed."""
        return logits if self.thinking is None else self.thinking.joint(logits, room).clamp(min=IMPOSSIBLE)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        return self._forward(batch, **kwargs)

    @contextmanager
    def using(self, adapter: str | None) -> Iterator[None]:
        """Run with one of the trained adapters, or with the frozen reference for None."""
        if adapter is not None:
            self._activate(self._inside[adapter])
            yield
        elif self._reference is not None:
            self._activate(self._reference)
            yield
        else:
            with self.peft.disable_adapter():
                yield
            self._activate(self._inside[self.names[0]])

    def _activate(self, name: str) -> None:
        self.peft.set_adapter(name)
        for key, parameter in self.peft.named_parameters():  # set_adapter freezes the adapters it leaves
            if _trained(key):
                parameter.requires_grad_(not _belongs(key, REFERENCE))

    # ------------------------------------------------------------------ state: the adapters

    def parameters_of(self, adapter: str) -> list[torch.nn.Parameter]:
        """Return the trainable parameters of one adapter, in a fixed order."""
        return [
            parameter
            for name, parameter in sorted(self.peft.named_parameters())
            if _belongs(name, self._inside[adapter]) and _trained(name)
        ]

    def weights(self, adapter: str) -> AdapterWeights:
        """Return a copy of one adapter's weights, with a canary."""
        vocabulary = self.peft.get_base_model().config.get_text_config().vocab_size
        if self.thinking is not None:
            vocabulary = self.thinking.real  # the base has no others
        prompt = tuple((17 * place * place + 5) % vocabulary for place in range(CANARY_TOKENS))
        with self.peft.disable_adapter():
            base = plain_score(self.peft, prompt)
        with self.using(adapter):
            canary = Canary(prompt, tuple(plain_score(self.peft, prompt, self.thinking)), tuple(base))
        return AdapterWeights(self._lora, self.tensors(adapter), canary, self.thinking)

    def tensors(self, adapter: str) -> dict[str, Tensor]:
        """Return a copy of one adapter's tensors on the CPU."""
        return {
            name: tensor.detach().cpu().clone() for name, tensor in _tensors(self.peft, self._inside[adapter]).items()
        }

    def set_weights(self, adapter: str, tensors: Mapping[str, Tensor]) -> None:
        """Replace one adapter's weights."""
        set_peft_model_state_dict(self.peft, dict(tensors), adapter_name=self._inside[adapter])

    def get_state(self, *args: Any, inference_only: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Return all adapters as numpy arrays, by adapter."""
        return {name: {key: tensor.numpy() for key, tensor in self.tensors(name).items()} for name in self.names}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Invert `get_state`."""
        for name, tensors in state.items():
            self.set_weights(name, {key: torch.as_tensor(value) for key, value in tensors.items()})


def lora_fields(config: RunConfig) -> dict[str, Any]:
    """Return the fields of `peft.LoraConfig` that a run's adapters have."""
    lora = config.model.lora
    return {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": lora.targets,
        "task_type": "CAUSAL_LM",
    }


def _fields_of(config: Any) -> dict[str, Any]:
    modules = config.target_modules
    return {
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": 0.0,
        "target_modules": modules if isinstance(modules, str) else sorted(modules),
        "task_type": "CAUSAL_LM",
        **({"trainable_token_indices": rows} if (rows := config.trainable_token_indices) else {}),
    }


def _tensors(peft: Any, adapter: str) -> dict[str, Tensor]:
    # Where the vocabulary grew, PEFT would otherwise add both tables whole.
    extended = thinking_of(peft) is not None
    found: dict[str, Tensor] = get_peft_model_state_dict(
        peft, adapter_name=adapter, **({"save_embedding_layers": False} if extended else {})
    )
    return found


def _trained(name: str) -> bool:
    """Return whether a parameter is one of adapters: a matrix, or the rows of thinking tokens."""
    return "lora_" in name or "trainable_tokens_delta" in name


def _belongs(name: str, adapter: str) -> bool:
    return adapter in name.split(".")
