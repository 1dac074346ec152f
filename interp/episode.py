"""One decision of an episode explained: which earlier words, and which components, drove it; how much others' thoughts.

The decision is the token at which the reply parts from the likeliest other legal action (or, where the action cannot be
found in the reply, its first token against the likeliest other). The context is the recorded tokens, not tokenised
again.

A word is measured by putting the context's mean embedding in its place; in contexts of more than `ALL` tokens only the
strongest are, by an estimate from gradients, which for words can be far off. So is every *source* as a whole: the task
and board, others' thoughts, others' messages, own earlier replies, own thought this turn. Components have their mean
over the context in their place. The first token, an attention sink, is left as it is throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from palaestra.envs.episode import Episode, TokenRecord, Turn
from palaestra.envs.parts import part_text
from palaestra.envs.replay import game_at, read_replay
from palaestra.interp.capture import capture
from palaestra.interp.errors import InterpError
from palaestra.interp.importance.direct import direct
from palaestra.interp.importance.gradients import attribute
from palaestra.interp.importance.scores import Scores
from palaestra.interp.intervene import Mean, Patch, intervene
from palaestra.interp.metrics import logit_difference
from palaestra.interp.opened import OpenModel, open_model
from palaestra.interp.prompts import Prompts
from palaestra.trainers.run import folder_holding, open_run

if TYPE_CHECKING:
    from palaestra.agents.tokens import TextCodec

SOURCES = ("task and board", "others' thoughts", "others' words", "own earlier replies", "own reply so far")
ALL = 256
"""Tokens of a context up to which every word is measured."""
MEASURED = 12
"""Components, and words of longer contexts, that are measured and not only estimated."""
ROWS = 16
"""Measurements in a forward pass."""


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """A choice between two tokens in the context in which it was made.

    Attributes:
        prompts: One prompt: what the model had seen; the chosen token and the other one.
        chosen, other: Actions, or tokens where the reply names no action.
        sources: [T] index into `SOURCES` of each token.
        turn: Its number.
        player: Whose it is.
    """

    prompts: Prompts
    chosen: str
    other: str
    sources: Tensor
    turn: int
    player: int


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What drove a decision; all numbers are in logits of the chosen token over the other one.

    Attributes:
        decision: What is explained.
        margin: By how much it was preferred.
        words: [T] what the margin loses without each token of the context, estimated where it is not measured.
        measured: [T] of booleans.
        sources: The same for each source as a whole; None where the context has nothing of it.
        components: Estimated against their mean over the context.
        ablated: Components measured: what the margin loses without them.
        contributions: Direct contributions of heads and MLPs, which add up to the margin.
    """

    decision: Decision
    margin: float
    words: Tensor
    measured: Tensor
    sources: dict[str, float | None]
    components: Scores
    ablated: dict[str, float]
    contributions: Scores
    facts: dict[str, Any] = field(default_factory=dict)


def source_of(replay: Path, turn: int) -> str:
    """Return the model that made a turn, if the replay lies in a run's folder.

    Raises:
        InterpError: It does not; the model must be named.
    """
    record = _record(_turn(read_replay(replay).episode, turn))
    folder = folder_holding(replay)
    if folder is None:
        raise InterpError(f"{replay} lies in no run's folder; name the model that played it (--model).")
    base = open_run(folder).config.model.source
    known = (folder / "adapters" / record.policy).is_dir()
    return f"{base.partition('@')[0]}@{folder / 'adapters' / record.policy}" if known else base


