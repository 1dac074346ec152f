"""`palaestra interp diff`: what training changed, from several sides, as a folder and a page.

    plan.json          what was asked, and of which weights and prompts
    switching.json     what each module and layer does, by switching it
    edges.json         edges gained, lost, stronger, weaker; circuits of each model run in the other
    lens.json          what training adds to unrelated texts
    suppression.json   whether what is gone is gone
    crosscoder.json    features of one model only
    *.safetensors      of the same names: effects and edges by prompt, directions, the crosscoder's weights
    index.html         the page

Each file is one step; a run that was cut short goes on from those that are there. A folder of another plan is not
overwritten; what was made of other weights or prompts is made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from palaestra.agents.models.disk import replace_text
from palaestra.agents.models.sources import ModelSource
from palaestra.interp.capture import capture
from palaestra.interp.diff.crosscoder import Settings, scaling, train
from palaestra.interp.diff.edges import compare_edges, cross_faithfulness
from palaestra.interp.diff.lens import lens, steered
from palaestra.interp.diff.page import page_of
from palaestra.interp.diff.pair import TABLES, Pair, _adapter
from palaestra.interp.diff.suppression import suppression
from palaestra.interp.diff.switching import screen, switch
from palaestra.interp.diff.texts import changed_pairs, game_texts, texts
from palaestra.interp.errors import InterpError
from palaestra.interp.folder import begin, contents_of, save_tensors
from palaestra.interp.metrics import Metric, logit_difference
from palaestra.interp.prompts import Pairs, Prompts

Found = tuple[dict[str, Any], dict[str, torch.Tensor]]
"""What a step found, as plain data and as tensors."""
STEPS = ("switching", "edges", "lens", "suppression", "crosscoder")


@dataclass(frozen=True, slots=True)
class DiffPlan:
    """What is asked.

    Attributes:
        base, trained: As for `open_pair`.
        pairs: File of pairs; empty for texts as the base knows them and turns of the adapter's games.
        prompts: How many, where there is no file.
        unrelated: Texts for the lens and the crosscoder.
        top: Modules that are switched exactly, the first ones by a first-order estimate.
        seed: Of texts and bootstrap.
        crosscoder: Whether to train one.
    """

    base: str
    trained: str
    pairs: str = ""
    prompts: int = 16
    unrelated: int = 48
    top: int = 24
    seed: int = 0
    crosscoder: bool = True


def prompts_of(pair: Pair, plan: DiffPlan) -> tuple[Pairs, Prompts]:
    """Return what is compared, and unrelated texts.

    Raises:
        InterpError: A file holds no pairs, or the model was opened without a tokenizer.
    """
    codec = pair.opened.codec
    if codec is None:
        raise InterpError(f"{pair.opened.name} was opened without a tokenizer; give token ids to `analyse`.")
    source = ModelSource.parse(plan.base)
    plain = texts(source, codec, plan.unrelated + plan.prompts, plan.seed)
    unrelated = Prompts.of(plain[: plan.unrelated], [[0]] * min(plan.unrelated, len(plain)))
    if plan.pairs:
        from palaestra.interp.tasks import from_file

        return from_file(pair.opened, Path(plan.pairs)), unrelated
    folder = _adapter(plan.trained, source)
    played = game_texts(codec, folder, plan.prompts, plan.seed) if folder else []
    rows = [*played, *plain[plan.unrelated :]][: plan.prompts]
    return changed_pairs(pair, rows), unrelated


def analyse(
    pair: Pair,
    prompts: Pairs,
    unrelated: Prompts,
    plan: DiffPlan,
    folder: Path,
    on_step: Callable[[str], None] = lambda name: None,
) -> Path:
    """Compare and write the folder; return its page.

    Raises:
        InterpError: The folder holds another plan's results, or cannot be written.
    """
    contents = contents_of(pair.opened, pair.weights(), prompts, unrelated)
    files = [f"{name}.{end}" for name in STEPS for end in ("json", "safetensors")]
    begin(folder, asdict(plan), contents, [*files, "index.html"])
    makers: dict[str, Callable[[], Found]] = {
        "switching": lambda: _switching(pair, prompts, plan),
        "edges": lambda: _edges(pair, prompts),
        "lens": lambda: _lens(pair, unrelated, plan),
        "suppression": lambda: _suppression(pair, prompts),
        "crosscoder": lambda: _crosscoder(pair, unrelated, plan),
    }
    found: dict[str, dict[str, Any]] = {}
    for name in STEPS:
        on_step(name)
        path = folder / f"{name}.json"
        if path.is_file():
            found[name] = json.loads(path.read_text(encoding="utf-8"))
            continue
        tensors: dict[str, torch.Tensor] = {}
        try:
            found[name], tensors = makers[name]() if pair.modules else ({"nothing": "no module differs"}, {})
        except InterpError as why:
            found[name] = {"nothing": str(why)}
        if tensors:
            save_tensors(tensors, folder / f"{name}.safetensors")
        replace_text(path, json.dumps(found[name], indent=1) + "\n")
    return page_of(plan.base, plan.trained, found, facts_of(pair, prompts, unrelated, plan)).write(
        folder / "index.html"
    )


def facts_of(pair: Pair, prompts: Pairs, unrelated: Prompts, plan: DiffPlan) -> dict[str, str]:
    """Return what stands at the top of the page."""
    return {
        "before": plan.base,
        "after": plan.trained,
        "modules that differ": str(len(pair.modules)),
        "prompts": f"{len(prompts)}, "
        f"{plan.pairs or 'chosen here: turns of the adapter’s games, then texts of the base'}",
        "unrelated texts": str(len(unrelated)),
        "seed": str(plan.seed),
    }


def layers_of(pair: Pair) -> dict[str, list[str]]:
    """Return the modules that differ by layer; those outside of layers by themselves."""
    found: dict[str, list[str]] = {}
    for name in pair.modules:
        found.setdefault(name.partition(".")[0], []).append(name)
    return found


def _switching(pair: Pair, prompts: Pairs, plan: DiffPlan) -> Found:
    estimate = screen(pair, prompts.clean)
    order = sorted(estimate, key=lambda name: -abs(float(estimate[name].mean())))
    chosen = [*order[: plan.top], *(name for name in pair.modules if name == TABLES)]
    blind = switch(pair, prompts.clean, modules=chosen)
    told = switch(pair, prompts.clean, logit_difference, modules=chosen)
    layers = switch(pair, prompts.clean, groups=layers_of(pair))
    sizes = {name: size for name, size in pair.sizes().items() if size == size}
    kinds = {"divergence": blind, "metric": told, "layers": layers}
    tensors = {
        f"{kind}.{way}": getattr(one, way)
        for kind, one in kinds.items()
        for way in ("added", "removed", "before", "after")
    }
    return {"screened": len(order), **{kind: one.as_json() for kind, one in kinds.items()}, "sizes": sizes}, tensors


def _edges(pair: Pair, prompts: Pairs) -> Found:
    half = max(1, len(prompts) // 2)
    diff = compare_edges(pair, prompts[slice(0, half)], steps=5, batch=2)
    cross = cross_faithfulness(pair, diff, prompts[slice(half, None)], batch=2) if len(prompts) > 1 else []
    return {**diff.as_json(), "cross": cross}, {"before": diff.before, "after": diff.after}


def _lens(pair: Pair, unrelated: Prompts, plan: DiffPlan) -> Found:
    found: dict[str, Any] = {}
    directions = {}
    for where, first in (("first", 5), ("all", None)):
        rows = lens(pair, unrelated, first=first, seed=plan.seed)
        found[where] = [one.as_json(pair.opened.text(token for token, _ in one.tokens)) for one in rows]
        directions[where] = torch.stack([one.direction for one in rows])
        middle = rows[len(rows) // 2]
        found[f"steered_{where}"] = [{"point": middle.point, **steered(pair, unrelated[slice(0, 16)], middle)}]
    return found, directions


def _suppression(pair: Pair, prompts: Pairs) -> Found:
    """Ask of what the base did and the trained model does less: the metric, or its opposite."""
    ends = switch(pair, prompts.clean, logit_difference, modules=())
    sign = 1 if float(ends.before.mean()) > float(ends.after.mean()) else -1

    def metric(logits: torch.Tensor, some: Prompts) -> torch.Tensor:
        return sign * logit_difference(logits, some)

    chosen: Metric = metric
    found = suppression(pair, prompts, chosen)
    curves = {name: getattr(found, name) for name in ("restored", "read", "control", "done")}
    return {"metric": "answer over foil" if sign > 0 else "foil over answer", **found.as_json()}, curves


def _crosscoder(pair: Pair, unrelated: Prompts, plan: DiffPlan) -> Found:
    if not plan.crosscoder:
        return {"nothing": "not asked for"}, {}
    point = f"resid{(len(pair.opened.anatomy.blocks) + 1) // 2}"
    before, after = activations(pair, unrelated, point)
    train_on = torch.arange(len(before)) % 4 != 0
    settings = Settings(latents=min(512, 4 * before.shape[1]), k=12, steps=300, batch=256, seed=plan.seed)
    one = train(before[train_on], after[train_on], settings)
    found = scaling(one, before[~train_on], after[~train_on])
    return {"point": point, "tokens": len(before), **found.as_json()}, dict(one.state_dict())


@torch.no_grad()
def activations(pair: Pair, prompts: Prompts, point: str, batch: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both models' residual streams at all tokens but the first: [N, width] each.

    The first token's stream is the same in every text and many times as long, so it would be all that a dictionary
    learns.
    """
    found: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    for start in range(0, len(prompts), batch):
        some = prompts[slice(start, start + batch)]
        real = some.real()
        real[:, 0] = False
        for rows, state in zip(found, (pair.before, pair.after), strict=True):
            with state() as opened, capture(opened, [point]) as kept:
                opened(some.ids)
                rows.append(kept[point][real].float().cpu())
    return torch.cat(found[0]), torch.cat(found[1])
