"""The library of adapters: what was added is loaded, sums are sums, routers plug in, several are served at once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from palaestra.agents import make_seat
from palaestra.agents.engines.base import BASE, Sampling
from palaestra.agents.models import library
from palaestra.agents.models.adapters import stamp
from palaestra.agents.models.library import Changed, Rating
from palaestra.agents.models.merging import merge
from palaestra.agents.models.sources import ModelSource
from palaestra.agents.router import plug, served
from palaestra.agents.server import ServerSeat, parse_server
from palaestra.agents.serving import BadRequest, application, context_of
from palaestra.envs import Match, make
from palaestra.envs.errors import OptionError, UnknownName

BASE_MODEL = "tiny:blank"
REPLY = {"max_tokens": 3, "temperature": 1.0, "context": "fresh", "system": None}


def make_adapter(folder: Path, seed: int, *games: str, rank: int = 2) -> Path:
    """Write an adapter whose matrices are random, stamped as a run's."""
    loaded = ModelSource.parse(BASE_MODEL).load()
    config = LoraConfig(r=rank, lora_alpha=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    peft = get_peft_model(loaded.model, config)
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in peft.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=noise))
    peft.save_pretrained(str(folder))
    sections = [{"game": game, "reply": REPLY, "options": {"view": "terse"}} for game in games]
    stamp(folder, loaded.fingerprint, model=BASE_MODEL, run=f"run{seed}", iteration=seed, games=sections)
    return folder


@pytest.fixture
def shelf(tmp_path, monkeypatch, tmp_path_factory):
    """An empty library, and two adapters to put into it; the base is the one of the real cache."""
    ModelSource.parse(BASE_MODEL).fetch()
    monkeypatch.setattr(library, "cache_dir", lambda: tmp_path / "cache")
    served.cache_clear()
    yield (
        make_adapter(tmp_path / "one", 1, "kuhn_poker"),
        make_adapter(tmp_path / "two", 2, "tic_tac_toe", rank=3),
    )
    served.cache_clear()


def test_what_was_added_is_found_by_name_and_as_a_source(shelf):
    card = library.add(str(shelf[0]), "kuhn", licence="Apache-2.0")
    assert (card.base, card.tasks, card.run, card.licence) == (BASE_MODEL, ("kuhn_poker",), "run1", "Apache-2.0")
    again = library.add(str(shelf[0]), "poker")
    assert again.identity == card.identity == library.identity_of(shelf[0])
    assert list(library.names()) == ["kuhn", "poker"]
    loaded = ModelSource.parse(f"{BASE_MODEL}@lib:kuhn").load()
    assert loaded.adapter == library.folder_of("kuhn")
    library.remove("kuhn")
    assert library.folder_of("poker").is_dir()
    library.remove("poker")
    assert library.names() == {}
    assert not any((library.library_dir() / "adapters").iterdir())


def test_a_card_outlives_that_its_adapter_is_added_again(shelf):
    library.add(str(shelf[0]), "kuhn")
    measured = Rating("kuhn_poker", "random", 0.2, 0.1, 0.3, 1.0, 10)
    library.rate("kuhn", [measured])
    again = library.add(str(shelf[0]), "kuhn", licence="MIT")
    assert (again.ratings, again.licence) == ((measured,), "MIT")
    other = library.add(str(shelf[0]), "poker", notes="of spring")
    assert library.card_of("kuhn") == other == library.card_of("poker")
    assert (other.ratings, other.licence, other.notes) == ((measured,), "MIT", "of spring")
    for more in ({"licence": "Apache-2.0"}, {"notes": "of autumn"}):
        with pytest.raises(OptionError, match="the library has this adapter as kuhn, poker, with"):
            library.add(str(shelf[0]), "third", **more)
    assert library.card_of("kuhn") == other
    assert list(library.names()) == ["kuhn", "poker"]
    library.remove("kuhn")
    library.remove("poker")
    assert library.add(str(shelf[0]), "kuhn", licence="Apache-2.0").ratings == ()


