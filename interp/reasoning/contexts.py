"""From replies to contexts: where a thought turned, ended or went on, as rows of tokens that an analysis can read.

Points are found in what the model itself writes, by the rules of the setting; what is *right* there follows from the
problem. A *contrast* is a set of points with twins: the same words, but the question asks for something else, so that
another way on is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from palaestra.agents.tokens import TextCodec
from palaestra.envs.seeding import Dice, derive
from palaestra.interp.errors import InterpError
from palaestra.interp.intervene import Intervention
from palaestra.interp.opened import OpenModel
from palaestra.interp.prompts import Pairs, Prompts
from palaestra.interp.reasoning.problems import Point, Problem, Setting, Way
from palaestra.interp.reasoning.writing import write

WAYS: tuple[Way, ...] = ("switch", "stop", "deeper")


@dataclass(frozen=True, slots=True)
class Written:
    """A reply to a problem.

    Attributes:
        problem: What was asked.
        text: The reply.
        tokens: How many it has.
        finished: Whether it ended by itself.
        points: Its tries.
        right: Whether its answer is right; False without one.
    """

    problem: Problem
    text: str
    tokens: int
    finished: bool
    points: list[Point]
    right: bool


@dataclass(frozen=True, slots=True)
class Spot:
    """A point with its tokens.

    Attributes:
        row: Question and reply up to the point.
        point: What is known of it.
        problem: What was asked.
        group: Number of the problem: halves and bootstraps are made of whole problems.
    """

    row: list[int]
    point: Point
    problem: Problem
    group: int


def codec_of(opened: OpenModel) -> TextCodec:
    """Return the tokenizer of a model.

    Raises:
        InterpError: It was opened without one.
    """
    if opened.codec is None:
        raise InterpError(f"{opened.name} was opened without a tokenizer; open it by its source.")
    return opened.codec


def asked(codec: TextCodec, problem: Problem) -> list[int]:
    """Return a question as tokens, up to where the reply begins."""
    return [*codec.chat_open(), *codec.user_turn(problem.text)]


def ids_of(codec: TextCodec, setting: Setting) -> dict[Way, list[int]]:
    """Return the tokens by which a thought goes each way."""
    return {way: [codec.encode_untrusted(text)[0] for text in setting.words[way]] for way in WAYS if setting.words[way]}


def replies(
    opened: OpenModel,
    setting: Setting,
    given: Sequence[Problem],
    *,
    interventions: Sequence[Intervention] = (),
    batch: int = 64,
) -> list[Written]:
    """Return greedy replies to problems."""
    codec = codec_of(opened)
    found = []
    for start in range(0, len(given), batch):
        some = given[start : start + batch]
        rows = [asked(codec, one) for one in some]
        said = write(opened, rows, setting.most_tokens, codec.stop_ids, interventions=interventions)
        for problem, ids in zip(some, said, strict=True):
            found.append(read_reply(setting, problem, codec.decode(ids), len(ids), len(ids) < setting.most_tokens))
    return found


def read_reply(setting: Setting, problem: Problem, text: str, tokens: int, finished: bool) -> Written:
    """Return a reply with what the setting's rules find in it."""
    right = setting.answered(text) == problem.answer
    return Written(problem, text, tokens, finished, setting.points(problem, text), right)


def spots(opened: OpenModel, setting: Setting, written: Sequence[Written]) -> list[Spot]:
    """Return the points of replies where it is known what is right."""
    codec = codec_of(opened)
    found = []
    for group, one in enumerate(written):
        before = asked(codec, one.problem)
        for point in one.points:
            if point.right is not None:
                found.append(Spot([*before, *codec.encode_untrusted(point.said)], point, one.problem, group))
    return found


def ordinary(opened: OpenModel, written: Sequence[Written], seed: int, each: int = 3) -> list[Spot]:
    """Return places inside thoughts that are no points, at most ``each`` of a reply."""
    codec = codec_of(opened)
    found = []
    for group, one in enumerate(written):
        if not one.points:
            continue
        before = asked(codec, one.problem)
        said = codec.encode_untrusted(one.points[-1].said)
        taken = {len(codec.encode_untrusted(point.said)) for point in one.points}
        free = [place for place in range(1, len(said)) if place not in taken]
        dice = Dice(derive(seed, "ordinary", group))
        dice.shuffle(free)
        for place in sorted(free[:each]):
            point = Point(codec.decode(said[:place]), None, None, "", False)
            found.append(Spot([*before, *said[:place]], point, one.problem, group))
    return found


def prompts(chosen: Sequence[Spot], ids: dict[Way, list[int]], way: Way) -> Prompts:
    """Return spots as prompts whose answers go one way, and whose foils go the others."""
    if not chosen:
        raise InterpError(f"there is no point where a thought goes the way {way!r}; take more problems, or this model.")
    others = [token for other, some in ids.items() if other != way for token in some]
    return Prompts.of([one.row for one in chosen], [ids[way]] * len(chosen), [others] * len(chosen))


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """Points where one way is right, and their twins, where another one is.

    Attributes:
        pairs: Clean: the points; corrupt: their twins.
        groups: [B] number of the problem.
        way, other: What is right in the one and in the other.
    """

    pairs: Pairs
    groups: Tensor
    way: Way
    other: Way


def contrast(
    opened: OpenModel, setting: Setting, chosen: Sequence[Spot], way: Way, other: Way, most: int = 64
) -> Contrast:
    """Return points where ``way`` is right beside twins where ``other`` is; at most ``most``, spread over problems.

    Raises:
        InterpError: There is none.
    """
    codec = codec_of(opened)
    ids = ids_of(codec, setting)
    clean, corrupt, groups = [], [], []
    for spot in _spread([one for one in chosen if one.point.right == way]):
        twin = setting.twin(spot.problem, spot.point, other)
        if twin is None:
            continue
        said = setting.said_of(spot.problem, twin, spot.point.said)
        row = [*asked(codec, twin), *codec.encode_untrusted(said)]
        if len(row) != len(spot.row):
            continue
        clean.append(spot.row)
        corrupt.append(row)
        groups.append(spot.group)
        if len(clean) == most:
            break
    if not clean:
        raise InterpError(
            f"{opened.name} makes no try in {len({one.group for one in chosen})} problems after which {way!r} is right "
            f"and could be {other!r}: there is nothing to compare. A model that never goes back has no such point."
        )
    answers, foils = [ids[way]] * len(clean), [ids[other]] * len(clean)
    pairs = Pairs(Prompts.of(clean, answers, foils), Prompts.of(corrupt, answers, foils))
    return Contrast(pairs, torch.tensor(groups), way, other)


def _spread(chosen: Sequence[Spot]) -> list[Spot]:
    """Return spots with those of different problems first."""
    seen: dict[int, int] = {}
    order = []
    for number, one in enumerate(chosen):
        seen[one.group] = seen.get(one.group, 0) + 1
        order.append((seen[one.group], number))
    return [chosen[number] for _, number in sorted(order)]
