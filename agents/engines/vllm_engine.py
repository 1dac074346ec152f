"""A bare engine on vLLM (`AsyncLLM`): the engine contract, kept by somebody else's scheduler.

It passes the conformance suite on vLLM's CPU build; tuning, GPUs in number and remote servers are not its subject.

What differs from the transformers engine:

* Prefix caching goes by content, in blocks of `capabilities.prefill_block` tokens and keyed by the adapter's name. So
  `session` and `release` have nothing to do: any context that begins with a known one reuses it.
* vLLM loads adapters from folders, at first use. `add_policy` checks the adapter against the base's shapes at once, on
  the meta device, and keeps a copy of it in a folder of its own, so that what a name means cannot change on disk.
* Seeded noise is one generator a request. It does not depend on the batch, but two engines of different kinds draw
  different tokens from one seed.

vLLM runs the model in a process of its own, which starts with the first request (on two slow cores after about 100 s)
and belongs to the event loop it was started in. Environment variables of vLLM that were set before are kept.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palaestra.agents.engines.base import (
    BASE,
    Adapter,
    AdapterError,
    Capabilities,
    Completion,
    ContextOverflow,
    EngineClosed,
    EngineError,
    Sampling,
    UnknownPolicy,
)

_BLOCK = 32


class VllmEngine:
    """Serves a model folder with vLLM.

    Args:
        model: A folder with a transformers model.
        dtype: `float32`, `bfloat16`, or `auto` for the model's own.
        context_length: Longest context; by default the model's.
        max_rows: Most rows in one step.
        max_adapters: Most adapters in one step; others wait.
        max_rank: Largest rank of an adapter: 1, 8, 16, 32, 64, ...
        kv_gib: Memory for keys and values on a CPU.
        patterns: Load the folder's tokenizer, so that replies can be held to a pattern.
        options: Further arguments of vLLM's `AsyncEngineArgs`.

    Raises:
        EngineError: vLLM is not installed.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        dtype: str = "auto",
        context_length: int | None = None,
        max_rows: int = 64,
        max_adapters: int = 4,
        max_rank: int = 16,
        kv_gib: int = 1,
        patterns: bool = False,
        **options: Any,
    ) -> None:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(kv_gib))
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        try:
            import vllm  # noqa: F401
        except ImportError as error:
            raise EngineError("vLLM is not installed here; run `make vllm`, or use the transformers engine.") from error
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        from palaestra.agents.engines.lora import AdapterReader

        self.model = str(model)
        config = AutoConfig.from_pretrained(self.model)
        text = config.get_text_config()
        with torch.device("meta"):
            skeleton = AutoModelForCausalLM.from_config(config)
        self._reader = AdapterReader(skeleton)
        self.vocab_size = int(skeleton.get_output_embeddings().weight.shape[0])
        self.context_length = context_length or int(text.max_position_embeddings)
        precise = (str(text.dtype) if dtype == "auto" else dtype).removeprefix("torch.") == "float32"
        self.capabilities = Capabilities(
            exact_seeds=precise,
            prefill_block=_BLOCK,
            logprob_tolerance=1e-3 if precise else 0.15,
            patterns=patterns,
        )
        self._max_rank = max_rank
        self._options = {
            "model": self.model,
            "dtype": dtype,
            "max_model_len": self.context_length,
            "max_num_seqs": max_rows,
            "enable_lora": True,
            "max_loras": max_adapters,
            "max_lora_rank": max_rank,
            # Without lm_head: wrapped for LoRA, it cannot compute the log-probabilities of prompts (vLLM 16668).
            "lora_target_modules": sorted(
                {
                    path.rpartition(".")[2]
                    for path, module in skeleton.named_modules()
                    if isinstance(module, torch.nn.Linear) and module is not skeleton.get_output_embeddings()
                }
            ),
            "block_size": _BLOCK,
            "enable_prefix_caching": True,
            "enforce_eager": True,
            "skip_tokenizer_init": not patterns,
            "logprobs_mode": "processed_logprobs",
            "enable_log_requests": False,
            "disable_log_stats": True,
            **options,
        }
        from vllm.platforms import current_platform

        if current_platform.is_cpu():
            # vLLM 0.30 rewinds a seeded request's generator after each chunk of its prompt, which a CPU generator
            # cannot do ("CPU Generator does not use offset"): so prompts are read whole.
            self._options.setdefault("enable_chunked_prefill", False)
            self._options.setdefault("max_num_batched_tokens", max(2048, self.context_length))
        self._adapters: dict[str, Any] = {}  # name -> LoRARequest
        self._digests: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._folder = Path(tempfile.mkdtemp(prefix="palaestra-vllm-"))
        self._llm: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = asyncio.Lock()
        self._chores: list[Any] = []  # what was asked for outside of a coroutine: functions of the AsyncLLM
        self._flight: dict[asyncio.Task[Any], str] = {}
        self._closed = False

    async def generate(
        self, context: Sequence[int], sampling: Sampling, *, policy: str = BASE, session: str | None = None
    ) -> Completion:
        """See `Engine.generate`."""
        tokens = self._checked(context, sampling.max_tokens, policy)
        held = self._held(sampling)
        output = await self._request(
            tokens,
            policy,
            temperature=sampling.temperature,
            seed=sampling.seed,
            max_tokens=sampling.max_tokens,
            stop_token_ids=list(sampling.stop_ids),
            logprobs=0,
            **held,
        )
        reply = output.outputs[0]
        return Completion(
            token_ids=tuple(reply.token_ids),
            logprobs=tuple(at[token].logprob for at, token in zip(reply.logprobs, reply.token_ids, strict=True)),
            finish="stop" if reply.finish_reason == "stop" else "length",
            policy=policy,
            prefilled=len(tokens) - (output.num_cached_tokens or 0),
        )

    async def score(self, tokens: Sequence[int], *, policy: str = BASE) -> list[float]:
        """See `Engine.score`."""
        known = self._checked(tokens, 0, policy)
        if len(known) == 1:
            return []
        # vLLM always samples a token: so the last one is looked up in the distribution after the others.
        output = await self._request(
            known[:-1], policy, temperature=0, max_tokens=1, logprob_token_ids=[known[-1]], prompt_logprobs=0
        )
        inner = [at[token].logprob for at, token in zip(output.prompt_logprobs[1:], known[1:-1], strict=True)]
        return [*inner, output.outputs[0].logprobs[0][known[-1]].logprob]

    def add_policy(self, name: str, adapter: Adapter) -> None:
        """See `Engine.add_policy`; vLLM loads the adapter at its first use. Thinking tokens are refused."""
        if name == BASE:
            raise AdapterError(f"{BASE!r} names the model without an adapter; give the adapter another name.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the skeleton has shapes only, so torch says that copying did nothing
            parts = self._reader.read(name, adapter)
        if parts.rows is not None:
            raise AdapterError(
                f"adapter {name!r} has thinking tokens, which vLLM cannot serve; serve it with the transformers engine."
            )
        from vllm.lora.request import LoRARequest

        digest = parts.digest
        if self._digests.get(name, digest) != digest:
            raise AdapterError(
                f"policy {name!r} already names other weights, and a name means one set of weights for ever; "
                "publish these under a new version."
            )
        if name in self._adapters:
            return
        number = next(self._numbers)
        folder = self._folder / str(number)
        self._keep(name, adapter, folder)
        self._digests[name] = digest
        self._adapters[name] = LoRARequest(name, number, str(folder))

    def remove_policy(self, name: str) -> None:
        """See `Engine.remove_policy`."""
        if name not in self._adapters:
            raise UnknownPolicy(f"policy {name!r} cannot be removed: the engine serves {', '.join(self.policies())}.")
        if name in self._flight.values():
            raise EngineError(f"policy {name!r} has requests in flight; await or cancel them before removing it.")
        request = self._adapters.pop(name)
        self._chores.append(lambda llm: llm.remove_lora(request.lora_int_id))

    def policies(self) -> tuple[str, ...]:
        """See `Engine.policies`."""
        return (BASE, *self._adapters)

    def release(self, session: str) -> None:
        """Nothing: vLLM's cache goes by content and evicts what is used least."""

    def forget(self) -> None:
        """See `Engine.forget`; takes effect before the next request."""
        self._chores.append(lambda llm: llm.reset_prefix_cache())

    async def aclose(self) -> None:
        """See `Engine.aclose`."""
        self._closed = True
        for task in list(self._flight):
            task.cancel()
        await asyncio.gather(*self._flight, return_exceptions=True)
        if self._llm is not None:
            self._llm.shutdown()
            self._llm = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _checked(self, context: Sequence[int], room: int, policy: str) -> list[int]:
        if self._closed:
            raise EngineClosed("the engine is closed; make a new one.")
        if policy not in self.policies():
            raise UnknownPolicy(f"no policy is named {policy!r}: the engine serves {', '.join(self.policies())}.")
        tokens = [int(token) for token in context]
        if not tokens or len(tokens) + room > self.context_length:
            raise ContextOverflow(
                f"a context of {len(tokens)} tokens and a reply of up to {room} do not fit: the model reads 1 to "
                f"{self.context_length} in all; open a new segment or lower max_tokens."
            )
        if min(tokens) < 0 or max(tokens) >= self.vocab_size:
            bad = min(tokens) if min(tokens) < 0 else max(tokens)
            raise ValueError(f"token id {bad} is outside the model's vocabulary of {self.vocab_size}.")
        return tokens

    def _held(self, sampling: Sampling) -> dict[str, Any]:
        """Return vLLM's parameter that holds a reply to its pattern."""
        if not sampling.pattern:
            return {}
        if not self.capabilities.patterns:
            raise ValueError("a pattern needs the model's tokenizer; make the engine with patterns=True.")
        if not sampling.stop_ids:
            raise ValueError("a reply with a pattern ends with a stop token; give stop_ids.")
        from vllm.sampling_params import StructuredOutputsParams

        return {"structured_outputs": StructuredOutputsParams(regex=sampling.pattern)}

    def _keep(self, name: str, adapter: Adapter, folder: Path) -> None:
        """Write the adapter to a folder of our own, as vLLM reads it."""
        from peft import LoraConfig
        from safetensors.torch import save_file

        if isinstance(adapter, tuple):
            config, tensors = adapter[:2]
            config.save_pretrained(str(folder))
            save_file(
                {key: value.detach().cpu().contiguous() for key, value in tensors.items()},
                folder / "adapter_model.safetensors",
            )
        else:
            folder.mkdir()
            for file in ("adapter_config.json", "adapter_model.safetensors"):
                shutil.copyfile(Path(adapter) / file, folder / file)
            config = LoraConfig.from_pretrained(str(folder))
        unknown = [option for option in ("rank_pattern", "alpha_pattern") if getattr(config, option)]
        if unknown:
            raise AdapterError(f"adapter {name!r} uses {unknown[0]}, which vLLM ignores; serve it with transformers.")
        if config.r > self._max_rank:
            raise AdapterError(f"adapter {name!r} has rank {config.r}; start the engine with max_rank={config.r}.")

    async def _request(self, tokens: list[int], policy: str, **parameters: Any) -> Any:
        llm = await self._started()
        while self._chores and not self._flight:
            await self._chores.pop(0)(llm)
        task = asyncio.ensure_future(self._last_output(llm, tokens, policy, parameters))
        self._flight[task] = policy
        try:
            return await task
        except asyncio.CancelledError:
            if self._closed and task.cancelled():
                raise EngineClosed("the engine was closed while the request was in flight.") from None
            raise
        finally:
            task.cancel()
            self._flight.pop(task, None)

    async def _last_output(self, llm: Any, tokens: list[int], policy: str, parameters: dict[str, Any]) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

        sampling = SamplingParams(
            top_p=1.0,
            top_k=0,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            **parameters,
        )
        request = f"palaestra-{next(self._numbers)}"
        last = None
        try:
            async for output in llm.generate(
                {"prompt_token_ids": tokens}, sampling, request, lora_request=self._adapters.get(policy)
            ):
                last = output
        except EngineDeadError as error:
            raise EngineError("vLLM's process ended; its log above says why. Make a new engine.") from error
        if last is None or not last.finished:
            raise EngineError(f"vLLM ended request {request} without a reply; its log says why.")
        return last

    async def _started(self) -> Any:
        loop = asyncio.get_running_loop()
        async with self._starting:
            if self._llm is None:
                from vllm.engine.arg_utils import AsyncEngineArgs
                from vllm.v1.engine.async_llm import AsyncLLM

                self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**self._options))
                self._loop = loop
        if self._loop is not loop:
            raise EngineError("vLLM was started in another event loop; use one loop for its whole life.")
        return self._llm
