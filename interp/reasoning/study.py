"""The whole analysis of a reasoner: what it writes, directions, components, doses, tokens; as a folder and a page.

    reasoning.json          everything that was measured
    directions.safetensors  the directions, by way and layer
    index.html              the page

What is done is kept in ``parts/`` as it is finished, so that a call that was cut goes on; a folder belongs to one plan,
and what was measured of other weights is measured again.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from palaestra.agents.models.cache import Say, say_to_stderr
from palaestra.agents.models.sources import ModelSource
from palaestra.envs.errors import OptionError
from palaestra.interp.folder import contents_of
from palaestra.interp.opened import OpenModel, open_model
from palaestra.interp.reasoning.contexts import (
    Spot,
    Written,
    asked,
    codec_of,
    contrast,
    ids_of,
    ordinary,
    prompts,
    read_reply,
    replies,
    spots,
)
from palaestra.interp.reasoning.direction import Direction, chosen, fit, interval, random_like
from palaestra.interp.reasoning.dose import measures, respond
from palaestra.interp.reasoning.parts import Parts
from palaestra.interp.reasoning.problems import Problem, Setting, Way, problems, setting
from palaestra.interp.reasoning.sets import sets
from palaestra.interp.reasoning.tokens import token_meaning

CONTRASTS: tuple[tuple[Way, Way], ...] = (("switch", "stop"), ("stop", "switch"))
FEWEST = 8
"""Points below which nothing is fitted."""


@dataclass(frozen=True, slots=True)
class ReasoningPlan:
    """What is analysed, and how much of it.

    Attributes:
        model: A source, such as ``tiny:search``.
        setting: Family of problems: ``tree`` or ``sums``.
        base: What the model was trained from; "" for its source without the adapter, or no comparison.
        problems: That the model solves for points; a fifth of them are used for doses.
        pairs: Points with twins, of each contrast.
        randoms: Random directions and sets of the nulls.
        dosed: Problems that are solved under each dose.
        doses: Multiples of a direction's natural size.
        random_doses: Random directions in the dose-response; with fewer than 19 no p-value can be below 0.05.
        layers: How many layers directions are fitted at, spread evenly; 0 for all.
        measured: Components that are patched one by one after attribution.
        batch: Prompts a pass.
        dtype: Of the weights in memory; ``bfloat16`` is several times as fast on some processors, and rounds logits to
            about a twentieth of a nat.
        seed: Of problems and nulls.
    """

    model: str
    setting: str = "tree"
    base: str = ""
    problems: int = 120
    pairs: int = 64
    randoms: int = 20
    dosed: int = 64
    doses: tuple[float, ...] = (-1.0, -0.5, -0.25, 0.25, 0.5, 1.0)
    random_doses: int = 19
    layers: int = 0
    measured: int = 30
    batch: int = 16
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        setting(self.setting)
        for name, least in (("problems", 8), ("pairs", 2), ("randoms", 4), ("dosed", 4), ("batch", 1)):
            if getattr(self, name) < least:
                raise OptionError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        if self.dtype not in ("float32", "bfloat16", "float64"):
            raise OptionError(f"dtype is {self.dtype!r}; it is float32, bfloat16 or float64.")
        if not self.doses or 0 in self.doses:
            raise OptionError("doses are numbers other than 0, such as -1,1; 0 is always measured.")


def study(plan: ReasoningPlan, out: Path, say: Say = say_to_stderr) -> dict[str, Any]:
    """Analyse a reasoner and write ``out``; return what ``reasoning.json`` holds.

    Raises:
        InterpError: The folder holds the analysis of another plan, or cannot be written.
        ModelError: The model cannot be had.
    """
    from palaestra.interp.reasoning.page import write_page

    one = setting(plan.setting)
    opened = open_model(plan.model, dtype=plan.dtype)
    source = ModelSource.parse(plan.model)
    base = plan.base or (str(source.base) if source.adapter else "")
    known = [ModelSource.parse(base)] if base else []
    parts = Parts(out, asdict(plan), contents_of(opened, known), say)
    given = problems(one, plan.problems, plan.seed)
    texts = parts.make(
        "texts", lambda: [[some.text, some.tokens, some.finished] for some in replies(opened, one, given, batch=64)]
    )
    written = [read_reply(one, problem, *text) for problem, text in zip(given, texts, strict=True)]
    found: dict[str, Any] = {"plan": asdict(plan), "replies": parts.make("replies", lambda: _replies(written))}
    points = spots(opened, one, written)
    counts = {way: sum(spot.point.right == way for spot in points) for way in ("switch", "stop", "deeper")}
    turned = sum(spot.point.way == "switch" for spot in points)
    found["points"] = {**counts, "turned": turned}
    directions: dict[str, Tensor] = {}
    if turned < FEWEST or counts["stop"] < FEWEST:
        found["nothing"] = (
            f"{plan.model} turns away {turned} times in {len(written)} replies (at least {FEWEST} are needed): there "
            "is no switch to explain."
        )
        say(found["nothing"])
    else:
        _components(opened, one, points, plan, parts, found)
        directions = _directions(opened, one, points, written, plan, parts, found)
        if base:
            found["tokens"] = parts.make("tokens", lambda: _tokens(opened, base, one, written, plan, say))
        _doses(opened, one, plan, parts, found, directions)
    found["seconds"] = parts.seconds()
    parts.publish(found, directions)
    write_page(found, [_shown(opened, some) for some in written[:4]], out / "index.html")
    say(f"page: {out / 'index.html'}")
    return found


def _replies(written: list[Written]) -> dict[str, Any]:
    values = {name: interval(one) for name, one in measures(written).items()}
    known = [(group, point) for group, one in enumerate(written) for point in one.points if point.right is not None]
    chose = torch.tensor([float(point.way == point.right) for _, point in known] or [0.0])
    values["chooses_right"] = interval(chose, torch.tensor([group for group, _ in known] or [0]))
    return values


def _components(
    opened: OpenModel, one: Setting, points: list[Spot], plan: ReasoningPlan, parts: Parts, found: dict[str, Any]
) -> None:
    found["components"] = {}
    for way, other in CONTRASTS:

        def measure(way: Way = way, other: Way = other) -> dict[str, Any]:
            some = contrast(opened, one, points, way, other, plan.pairs)
            one_set = sets(
                opened,
                some.pairs,
                some.groups,
                randoms=plan.randoms,
                measured=plan.measured,
                batch=plan.batch,
                seed=plan.seed,
            )
            counts = {"pairs": len(some.pairs), "problems": len(some.groups.unique())}
            return {**one_set.as_json(), **counts, "other": other}

        found["components"][way] = parts.make(f"components_{way}", measure)


def _directions(
    opened: OpenModel,
    one: Setting,
    points: list[Spot],
    written: list[Written],
    plan: ReasoningPlan,
    parts: Parts,
    found: dict[str, Any],
) -> dict[str, Tensor]:
    ids = ids_of(codec_of(opened), one)
    tensors: dict[str, Tensor] = {}
    found["directions"] = {}
    most = 2 * plan.pairs
    for way, _ in CONTRASTS:

        def measure(way: Way = way) -> tuple[dict[str, Any], dict[str, Tensor]]:
            high = _some([spot for spot in points if spot.point.right == way], most)
            others = _some([spot for spot in points if spot.point.right != way], most)
            plain = _some(ordinary(opened, written, plan.seed), most)
            low = [*others, *plain]
            groups = tuple(torch.tensor([spot.group for spot in some]) for some in (high, low))
            is_point = torch.tensor([spot.point.right is not None for spot in low])
            fitted = fit(
                opened,
                prompts(high, ids, way),
                prompts(low, ids, way),
                (groups[0], groups[1]),
                sites=_sites(opened, plan.layers),
                points=is_point,
                randoms=plan.randoms,
                batch=plan.batch,
                seed=plan.seed,
            )
            used = chosen(fitted)
            layers = {one.site: one.as_json() for one in fitted}
            counts = {"positive": len(high), "points": len(others), "ordinary": len(plain)}
            return {"layers": layers, "chosen": used.site, **counts}, _named(way, fitted)

        result, some = parts.make_with(f"direction_{way}", measure)
        found["directions"][way] = result
        tensors |= some
    layers = found["directions"]["switch"]["layers"]
    found["cosine"] = {
        site: float(torch.cosine_similarity(tensors[f"switch.{site}"], tensors[f"stop.{site}"], dim=0))
        for site in layers
    }
    return tensors


def _some(chosen: list[Spot], most: int) -> list[Spot]:
    """Return at most so many spots, spread evenly over all."""
    if len(chosen) <= most:
        return chosen
    return [chosen[number * len(chosen) // most] for number in range(most)]


def _sites(opened: OpenModel, layers: int) -> list[str]:
    """Return residual streams behind ``layers`` blocks, spread evenly, the last one among them."""
    count = len(opened.anatomy.blocks)
    wanted = min(layers or count, count)
    return [f"resid{round(count * (number + 1) / wanted)}" for number in range(wanted)]


def _named(way: Way, fitted: list[Direction]) -> dict[str, Tensor]:
    return {f"{way}.{one.site}": one.vector.float().contiguous() for one in fitted}


def _doses(
    opened: OpenModel,
    one: Setting,
    plan: ReasoningPlan,
    parts: Parts,
    found: dict[str, Any],
    tensors: dict[str, Tensor],
) -> None:
    given: list[Problem] = problems(one, plan.dosed, plan.seed, "dosed")
    site = found["directions"]["switch"]["chosen"]
    directions: dict[str, Tensor] = {way: tensors[f"{way}.{site}"] for way, _ in CONTRASTS}
    null = random_like(directions["switch"], plan.random_doses, plan.seed)
    directions |= {f"random {number + 1}": vector for number, vector in enumerate(null)}
    total = 1 + len(directions) * len(plan.doses)

    def measure() -> dict[str, Any]:
        known = parts.read("doses_part") or {}
        begun, before = time.monotonic(), _count(known)

        def kept(some: dict[str, Any]) -> None:
            parts.keep("doses_part", some)
            done = _count(some)
            left = (time.monotonic() - begun) / max(1, done - before) * (total - done)
            parts.say(f"dose {done} of {total}, {left:.0f} s left")

        return respond(opened, one, given, site, directions, plan.doses, known=known, on_dose=kept)

    found["doses"] = {**parts.make("doses", measure), "site": site}


def _count(known: dict[str, Any]) -> int:
    return ("plain" in known) + sum(map(len, known.get("curves", {}).values()))


def _tokens(
    opened: OpenModel, base: str, one: Setting, written: list[Written], plan: ReasoningPlan, say: Say
) -> dict[str, Any]:
    codec = codec_of(opened)
    other = open_model(base, dtype=plan.dtype)
    rows, begins = [], []
    for some in written[: max(8, plan.pairs)]:
        before = asked(codec, some.problem)
        said = codec.encode_untrusted(some.text)
        if len(said) > 1:
            rows.append([*before, *said])
            begins.append(len(before))
    critical = list(dict.fromkeys(codec.encode_untrusted(text)[0] for text in one.critical))
    own = ModelSource.parse(plan.model)
    same = own.adapter is not None and str(own.base) == base
    done = 0

    def told() -> None:
        nonlocal done
        done += 1
        if done % 10 == 0:
            say(f"tokens: {done} of {len(rows)} rows")

    meaning = token_meaning(other, opened, rows, critical, begins=begins, one_basis=same, seed=plan.seed, on_row=told)
    return {**meaning.as_json(lambda token: codec.decode([token])), "base": base}


def _shown(opened: OpenModel, one: Written) -> dict[str, Any]:
    """Return a reply for the page: its text in pieces, each with how the thought went on there."""
    pieces: list[dict[str, Any]] = []
    at = 0
    for point in one.points:
        pieces.append({"text": one.text[at : len(point.said)], "way": "", "right": None})
        at = len(point.said)
        end = at + 1
        pieces.append({"text": one.text[at:end], "way": point.way or "", "right": point.way == point.right})
        at = end
    pieces.append({"text": one.text[at:], "way": "", "right": None})
    return {"problem": one.problem.text, "pieces": pieces, "right": one.right}
