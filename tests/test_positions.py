"""Positions: the published formula, and what each kind lets a model know."""

import math

import pytest
import torch

from lab.nn.positions import LearnedPositions, RotaryPositions, SinusoidalPositions, rotate, sinusoids


def test_sinusoids_are_those_of_the_paper():
    table = SinusoidalPositions(width=6, num_positions=12).table
    for place in range(12):
        for i in range(3):
            angle = place / 10_000 ** (2 * i / 6)
            assert table[place, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[place, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_a_shift_turns_the_sinusoids_the_same_way_everywhere():
    table = sinusoids(torch.arange(50), 8).double()
    products = table @ table.T
    for distance in (1, 7):
        along = products.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [SinusoidalPositions, LearnedPositions])
def test_positions_may_be_given_for_every_row(kind):
    places = kind(8, 20)
    positions = torch.tensor([[0, 1, 2, 0, 1], [5, 6, 7, 8, 19]])
    vectors = places(positions)
    assert vectors.shape == (2, 5, 8)
    assert torch.equal(vectors[0, :2], vectors[0, 3:]), "a row restarts"
    assert torch.equal(vectors[1, 4], places(torch.tensor([19]))[0])


def test_a_table_is_made_once_and_not_trained():
    places = SinusoidalPositions(8, 20)
    assert list(places.parameters()) == [] and dict(places.state_dict()) == {}
    assert places(torch.arange(3)).data_ptr() != 0 and places.table is places.table
    assert len(list(LearnedPositions(8, 20).parameters())) == 1


def test_turning_keeps_lengths_and_depends_on_distance_only():
    rotary = RotaryPositions(head_width=8, num_positions=30)
    q, k = torch.randn(2, 1, 1, 1, 8)
    products = [
        (rotate(q, *rotary(torch.tensor([at]))) * rotate(k, *rotary(torch.tensor([at + 4])))).sum()
        for at in (0, 5, 25)
    ]
    torch.testing.assert_close(products[0].expand(2), torch.stack(products[1:]), rtol=1e-4, atol=1e-5)
    assert rotate(q, *rotary(torch.tensor([17]))).norm() == pytest.approx(q.norm().item(), rel=1e-5)


def test_pairs_turn_by_the_angles_of_the_paper():
    rotary = RotaryPositions(head_width=4, num_positions=10, base=100.0)
    x = torch.tensor([1.0, 2.0, 0.0, 0.0]).view(1, 1, 1, 4)
    turned = rotate(x, *rotary(torch.tensor([3])))[0, 0, 0]
    slow = 3 * 100.0**-0.5
    expected = [math.cos(3), 2 * math.cos(slow), math.sin(3), 2 * math.sin(slow)]
    assert turned.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", [SinusoidalPositions, RotaryPositions])
def test_pairs_need_an_even_width(kind):
    with pytest.raises(ValueError, match="width 7 is not an even number"):
        kind(7, 10)