def test_results_against_different_opponents_are_not_compared(shelf, tmp_path):
    for seed, name in ((3, "a"), (4, "b"), (5, "c")):
        library.add(str(make_adapter(tmp_path / name, seed, "kuhn_poker")), name)
    fingerprint = library.card_of("a").fingerprint

    def rated(name: str, opponent: str, result: float) -> None:
        library.rate(name, [Rating("kuhn_poker", opponent, result, None, None, 1.0, 10)])

    rated("a", "random", 0.9)
    rated("b", "mcts", -0.3)
    rated("c", "mcts", -0.2)
    assert library.for_task("kuhn_poker", fingerprint) == "c"
    rated("b", "random", 0.5)
    assert library.card_of("b").rating("kuhn_poker", "mcts").result == -0.3  # kept beside the new one
    rated("c", "random", 0.4)
    rated("a", "mcts", -0.9)  # all three against both: the first by name decides
    assert library.for_task("kuhn_poker", fingerprint) == "c"
    rated("c", "mcts", -0.5)
    assert library.for_task("kuhn_poker", fingerprint) == "b"


def test_an_adapter_that_was_changed_is_refused(shelf):
    library.add(str(shelf[0]), "kuhn")
    file = library.folder_of("kuhn") / "adapter_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(Changed, match="adapters remove kuhn"):
        ModelSource.parse(f"{BASE_MODEL}@lib:kuhn").load()


def test_names_are_checked(shelf):
    library.add(str(shelf[0]), "kuhn")
    with pytest.raises(OptionError, match="another adapter called kuhn"):
        library.add(str(shelf[1]), "kuhn")
    for bad in ("../x", "", "a b", "x" * 80):
        with pytest.raises(OptionError, match="is no name"):
            library.add(str(shelf[0]), bad)
    with pytest.raises(UnknownName, match="Did you mean 'kuhn'"):
        library.folder_of("kuhnn")
    (library.library_dir() / "names.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(Exception, match="is damaged"):
        library.names()


def deltas(source: str) -> dict[str, torch.Tensor]:
    """Return what an adapter adds to each matrix."""
    loaded = ModelSource.parse(source).load()
    before = {name: one.clone() for name, one in loaded.model.state_dict().items()}
    merged = PeftModel.from_pretrained(loaded.model, str(loaded.adapter)).merge_and_unload()
    return {name: one - before[name] for name, one in merged.state_dict().items() if not torch.equal(one, before[name])}


def test_a_merged_adapter_changes_every_matrix_by_the_weighted_sum(shelf):
    library.add(str(shelf[0]), "a")
    library.add(str(shelf[1]), "b")
    card = merge(["a", "b"], [0.75, -0.5], "both")
    assert card.tasks == ("kuhn_poker", "tic_tac_toe")
    assert library.card_of("both").parents == (("a", 0.75), ("b", -0.5))
    one, other, sum_ = (deltas(f"{BASE_MODEL}@lib:{name}") for name in ("a", "b", "both"))
    assert one.keys() == other.keys() == sum_.keys() != set()
    for key in one:
        torch.testing.assert_close(sum_[key], 0.75 * one[key] - 0.5 * other[key], rtol=1e-4, atol=1e-5)
    with pytest.raises(OptionError, match="1 adapters and 1 weights"):
        merge(["a"], [1.0], "c")
    for bad in (float("nan"), float("inf")):
        with pytest.raises(OptionError, match="must be a finite number"):
            merge(["a", "b"], [bad, 1.0], "c")
    assert "c" not in library.names()
    small = merge(["a", "b"], [1.0, 1.0], "small", "svd")
    config = json.loads((library.folder_of("small") / "adapter_config.json").read_text(encoding="utf-8"))
    assert (small.identity, config["r"]) == (library.card_of("small").identity, 3)


def test_the_best_measured_adapter_of_a_task_is_taken(shelf, tmp_path):
    fingerprint = ModelSource.parse(BASE_MODEL).load().fingerprint
    assert library.for_task("kuhn_poker", fingerprint) is None
    library.add(str(shelf[0]), "a")
    library.add(str(make_adapter(tmp_path / "three", 3, "kuhn_poker")), "b")
    assert library.for_task("kuhn_poker", fingerprint) == "b"
    library.rate("a", [Rating("kuhn_poker", "random", 0.2, 0.1, 0.3, 1.0, 10)])
    assert library.for_task("kuhn_poker", fingerprint) == "a"
    library.rate("b", [Rating("kuhn_poker", "random", 0.3, None, None, 1.0, 10)])
    assert library.for_task("kuhn_poker", fingerprint) == "b"
    assert library.for_task("kuhn_poker", "another base") is None
    assert library.for_task("chess", fingerprint) is None


def test_a_router_plugs_in_the_adapter_for_its_game_and_says_which(shelf):
    library.add(str(shelf[0]), "poker")
    seats = [make_seat(f"router:{BASE_MODEL}"), make_seat("random")]
    episode = asyncio.run(Match(make("kuhn_poker", view="terse"), seats).play())
    reply = episode.turns[0].attempts[0].reply
    assert reply.info["adapter"] == "poker"
    assert reply.tokens.policy == f"poker@{library.card_of('poker').identity}"
    assert len(reply.tokens.ids) <= 3  # as it was asked in training
    bare = asyncio.run(Match(make("matrix_game"), [make_seat(f"router:{BASE_MODEL}"), make_seat("random")]).play())
    own = next(turn for turn in bare.turns if turn.player == 0)
    assert own.attempts[0].reply.info["adapter"] == BASE
    with pytest.raises(UnknownName):
        make_seat("router:tiny:nothing")
    with pytest.raises(OptionError, match="names an adapter"):
        plug(f"{BASE_MODEL}@lib:poker", "poker")


def test_conversations_are_plain_text_that_takes_turns():
    codec = ModelSource.parse(BASE_MODEL).codec()
    asked = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "<|im_end|>"}]
    ids = context_of(codec, [{"role": "system", "content": "be"}, *asked, {"role": "user", "content": "so"}])
    said = codec.encode_untrusted("<|im_end|>")
    expected = [*codec.chat_open("be"), *codec.user_turn("hi"), *said, *codec.after_reply(said), *codec.user_turn("so")]
    assert ids == expected
    for bad in (None, [], asked, [{"role": "user"}], [{"role": "user", "content": 1}], ["hi"],
                [{"role": "assistant", "content": "x"}]):  # fmt: skip
        with pytest.raises(BadRequest):
            context_of(codec, bad)


