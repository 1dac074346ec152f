"""Eight ways to predict the next token, each against plain loops over one document, and training that resumes."""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import CohereConfig, CohereForCausalLM

from palaestra.agents import thinking_adapter
from palaestra.agents.models.sources import ModelSource
from palaestra.agents.reader import Batch, fitting, laid_out, score
from palaestra.agents.thinking import Thinking
from palaestra.envs.errors import OptionError, UnknownName
from palaestra.envs.seeding import Dice
from palaestra.trainers.checkpoint import CheckpointError, Checkpoints
from palaestra.trainers.thinktoks.learners import make_learner, makers
from palaestra.trainers.thinktoks.learners.base import members
from palaestra.trainers.thinktoks.learners.sampled import one_place
from palaestra.trainers.thinktoks.models import Shape, fresh_model
from palaestra.trainers.thinktoks.training import Lesson, Plan, Training, make_reader, summary

SMALL = Shape(layers=1, width=16, heads=2)
CHAIN = Lesson("chain", {"group": "s3", "length": 3})
PREFIX = Lesson("chain", {"group": "z7", "length": 2, "show": "prefix"})


def plan_of(learner="plain", lesson=CHAIN, **changes) -> Plan:
    return dataclasses.replace(
        Plan((lesson,), learner, shape=SMALL, kinds=6, most=4, steps=6, documents=4, held_out=6), **changes
    )


@pytest.fixture(scope="module")
def reader():
    """A model whose logits differ everywhere."""
    found = make_reader(plan_of())
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in found.model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=noise)
    found.model.eval()
    return found


def drawn(lesson=CHAIN, step=0):
    return plan_of(lesson=lesson).drawn(step)


def one_by_one(reader, document, predict) -> np.ndarray:
    """Return log-probabilities of a document's real tokens: ``predict(tokens)`` gives logits behind a prefix."""
    seen, found = list(reader.start), []
    for place, token in enumerate(document.ids.tolist()):
        logits = predict(seen, bool(document.open[place]))
        found.append(float(reader.thinking.real_logprobs(logits)[token]))
        seen.append(token)
    return np.array(found)


@torch.no_grad()
def behind(reader, tokens):
    return reader.model(input_ids=torch.tensor([tokens])).logits[0, -1]


def test_there_are_the_learners_that_the_package_lists():
    assert set(makers()) == {"plain", "pause", "thoughts", "rlp", "quiet", "continuous", "ponder"}


@pytest.mark.parametrize("lesson", [CHAIN, PREFIX])
def test_plain_says_what_the_model_says(reader, lesson):
    documents = drawn(lesson)
    for read, document in zip(make_learner("plain", reader).read(documents, 0), documents, strict=True):
        expected = one_by_one(reader, document, lambda seen, open_: behind(reader, seen))
        np.testing.assert_allclose(read.logprobs, expected, atol=1e-5)
        assert not read.thoughts.any()


def test_pauses_stand_where_one_may_think_and_stay(reader):
    documents = drawn(PREFIX)
    for read, document in zip(make_learner("pause", reader, count=2).read(documents, 0), documents, strict=True):
        seen, expected = list(reader.start), []
        for place, token in enumerate(document.ids.tolist()):
            seen += [reader.thinking.real] * (2 * int(document.open[place]))
            expected.append(float(reader.thinking.real_logprobs(behind(reader, seen))[token]))
            seen.append(token)
        np.testing.assert_allclose(read.logprobs, expected, atol=1e-5)
        assert read.thoughts.tolist() == (2 * document.open).tolist()


