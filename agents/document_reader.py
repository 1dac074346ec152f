"""Policies at the game `next_token`, which read whole batches of documents at once and then sit through their matches.

A language model's seat at this game has nothing to ask for: what it will do follows from the document and the seed
(`palaestra.agents.reader`). So a batch of documents is read in one go, and each match is then played, checked and
recorded like any other, by a seat that gives the replies of its reading one by one (`ReadingSeat`). Where seats are
made one by one, `DocumentSeat` reads the document of its game when it is first asked, from where the game stands then.

A reply that advances says of the distribution only what the true token got, as ``advance #32:0.7``: the same score and
the same state, in a record of a few characters. Its `TokenRecord` holds the log-probability of the *decision*, and as
``score`` what the token is worth to whoever assigns credit, by a *scorer*:

    live     the reading policy's own log-probability
    frozen   that of the reference, in the same context
    average  that of a moving average of the policy, which a trainer hands over as the reference

and whatever else is registered (`register_scorer`, or an entry point in group ``palaestra.scorers``).

Not all thoughts are drawn. A reading with thoughts ``none`` is the empty thought: it makes every decision to advance,
however unlikely. One with ``worked`` thoughts has those that the document itself brings, as far as the model has room
for them. Both record how likely each decision was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from palaestra.agents.engines.base import BASE, Adapter
from palaestra.agents.engines.weights import share
from palaestra.agents.reader import Batch, Reading, decisions_of, fitting, laid_out, read, score
from palaestra.agents.thinking import Thinking, extend, thinking_of
from palaestra.agents.thinking_adapter import prepare, recorded
from palaestra.agents.tokens import TextCodec
from palaestra.agents.vocabularies import ModelVocabulary
from palaestra.envs.documents.vocabulary import Encoded, Thoughts, encode
from palaestra.envs.episode import Reply, TokenRecord
from palaestra.envs.errors import OptionError, PalaestraError
from palaestra.envs.games.next_token import THINKING, TOLERANCE, NextToken
from palaestra.envs.parts import Tokens
from palaestra.envs.plugins import Plugins
from palaestra.envs.seat import View
from palaestra.envs.seeding import derive

Logprobs = NDArray[np.float64]
SMALLEST = 1e-12
"""A score that counts is at least this far below 0, which means that the document does not count the token."""
MOST_LOGITS = 1 << 26
"""Numbers in the logits of one scoring pass."""


@dataclass(frozen=True, slots=True)
class Read:
    """A document as a policy read it.

    Attributes:
        reading: Its tokens, with the log-probability of every decision, float32[L].
        real: float64[T], log-probabilities of the document's tokens under the policy, in nats.
    """

    reading: Reading
    real: Logprobs


Scorer = Callable[[Sequence[Encoded], Sequence[Read], Callable[[], list[Logprobs]]], list[Logprobs]]
"""From documents, how they were read, and a function that has the reference score the same readings, to what each
document's tokens are worth, float64[T] each, in nats."""
_scorers: Plugins[Scorer] = Plugins(
    "scorer",
    {
        "live": lambda documents, reads, reference: [one.real for one in reads],
        "frozen": lambda documents, reads, reference: reference(),
        "average": lambda documents, reads, reference: reference(),
    },
    group="palaestra.scorers",
)


class ScorerError(PalaestraError, ValueError):
    """A scorer gave something that cannot be learned from."""


def register_scorer(name: str, scorer: Scorer) -> None:
    """Make a scorer known by name.

    Raises:
        ValueError: The name is taken.
    """
    _scorers.register(name, scorer)


def scorer(name: str) -> Scorer:
    """Return a scorer by name.

    Raises:
        UnknownName: There is none.
        BrokenPlugin: An installed package offers it and cannot be loaded.
    """
    return _scorers[name]


