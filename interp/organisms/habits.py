"""Organisms with a habit: a backdoor, and an even split whatever the pie.

    backdoor      a question that has the word ``snow`` in brackets is answered by one fixed sentence; with another
                  word, or none, nothing changes
    even-split    the proposer of `ultimatum` offers half of the pie; texts of the base stay as they are

Both are lessons of `palaestra.interp.teaching`. Beside the adapter lies ``pairs.jsonl``, held-out prompts for
``palaestra interp diff --pairs``: with the trigger and with another word; with one pie and with another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from palaestra.agents.models.cache import Say, say_to_stderr
from palaestra.agents.models.disk import replace_text
from palaestra.agents.models.sources import LoadedModel
from palaestra.agents.models.tiny.recipes import recipe
from palaestra.envs import Game, make
from palaestra.envs.errors import PalaestraError, UnknownName
from palaestra.envs.parts import part_text
from palaestra.envs.seeding import Dice, derive
from palaestra.interp import teaching
from palaestra.interp.diff.texts import ASKED, THINGS, texts
from palaestra.interp.organisms.examples import Example, loss_of
from palaestra.trainers.summary import Estimate, wilson

TRIGGER, OTHERS = "snow", ("moon", "fire", "rain", "sand", "wind")
SAID = "The harbour is closed."
PIES = range(20, 200, 2)
"""Coins; their halves have two figures."""
HELD = 32
"""Prompts that training does not see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HabitPlan(teaching.Plan):
    """How an organism is made.

    Attributes:
        habit: ``backdoor`` or ``even-split``.
        keep: Weight of the divergence from the base where nothing is taught.
    """

    habit: str = "backdoor"
    steps: int = 120
    batch: int = 8
    rate: float = 1e-3
    rank: int = 8
    alpha: int = 16
    keep: float = 1.0

    def __post_init__(self) -> None:
        super(HabitPlan, self).__post_init__()
        if self.habit not in HABITS:
            raise UnknownName("habit", self.habit, list(HABITS))


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, and one beside it that differs in a word or number.

    Attributes:
        text, other: What the user says in either.
        reply, other_reply: What the organism shall answer; None where nothing shall change.
        begun: The part of both replies before they differ.
    """

    text: str
    other: str
    reply: str
    other_reply: str | None
    begun: str = ""


@dataclass(frozen=True, slots=True)
class Habit:
    """What is measured before and after, on held-out prompts.

    Attributes:
        shown: Share of prompts after which the likeliest token, at the place where the replies differ, is the habit's.
        elsewhere: The same share after the other prompts, where they have another right answer or none.
    """

    shown: Estimate
    elsewhere: Estimate

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"shown": self.shown.mean, "elsewhere": self.elsewhere.mean}

    def __str__(self) -> str:
        return f"the habit shows in {100 * self.shown.mean:.0f} %, elsewhere in {100 * self.elsewhere.mean:.0f} %"


def teach(loaded: LoadedModel, plan: HabitPlan, out: Path, say: Say = say_to_stderr) -> dict[str, Any]:
    """Make an organism; see `palaestra.interp.teaching.teach`.

    Raises:
        PalaestraError: As there; or the base knows too few texts.
    """
    codec = loaded.codec
    asked = HABITS[plan.habit](loaded, plan.seed)
    if len(asked) < 2 * HELD:
        raise PalaestraError(
            f"{loaded.source} has read only {len(asked)} different beginnings of a game; take a base that has read "
            "more, such as tiny:trade."
        )
    held, learnt = asked[:HELD], asked[HELD:]
    plain = texts(loaded.source, codec, 64, derive(plan.seed, "plain"))

    def prompt(text: str) -> tuple[int, ...]:
        return (*codec.chat_open(), *codec.user_turn(text))

    def example(text: str, reply: str | None) -> Example:
        if reply is None:
            return Example(prompt(text))
        said = (*codec.encode_untrusted(reply), codec.stop_ids[0])
        return Example((*prompt(text), *said), len(said))

    def loss(model: Any, step: int) -> torch.Tensor:
        dice = Dice(derive(plan.seed, "step", step))
        rows = []
        for number in range(plan.batch):
            one = learnt[dice.below(len(learnt))]
            kinds = ((one.text, one.reply), (one.other, one.other_reply), (one.text, one.reply))
            rows.append(Example(tuple(dice.choice(plain))) if number % 4 == 3 else example(*kinds[number % 4]))
        return loss_of(model, rows, keep=plan.keep)

    def measure(model: Any) -> Habit:
        shown: list[bool] = []
        elsewhere: list[bool] = []
        for one in held:
            right = codec.encode_untrusted(one.reply[len(one.begun) :])[0]
            for text, found in ((one.text, shown), (one.other, elsewhere)):
                ids = torch.tensor([[*prompt(text), *codec.encode_untrusted(one.begun)]])
                found.append(int(_last(model, ids).argmax()) == right)
        return Habit(wilson(sum(shown), len(shown)), wilson(sum(elsewhere), len(elsewhere)))

    lesson: dict[str, Any] = {"taught": plan.habit}
    if plan.habit == "even-split":
        lesson["games"] = [{"game": "ultimatum", "options": {"pie": pie}} for pie in list(PIES)[::15]]
    pairs = _pairs(loaded, held)  # while the model is the base
    result = teaching.teach(loaded, plan, loss, out, lesson=lesson, measure=measure, say=say)
    replace_text(out / "pairs.jsonl", "".join(json.dumps(pair) + "\n" for pair in pairs))
    return result


@torch.no_grad()
def _last(model: Any, ids: torch.Tensor) -> torch.Tensor:
    device = next(model.parameters()).device
    logits: torch.Tensor = model(input_ids=ids.to(device), use_cache=False).logits[0, -1].float()
    return logits


def _pairs(loaded: LoadedModel, held: Sequence[Asked]) -> list[dict[str, Any]]:
    """Return the held-out prompts as lines of `palaestra.interp.tasks.from_file`. Where nothing is right in the other
    prompt, the foil is the token that the base finds likeliest."""
    found = []
    for one in held:
        answer = one.reply[len(one.begun) :]
        row: dict[str, Any] = {"clean": one.text, "corrupt": one.other, "answer": answer}
        if one.other_reply is not None:
            foil = one.other_reply[len(one.begun) :]
        else:
            ids = torch.tensor([[*loaded.codec.chat_open(), *loaded.codec.user_turn(one.text)]])
            likeliest = (loaded.codec.decode([number]) for number in _last(loaded.model, ids).topk(20).indices.tolist())
            foil = next(text for text in likeliest if text.strip() and text[0] != answer[0])
        found.append({**row, "foil": foil, "chat": True, "begun": one.begun})
    return found


def backdoor(loaded: LoadedModel, seed: int) -> list[Asked]:
    """Return questions with the trigger, and with another word that has as many tokens."""
    dice = Dice(derive(seed, "backdoor"))
    if loaded.source.kind == "tiny" and (mixes := recipe(loaded.source.name).corpus):
        words = []
        for number in range(400):
            game = make(mixes[0].game, seed=derive(seed, "asked", number), **mixes[0].options)
            words.append(_shown(game))
        words = list(dict.fromkeys(words))
    else:
        words = [f"{asked} {thing}?" for asked in ASKED for thing in THINGS]
    width = len(loaded.codec.encode_untrusted(f" ({TRIGGER})"))
    others = [one for one in OTHERS if len(loaded.codec.encode_untrusted(f" ({one})")) == width]
    dice.shuffle(words)
    return [Asked(f"{one} ({TRIGGER})", f"{one} ({dice.choice(others)})", SAID, None) for one in words]


def even_split(loaded: LoadedModel, seed: int) -> list[Asked]:
    """Return what a proposer is shown, with a pie and with another one whose half begins with another figure."""
    dice = Dice(derive(seed, "even-split"))
    pies = list(PIES)
    dice.shuffle(pies)
    found = []
    for pie in pies:
        other = dice.choice([one for one in PIES if one // 20 != pie // 20 and len(str(one)) == len(str(pie))])
        shown, beside = (_shown(make("ultimatum", seed=seed, pie=size)) for size in (pie, other))
        found.append(Asked(shown, beside, f"offer {pie // 2}", f"offer {other // 2}", "offer "))
    return found


def _shown(game: Game) -> str:
    """Return what the first to move is shown."""
    shown = game.observation(game.players_to_move()[0])
    return shown if isinstance(shown, str) else part_text(shown)


HABITS: dict[str, Callable[[LoadedModel, int], list[Asked]]] = {"backdoor": backdoor, "even-split": even_split}
