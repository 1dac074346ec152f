"""Random games beside other libraries' environments, each through its own interface, in turn, in one run.

TextArena, PettingZoo's classic games and kaggle-environments are installed into a throw-away environment, unpatched,
and play in a process of their own (`palaestra.trainers.benchmarks.peers_driver`); TextArena under Python 3.12 or 3.13
where one is found, because some of its modules are not valid before. Where a peer's game cannot be imported or played,
the table says so.

Everybody plays random legal moves and takes the observation at every step: here the text that a language model would
read in an empty context, there text (TextArena), arrays (PettingZoo) or a dictionary (kaggle-environments). What is
compared is environment with environment: a `Game` that shows, reads and applies text; beside it stands the whole match,
with seats, rules of conduct and records, which the peers do not have. The rules are not the same to the last detail,
nor are the games, so what is compared is steps a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from palaestra.envs import Match, Reply, View, make
from palaestra.trainers.benchmarks.framework import Aim, Benchmark, BenchmarkError, Case, Counts, Side

TEXTARENA, PETTINGZOO, KAGGLE = "textarena", "pettingzoo", "kaggle-environments"
PACKAGES = {
    TEXTARENA: ["textarena==0.7.4"],
    PETTINGZOO: ["pettingzoo[classic]==1.27.0"],
    KAGGLE: ["kaggle-environments==1.33.2"],
}
NEWER = ("python3.12", "python3.13")
OURS, MATCH = "palaestra", "palaestra's match"
GAMES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "tic_tac_toe": ("tic_tac_toe", {}, (TEXTARENA, PETTINGZOO, KAGGLE)),
    "connect_four": ("openspiel/connect_four", {}, (TEXTARENA, PETTINGZOO, KAGGLE)),
    "chess": ("chess", {}, (TEXTARENA, PETTINGZOO, KAGGLE)),
    "go": ("go", {"size": 9}, (PETTINGZOO, KAGGLE)),
    "kuhn_poker": ("kuhn_poker", {}, (TEXTARENA,)),
    "leduc_poker": ("openspiel/leduc_poker", {}, (PETTINGZOO,)),
    "liars_dice": ("openspiel/liars_dice", {"numdice": 5}, (TEXTARENA,)),
}
"""By name of the case: our game, its options, and who has it, too."""
LEAST = {"chess": 3.0}
"""How many times as fast as TextArena; elsewhere once."""
STEPS = 4000
INSTALL_SECONDS = 1200


class Reader:
    """A random seat that reads what it is shown, as a language model would have to."""

    name = "reader"

    async def act(self, view: View) -> Reply:
        """Return a random legal action."""
        view.observation()
        return Reply(view.sample_action())


def play_game(name: str, options: dict[str, Any], steps: int) -> Counts:
    """Play random games without a match until there are ``steps`` steps: observation, text, action."""
    done = games = 0
    while done < steps:
        game, dice = make(name, seed=games, **options), random.Random(games)
        while movers := game.players_to_move():
            player = movers[0]
            game.observation(player)
            text = dice.choice(game.legal_actions(player))
            game.apply(player, game.parse(player, text))
            done += 1
        game.returns()
        games += 1
    return {"steps": done, "games": games}


def play_match(name: str, options: dict[str, Any], steps: int) -> Counts:
    """Play random games through the match until there are ``steps`` steps."""

    async def play() -> Counts:
        done = games = 0
        while done < steps:
            game = make(name, seed=games, **options)
            seats = [Reader() for _ in range(game.facts.players)]
            done += len((await Match(game, seats, record=False).play()).turns)
            games += 1
        return {"steps": done, "games": games}

    return asyncio.run(play())


class Peer:
    """A library in an environment of its own, and the process that plays its games.

    Raises:
        BenchmarkError: It cannot be installed.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        python = _interpreter() if name == TEXTARENA else sys.executable
        self.interpreter = folder / name / "bin" / "python"
        _quietly([python, "-m", "venv", str(folder / name)], f"an environment for {name} cannot be made")
        uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
        installer = [uv, "pip", "install", "--quiet", "--python", str(self.interpreter)]
        if not Path(installer[0]).exists():
            installer = [str(self.interpreter), "-m", "pip", "install", "--quiet"]
        _quietly([*installer, *PACKAGES[name]], f"{name} cannot be installed; is the package index reachable?")
        told = subprocess.run([self.interpreter, "--version"], capture_output=True, text=True, check=True).stdout
        self.python = told.strip()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, game: str, steps: int) -> dict[str, Any]:
        """Return what the driver answers."""
        if self._process is None or self._process.poll() is not None:
            driver = Path(__file__).with_name("peers_driver.py")
            environment = {**os.environ, "PYTHONPATH": "", "PYGAME_HIDE_SUPPORT_PROMPT": "1", "DO_NOT_TRACK": "1"}
            self._process = subprocess.Popen(
                [self.interpreter, str(driver)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
                cwd=self.interpreter.parents[1],
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"peer": self.name, "game": game, "steps": steps}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        return dict(json.loads(line)) if line else {"error": "its process has died"}

    def play(self, game: str, steps: int) -> Counts:
        """Play; the game has been tried before.

        Raises:
            BenchmarkError: It fails now.
        """
        answer = self.ask(game, steps)
        if "error" in answer:
            raise BenchmarkError(f"{self.name} failed at {game}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _interpreter() -> str:
    """Return a Python that reads all of TextArena, if one is found and works; else this one."""
    for name in NEWER if sys.version_info < (3, 12) else ():
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run([name, "-m", "venv", "--help"], capture_output=True, check=True, timeout=30)
            return name
    return sys.executable


def _quietly(command: list[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise BenchmarkError(f"{what}: {error}") from None
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines()
        raise BenchmarkError(f"{what}: {told[-1] if told else f'exit status {done.returncode}'}")


def cases(quick: bool) -> Iterator[Case]:
    """Yield a case for each game; the throw-away environment lives as long as the cases are asked for."""
    steps = 30 if quick else STEPS
    with tempfile.TemporaryDirectory(prefix="palaestra-peers-") as folder:
        peers = {name: Peer(name, Path(folder)) for name in PACKAGES}
        try:
            for label, (name, options, shared) in GAMES.items():
                yield _case(label, name, options, [peers[one] for one in shared], steps)
        finally:
            for peer in peers.values():
                peer.close()


def _case(label: str, name: str, options: dict[str, Any], peers: list[Peer], steps: int) -> Case:
    sides = [
        Side(
            OURS,
            "the game alone: its observation, a legal action as text, read and applied",
            partial(play_game, name, options, steps),
            part="games of its own",
        ),
        Side(
            MATCH,
            "a match of random seats that read their observation, recording off",
            partial(play_match, name, options, steps),
            part="games of its own",
        ),
    ]
    aims: list[Aim] = []
    missing: dict[str, str] = {}
    for peer in peers:
        tried = peer.ask(label, 1)
        if "error" in tried:
            missing[peer.name] = str(tried["error"])
            continue
        package = PACKAGES[peer.name][0]
        sides.append(
            Side(peer.name, f"{package} on {peer.python}", partial(peer.play, label, steps), part="games of its own")
        )
        least = LEAST.get(label, 1.0) if peer.name == TEXTARENA else None
        aims.append(Aim(OURS, to=peer.name, least=least))
    shown = f"`{name}`" + (f" with {', '.join(f'{key}={value}' for key, value in options.items())}" if options else "")
    return Case(label, f"here {shown}", ("steps", "games"), tuple(sides), tuple(aims), missing=missing)


BENCHMARK = Benchmark(
    name="peers",
    question="How many steps a second do random games make here and in other libraries?",
    cases=cases,
    rounds=5,
)
