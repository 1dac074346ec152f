"""Options: typed, converted where it is unambiguous, and refused in one sentence where not."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs.errors import OptionError, UnknownName
from palaestra.envs.options import NoOptions, explained, options_to_json, parse_options


@dataclass(frozen=True)
class Nested:
    depth: int = 1

    def __post_init__(self) -> None:
        if self.depth > 9:
            raise ValueError("depth is more than 9")


@dataclass(frozen=True)
class All:
    size: int = 9
    komi: float = 7.5
    open: bool = False
    name: str = "x"
    view: Literal["grid", "terse", 3] = "grid"
    seed: int | None = None
    label: str | None = None
    heaps: tuple[int, ...] = (1, 2)
    pair: tuple[str, float] = ("a", 0.5)
    table: dict[str, int] = field(default_factory=dict)
    nested: Nested = Nested()

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size is {self.size}, but a board has at least 1 row")


GOOD: list[tuple[str, Any, Any]] = [
    ("size", 5, 5),
    ("size", "5", 5),
    ("size", 5.0, 5),
    ("size", "-0", None),
    ("komi", "6.5", 6.5),
    ("komi", 6, 6.0),
    ("open", "true", True),
    ("open", "No", False),
    ("open", "1", True),
    ("open", True, True),
    ("name", "5", "5"),
    ("view", "terse", "terse"),
    ("view", "3", 3),
    ("seed", None, None),
    ("seed", "none", None),
    ("seed", "7", 7),
    ("label", "none", "none"),
    ("heaps", "3,4, 5", (3, 4, 5)),
    ("heaps", [3], (3,)),
    ("heaps", "", ()),
    ("heaps", [], ()),
    ("pair", "b,1", ("b", 1.0)),
    ("table", {"a": 1}, {"a": 1}),
    ("nested", Nested(3), Nested(3)),
    ("nested", {"depth": "4"}, Nested(4)),
]


@pytest.mark.parametrize(("name", "given_value", "value"), GOOD)
def test_values_are_converted_where_that_is_unambiguous(name: str, given_value: Any, value: Any) -> None:
    if name == "size" and value is None:  # zero, in any spelling, is out of range
        with pytest.raises(OptionError, match="at least 1 row"):
            parse_options(All, {name: given_value}, "go")
        return
    found = getattr(parse_options(All, {name: given_value}, "go"), name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("size", value) for value in ("", "five", "5.5", 5.5, True, None, [5], float("inf"), 1e400)],
        *[("komi", value) for value in ("", "x", None, False, "nan", "inf", float("-inf"))],
        *[("open", value) for value in ("", "maybe", 2, None)],
        *[("name", value) for value in (5, None, b"x")],
        *[("view", value) for value in ("Grid", "", 4, None, True)],
        *[("seed", value) for value in ("x", 1.5)],
        *[("heaps", value) for value in ("1,x", 3, None, [1.5], "1,,2")],
        *[("pair", value) for value in ("a", "a,b", ["a", 1, 2])],
        *[("table", value) for value in ("abc", 3)],
    ],
)
def test_values_that_do_not_fit_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=rf"^option '{name}' of go is .*, expected .*(\.|\?)$"):
        parse_options(All, {name: value}, "go")


def test_range_checks_and_nested_options_say_where() -> None:
    with pytest.raises(OptionError, match=r"^options of go: size is 0, but a board has at least 1 row$"):
        parse_options(All, {"size": 0}, "go")
    with pytest.raises(OptionError, match=r"^option 'nested' of go: options of Nested: depth is more than 9$"):
        parse_options(All, {"nested": {"depth": 10}}, "go")
    with pytest.raises(UnknownName, match=r"unknown option of Nested 'dept'. Did you mean 'depth'"):
        parse_options(All, {"nested": {"dept": 10}}, "go")


def test_what_options_mean_is_said_of_inherited_ones_too() -> None:
    @dataclass(frozen=True)
    class Board:
        """A board.

        Attributes:
            rows, columns: How
                many: at least 1.
            hidden: Nobody asked.
        """

        rows: int = 3
        columns: int = 3

    @dataclass(frozen=True)
    class Larger(Board):
        """Attributes:
        rows: Now more.
        depth: Layers.
        """

        depth: int = 2

    assert explained(Larger) == {"rows": "Now more.", "columns": "How many: at least 1.", "depth": "Layers."}
    assert explained(NoOptions) == {}


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(
        UnknownName, match=r"unknown option of go 'sise'. Did you mean 'size'. go has the options size"
    ) as e:
        parse_options(All, {"sise": 5}, "go")
    assert e.value.nearest == "size"
    with pytest.raises(UnknownName, match=r"unknown option of nim 'size'. nim has no options"):
        parse_options(NoOptions, {"size": 5}, "nim")


@given(
    st.builds(
        All,
        size=st.integers(1, 10**20),
        komi=st.floats(allow_nan=False, allow_infinity=False),
        open=st.booleans(),
        name=st.text(),
        view=st.sampled_from(["grid", "terse", 3]),
        seed=st.none() | st.integers(),
        label=st.none() | st.text(),
        heaps=st.lists(st.integers()).map(tuple),
        pair=st.tuples(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
        table=st.dictionaries(st.text(), st.integers()),
        nested=st.builds(Nested, st.integers(0, 9)),
    )
)
def test_options_come_back_from_json(options: All) -> None:
    assert parse_options(All, json.loads(json.dumps(options_to_json(options))), "go") == options
