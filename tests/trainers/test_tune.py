"""Ray Tune runs the same class: nested search spaces, checkpoints of our own form, and restoring from them."""

from pathlib import Path

import pytest
from ray import tune

from palaestra.trainers import checkpoint
from palaestra.trainers.algorithm import SelfPlay, SelfPlayConfig
from palaestra.trainers.config import ConfigError
from tests.trainers.run_kit import data, small


def test_a_configuration_may_hold_search_spaces_until_it_is_built():
    space = data(optimizer={"lr": tune.grid_search([1e-3, 1e-2])})
    config = SelfPlayConfig().self_play(**space)
    assert config.self_play_run["optimizer"]["lr"] == {"grid_search": [1e-3, 1e-2]}
    with pytest.raises(ConfigError, match=r"optimizer.lr"):
        config.run_config()


def test_sections_given_later_replace_parts_of_a_whole_configuration():
    config = SelfPlayConfig().self_play(small()).self_play(optimizer={"lr": 0.5}, seed=9)
    assert config.run_config().optimizer.lr == 0.5
    assert config.run_config().seed == 9
    assert config.run_config().games == small().games


def test_a_checkpoint_goes_into_another_algorithm_even_one_that_has_trained_already(tmp_path, local_ray):
    first = SelfPlayConfig().self_play(small()).build_algo()
    second = SelfPlayConfig().self_play(small(seed=1, optimizer={"lr": 0.5})).build_algo()
    try:
        first.train()
        for _ in range(2):
            second.train()
        first.save_checkpoint(str(tmp_path / "c"))
        second.load_checkpoint(str(tmp_path / "c"))
        assert second.training_iteration == 1
        assert second.numbers == {"small": 1}
        assert second.credit.state_dict() == first.credit.state_dict()
        before, after = first.weights("small"), second.weights("small")
        assert all((after.tensors[key] == tensor).all() for key, tensor in before.tensors.items())
        second.train()  # its runner held other weights under the names that are used again now
        assert second.summary.games == 6
    finally:
        first.stop()
        second.stop()


def test_a_checkpoint_of_other_adapters_is_refused_in_one_sentence(tmp_path, local_ray):
    first = SelfPlayConfig().self_play(small()).build_algo()
    second = SelfPlayConfig().self_play(small(name="other")).build_algo()
    try:
        first.save_checkpoint(str(tmp_path / "c"))
        with pytest.raises(checkpoint.CheckpointError, match=r"holds the adapters small, but this run trains other"):
            second.load_checkpoint(str(tmp_path / "c"))
    finally:
        first.stop()
        second.stop()


@pytest.mark.slow
def test_the_tuner_tries_every_learning_rate_and_its_checkpoints_are_ours(tmp_path, local_ray):
    # Trials run in processes of their own, which know the registered credit rules and no others.
    games = [{**data()["games"][0], "reply": {"max_tokens": 8}}]  # room for "pass": a cut reply trains nothing
    whole = data(model={"source": "tiny:kuhn"}, games=games, credit={"rule": "role_baseline"}, games_per_iteration=12)
    space = SelfPlayConfig().self_play(**{**whole, "optimizer": {"lr": tune.grid_search([1e-3, 1e-2])}})
    tuner = tune.Tuner(
        SelfPlay,
        param_space=space,
        run_config=tune.RunConfig(
            storage_path=str(tmp_path),
            name="search",
            stop={"training_iteration": 1},
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
            verbose=0,
        ),
    )
    results = tuner.fit()
    assert not results.errors
    assert sorted(one.config["self_play_run"]["optimizer"]["lr"] for one in results) == [1e-3, 1e-2]
    states = []
    for one in results:
        assert one.metrics["self_play"]["games"] == 12
        with one.checkpoint.as_directory() as folder:
            state, training = checkpoint.read(Path(folder))
            states.append(training.adapters["small"])
            assert state["iteration"] == 1
            algorithm = SelfPlayConfig().self_play(**whole).build_algo()
            try:
                algorithm.restore(folder)
                assert algorithm.training_iteration == 1
                algorithm.train()
            finally:
                algorithm.stop()
    assert any((tensor != states[1][key]).any() for key, tensor in states[0].items())
