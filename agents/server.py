"""A seat behind any OpenAI-compatible server: a hosted model, or one of your own (`vllm serve`, llama.cpp, ...).

    server:http://127.0.0.1:8000/v1;model=smollm2
    server:https://api.example.com/v1;model=big;key=MY_KEY;concurrency=4;price_in=0.5;price_out=1.5

Parameters: ``model`` (needed), ``key`` (name of the environment variable with the API key), ``temperature``,
``max_tokens``, ``timeout`` (seconds for one answer), ``retries`` (on 408, 409, 429, 5xx, broken connections and broken
answers, with growing pauses), ``concurrency`` (requests at a time, over all seats of this process with the same server
and model; a tournament shares it out among its workers), ``price_in``, ``price_out`` (for a million tokens; the reply's
``info`` then has its ``cost``).

A conversation grows over the turns of a match; where the server says that it has become too long, it starts anew from a
self-contained observation, and, if that is too long, too, with less of the others' thoughts. The server renders the
chat itself, so what players wrote is sent with the usual markers of chat templates broken (`plain`): it cannot be
promised here that a server takes the rest as plain characters.

Nothing of this is exact: there are no token ids, so such a seat cannot be trained, and the same seed may answer
otherwise.
"""

from __future__ import annotations

import asyncio
import os
import re
import weakref
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from palaestra.agents.language_model import ReplySettings
from palaestra.agents.programs import pool as parameters
from palaestra.envs.episode import Reply
from palaestra.envs.errors import OptionError, PalaestraError
from palaestra.envs.seat import View

PARAMETERS = (
    "model", "key", "temperature", "max_tokens", "timeout", "retries", "concurrency", "price_in", "price_out",
)  # fmt: skip
BROKEN_ANSWERS = 2
"""How often an answer that is no answer is asked for again, beside what the library retries."""

RETRIED = (408, 409, 429)
"""Refusals that the library asks again after, beside all from 500 on."""

_MARKERS = re.compile(r"<(?=\||/?s>|(?:start|end)_of_turn>)|\[(?=/?INST\])", re.IGNORECASE)
_TOO_LONG = re.compile(r"context|too long|maximum.*(?:length|tokens)", re.IGNORECASE)


class ServerFailed(PalaestraError, RuntimeError):
    """The server gave no usable answer in all attempts; the message says why."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the model is and how it is asked; see the module docstring.

    Attributes:
        key: Name of an environment variable; the key itself stands nowhere.
    """

    url: str
    model: str
    key: str = ""
    temperature: float = 1.0
    max_tokens: int = 256
    timeout: float = 120.0
    retries: int = 4
    concurrency: int = 8
    price_in: float = 0.0
    price_out: float = 0.0
    system: str | None = None


def parse_server(argument: str, settings: ReplySettings | None = None) -> ServerSettings:
    """Return what a user wrote after ``server:``; what is not written is taken from ``settings``.

    Raises:
        OptionError: No address, no model, an unknown parameter, or a key that is not in the environment.
    """
    url, values = parameters.parameters(argument)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise OptionError(f"{url!r} is no server's address; write server:http://HOST:PORT/v1;model=NAME.")
    model = values.pop("model", "")
    if not model:
        raise OptionError(f"the server {url} needs a model; write server:{url};model=NAME.")
    key = values.pop("key", "")
    if key and key not in os.environ:
        raise OptionError(f"the environment variable {key!r}, which should hold the key for {url}, is not set.")
    found = settings or ReplySettings(max_tokens=256)

    def number(name: str, default: float, least: float) -> float:
        return parameters.number(values, name, default, least=least) or 0.0

    server = ServerSettings(
        url=url,
        model=model,
        key=key,
        temperature=number("temperature", found.temperature, 0),
        max_tokens=int(number("max_tokens", found.max_tokens, 1)),
        timeout=number("timeout", 120, 0.01),
        retries=int(number("retries", 4, 0)),
        concurrency=int(number("concurrency", 8, 1)),
        price_in=number("price_in", 0, 0),
        price_out=number("price_out", 0, 0),
        system=found.system,
    )
    parameters.refuse_unknown("server", values, PARAMETERS)
    return server


def plain(text: str) -> str:
    """Return text with the markers of common chat templates broken by a space, so that they close no turn."""
    return _MARKERS.sub(lambda match: f"{match[0]} ", text)