@torch.no_grad()
def latent_by_hand(reader, document, count):
    """Coconut in one loop: every latent thought appended with a whole new pass, one document alone."""
    base = reader.base
    table, body, head = base.get_input_embeddings(), base.get_decoder(), base.get_output_embeddings()
    inputs, found = table(torch.tensor([list(reader.start)])), []
    for place, token in enumerate(document.ids.tolist()):
        for _ in range(count * int(document.open[place])):
            inputs = torch.cat([inputs, body(inputs_embeds=inputs).last_hidden_state[:, -1:]], 1)
        logits = head(body(inputs_embeds=inputs).last_hidden_state[0, -1])
        found.append(float(reader.thinking.real_logprobs(logits)[token]))
        inputs = torch.cat([inputs, table(torch.tensor([[token]]))], 1)
    return found


@pytest.mark.parametrize("lesson", [CHAIN, PREFIX])
def test_continuous_thoughts_are_the_hidden_states_before_them(reader, lesson):
    documents = drawn(lesson)
    for read, document in zip(make_learner("continuous", reader, count=2).read(documents, 0), documents, strict=True):
        np.testing.assert_allclose(read.logprobs, latent_by_hand(reader, document, 2), atol=1e-5)


def test_the_supervised_gradient_flows_through_continuous_thoughts(reader):
    """Against a finite difference along one direction of the embedding of a token that is only read."""
    model = make_reader(plan_of()).model.double()
    learner = make_learner("continuous", dataclasses.replace(reader, model=model), count=3)
    (document,) = drawn()[:1]
    row = model.get_input_embeddings().weight
    direction = torch.zeros_like(row)
    direction[int(document.ids[0])] = torch.linspace(-1, 1, row.shape[1], dtype=row.dtype)
    loss = learner.step([document], 0).loss
    (gradient,) = torch.autograd.grad(loss, row)
    with torch.no_grad():
        row += 3e-3 * direction
        higher = float(learner.step([document], 0).loss)
        row -= 6e-3 * direction
        lower = float(learner.step([document], 0).loss)
    assert float((gradient * direction).sum()) == pytest.approx((higher - lower) / 6e-3, rel=1e-3)


@torch.no_grad()
def test_pondering_mixes_embeddings_of_what_is_predicted(reader):
    document = drawn()[0]
    base = reader.base
    table, body, head = base.get_input_embeddings(), base.get_decoder(), base.get_output_embeddings()
    ids = torch.tensor([[*reader.start, *document.ids.tolist()]])
    inputs = table(ids)
    for _ in range(2):
        odds = reader.thinking.real_logprobs(head(body(inputs_embeds=inputs).last_hidden_state)).exp()
        inputs = table(ids) + odds @ table.weight[: reader.thinking.real]
    logits = head(body(inputs_embeds=inputs).last_hidden_state)
    logprobs = reader.thinking.real_logprobs(logits)[0, :-1]
    expected = logprobs.gather(-1, ids[0, 1:, None])[:, 0]
    (read,) = make_learner("ponder", reader, rounds=2, top=10_000).read([document], 0)
    np.testing.assert_allclose(read.logprobs, expected, atol=1e-5)
    (none,) = make_learner("ponder", reader, rounds=0).read([document], 0)
    (plain,) = make_learner("plain", reader).read([document], 0)
    np.testing.assert_allclose(none.logprobs, plain.logprobs, atol=1e-6)


@pytest.mark.parametrize("w", [0.0, 1.0])
def test_a_mixing_head_that_shuts_predicts_as_without_thoughts_and_one_that_opens_as_with_them(reader, w):
    quiet = make_learner("quiet", reader, length=3, horizon=1)
    with torch.no_grad():
        quiet.head.body[2].weight.zero_()
        quiet.head.body[2].bias.fill_(1e9 * (2 * w - 1))
    documents = drawn()  # one may think before the last token only
    readings = quiet.readings(documents, 0)
    assert all(reading.thought.sum() == 3 for reading in readings)
    plain = make_learner("plain", reader)
    for read, reading, document in zip(quiet.read(documents, 0), readings, documents, strict=True):
        if w:
            with torch.no_grad():
                expected = plain.scores([reading])[1].real[0][torch.from_numpy(reading.place >= 0)]
            expected = expected[expected != 0].numpy()
        else:
            expected = plain.read([document], 0)[0].logprobs
        np.testing.assert_allclose(read.logprobs, expected, atol=1e-5)


