"""The crosscoder on a dictionary we made: which latents are shared, new and lost is known, and so are their
directions."""

import pytest
import torch

from palaestra.interp.diff.crosscoder import Settings, batch_top_k, scaling, train
from palaestra.interp.errors import InterpError

WIDTH, SHARED, NEW, LOST = 32, 12, 4, 4


def made(count: int, seed: int, new: int = NEW, lost: int = LOST):
    """Activations of two models that share SHARED directions; ``new`` are used by the second one only, ``lost`` by the
    first one only. Shared ones are a little turned, as training turns them."""
    total = SHARED + new + lost
    fixed = torch.Generator().manual_seed(0)
    directions = torch.randn(total, WIDTH, generator=fixed) + torch.zeros(2, 1, 1)
    directions[1] += 0.2 * torch.randn(total, WIDTH, generator=fixed)
    directions /= directions.norm(dim=-1, keepdim=True)
    directions[0, SHARED : SHARED + new] = 0
    directions[1, SHARED + new :] = 0
    draw = torch.Generator().manual_seed(seed)
    active = torch.rand(count, total, generator=draw) < 0.12
    f = active * (0.5 + torch.rand(count, total, generator=draw))
    x = torch.einsum("nl,mld->nmd", f, directions) + 0.01 * torch.randn(count, 2, WIDTH, generator=draw)
    return x[:, 0], x[:, 1], directions


SETTINGS = Settings(latents=28, k=3, steps=350, batch=128, rate=3e-3)


@pytest.fixture(scope="module")
def trained():
    before, after, directions = made(8000, 1)
    one = train(before, after, SETTINGS)
    fresh = made(4000, 2)
    return one, scaling(one, fresh[0], fresh[1]), directions


def partner(one, directions, side, index):
    """The latent whose decoder is nearest to a true direction, and the cosine."""
    decoders = one.decoder[side]
    cosines = decoders @ directions[side, index] / decoders.norm(dim=-1).clamp_min(1e-9)
    # a decoder that is nearly nothing has a direction, but says nothing
    cosines = torch.where(decoders.norm(dim=-1) > 0.3 * decoders.norm(dim=-1).max(), cosines, -1.0)
    return int(cosines.argmax()), float(cosines.max())


def test_directions_are_recovered(trained):
    one, latents, directions = trained
    assert min(latents.explained) > 0.9
    found = [
        partner(one, directions, side, index)[1]
        for side, kinds in ((1, range(SHARED + NEW)), (0, range(SHARED)))
        for index in kinds
    ]
    assert sum(cosine > 0.9 for cosine in found) >= 0.9 * len(found)


def test_new_lost_and_shared_latents_are_told_apart(trained):
    one, latents, directions = trained
    told = lambda side, indices: [latents.verdicts[partner(one, directions, side, index)[0]] for index in indices]  # noqa: E731
    assert told(1, range(SHARED, SHARED + NEW)).count("new") >= NEW - 1
    assert told(0, range(SHARED + NEW, SHARED + NEW + LOST)).count("lost") >= LOST - 1
    shared = told(1, range(SHARED))
    assert shared.count("shared") >= SHARED - 2
    assert not {"new", "lost"} & set(shared)


def test_two_equal_models_have_no_latent_of_their_own():
    before, _, _ = made(4000, 3)
    latents = scaling(
        train(before, before.clone(), Settings(latents=28, k=3, steps=120, batch=128, rate=3e-3)), before, before
    )
    assert not latents.of("new")
    assert not latents.of("lost")
    assert len(latents.of("shared")) > 8


def test_batch_top_k_keeps_k_a_row_on_average():
    f = torch.rand(6, 10, generator=torch.Generator().manual_seed(0))
    kept, smallest = batch_top_k(f, f, 2)
    assert int((kept > 0).sum()) == 12
    assert float(kept[kept > 0].min()) == float(smallest)


def test_activations_that_do_not_line_up_are_refused():
    with pytest.raises(InterpError, match="same tokens"):
        train(torch.zeros(20, 4), torch.zeros(19, 4), Settings(latents=8, k=2))
