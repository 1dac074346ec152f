"""Tiny models: the corpus is real play, building is deterministic, what is built sees its state and plays legally."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from palaestra.agents.language_model import LanguageModelSeat
from palaestra.agents.models import tiny
from palaestra.agents.models.sources import LoadedModel, ModelSource
from palaestra.agents.models.tiny import build as build_recipe
from palaestra.agents.models.tiny import corpus
from palaestra.agents.models.tiny.recipes import TRADE, Training
from palaestra.agents.models.tiny.tokenizer import VOCAB_SIZE, make_tokenizer
from palaestra.agents.tokens import TokenizerCodec
from palaestra.envs import make
from palaestra.envs.errors import UnknownName
from palaestra.envs.seeding import Dice

CODEC = TokenizerCodec(make_tokenizer(2048))
END = CODEC.stop_ids[0]


def rows_of(name: str, games: int = 60) -> list[tuple[str, corpus.Row]]:
    rows = corpus.write_corpus(tiny.recipe(name).corpus, CODEC, games, seed=0)
    return [(CODEC.tokenizer.decode(row.ids), row) for row in rows]


# ---------------------------------------------------------------- tokenizer and corpus


def test_a_byte_is_its_own_id() -> None:
    for text in ("\0\x7f", "Kpb\n", "é世"):
        assert CODEC.encode_untrusted(text) == list(text.encode())
    assert len(CODEC.tokenizer) == VOCAB_SIZE == 260


def test_a_play_row_is_the_context_of_a_seat_that_plays_the_same() -> None:
    """The oracle is a real seat: its token records of the same match, put together, are the row."""
    contexts: dict[LanguageModelSeat, list[int]] = {}
    act = LanguageModelSeat.act

    async def watched(self: LanguageModelSeat, view: Any) -> Any:
        reply = await act(self, view)
        contexts.setdefault(self, []).extend([*reply.tokens.context, *reply.tokens.ids])
        return reply

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LanguageModelSeat, "act", watched)
        rows = list(corpus.write_corpus(tiny.recipe("kuhn").corpus, CODEC, 20, seed=3))
    played = [row.ids for row in rows if "?" not in CODEC.tokenizer.decode(row.ids)]
    assert len(played) > 10
    assert all(ids in contexts.values() for ids in played)


@pytest.mark.parametrize("name", ["kuhn", "board", "trade", "covert"])
def test_every_row_of_a_corpus_is_rendered_like_play_and_weighs_what_is_sampled(name: str) -> None:
    rows = rows_of(name)
    assert len(rows) >= 100  # a row for each seat that has moved, more where contexts are fresh
    for text, row in rows:
        assert len(row.ids) == len(row.weights)
        assert text.startswith("<|bos|>")
        assert text.endswith("<|end|>")
        assert set(row.weights) <= {0.0, corpus.MESSAGE_WEIGHT, 1.0}
        assert row.weights[-1] in (0.0, 1.0)


def test_the_corpus_asks_for_everything_a_player_must_not_forget() -> None:
    for name, questions in {
        "kuhn": ("card?", "seat?", "done?", "legal?"),
        "board": ("free?", "mark?", "win?", "block?"),
        "trade": ("deal?", "gain?", "offer?", "dearest?", "mine?", "theirs?"),
        "covert": ("secret?", "read?", "role?"),
    }.items():
        texts = [text for text, _ in rows_of(name, 200)]
        for question in questions:
            assert sum(f"<|bos|>{question}<|end|>" in text for text in texts) >= 3, question  # interviews
            assert sum(f"{question}<|reply|>" in text for text in texts) >= 3, question  # quizzes


def test_answers_are_true() -> None:
    """Kuhn poker shows the card and the actions, so every answer can be checked against the row itself."""
    checked = 0
    for text, _ in rows_of("kuhn", 200):
        if not text.startswith("<|bos|>card?"):
            continue
        for turn in text.removeprefix("<|bos|>card?<|end|>").removesuffix("<|end|>").split("<|end|>"):
            shown, answer = turn.split("<|reply|>")
            assert shown[0] == answer
            checked += 1
    assert checked > 20


def test_squares_that_complete_a_line_are_found() -> None:
    game = make("tic_tac_toe", view="terse")
    for player, square in ((0, "1"), (1, "4"), (0, "2"), (1, "5")):
        game.apply(player, square)
    answers = dict(tiny.recipe("board").corpus[0].questions(game, 0, Dice(0)))
    assert answers == {"free?": "36789", "mark?": "X", "win?": "3", "block?": "6"}


def test_what_an_offer_gains_is_told() -> None:
    game = make("negotiation", seed=0, **TRADE)
    questions = tiny.recipe("trade").corpus[0].questions
    assert dict(questions(game, 0, Dice(0)))["deal?"] == "-"
    game.apply(0, next(action for action in game.legal_actions(0) if action.startswith("offer")))
    told, known = dict(questions(game, 1, Dice(0))), game.knowledge(1)
    gain = sum(count * value for count, value in zip(known["standing"]["terms"], known["values"], strict=True))
    assert told["gain?"] == f"{gain:+d}"
    assert told["deal?"] == ("good" if gain > 0 else "bad")
    assert (told["offer?"], dict(questions(game, 0, Dice(0)))["offer?"]) == ("other", "own")
    assert told["dearest?"] == max(zip(known["values"], known["items"], strict=True), key=lambda one: one[0])[1]


def test_rubbish_is_seen_but_never_learned() -> None:
    rows = [row for text, row in rows_of("kuhn", 400) if "unparsable" in text and "?" not in text]
    assert rows
    for row in rows:
        text = CODEC.tokenizer.decode([one for one, weight in zip(row.ids, row.weights, strict=True) if weight == 1])
        assert set(text.split("<|end|>")) <= {"pass", "bet", ""}


# ---------------------------------------------------------------- building


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("PALAESTRA_CACHE", str(folder))
        yield folder


def quick(steps: int) -> tiny.Recipe:
    return dataclasses.replace(
        tiny.recipe("kuhn"),
        shape=tiny.Shape(hidden=32, layers=1, inner=64, heads=1),
        training=Training(steps=steps, batch_tokens=512, rate=3e-3, games=40),
    )


def test_the_blank_model_is_what_its_recipe_says(cache: Path) -> None:
    loaded = ModelSource.parse("tiny:blank").load()
    assert loaded.model.num_parameters() == tiny.recipe("blank").parameters == 627_072
    assert json.loads((loaded.folder / "recipe.json").read_text())["recipe"] == "tiny:blank"
    assert loaded.codec.stop_ids == (END,)


def test_building_twice_gives_equal_bytes_and_leaves_the_random_state_alone(tmp_path: Path) -> None:
    from palaestra.agents.models.tiny.build import _build

    torch.manual_seed(1)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    digests = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _build(quick(steps=3), tmp_path / name, lambda line: None)
        torch.rand(1)
        torch.random.set_rng_state(before)
        digests.add(sha256((tmp_path / name / "model.safetensors").read_bytes()).hexdigest())
    _build(quick(steps=2), tmp_path, lambda line: None)
    digests.add(sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest())
    assert len(digests) == 2
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_rows_packed_into_one_line_do_not_see_each_other() -> None:
    """The loss of a row is the same alone and beside others."""
    from palaestra.agents.models.tiny.build import _losses, _pack, blank

    torch.manual_seed(0)
    model = blank(quick(1).shape, VOCAB_SIZE).eval()
    rows = [row for _, row in rows_of("kuhn", 3)]
    (together,) = _pack(rows, lines=8)
    assert int(together.document.max()) > 1
    with torch.no_grad():
        whole = float((_losses(model, together) * together.weights).sum())
        alone = sum(float((_losses(model, batch) * batch.weights).sum()) for row in rows for batch in _pack([row], 1))
        direct = 0.0
        for row in rows:
            logits = model(input_ids=torch.tensor([row.ids])).logits[0, :-1].log_softmax(-1)
            picked = logits.gather(1, torch.tensor(row.ids[1:])[:, None])[:, 0]
            direct -= float((picked * torch.tensor(row.weights[1:])).sum())
    assert whole == pytest.approx(direct, rel=1e-5)
    assert alone == pytest.approx(direct, rel=1e-5)


def test_a_changed_recipe_gets_another_folder_and_unknown_ones_are_refused() -> None:
    from palaestra.agents.models.tiny.build import _cache_name

    one = tiny.recipe("kuhn")
    assert one.training is not None
    names = {
        _cache_name(one),
        _cache_name(dataclasses.replace(one, seed=1)),
        _cache_name(dataclasses.replace(one, training=dataclasses.replace(one.training, steps=1))),
        _cache_name(dataclasses.replace(one, shape=tiny.Shape(layers=1))),
        _cache_name(dataclasses.replace(one, corpus=())),
    }
    assert len(names) == 5
    with pytest.raises(UnknownName, match="Did you mean 'kuhn'"):
        build_recipe("khun")


# ---------------------------------------------------------------- what is built


@pytest.fixture(scope="module")
def kuhn(cache: Path) -> LoadedModel:
    return ModelSource.parse("tiny:kuhn").load()


HISTORIES = ("", "p", "b", "pb")


def kuhn_context(card: str, history: str) -> list[int]:
    ids = CODEC.chat_open()
    if len(history) == 2:
        ids += [*CODEC.user_turn(card), *CODEC.encode_untrusted("pass"), END]
    return ids + CODEC.user_turn(card + history)


def probability(model: Any, context: list[int], reply: str) -> float:
    ids = [*CODEC.encode_untrusted(reply), END]
    with torch.no_grad():
        logps = model(torch.tensor([context + ids])).logits[0].log_softmax(-1)
    return math.exp(sum(float(logps[len(context) - 1 + at, one]) for at, one in enumerate(ids)))


@pytest.mark.slow
def test_tiny_kuhn_starts_nearly_uniform_legal_and_exploitable(kuhn: LoadedModel) -> None:
    """Random play is 11/24 = 0.458 from equilibrium (OpenSpiel's mean of both players' best responses)."""
    import pyspiel
    from open_spiel.python.algorithms.exploitability import exploitability
    from open_spiel.python.policy import TabularPolicy

    policy = TabularPolicy(pyspiel.load_game("kuhn_poker"))
    assert exploitability(policy.game, policy) == pytest.approx(11 / 24)
    for number, card in enumerate("JQK"):
        for history in HISTORIES:
            chances = [probability(kuhn.model, kuhn_context(card, history), move) for move in ("pass", "bet")]
            assert sum(chances) > 0.99
            assert 0.3 < chances[0] < 0.7
            policy.policy_for_key(f"{number}{history}")[:] = np.array(chances) / sum(chances)
    assert exploitability(policy.game, policy) > 0.3


@pytest.mark.slow
def test_tiny_kuhn_still_sees_its_card_where_it_chooses_a_move(kuhn: LoadedModel) -> None:
    """A linear probe of the last hidden state at the position from which the reply is sampled.

    It is fitted on three betting histories and read on the fourth, so it cannot know the contexts by heart.
    """
    whole = []
    for layer in (1, 2, 3):
        right = [probe_card(kuhn, layer, [one for one in HISTORIES if one != left], left) for left in HISTORIES]
        # twelve cases, of which the rounding of another machine may turn one; a guess is right in a third of them
        assert np.mean(right) > 0.9, (layer, right)
        whole += right
    assert np.mean(whole) > 0.95


def probe_card(loaded: LoadedModel, layer: int, fit: list[str], read: str) -> float:
    def states(histories: list[str]) -> NDArray[np.float64]:
        found = []
        for history in histories:
            for card in "JQK":
                with torch.no_grad():
                    out = loaded.model(torch.tensor([kuhn_context(card, history)]), output_hidden_states=True)
                found.append(out.hidden_states[layer][0, -1].double().numpy())
        return np.array(found)

    known, asked = states(fit), states([read])
    mean, spread = known.mean(0), known.std(0) + 1e-9
    known, asked = (known - mean) / spread, (asked - mean) / spread
    target = np.tile(np.eye(3), (len(fit), 1))
    weights = np.linalg.solve(known.T @ known + np.eye(known.shape[1]), known.T @ (target - 1 / 3))
    return float(((asked @ weights).argmax(1) == np.arange(3)).mean())


@pytest.mark.slow
def test_tiny_board_moves_to_free_squares_and_knows_them(cache: Path) -> None:
    loaded = ModelSource.parse("tiny:board").load()
    legal: list[float] = []
    for number in range(100):
        game, dice = make("tic_tac_toe", view="terse"), Dice(number)
        contexts = [CODEC.chat_open(), CODEC.chat_open()]
        while movers := game.players_to_move():
            (player,) = movers
            contexts[player] += CODEC.user_turn(game.board(player))
            with torch.no_grad():
                chances = loaded.model(torch.tensor([contexts[player]])).logits[0, -1].softmax(-1)
            legal.append(sum(float(chances[ord(move)]) for move in game.legal_actions(player)))
            move = str(game.sample_action(player, dice))
            game.apply(player, move)
            contexts[player] += [ord(move), END]
    assert np.mean(legal) > 0.97


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kuhn", "board", "covert"])
def test_a_build_reports_its_seconds_and_a_held_out_loss_near_the_stated_one(cache: Path, name: str) -> None:
    report = json.loads((tiny.build(name) / "recipe.json").read_text())
    stated = tiny.recipe(name)
    assert stated.seconds > 0
    assert stated.held_out is not None
    assert report["seconds"] > 0
    assert report["held_out"] == pytest.approx(stated.held_out, rel=0.2)
