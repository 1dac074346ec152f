"""One decision explained: the right tokens, the right sources, and words that do what is said of them."""

import asyncio

import pytest
import torch

from palaestra.agents import make_seat
from palaestra.envs import Match, make
from palaestra.envs.episode import Reply
from palaestra.envs.match import MatchRules
from palaestra.envs.replay import read_replay, write_replay
from palaestra.interp.episode import SOURCES, decision_of, explain, explain_replay
from palaestra.interp.episode_page import write_episode
from palaestra.interp.errors import InterpError
from palaestra.interp.intervene import Patch, intervene
from palaestra.interp.metrics import logit_difference
from palaestra.interp.opened import open_model

THOUGHT = "I hold the king, so I must bet now."


class Thinker:
    """Says what it thinks, then plays."""

    name = "thinker"

    async def act(self, view):
        return Reply(f"<think>{THOUGHT}</think> pass")


@pytest.fixture(scope="module")
def replay(tmp_path_factory):
    game = make("kuhn_poker", seed=3)
    match = Match(game, [Thinker(), make_seat("tiny:blank")], MatchRules(visibility="public"))
    episode = asyncio.run(match.play())
    path = tmp_path_factory.mktemp("replays") / "game.jsonl"
    write_replay(episode, path)
    return path


def test_others_thoughts_are_found_in_the_context(replay):
    opened = open_model("tiny:blank")
    found = decision_of(read_replay(replay).episode, 2, opened.codec)
    ids = found.prompts.ids[0]
    text = opened.codec.decode(ids[found.sources == SOURCES.index("others' thoughts")].tolist())
    assert text.strip() == THOUGHT
    assert found.player == 1
    assert len(found.sources) == ids.shape[0]


def test_words_and_sources_are_measured(replay, tmp_path):
    opened, found = explain_replay(replay, 2, "tiny:blank")
    prompts = found.decision.prompts
    margin = float(logit_difference(opened(prompts.ids), prompts)[0])
    assert found.margin == pytest.approx(margin, abs=1e-4)
    place = int(found.words.abs().argmax())
    embedding = opened.anatomy.embeddings["embed"].weight[prompts.ids[0]]
    with intervene(opened, Patch("embed", embedding[1:].mean(0), at=torch.arange(len(embedding)) == place)):
        lost = found.margin - float(logit_difference(opened(prompts.ids), prompts)[0])
    assert float(found.words[place]) == pytest.approx(lost, abs=1e-4)
    assert found.words[0] == 0
    assert found.sources["others' thoughts"] is not None
    for number, name in enumerate(SOURCES):
        assert (found.sources[name] is None) == (not bool((found.decision.sources[1:] == number).any()))
    assert float(found.contributions.values.sum()) == pytest.approx(found.margin, abs=1e-3)
    page = write_episode(tmp_path, opened, found, "<b>one</b>").read_text()
    assert "&lt;b&gt;one" in page
    assert "others&#39; thoughts" in page


def test_what_cannot_be_explained_is_said(replay):
    with pytest.raises(InterpError, match=r"turns 1 to"):
        explain_replay(replay, 99, "tiny:blank")
    with pytest.raises(InterpError, match="not played by a language model"):
        explain_replay(replay, 1, "tiny:blank")
    with pytest.raises(InterpError, match="--model"):
        explain_replay(replay, 2)


def test_a_model_with_another_vocabulary_is_refused(replay):
    from tests.interp import kit

    codec = open_model("tiny:blank").codec
    decision = decision_of(read_replay(replay).episode, 2, codec)
    with pytest.raises(InterpError, match="not llama's"):
        explain(kit.opened("llama"), decision)
