"""Patterns in linear time: they mean what they mean to `re`, and none takes for ever."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.agents.patterns import LinearPattern

_signs = st.sampled_from(["a", "b", "A", ".", "\\w", "\\s", "[ab]", "[^a]", "[a-c0]", "\\d", "\\.", "é"])
_marks = st.sampled_from(["^", "$", "\\b", "\\B", "\\A", "\\Z", ""])
_counts = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{,2}", "{2,}", "*?", "+?"])
patterns = st.recursive(
    _signs | _marks,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map("".join)
        | st.lists(inner, min_size=1, max_size=3).map("|".join).map("({})".format)
        | st.builds("(?:{}){}".format, inner, _counts)
    ),
    max_leaves=6,
).filter(lambda pattern: len(pattern) <= 60)


@given(st.sampled_from(["", "(?s)", "(?m)"]), patterns, st.text("abAB \n0.é", min_size=1, max_size=8))
def test_a_pattern_is_found_where_re_finds_it(flags: str, pattern: str, text: str) -> None:
    assert LinearPattern(flags + pattern).found(text) == (re.search(flags + pattern, text, re.IGNORECASE) is not None)


@pytest.mark.parametrize(
    "pattern",
    ["((a+))+$", "(a|a)+$", "(a*)*b", "(a|aa)+$", "a*a*a*a*a*a*b", "(.*)*x", "(a?){90}a{90}$", "(a|b|ab)*c"],
)
def test_no_pattern_takes_for_ever(pattern: str) -> None:
    text = "a" * 4000 + "!"
    began = time.process_time()
    assert not LinearPattern(pattern).found(text)
    assert time.process_time() - began < 5  # re would still be at it in a thousand years


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "it is no pattern"),
        (r"(a)\1", "it has groupref"),
        ("(?=a)", "it has assert"),
        ("(?<!a)b", "it has assert not"),
        ("(?>a)", "it has atomic group"),
        ("a++", "it has possessive repeat"),
        ("(?-i:a)", "it has flags inside"),
        ("(?a)a", "asks for ASCII"),
        ("(a{100}){100}", "more than 1000 steps"),
        ("(){9999}", "repeats something 9999 times"),
        ("a" * 201, "has 201 characters"),
    ],
)
def test_what_cannot_be_bounded_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LinearPattern(pattern)