# ---------------------------------------------------------------------- thoughts that are drawn


def test_the_policy_gradient_is_the_one_that_is_written(reader):
    """A[i] from the log scores of the readings that were drawn, and the gradient of their decisions, by hand; those of
    the empty thought count where it does better."""
    cost, group = 0.3, 4
    learner = make_learner("thoughts", reader, group=group, cost=cost, ce=0.0)
    documents = drawn()[:2]
    readings = learner.drawn(documents, 7, silent_first=True)
    assert not readings[0].decided.any()
    assert sum(int(reading.thought.sum()) for reading in readings) > 0
    total, decisions = torch.zeros(()), 0
    for number in range(len(documents)):
        empty = laid_out(documents[number], [[]] * len(documents[number]), reader.thinking, reader.start)
        own = [empty, *readings[number * group + 1 : (number + 1) * group]]
        batch = Batch.of(own)
        scores = score(reader.model, reader.thinking, batch)
        paid = [
            float(scores.real[row, len(reading) - 1].detach()) - cost * int(reading.thought.sum())
            for row, reading in enumerate(own)
        ]
        for row, reading in enumerate(own):
            advantage = paid[row] - np.mean([value for other, value in enumerate(paid) if other != row])
            advantage = advantage if row else max(0.0, advantage)
            total = total - advantage * scores.decision[row].sum()
            decisions += int(reading.decided.sum())
    expected = torch.autograd.grad(total / decisions, reader.model.get_input_embeddings().weight)[0]
    loss = learner.step(documents, 7).loss
    found = torch.autograd.grad(loss, reader.model.get_input_embeddings().weight)[0]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_rlp_thinks_at_one_place_for_a_fixed_length_and_leaves_prediction_alone(reader):
    learner = make_learner("rlp", reader, length=2, group=4)
    documents = drawn(PREFIX)
    step = learner.step(documents, 1)
    (gradient,) = torch.autograd.grad(step.loss, reader.model.get_input_embeddings().weight)
    assert gradient[reader.thinking.real : reader.thinking.gate].abs().sum() > 0
    assert gradient[reader.thinking.gate].abs().sum() == 0  # whether to think is no choice
    narrowed = [one_place(document, Dice(3)) for document in documents]
    readings = learner.drawn(narrowed, 1, silent_first=False)
    assert all(reading.thought.sum() == 2 for reading in readings)
    assert all(len(set(reading.place[reading.thought])) == 1 for reading in readings)


def test_a_frozen_scorer_pays_as_the_model_began_and_an_average_follows_slowly():
    plan = plan_of("thoughts", options={"group": 2, "scorer": "frozen"}, rate=0.1)
    frozen, average = Training(plan), Training(dataclasses.replace(plan, options={"group": 2, "scorer": "average"}))
    began = frozen.learner.reader.model.get_input_embeddings().weight.detach().clone()
    for training in (frozen, average):
        training.take()
        training.take()
    kept = frozen.learner.average.get_input_embeddings().weight
    assert torch.equal(kept, began)
    moved = (average.learner.average.get_input_embeddings().weight - began).abs().max()
    assert 0 < moved < 0.01 * (average.learner.reader.model.get_input_embeddings().weight - began).abs().max()


def test_demonstrations_are_the_running_states_as_far_as_they_fit():
    (document,) = drawn()[:1]
    whole = document.worked[-1]
    assert len(whole) == 3
    assert whole[-1] == document.state[-1]
    assert fitting(document, Thinking(300, 6, 4))[-1] == list(whole)
    assert fitting(document, Thinking(300, 6, 2))[-1] == list(whole[-2:])
    assert fitting(document, Thinking(300, 2, 4))[-1] == [state % 2 for state in whole]
    assert fitting(document, Thinking(300, 6, 0))[-1] == []
    assert not any(fitting(document, Thinking(300, 6, 4))[:-1])


