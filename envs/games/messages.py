r"""How the text of a player at a bargaining table is read: free talk, and at most one act.

An *act* commits the speaker: an offer such as ``offer: give 2 wheat, take 1 gold``, ``accept``, or ``walk away``. It
must be a sentence, a line or a bracket of its own, so "I will not accept that", "if you add gold, I accept" and
"accept?" are talk. Everything that is no act is *talk* and reaches the others. Around an act, case, politeness ("Great,
I accept your offer!"), quotes and brackets do not matter.

Two different acts in one text are never chosen between, and a sentence that begins ``offer:`` must be an offer. What
can be offered is the game's own (`OfferForm`).

Canonical text, which reads back as itself: a line ``say: TALK`` if there is talk, with white space made single
spaces, then a line with the act if there is one.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, Protocol, TypeAlias

from palaestra.envs.errors import UnparsableAction
from palaestra.envs.grammar import shorten
from palaestra.envs.parts import well_formed

Terms: TypeAlias = tuple[int, ...]
"""What is offered, in whole numbers; what they stand for is the game's own."""

LONGEST_OFFER = 300
"""Characters of a sentence beyond which it is not searched for an offer; none needs half of it."""

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
    rf"{_LEAD}{_LABEL}(?P<offers>(?:(?:(?:here\s+is|here's)\s+)?my\s+|a\s+)?"
    r"(?:new\s+|next\s+|final\s+|counter[\s-]?)*offer\s*(?P<colon>:)?\s*"
    r"|i\s+(?:offer|propose)(?:\s+to)?\s*:?\s*)?(?:i(?:'ll|\s+will)?\s+)?",
    re.IGNORECASE,
)
_PIECES = re.compile(r"\[[^\[\]\n]*\]|[^.!?\n\[]+[.!?]*|[.!?]+|\n|\[")
_DECORATION = " \t*_`\"'“”‘’[](){}<>•-–—.!,;:"


class Message(NamedTuple):
    """What a player says and does in one turn.

    Attributes:
        talk: Free text on one line; may be empty.
        act: What it commits to; None for talk only.
        terms: Of an offer, what is offered; None otherwise.
    """

    talk: str
    act: Literal["offer", "accept", "walk away"] | None = None
    terms: Terms | None = None


class OfferForm(Protocol):
    """What an offer of one game looks like."""

    @property
    def example(self) -> str:
        """Return an offer's body that shows the form: what stands after ``offer:``."""

    def write(self, terms: Terms) -> str:
        """Return the canonical body of an offer."""

    def read(self, body: str, headed: bool, certain: bool) -> Terms | None:
        """Return the terms that a body names, or None if it is no offer.

        ``headed`` says that it follows a word such as "I propose", ``certain`` that it follows ``offer:``.

        Raises:
            IllegalAction: An offer is meant, but of what does not exist.
        """


def write_message(message: Message, form: OfferForm) -> str:
    """Return the canonical text of a message."""
    lines = [f"say: {message.talk}"] if message.talk else []
    if message.terms is not None:
        lines.append(f"offer: {form.write(message.terms)}")
    elif message.act is not None:
        lines.append(message.act)
    return "\n".join(lines)


def read_message(text: str, form: OfferForm) -> Message:
    """Read a player's text.

    Raises:
        UnparsableAction: Nothing is said, two different acts are named, or an ``offer:`` that is no offer.
        IllegalAction: An offer of what does not exist or makes no sense, as the form says.
    """
    message = _read(text, form)
    if _read(write_message(message, form), form) != message:
        raise UnparsableAction("part of the message can be read as an act or as talk; give the act a line of its own.")
    return message


def _read(text: str, form: OfferForm) -> Message:
    text = well_formed(text)
    acts: list[Message] = []
    talk: list[str] = []
    for line in text.splitlines():
        line = re.sub(r"^(?:\s*say\s*:)+", "", line, flags=re.IGNORECASE)
        for piece in _PIECES.findall(line):
            act = _read_act(piece, form)
            if act is None:
                talk.append(piece)
            elif act not in acts:
                acts.append(act)
        talk.append(" ")
    said = " ".join("".join(talk).split())
    if len(acts) > 1:
        named = " and ".join(repr(write_message(act, form)) for act in acts)
        raise UnparsableAction(f"the message names {named}; a message may hold only one of them.")
    if not acts and not said:
        wanted = f"talk, or write {'offer: ' + form.example!r}, 'accept' or 'walk away'"
        raise UnparsableAction(f"the message is empty; {wanted}.")
    if not any(character.isalnum() for character in said):
        said = "" if acts else said
    return acts[0]._replace(talk=said) if acts else Message(said)


def _read_act(piece: str, form: OfferForm) -> Message | None:
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
    certain = bool(head["colon"])
    if len(body) <= LONGEST_OFFER and (certain or not question):
        terms = form.read(body, headed=bool(head["offers"]), certain=certain)
        if terms is not None:
            return Message("", "offer", terms)
    if certain:
        raise UnparsableAction(
            f"{shorten([sentence], 100)!r} is not a complete offer; write it as {'offer: ' + form.example!r}."
        )
    return None
