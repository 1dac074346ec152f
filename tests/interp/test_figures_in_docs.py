"""The figures of docs/interp*.md are those of results/interp/*.json, which the named commands wrote."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def page(name: str) -> str:
    return " ".join((ROOT / "docs" / name).read_text(encoding="utf-8").split())


TEXT = page("interp.md")
DIFF = page("interp-diff.md")
ATLAS = page("interp-atlas.md")
REASONING = page("interp-reasoning.md")
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def stored(name: str):
    return json.loads((ROOT / "results" / "interp" / f"{name}.json").read_text(encoding="utf-8"))


def spelled(value: float, digits: int = 2) -> str:
    return f"{value + 0.0:.{digits}f}".replace("-0.00", "0.00").replace("-", "−")


def span(mean: float, low: float, high: float) -> str:
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def test_circuit_of_indirect_objects():
    found = stored("circuit-ioi-smollm2")
    plan = {"model": "smollm2", "task": "ioi", "pairs": 32, "seed": 0, "random": 3, "steps": 5, "by": "magnitude"}
    assert found["plan"] == plan
    points = {round(one["share"], 3): one for one in found["curve"]["points"]}
    shown = [points[share] for share in (0.001, 0.01, 0.1)]
    kept = [span(one["faithfulness"], one["low"], one["high"]) for one in shown]
    assert f"of {found['edges']:,} edges 0.1 % keep {kept[0]} of the logit difference, 1 % keep {kept[1]}" in TEXT
    assert f"and 10 % keep {kept[2]}" in TEXT
    assert (
        f"| 1 % of {found['edges']:,} edges keep {kept[1]} of the logit difference | random circuits of that" in README
    )
    worst, random = ([spelled(one[key]) for one in shown] for key in ("worst", "random"))
    assert f"in the worst pair {worst[0]}, {worst[1]} and {worst[2]}. Random" in TEXT
    assert f"keep {random[0]}, {random[1]} and {random[2]}." in TEXT
    curve = found["curve"]
    assert f"is {curve['cmd']:.3f} on a linear axis of edges, {curve['cmd_log']:.3f} on a logarithmic one" in TEXT
    assert f"of random circuits {curve['random_cmd']:.3f} and {curve['random_cmd_log']:.3f}" in TEXT
    stable = found["stability"]
    assert f"The best {stable['count']:,} edges" in TEXT
    assert f"index of {span(stable['mean'], stable['low'], stable['high'])}" in TEXT


def test_diff_of_a_backdoor():
    found = stored("diff-backdoor")
    for command in found["commands"]:
        assert command in DIFF
    assert (found["before"], found["after"]) == ({"shown": 0, "elsewhere": 0}, {"shown": 1, "elsewhere": 0})
    told = found["switching"]["metric"]
    assert f"from {spelled(told['before'], 1)} to {spelled(told['after'], 1)} logits" in DIFF
    first, second = (told["modules"][name] for name in ("L2.down", "L2.gate"))
    assert f"is worth {span(first['effect'], first['low'], first['high'])} of it" in DIFF
    assert f"`L2.gate` {span(second['effect'], second['low'], second['high'])}" in DIFF
    edges = found["edges"]
    counts = ", ".join(f"{count} {kind}" for kind, count in edges["counts"].items())
    assert f"{counts} of {edges['edges']}" in DIFF
    runs = {(one["circuit"], one["run_in"]): one for one in edges["cross"]}
    kept = [runs[when, when] for when in ("after", "before")]
    after, before = (span(one["faithfulness"], one["low"], one["high"]) for one in kept)
    assert f"of the trained model's {after} is kept, of the base's {before}" in DIFF
    assert [spelled(one["random"]) for one in kept] == ["0.00", "0.00"]
    assert found["lens"]["first"][-1]["point"] == "resid3"
    assert found["lens"]["first"][-1]["tokens"][0]["token"] == "T"
    told = found["suppression"]
    assert (told["verdict"], told["entrance"]) == ("unclear", "resid2")
    at = told["points"].index("resid2")
    assert f"restore {span(*told['restored'][at])} of what training took" in DIFF
    assert f"another prompt's {span(*told['control'][at])}." in DIFF
    apart, changed = told["before"] - told["reference"], told["before"] - told["after"]
    assert f"differ by {apart:.1f} logits in the base, training changed {changed:.1f}, so" in DIFF
    assert found["crosscoder"]["counts"]["new"] == 0
    assert sum(found["crosscoder"]["counts"].values()) == 512
    assert f"{found['crosscoder']['tokens']:,} tokens" in DIFF


def test_planted_changes_are_found():
    arm = stored("diff-planted")["arms"]["1"]
    first = arm["first"]
    told = first["told"]
    assert f"in {told['first']} of 40 organisms ({span(told['mean'], told['low'], told['high'])}" in DIFF
    assert f"in {first['blind']['first']} if nothing is" in DIFF
    assert (
        f"puts it first in {told['first']} of 40 organisms | the norm of the change in {first['norm']['first']};"
        in README
    )
    assert f"the norm of the change in {first['norm']['first']}, the size of" in DIFF
    assert f"activations in {first['activation']['first']}." in DIFF
    assert stored("diff-planted")["passed_over"] == 5
    assert "Five organisms more were passed over" in DIFF


def test_relays_of_a_receiver_that_goes_by_thoughts_and_one_that_does_not():
    found = stored("relays")
    assert found["commands"] == ["palaestra interp relays tiny:relay-uses tiny:relay-half tiny:relay-ignores"]
    assert found["commands"][0] in (ROOT / "docs" / "interp-reasoning.md").read_text(encoding="utf-8")
    names = {
        "goes by the thought": "tiny:relay-uses",
        "does so in half of the items": "tiny:relay-half",
        "works it out itself": "tiny:relay-ignores",
    }
    for name, receiver in names.items():
        cell = found["cells"][f"reference>{receiver}"]
        said, within = cell["behaviour"], cell["inside"]
        assert cell["items"] == 100
        shares = " | ".join(spelled(said[key]["mean"]) for key in ("accuracy", "flips", "copied"))
        effect = span(*(within["effect"][key] for key in ("mean", "low", "high")))
        readers = ", ".join(f"`{one}`" for one in within["readers"]) or "none"
        row = f"| {name} | {shares} | {effect} of {within['clean']:.2f} | {within['use']:.2f} | "
        assert f"{row}{spelled(within['blind']['mean'])} | {readers} |" in REASONING
    within = found["cells"]["reference>tiny:relay-uses"]["inside"]
    first = span(*(within["reading"]["L0.H1"][key] for key in ("mean", "low", "high")))
    assert f"stands for {first} nats" in REASONING
    assert f"another token is {max(within['null'].values()):.2f}." in REASONING


def test_what_turns_a_thought_and_what_ends_it():
    found = stored("reasoning")
    search, straight = found["search"], found["straight"]
    for command in found["commands"]:
        assert command in REASONING
    told = search["replies"]
    assert (
        f"solves {100 * told['accuracy']['mean']:.0f} % of {search['plan']['problems']} problems, in "
        f"{told['tokens']['mean']:.1f} tokens with {told['switches']['mean']:.2f} turns each" in REASONING
    )

    def interval(one: dict) -> str:
        return span(one["mean"], one["low"], one["high"])

    for way, sentence in (("stop", "takes {} of the log-odds, a random"), ("switch", "takes {},")):
        one = search["components"][way]
        assert f"`{one['order'][0]}`" in REASONING
        assert sentence.format(interval(one["necessity"][0])) in REASONING
        assert f"of the same kind {interval(one['necessity'][0]['null'])}" in REASONING or (
            f"of its kind {interval(one['necessity'][0]['null'])}" in REASONING
        )
        directions = search["directions"][way]
        layer = directions["layers"][directions["chosen"]]
        null = layer["added_null"]
        assert f"at `{directions['chosen']}`" in REASONING
        assert interval(layer["added"]) in REASONING
        assert f"{spelled(null['low'])} to {spelled(null['high'])}" in REASONING
    doses = {way: one["0.5"] for way, one in search["doses"]["contrasts"].items()}
    stop, switch = doses["stop"], doses["switch"]
    assert f"{spelled(stop['tokens']['difference'], 1)} tokens and {spelled(stop['switches']['difference'])} turns" in (
        REASONING
    )
    assert stop["switches"]["p"] == pytest.approx(1 / (1 + search["plan"]["random_doses"]))
    assert f"theirs (p {stop['accuracy']['p']:.2f})" in REASONING
    assert f"{spelled(switch['switches']['difference'])} (p {switch['switches']['p']:.2f})" in REASONING
    assert switch["accuracy"]["p"] <= 0.05
    assert straight["points"]["switch"] == 0
    assert f"turns 0 times in {straight['plan']['problems']} replies" in REASONING


def test_the_atlas_of_a_model_written_by_hand():
    found = stored("atlas-check")
    (command,) = found["commands"]
    (one,) = found["models"]
    (null,) = found["random_weights"]
    assert command in ATLAS
    assert f"{one['tokens']} tokens) the {one['leaves']} leaves are the {one['mechanisms']} mechanisms" in ATLAS
    bag, hidden, direct = (
        spelled(one["baselines"][name]["mechanism"]) for name in ("bag_of_words", "hidden_state", "direct")
    )
    assert f"index {spelled(one['ari_mechanism'])}, of a bag of words {bag}, of final hidden states {hidden}" in ATLAS
    plain = spelled(one["baselines"]["profiles_without_tests"]["mechanism"])
    assert f"direct contributions reach {direct} and gradient profiles without any test {plain}" in ATLAS
    precision, recall = (spelled(one["circuits"][name]) for name in ("precision", "recall"))
    assert f"(precision {precision}, recall {recall})" in ATLAS
    same, other, unknown = (
        f"{100 * one['located'][name]['nowhere']:.0f} %" for name in ("same", "other_vocabulary", "unknown_mechanism")
    )
    assert f"same kind {same} are nowhere" in ATLAS
    assert f"has not seen {other}, of a mechanism that it has not seen {unknown}" in ATLAS
    assert f"make {one['null_shuffled']['groups']} group, and random weights {null['leaves']} leaf" in ATLAS


def test_what_an_atlas_costs():
    found = stored("atlas-cost")
    for command in found["commands"]:
        assert command in ATLAS
    for model, one in found["models"].items():
        counts = one["counts"]
        row = f"| `{model}` | {counts['read']:,} | {counts['open']:,} | 400 | {one['cost']['seconds']:.0f} | "
        assert f"{row}{one['cpu_seconds']} |" in ATLAS
        assert one["leaves"] == 1
    assert "have a stability of 0.56" in found["models"]["tiny:kuhn"]["why"]
    assert "none are tighter than the nulls" in found["models"]["smollm2"]["why"]


def test_what_many_adapters_have_in_common():
    found = stored("diff-many")
    for command in found["commands"]:
        assert command in DIFF
    told = found["prediction"]
    assert f"is told of {told['right']} of {told['of']} by the mean profile" in DIFF
    assert f"with labels shuffled of {100 * told['chance']:.0f} % (p {told['p']:.3f})" in DIFF
    ranked = {
        name: sorted(one["effects"].items(), key=lambda pair: -pair[1]) for name, one in found["adapters"].items()
    }
    games = [order for name, order in ranked.items() if found["adapters"][name]["kind"] == "negotiation"]
    taught = [order for name, order in ranked.items() if found["adapters"][name]["kind"] == "taught backdoor"]
    assert len(games) == len(taught) == 5
    for (first, most), (_, second), *_ in games:
        assert first == "L2.down"
        assert most > 20 * second
    assert all(order[0][0].startswith("L0.") for order in taught)
