"""Adapters behind an OpenAI-compatible address: one base, any number of adapters, one batch.

    GET  /v1/models                the base and the adapters
    POST /v1/chat/completions      model, messages, max_tokens, temperature, seed; no streaming, one choice

Requests that arrive together are computed together, whichever adapter they ask for. What users and assistants wrote is
encoded as plain characters: no text can close a turn or speak as the system. Errors are JSON with one sentence.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from palaestra.agents.engines.base import Engine, Sampling
from palaestra.agents.tokens import TextCodec

if TYPE_CHECKING:
    from aiohttp import web

LARGEST = 1 << 20
"""Bytes of a request."""


class BadRequest(ValueError):
    """A request that cannot be answered; the message says why."""


def context_of(codec: TextCodec, messages: Any) -> list[int]:
    """Return the token ids of a conversation, up to where the next reply begins.

    Raises:
        BadRequest: It is no conversation that ends with a user's message.
    """
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages must be a list of at least one message.")
    for one in messages:
        if not isinstance(one, dict) or not isinstance(one.get("content"), str):
            raise BadRequest("every message needs a role and a content that is text.")
    roles = [str(one.get("role")) for one in messages]
    system = messages[0]["content"] if roles[0] == "system" else None
    rest = messages[1:] if system is not None else messages
    expected = ["user", "assistant"] * len(rest)
    if [str(one.get("role")) for one in rest] != expected[: len(rest)] or len(rest) % 2 == 0:
        raise BadRequest("after an optional system message, user and assistant must take turns, user first and last.")
    ids = codec.chat_open(system)
    for one in rest:
        if one["role"] == "user":
            ids = [*ids, *codec.user_turn(one["content"])]
        else:
            said = codec.encode_untrusted(one["content"])
            ids = [*ids, *said, *codec.after_reply(said)]
    return ids


def application(engine: Engine, codec: TextCodec, policies: Mapping[str, str]) -> web.Application:
    """Return the web application.

    Args:
        engine: Serves every policy.
        codec: Of its model.
        policies: The engine's name of each model that a request may name.
    """
    from aiohttp import web

    async def models(request: web.Request) -> web.Response:
        entries = [{"id": name, "object": "model", "owned_by": "palaestra"} for name in policies]
        return web.json_response({"object": "list", "data": entries})

    async def completions(request: web.Request) -> web.Response:
        try:
            asked = await request.json()
            if not isinstance(asked, dict):
                raise BadRequest("the request must be a JSON object.")
            model = asked.get("model")
            if model not in policies:
                raise BadRequest(f"there is no model {str(model)[:80]!r}; there are {', '.join(policies)}.")
            context = context_of(codec, asked.get("messages"))
            sampling = _sampling(asked, codec.stop_ids, engine.context_length - len(context))
            done = await engine.generate(context, sampling, policy=policies[str(model)])
        except BadRequest as error:
            return _refused(str(error), 400)
        except ValueError as error:
            return _refused(f"the request is no JSON ({error}).", 400)
        message = {"role": "assistant", "content": codec.decode(done.token_ids)}
        choice = {"index": 0, "message": message, "finish_reason": done.finish}
        usage = {"prompt_tokens": len(context), "completion_tokens": len(done.token_ids)}
        return web.json_response(
            {
                "id": f"chatcmpl-{uuid.uuid4().hex}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": model,
                "choices": [choice],
                "usage": {**usage, "total_tokens": sum(usage.values())},
            }
        )

    def _refused(sentence: str, status: int) -> web.Response:
        return web.json_response({"error": {"message": sentence, "type": "invalid_request_error"}}, status=status)

    app = web.Application(client_max_size=LARGEST)
    app.add_routes([web.get("/v1/models", models), web.post("/v1/chat/completions", completions)])
    return app


def _sampling(asked: Mapping[str, Any], stop_ids: Sequence[int], room: int) -> Sampling:
    """Return how a reply is drawn.

    Raises:
        BadRequest: A value is out of range, or the conversation leaves no room for a reply.
    """
    if room < 1:
        raise BadRequest("the conversation is too long for the model's context.")
    most, heat, seed = asked.get("max_tokens"), asked.get("temperature"), asked.get("seed")
    most = min(256, room) if most is None else most
    heat = 1.0 if heat is None else heat
    seed = uuid.uuid4().int % 2**63 if seed is None else seed
    if not isinstance(most, int) or isinstance(most, bool) or not most >= 1:
        raise BadRequest("max_tokens must be a whole number of at least 1.")
    if isinstance(heat, bool) or not isinstance(heat, int | float) or not 0 <= heat <= 10:
        raise BadRequest("temperature must be a number from 0 to 10.")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise BadRequest("seed must be a whole number.")
    return Sampling(max_tokens=min(most, room), temperature=float(heat), seed=seed % 2**63, stop_ids=tuple(stop_ids))
