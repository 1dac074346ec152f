"""The tables of docs/interp-arithmetic.md are made of results/interp/arithmetic-deals.json, which the command wrote."""

import json
from pathlib import Path

from palaestra.interp.arithmetic.summary import markdown

ROOT = Path(__file__).parents[2]


def test_the_tables_are_those_of_the_file():
    found = json.loads((ROOT / "results" / "interp" / "arithmetic-deals.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs" / "interp-arithmetic.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- tables -->\n")[2].partition("<!-- end -->")[0]
    assert shown == markdown(found)


def test_what_the_page_says_of_the_example_is_in_the_file():
    found = json.loads((ROOT / "results" / "interp" / "arithmetic-deals.json").read_text(encoding="utf-8"))
    by_name = {one["name"]: one for one in found["sweeps"]}
    prices = by_name["cheaper-0-terse-asked"]
    assert prices["parts"]["L1.attention"]["direct"]["operation"] == "table of tens, units where tens are equal"
    for name, one in by_name.items():
        assert one["sum_error"] < 1e-4
        assert one["parts"]["L1.attention"]["direct"]["with_reverse"] < -0.9
        assert one["gradients"]["here"]["correlation"] < 0.6 < 0.9 < one["gradients"]["integrated"]["correlation"], name
        assert one["arms"]["adapter"]["ordered_parts"] > 0
        assert one["arms"]["base"]["ordered_parts"] == one["arms"]["random"]["ordered_parts"] == 0
    rows = prices["patching"]["rows"]
    assert rows["L0.H3"]["a"]["low"] > rows["L0.H3"]["b"]["high"]
    assert rows["L0.H1"]["b"]["low"] > rows["L0.H1"]["a"]["high"]
