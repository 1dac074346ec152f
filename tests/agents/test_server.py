"""Seats behind a server: one on loopback that answers well, badly, half, or not at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from palaestra.agents import check_seat, make_seat
from palaestra.agents.server import ServerFailed, ServerSeat, parse_server, plain
from palaestra.envs import MatchRules, OnFailure, RandomSeat, Scripted, make, play
from palaestra.envs.errors import OptionError
from palaestra.envs.match import run

Answer = Callable[[dict[str, Any], int], tuple[int, bytes]]


def completion(text: str | None, finish: str = "stop") -> bytes:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return json.dumps(body).encode()


class Server:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[dict[str, Any]] = []
        self.most_at_once = 0
        self.keys: set[str] = set()
        now: list[int] = []
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.asked.append(body)
                    outer.keys.add(self.headers["Authorization"])
                    number = len(outer.asked)
                    now.append(1)
                    outer.most_at_once = max(outer.most_at_once, len(now))
                status, data = answer(body, number)
                with lock:
                    now.pop()
                if not status:
                    self.connection.close()
                    return
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Server]]:
    servers: list[Server] = []

    def start(answer: Answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.http.shutdown()
        server.http.server_close()


def first_free(body: dict[str, Any], number: int) -> tuple[int, bytes]:
    """Play tic-tac-toe: the first square that nobody has named."""
    said = " ".join(message["content"] for message in body["messages"][1:])
    return 200, completion(next((square for square in "123456789" if square not in said), "5"))


def seat_of(server: Server, more: str = "") -> Any:
    return make_seat(f"server:{server.url};model=m;retries=2{more}")


def test_a_server_plays_through_one_growing_conversation(serve: Callable[[Answer], Server]) -> None:
    server = serve(lambda body, number: (200, completion("5" if number == 1 else "1 2 3 4 6 7 8 9"[-number])))
    rules = MatchRules(illegal=OnFailure(9), max_turns=5)
    episode = play(make("tic_tac_toe"), [seat_of(server), RandomSeat()], rules)
    assert [message["role"] for message in server.asked[1]["messages"]] == ["user", "assistant", "user"]
    assert server.asked[1]["messages"][:1] == server.asked[0]["messages"]
    info = episode.turns[0].attempts[0].reply.info
    assert info == {"prompt_tokens": 100, "completion_tokens": 10}
    assert server.asked[0]["model"] == "m"


def test_temperature_length_price_and_key_reach_where_they_should(
    serve: Callable[[Answer], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret-1")
    server = serve(lambda body, number: (200, completion("5")))
    seat = seat_of(server, ";temperature=0.25;max_tokens=7;price_in=2;price_out=10;key=MY_KEY")
    episode = play(make("tic_tac_toe"), [seat, RandomSeat()], MatchRules(max_turns=1))
    assert (server.asked[0]["temperature"], server.asked[0]["max_tokens"]) == (0.25, 7)
    assert server.keys == {"Bearer secret-1"}
    info = episode.turns[0].attempts[0].reply.info
    assert info is not None
    assert info["cost"] == pytest.approx((100 * 2 + 10 * 10) / 1e6)
    assert "secret-1" not in repr(episode)


def shaped(**changes: object) -> bytes:
    """A completion of "5" with other values in it."""
    data = json.loads(completion("5"))
    data["choices"][0]["message"] |= {key: value for key, value in changes.items() if key == "content"}
    return json.dumps({**data, **{key: value for key, value in changes.items() if key != "content"}}).encode()


@pytest.mark.parametrize(
    "usage", ["none", {"prompt_tokens": "many", "completion_tokens": None}, {"prompt_tokens": -1}, [], 5, None]
)
def test_a_usage_of_another_shape_is_no_usage(serve: Callable[[Answer], Server], usage: object) -> None:
    server = serve(lambda body, number: (200, shaped(usage=usage)))
    episode = play(make("tic_tac_toe"), [seat_of(server), RandomSeat()], MatchRules(max_turns=1))
    assert episode.actions == [(0, "5")]
    assert not episode.turns[0].attempts[0].reply.info


def test_a_text_in_parts_is_a_text(serve: Callable[[Answer], Server]) -> None:
    parts = [{"type": "text", "text": "I play "}, {"type": "image"}, {"type": "text", "text": "5"}]
    server = serve(lambda body, number: (200, shaped(content=parts)))
    episode = play(make("tic_tac_toe"), [seat_of(server), RandomSeat()], MatchRules(max_turns=1))
    assert episode.turns[0].attempts[0].reply.content == "I play 5"


@pytest.mark.parametrize(
    "bad",
    [shaped(content=5), shaped(content={"a": 1}), shaped(choices="x"), shaped(choices=[]), shaped(choices=[None])],
    ids=["number", "object", "text", "none", "null"],
)
def test_an_answer_of_another_shape_is_asked_for_again_and_then_said(
    serve: Callable[[Answer], Server], bad: bytes
) -> None:
    server = serve(lambda body, number: (200, bad))
    with pytest.raises(ServerFailed, match="is it an OpenAI-compatible server"):
        play(make("tic_tac_toe"), [seat_of(server), RandomSeat()])
    assert len(server.asked) == 3


def test_a_wrong_key_is_told_as_one_refusal(serve: Callable[[Answer], Server]) -> None:
    server = serve(lambda body, number: (401, b'{"error": "who are you"}'))
    with pytest.raises(ServerFailed, match="answered 401: "):
        play(make("tic_tac_toe"), [seat_of(server), RandomSeat()])
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "bad",
    [(429, b"{}"), (500, b"oops"), (503, b""), (200, completion("5")[:50]), (200, b"{}"), (0, b"")],
    ids=["429", "500", "503", "half", "empty", "gone"],
)
def test_what_fails_once_is_asked_again(serve: Callable[[Answer], Server], bad: tuple[int, bytes]) -> None:
    server = serve(lambda body, number: bad if number == 1 else (200, completion("5")))
    episode = play(make("tic_tac_toe"), [seat_of(server), RandomSeat()], MatchRules(max_turns=1))
    assert episode.actions == [(0, "5")]
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ((429, b"{}"), "answered 429 in all 3 attempts"),
        ((500, b"oops"), "answered 500 in all 3 attempts"),
        ((200, completion("5")[:50]), "no complete JSON"),
        ((200, b"[]"), "is it an OpenAI-compatible server"),
        ((0, b""), "cannot be reached"),
        ((401, b'{"error": "who are you"}'), "answered 401"),
        ((400, b'{"error": "no such parameter"}'), "refused the request"),
    ],
    ids=["429", "500", "half", "list", "gone", "401", "400"],
)
def test_what_fails_always_is_said(serve: Callable[[Answer], Server], bad: tuple[int, bytes], said: str) -> None:
    server = serve(lambda body, number: bad)
    with pytest.raises(ServerFailed, match=said):
        play(make("tic_tac_toe"), [seat_of(server), RandomSeat()])


def test_nobody_there_and_nobody_in_time(serve: Callable[[Answer], Server]) -> None:
    with pytest.raises(ServerFailed, match="cannot be reached"):
        play(make("tic_tac_toe"), [make_seat("server:http://127.0.0.1:9/v1;model=m;retries=0"), RandomSeat()])
    gate = threading.Event()
    server = serve(lambda body, number: (200 if gate.wait(3) else 500, completion("5")))
    slow = make_seat(f"server:{server.url};model=m;retries=0;timeout=0.2")
    with pytest.raises(ServerFailed, match=r"did not answer within 0.2 s"):
        play(make("tic_tac_toe"), [slow, RandomSeat()])
    gate.set()


def test_a_cut_answer_and_an_empty_one_are_replies(serve: Callable[[Answer], Server]) -> None:
    server = serve(
        lambda body, number: (200, completion("I think that", "length")) if number == 1 else (200, completion(None))
    )
    episode = play(make("tic_tac_toe"), [seat_of(server), RandomSeat()])
    assert [attempt.status for attempt in episode.turns[0].attempts] == ["truncated", "unparsable", "unparsable"]


def test_a_conversation_that_is_too_long_starts_anew(serve: Callable[[Answer], Server]) -> None:
    def answer(body: dict[str, Any], number: int) -> tuple[int, bytes]:
        if len(body["messages"]) > 2:
            return 400, b'{"error": {"message": "maximum context length is 100 tokens"}}'
        return 200, completion("5" if number == 1 else "1")

    server = serve(answer)
    play(make("tic_tac_toe"), [seat_of(server), RandomSeat(3)], MatchRules(max_turns=3, illegal=OnFailure(9)))
    assert len(server.asked[-1]["messages"]) == 1
    assert "Tic-tac-toe" in server.asked[-1]["messages"][0]["content"]


def test_of_a_thought_that_is_too_long_for_the_server_less_is_sent(serve: Callable[[Answer], Server]) -> None:
    def answer(body: dict[str, Any], number: int) -> tuple[int, bytes]:
        if len(body["messages"][-1]["content"]) > 1500:
            return 400, b'{"error": {"message": "maximum context length is 1500 tokens"}}'
        return 200, completion("1")

    first = Scripted(f"<think>{'so ' * 2000}</think>5")
    rules = MatchRules(visibility="public", max_turns=2)
    episode = play(make("tic_tac_toe"), [first, seat_of(serve(answer))], rules)
    info = episode.turns[1].attempts[0].reply.info
    assert info is not None
    assert info["longest_thought"] == 1000
    assert "characters left out" in episode.turns[1].observation
    assert len(episode.turns[1].observation) < 1500


def test_requests_at_a_time_are_limited_over_all_seats(serve: Callable[[Answer], Server]) -> None:
    import asyncio
    import time

    from palaestra.envs import Match

    def slowly(body: dict[str, Any], number: int) -> tuple[int, bytes]:
        time.sleep(0.05)
        return 200, completion("5")

    server = serve(slowly)

    async def all_at_once() -> list[Any]:
        games = [[seat_of(server, ";concurrency=3"), RandomSeat()] for _ in range(12)]
        return await asyncio.gather(
            *(Match(make("tic_tac_toe"), pair, MatchRules(max_turns=1)).play() for pair in games)
        )

    assert len(run(all_at_once())) == 12
    assert server.most_at_once <= 3


@pytest.mark.parametrize(
    "text",
    ["<|im_end|>\n<|im_start|>system", "</s>", "<s>", "[INST] now [/INST]", "<end_of_turn>", "<start_of_turn>model"],
)
def test_markers_of_chat_templates_are_broken(text: str) -> None:
    assert (
        not set(text.split()) & set(plain(text).split()) & {"<|im_end|>", "<|im_start|>system", "</s>", "<s>", "[INST]"}
    )
    assert plain(text).replace("< ", "<").replace("[ ", "[") == text
    assert plain("a < b and [3] <think> x</think>") == "a < b and [3] <think> x</think>"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("server:localhost:8000;model=m", "is no server's address"),
        ("server:http://localhost:8000/v1", "needs a model"),
        ("server:http://localhost/v1;model=m;key=NOT_SET_ANYWHERE", "is not set"),
        ("server:http://localhost/v1;model=m;temprature=1", "no parameter 'temprature'"),
        ("server:http://localhost/v1;model=m;timeout=soon", "is no number"),
    ],
)
def test_a_wrong_server_says_what_is_wrong(spec: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        check_seat(spec)


def test_what_is_not_written_comes_from_the_table() -> None:
    from palaestra.agents.language_model import ReplySettings

    settings = parse_server("http://h/v1;model=m;max_tokens=9", ReplySettings(64, 0.5, system="Play."))
    assert (settings.max_tokens, settings.temperature, settings.system) == (9, 0.5, "Play.")
    assert ServerSeat(settings).name == "server:http://h/v1;model=m"
