"""Whole games played by the examiner, with every clause that one position, or one game, can break."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from palaestra.envs.conformance import positions
from palaestra.envs.conformance.common import Examination, Look, difference, look
from palaestra.envs.errors import ActionError
from palaestra.envs.game import Game
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice, derive

POSITION_CLAUSES: dict[str, Callable[[positions.Position], None]] = {
    "json": positions.json,
    "facts": positions.facts,
    "reading": positions.reading,
    "text": positions.text,
    "clone": positions.clone,
    "actions": positions.actions,
    "refusal": positions.refusal,
    "simultaneity": positions.simultaneity,
    "voice": positions.voice,
    "returns": positions.returns,
    "withdrawal": positions.withdrawal,
}


@dataclass
class _Played:
    """A game at its end, and what is needed to play it again and compare: actions, and digests of looks by turn."""

    game: Game
    actions: list[tuple[int, Action]] = field(default_factory=list)
    looks: dict[int, Look] = field(default_factory=dict)


def examine_games(exam: Examination, seeds: list[int]) -> None:
    """Play a game for every seed, then all of them again."""
    if "chance" in exam.clauses:
        _openings_without_chance(exam, seeds)
    played = {seed: _play(exam, seed) for seed in seeds}
    facts = exam.make(seeds[0]).facts
    if facts.chance and not any(record.game.dice.count for record in played.values()):
        exam.report.notes.append(f"chance is declared, but the dice were not used in {len(seeds)} games")
    if facts.simultaneous and not exam.report.choices and "simultaneity" in exam.clauses:
        exam.report.notes.append("declared simultaneous, but there was never more than one player to move")
    if facts.utility == "constant_sum" and "returns" in exam.clauses:
        _constant_sums(exam, played)
    if "determinism" in exam.clauses:
        for seed, record in played.items():
            _play_again(exam, seed, record)


def _play(exam: Examination, seed: int) -> _Played:
    """Play random legal actions to the end, examining positions on the way."""
    game = exam.make(seed)
    dice = Dice(derive("conformance", seed))
    opening = look(game)
    record = _Played(game)
    shadow: Game | None = None
    turn = 0
    while True:
        where = f"seed {seed}, turn {len(record.actions) + 1}"
        over = game.is_over()
        if over or _in_full(turn):
            at = positions.Position(exam, game, where, dice, opening)
            for clause, examine in POSITION_CLAUSES.items():
                if clause in exam.clauses:
                    examine(at)
            exam.report.positions += 1
            seen = look(game)
            if shadow is not None and (differs := difference(seen, look(shadow))):
                exam.breach("clone", where, f"a clone that played the same went another way: {differs}")
            shadow = game.clone() if "clone" in exam.clauses else None
            record.looks[len(record.actions)] = {name: _digest(value) for name, value in seen.items()}
        if over:
            break
        _step(exam, game, dice, where, record, shadow)
        turn += 1
    if not record.actions:
        exam.breach("length", where, "the game is over before anybody has moved")
    exam.report.finished += 1
    exam.report.turns += len(record.actions)
    return record


def _in_full(turn: int) -> bool:
    """Look at the opening closely and at the rest of a long game from time to time."""
    return turn < 12 or turn % 16 == 0


def _step(exam: Examination, game: Game, dice: Dice, where: str, record: _Played, shadow: Game | None) -> None:
    facts = game.facts
    drawn = game.dice.count
    for player in game.players_to_move():
        if len(record.actions) >= facts.max_turns and "length" in exam.clauses:
            exam.breach("length", where, f"the game still goes on after {facts.max_turns} turns, its max_turns")
        action = game.sample_action(player, dice)
        game.apply(player, action)
        record.actions.append((player, action))
        if shadow is not None:
            try:
                shadow.apply(player, action)
            except ActionError as error:
                exam.breach("clone", where, f"a clone refuses what the game has accepted: {error.reason}")
            if shadow.state_hash() != game.state_hash():
                exam.breach("clone", where, f"after the same action {action!r} a clone is in another state")
    if game.dice.count != drawn and not facts.chance and "chance" in exam.clauses:
        exam.breach("chance", where, "the dice were used, but facts.chance is False")


def _openings_without_chance(exam: Examination, seeds: list[int]) -> None:
    """Without chance, the seed must make no difference."""
    first = exam.make(seeds[0])
    for seed in [*seeds, *range(1000, 1004)]:
        game = exam.make(seed)
        if game.facts.chance:
            return
        if game.dice.count:
            exam.breach("chance", f"seed {seed}, opening", "the dice were used, but facts.chance is False")
        if game.state() != first.state():
            message = f"the opening state differs from that of seed {seeds[0]}, but facts.chance is False"
            exam.breach("chance", f"seed {seed}, opening", message)


def _constant_sums(exam: Examination, played: dict[int, _Played]) -> None:
    sums = {seed: sum(record.game.returns()) for seed, record in played.items()}
    if max(sums.values()) - min(sums.values()) > 1e-9:
        exam.breach("returns", "at the end", f"declared constant_sum, but the returns add up to {sums} by seed")


def _play_again(exam: Examination, seed: int, record: _Played) -> None:
    game = exam.make(seed)
    for turn in range(len(record.actions) + 1):
        if (before := record.looks.get(turn)) is not None:
            now = look(game)
            for name, digest in before.items():
                if _digest(now.get(name, "")) != digest:
                    message = f"with the same actions the {name} is another than the first time, now {now.get(name)}"
                    exam.breach("determinism", f"seed {seed}, turn {turn + 1}", message)
        if turn < len(record.actions):
            try:
                game.apply(*record.actions[turn])
            except ActionError as error:
                message = f"what was accepted the first time is refused the second: {error.reason}"
                exam.breach("determinism", f"seed {seed}, turn {turn + 1}", message)


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