def test_what_is_given_reads_like_what_is_drawn(reader):
    learner = make_learner("thoughts", reader)
    documents = drawn()
    for reading, document in zip(learner.drawn(documents, 3, silent_first=False)[::8], documents, strict=True):
        thoughts = [
            [int(token) - reader.thinking.real for token in reading.tokens[reading.thought & (reading.place == place)]]
            for place in range(len(document))
        ]
        again = laid_out(document, thoughts, reader.thinking, reader.start)
        for name in ("tokens", "place", "thought", "decided"):
            assert getattr(again, name).tolist() == getattr(reading, name).tolist(), name
    batch = Batch.of([reading])
    assert members([reading], [document], batch)[0].nonzero()[:, 0].tolist() == [len(reading) - 2, len(reading) - 1]


# ---------------------------------------------------------------------- models, training, refusals


def test_a_looped_model_has_the_parameters_of_one_that_is_not_and_computes_more():
    thinking = make_reader(plan_of()).thinking
    once, thrice = (fresh_model(thinking, dataclasses.replace(SMALL, loops=loops), 1) for loops in (1, 3))
    assert once.num_parameters() == thrice.num_parameters()
    ids = torch.arange(5)[None]
    with torch.no_grad():
        hidden = once.get_input_embeddings()(ids)
        angles = once.model.rotary_emb(hidden, torch.arange(5)[None])
        mask = torch.full((5, 5), float("-inf")).triu(1)[None, None]
        for _ in range(3):
            hidden = once.model.layers[0](hidden, attention_mask=mask, position_embeddings=angles)
        expected = once.lm_head(once.model.norm(hidden))
        found = thrice(input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("learner", "options"), [("plain", {}), ("thoughts", {"group": 3, "scorer": "average"}), ("quiet", {"group": 2})]
)
def test_a_training_that_resumes_goes_on_with_the_same_numbers(tmp_path, learner, options):
    plan = plan_of(learner, options=options)
    straight, stopped = Training(plan), Training(plan)
    for _ in range(4):
        straight.take()
    for _ in range(2):
        stopped.take()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(stopped, 2)
    again = Training(plan)
    again.load_checkpoint(str(checkpoints.latest()))
    for _ in range(2):
        again.take()
    assert again.measure() == straight.measure()
    other = Training(plan_of(learner, options=options, shape=dataclasses.replace(SMALL, width=32)))
    with pytest.raises(CheckpointError, match="another plan"):
        other.load_checkpoint(str(checkpoints.latest()))


@pytest.mark.parametrize("learner", ["plain", "thoughts"])
def test_a_pretrained_model_reads_its_own_tokens_behind_its_own_beginning(learner):
    plan = plan_of(learner, model="tiny:blank", options={} if learner == "plain" else {"group": 2})
    training = Training(plan)
    codec = ModelSource.parse("tiny:blank").codec()
    assert training.learner.reader.start == tuple(codec.chat_open(""))
    assert training.learner.reader.thinking.real == codec.vocab_size == plan.words.size
    document = plan.drawn(0)[0]
    assert codec.decode(document.ids.tolist()).count("=") == 1
    began = training.measure()["hard"]
    training.take()
    assert training.measure()["hard"] != began


