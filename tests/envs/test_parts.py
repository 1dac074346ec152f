"""Parts: one JSON form each, that comes back equal; what is no part is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs.parts import (
    Array,
    Blob,
    Distribution,
    Part,
    Tokens,
    part_from_json,
    part_kind,
    part_text,
    part_to_json,
)

numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
arrays = st.lists(numbers, max_size=6).map(lambda values: Array(tuple(values), (len(values),)))
distributions = st.lists(st.floats(0.01, 1), min_size=1, max_size=6).map(
    lambda weights: Distribution((*(math.log(weight / sum(weights)) for weight in weights), -math.inf))
)
parts = (
    st.text()
    | st.builds(Tokens, st.lists(st.integers(0, 10**6)).map(tuple), st.text())
    | st.builds(Blob, st.binary(), st.text())
    | arrays
    | distributions
)


@given(parts)
def test_a_part_comes_back_from_strict_json(part: Part) -> None:
    again = part_from_json(json.loads(json.dumps(part_to_json(part), allow_nan=False)))
    assert again == part
    assert part_kind(again) == part_kind(part)
    assert repr(again) == repr(part), "1 and 1.0 are equal, but not the same record"


@given(parts)
def test_every_part_can_be_read_as_text(part: Part) -> None:
    assert isinstance(part_text(part), str)


@pytest.mark.parametrize(
    "data",
    [
        None,
        5,
        [],
        {},
        {"kind": "code"},
        {"kind": "tokens"},
        {"kind": "tokens", "ids": 5, "vocabulary": ""},
        {"kind": "blob", "data": "***", "media": "x"},
        {"kind": "array", "values": [1], "shape": [2]},
        {"kind": "array", "values": ["nan"], "shape": [1]},
        {"kind": "array", "values": ["__import__('os')"], "shape": [1]},
        {"kind": "array", "values": ["1.5"], "shape": [1]},
        {"kind": "array", "values": [True], "shape": [1]},
        {"kind": "distribution", "logprobs": [0.0, 0.0]},
        {"kind": "distribution", "logprobs": [1e9]},
        {"kind": "distribution", "logprobs": ["inf"]},
    ],
)
def test_what_is_no_part_is_a_value_error(data: Any) -> None:
    with pytest.raises(ValueError):
        part_from_json(data)


def test_parts_are_checked_when_they_are_made() -> None:
    with pytest.raises(ValueError, match="needs 6 values, found 5"):
        Array((1, 2, 3, 4, 5), (2, 3))
    with pytest.raises(ValueError, match="NaN"):
        Array((math.nan,), (1,))
    with pytest.raises(ValueError, match="expected 1; normalise"):
        Distribution((-1.0, -1.0))
    with pytest.raises(ValueError, match="expected 1"):
        Distribution((math.nan,))
    assert Distribution((0.0, -math.inf)).logprobs == (0.0, -math.inf)
