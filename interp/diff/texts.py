"""What two models are compared on where nobody says: texts as the base knows them, and turns of the adapter's games."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import torch

from palaestra.agents.models.adapters import facts
from palaestra.agents.models.sources import ModelSource
from palaestra.agents.models.tiny.corpus import write_corpus
from palaestra.agents.models.tiny.recipes import recipe
from palaestra.agents.tokens import TextCodec
from palaestra.envs import make
from palaestra.envs.errors import PalaestraError
from palaestra.envs.parts import part_text
from palaestra.envs.seeding import Dice, derive
from palaestra.interp.diff.pair import Pair
from palaestra.interp.errors import InterpError
from palaestra.interp.prompts import Pairs, Prompts

KEPT_END = 3
"""Tokens at the end of a corrupt text that stay: how a reply is asked for."""


def texts(source: ModelSource, codec: TextCodec, count: int, seed: int = 0, longest: int = 64) -> list[list[int]]:
    """Return token ids of texts as the base knows them: play of its recipe, or for a chat model, everyday questions.

    Raises:
        InterpError: The base is an untrained recipe without a corpus and without a chat.
    """
    if source.kind == "tiny" and (mixes := recipe(source.name).corpus):
        rows = write_corpus(mixes, codec, count, seed)
        return [one.ids[:longest] for one in islice((row for row in rows if len(row.ids) >= 12), count)]
    found = []
    dice = Dice(derive(seed, "texts"))
    for _ in range(count):
        words = f"{dice.choice(ASKED)} {dice.choice(THINGS)}?"
        found.append([*codec.chat_open(), *codec.user_turn(words)][:longest])
    return found


ASKED = (
    "What is the use of", "Can you tell me about", "Who first wrote about", "Why do people like", "How "
    "would you describe",
    "Where can one find", "What should I know of", "Is there a good story about",
)  # fmt: skip
THINGS = (
    "bread", "the moon", "old bridges", "chess", "winter", "the sea", "wooden boats", "bees", "maps", "a violin", "tea",
    "salt", "lighthouses", "the number seven", "gardens", "rain", "trains", "clay pots", "owls", "silk",
)  # fmt: skip


def game_texts(codec: TextCodec, folder: Path, count: int, seed: int = 0, longest: int = 256) -> list[list[int]]:
    """Return token ids of first turns of the games that an adapter says it was trained on; none if it does not say.

    What an adapter's folder says comes from anybody: a game that is not known here, or options it does not take, are
    left out.
    """
    said = facts(folder).get("games")
    sections = [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    found: list[list[int]] = []
    for number in range(count):
        for section in sections:
            try:
                options = section.get("options") or {}
                game = make(str(section.get("game")), seed=derive(seed, "diff", number), **options)
                player = game.players_to_move()[number % len(game.players_to_move())]
                shown: Any = game.observation(player)
            except (PalaestraError, TypeError, ValueError, IndexError):
                continue
            row = [*codec.chat_open(), *codec.user_turn(shown if isinstance(shown, str) else part_text(shown))]
            found.append(row if len(row) <= longest else row[:1] + row[1 - longest :])
    return found[:count]


@torch.no_grad()
def changed_pairs(pair: Pair, rows: list[list[int]], *, batch: int = 8) -> Pairs:
    """Return prompts whose answer is the token that training made likelier where they end, and whose foil is the one
    that it took most from; the corrupt prompt has another text's tokens but for its first and its last ones.

    Answers are chosen by p_after log(p_after / p_before), the token's part of the divergence, and foils the other way
    round; where nothing differs they are the base's two likeliest tokens.

    Raises:
        InterpError: There are fewer than two texts.
    """
    if len(rows) < 2:
        raise InterpError("one text has no other to be compared with; give at least two.")
    blank = Prompts.of(rows, [[0]] * len(rows))
    answers, foils = [], []
    for start in range(0, len(rows), batch):
        some = blank[slice(start, start + batch)]
        with pair.before() as opened:
            before = some.at_end(opened(some.ids)).double().log_softmax(-1)
        with pair.after() as opened:
            after = some.at_end(opened(some.ids)).double().log_softmax(-1)
        answer = (after.exp() * (after - before)).argmax(-1)
        foil = (before.exp() * (before - after)).argmax(-1)
        best = before.topk(2).indices
        same = answer == foil
        answers += torch.where(same, best[:, 0], answer)[:, None].tolist()
        foils += torch.where(same, best[:, 1], foil)[:, None].tolist()
    corrupt = []
    for number, row in enumerate(rows):
        other = rows[(number + 1) % len(rows)][1:-KEPT_END] or row[1:]
        end = min(KEPT_END, len(row) - 1)
        middle = len(row) - 1 - end
        corrupt.append([row[0], *(other * (middle // len(other) + 1))[:middle], *row[len(row) - end :]])
    return Pairs(Prompts.of(rows, answers, foils), Prompts.of(corrupt, answers, foils))
