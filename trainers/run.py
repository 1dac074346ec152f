"""A run: one self-play training with everything it leaves behind in one folder.

    config.yaml         the resolved configuration
    metrics.jsonl       one line per iteration (`palaestra.trainers.summary.Summary`)
    tensorboard/        the same numbers as events
    replays/train/      every training game, ``ITERATION-EPISODE.jsonl``
    replays/before, replays/after    the evaluations' games
    adapters/NAME@N/    every version as a PEFT folder
    checkpoints/        what `resume` goes on from
    evaluation.json     scores before and after
    comparison.json     of a run of several games: every adapter, and the base, on every game
    adapter/            the final adapter (adapter-GAME/ where each game has its own)
    report.html         all of it for a reader

`train` makes the folder and `resume` goes on in it; both are the same loop, which at any moment can be killed and
resumed. Ctrl-C ends the iteration in progress with a checkpoint of the last complete one; a second Ctrl-C stops at
once.
"""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from palaestra.agents.models import adapters
from palaestra.agents.models.disk import replace_text
from palaestra.envs.errors import PalaestraError
from palaestra.trainers import checkpoint, cluster, compare, quiet
from palaestra.trainers.algorithm import SelfPlay, SelfPlayConfig
from palaestra.trainers.checkpoint import Checkpoints
from palaestra.trainers.config import ConfigError, RunConfig, parse_config
from palaestra.trainers.config_file import NO_YAML
from palaestra.trainers.hindsight import gate
from palaestra.trainers.hindsight.pages import REVIEWS
from palaestra.trainers.metrics import MetricsLog, complete_lines, finite
from palaestra.trainers.plan import Plan, plan_of
from palaestra.trainers.runner import HERE
from palaestra.trainers.settle import settle
from palaestra.trainers.summary import Score, Summary, score
from palaestra.trainers.tasks import evaluation_tasks

