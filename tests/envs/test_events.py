"""Events: who may see them, how they are rendered, and their JSON form."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs.events import Event, render
from palaestra.envs.parts import Blob, Tokens, part_from_json

KINDS = ("prompt", "board", "move", "message", "thought", "admin")
events = st.builds(
    Event,
    st.sampled_from(KINDS),
    st.text() | st.builds(Blob, st.binary()) | st.just(Tokens((1, 2), "v")),
    st.none() | st.integers(0, 3),
    st.none() | st.lists(st.integers(0, 3)).map(tuple),
)


def test_only_the_audience_may_see_an_event_and_everybody_if_none_is_named() -> None:
    assert [Event("move", "x", to=(1, 2)).visible_to(player) for player in range(4)] == [False, True, True, False]
    assert all(Event("move", "x").visible_to(player) for player in range(4))
    assert not any(Event("move", "x", to=()).visible_to(player) for player in range(4))


@given(events)
def test_an_event_comes_back_from_json(event: Event) -> None:
    data = json.loads(json.dumps(event.to_json()))
    audience = None if data["to"] is None else tuple(data["to"])
    assert Event(data["kind"], part_from_json(data["content"]), data["source"], audience) == event


@given(st.text(), st.sampled_from([("message", "says"), ("thought", "thinks")]))
def test_every_line_of_a_player_begins_with_its_mark_and_no_word_is_lost(text: str, kind: tuple[str, str]) -> None:
    mark = f"Player 3 {kind[1]}: "
    lines = render([Event(kind[0], text, source=2)]).splitlines()  # type: ignore[arg-type]
    assert lines
    assert all(line.startswith(mark) for line in lines)
    assert [line.removeprefix(mark) for line in lines] == (text.splitlines() or [""])


def test_the_voice_of_the_game_is_not_marked_even_when_it_speaks_of_a_player() -> None:
    shown = render([Event("prompt", "Rules."), Event("move", "X takes 5.", source=0), Event("message", "hi", source=1)])
    assert shown == "Rules.\nX takes 5.\nPlayer 2 says: hi"
