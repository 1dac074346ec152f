"""What a run's reviews taught, as a data set: the context of a turn, the reply that did better, the one that was given.

Every accepted verdict whose game was recorded gives one *pair*. Its context and the given reply are the tokens that the
policy saw and sampled; nothing is tokenised again. `export` writes them in the standard forms of preference and
supervised data (``prompt``, ``chosen``, ``rejected``; ``prompt``, ``completion``), with token ids and where each pair
comes from beside the text, so that any trainer can read them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from palaestra.agents.models.disk import replace_text
from palaestra.agents.models.sources import ModelSource
from palaestra.agents.tokens import TextCodec
from palaestra.envs.errors import PalaestraError, ReplayError
from palaestra.envs.replay import read_replay
from palaestra.trainers.hindsight.pages import reviews
from palaestra.trainers.hindsight.verdict import ACCEPTED
from palaestra.trainers.run import open_run


class NoPairs(PalaestraError):
    """A run has no reviews that stood the test, or none whose games were recorded."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One lesson.

    Attributes:
        prompt: Token ids of the context. chosen, rejected: Of the two replies, each with its stop token.
        replay: File of the game, relative to the run. turn, player: Which turn, from 0, and whose.
        iteration: When it was played. gain: Mean gain that was measured; None if it was not tried out.
    """

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    replay: str
    turn: int
    player: int
    iteration: int
    gain: float | None


def pairs_of(folder: Path) -> tuple[list[Pair], TextCodec]:
    """Return a run's pairs, in the order of its reviews, and the codec of its model.

    Raises:
        RunError, ConfigError: It is no run.
        NoPairs: There is nothing to learn from.
    """
    run = open_run(folder)
    codec = ModelSource.parse(str(ModelSource.parse(run.config.model.source).base)).codec()
    accepted = [one for one in reviews(run.folder) if one["why"] in ACCEPTED]
    found = [pair for one in accepted if one["replay"] and (pair := _pair(run.folder, one, codec)) is not None]
    if not found:
        cure = "train with `hindsight:` and `replays: all`, or for longer."
        raise NoPairs(f"run {folder} has {len(accepted)} accepted reviews and no recorded game of any; {cure}")
    return found, codec


def _pair(folder: Path, verdict: dict[str, Any], codec: TextCodec) -> Pair | None:
    """Return one pair; None where its game cannot be read any more."""
    path = folder / "replays" / "train" / Path(str(verdict["replay"])).name
    try:
        episode = read_replay(path).episode
    except ReplayError:
        return None
    for segment in episode.segments(int(verdict["player"])):
        mine = segment.sampled & (segment.turns == verdict["turn"])
        if mine.any():
            start = int(np.argmax(mine))
            stop = start + int(np.argmin(np.append(mine[start:], False)))
            given = segment.tokens[start:stop].tolist()
            ended = given if given[-1] in codec.stop_ids else [*given, codec.stop_ids[0]]
            chosen = [*codec.encode_untrusted(str(verdict["reply"])), codec.stop_ids[0]]
            gain = verdict["gain"]["mean"] if verdict["gain"] else None
            return Pair(
                tuple(segment.tokens[:start].tolist()),
                tuple(chosen),
                tuple(ended),
                str(path.relative_to(folder)),
                int(verdict["turn"]),
                int(verdict["player"]),
                int(verdict["iteration"]),
                gain,
            )
    return None


def export(pairs: Sequence[Pair], codec: TextCodec, folder: Path) -> list[Path]:
    """Write ``preference.jsonl`` and ``supervised.jsonl``; return their paths.

    Raises:
        PalaestraError: The disk is full.
    """
    lines: dict[str, list[str]] = {"preference": [], "supervised": []}
    for pair in pairs:
        prompt, chosen, rejected = (codec.decode(ids) for ids in (pair.prompt, pair.chosen, pair.rejected))
        origin = {key: getattr(pair, key) for key in ("replay", "turn", "player", "iteration", "gain")}
        ids = {"prompt_ids": pair.prompt, "chosen_ids": pair.chosen, "rejected_ids": pair.rejected}
        whole = {"prompt": prompt, "chosen": chosen, "rejected": rejected, **ids, **origin}
        lines["preference"].append(json.dumps(whole, ensure_ascii=False))
        part = {"prompt": prompt, "completion": chosen, "prompt_ids": pair.prompt, "completion_ids": pair.chosen}
        lines["supervised"].append(json.dumps({**part, **origin}, ensure_ascii=False))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, texts in lines.items():
            replace_text(folder / f"{name}.jsonl", "".join(f"{line}\n" for line in texts))
    except OSError as error:
        raise PalaestraError(f"{folder} could not be written ({error.strerror or error}); free some space.") from None
    return [folder / f"{name}.jsonl" for name in lines]