class ServerSeat:
    """Plays one seat of one match through a server.

    While playing:
        ServerFailed: No usable answer came in all attempts.
    """

    def __init__(self, settings: ServerSettings, name: str = "") -> None:
        self.settings = settings
        self.name = name or f"server:{settings.url};model={settings.model}"
        self._messages: list[dict[str, str]] = []

    async def act(self, view: View) -> Reply:
        """Return the reply; ``info`` has ``prompt_tokens``, ``completion_tokens`` and, with prices, ``cost``."""
        from openai import BadRequestError

        anew = not self._messages
        if anew:
            self._open(view.opening())
        else:
            self._messages.append({"role": "user", "content": plain(view.observation())})
        while True:
            try:
                answer = await self._ask(view.seed)
                break
            except BadRequestError as error:
                if not _TOO_LONG.search(str(error)) or (anew and not view.shorten_thoughts()):
                    raise ServerFailed(f"{self.settings.url} refused the request: {_short(error)}.") from None
            self._open(view.opening())
            anew = True
        text, cut = answer.text, answer.cut
        self._messages.append({"role": "assistant", "content": text})
        return Reply(text, truncated=cut, info=self._account(answer))

    def _open(self, observation: str) -> None:
        self._messages = [{"role": "system", "content": self.settings.system}] if self.settings.system else []
        self._messages.append({"role": "user", "content": plain(observation)})

    async def _ask(self, seed: int) -> _Answer:
        """Return an answer with a text in it.

        Raises:
            BadRequestError: The server refuses the request itself.
            ServerFailed: Anything else that retries did not mend.
        """
        from openai import APIError, APIStatusError, BadRequestError, OpenAIError

        settings = self.settings
        client, slots = _client(settings)
        why = ""
        for _ in range(1 + BROKEN_ANSWERS):
            try:
                async with slots:
                    answer = await client.chat.completions.create(
                        model=settings.model,
                        messages=self._messages,
                        temperature=settings.temperature,
                        max_tokens=settings.max_tokens,
                        seed=seed % (1 << 31),
                    )
                if (read := _read(answer)) is not None:
                    return read
                why = "its answer holds no text"
            except BadRequestError:
                raise
            except APIStatusError as error:
                again = error.status_code in RETRIED or error.status_code >= 500
                attempts = f" in all {settings.retries + 1} attempts" if again and settings.retries else ""
                raise ServerFailed(f"{settings.url} answered {error.status_code}{attempts}: {_short(error)}.") from None
            except (LookupError, AttributeError, TypeError, ValueError):
                why = "its answer is no complete JSON"
            except (APIError, OpenAIError) as error:
                what = f"cannot be reached, or did not answer within {settings.timeout:g} s"
                raise ServerFailed(f"{settings.url} {what}: {_short(error)}.") from None
        raise ServerFailed(f"{settings.url} answers, but {why}; is it an OpenAI-compatible server?")

    def _account(self, answer: _Answer) -> dict[str, Any]:
        if answer.usage is None:
            return {}
        info: dict[str, Any] = dict(zip(("prompt_tokens", "completion_tokens"), answer.usage, strict=True))
        if self.settings.price_in or self.settings.price_out:
            prices = (self.settings.price_in, self.settings.price_out)
            info["cost"] = sum(n * price for n, price in zip(answer.usage, prices, strict=True)) / 1e6
        return info


class _Answer(NamedTuple):
    """What is used of a server's answer: the text, whether it was cut, and the tokens (read, written) if it says so."""

    text: str
    cut: bool
    usage: tuple[int, int] | None


def _read(answer: Any) -> _Answer | None:
    """Return what an answer says; None if it has another shape than it should, which the library does not check."""
    choices: Any = getattr(answer, "choices", None)
    message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
    if message is None:
        return None
    text = getattr(message, "content", None)
    if isinstance(text, list):  # in parts, as some servers have it
        parts = [part.get("text") for part in text if isinstance(part, dict)]
        text = "".join(part for part in parts if isinstance(part, str))
    if text is not None and not isinstance(text, str):
        return None
    usage = getattr(answer, "usage", None)
    counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    known = all(isinstance(count, int) and count >= 0 for count in counts)
    cut = getattr(choices[0], "finish_reason", None) == "length"
    return _Answer(text or "", cut, (counts[0], counts[1]) if known else None)  # type: ignore[arg-type]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


_sharing = 1


def share_among(processes: int) -> None:
    """Let this process take its share only of the requests at a time, at least one; for one of several that play."""
    global _sharing
    _sharing = processes


_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[ServerSettings, tuple[Any, asyncio.Semaphore]]] = (
    weakref.WeakKeyDictionary()
)


def _client(settings: ServerSettings) -> tuple[Any, asyncio.Semaphore]:
    """Return the client for a server and the slots for its requests, shared by the seats of one event loop."""
    from openai import AsyncOpenAI

    known = _clients.setdefault(asyncio.get_running_loop(), {})
    if settings not in known:
        client = AsyncOpenAI(
            base_url=settings.url,
            api_key=os.environ.get(settings.key, "none") if settings.key else "none",
            timeout=settings.timeout,
            max_retries=settings.retries,
        )
        known[settings] = (client, asyncio.Semaphore(max(1, settings.concurrency // _sharing)))
    return known[settings]
