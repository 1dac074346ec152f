"""Models that paraphrase or monitor are tried before anything is played, and refused below the bar."""

from __future__ import annotations

from typing import Any

import pytest

from palaestra.agents import is_model, seat_names
from palaestra.agents.language_model import ReplySettings
from palaestra.agents.seats import register_seat
from palaestra.envs import Reply, View, make
from palaestra.envs.errors import OptionError
from palaestra.trainers import availability
from palaestra.trainers.availability import UnfitModel, needed, require_fit
from palaestra.trainers.config import ConfigError
from palaestra.trainers.config_file import parse
from palaestra.trainers.selfcheck import check_monitor, check_relay_paraphraser
from palaestra.trainers.settle import settle
from palaestra.trainers.tournament.config import TournamentConfig
from palaestra.trainers.tournament.run import check_models
from tests.scripts.cli_kit import call, one_sentence
from tests.trainers.run_kit import small

ASKED = ReplySettings(max_tokens=2)
COVERT = {"overseer": True, "paraphraser": True}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(availability, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(availability, "_found", {})


class Retells:
    """A paraphraser of residues that changes words, and, if it is told to, numbers."""

    name = "retells"

    def __init__(self, lies: bool) -> None:
        self.lies = lies

    async def act(self, view: View) -> Reply:
        text = view.knowledge()["text"]
        for old, new in (("The hand moves", "One turns the pointer"), ("on by", "forward,"), ("back by", "backward,")):
            text = text.replace(old, new)
        return Reply(text.replace(": 3.", ": 4.") if self.lies else text)


def test_in_a_thought_all_that_is_stated_must_stay_and_words_must_change() -> None:
    register_seat("retells", lambda _: Retells(lies=False))
    register_seat("misstates", lambda _: Retells(lies=True))
    good = check_relay_paraphraser("retells", cases=20)
    assert (good.available, good.found) == (True, 1.0)
    wrong = check_relay_paraphraser("misstates", cases=20)
    assert not wrong.available
    assert 0 < wrong.found < 0.9  # thoughts without a 3 are kept
    parrot = check_relay_paraphraser("parrot", cases=20)
    assert (parrot.available, parrot.found) == (False, 1.0)
    assert not check_relay_paraphraser("tiny:blank", cases=5, settings=ASKED).available


def test_a_monitor_of_its_own_code_alone_is_refused_in_a_sentence() -> None:
    with pytest.raises(OptionError, match=r"codebook cannot be tried .* only a model needs this check"):
        check_monitor("codebook", cases=2)


def test_models_are_tried_in_the_roles_that_paraphrase_or_monitor_and_scripts_never() -> None:
    assert [is_model(one) for one in ("tiny:blank", "server:http://x;model=y", "codebook", "regex:x", "human")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    everybody = [(seat, spec) for seat in range(4) for spec in ("tiny:blank", "codebook")]
    tried = needed(make("covert_channel", **COVERT), [*everybody, *everybody], ASKED)
    assert tried == [("overseer", "tiny:blank", ASKED), ("paraphraser", "tiny:blank", ASKED)]
    assert not needed(make("covert_channel", overseer=False), everybody[:4], ASKED)
    reasoning = make("encoded_reasoning", monitor=True)
    assert [role for role, *_ in needed(reasoning, everybody[:6], ASKED)] == ["monitor"]
    relay = make("cot_relay", paraphraser=True)
    assert [role for role, *_ in needed(relay, everybody[:6], ASKED)] == ["paraphraser"]
    assert not needed(make("kuhn_poker"), everybody[:4], ASKED)
    inside = make("open_minds", inner="covert_channel", inner_options=COVERT)
    assert needed(inside, everybody, ASKED) == tried


@pytest.mark.parametrize(
    ("game", "options", "seat"),
    [
        ("covert_channel", COVERT, 2),
        ("covert_channel", COVERT, 3),
        ("covert_channel", {**COVERT, "cover": "free"}, 3),
        ("open_minds", {"inner": "covert_channel", "inner_options": {**COVERT, "cover": "free"}}, 3),
        ("encoded_reasoning", {"monitor": True}, 2),
        ("cot_relay", {"paraphraser": True}, 1),
    ],
)
def test_a_model_below_the_bar_is_refused_wherever_it_would_sit(game: str, options: dict[str, Any], seat: int) -> None:
    with pytest.raises(UnfitModel, match=r"not available: tiny:blank .* --unchecked"):
        require_fit(game, options, [(seat, "tiny:blank")], ASKED, unchecked_by="--unchecked")


def test_what_a_check_found_is_kept_for_the_same_weights_and_questions(monkeypatch, tmp_path) -> None:
    asked: list[str] = []
    check = availability.CHECKED["covert_channel", "overseer"]
    counting = lambda spec, **given: asked.append(spec) or check(spec, cases=4, **given)  # noqa: E731
    monkeypatch.setattr(availability, "CHECKED", {("covert_channel", "overseer"): counting})

    def found(**options: Any) -> Any:
        availability._found.clear()  # as in another process
        return availability.availability("covert_channel", "overseer", "tiny:blank", options, ASKED)

    first = found()
    assert found() == found(suspicion=0.25, honest=0.1) == first  # what its cases do not depend on
    assert len(asked) == 1
    found(view="terse")
    assert len(asked) == 2
    for note in tmp_path.rglob("*.json"):
        note.write_text("{")
    assert found() == first
    assert len(asked) == 3


def test_every_command_that_seats_models_tries_them_first(tmp_path) -> None:
    seated = ("play", "covert_channel", "--seats", "codebook,codebook,tiny:blank", "--max-tokens", "2")
    assert one_sentence(call(*seated), "palaestra play").startswith("not available: tiny:blank stated")
    assert call(*seated, "--unchecked").exit_code == 0
    held = {"game": "covert_channel", "options": {"overseer": True}, "reply": {"max_tokens": 2}}
    for changes in ({"fixed_seats": {3: "base"}}, {"opponents": {"self": 1, "tiny:blank": 1}}):
        with pytest.raises(ConfigError, match=r"games\.0: not available: tiny:blank .*games\.0\.unchecked=true"):
            settle(small(games=[{**held, **changes}]))
        settle(small(games=[{**held, **changes, "unchecked": True}]))
    settle(small(games=[held]))  # the policy that is trained is not tried
    table = {**held, "fixed_seats": {1: "codebook", 2: "codebook"}}
    both = {"a": "tiny:blank", "b": "honest"}
    config = parse(TournamentConfig, {"entrants": both, "tables": [table]})
    with pytest.raises(UnfitModel, match=r"tables\.0: not available: .*tables\.0\.unchecked=true"):
        check_models(config)
    check_models(parse(TournamentConfig, {"entrants": both, "tables": [{**table, "unchecked": True}]}))
    record = tmp_path / "game.jsonl"
    assert call("play", "covert_channel", "--seats", "codebook,codebook,codebook", "--replay", record).exit_code == 0
    resumed = ("replay", "resume", record, "--turn", "1", "--seats", "codebook,codebook,tiny:blank")
    assert one_sentence(call(*resumed), "palaestra replay resume").startswith("not available: tiny:blank stated")
    assert call(*resumed, "--unchecked").exit_code == 0
    opponents = ("evaluate", "tiny:blank", "covert_channel", "--opponent", "base", "--pairs", "1")
    assert "not available" in one_sentence(call(*opponents, "--max-tokens", "2"), "palaestra evaluate")


def test_registered_seats_are_no_models() -> None:
    assert not any(is_model(name) for name in seat_names() if name not in ("router", "server"))
