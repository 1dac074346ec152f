"""The learner: an RLlib `TorchLearner` that applies token weights and knows no algorithm names.

`update_rows` replaces RLlib's batch loop, because rows differ in length: rows are split into minibatches (one optimizer
step each) and these into micro-batches under a token budget, whose gradients add up exactly to the minibatch's, since
every denominator is counted over the whole minibatch. With several learners each takes every n-th row and the gradients
are summed over them: the step is the same whatever their number, up to rounding.

Each adapter has its own AdamW. What was sampled at one temperature is scored at that temperature; the reference is
scored here, with the adapter switched off, for exactly those rows that have a KL weight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from palaestra.envs.seeding import derive
from palaestra.trainers.checkpoint import CheckpointError, TrainingState
from palaestra.trainers.config import RunConfig
from palaestra.trainers.loss import Counts, TokenBatch, token_loss
from palaestra.trainers.module import PolicyModule
from palaestra.trainers.rows import Row, check_lengths, pack
from palaestra.trainers.schedules import schedule


class TokenLearner(TorchLearner):
    """Built by RLlib; one per learner process, or one in the driver."""

    def build(self) -> None:
        """Build module and optimizers."""
        self.run: RunConfig = self.config.run_config()
        if self.run.resources.threads:
            torch.set_num_threads(self.run.resources.threads)
        super().build()
        self.policy.to(self._device)

    @property
    def policy(self) -> PolicyModule:
        """Return the one module, base and adapters."""
        module: PolicyModule = self.module[DEFAULT_MODULE_ID].unwrapped()
        return module

    def configure_optimizers_for_module(self, module_id: str, config: AlgorithmConfig | None = None) -> None:
        """Register one AdamW per adapter."""
        section = self.run.optimizer
        for name in self.policy.names:
            parameters = self.policy.parameters_of(name)
            optimizer = torch.optim.AdamW(parameters, lr=1.0, betas=section.betas, weight_decay=section.weight_decay)
            self.register_optimizer(
                module_id=module_id, optimizer_name=name, optimizer=optimizer, params=parameters, lr_or_lr_schedule=None
            )

    def _make_modules_ddp_if_necessary(self) -> None:
        """Do nothing: gradients are summed over learners by `update_rows`, once per optimizer step."""

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        """Return the token loss of one micro-batch; its metrics are added to ``batch["metrics"]``."""
        loss, metrics = token_loss(
            fwd_out["logprobs"],
            batch["tokens"],
            batch["counts"],
            batch["settings"],
            entropy=fwd_out["entropy"],
            predicted=fwd_out.get("predicted"),
        )
        for name, value in metrics.items():
            batch["metrics"][name] += float(value)
        return loss

    # ------------------------------------------------------------------ one update

    def update_rows(self, rows: Sequence[Row], *, progress: float, iteration: int) -> dict[str, float]:
        """Take the optimizer steps of one iteration.

        Args:
            rows: All rows of the iteration, the same for every learner.
            progress: Share of the run that is done, for schedules.
            iteration: Fixes the order of rows.

        Returns:
            Means over optimizer steps of `token_loss`'s metrics (``tokens`` is a sum), gradient norm and learning rate.
        """
        section = self.run.optimizer
        lr = schedule(section.lr)(progress)
        check_lengths(rows, section.token_budget)  # all rows, so that no learner waits for one that gave up
        # Dropout, where there is any, draws from torch's generator, which no checkpoint holds.
        torch.manual_seed(derive(self.run.seed, "dropout", iteration, self._rank) % 2**63)
        totals: dict[str, float] = defaultdict(float)
        steps = 0
        for epoch in range(section.epochs):
            for minibatch in self._minibatches(rows, iteration, epoch):
                for adapter, mine in self._by_adapter(minibatch).items():
                    norm = self._step(adapter, mine, lr, progress, totals)
                    totals["grad_norm"] += norm
                    steps += 1
        report = {name: value / max(1, steps) for name, value in totals.items() if name != "tokens"}
        return {**report, "tokens": totals["tokens"] / section.epochs, "lr": lr, "steps": float(steps)}

    def _minibatches(self, rows: Sequence[Row], iteration: int, epoch: int) -> Iterator[list[Row]]:
        order = np.random.Generator(np.random.PCG64(derive(self.run.seed, "order", iteration, epoch))).permutation(
            len(rows)
        )
        for part in np.array_split(order, self.run.optimizer.minibatches):
            if len(part):
                yield [rows[index] for index in part]

    def _by_adapter(self, rows: Sequence[Row]) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in rows:
            if any(stream.member.any() for stream in row.streams.values()):
                found.setdefault(row.policy.rpartition("@")[0], []).append(row)
        return dict(sorted(found.items()))

    def _step(self, adapter: str, rows: list[Row], lr: float, progress: float, totals: dict[str, float]) -> float:
        counts = Counts.of(rows)
        settings = self.run.loss.settings(schedule(self.run.loss.entropy)(progress))
        optimizer = self.get_optimizer(DEFAULT_MODULE_ID, adapter)
        parameters = self.policy.parameters_of(adapter)
        optimizer.zero_grad(set_to_none=True)
        metrics: dict[str, float] = defaultdict(float)
        for (temperature, reading), same in self._alike(rows[self._rank :: self._world]).items():
            for micro in pack(same, self.run.optimizer.token_budget):
                tokens = TokenBatch.from_rows(micro, device=self._device)
                batch = {
                    "tokens": tokens,
                    "adapter": adapter,
                    "temperature": temperature,
                    "reading": reading,
                    "entropy_grad": settings.entropy_weight != 0,
                    "counts": counts,
                    "settings": settings,
                    "metrics": metrics,
                }
                if bool(tokens.weight["kl"].any()):
                    with torch.no_grad():
                        tokens.reference = self.policy.forward_inference({**batch, "adapter": None})["logprobs"]
                outputs = {DEFAULT_MODULE_ID: self.policy.forward_train(batch)}
                losses = self.compute_losses(fwd_out=outputs, batch={DEFAULT_MODULE_ID: batch})
                sum(losses.values()).backward()
        self._sum_over_learners(parameters, metrics)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.run.optimizer.max_grad_norm))
        if np.isfinite(norm):
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
        else:
            metrics["skipped_steps"] += 1
        for name, value in metrics.items():
            totals[name] += value
        return norm

    def _alike(self, rows: Sequence[Row]) -> dict[tuple[float, bool], list[Row]]:
        """Group rows by the temperature that their game samples at, and by whether they are readings, with scores."""
        temperatures = {section.game: section.reply.temperature for section in self.run.games}
        found: dict[tuple[float, bool], list[Row]] = {}
        for row in rows:
            found.setdefault((temperatures[row.game], row.scores is not None), []).append(row)
        return dict(sorted(found.items()))

    # ------------------------------------------------------------------ data parallelism

    @property
    def _rank(self) -> int:
        return torch.distributed.get_rank() if self._world > 1 else 0

    @property
    def _world(self) -> int:
        return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1

    def _sum_over_learners(self, parameters: Sequence[torch.nn.Parameter], metrics: dict[str, float]) -> None:
        if self._world == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)
        gathered: list[Any] = [None] * self._world
        torch.distributed.all_gather_object(gathered, dict(metrics))
        metrics.clear()
        for one in gathered:
            for name, value in one.items():
                metrics[name] += value

    # ------------------------------------------------------------------ state

    def training_state(self) -> TrainingState:
        """Return adapters and optimizers as tensors and JSON data; see `palaestra.trainers.checkpoint`."""
        adapters, moments, scalars = {}, {}, {}
        for name in self.policy.names:
            adapters[name] = self.policy.tensors(name)
            state = self.get_optimizer(DEFAULT_MODULE_ID, name).state_dict()
            moments[name] = {
                str(number): {key: value.detach().cpu().clone() for key, value in values.items()}
                for number, values in state["state"].items()
            }
            scalars[name] = [dict(group.items()) for group in state["param_groups"]]
        return TrainingState(adapters, moments, scalars)

    def set_training_state(self, state: TrainingState) -> None:
        """Invert `training_state`.

        Raises:
            CheckpointError: The adapters have other shapes, as after another rank; nothing was changed.
        """
        for name in self.policy.names:
            own = {key: tuple(tensor.shape) for key, tensor in self.policy.tensors(name).items()}
            found = {key: tuple(tensor.shape) for key, tensor in state.adapters.get(name, {}).items()}
            if own != found:
                key = next(key for key in sorted(own.keys() | found.keys()) if own.get(key) != found.get(key))
                raise CheckpointError(
                    f"the checkpoint's adapter {name!r} does not fit: {key} has shape {found.get(key)}, expected "
                    f"{own.get(key)}; resume with the model and the LoRA settings that it was made with."
                )
        for name in self.policy.names:
            self.policy.set_weights(name, state.adapters[name])
            optimizer = self.get_optimizer(DEFAULT_MODULE_ID, name)
            groups = [
                {
                    key: tuple(value) if isinstance(value, list) and key == "betas" else value
                    for key, value in group.items()
                }
                for group in state.scalars[name]
            ]
            moments = {int(number): values for number, values in state.moments.get(name, {}).items()}
            optimizer.load_state_dict({"state": moments, "param_groups": groups})