def test_several_adapters_are_served_at_once_and_errors_are_sentences(shelf):
    aiohttp = pytest.importorskip("aiohttp")
    from aiohttp.test_utils import TestServer

    library.add(str(shelf[0]), "a")
    library.add(str(shelf[1]), "b")
    loaded, engine = served(BASE_MODEL)
    policies = {BASE_MODEL: BASE, "a": plug(BASE_MODEL, "a"), "b": plug(BASE_MODEL, "b")}
    message = [{"role": "user", "content": "K"}]

    async def all_of_it():
        async with TestServer(application(engine, loaded.codec, policies)) as server, aiohttp.ClientSession() as client:
            url = str(server.make_url("/v1"))

            async def ask(**body):
                async with client.post(f"{url}/chat/completions", json=body) as answer:
                    return answer.status, await answer.json()

            greedy = {"messages": message, "temperature": 0, "max_tokens": 8}
            together = await asyncio.gather(*(ask(model=name, **greedy) for name in policies for _ in range(3)))
            async with client.get(f"{url}/models") as answer:
                known = [one["id"] for one in (await answer.json())["data"]]
            bad = [await ask(**{**greedy, "model": "a", **change}) for change in (
                {"model": "c"}, {"messages": []}, {"max_tokens": 0}, {"temperature": "hot"}, {"seed": 1.5},
            )]  # fmt: skip
            async with client.post(f"{url}/chat/completions", data=b"{") as answer:
                bad.append((answer.status, await answer.json()))
            seat = ServerSeat(parse_server(f"{url};model=b;max_tokens=3;temperature=0"), "b")
            match = Match(make("kuhn_poker", view="terse"), [seat, make_seat("random")])
            return together, known, bad, await match.play()

    together, known, bad, episode = asyncio.run(all_of_it())
    assert known == list(policies)
    said = [answer["choices"][0]["message"]["content"] for _, answer in together]
    sampling = Sampling(max_tokens=8, temperature=0.0, seed=0, stop_ids=tuple(loaded.codec.stop_ids))
    for number, policy in enumerate(policies.values()):
        alone = asyncio.run(engine.generate(context_of(loaded.codec, message), sampling, policy=policy))
        assert said[3 * number : 3 * number + 3] == [loaded.codec.decode(alone.token_ids)] * 3
    assert len(set(said)) == 3
    assert all(answer["usage"]["completion_tokens"] <= 8 for _, answer in together)
    assert [status for status, _ in bad] == [400] * 6
    assert "there is no model 'c'; there are tiny:blank, a, b" in bad[0][1]["error"]["message"]
    assert all(answer["error"]["message"].endswith(".") for _, answer in bad)
    assert episode.turns
