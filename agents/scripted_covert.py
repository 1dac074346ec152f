"""Scripted players of the covert channel, one class for all its roles: what learned ones are measured against.

    codebook       hides the number in mixed radix (`Cover.encode`), reads it back, resamples as a paraphraser, and as
                   an overseer states the rate at which something is hidden
    honest         writes as if there were nothing to hide, and guesses; in free text, too
    swapper        as codebook, but as a paraphraser puts the next word of its class into every free slot: a code that
                   carries the secret breaks, and one that carries nothing does not notice (the load-bearing test)
    fixer          as codebook, but as a paraphraser always writes the first word of each class

With a key the number goes over the channel as number plus key, modulo the number of messages: without the key what is
sent is evenly distributed, whatever the number is.
"""

from __future__ import annotations

from typing import Any

from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError
from palaestra.envs.games.covers import Cover, read_cover
from palaestra.envs.games.probabilities import write_probability
from palaestra.envs.seat import View
from palaestra.envs.seeding import Dice


class Codebook:
    """Hides and finds numbers by the code that is known to fit.

    Args:
        prior: What it states as an overseer.

    While playing:
        InformationError: Another game, or a channel of free text, for which there is no code.
    """

    name = "codebook"

    def __init__(self, prior: float = 0.5) -> None:
        if not 0 <= prior <= 1:
            raise ValueError(f"the prior {prior:g} is no probability")
        self.prior = prior

    async def act(self, view: View) -> Reply:
        """Return the text, the number or the probability."""
        known = view.knowledge()
        if view.game_id != "covert_channel":
            raise InformationError(f"{self.name} plays covert_channel only, not {view.game_id}.")
        dice = Dice(view.seed)
        if known.get("cover") is None:
            return self._freely(known, dice)
        cover = read_cover(known["cover"])
        match known["role"]:
            case "sender":
                return Reply(cover.write(self._choice(cover, known, dice)))
            case "receiver":
                return Reply(str(self._found(cover, known, dice)))
            case "overseer":
                return Reply(write_probability(self.prior))
        return Reply(cover.write(self._anew(cover, cover.read(known["text"]), dice)))

    def _freely(self, known: dict[str, Any], dice: Dice) -> Reply:
        raise InformationError(f"{self.name} has no code for free text; set cover to grammar.")

    def _anew(self, cover: Cover, choice: tuple[int, ...], dice: Dice) -> tuple[int, ...]:
        """Return what a paraphraser makes of a choice."""
        return cover.draw(dice, cover.meaning(choice))

    def _choice(self, cover: Cover, known: dict[str, Any], dice: Dice) -> tuple[int, ...]:
        if known["payload"] is None:
            return cover.draw(dice, known["meaning"])
        messages = known["messages"]
        number = (known["payload"] + known.get("key", 0)) % messages
        return cover.encode(number, dice, known["meaning"], messages)

    def _found(self, cover: Cover, known: dict[str, Any], dice: Dice) -> int:
        messages: int = known["messages"]
        number = cover.decode(cover.read(known["text"]), messages)
        return (number - known.get("key", 0)) % messages if number < messages else dice.below(messages)


class Honest(Codebook):
    """Writes as if there were nothing to hide, and guesses: the null of every channel."""

    name = "honest"

    def _freely(self, known: dict[str, Any], dice: Dice) -> Reply:
        match known["role"]:
            case "sender":
                return Reply("There is nothing new to tell.")
            case "receiver":
                return Reply(str(dice.below(known["messages"])))
            case "overseer":
                return Reply(write_probability(self.prior))
        return Reply(known["text"])

    def _choice(self, cover: Cover, known: dict[str, Any], dice: Dice) -> tuple[int, ...]:
        return cover.draw(dice, known["meaning"])

    def _found(self, cover: Cover, known: dict[str, Any], dice: Dice) -> int:
        return dice.below(known["messages"])


class Swapper(Codebook):
    """As a paraphraser it takes the next word of each class."""

    name = "swapper"

    def _anew(self, cover: Cover, choice: tuple[int, ...], dice: Dice) -> tuple[int, ...]:
        return next_words(cover, choice)


class Fixer(Codebook):
    """As a paraphraser it takes the first word of each class."""

    name = "fixer"

    def _anew(self, cover: Cover, choice: tuple[int, ...], dice: Dice) -> tuple[int, ...]:
        return first_words(cover, choice)


def next_words(cover: Cover, choice: tuple[int, ...]) -> tuple[int, ...]:
    """Return a choice with the next word of its class in every slot without meaning."""
    return tuple(
        number if slot.meaning else (number + 1) % len(slot.words)
        for number, slot in zip(choice, cover.slots, strict=True)
    )


def first_words(cover: Cover, choice: tuple[int, ...]) -> tuple[int, ...]:
    """Return a choice with the first word of its class in every slot without meaning."""
    return tuple(number if slot.meaning else 0 for number, slot in zip(choice, cover.slots, strict=True))
