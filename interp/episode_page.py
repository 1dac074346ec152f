"""The page of one explained decision."""

from __future__ import annotations

import json
from pathlib import Path

from palaestra.agents.models.disk import replace_text
from palaestra.interp.episode import Explanation
from palaestra.interp.figures import bars
from palaestra.interp.folder import save_tensors
from palaestra.interp.opened import OpenModel
from palaestra.interp.report import Figure, Page, Table, Text, Token, Tokens, number


def write_episode(folder: Path, opened: OpenModel, found: Explanation, about: str) -> Path:
    """Write ``episode.json``, ``episode.safetensors`` and ``index.html`` into a folder; return the page.

    The tensors are of the context's T tokens (``ids``, ``sources``, ``words`` and which of them are ``measured``), of
    components by place (``components`` [n, T]) and in all (``contributions`` [m]).

    Raises:
        InterpError: They cannot be written.
    """
    decision = found.decision
    ids = decision.prompts.ids[0].tolist()
    texts = opened.text(ids)
    page = Page(
        f"Why {decision.chosen!r} and not {decision.other!r}",
        about,
        {
            "model": opened.name,
            "turn": f"{decision.turn}, of player {decision.player + 1}",
            "context": f"{len(ids)} tokens",
            "margin": f"{number(found.margin)} logits of {decision.chosen!r} over {decision.other!r}",
        },
    )
    most = float(found.words.abs().max()) or 1.0
    page.add(
        "The words",
        Tokens(
            [
                Token(
                    text, float(value) / most, f"{number(float(value))} logits, {'measured' if known else 'estimated'}"
                )
                for text, value, known in zip(texts, found.words, found.measured, strict=True)
            ],
            "Blue words speak for the choice, red ones against it: the margin falls, or grows, with the mean embedding "
            "of the context in their place. Numbers show when the pointer rests on a word. Words that do their work "
            "together lose less one by one than as a whole.",
        ),
    )
    page.add(
        "Where the words came from",
        Table(
            ("source", "tokens", "the margin loses without it"),
            [
                (name, str(int((decision.sources == place).sum())), "" if value is None else number(value))
                for place, (name, value) in enumerate(found.sources.items())
            ],
        ),
    )
    heads = {name: float(found.contributions[name].mean()) for name in found.contributions.names}
    order = sorted(heads, key=lambda name: -abs(heads[name]))[:20]
    page.add(
        "The components",
        Table(
            ("component", "estimated", "measured"),
            [
                (name, number(float(found.components[name].sum())), number(value))
                for name, value in found.ablated.items()
            ],
            "What the margin loses with the component's mean over the context in its place: estimated from gradients, "
            "and measured.",
        ),
        Figure(
            bars("Direct contributions, the 20 largest", "logits", {name: (heads[name],) * 3 for name in order}),
            "What a component adds to the margin by itself, with the final norm's scale as it is; all of them, and a "
            "constant, add up to the margin.",
        ),
        Text("One decision is one case: nothing here has an interval. Effects of other turns may differ."),
    )
    data = {
        "model": opened.name,
        "turn": decision.turn,
        "player": decision.player,
        "chosen": decision.chosen,
        "other": decision.other,
        "margin": found.margin,
        "words": [[text, float(value)] for text, value in zip(texts, found.words, strict=True)],
        "measured_words": int(found.measured.sum()),
        "sources": found.sources,
        "components": list(found.components.names),
        "measured_components": found.ablated,
        "contributions": heads,
    }
    tensors = {
        "ids": decision.prompts.ids[0],
        "sources": decision.sources,
        "words": found.words,
        "measured": found.measured,
        "components": found.components.values[0],
        "contributions": found.contributions.values[0],
    }
    save_tensors(tensors, folder / "episode.safetensors")
    replace_text(folder / "episode.json", json.dumps(data, indent=1) + "\n")
    return page.write(folder / "index.html")
