"""Faithfulness seen from inside: what a transplanted thought does to an answer, and which components read it.

In `cot_relay` one model's thought is handed to another. For every provider and receiver two things are measured on the
same items and put side by side:

    behaviour   how often a planted error changes the answer, is copied through, is corrected (played games;
                `palaestra.trainers.measures.faithfulness`)
    inside      the step that holds the error, as it was written and as it was planted, as clean and corrupt prompts.
                *Effect*: by how much the log-odds of the right answer against what follows from the error fall.
                *Carriers*: components whose value of the corrupt prompt brings that fall about (exact patching).
                *Readers*: heads that, when they may not look at the step from behind it, no longer bring it about:
                reading = fall with all heads - fall with this one looking away, in nats. The null hides another token
                of the text instead.

A model that does not use a thought has no readers, whatever it answers; one that reads it and answers otherwise would
have readers without flips.

A folder holds ``relays.json``, ``cells/*.safetensors`` (by item and head) and ``index.html``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from palaestra.agents.models.cache import Say, say_to_stderr
from palaestra.agents.models.disk import replace_text
from palaestra.agents.models.sources import ModelSource
from palaestra.envs import make
from palaestra.envs.errors import OptionError
from palaestra.envs.games.cot_relay import CotRelay
from palaestra.envs.games.interventions import planted
from palaestra.envs.games.statements import sentences
from palaestra.envs.seeding import Dice, derive
from palaestra.interp.diff.statistics import simultaneous
from palaestra.interp.errors import InterpError
from palaestra.interp.folder import contents_of, save_tensors
from palaestra.interp.importance import ranked
from palaestra.interp.intervene import MaskAttention, intervene
from palaestra.interp.opened import OpenModel, open_model
from palaestra.interp.prompts import Pairs, Prompts
from palaestra.interp.reasoning.direction import interval, odds
from palaestra.interp.reasoning.direction import measured as measured_odds
from palaestra.interp.reasoning.sets import nodes_of
from palaestra.interp.relays_page import write_page
from palaestra.trainers.experiments.faithfulness import ARITHMETIC, CUPS
from palaestra.trainers.experiments.relays import Items, answered, thoughts
from palaestra.trainers.measures import faithfulness

REFERENCE = "reference"
"""The provider that is the game itself: right reasoning."""
TASKS: dict[str, Items] = {"cups": CUPS, "arithmetic": ARITHMETIC}
LEAST_SHARE = 0.1
"""Of the log-odds of the right answer: a head whose reading could not take them a tenth of the way to a tie is not said
to read for the answer, however certain the difference is; it is listed as faint."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Items whose thought has a step that was changed.

    Attributes:
        pairs: The thought as it was written, and with the error planted; answers are right, foils the error's.
        places: [B, T] booleans: the tokens in which the two differ.
        items: [B] numbers of the items.
    """

    pairs: Pairs
    places: Tensor
    items: list[int]


def step_pairs(opened: OpenModel, asked: Items, items: int, seed: int, written: Sequence[str] | None = None) -> Step:
    """Return what a receiver reads, with a step as written and as planted.

    Args:
        opened: The receiver.
        asked: What it is asked.
        items: How many; those where nothing can be planted, or whose error leads to the right answer, are left out.
        seed: Of the items, as in `palaestra.trainers.experiments.relays.answered`.
        written: Thoughts of a provider; None for right reasoning.

    Raises:
        InterpError: None is left.
    """
    if opened.codec is None:
        raise InterpError(f"{opened.name} was opened without a tokenizer; open it by its source.")
    codec = opened.codec
    clean, corrupt, right, wrong, numbers = [], [], [], [], []
    for number in range(items):
        options = {**asked.options, "reference": True, "intervention": "planted", "fraction": 1.0}
        game = make("cot_relay", seed=seed * 1_000_000 + number, **options)
        assert isinstance(game, CotRelay)
        names = game.asked.names()
        thought = game.thought if written is None else written[number]
        error = planted(thought, names, 1.0, Dice(derive(seed, "planted", number)))
        answer = game.asked.name(game.asked.answer)
        if error.place is None or error.name == answer:
            continue
        rows = []
        for text in ("\n".join(sentences(thought)[: len(sentences(error.text))]), error.text):
            game.thought = game.changed = game.delivered = text
            seen = game.observation(game.seats.index("receiver"))
            rows.append([*codec.chat_open(asked.settings.system), *codec.user_turn(seen)])
        first, second = codec.encode_untrusted(answer)[0], codec.encode_untrusted(error.name)[0]
        if len(rows[0]) != len(rows[1]) or rows[0] == rows[1] or first == second:
            continue
        clean.append(rows[0])
        corrupt.append(rows[1])
        right.append([first])
        wrong.append([second])
        numbers.append(number)
    if not clean:
        raise InterpError(f"in none of {items} items could an error be planted; take more items, or another provider.")
    pairs = Pairs(Prompts.of(clean, right, wrong), Prompts.of(corrupt, right, wrong))
    return Step(pairs, pairs.clean.ids != pairs.corrupt.ids, numbers)


@dataclass(frozen=True, slots=True, eq=False)
class Inside:
    """What is found of a receiver.

    Attributes:
        effect: [B] fall of the log-odds, in nats.
        clean: Mean log-odds of the right answer with the thought as it was written. Effect over this is the *use* of
            the thought: 0 not used, 1 a tie between the right answer and the planted one, 2 turned round.
        heads: Names.
        reading: [H, B] of each head, in nats.
        null: [H] mean reading of another token.
        readers: Heads that read: the interval (95 %, all heads together) lies above all of the null and above
            `LEAST_SHARE` of ``clean``.
        faint: Heads above the null alone.
        blind: [B] fall when none of the heads may look at the step.
        carriers: Components and the fall each brings about by itself, most important first.
    """

    effect: Tensor
    clean: float
    heads: list[str]
    reading: Tensor
    null: Tensor
    readers: list[str]
    faint: list[str]
    blind: Tensor
    carriers: list[tuple[str, dict[str, float]]]

    def tensors(self) -> dict[str, Tensor]:
        """Return what there is of each item and head."""
        return {"effect": self.effect, "reading": self.reading, "null": self.null, "blind": self.blind}

    def as_json(self) -> dict[str, Any]:
        """Return means and intervals."""
        return {
            "effect": interval(self.effect),
            "clean": self.clean,
            "use": float(self.effect.mean()) / self.clean if self.clean > 0 else None,
            "faint": self.faint,
            "blind": interval(self.blind),
            "readers": self.readers,
            "reading": {name: interval(one) for name, one in zip(self.heads, self.reading, strict=True)},
            "null": {name: float(one) for name, one in zip(self.heads, self.null, strict=True)},
            "carriers": dict(self.carriers),
        }


def inside(
    opened: OpenModel,
    step: Step,
    *,
    batch: int = 16,
    measured: int = 20,
    seed: int = 0,
    on_head: Callable[[], None] = lambda: None,
) -> Inside:
    """Return which components read the step, and which carry what it says."""
    plain = _falls(opened, step, [], step.places, batch)
    clean = float(measured_odds(opened, step.pairs.clean, batch=batch).mean())
    heads = [name for name, one in opened.components.items() if one.kind == "head"]
    other = _others(step, seed)
    reading, null = [], []
    for name in heads:
        reading.append(plain - _falls(opened, step, [name], step.places, batch))
        null.append((plain - _falls(opened, step, [name], other, batch)).mean())
        on_head()
    found, nulls = torch.stack(reading), torch.stack(null)
    sure = simultaneous(found.T)[:, 0]
    order = found.mean(1).argsort(descending=True).tolist()
    above = [one for one in order if float(sure[one]) > max(0.0, float(nulls.max()))]
    readers = [heads[one] for one in above if float(sure[one]) > LEAST_SHARE * clean]
    return Inside(
        plain,
        clean,
        heads,
        found,
        nulls,
        readers,
        [heads[one] for one in above if heads[one] not in readers],
        _falls(opened, step, heads, step.places, batch),
        _carriers(opened, step, measured, batch, float(plain.abs().mean())),
    )


def _carriers(
    opened: OpenModel, step: Step, measured: int, batch: int, size: float
) -> list[tuple[str, dict[str, float]]]:
    if size < 1e-6:
        return []
    scores = ranked(opened, step.pairs, odds, nodes=nodes_of(opened), count=measured, batch=batch)
    names = [name for name in scores.top(measured) if name in scores.exact]
    return [(name, interval(scores[name])) for name in names]


def _falls(opened: OpenModel, step: Step, heads: Sequence[str], places: Tensor, batch: int) -> Tensor:
    """Return the fall of each item while heads may not look at places from behind them: [B]."""
    found = []
    for start in range(0, len(step.pairs), batch):
        some = step.pairs[slice(start, start + batch)]
        hidden = _hidden(places[start : start + batch])
        masks = [MaskAttention(name, hidden) for name in heads]
        both = []
        for prompts in (some.clean, some.corrupt):
            with intervene(opened, *masks):
                both.append(odds(opened(prompts.ids), prompts))
        found.append(both[0] - both[1])
    return torch.cat(found)


def _hidden(places: Tensor) -> Tensor:
    """Return which keys [B, T, T] are hidden from which queries: the places, from all that are behind themselves."""
    length = places.shape[1]
    behind = torch.arange(length)[:, None] > torch.arange(length)[None]
    return places[:, None, :] & behind[None]


def _others(step: Step, seed: int) -> Tensor:
    """Return, for each item, as many other tokens, neither the first one nor where the answer is given."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.zeros_like(step.places)
    for number, end in enumerate(step.pairs.clean.ends.tolist()):
        free = [place for place in range(1, end) if not step.places[number, place]]
        count = min(len(free), int(step.places[number].sum()))
        for one in torch.randperm(len(free), generator=generator)[:count].tolist():
            found[number, free[one]] = True
    return found


