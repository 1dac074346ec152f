"""A configuration says what is wrong with it before anything starts."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from palaestra.envs.errors import PalaestraError, UnknownName
from palaestra.trainers.config import ConfigError, RunConfig, load_config, parse_config
from palaestra.trainers.settle import settle
from tests.trainers.run_kit import data, small

ROOT = Path(__file__).parents[2]


def sections() -> list[tuple[str, ...]]:
    """Return the path of every section of a configuration, the top level first."""

    def below(model: type[BaseModel], path: tuple[str, ...]):
        yield path
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from below(field.annotation, (*path, name))

    from palaestra.trainers.config import GameSection

    return [*below(RunConfig, ()), *below(GameSection, ("games", "0"))]


def test_there_are_sections_at_every_depth():
    assert {len(path) for path in sections()} == {0, 1, 2, 3, 4}
    assert ("games", "0", "rules", "illegal") in sections()


@pytest.mark.parametrize("path", sections(), ids=".".join)
def test_a_misspelt_key_names_itself_and_the_nearest_right_one_at_every_level(path):
    whole = json.loads(small().model_dump_json())
    here = whole
    for step in path:
        here = here[int(step)] if step.isdigit() else here[step]
    right = max(here, key=len)
    here[right[:-1] + "x"] = here[right]
    with pytest.raises(ConfigError) as told:
        parse_config(whole, "mine.yaml")
    message = str(told.value)
    assert message.startswith("mine.yaml: unknown key")
    assert f"'{right[:-1]}x'" in message
    assert f"Did you mean '{right}'?" in message
    assert (".".join(path) or "the top level") in message


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("iterations=ten", "iterations: "),
        ("iterations=0", "iterations: "),
        ("optimizer.lr=fast", "optimizer.lr"),
        ("optimizer.lr={kind: linaer, start: 1, end: 0}", "Did you mean 'linear'"),
        ("optimizer.lr={kind: cosine, start: fast, end: 0}", "optimizer.lr: schedule 'cosine' does not take these"),
        ("optimizer.lr=-1", "optimizer.lr: -1.0 takes values that are negative"),
        ("optimizer.lr=.nan", "optimizer.lr"),
        ("optimizer.betas=[1.5, 0.9]", "optimizer.betas.0: "),
        ("credit.kl={kind: linear, start: 0.1, end: -0.1}", "credit.kl: "),
        ("loss.max_length=-5", "loss.max_length: "),
        ("loss.dual_clip=.nan", "loss.dual_clip: "),
        ("games.0.weight=.inf", "games.0.weight: "),
        ("games.0.opponents={self: .nan}", "games.0.opponents.self: "),
        ("model.dtype=float16", "model.dtype: "),
        ("model.lora.rank=-1", "model.lora.rank: "),
        ("name=../elsewhere", "name: "),
        ("games=[]", "games: "),
        ("games.0.opponents={self: 0}", "above 0"),
        ("games.0.opponents={}", "above 0"),
        ("games.0.reply.context=gorwing", "games.0.reply.context: "),
        ("games.3.game=chess", "no position in a list of 1"),
        ("games.first.game=chess", "no position in a list of 1"),
        ("name.first=x", "stands below a plain value"),
        ("iterations", "has no value"),
        ("=3", "has no value"),
        ("iterations=[", "no valid YAML"),
        ("iterations=" + "9" * 5000, "no valid YAML"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_its_key(tmp_path, override, told):
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(data()))
    with pytest.raises(PalaestraError) as error:
        load_config(file, [override])
    message = str(error.value)
    assert told in message, message
    assert "\n" not in message


def test_overrides_reach_every_depth_and_are_read_as_yaml(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(data()))
    config = load_config(
        file, ["optimizer.lr=1e-4", "games.0.options.view=words", "model.lora.targets=[q_proj]", "seed=7"]
    )
    assert config.optimizer.lr == 1e-4
    assert config.games[0].options == {"view": "words"}
    assert config.model.lora.targets == ["q_proj"]
    assert config.seed == 7


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "no valid YAML"),
        ("a: " + "[" * 5000, "no valid YAML"),
        ("a: " + "9" * 5000, "limit"),
        ("- 1", r"holds \[1\]"),
        ("", "holds nothing"),
        ("\x00", "no valid YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_sentence(tmp_path, text, told):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_config(file)


def test_a_missing_file_and_a_folder_are_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["games", "model", "name", "x", "0"]), inner),
        max_leaves=8,
    )
)
def test_any_data_is_a_configuration_or_one_sentence(found):
    whole = {**data(), "games": [found]} if not isinstance(found, dict) else {**data(), **found}
    told = ""
    try:
        parse_config(whole)
    except PalaestraError as error:
        told = str(error)
    assert "\n" not in told


def test_a_resolved_configuration_reads_back_as_itself(tmp_path):
    config = small(optimizer={"lr": {"kind": "linear", "start": 1e-3, "end": 0.0}})
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(file) == config


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_configuration_loads_and_names_only_what_exists(file):
    config = load_config(file)
    model = small().model.model_copy(update={"thinking": config.model.thinking})
    settled = settle(config.model_copy(update={"model": model}))
    for one, other in zip(settled.games, config.games, strict=True):
        # what follows from the model stands in the options of a game of documents
        assert one.model_copy(update={"options": {**one.options, **other.options}}) == one
        assert one.reads or one == other


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"games": [{"game": "kuhn_pokr"}]}, "games.0: unknown game 'kuhn_pokr'. Did you mean 'kuhn_poker'"),
        ({"games": [{"game": "kuhn_poker", "options": {"veiw": "terse"}}]}, "games.0: .*Did you mean 'view'"),
        ({"games": [{"game": "kuhn_poker", "opponents": {"radnom": 1}}]}, "games.0.opponents: .*Did you mean 'random'"),
        ({"games": [{"game": "kuhn_poker", "rules": {"monitors": [5]}}]}, "games.0: monitors"),
        ({"evaluation": {"opponent": "rnadom"}}, "evaluation.opponent: .*Did you mean 'random'"),
        ({"credit": {"rule": "role_basline"}}, "credit: .*Did you mean 'role_baseline'"),
        ({"credit": {"rule": "role_baseline", "options": {"deacy": 1}}}, "credit: .*deacy"),
        ({"credit": {"rule": "group_relative"}}, "games.0.group_size: group_relative compares episodes"),
        ({"model": {"source": "tiny:blank", "lora": {"targets": ["nope"]}}}, "Its linear modules are .*q_proj"),
        ({"model": {"source": "tiny:khun"}}, "Did you mean 'kuhn'"),
        ({"model": {"source": "tiny:blank@nowhere"}}, "nowhere"),
    ],
)
def test_a_name_that_does_not_exist_is_found_before_anything_starts(changes, told):
    with pytest.raises(PalaestraError, match=told):
        settle(small(**changes))


def test_the_same_game_twice_has_two_adapters_of_its_own():
    config = small(adapters="per_env", games=[data()["games"][0], data()["games"][0]])
    assert len(set(config.adapter_names())) == 2
    assert [config.adapter_of(0), config.adapter_of(1)] == config.adapter_names()


def test_two_temperatures_for_one_game_are_refused():
    games = [{"game": "kuhn_poker", "reply": {"temperature": heat}} for heat in (0.5, 1.0)]
    with pytest.raises(ConfigError, match=r"kuhn_poker.*temperature"):
        small(games=games)


def test_training_needs_a_temperature_above_zero():
    with pytest.raises(ConfigError, match="temperature"):
        small(games=[{"game": "kuhn_poker", "reply": {"temperature": 0}}])


def test_an_unknown_schedule_is_still_an_unknown_name():
    with pytest.raises((ConfigError, UnknownName), match=r"kind|schedule"):
        small(credit={"kl": {"kind": "square"}})
