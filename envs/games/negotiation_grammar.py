r"""How a negotiator's text is read: free talk, and at most one act.

An *act* commits the speaker: ``offer: give 2 wheat, take 1 gold``, ``accept``, or ``walk away``. It must be a sentence,
a line or a bracket of its own, so "I will not accept that", "if you add gold, I accept" and "accept?" are talk.
Everything that is no act is *talk* and reaches the other player. Around an act, case, politeness ("Great, I accept
your offer!"), quotes and brackets do not matter; an offer may name both sides in either order.

Two different acts in one text are never chosen between, and a sentence that begins ``offer:`` must be an offer.

Canonical text, which reads back as itself: a line ``say: TALK`` if there is talk, with white space made single
spaces, then a line with the act if there is one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from palaestra.envs.errors import IllegalAction, UnparsableAction
from palaestra.envs.games.trades import Trade
from palaestra.envs.grammar import shorten

LONGEST_OFFER = 300
"""Characters of a sentence beyond which it is not searched for the two sides of an offer; none needs half of it."""

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"a": 1, "an": 1} | {word: number for number, word in enumerate(_WORDS)}
_LEAD = (
    r"(?:(?:ok|okay|yes|yeah|great|good|fine|sure|deal|agreed|alright|perfect|thanks|thank you|well|then|so)[,;:\s-]+)*"
)
_LABEL = r"(?:(?:my\s+)?(?:action|answer|move|decision|response|reply)\s*(?:is)?\s*:\s*)?"
_WHAT = r"(?:(?:your|the|this|that)\s+(?:last\s+|latest\s+|current\s+)?(?:offer|trade|deal|proposal))"
_ACCEPT = re.compile(
    rf"{_LEAD}{_LABEL}(?:(?:i|we)(?:'ll|\s+will|\s+do)?\s+)?accept(?:ed)?(?:\s+{_WHAT})?", re.IGNORECASE
)
_WALK = re.compile(
    rf"(?:(?:no|no deal|sorry)[,;:\s-]+)*{_LEAD}{_LABEL}(?:i(?:'ll|'m|\s+will|\s+am)?\s+)?walk(?:ing)?[\s-]+away"
    rf"(?:\s+(?:now|from\s+{_WHAT}))?",
    re.IGNORECASE,
)
_OFFER_HEAD = re.compile(
    rf"{_LEAD}{_LABEL}(?:(?:(?:(?:here\s+is|here's)\s+)?my\s+|a\s+)?(?:new\s+|next\s+|final\s+|counter[\s-]?)*offer\s*(?P<colon>:)?\s*"
    r"|i\s+(?:offer|propose)(?:\s+to)?\s*:?\s*|i(?:'ll|\s+will)?\s+)?",
    re.IGNORECASE,
)
_GIVE, _TAKE = r"give\s+(?P<give>.+?)", r"(?:take|get|receive)\s+(?P<take>.+?)"
_BODIES = tuple(
    re.compile(rf"{first}(?:\s*[,;]\s*|\s+)(?:and\s+|to\s+|i\s+)*{second}", re.IGNORECASE)
    for first, second in ((_GIVE, _TAKE), (_TAKE, _GIVE))
)
_PIECES = re.compile(r"\[[^\]\n]*\]|[^.!?\n\[]+[.!?]*|[.!?]+|\n|\[")
_DECORATION = " \t*_`\"'“”‘’[](){}<>•-–—.!,;:"


class Message(NamedTuple):
    """What a player says and does in one turn.

    Attributes:
        talk: Free text on one line; may be empty.
        act: What it commits to; None for talk only.
        trade: Of an offer, what the speaker receives (negative: gives) of each item; None otherwise.
    """

    talk: str
    act: Literal["offer", "accept", "walk away"] | None = None
    trade: Trade | None = None


def write_message(message: Message, items: Sequence[str]) -> str:
    """Return the canonical text of a message."""
    lines = [f"say: {message.talk}"] if message.talk else []
    if message.trade is not None:
        lines.append("offer: " + write_trade(message.trade, items))
    elif message.act is not None:
        lines.append(message.act)
    return "\n".join(lines)


def write_trade(trade: Trade, items: Sequence[str], verbs: tuple[str, str] = ("give", "take")) -> str:
    """Return a trade in words from the side of who receives it: ``"give 2 wheat and 1 wood, take nothing"``."""
    sides = []
    for verb, sign in zip(verbs, (-1, 1), strict=True):
        parts = [f"{sign * count} {item}" for item, count in zip(items, trade, strict=True) if sign * count > 0]
        sides.append(f"{verb} {' and '.join(parts) or 'nothing'}")
    return ", ".join(sides)


def example(items: Sequence[str]) -> str:
    """Return an offer that shows the form."""
    return f"offer: give 2 {items[0]}, take 1 {items[-1]}"


def read_message(text: str, items: Sequence[str]) -> Message:
    """Read a player's text.

    Raises:
        UnparsableAction: Nothing is said, two different acts are named, or an ``offer:`` that is no offer.
        IllegalAction: An offer of items that do not exist, of one item in both directions, or of nothing at all.
    """
    message = _read(text, items)
    if _read(write_message(message, items), items) != message:
        raise UnparsableAction("part of the message can be read as an act or as talk; give the act a line of its own.")
    return message


def _read(text: str, items: Sequence[str]) -> Message:
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate cannot be recorded
    acts: list[Message] = []
    talk: list[str] = []
    for line in text.splitlines():
        line = re.sub(r"^(?:\s*say\s*:)+", "", line, flags=re.IGNORECASE)
        for piece in _PIECES.findall(line):
            act = _read_act(piece, items)
            if act is None:
                talk.append(piece)
            elif act not in acts:
                acts.append(act)
        talk.append(" ")
    said = " ".join("".join(talk).split())
    if len(acts) > 1:
        named = " and ".join(repr(write_message(act, items)) for act in acts)
        raise UnparsableAction(f"the message names {named}; a message may hold only one of them.")
    if not acts and not said:
        raise UnparsableAction(f"the message is empty; talk, or write {example(items)!r}, 'accept' or 'walk away'.")
    if not any(character.isalnum() for character in said):
        said = "" if acts else said
    return acts[0]._replace(talk=said) if acts else Message(said)


def _read_act(piece: str, items: Sequence[str]) -> Message | None:
    """Return the act that a sentence is, or None if it is talk."""
    question = piece.rstrip(_DECORATION).endswith("?")
    sentence = " ".join(piece.strip(_DECORATION + "?").split())
    if not question and _ACCEPT.fullmatch(sentence):
        return Message("", "accept")
    if not question and _WALK.fullmatch(sentence):
        return Message("", "walk away")
    head = _OFFER_HEAD.match(sentence)
    assert head is not None  # every part of it is optional
    body = sentence[head.end() :].strip(_DECORATION)
    for form in _BODIES if len(body) <= LONGEST_OFFER and (head["colon"] or not question) else ():
        if found := form.fullmatch(body):
            give, take = (_read_side(found[side], items, bool(head["colon"])) for side in ("give", "take"))
            if give is not None and take is not None:
                return Message("", "offer", _trade(give, take, items))
    if head["colon"]:
        raise UnparsableAction(
            f"{shorten([sentence], 100)!r} is not a complete offer; write it as {example(items)!r} "
            "with 'nothing' for an empty side."
        )
    return None


def _read_side(text: str, items: Sequence[str], certain: bool) -> dict[str, int] | None:
    """Return counts per item in ``"2 wheat and 1 gold"``, or None if it is something else.

    Raises:
        IllegalAction: It is ``certain`` that an offer is meant, and an item does not exist.
    """
    if text.lower() == "nothing":
        return {}
    counts: dict[str, int] = {}
    for part in re.split(r"\s*(?:,|\band\b|&|\+)\s*", text):
        found = re.fullmatch(r"(\d{1,6}|[a-z]+)\s*(?:x\s*|units?\s+(?:of\s+)?)?([a-z]+)", part.strip(), re.IGNORECASE)
        if found is None:
            return None
        number, name = found[1].lower(), found[2].lower()
        if not number.isdecimal() and number not in _NUMBERS:
            return None
        if name not in items and name.removesuffix("s") in items:
            name = name.removesuffix("s")
        if name not in items:
            if certain:
                raise IllegalAction(f"there is no item {found[2]!r}; the items are {', '.join(items)}.")
            return None
        counts[name] = counts.get(name, 0) + (int(number) if number.isdecimal() else _NUMBERS[number])
    return counts


def _trade(give: dict[str, int], take: dict[str, int], items: Sequence[str]) -> Trade:
    both = [item for item in items if give.get(item) and take.get(item)]
    if both:
        raise IllegalAction(f"the offer gives and takes {both[0]}; name each item on one side only.")
    trade = tuple(take.get(item, 0) - give.get(item, 0) for item in items)
    if not any(trade):
        raise IllegalAction("the offer moves nothing; give or take at least one item.")
    return trade