def decision_of(episode: Episode, turn: int, codec: TextCodec) -> Decision:
    """Find the decision of a turn in its recorded tokens.

    Raises:
        InterpError: There is no such turn, or it was not played by a language model.
    """
    played = _turn(episode, turn)
    record = _record(played)
    ids: list[int] = []
    sources: list[int] = []
    for earlier in episode.turns[: played.number + 1]:
        if earlier.player != played.player:
            continue
        for attempt in earlier.attempts:
            one = attempt.reply.tokens
            if one is None or one.segment != record.segment:
                continue
            ids += one.context
            sources += [0] * len(one.context)
            if one is record:
                break
            ids += one.ids
            sources += [3] * len(one.ids)
    start = len(ids)
    ids += record.ids
    sources += [4] * len(record.ids)
    place, answer, foil, chosen, other = _parting(episode, played, record, codec)
    end = start + place  # the token that is predicted; what the model had seen ends before it
    if end < 1:
        raise InterpError(f"turn {turn} was decided by its first token, before which there is no context.")
    marked = _heard(episode, played, codec, ids[:end], sources[:end])
    prompts = Prompts.of([ids[:end]], [[answer]], [[foil]] if foil >= 0 else None)
    return Decision(prompts, chosen, other, torch.tensor(marked), turn, played.player)


def explain(opened: OpenModel, decision: Decision) -> Explanation:
    """Attribute a decision to the words before it and to components, and measure the strongest.

    Raises:
        InterpError: The model has no tokenizer, or its vocabulary is another one.
    """
    rows = opened.rows
    prompts = decision.prompts
    if int(prompts.ids.max()) >= rows:
        raise InterpError(f"the replay's tokens are not {opened.name}'s; name the model that played it.")
    if not prompts.foils.shape[1]:
        end = prompts.at_end(opened(prompts.ids)).clone()
        end[0, prompts.answers[0]] = -torch.inf
        prompts = Prompts(prompts.ids, prompts.ends, prompts.answers, end.argmax(-1, keepdim=True).cpu())
        other = opened.text([int(prompts.foils[0, 0])])[0]
        decision = Decision(prompts, decision.chosen, other, decision.sources, decision.turn, decision.player)
    scores = attribute(opened, prompts, reference="mean", by_place=True)
    margin = float(scores.clean[0])
    words = scores["embed"][0].clone()
    words[0] = 0.0
    with capture(opened, ["embed"]) as kept:
        opened(prompts.ids)
    if prompts.ids.shape[1] < 2:
        raise InterpError("the decision was made behind a single token, so there is no context to explain it by.")
    mean = kept["embed"][0, 1:].mean(0)

    def without(places: Tensor) -> Tensor:
        """Return what the margin loses with the mean embedding at places [n, T]: [n]."""
        at = places.clone()
        at[:, 0] = False
        found = []
        for some in at.split(opened.fitting(ROWS, at.shape[1])):
            many = prompts[torch.zeros(len(some), dtype=torch.long)]
            with intervene(opened, Patch("embed", mean, at=some)):
                found.append(margin - logit_difference(opened(many.ids), many))
        return torch.cat(found)

    count = len(words)
    strongest = torch.arange(count) if count <= ALL else words.abs().topk(MEASURED).indices
    measured = torch.zeros(count, dtype=torch.bool)
    measured[strongest] = True
    words[strongest] = without(torch.eye(count, dtype=torch.bool)[strongest]).to(words)
    lost = without(torch.stack([decision.sources == number for number in range(len(SOURCES))])).tolist()
    sources = {
        name: lost[number] if bool((decision.sources[1:] == number).any()) else None
        for number, name in enumerate(SOURCES)
    }
    parts = opened.writers()
    found = scores.only(name for name in parts if not name.startswith(("embed", "position")))
    ablated = {}
    strong = found.top(MEASURED)
    with capture(opened, strong) as kept:
        opened(prompts.ids)
    later = torch.arange(count) > 0
    for name in strong:
        with intervene(opened, Mean(name, kept[name][:, 1:], at=later)):
            ablated[name] = margin - float(logit_difference(opened(prompts.ids), prompts)[0])
    return Explanation(
        decision,
        margin,
        words,
        measured,
        sources,
        found,
        ablated,
        direct(opened, prompts),
    )


