"""Policies at next_token: a match is the reading that was drawn, and its record says what a trainer needs."""

import asyncio
import math

import numpy as np
import pytest
import torch

from palaestra.agents import document_reader
from palaestra.agents.document_reader import (
    DocumentReader,
    DocumentSeat,
    ScorerError,
    reading_seed,
    register_scorer,
    scorer,
    seats,
)
from palaestra.agents.engines.base import BASE
from palaestra.agents.models.sources import ModelSource
from palaestra.agents.reader import Batch, fitting, laid_out, score
from palaestra.agents.thinking import extend, thinking_of
from palaestra.agents.thinking_adapter import payload, save
from palaestra.envs import Match, ReplayWriter, Scripted, make, read_replay, verify
from palaestra.envs.errors import OptionError, UnknownName
from palaestra.envs.games.next_token import NextToken
from tests.agents.thinkers import trained

MODEL = "tiny:blank"
OPTIONS = {"vocabulary": MODEL, "thoughts": 3, "most": 2, "longest": 64, "cost": 0.125}
CHAIN = {"task": "chain", "settings": "group=s3,length=3,show=prefix"}
START = (256,)


@pytest.fixture(scope="module")
def peft():
    """A model that thinks now and then, with an adapter that was stirred."""
    return trained(ModelSource.parse(MODEL).load().model, kinds=3, most=2)


@pytest.fixture
def reader(peft):
    model = ModelSource.parse(MODEL).load().model
    extend(model, kinds=3, most=2)
    found = DocumentReader(model, START)
    found.add_policy("thinks@1", payload(peft))
    return found


def game_of(seed: int, **options) -> NextToken:
    game = make("next_token", seed=seed, **{**OPTIONS, **CHAIN, **options})
    assert isinstance(game, NextToken)
    return game


def played(reader, games, *, thoughts=None, record=None, **how):
    documents = [game.encoded for game in games]
    kinds = thoughts or ["drawn"] * len(games)
    sitting = seats(reader, "thinks@1", documents, range(len(games)), thoughts=kinds, **how)
    return [
        asyncio.run(Match(game, [seat], recorder=record and ReplayWriter(record)).play())
        for game, seat in zip(games, sitting, strict=True)
    ]


def test_a_match_is_the_reading_that_was_drawn(reader, peft):
    games = [game_of(seed) for seed in range(6)]
    episodes = played(reader, games)
    reads = reader.read("thinks@1", [game.encoded for game in games], range(6))
    assert sum(int(one.reading.thought.sum()) for one in reads) > 3
    scores = score(peft, thinking_of(peft), Batch.of([one.reading for one in reads]))
    for row, (game, episode, one) in enumerate(zip(games, episodes, reads, strict=True)):
        reading = one.reading
        (segment,) = episode.segments(0)
        assert segment.tokens.tolist() == reading.tokens.tolist()
        assert segment.sampled.tolist() == reading.decided.tolist()
        np.testing.assert_allclose(segment.logprobs, reading.decision, atol=1e-6)
        assert segment.scores is not None
        real = ~reading.thought & (reading.place >= 0)
        assert (~np.isnan(segment.scores)).tolist() == real.tolist()
        expected = scores.real[row, : len(reading)].detach().numpy()[real] * game.encoded.scored
        np.testing.assert_allclose(segment.scores[real], expected, atol=1e-5)
        assert episode.returns is not None
        assert episode.returns[0] == pytest.approx(expected.sum() - 0.125 * reading.thought.sum(), abs=1e-4)


def test_a_match_of_a_reading_is_recorded_and_verified(reader, tmp_path):
    path = tmp_path / "read.jsonl"
    (episode,) = played(reader, [game_of(3)], record=path)
    assert verify(path) == len(episode.turns)
    again = read_replay(path).episode
    assert again.segments(0)[0].scores.tolist() == pytest.approx(episode.segments(0)[0].scores.tolist(), nan_ok=True)
    assert path.stat().st_size < 40_000


def sat(reader, game, *, seed=5, prefix=(), **how):
    """Return the episode of a seat that was made for the game alone."""
    seat = DocumentSeat(reader, ModelSource.parse(MODEL).codec(), "thinks@1", game.clone(), seed, **how)
    return asyncio.run(Match(game, [seat], seed=seed, prefix=prefix).play())


