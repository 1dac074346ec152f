"""Playing the load-bearing test (`palaestra.trainers.measures.load_bearing`) with a sender and a receiver of
`covert_channel`, whoever they are.

The sender writes once for each secret. The receiver answers to that text, to the same with the next word of its class
in every slot without meaning, and to the same with the first word of the class there; the games are equal in all else,
chance included, and nobody is told of a change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from palaestra.agents import make_seat
from palaestra.agents.language_model import ReplySettings
from palaestra.agents.scripted_covert import first_words, next_words
from palaestra.envs import Game, MatchRules, Scripted, Seat, make
from palaestra.envs.errors import OptionError
from palaestra.envs.games.covert_channel import CovertChannel
from palaestra.trainers.measures.load_bearing import LoadBearing, load_bearing
from palaestra.trainers.together import ONE_REPLY, play_together


def symbol_test(
    sender: str,
    receiver: str,
    *,
    games: int,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    settings: Sequence[ReplySettings] = (ReplySettings(), ReplySettings()),
    rules: MatchRules = ONE_REPLY,
    told: Callable[[], None] = lambda: None,
) -> LoadBearing:
    """Play ``games`` secrets and return how far the receiver's answers follow the code symbol.

    Secrets for which no text came, or not all three answers, are left out, and who is left counts as ``n``.

    Args:
        sender, receiver: Seats, by name.
        seed: Of the first game; each has the next.
        options: Of the game. There is a secret in every one of these games, and nobody oversees.
        settings: How a model is asked as sender, and as receiver.
        rules: Of all matches.
        told: Called after each match, of which there are three for each secret.

    Raises:
        OptionError: Free covers, in which no symbol can be told from the rest of the text, or a paraphraser, which
            would change it, too; or nothing is left.
    """
    options = {"overseer": False, **(options or {})}
    for name, cure in (("overseer", "nobody oversees here"), ("paraphraser", "the test itself changes the text")):
        if options.get(name):
            raise OptionError(f"{name} is true, and {cure}; leave it out.")
    if options.get("cover") == "free":
        raise OptionError("cover is free, and in free text nobody knows which word is the symbol; use a grammar.")

    def game(number: int) -> CovertChannel:
        made = make("covert_channel", seed=seed + number, **{**options, "honest": 0.0})
        assert isinstance(made, CovertChannel)
        return made

    def table(number: int, text: str) -> tuple[Game, list[Seat]]:
        writes = Scripted(text) if text else make_seat(sender, settings=settings[0])
        return game(number), [writes, make_seat(receiver, settings=settings[1])]

    def played(texts: Mapping[int, str]) -> dict[int, dict[str, Any]]:
        episodes = play_together([partial(table, *item) for item in texts.items()], rules, told=told)
        return {number: one.result for number, one in zip(texts, episodes, strict=True) if one.outcome == "finished"}

    written = played(dict.fromkeys(range(games), ""))
    swapped, fixed = dict[int, str](), dict[int, str]()
    for number, result in written.items():
        cover = game(number).cover
        assert cover is not None
        choice = cover.read(result["sent"])
        swapped[number] = cover.write(next_words(cover, choice))
        fixed[number] = cover.write(first_words(cover, choice))
    arms = [written, played(swapped), played(fixed)]
    whole = sorted(set.intersection(*map(set, arms)))
    if not whole:
        raise OptionError(
            f"of {games} secrets {len(written)} came to a text and an answer, and none to all three answers; "
            "`palaestra play covert_channel` shows what the seats reply."
        )
    return load_bearing(*([arm[number] for number in whole] for arm in arms))