def explain_replay(replay: Path, turn: int, model: str | None = None) -> tuple[OpenModel, Explanation]:
    """Explain a turn of a replay by the model that played it, or by another.

    Raises:
        ReplayError: The file is no replay.
        InterpError: See `source_of` and `decision_of`.
    """
    episode = read_replay(replay).episode
    _record(_turn(episode, turn))  # a wrong turn is found before a model is loaded
    opened = open_model(model or source_of(replay, turn))
    assert opened.codec is not None
    return opened, explain(opened, decision_of(episode, turn, opened.codec))


def _turn(episode: Episode, turn: int) -> Turn:
    if not 1 <= turn <= len(episode.turns):
        raise InterpError(f"there is no turn {turn}: the episode has turns 1 to {len(episode.turns)}.")
    return episode.turns[turn - 1]


def _record(turn: Turn) -> TokenRecord:
    found = turn.attempts[-1].reply.tokens if turn.attempts else None
    if found is None or not found.ids:
        raise InterpError(
            f"turn {turn.number + 1} was not played by a language model, so there are no tokens to explain; choose a "
            "turn of one."
        )
    return found


def _parting(episode: Episode, turn: Turn, record: TokenRecord, codec: TextCodec) -> tuple[int, int, int, str, str]:
    """Return the place in the reply, the token chosen there, the other (-1: the likeliest), and what both stand for."""
    legal = list(game_at(episode, turn.number).spelled_actions(turn.player))
    action = part_text(turn.action) if turn.action is not None else ""
    names = dict(zip(game_at(episode, turn.number).legal_actions(turn.player), legal, strict=True))
    spelled = names.get(action, action)
    text = codec.decode(record.ids)
    at = max((text.lower().rfind(word.lower()) for word in {spelled, action} if word), default=-1)
    if at >= 0:
        word = next(one for one in (spelled, action) if text.lower()[at:].startswith(one.lower()))
        written = text[at : at + len(word)]
        first = _token_at(record.ids, at, codec)
        lead = text[len(codec.decode(record.ids[:first])) : at]
        mine = list(record.ids[first:])
        for other in (one for one in legal if one.lower() not in (spelled.lower(), action.lower())):
            theirs = codec.encode_untrusted(lead + _like(other, written))
            parts = next((n for n, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), None)
            if parts is not None:
                return first + parts, mine[parts], theirs[parts], written, other
    return 0, record.ids[0], -1, codec.decode([record.ids[0]]), ""


def _like(word: str, written: str) -> str:
    return word.upper() if written.isupper() else word.capitalize() if written[:1].isupper() else word


def _token_at(ids: Sequence[int], offset: int, codec: TextCodec) -> int:
    """Return the token in which a character of the decoded text lies."""
    for number in range(1, len(ids) + 1):
        if len(codec.decode(ids[:number])) > offset:
            return number - 1
    return len(ids) - 1


def _heard(episode: Episode, turn: Turn, codec: TextCodec, ids: list[int], sources: list[int]) -> list[int]:
    """Mark what others thought and wrote in the context: sources with some of 0 made 1 or 2."""
    text, starts = "", []
    for number in range(len(ids)):
        starts.append(len(text))
        text = codec.decode(ids[: number + 1])
    found = list(sources)
    for earlier in episode.turns[: turn.number]:
        if earlier.player == turn.player:
            continue
        for attempt in earlier.attempts:
            said = part_text(attempt.reply.content) if isinstance(attempt.reply.content, str) else ""
            for words, mark in ((said, 2), (attempt.thought, 1)):
                for piece in (one.strip() for one in words.splitlines()):
                    _mark(text, starts, piece, mark, found)
    return found


def _mark(text: str, starts: list[int], piece: str, mark: int, sources: list[int]) -> None:
    at = text.find(piece) if len(piece) > 3 else -1
    while at >= 0:
        for number, start in enumerate(starts):
            if at <= start < at + len(piece) and sources[number] in (0, 2):
                sources[number] = mark
        at = text.find(piece, at + len(piece))