def test_a_seat_made_for_one_game_reads_as_in_a_batch_and_goes_on_from_any_turn(reader):
    for seed in range(3):
        (batch,) = seats(reader, "thinks@1", [game_of(seed).encoded], [reading_seed(5)], thoughts=["drawn"])
        expected = asyncio.run(Match(game_of(seed), [batch], seed=5).play())
        whole = sat(reader, game_of(seed))
        assert whole.turns == expected.turns
        for turn in (1, len(whole.turns) // 2, len(whole.turns) - 1):
            again = sat(reader, game_of(seed), prefix=whole.turns[:turn])
            assert [one.action for one in again.turns] == [one.action for one in whole.turns]
            kept, added = again.segments(0)
            (segment,) = whole.segments(0)
            assert kept.tokens.tolist() == segment.tokens[: len(kept.tokens)].tolist()
            assert added.tokens.tolist() == segment.tokens.tolist()
            assert added.sampled.sum() == segment.sampled[len(kept.tokens) :].sum()


def test_a_seat_goes_on_behind_the_thoughts_of_another_and_refuses_what_it_could_not_have_thought(reader, peft):
    text = {"task": "text", "settings": "length=6"}
    begun = asyncio.run(Match(game_of(1, **text), [Scripted("think 2", "think 0", *["advance"] * 20)], seed=5).play())
    other = sat(reader, game_of(1, **text), prefix=begun.turns[:2])
    assert other.outcome == "finished"
    (added,) = other.segments(0)
    assert added.tokens[:3].tolist() == [*START, 260 + 2, 260 + 0]
    thinking = thinking_of(peft)
    given = laid_out(game_of(1, **text).encoded, _thoughts(added, thinking), thinking, START)
    scores = score(peft, thinking, Batch.of([given])).decision[0].detach().numpy()
    np.testing.assert_allclose(added.logprobs[added.sampled], scores[added.sampled], atol=1e-5)
    wide = {**text, "thoughts": 5, "most": 4}
    for said in (["think 4"], ["think 0"] * 3):
        begun = asyncio.run(Match(game_of(1, **wide), [Scripted(*said, *["advance"] * 20)], seed=5).play())
        with pytest.raises(OptionError, match="which this model, with at most 2 of 3 kinds, could not have"):
            sat(reader, game_of(1, **wide), prefix=begun.turns[: len(said)])


def _thoughts(segment, thinking):
    found: list[list[int]] = [[]]
    for token in segment.tokens[len(START) :].tolist():
        if token < thinking.real:
            found.append([])
        else:
            found[-1].append(token - thinking.real)
    return found[:-1]


def test_a_seat_is_refused_where_the_model_could_not_read_or_would_think_what_is_not_allowed(reader):
    assert sat(reader, game_of(0, vocabulary="bytes")).outcome == "finished"  # which this model's tokens begin with
    for options in ({"most": 1}, {"thoughts": 2}):
        with pytest.raises(OptionError, match="takes up to 2 in a row, and the game allows thoughts="):
            sat(reader, game_of(0, **options))
    with pytest.raises(OptionError, match=r"temperature is 0\.5; documents are read at 1, or greedily at 0"):
        sat(reader, game_of(0), temperature=0.5)

    class Other:
        def encode_untrusted(self, text: str) -> list[int]:
            return [letter + 1 for letter in text.encode()]

    with pytest.raises(OptionError, match=f"tokens of vocabulary={MODEL}, which are not those of the model"):
        DocumentSeat(reader, Other(), "thinks@1", game_of(0), 5)


def test_worked_thoughts_are_the_documents_own_and_as_likely_as_the_policy_says(reader, peft, tmp_path):
    game, path = game_of(0), tmp_path / "shown.jsonl"
    (episode,) = played(reader, [game], thoughts=["worked"], record=path)
    assert verify(path) == len(episode.turns)
    (segment,) = episode.segments(0)
    thinking = thinking_of(peft)
    given = laid_out(game.encoded, fitting(game.encoded, thinking), thinking, START)
    assert given.thought.any()
    assert segment.tokens.tolist() == given.tokens.tolist()
    scores = score(peft, thinking, Batch.of([given]))
    np.testing.assert_allclose(segment.logprobs, scores.decision[0].detach().numpy(), atol=1e-5)


def test_the_empty_thought_never_thinks_and_knows_how_likely_that_was(reader, peft):
    games = [game_of(seed) for seed in range(2)]
    silent, thinks = played(reader, games, thoughts=["none", "drawn"])
    assert silent.result["thoughts"] == 0
    (segment,) = silent.segments(0)
    open_ = games[0].encoded.open
    assert segment.sampled[len(START) :].tolist() == open_.tolist()
    logits = peft(input_ids=torch.from_numpy(segment.tokens.astype(np.int64))[None]).logits[0]
    advance = thinking_of(peft).decisions(logits)[:-1, 0].detach().numpy()
    np.testing.assert_allclose(segment.logprobs[1:], np.where(segment.sampled[1:], advance, 0.0), atol=1e-5)
    assert (segment.logprobs[segment.sampled] < 0).all()
    assert thinks.segments(0)[0].policy == "thinks@1"


def test_a_frozen_scorer_pays_what_the_reference_says(reader):
    games = [game_of(seed) for seed in range(3)]
    live, frozen = (played(reader, [game.clone() for game in games], scored_by=name) for name in ("live", "frozen"))
    reads = reader.read("thinks@1", [game.encoded for game in games], range(3))
    for game, one, other, base in zip(games, live, frozen, reader.scores(BASE, reads), strict=True):
        assert one.returns == other.returns  # the game's own score is the policy's
        (mine,), (theirs,) = one.segments(0), other.segments(0)
        real = ~np.isnan(theirs.scores)
        assert not np.allclose(mine.scores[real], theirs.scores[real])
        np.testing.assert_allclose(theirs.scores[real], np.where(game.encoded.scored, base, 0), atol=1e-5)


def test_scorers_are_found_by_name_and_must_give_numbers(reader, monkeypatch):
    monkeypatch.setattr(document_reader._scorers, "_found", dict(document_reader._scorers._found))
    register_scorer("half", lambda documents, reads, reference: [one.real / 2 for one in reads])
    register_scorer("broken", lambda documents, reads, reference: [one.real * math.nan for one in reads])
    with pytest.raises(ValueError, match="registered already"):
        register_scorer("half", scorer("live"))
    whole, half = (played(reader, [game_of(1)], scored_by=name)[0].segments(0)[0].scores for name in ("live", "half"))
    np.testing.assert_allclose(half, whole / 2, rtol=1e-5)
    with pytest.raises(ScorerError, match="one number a token"):
        played(reader, [game_of(1)], scored_by="broken")
    register_scorer("generous", lambda documents, reads, reference: [one.real + 9 for one in reads])
    with pytest.raises(ScorerError, match="normalise it"):
        played(reader, [game_of(1)], scored_by="generous")
    with pytest.raises(UnknownName, match="Did you mean 'frozen'"):
        scorer("frozne")


def test_adapters_from_folders_and_models_without_thinking_tokens_read_too(peft, tmp_path):
    loaded = ModelSource.parse(MODEL).load()
    reader = DocumentReader(loaded.model, START)
    reader.add_policy("thinks@1", payload(peft))
    save(peft, tmp_path / "adapter", loaded.fingerprint)
    reader.add_policy("folder@1", tmp_path / "adapter")
    documents = [game_of(seed).encoded for seed in range(3)]
    one, other = (reader.read(name, documents, range(3)) for name in ("thinks@1", "folder@1"))
    assert [read.reading.tokens.tolist() for read in one] == [read.reading.tokens.tolist() for read in other]
    plain = reader.read(BASE, documents, range(3))
    assert not any(read.reading.decided.any() for read in plain)
    logits = loaded.model(input_ids=torch.from_numpy(plain[0].reading.tokens)[None]).logits[0, :-1]
    said = torch.log_softmax(logits, -1).gather(-1, torch.from_numpy(documents[0].ids)[:, None])[:, 0]
    np.testing.assert_allclose(plain[0].real, said.detach().numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="has no thinking tokens"):
        reader.scores(BASE, one)
