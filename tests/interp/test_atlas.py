"""The atlas on a model whose mechanisms are written down, and on nulls."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from palaestra.interp.atlas import storage
from palaestra.interp.atlas.causal import dissociate
from palaestra.interp.atlas.clustering import group
from palaestra.interp.atlas.describe import describe, log_odds
from palaestra.interp.atlas.examine import SEEN, at_random, by_hand, circuits, grammar, nearest, shuffled
from palaestra.interp.atlas.locate import locate
from palaestra.interp.atlas.page import write_page
from palaestra.interp.atlas.planted import FAMILY, KNOWN, LEAVES, UNKNOWN
from palaestra.interp.atlas.profiles import BEFORE, batches, gradient_profiles, margin, reference, survey
from palaestra.interp.atlas.run import named
from palaestra.interp.atlas.space import counted, fit_space
from palaestra.interp.atlas.tokens import Texts, by_induction, choose, spread
from palaestra.interp.atlas.tree import Settings, grow
from palaestra.interp.errors import InterpError

SETTINGS = Settings(most_groups=5, deepest=3)


@pytest.fixture(scope="module")
def words():
    return grammar()


@pytest.fixture(scope="module")
def opened(words):
    return by_hand(words)


@pytest.fixture(scope="module")
def planted(words, opened):
    texts, asked, vocabulary = words.asked(300, 1, vocabularies=SEEN)
    tokens, counts = choose(opened, texts, count=300, order=2)
    return tokens, asked[tokens.row], vocabulary[tokens.row], counts


@pytest.fixture(scope="module")
def tree(opened, planted):
    found = grow(opened, planted[0], SETTINGS)
    describe(opened, found)
    return found


@pytest.mark.slow
def test_leaves_are_mechanisms_where_a_bag_of_words_sees_only_vocabularies(words, planted, tree):
    from palaestra.interp.atlas.clustering import fit

    tokens, leaf, vocabulary, _ = planted
    assert adjusted_rand_score(leaf, tree.leaves()) >= 0.9
    assert abs(adjusted_rand_score(vocabulary, tree.leaves())) < 0.05
    bags = counted(tokens, np.arange(words.size))
    assert abs(adjusted_rand_score(leaf, fit(bags, len(KNOWN), 0)[0])) < 0.05
    assert adjusted_rand_score(vocabulary, fit(bags, len(SEEN), 0)[0]) > 0.9


@pytest.mark.slow
def test_families_are_nodes_above_their_members(planted, tree):
    family = np.array(FAMILY)[planted[1]]
    for number in range(4):
        assert nearest(tree, family == number) >= 0.95


@pytest.mark.slow
def test_ablated_components_are_the_planted_ones(planted, tree):
    found = circuits(tree, planted[1])
    assert found["precision"] >= 0.8
    assert found["recall"] >= 0.9


@pytest.mark.slow
def test_new_tokens_find_their_leaf_and_an_unknown_mechanism_belongs_nowhere(words, opened, planted, tree):
    majority = {one.name: np.bincount(planted[1][one.members]).argmax() for one in tree.root.walk()}
    texts, asked, _ = words.asked(60, 77, vocabularies=SEEN)
    new, _ = choose(opened, texts, count=60, order=2)
    same = locate(opened, tree, new)
    right = [
        one in same.leaves and majority[one] == truth for one, truth in zip(same.nodes, asked[new.row], strict=True)
    ]
    assert np.mean(right) > 0.8
    assert same.nowhere < 0.2
    assert same.verdict().startswith("in the tree")
    texts, _, _ = words.asked(40, 78, vocabularies=SEEN, leaves=(UNKNOWN,))
    new, _ = choose(opened, texts, count=40, order=2)
    other = locate(opened, tree, new)
    assert other.nowhere > 0.9
    assert other.verdict().startswith("nowhere")


@pytest.mark.slow
def test_shuffled_profiles_and_random_weights_are_not_divided(words, tree):
    assert shuffled(tree, SETTINGS)["groups"] == 1
    model = at_random(words)
    texts, _, _ = words.asked(120, 1, vocabularies=SEEN)
    tokens, _ = choose(model, texts, count=120, order=2, most_loss=float("inf"))
    found = grow(model, tokens, SETTINGS)
    assert not found.root.children
    assert "not divided" in found.root.why or "distinct" in found.root.why


@pytest.mark.slow
def test_a_split_without_a_mechanism_is_not_causal(opened, planted):
    """Tokens of one mechanism, divided by chance: no components of one half are not as much the other's."""
    tokens, leaf, _, _ = planted
    mine = tokens[leaf == LEAVES.index("A1")]
    against = reference(opened, mine)
    profiles = gradient_profiles(opened, mine, against)
    labels = np.arange(len(mine)) % 2
    assert dissociate(opened, mine, profiles, against, labels).merged.max() == 0
    both = tokens[np.isin(leaf, [LEAVES.index("A1"), LEAVES.index("A2")])]
    which = (leaf[np.isin(leaf, [0, 1])] == 1).astype(np.int64)
    against = reference(opened, both)
    found = dissociate(opened, both, gradient_profiles(opened, both, against), against, which)
    assert found.distinct[0, 1]
    assert found.sets == (("L0.H0",), ("L0.H1",))


@pytest.mark.slow
def test_what_words_explain_is_taken_off(planted, tree):
    """Profiles that are a function of the answer alone leave nothing to divide; without the removal they do."""
    tokens = planted[0]
    generator = np.random.default_rng(0)
    table = generator.normal(size=(tokens.answer.max() + 1, 40)) * 3
    side = (np.arange(len(table)) % 2)[:, None] * np.ones(40) * 4
    values = (table * 0.2 + side + 1)[tokens.answer] + generator.normal(size=(len(tokens), 40)) * 0.3
    space, features = fit_space(values.astype(np.float32), tokens)
    assert space.explained > 0.5
    assert group(features, space, most=3).groups == 1
    space, features = fit_space(values.astype(np.float32), tokens, lexical=False)
    assert group(features, space, most=3).groups == 2


