"""Rows for tests: a strategy that draws batches of episodes with several seats, segments and failed replies."""

import numpy as np
from hypothesis import strategies as st

from palaestra.envs.episode import STATUSES
from palaestra.trainers.rows import Row


def make_row(
    length: int = 6,
    *,
    seed: int = 0,
    game: str = "kuhn_poker",
    role: str = "first",
    group: str = "g",
    episode_id: str = "e",
    player: int = 0,
    segment: int = 0,
    return_: float | None = 1.0,
    statuses: tuple[int, ...] = (0,),
) -> Row:
    """Return a row whose replies, one a turn, have the given statuses; about half of the tokens are sampled."""
    random = np.random.default_rng(seed)
    sampled = random.random(length) < 0.5
    turns = np.arange(length) * len(statuses) // max(length, 1)
    return Row(
        game=game,
        role=role,
        group=group,
        episode_id=episode_id,
        player=player,
        segment=segment,
        policy="p@1",
        return_=return_,
        tokens=random.integers(0, 50, length).astype(np.int32),
        sampled=sampled,
        logprobs=np.where(sampled, -random.random(length), 0).astype(np.float32),
        turns=turns.astype(np.int32),
        status=np.where(sampled, np.array(statuses)[turns], 0).astype(np.int8),
    )


@st.composite
def batches(draw: st.DrawFn, *, seats: int = 2, finished: bool = False) -> list[Row]:
    """Draw a batch of up to 6 episodes, in random order of rows."""
    rows = []
    values = st.floats(-10, 10, allow_nan=False, width=32)
    for number in range(draw(st.integers(1, 6))):
        game = draw(st.sampled_from(["kuhn_poker", "negotiation"]))
        group = draw(st.sampled_from(["a", "b"]))
        cut = not finished and draw(st.booleans()) and draw(st.booleans())
        for player in range(draw(st.integers(1, seats))):
            value = None if cut else draw(values)
            for segment in range(draw(st.integers(1, 2))):
                rows.append(
                    make_row(
                        draw(st.integers(1, 12)),
                        seed=draw(st.integers(0, 999)),
                        game=game,
                        role=("first", "second")[player],
                        group=group,
                        episode_id=f"e{number}",
                        player=player,
                        segment=segment,
                        return_=value,
                        statuses=tuple(draw(st.lists(st.integers(0, len(STATUSES) - 1), min_size=1, max_size=3))),
                    )
                )
    return draw(st.permutations(rows))