@pytest.mark.parametrize("name", ["plain", "pause", "ponder", "continuous", "thoughts", "rlp", "quiet"])
def test_every_learner_trains_an_adapter_and_leaves_the_base_as_it_is(name, tmp_path):
    """Over a model on disk: what moves is LoRA's and the new rows, and what is written loads as any adapter does."""
    options = {"thoughts": {"group": 2, "scorer": "average", "decay": 0.5}, "rlp": {"group": 2}, "quiet": {"group": 2}}
    plan = plan_of(name, model="tiny:blank", rank=2, options=options.get(name, {}), rate=1e-2)
    training = Training(plan)
    model = training.learner.reader.model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for _ in range(2):  # the first has no gradient for one half of LoRA, which begins at zero
        training.take()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert all("lora_" in key or "trainable_tokens_delta" in key for key in changed)
    assert any("lora_A" in key for key in changed)
    assert any("lora_B" in key for key in changed)
    assert any("trainable_tokens_delta" in key for key in changed)
    training.publish(tmp_path / "adapter")
    loaded = ModelSource.parse(f"tiny:blank@{tmp_path / 'adapter'}").load()
    again = thinking_adapter.load(loaded.model, tmp_path / "adapter")
    batch = Batch.of([laid_out(plan.drawn(0)[0], [[]] * 5, training.learner.reader.thinking, (0,))])
    thinking = training.learner.reader.thinking
    with torch.no_grad():
        one, other = (score(tree.eval(), thinking, batch) for tree in (model, again))
    torch.testing.assert_close(one.real, other.real)
    torch.testing.assert_close(one.decision, other.decision)


@pytest.mark.parametrize("name", ["continuous", "ponder", "quiet"])
def test_a_model_that_does_more_to_its_logits_than_its_head_is_refused_where_the_head_is_applied(name, reader):
    config = CohereConfig(vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
                          num_attention_heads=2, logit_scale=0.25)  # fmt: skip
    strange = dataclasses.replace(reader, model=CohereForCausalLM(config).eval())
    with pytest.raises(OptionError, match="CohereForCausalLM does more to its logits"):
        make_learner(name, strange)
    make_learner("pause", strange)


def test_the_entropy_bonus_is_the_entropys_own_gradient(reader):
    """Many decisions at one place, against the closed form; half are the empty thought's, which were not drawn."""
    document = plan_of(lesson=Lesson("chain", {"group": "z2", "length": 1})).drawn(0)[0]
    own = dataclasses.replace(reader, thinking=dataclasses.replace(reader.thinking, most=1))
    row = own.model.get_output_embeddings().weight
    found = []
    for entropy in (0.0, 1.0):
        learner = make_learner("thoughts", own, group=2, ce=0.0, entropy=entropy, cost=0.0)
        loss = learner.step([document] * 1500, 1).loss
        found.append(torch.autograd.grad(loss, row)[0])
    gradient = (found[1] - found[0])[own.thinking.real :]
    start = [*own.start, *document.ids[:-1].tolist()]
    decisions = own.thinking.decisions(own.model(input_ids=torch.tensor([start])).logits[0, -1])
    expected = torch.autograd.grad((decisions.exp() * decisions).sum(), row)[0][own.thinking.real :]
    cosine = torch.nn.functional.cosine_similarity(gradient.flatten(), expected.flatten(), dim=0)
    assert float(cosine) > 0.95
    assert float(gradient.norm() / expected.norm()) == pytest.approx(1.0, rel=0.2)


def test_what_has_no_adapter_cannot_be_published(tmp_path):
    with pytest.raises(ValueError, match="trained whole"):
        Training(plan_of()).publish(tmp_path)


def test_a_step_whose_gradient_is_not_finite_changes_nothing_and_is_counted():
    training = Training(plan_of(steps=3))
    training.take()
    with torch.no_grad():
        next(training.learner.reader.model.parameters())[0, 0] = torch.inf
    before = [parameter.clone() for parameter in training.learner.reader.model.parameters()]
    training.take()
    assert all(map(torch.equal, before, training.learner.reader.model.parameters()))
    assert (training.taken, training.skipped) == (2, 1)


@pytest.mark.parametrize("name", ["thoughts", "rlp", "quiet"])
def test_models_that_would_draw_other_thoughts_than_are_learned_from_are_refused(reader, name):
    looped = make_reader(plan_of(shape=dataclasses.replace(SMALL, loops=2)))
    with pytest.raises(OptionError, match="goes through its layers again"):
        make_learner(name, looped)
    with pytest.raises(OptionError, match="training mode"):
        make_learner(name, dataclasses.replace(looped, model=make_reader(plan_of()).model.train()))