def test_direct_contributions_add_up_to_the_margin(opened, words):
    rows = [one.numpy() for one in words.sentences(3, 5).ids]
    found = survey(opened, rows)
    logits = opened(torch.from_numpy(np.stack(rows)))
    for place in (4, 17):
        at = torch.full((3,), place)
        answers = torch.tensor([int(row[place + 1]) for row in rows])
        np.testing.assert_allclose(
            found.direct[:, place].sum(-1), margin(logits, at, answers).numpy(), rtol=1e-3, atol=1e-3
        )


@pytest.mark.slow
def test_a_profile_vanishes_for_a_group_of_one_at_the_prediction(opened, planted):
    """With a token as its own reference nothing differs at the place of prediction: the zoom cancels what is shared."""
    one = planted[0][np.array([3])]
    profiles = gradient_profiles(opened, one, reference(opened, one))
    columns = [at for at, name in enumerate(profiles.names) if not name.endswith(BEFORE) and ".gain" not in name]
    assert np.abs(profiles.values[:, columns]).max() < 1e-3
    other = gradient_profiles(opened, one, reference(opened, planted[0]))
    assert np.abs(other.values[:, columns]).max() > 1


@pytest.mark.slow
def test_batches_do_not_matter(opened, planted):
    few = planted[0][np.arange(7)]
    against = reference(opened, few, batch=3)
    a = gradient_profiles(opened, few, against, batch=2)
    b = gradient_profiles(opened, few, against, batch=7)
    np.testing.assert_allclose(a.values, b.values, rtol=1e-3, atol=1e-3)
    assert sorted(int(one) for batch in batches(opened, few, 3) for one in batch.index) == list(range(7))


def test_induction_is_the_same_tokens_before_the_same_token():
    row = np.array([1, 2, 3, 9, 1, 2, 3, 4, 2, 3, 9])
    assert np.flatnonzero(by_induction(row, 1)).tolist() == [4, 5, 8, 9]
    assert np.flatnonzero(by_induction(row, 2)).tolist() == [5, 9]
    assert not by_induction(np.array([5, 5]), 1).any()


def test_rare_kinds_are_chosen_and_weighted():
    generator = np.random.default_rng(0)
    many, few = generator.normal(size=(2000, 5)) * 0.1 + [5, 0, 0, 0, 0], np.full((20, 5), -3.0)
    index, weight = spread(np.concatenate([many, few]).astype(np.float32), 200, 0)
    assert len(index) == 200
    assert (index >= 2000).sum() >= 8
    assert weight.sum() == pytest.approx(2020, rel=0.01)


def test_log_odds_rank_what_one_side_has():
    found = [{("0", 1), ("0", 2)}] * 10 + [{("0", 2)}] * 10
    labels = np.arange(20) < 10
    ranked = log_odds(found, labels)
    assert ranked[0][0] == ("0", 1)
    assert ranked[0][1] > 3
    assert abs(ranked[1][1]) < 0.1


@pytest.mark.slow
def test_descriptions_beat_bags_of_words_on_tokens_they_were_not_written_from(tree):
    for node in tree.root.walk():
        if node.name != "0":
            said = node.description
            assert said["auroc"] > 0.85
            assert said["auroc"] > said["auroc_bag_of_words"] + 0.2


@pytest.mark.slow
def test_round_trip_and_page(tmp_path, opened, planted, tree):
    about = {
        "model": "<b>model</b>",
        "text": "planted",
        "most_loss": 0.5,
        "counts": planted[3],
        "cost": {"seconds": 1.0, "direct_tokens_per_second": 1.0, "profiles_per_second": 1.0},
    }
    storage.save(tmp_path, tree, about)
    again, data = storage.load(tmp_path)
    assert [one.name for one in again.root.walk()] == [one.name for one in tree.root.walk()]
    np.testing.assert_array_equal(again.leaves(), tree.leaves())
    some = planted[0][np.arange(12)]
    assert locate(opened, again, some).nodes == locate(opened, tree, some).nodes
    assert data["tree"]["children"]
    page = write_page(tmp_path, opened, again, about).read_text()
    assert "<b>model</b>" not in page
    assert "&lt;b&gt;model" in page
    assert "<script" not in page
    json.dumps(data)
    (tmp_path / "tree.json").write_text('{"format": 99}')
    with pytest.raises(InterpError, match="format 99"):
        storage.load(tmp_path)


def test_work_is_taken_up_again_and_not_with_other_options(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"x": torch.ones(2)}

    for key in ("a", "a", "b"):
        storage.Work(tmp_path, key).tensors("a", make)
    assert len(made) == 2
    next(iter(tmp_path.glob("*.safetensors"))).write_bytes(b"cut")
    for key in ("a", "b"):
        storage.Work(tmp_path, key).tensors("a", make)
    assert len(made) == 3


def test_of_many_files_a_page_names_the_first():
    paths = [Path(f"g-{number}.jsonl") for number in range(5000)]
    assert named(paths[:2]) == "g-0.jsonl, g-1.jsonl"
    assert named(paths).endswith("g-7.jsonl and 4992 more")
    assert named([]) == ""


def test_text_that_is_not_predicted_says_so(opened, words):
    rows = tuple(np.array([0, 1, 2, 3, 4]) for _ in range(2))
    with pytest.raises(InterpError, match="raise the limit"):
        choose(opened, Texts(rows, ("x", "x")), count=10, most_loss=1e-9)
    with pytest.raises(InterpError, match="no text"):
        Texts((), ())