MAY_CHANGE = ("iterations", "resources", "checkpoint", "replays", "optimizer.token_budget")
"""What may be edited between parts of a run: none of it decides what a step does, up to rounding."""


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
        with self._one_at_a_time(), self._interruptible():
            try:
                config = settle(self.config)
                self._check_unedited(config)
                self.evaluation()  # if it is damaged, this is said before anything starts
                if self.finished():
                    return self.folder
                self.watcher.began("starting Ray, runners and learner")
                processes = config.resources.runners + config.resources.learners
                with cluster.connected(config.resources.address, processes):
                    with quiet.without_line():
                        algorithm = SelfPlayConfig().self_play(config, folder=self.folder).build_algo()
                    try:
                        self._loop(algorithm)
                    finally:
                        algorithm.stop()
            except KeyboardInterrupt:
                raise Interrupted(f"stopped at once; {self._goes_on()}") from None
        return self.folder

    def abandon(self) -> None:
        """Remove a folder in which nothing has been trained; what others put there stays."""
        for version in self.config.adapter_names():
            shutil.rmtree(self.folder / "adapters" / f"{version}@0", ignore_errors=True)
        for name in ("config.yaml", ".lock", "failure.log", f"replays/{HERE}"):
            (self.folder / name).unlink(missing_ok=True)
        for name in ("adapters", "replays", "."):
            with suppress(OSError):
                (self.folder / name).rmdir()

    def finished(self) -> bool:
        """Say whether all of it is on the disk: iterations, evaluations, final adapters."""
        latest = self.checkpoints.latest()
        if latest is None or int(latest.name) < self.config.iterations:
            return False
        measured = self.config.evaluation.pairs == 0 or "after" in self.evaluation()
        measured = measured and (self.comparison() is not None or not compare.compares(self.config))
        finals = [self.final_of(number) for number in range(len(self.config.games))]
        return measured and all(
            final.is_dir() and adapters.facts(final).get("iteration") == int(latest.name) for final in finals
        )

    def _loop(self, algorithm: SelfPlay) -> None:
        if (latest := self.checkpoints.latest()) is not None:
            algorithm.load_checkpoint(str(latest))
        else:
            self.checkpoints.save(algorithm, 0)
        self._forget_versions_after(algorithm.training_iteration)
        self._forget_old_end(algorithm.training_iteration)
        self._forget_reviews_after(algorithm.training_iteration)
        if algorithm.training_iteration == 0:
            self._evaluate(algorithm, "before")
        self._pass_gate(algorithm)
        log = MetricsLog(self.folder, algorithm.training_iteration)
        seconds: list[float] = []
        if algorithm.training_iteration < self.config.iterations:
            self.watcher.began("playing and learning")
        try:
            while algorithm.training_iteration < self.config.iterations:
                self._check_stop(algorithm)
                began = time.perf_counter()
                algorithm.train()
                summary = algorithm.summary
                assert summary is not None
                seconds.append(time.perf_counter() - began)
                log.add(summary)
                finished = algorithm.training_iteration
                if finished % self.config.checkpoint.every == 0 or finished == self.config.iterations:
                    self.checkpoints.save(algorithm, finished)
                recent = seconds[-5:]
                self.watcher.iterated(summary, (self.config.iterations - finished) * sum(recent) / len(recent))
        finally:
            log.close()
        self._evaluate(algorithm, "after")
        self._compare(algorithm)
        self._publish_final(algorithm)

    def _pass_gate(self, algorithm: SelfPlay) -> None:
        """Measure what hindsight is worth to the reference, once, and do without it if that is nothing."""
        section = self.config.hindsight
        if section is None or not section.gate:
            return
        path = self.folder / gate.FILE
        if not path.is_file():
            self.watcher.began("measuring what hindsight is worth to the reference")
            found = gate.measure(algorithm.run, algorithm.play, algorithm.score)
            replace_text(path, json.dumps(finite(found.to_json()), indent=1) + "\n")
        measured = json.loads(path.read_text(encoding="utf-8"))
        self.watcher.began(str(measured["sentence"]))
        if not measured["passed"]:
            algorithm.hindsight = None

    def _forget_reviews_after(self, iteration: int) -> None:
        """Drop the reviews of iterations that will be played again."""
        path = self.folder / REVIEWS
        if path.is_file():
            kept = [line for line in complete_lines(path) if json.loads(line)["iteration"] < iteration]
            replace_text(path, "".join(line + "\n" for line in kept))

    def _forget_versions_after(self, iteration: int) -> None:
        """Drop the adapter versions of iterations that will be played again."""
        for version in (self.folder / "adapters").glob("*@*"):
            number = version.name.rpartition("@")[2]
            if number.isdigit() and int(number) > iteration:
                shutil.rmtree(version)

    def _forget_old_end(self, iteration: int) -> None:
        """Drop what was measured at the end of a run that now goes on."""
        measured = self.evaluation()
        if iteration < self.config.iterations and measured.pop("after", None) is not None:
            replace_text(self.folder / "evaluation.json", json.dumps(measured, indent=1) + "\n")
            shutil.rmtree(self.folder / "replays" / "after", ignore_errors=True)
            (self.folder / compare.FILE).unlink(missing_ok=True)

    def _check_unedited(self, config: RunConfig) -> None:
        """Raise if the configuration says something else than the one that the last checkpoint was trained with."""
        latest = self.checkpoints.latest()
        if latest is None:
            return
        trained, now = _fixed(checkpoint.state_of(latest).get("config", {})), _fixed(config.model_dump(mode="json"))
        for key, value in now.items():
            if key in trained and trained[key] != value:
                raise RunError(
                    f"{self.folder / 'config.yaml'} was edited since the run began: {key} is {value!r}, but the run "
                    f"was trained with {trained[key]!r}. Put it back, or start another run; only "
                    f"{', '.join(MAY_CHANGE)} may change."
                )

    def _evaluate(self, algorithm: SelfPlay, when: str) -> None:
        """Measure every game's adapter against the fixed opponent, once per ``when``."""
        if self.config.evaluation.pairs == 0 or when in self.evaluation():
            return
        self._check_stop(algorithm)
        self.watcher.began(f"evaluation {when} training, against {self.config.evaluation.opponent}")
        scores = []
        for index, section in enumerate(self.config.games):
            name = self.config.adapter_of(index)
            tasks = evaluation_tasks(
                section,
                game_index=index,
                pairs=self.config.evaluation.pairs,
                seed=self.config.seed,
                policy=algorithm.versions()[name],
                opponent=self.config.evaluation.opponent,
                replays=str(self.folder / "replays" / when),
                meta={"run": self.config.name, "evaluation": when},
            )
            scores.append(score(algorithm.play(tasks), self.config.evaluation.opponent))
        self._keep("evaluation.json", {**self.evaluation(), when: [finite(one.to_json()) for one in scores]})
        self.watcher.evaluated(when, scores)

    def _compare(self, algorithm: SelfPlay) -> None:
        """Measure every adapter on every game, beside the base, once, where there are several games."""
        if not compare.compares(self.config) or self.comparison() is not None:
            return
        self._check_stop(algorithm)
        self.watcher.began("every adapter, and the base, on every game")
        after = [Score.from_json(one) for one in self.evaluation()["after"]]
        found = compare.of_run(self.config, algorithm.play, algorithm.versions(), after)
        self._keep(compare.FILE, found.to_json())

    def _keep(self, name: str, data: dict[str, Any]) -> None:
        try:
            replace_text(self.folder / name, json.dumps(data, indent=1) + "\n")
        except OSError as error:
            raise RunError(
                f"{name} could not be written ({error.strerror or error}); free some space, then "
                f"`palaestra resume {self.folder}` goes on."
            ) from None

    def comparison(self) -> compare.Comparison | None:
        """Return what every adapter does on every game; None if that was not measured.

        Raises:
            OptionError: The file is damaged.
        """
        return compare.Comparison.read(self.folder / compare.FILE)

    def evaluation(self) -> dict[str, Any]:
        """Return what has been measured, by ``"before"`` and ``"after"``.

        Raises:
            RunError: The file is damaged.
        """
        path = self.folder / "evaluation.json"
        try:
            whole = json.loads(path.read_text(encoding="utf-8"))
            for scores in whole.values():
                [Score.from_json(one) for one in scores]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunError(
                f"{path} cannot be read ({type(error).__name__}: {error}); delete it, and what was measured before "
                "training is left out of the report."
            ) from None
        return dict(whole)

    def final_of(self, game_index: int) -> Path:
        """Return the folder of the final adapter that plays game number ``game_index``."""
        if self.config.adapters == "shared":
            return self.folder / "adapter"
        return self.folder / f"adapter-{self.config.adapter_of(game_index)}"

    def _publish_final(self, algorithm: SelfPlay) -> None:
        """Publish the final adapters; those of a run that was longer to begin with make way."""
        done = algorithm.training_iteration
        for number in range(len(self.config.games)):
            final = self.final_of(number)
            if final.exists() and adapters.facts(final).get("iteration") != done:
                shutil.rmtree(final)
            name = self.config.adapter_of(number)
            algorithm.write(algorithm.weights(name), final, name, done)

    # ------------------------------------------------------------------ being stopped

    def _check_stop(self, algorithm: SelfPlay) -> None:
        if self._stop:
            done = algorithm.training_iteration
            if not (self.checkpoints.folder / f"{done:05d}").is_dir():
                self.checkpoints.save(algorithm, done)
            raise Interrupted(f"stopped after iteration {done} of {self.config.iterations}; {self._goes_on()}")

    def _goes_on(self) -> str:
        latest = self.checkpoints.latest()
        start = f"from iteration {int(latest.name)}" if latest else "from the beginning"
        return f"`palaestra resume {self.folder}` goes on {start}."

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
        except OSError as error:
            raise RunError(f"run folder {self.folder} cannot be locked ({error.strerror or error}).") from None
        try:
            yield
        finally:
            lock.release()


