"""A run: one self-play training with everything it leaves behind in one folder.

    config.yaml         the resolved configuration
    metrics.jsonl       one line per iteration (`palaestra.trainers.summary.Summary`)
    tensorboard/        the same numbers as events
    replays/train/      every training game, ``ITERATION-EPISODE.jsonl``
    replays/before, replays/after    the evaluations' games
    adapters/NAME@N/    every version as a PEFT folder
    checkpoints/        what `resume` goes on from
    evaluation.json     scores before and after
    adapter/            the final adapter (adapter-GAME/ where each game has its own)
    report.html         all of it for a reader

`train` makes the folder and `resume` goes on in it; both are the same loop, which at any moment can be killed and
resumed. Ctrl-C ends the iteration in progress with a checkpoint of the last complete one; a second Ctrl-C stops at
once.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml
from tensorboardX import SummaryWriter

from palaestra.envs.errors import PalaestraError
from palaestra.trainers import cluster
from palaestra.trainers.algorithm import SelfPlay, SelfPlayConfig
from palaestra.trainers.checkpoint import Checkpoints
from palaestra.trainers.config import ConfigError, RunConfig, parse_config
from palaestra.trainers.plan import Plan, plan_of
from palaestra.trainers.summary import Score, Summary, score
from palaestra.trainers.tasks import evaluation_tasks


class RunError(PalaestraError):
    """A run folder that cannot be used as asked."""


class Interrupted(PalaestraError):
    """The user stopped the run; it can be resumed."""


class Watcher(Protocol):
    """Is told how a run gets on; the command line's live table is one."""

    def planned(self, plan: Plan) -> None: ...
    def began(self, what: str) -> None: ...
    def evaluated(self, when: str, scores: list[Score]) -> None: ...
    def iterated(self, summary: Summary, seconds_left: float) -> None: ...


class Silence:
    """A watcher that does nothing."""

    def planned(self, plan: Plan) -> None: ...
    def began(self, what: str) -> None: ...
    def evaluated(self, when: str, scores: list[Score]) -> None: ...
    def iterated(self, summary: Summary, seconds_left: float) -> None: ...


