import numpy as np
import pytest
import torch

from lab.data.loader import CHUNK, in_order, shuffled


@pytest.mark.parametrize("length", [0, 1, 2, 1000, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 300_001])
def test_every_number_comes_once(length):
    chunks = list(shuffled(length, torch.Generator().manual_seed(length)))
    assert all(len(chunk) <= CHUNK and chunk.dtype == np.int64 for chunk in chunks)
    assert np.array_equal(np.sort(np.concatenate(chunks)), np.arange(length))
    assert np.array_equal(np.concatenate([[], *in_order(length)]), np.arange(length))


def test_a_long_order_looks_random():
    length, cells = 200_000, 20
    orders = [
        np.concatenate(list(shuffled(length, torch.Generator().manual_seed(seed)))) for seed in range(3)
    ]
    assert not np.array_equal(orders[0], orders[1])
    expected = length / cells**2
    for order in orders:
        place = np.arange(length) * cells // length
        follows = np.roll(order, 1) * cells // length
        for one in (place, follows):  # a number tells nothing of where it stands, nor of what comes next
            counts = np.bincount(one * cells + order * cells // length, minlength=cells**2)
            chi_squared = ((counts - expected) ** 2 / expected).sum()
            assert abs(chi_squared - cells**2) < 6 * np.sqrt(2 * cells**2), chi_squared
