"""Keys and values written in place, against transformers' own cache and against plain indexing."""

import torch
from transformers import DynamicCache

from palaestra.agents.columns import columns


def test_columns_hold_what_transformers_cache_holds():
    ours, theirs = columns(), DynamicCache()
    for width in (3, 1, 1, 7, 1, 40):
        for layer in range(2):
            states = torch.randn(2, 4, 3, width, 5).unbind(0)
            for one, other in zip(ours.update(*states, layer), theirs.update(*states, layer), strict=True):
                assert torch.equal(one, other)
        assert ours.get_seq_length() == theirs.get_seq_length()


def test_each_row_keeps_the_columns_that_are_named():
    cache = columns()
    keys, values = torch.randn(2, 2, 1, 4, 3).unbind(0)
    cache.update(keys, values, 0)
    cache.layers[0].keep(torch.tensor([[3, 1], [0, 2]]))
    new = torch.randn(2, 1, 1, 3)
    found, _ = cache.update(new, new, 0)
    assert torch.equal(found[0], torch.cat([keys[0][:, [3, 1]], new[0]], 1))
    assert torch.equal(found[1], torch.cat([keys[1][:, [0, 2]], new[1]], 1))
