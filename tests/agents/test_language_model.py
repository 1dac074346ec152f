"""The seat's contexts: they only grow inside a segment, and a game longer than the model goes on in a new one."""

import asyncio
import itertools

import pytest

from palaestra.agents.engines.base import BASE, Capabilities, Completion, ContextOverflow
from palaestra.agents.language_model import LanguageModelSeat, ReplySettings
from palaestra.agents.models.tiny.tokenizer import make_tokenizer
from palaestra.agents.tokens import TokenizerCodec
from palaestra.envs import Match, RandomSeat, Scripted, make, play
from palaestra.trainers.rows import rows_from_episode

CONTEXT = 2048
PLIES = 300
CODEC = TokenizerCodec(make_tokenizer(CONTEXT))


class Dictation:
    """An engine that says what it was told to say, and keeps every context it was shown."""

    vocab_size = len(CODEC.tokenizer)
    context_length = CONTEXT
    capabilities = Capabilities()

    def __init__(self, replies):
        self.replies = iter(replies)
        self.asked: list[tuple[str, list[int]]] = []
        self.released: list[str] = []

    async def generate(self, context, sampling, *, policy=BASE, session=None):
        assert 0 < len(context) <= self.context_length - sampling.max_tokens
        self.asked.append((session, list(context)))
        ids = (*CODEC.encode_untrusted(next(self.replies)), CODEC.stop_ids[0])
        assert len(ids) <= sampling.max_tokens
        return Completion(ids, (-1.0,) * len(ids), "stop", policy, len(context))

    def release(self, session):
        self.released.append(session)


@pytest.fixture(scope="module")
def moves() -> list[str]:
    """A legal game of chess, long enough: the first seed whose random players get so far."""
    for seed in range(100):
        episode = play(make("chess", seed=seed), [RandomSeat(seed), RandomSeat(seed + 1)])
        if len(episode.turns) >= PLIES:
            return [str(turn.action) for turn in episode.turns]
    raise AssertionError(f"no random game has {PLIES} plies")


@pytest.fixture(scope="module")
def long_game(moves):
    engines = [Dictation(moves[player::2]) for player in (0, 1)]
    seats = [LanguageModelSeat(engine, CODEC, settings=ReplySettings(max_tokens=16)) for engine in engines]
    return engines, asyncio.run(Match(make("chess"), seats).play())


def test_a_game_of_three_hundred_plies_fits_a_model_of_two_thousand_tokens(long_game, moves):
    _, episode = long_game
    assert len(episode.turns) >= PLIES
    assert [str(turn.action) for turn in episode.turns] == moves
    assert all(len(turn.attempts) == 1 for turn in episode.turns)


def test_inside_a_segment_a_context_only_grows_and_sessions_name_segments(long_game):
    engines, episode = long_game
    for player, engine in enumerate(engines):
        contexts: dict[str, list[int]] = {}
        for (session, context), turn in zip(engine.asked, episode.turns[player::2], strict=True):
            record = turn.attempts[0].reply.tokens
            before = contexts.get(session, [])
            assert context == [*before, *record.context]
            contexts[session] = [*context, *record.ids]
        sessions = list(contexts)
        assert len(sessions) > 1
        assert engine.released[: len(sessions) - 1] == sessions[:-1]


def test_only_an_overflow_opens_a_segment_and_the_reply_says_so(long_game):
    _, episode = long_game
    for player in (0, 1):
        replies = [turn.attempts[0].reply for turn in episode.turns[player::2]]
        for before, after in itertools.pairwise(replies):
            opened = after.tokens.segment != before.tokens.segment
            assert after.tokens.segment == before.tokens.segment + opened
            assert after.info == ({"new_segment": "overflow"} if opened else None)


def test_every_segment_is_a_row_that_fits_and_holds_its_tokens_once(long_game):
    engines, episode = long_game
    rows = rows_from_episode(episode, "long")
    assert all(len(row) <= CONTEXT for row in rows)
    assert len(rows) == sum(len({session for session, _ in engine.asked}) for engine in engines)
    sampled = sum(int(row.sampled.sum()) for row in rows)
    assert sampled == sum(len(turn.attempts[0].reply.tokens.ids) for turn in episode.turns)


def test_fresh_contexts_begin_anew_at_every_turn_without_an_overflow(moves):
    engines = [Dictation(moves[player::2]) for player in (0, 1)]
    settings = ReplySettings(max_tokens=16, context="fresh")
    seats = [LanguageModelSeat(engine, CODEC, settings=settings) for engine in engines]
    episode = asyncio.run(Match(make("chess"), seats).play())
    assert len({session for engine in engines for session, _ in engine.asked}) == len(episode.turns)
    assert all(turn.attempts[0].reply.info is None for turn in episode.turns)


def test_an_observation_longer_than_the_model_is_one_sentence(moves):
    engine = Dictation(moves)
    engine.context_length = 64
    seats = [LanguageModelSeat(engine, CODEC, settings=ReplySettings(max_tokens=16)), RandomSeat()]
    with pytest.raises(ContextOverflow, match=r"chess's observation takes \d+ tokens .* use a shorter view"):
        asyncio.run(Match(make("chess"), seats).play())


class Judge(Dictation):
    """An engine that finds a text the likelier the more of its favourite's characters it begins with."""

    def __init__(self, favourite):
        super().__init__([])
        self.favourite = CODEC.encode_untrusted(favourite)
        self.scored: list[list[int]] = []

    async def score(self, tokens, *, policy=BASE):
        self.scored.append(list(tokens))
        start = len(self.scored[0]) - len(CODEC.encode_untrusted(" 0"))
        same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(tokens[start:], self.favourite, strict=False))
        near = len(list(same))
        return [-1.0] * (len(tokens) - 1 - near) + [-0.1] * near


def test_a_seat_that_chooses_says_the_likeliest_word_behind_what_has_begun():
    game = make("cot_relay", seed=1, reference=True, mode="forced", wording="restated")
    engine = Judge(" 5")
    seat = LanguageModelSeat(engine, CODEC, settings=ReplySettings(max_tokens=4, context="fresh", choose=True))
    episode = asyncio.run(Match(game, [seat]).play())
    assert game.result()["guess"] == "5"
    words = game.legal_actions(0)
    assert [CODEC.decode(row)[-2:] for row in engine.scored] == [f" {word}" for word in words]
    assert all("The answer is" in CODEC.decode(row) for row in engine.scored)
    assert not engine.asked, "nothing is drawn"
    record = episode.turns[0].attempts[0].reply.tokens
    assert CODEC.decode(record.ids) == " 5"


def test_a_seat_that_chooses_draws_a_text_where_there_are_no_words():
    game = make("cot_relay", seed=1, max_chars=80)
    engine = Dictation(["Three and four is seven."])
    provider = LanguageModelSeat(engine, CODEC, settings=ReplySettings(max_tokens=40, choose=True))
    asyncio.run(Match(game, [provider, Scripted("3")]).play())
    assert game.thought == "Three and four is seven."
