r"""The lines of a replay file: JSON, sums, and turns as plain data.

A line is one JSON object in UTF-8 whose last key is ``"sum"``: BLAKE2b over the sum of the line before and the bytes
of this one without its sum. Sums are taken over bytes and not over values, so that even a space too much is found.
`palaestra.envs.replay` says what the lines mean.
"""

from __future__ import annotations

import json
import re
import warnings
from hashlib import blake2b
from pathlib import Path
from typing import Any

from palaestra.envs.episode import Attempt, Reply, TokenRecord, Turn
from palaestra.envs.errors import EditedReplay, MissingReplay, NewerReplay, NotAReplay, TornReplay
from palaestra.envs.parts import part_from_json, part_to_json

SCHEMA = 1

_SUM = b',"sum":"%b"}'
_SUM_END = re.compile(rb',"sum":"[0-9a-f]{16}"\}')
_SUM_LENGTH = len(_SUM % (16 * b"0"))


def dumps(data: Any) -> bytes:
    """Return JSON in UTF-8; escaped to ASCII where the text cannot be encoded (half a surrogate pair)."""
    try:
        return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()


def seal(previous: str, data: Any) -> tuple[str, bytes]:
    """Return the sum after this line, and the line itself."""
    body = dumps(data)
    found = _chain(previous, body)
    return found, body[:-1] + _SUM % found.encode() + b"\n"


def _chain(previous: str, body: bytes) -> str:
    return blake2b(previous.encode() + body, digest_size=8).hexdigest()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the checked lines of a replay, without a torn last one and without their sums."""
    try:
        *raw, torn = path.read_bytes().split(b"\n")  # text after the last newline: empty unless a write was cut short
    except FileNotFoundError:
        raise MissingReplay(f"replay {path} does not exist; check the name.") from None
    except OSError as error:
        raise MissingReplay(f"replay {path} cannot be read ({error.strerror}); check the name.") from None
    if not raw and not torn:
        raise TornReplay(f"replay {path.name} is empty; record it again.")
    if not raw:
        if not torn.startswith(b'{"type":"header"'[: len(torn)]):
            raise NotAReplay(f"{path.name} is no replay: its first line is no header; check the name.")
        raise TornReplay(
            f"replay {path.name} ends inside its first line, so nothing can be recovered; record it again."
        )
    lines: list[dict[str, Any]] = []
    previous = ""
    for number, line in enumerate(raw, start=1):
        data, previous, whole = _checked(line, previous)
        if number == 1:
            _check_header(path, data, whole)
        if not whole:
            raise EditedReplay(
                f"replay {path.name}, line {number}: it was changed after it was written; restore the original file."
            )
        lines.append(data)
    data, _, whole = _checked(torn, previous)
    if whole:  # only its newline is missing
        lines.append(data)
    elif any(_checked(torn[: found.end()], previous)[2] for found in _SUM_END.finditer(torn)):
        raise EditedReplay(
            f"replay {path.name}, line {len(raw) + 1}: something stands behind its end; restore the original file."
        )
    elif torn:
        warnings.warn(
            f"replay {path.name}: the last line is torn and is dropped; all {len(raw) - 1} turns before it are intact",
            stacklevel=3,
        )
    return lines


def _checked(line: bytes, previous: str) -> tuple[Any, str, bool]:
    """Return a line's data, the sum it ought to have, and whether it is a JSON object that has it."""
    body = line[:-_SUM_LENGTH] + b"}"
    try:
        data = json.loads(body.decode())
    except (RecursionError, ValueError):
        data = None
    expected = _chain(previous, body)
    return data, expected, isinstance(data, dict) and line[-_SUM_LENGTH:] == _SUM % expected.encode()


def _check_header(path: Path, data: Any, whole: bool) -> None:
    if not isinstance(data, dict) or data.get("type") != "header":
        raise NotAReplay(
            f"{path.name} is no replay, or was changed after it was written: its first line is no header; "
            "check the name, or restore the original file."
        )
    if isinstance(data.get("schema"), int) and data["schema"] > SCHEMA:
        raise NewerReplay(
            f"replay {path.name} has schema {data['schema']}, but this release reads up to {SCHEMA}; "
            "install a newer palaestra"
            + ("." if whole else ", or restore the original file: as far as this release can tell, it was changed.")
        )


def turn_to_json(turn: Turn) -> dict[str, Any]:
    data: dict[str, Any] = {
        "type": "turn",
        "turn": turn.number,
        "player": turn.player,
        "role": turn.role,
        "observation": turn.observation,
        "attempts": [_attempt_to_json(attempt) for attempt in turn.attempts],
        "action": None if turn.action is None else part_to_json(turn.action),
        "hash": turn.state_hash,
    }
    if turn.substituted:
        data["substituted"] = True
    if turn.heard:
        data["heard"] = list(turn.heard)
    return data


def _attempt_to_json(attempt: Attempt) -> dict[str, Any]:
    reply = attempt.reply
    data: dict[str, Any] = {"reply": part_to_json(reply.content), "status": attempt.status}
    if attempt.reason:
        data["reason"] = attempt.reason
    if attempt.thought:
        data["thought"] = attempt.thought
    if reply.truncated:
        data["truncated"] = True
    if reply.info is not None:
        data["info"] = dict(reply.info)
    if (tokens := reply.tokens) is not None:
        data["tokens"] = {
            "segment": tokens.segment,
            "policy": tokens.policy,
            "context": list(tokens.context),
            "ids": list(tokens.ids),
            "logprobs": list(tokens.logprobs),
            **({} if tokens.score is None else {"score": tokens.score}),
        }
    return data


def turn_from_json(data: dict[str, Any]) -> Turn:
    return Turn(
        number=data["turn"],
        player=data["player"],
        role=data["role"],
        observation=data["observation"],
        attempts=tuple(_attempt_from_json(attempt) for attempt in data["attempts"]),
        action=None if data["action"] is None else part_from_json(data["action"]),
        substituted=data.get("substituted", False),
        state_hash=data["hash"],
        heard=tuple(data.get("heard", ())),
    )


def _attempt_from_json(data: dict[str, Any]) -> Attempt:
    tokens = None
    if "tokens" in data:
        record = data["tokens"]
        tokens = TokenRecord(
            record["segment"],
            tuple(record["context"]),
            tuple(record["ids"]),
            tuple(record["logprobs"]),
            record["policy"],
            record.get("score"),
        )
    reply = Reply(part_from_json(data["reply"]), data.get("truncated", False), tokens, data.get("info"))
    return Attempt(reply, data["status"], data.get("reason", ""), data.get("thought", ""))
