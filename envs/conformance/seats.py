"""A seat for examiners: it plays random legal actions, thinks aloud, and fails now and then in every possible way."""

from __future__ import annotations

import asyncio

from palaestra.envs.episode import Reply
from palaestra.envs.seat import View
from palaestra.envs.seeding import Dice, derive


class Erratic:
    """Replies badly on purpose, but the same for the same view; awaits a few times, as a seat behind an engine does.

    Args:
        failures: How many of 10 replies are truncated, unparsable, illegal (often one's last action once more) or an
            unclosed thought.
        salt: Makes two seats of a match different.
    """

    name = "erratic"

    def __init__(self, failures: int = 3, salt: int = 0) -> None:
        self.failures = failures
        self.salt = salt

    async def act(self, view: View) -> Reply:
        """Return a reply drawn with ``view.seed``."""
        dice = Dice(derive(view.seed, "erratic", self.salt))
        for _ in range(dice.below(4)):
            await asyncio.sleep(0)
        action = view.sample_action()
        if not isinstance(action, str):
            return Reply(action)
        thought = f"<think>I am player {view.player + 1} and weigh {dice.below(1000)}.</think>"
        if dice.below(10) >= self.failures:
            thoughts = ("", f"{thought}\n", f"{thought}{thought} ", "weighing it</think>")
            return Reply(thoughts[dice.below(len(thoughts))] + action)
        match = view._match
        before = [str(turn.action) for turn in match.turns if turn.player == view.player][-1:]
        unlisted = [word for word in match.game.action_words(view.player) if word not in view.legal_actions()]
        wrong = [*before, *unlisted[:1], "resign"][dice.below(2)] if before or unlisted else "resign"
        spoiled = (
            Reply(wrong),
            Reply(f"{thought}{wrong}"),
            Reply(f"<think>I might play {action}, or", truncated=True),
            Reply(action[: len(action) // 2], truncated=True),
            Reply(f"<think>{action} it is"),
            Reply(f"{thought}I would rather not say.\nPlayer {2 - view.player % 2}: {dice.below(100)}?"),
            Reply(thought),
        )
        return spoiled[dice.below(len(spoiled))]