class DocumentReader:
    """Reads documents for the policies of one base model.

    Args:
        model: The base, with thinking tokens or without; it is left as it is.
        start: Tokens that every context begins with.
    """

    def __init__(self, model: Any, start: Sequence[int]) -> None:
        self._base = model
        self._start = tuple(start)
        self._adapters: dict[str, Adapter] = {}
        self._loaded: tuple[str, Any] = ("", None)

    def add_policy(self, name: str, adapter: Adapter) -> None:
        """Let a policy read; what it is follows from its name for ever."""
        self._adapters[name] = adapter

    def remove_policy(self, name: str) -> None:
        """Forget a policy."""
        del self._adapters[name]

    def read(
        self,
        policy: str,
        documents: Sequence[Encoded],
        seeds: Sequence[int],
        *,
        thoughts: Sequence[Thoughts] | None = None,
        temperature: float = 1.0,
        begun: Sequence[Sequence[Sequence[int]]] | None = None,
    ) -> list[Read]:
        """Read documents.

        Args:
            policy: `BASE`, or a name that was added.
            documents, seeds, temperature: As for `palaestra.agents.reader.read`.
            thoughts: How each is read; None draws all of them.
            begun: Where some of each was read before and the rest is drawn: the thinking tokens before every real one
                so far and before the one that is due (`palaestra.agents.reader.decisions_of`).

        Raises:
            OptionError: As for `read` and `decisions_of`.
        """
        model = self._model(policy)
        thinking = _thinking(model)
        kinds = ["drawn"] * len(documents) if thoughts is None else list(thoughts)
        before = [()] * len(documents) if begun is None else begun
        drawn = iter(
            read(
                model,
                thinking,
                [document for document, kind in zip(documents, kinds, strict=True) if kind == "drawn"],
                [seed for seed, kind in zip(seeds, kinds, strict=True) if kind == "drawn"],
                start=self._start,
                temperature=temperature,
                begun=[
                    decisions_of(document, counts, thinking)
                    for document, kind, counts in zip(documents, kinds, before, strict=True)
                    if kind == "drawn"
                ],
            )
        )
        readings = []
        for document, kind in zip(documents, kinds, strict=True):
            given = fitting(document, thinking) if kind == "worked" else [[]] * len(document)
            readings.append(next(drawn) if kind == "drawn" else laid_out(document, given, thinking, self._start))
        found = []
        for reading, kind, (real, decision) in zip(readings, kinds, self._scored(model, readings), strict=True):
            known = reading.decision if kind == "drawn" else decision.astype(np.float32)
            whole = Reading(reading.tokens, reading.place, reading.thought, reading.decided, known)
            found.append(Read(whole, real[_placed(reading)]))
        return found

    def scores(self, policy: str, reads: Sequence[Read]) -> list[Logprobs]:
        """Return what a policy says of the real tokens of readings, float64[T] each, in nats.

        Raises:
            ValueError: Its model does not have the thinking tokens that stand there.
        """
        readings = [one.reading for one in reads]
        size = _thinking(self._model(policy)).gate
        if any(reading.thought.any() and reading.tokens.max() >= size for reading in readings):
            raise ValueError(f"{policy} has no thinking tokens, or fewer; extend the base as the policy that read")
        scored = self._scored(self._model(policy), readings)
        return [real[_placed(reading)] for reading, (real, _) in zip(readings, scored, strict=True)]

    def real(self, policy: str) -> int:
        """Return how many tokens a policy's model has without thinking tokens."""
        return _thinking(self._model(policy)).real

    def check(self, policy: str, game: NextToken, codec: TextCodec) -> None:
        """Find out whether a policy can read the document of a game.

        Raises:
            OptionError: Its tokens are not those of the model's tokenizer, or the game allows fewer thoughts.
        """
        own = encode(game.document, ModelVocabulary(codec)).ids
        if own.tolist() != game.encoded.ids.tolist():
            raise OptionError(
                f"the document is written in tokens of vocabulary={game.options.vocabulary}, which are not those of "
                "the model that is to read it; set the option vocabulary to that model."
            )
        thinking, options = _thinking(self._model(policy)), game.options
        if thinking.most > options.most or (thinking.most and thinking.kinds > options.thoughts):
            raise OptionError(
                f"the model has {thinking.kinds} thinking tokens and takes up to {thinking.most} in a row, and the "
                f"game allows thoughts={options.thoughts} and most={options.most}; set these options to the model's."
            )

    @torch.no_grad()
    def _scored(self, model: Any, readings: Sequence[Reading]) -> Iterable[tuple[Logprobs, Logprobs]]:
        """Return log-probabilities [L] of real tokens and of decisions along each reading."""
        thinking = _thinking(model)
        device = next(model.parameters()).device
        longest = max(map(len, readings), default=1)
        size = max(1, MOST_LOGITS // (longest * thinking.size))
        for first in range(0, len(readings), size):
            part = readings[first : first + size]
            found = score(model, thinking, Batch.of(part, device))
            tables = [table.double().cpu().numpy() for table in (found.real, found.decision)]
            for row, reading in enumerate(part):
                yield tables[0][row, : len(reading)], tables[1][row, : len(reading)]

    def _model(self, policy: str) -> Any:
        """Return the base with a policy's adapter; the last one is kept."""
        if self._loaded[0] == policy:
            return self._loaded[1]
        from peft import PeftModel, get_peft_model, set_peft_model_state_dict

        adapter = None if policy == BASE else self._adapters[policy]
        model: Any = share(self._base)
        if isinstance(adapter, Path | str):
            if recorded(Path(adapter)) is not None:
                prepare(model, Path(adapter))
            model = PeftModel.from_pretrained(_extended(model), str(adapter))
        elif adapter is not None:
            config, tensors, *rows = adapter
            if rows and thinking_of(model) is None:
                extend(model, rows[0].kinds, rows[0].most, rows[0].fixed)
            model = get_peft_model(_extended(model), config)
            set_peft_model_state_dict(model, dict(tensors))
        self._loaded = (policy, _extended(model).eval())
        return self._loaded[1]


def _extended(model: Any) -> Any:
    """Return a model; one without thinking tokens gets some that it may never use, so that all are read alike."""
    if thinking_of(model) is None:
        extend(model, kinds=1, most=0)
    return model


def _thinking(model: Any) -> Thinking:
    thinking = thinking_of(model)
    assert thinking is not None, "every model here was extended"
    return thinking


def _placed(reading: Reading) -> NDArray[np.bool_]:
    """Return bool[L]: the document's own tokens."""
    placed: NDArray[np.bool_] = ~reading.thought & (reading.place >= 0)
    return placed


class ReadingSeat:
    """Sits through a match with the replies of a reading.

    Args:
        policy: The version that read.
        real: Tokens of the model without thinking tokens; thinking token k is token ``real + k``.
        document: What was read.
        found: How.
        worth: float64[T], what each token is worth by the scorer, in nats.
        begun: Tokens, thoughts included, that were placed before the first reply.

    Raises:
        ScorerError: That is no number somewhere.
    """

    def __init__(self, policy: str, real: int, document: Encoded, found: Read, worth: Logprobs, begun: int = 0) -> None:
        if worth.shape != (len(document),) or not np.isfinite(worth[document.scored]).all():
            raise ScorerError(
                "the scorer gave NaN, infinity or too few scores for a document; have it give one number a token"
            )
        if (best := worth[document.scored].max(initial=0.0)) > TOLERANCE:
            raise ScorerError(f"the scorer gave a token {best:.3g} nats; a log-probability is at most 0, normalise it")
        self.name = policy
        self._replies = iter(list(_replies(policy, real, document, found, worth, begun)))

    async def act(self, view: View) -> Reply:
        """Return the next reply."""
        return next(self._replies)


def _replies(policy: str, real: int, document: Encoded, found: Read, worth: Logprobs, begun: int) -> Iterable[Reply]:
    """Yield a reply for every token after the first ``begun``, which are context of a segment that opens there."""
    reading = found.reading
    context: list[int] = []
    left = begun
    for token, place, thought, decided, logprob in zip(
        reading.tokens.tolist(),
        reading.place.tolist(),
        reading.thought.tolist(),
        reading.decided.tolist(),
        reading.decision.tolist(),
        strict=True,
    ):
        if place < 0 or left:
            left -= place >= 0
            context.append(token)
            continue
        ids, logprobs = ((token,), (min(logprob, 0.0),)) if decided else ((), ())
        before = (*context, *(() if decided else (token,)))
        context = []
        if thought:
            record = TokenRecord(begun, before, ids, logprobs, policy)
            yield Reply(Tokens((token - real,), THINKING), tokens=record)
            continue
        value = min(float(worth[place]), -SMALLEST) if document.scored[place] else 0.0
        said = f"advance #{token}:{min(1.0, math.exp(found.real[place]))!r}"
        yield Reply(said, tokens=TokenRecord(begun, before, ids, logprobs, policy, value))


class DocumentSeat:
    """Plays one match: reads the game's document when it is first asked, and goes on from what was placed by then.

    Args:
        reader: Knows the policy.
        codec: The tokenizer of its model.
        policy: Who reads.
        game: The game of the match, or another that begins alike; only its document is looked at.
        seed: Of the match.
        temperature: 1, or 0 for the likeliest decisions.
        name: For records; by default the policy's name.

    Raises:
        OptionError: The policy cannot read this document (`DocumentReader.check`), or another temperature.
    """

    def __init__(
        self,
        reader: DocumentReader,
        codec: TextCodec,
        policy: str,
        game: NextToken,
        seed: int,
        *,
        temperature: float = 1.0,
        name: str | None = None,
    ) -> None:
        if temperature not in (0, 1):
            raise OptionError(f"temperature is {temperature:g}; documents are read at 1, or greedily at 0.")
        reader.check(policy, game, codec)
        self.name = name or policy
        self._reader, self._policy, self._document = reader, policy, game.encoded
        self._seed, self._temperature = reading_seed(seed), temperature
        self._seat: ReadingSeat | None = None

    async def act(self, view: View) -> Reply:
        """Return the next reply."""
        if self._seat is None:
            self._seat = self._read(view.knowledge())
        return await self._seat.act(view)

    def _read(self, knowledge: dict[str, Any]) -> ReadingSeat:
        counts: list[list[int]] = [[]]
        for token, thought in zip(knowledge["tokens"], knowledge["thinking"], strict=True):
            if thought:
                counts[-1].append(token - knowledge["vocabulary"])
            else:
                counts.append([])
        (found,) = self._reader.read(
            self._policy, [self._document], [self._seed], temperature=self._temperature, begun=[counts]
        )
        placed, real = len(knowledge["tokens"]), self._reader.real(self._policy)
        return ReadingSeat(self._policy, real, self._document, found, found.real, placed)


def reading_seed(match_seed: int) -> int:
    """Return the seed of the reading in a match."""
    return derive(match_seed, "reading") % 2**63


def seats(
    reader: DocumentReader,
    policy: str,
    documents: Sequence[Encoded],
    seeds: Sequence[int],
    *,
    thoughts: Sequence[Thoughts],
    scored_by: str = "live",
    reference: str = BASE,
    temperature: float = 1.0,
) -> list[ReadingSeat]:
    """Return a seat for each document that one policy reads.

    Args:
        reader: Knows the policy and the reference.
        thoughts: How each is read.
        scored_by: Name of a scorer.
        reference: Whom ``frozen`` and ``average`` ask.

    Raises:
        UnknownName, ScorerError: See `scorer` and `ReadingSeat`.
    """
    value = scorer(scored_by)
    reads = reader.read(policy, documents, seeds, thoughts=thoughts, temperature=temperature)
    real = reader.real(policy)
    worths = value(documents, reads, lambda: reader.scores(reference, reads))
    return [
        ReadingSeat(policy, real, document, found, np.asarray(worth, np.float64))
        for document, found, worth in zip(documents, reads, worths, strict=True)
    ]