def behaviour(receiver: str, asked: Items, items: int, seed: int, written: Sequence[str] | None) -> dict[str, Any]:
    """Return what a receiver answers with the thought whole and with an error planted, in played games."""
    whole = answered(receiver, asked, items, seed, written)
    wrong = answered(receiver, asked, items, seed, written, intervention="planted", fraction=1.0)
    found = {
        "accuracy": faithfulness.accuracy(whole),
        "flips": faithfulness.flips(whole, wrong),
        "copied": faithfulness.copied_through(wrong),
        "corrected": faithfulness.self_corrected(wrong),
        "answered": faithfulness.answered(whole, wrong),
    }
    return {key: {"mean": one.mean, "low": one.low, "high": one.high, "n": one.n} for key, one in found.items()}


def relays(
    receivers: Sequence[str],
    out: Path,
    *,
    providers: Sequence[str] = (REFERENCE,),
    task: str = "cups",
    items: int = 100,
    batch: int = 16,
    seed: int = 0,
    say: Say = say_to_stderr,
) -> dict[str, Any]:
    """Measure every receiver with every provider's thoughts, from outside and inside, and write ``out``.

    A cell that was measured by an earlier call with the same options, and of the same weights, is kept.

    Raises:
        OptionError: There is no such task, or no receiver.
        InterpError: Nothing can be planted, or the folder belongs to other options.
    """
    if task not in TASKS:
        raise OptionError(f"there is no task {task!r}; there are {', '.join(TASKS)}.")
    if not receivers or not providers or items < 2:
        raise OptionError("name at least one receiver and one provider, and take at least two items.")
    asked = TASKS[task]
    plan = {"task": task, "items": items, "seed": seed}
    path = out / "relays.json"
    found = _known(path, plan)
    weights = {name: contents_of(ModelSource.parse(name)) for name in (*providers, *receivers) if name != REFERENCE}
    for provider in providers:
        written = None
        for receiver in receivers:
            key = f"{provider}>{receiver}"
            contents = [weights.get(provider, REFERENCE), weights[receiver]]
            if found["cells"].get(key, {}).get("contents") == contents and _tensors(out, key).is_file():
                continue
            if provider != REFERENCE and written is None:
                written = thoughts(provider, asked, items, seed)
                say(f"{provider} has written {items} thoughts")
            opened = open_model(receiver)
            step = step_pairs(opened, asked, items, seed, written)
            within = inside(opened, step, batch=batch, seed=seed)
            cell: dict[str, Any] = {
                "provider": provider,
                "receiver": receiver,
                "contents": contents,
                "items": len(step.items),
                "tensors": _tensors(out, key).relative_to(out).as_posix(),
                "behaviour": behaviour(receiver, asked, items, seed, written),
                "inside": within.as_json(),
            }
            found["cells"][key] = json.loads(json.dumps(cell))
            save_tensors(within.tensors(), _tensors(out, key))
            try:
                replace_text(path, json.dumps(found, indent=1) + "\n")
            except OSError as error:
                raise InterpError(
                    f"{path} could not be written ({error.strerror or error}); free some space."
                ) from None
            readers = ", ".join(cell["inside"]["readers"]) or "no head"
            moved, had = cell["inside"]["effect"]["mean"], cell["inside"]["clean"]
            say(f"{key}: a planted error takes {moved:.2f} of {had:.2f} nats; read by {readers}")
    write_page(found, out / "index.html")
    return found


def _tensors(out: Path, key: str) -> Path:
    """Return where the tensors of a cell are; names of models may hold what a file's name may not."""
    return out / "cells" / f"{contents_of(key)}.safetensors"


def _known(path: Path, plan: dict[str, Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return {"plan": plan, "cells": {}}
    except ValueError:
        raise InterpError(f"{path} is damaged; delete it to measure again.") from None
    if found.get("plan") != plan:
        raise InterpError(f"{path.parent} holds relays of other options; name another folder.")
    return found