@dataclass(slots=True)
class Run:
    """A run and its folder.

    Args:
        config: The resolved configuration.
        folder: The run folder.
        watcher: Told of every step.
    """

    config: RunConfig
    folder: Path
    watcher: Watcher = field(default_factory=Silence)
    _stop: bool = field(default=False, init=False)

    @property
    def checkpoints(self) -> Checkpoints:
        """Return the run's checkpoints."""
        return Checkpoints(self.folder / "checkpoints", self.config.checkpoint.keep)

    def execute(self) -> Path:
        """Train to the end from wherever the folder stands; return the folder.

        Raises:
            Interrupted: After Ctrl-C; everything finished is on the disk.
            PalaestraError: Anything else that ends a run, in one sentence.
        """
        self.watcher.planned(plan_of(self.config))
        self.watcher.began("starting Ray, runners and learner")
        with cluster.connected(self.config.resources.address), self._one_at_a_time(), self._interruptible():
            algorithm = SelfPlayConfig().self_play(self.config, folder=self.folder).build_algo()
            try:
                self._loop(algorithm)
            finally:
                algorithm.stop()
        return self.folder

    def _loop(self, algorithm: SelfPlay) -> None:
        checkpoints = self.checkpoints
        checkpoints.folder.mkdir(parents=True, exist_ok=True)
        if (latest := checkpoints.latest()) is not None:
            algorithm.load_checkpoint(str(latest))
        else:
            checkpoints.save(algorithm, 0)
        done = algorithm.training_iteration
        self._forget_after(done)
        self._evaluate(algorithm, "before", dict.fromkeys(self.config.adapter_names(), 0))
        writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=done, write_to_disk=True)
        seconds: list[float] = []
        try:
            while algorithm.training_iteration < self.config.iterations:
                self._check_stop(algorithm.training_iteration)
                began = time.perf_counter()
                algorithm.train()
                summary = algorithm.summary
                assert summary is not None
                seconds.append(time.perf_counter() - began)
                self._record(summary, writer)
                finished = algorithm.training_iteration
                if finished % self.config.checkpoint.every == 0 or finished == self.config.iterations or self._stop:
                    checkpoints.save(algorithm, finished)
                recent = seconds[-5:]
                self.watcher.iterated(summary, (self.config.iterations - finished) * sum(recent) / len(recent))
        finally:
            writer.close()
        self._evaluate(algorithm, "after", dict(algorithm.numbers))
        self._publish_final(algorithm)

    def _record(self, summary: Summary, writer: SummaryWriter) -> None:
        line = json.dumps(_finite(summary.to_json()), separators=(",", ":"))
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        for key, value in summary.flat().items():
            writer.add_scalar(key, value, summary.iteration)
        writer.flush()

    def _forget_after(self, iteration: int) -> None:
        """Drop the metrics and adapter versions of iterations that will be played again."""
        metrics = self.folder / "metrics.jsonl"
        if metrics.is_file():
            kept = [line for line in _complete_lines(metrics) if json.loads(line)["iteration"] < iteration]
            part = metrics.with_suffix(".part")
            part.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
            part.replace(metrics)
        for version in (self.folder / "adapters").glob("*@*"):
            if int(version.name.rpartition("@")[2]) > iteration:
                shutil.rmtree(version)

    def _evaluate(self, algorithm: SelfPlay, when: str, numbers: dict[str, int]) -> None:
        """Measure every game's adapter against the fixed opponent, once per ``when``."""
        if self.config.evaluation.pairs == 0 or when in self.evaluation():
            return
        self._check_stop(algorithm.training_iteration)
        self.watcher.began(f"evaluation {when} training, against {self.config.evaluation.opponent}")
        scores = []
        for index, section in enumerate(self.config.games):
            name = self.config.adapter_of(index)
            tasks = evaluation_tasks(
                section,
                game_index=index,
                pairs=self.config.evaluation.pairs,
                seed=self.config.seed,
                policy=f"{name}@{numbers[name]}",
                opponent=self.config.evaluation.opponent,
                replays=str(self.folder / "replays" / when),
                meta={"run": self.config.name, "evaluation": when},
            )
            scores.append(score(algorithm.play(tasks), self.config.evaluation.opponent))
        whole = {**self.evaluation(), when: [_finite(one.to_json()) for one in scores]}
        part = self.folder / "evaluation.json.part"
        part.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        part.replace(self.folder / "evaluation.json")
        self.watcher.evaluated(when, scores)

    def evaluation(self) -> dict[str, Any]:
        """Return what has been measured, by ``"before"`` and ``"after"``."""
        path = self.folder / "evaluation.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def _publish_final(self, algorithm: SelfPlay) -> None:
        for name in self.config.adapter_names():
            final = self.folder / ("adapter" if self.config.adapters == "shared" else f"adapter-{name}")
            weights = algorithm.weights(name)
            weights.publish(
                final, base=algorithm.fingerprint, run=self.config.name, iteration=algorithm.training_iteration
            )

    # ------------------------------------------------------------------ being stopped

    def _check_stop(self, iteration: int) -> None:
        if self._stop:
            raise Interrupted(
                f"stopped after iteration {iteration} of {self.config.iterations}; "
                f"`palaestra resume {self.folder}` goes on."
            )

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Turn the first Ctrl-C into a wish to stop; a second one raises KeyboardInterrupt at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(signum: int, frame: Any) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True
            self.watcher.began("stopping after this iteration; press Ctrl-C again to stop at once")

        previous = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Hold the folder's lock, so that two processes cannot train into one folder."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"run folder {self.folder} is in use by another process; wait for it or stop it first."
            ) from None
        try:
            yield
        finally:
            lock.release()


def train(config: RunConfig, folder: str | Path | None = None, watcher: Watcher | None = None) -> Path:
    """Train a new run and return its folder.

    Args:
        config: What to train.
        folder: Where; by default ``runs/NAME``, which must not hold a run yet.
        watcher: Told of every step.

    Raises:
        RunError: The folder holds a run already.
    """
    path = Path(folder) if folder is not None else Path("runs") / config.name
    if (path / "config.yaml").exists():
        raise RunError(
            f"run folder {path} holds a run already; `palaestra resume {path}` goes on with it, "
            f"or choose another with --folder or --set name=..."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.yaml").write_text(
            yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8"
        )
    except OSError as error:
        raise RunError(
            f"run folder {path} cannot be written ({error.strerror}); choose another with --folder."
        ) from None
    return Run(config, path.resolve(), watcher or Silence()).execute()


def resume(folder: str | Path, watcher: Watcher | None = None) -> Path:
    """Go on with a run from its last checkpoint; a finished run is left as it is.

    Raises:
        RunError: The folder holds no run.
    """
    return open_run(folder, watcher).execute()


def open_run(folder: str | Path, watcher: Watcher | None = None) -> Run:
    """Return the run in a folder."""
    path = Path(folder)
    try:
        data = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{path} is no run folder (it has no config.yaml); `palaestra train CONFIG` makes one."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path / 'config.yaml'} is no valid YAML: {' '.join(str(error).split())}") from None
    return Run(parse_config(data, "config.yaml"), path.resolve(), watcher or Silence())


def _complete_lines(path: Path) -> list[str]:
    """Return the lines of a file that end in a newline and hold JSON."""
    lines = []
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        try:
            json.loads(line)
        except ValueError:
            continue
        lines.append(line)
    return lines


def _finite(data: Any) -> Any:
    """Return JSON data with NaN and infinities as null."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
