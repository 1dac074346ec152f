"""The stepped match is the match: same episodes, whoever waits, wherever it is called from."""

from __future__ import annotations

import asyncio
import gc
import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest

from palaestra.envs import Episode, MatchRules, RandomSeat, Reply, Scripted, View, make, play
from palaestra.envs.bridges.stepper import Stepper
from tests.envs.bridge_kit import GAMES, MatchingPennies, Mute, Slow

NOISE = {2: "what?", 5: "<think>never closed", 9: "☃"}
"""Replies spoiled on purpose, by their position."""


def stepped(game: str, seed: int, inside: dict[int, object]) -> tuple[Episode, dict[int, list[str]]]:
    """Play with random outside replies, some of them spoiled; return the episode and what each outside player said."""
    stepper = Stepper(make(game, seed=seed), inside, MatchRules())  # type: ignore[arg-type]
    said: dict[int, list[str]] = {}
    count = 0
    while stepper.episode is None:
        replies = {}
        for player, view in stepper.requests.items():
            text = NOISE.get(count, str(view.sample_action()))
            count += 1
            said.setdefault(player, []).append(text)
            replies[player] = Reply(text)
        stepper.answer(replies)
    return stepper.episode, said


def comparable(episode: Episode) -> tuple[object, ...]:
    return episode.turns, episode.outcome, episode.returns, episode.result, episode.roles


@pytest.mark.parametrize("game", GAMES)
def test_a_stepped_match_equals_the_match_played_in_one_go(game: str) -> None:
    players = make(game).facts.players
    for outside in ([0], list(range(players))):
        inside = {player: RandomSeat() for player in range(players) if player not in outside}
        episode, said = stepped(game, 11, dict(inside))
        seats = [inside.get(player) or Scripted(*said.get(player, ())) for player in range(players)]
        assert comparable(play(make(game, seed=11), seats, record=False)) == comparable(episode)
        assert any(attempt.status != "ok" for turn in episode.turns for attempt in turn.attempts) or len(said[0]) < 3


def test_all_players_of_a_simultaneous_round_are_asked_at_once_and_only_the_failed_one_again() -> None:
    stepper = Stepper(MatchingPennies(), {}, MatchRules())
    assert sorted(stepper.requests) == [0, 1]
    stepper.answer({0: Reply("heads"), 1: Reply("edge")})
    assert sorted(stepper.requests) == [1]
    assert "unparsable" in stepper.requests[1].feedback
    stepper.answer({1: Reply("tails")})
    assert sorted(stepper.requests) == [0, 1]
    assert stepper.match.game.rounds == [("heads", "tails")]


def test_replies_must_come_from_the_players_that_were_asked() -> None:
    stepper = Stepper(MatchingPennies(), {}, MatchRules())
    with pytest.raises(ValueError, match=r"replies of players \[0\], but \[0, 1\] must reply"):
        stepper.answer({0: Reply("heads")})


@pytest.mark.parametrize("game", ["tic_tac_toe", MatchingPennies.id])
def test_an_opponent_may_await_the_event_loop(game: str) -> None:
    episode, _ = stepped(game, 3, {1: Slow()})
    assert episode.outcome == "finished"


def test_it_runs_inside_a_running_event_loop_and_leaves_it_intact() -> None:
    async def cell() -> Episode:
        before = asyncio.current_task()
        episode, _ = stepped("tic_tac_toe", 3, {1: Slow()})
        assert asyncio.current_task() is before
        await asyncio.sleep(0)
        return episode

    assert comparable(asyncio.run(cell())) == comparable(stepped("tic_tac_toe", 3, {1: Slow()})[0])


def test_interleaved_and_threaded_matches_equal_the_same_matches_alone() -> None:
    alone = [comparable(stepped(MatchingPennies.id, seed, {1: Slow()})[0]) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        episodes = list(pool.map(lambda seed: stepped(MatchingPennies.id, seed, {1: Slow()})[0], range(8)))
    assert [comparable(episode) for episode in episodes] == alone
    # Begun in one thread, so in one loop; stepped in several.
    steppers = [Stepper(make("tic_tac_toe", seed=seed), {1: Slow()}, MatchRules()) for seed in range(8)]

    def finish(stepper: Stepper) -> Episode:
        while stepper.episode is None:
            stepper.answer({0: Reply(str(stepper.requests[0].sample_action()))})
        return stepper.episode

    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(finish, steppers))
    alone = [finish(Stepper(make("tic_tac_toe", seed=seed), {1: Slow()}, MatchRules())) for seed in range(8)]
    assert [comparable(episode) for episode in threaded] == [comparable(episode) for episode in alone]


def test_the_error_of_an_opponent_comes_out_of_the_step() -> None:
    class Broken:
        name = "broken"

        async def act(self, view: View) -> Reply:
            raise RuntimeError("engine lost")

    stepper = Stepper(make("tic_tac_toe"), {1: Broken()}, MatchRules())
    with pytest.raises(RuntimeError, match="engine lost"):
        stepper.answer({0: Reply("5")})


def test_closing_breaks_off_and_closes_the_seats_once() -> None:
    seat = Slow()
    stepper = Stepper(make("tic_tac_toe"), {1: seat}, MatchRules())
    stepper.close()
    stepper.close()
    assert seat.closed == 1
    assert stepper.episode is None


@pytest.mark.parametrize("then", ["another match goes on", "the thread ends"])
def test_dropping_a_running_match_is_silent_and_closes_its_seats(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], then: str
) -> None:
    seat = Slow()

    def drop() -> None:
        steppers = [Stepper(game, {1: seat}, MatchRules()) for game in (MatchingPennies(), make("tic_tac_toe"))]
        del steppers
        if then == "another match goes on":
            stepped("tic_tac_toe", 1, {})

    thread = Thread(target=drop)
    with caplog.at_level(logging.DEBUG, logger="asyncio"):
        thread.start()
        thread.join()
        gc.collect()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert capfd.readouterr().err == ""
    assert seat.closed == 2


def test_a_mute_opponent_forfeits() -> None:
    stepper = Stepper(make("tic_tac_toe"), {1: Mute()}, MatchRules())
    stepper.answer({0: Reply("5")})
    assert stepper.episode is not None
    assert stepper.episode.returns == (1.0, -1.0)
    assert stepper.episode.forfeited_by == 1