def _fixed(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration without what may change."""
    return {
        key: {inner: one for inner, one in value.items() if f"{key}.{inner}" not in MAY_CHANGE}
        if isinstance(value, dict)
        else value
        for key, value in config.items()
        if key not in MAY_CHANGE
    }


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
    taken = RunError(
        f"run folder {path} holds a run already; `palaestra resume {path}` goes on with it, "
        f"or choose another with --folder or --set name=..."
    )
    if (path / "config.yaml").exists():
        raise taken
    watcher = watcher or Silence()
    watcher.planned(plan_of(config))
    watcher.began("looking up names, fetching the model")
    config = settle(config)  # before a folder is made
    try:
        path.mkdir(parents=True, exist_ok=True)
        with (path / "config.yaml").open("x", encoding="utf-8") as file:
            yaml.safe_dump(config.model_dump(mode="json"), file, sort_keys=False)
    except FileExistsError:  # somebody began while names were looked up
        raise taken from None
    except OSError as error:
        raise RunError(
            f"run folder {path} cannot be written ({error.strerror}); choose another with --folder."
        ) from None
    run = Run(config, path.resolve(), watcher)
    try:
        return run.execute()
    except Exception as error:
        if run.checkpoints.latest() is None and not isinstance(
            error, Interrupted
        ):  # it has never begun, and would only be in the way of the next try
            run.abandon()
        raise


def resume(folder: str | Path, watcher: Watcher | None = None) -> Path:
    """Go on with a run from its last checkpoint; a finished run is left as it is.

    Raises:
        RunError: The folder holds no run.
    """
    run = open_run(folder, watcher)
    run.watcher.planned(plan_of(run.config))
    return run.execute()


def folder_holding(path: Path) -> Path | None:
    """Return the run folder in which a file or folder lies; None where it lies in none."""
    return next((one for one in path.resolve().parents if (one / "config.yaml").is_file()), None)


def open_run(folder: str | Path, watcher: Watcher | None = None) -> Run:
    """Return the run in a folder."""
    path = Path(folder)
    try:
        data = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{path} is no run folder (it has no config.yaml); `palaestra train CONFIG` makes one."
        ) from None
    except NO_YAML as error:
        raise ConfigError(f"{path / 'config.yaml'} is no valid YAML: {' '.join(str(error).split())}") from None
    return Run(parse_config(data, "config.yaml"), path.resolve(), watcher or Silence())