def test_lessons_follow_each_other_and_all_are_measured_on_the_last():
    short, long = Lesson("chain", {"length": 2}), Lesson("chain", {"length": 5}, share=2)
    plan = plan_of(lesson=CHAIN, lessons=(short, long), steps=9)
    assert [plan.lesson(step).settings["length"] for step in range(9)] == [2] * 3 + [5] * 6
    assert {len(document) for document in plan.measured()} == {7}
    texts = [document.ids.tolist() for document in plan.drawn(0)]
    assert texts == [document.ids.tolist() for document in dataclasses.replace(plan, learner="pause").drawn(0)]
    assert texts != [document.ids.tolist() for document in dataclasses.replace(plan, seed=1).drawn(0)]


def test_hard_and_easy_tokens_are_told_apart(reader):
    documents = drawn()
    reads = make_learner("pause", reader, count=3).read(documents, 0)
    found = summary(reads, documents)
    assert found["hard"] == pytest.approx(np.mean([-read.logprobs[-1] for read in reads]))
    assert found["easy"] == pytest.approx(np.mean([-read.logprobs[-2] for read in reads]))
    assert found["hard_thoughts"] == 3
    assert found["easy_thoughts"] is None


@pytest.mark.parametrize(
    ("name", "options", "error", "told"),
    [
        ("thouhgts", {}, UnknownName, "Did you mean 'thoughts'"),
        ("thoughts", {"group": 1}, OptionError, "at least 2 readings"),
        ("thoughts", {"costs": 1}, OptionError, "costs"),
        ("thoughts", {"scorer": "dead"}, OptionError, "live, average or frozen"),
        ("rlp", {"length": 9}, OptionError, "length is 9, expected 1 to 4"),
        ("pause", {"count": 5}, OptionError, "count is 5"),
        ("ponder", {"top": 0}, OptionError, "top is at least 1"),
    ],
)
def test_learners_that_make_no_sense_are_named(reader, name, options, error, told):
    with pytest.raises(error, match=told):
        make_learner(name, reader, **options)


@pytest.mark.parametrize("name", ["plain", "thoughts", "rlp", "quiet", "pause", "continuous", "ponder"])
def test_a_token_that_the_model_does_not_have_is_named(reader, name):
    learner = make_learner(name, reader)
    for token in (999, -1, 258):
        strange = [dataclasses.replace(one, ids=np.array([*one.ids[:-1], token])) for one in drawn()]
        with pytest.raises(OptionError, match=f"token id {token} is outside the model's vocabulary"):
            learner.step(strange, 0, 0.0)


def test_plans_that_make_no_sense_are_named():
    for wrong, told in (
        ({"lessons": ()}, "at least one lesson"),
        ({"rank": 4}, "no model to adapt"),
        ({"lessons": (Lesson("chain", share=0.0),)}, "one of them above 0"),
        ({"documents": 0}, "documents is 0, expected 1"),
    ):
        with pytest.raises(ValueError, match=told):
            dataclasses.replace(plan_of(), **wrong)


def test_documents_that_cannot_be_learned_from_are_named(reader):
    with pytest.raises(ValueError, match="a horizon of 9 tokens does not fit a document of 5"):
        make_learner("thoughts", reader, horizon=9).step(drawn(), 0)
    with pytest.raises(ValueError, match="more than 64"):
        make_learner("continuous", reader, count=4).read(plan_of(lesson=Lesson("text", {"length": 40})).drawn(0), 0)
    silent = [dataclasses.replace(one, scored=np.zeros(len(one), np.bool_)) for one in drawn()]
    with pytest.raises(ValueError, match="nothing to learn from"):
        make_learner("plain", reader).step(silent, 0)
