"""Positions: the published formulas, what each kind lets a model know, and kinds from outside."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from ideas.alibi import ALiBi
from nn_toys import ids, in_parts, randomised, same
from torch import nn

from lab.data import masks
from lab.nn import DecoderOnlyTransformer, EncoderOnlyTransformer, Positions, TransformerConfig
from lab.nn.positions import LearnedPositions, RotaryPositions, SinusoidalPositions, sinusoids
from lab.nn.step import make_step

CONFIG = TransformerConfig(vocab_size=30, context=20, width=8, num_layers=2, num_heads=2, feed_forward=12)


def test_sinusoids_are_those_of_the_paper():
    positions = SinusoidalPositions(replace(CONFIG, width=6, positions="sinusoidal"))
    angles = [[place / 10_000 ** (2 * i / 6) for i in range(3)] for place in range(20)]
    same(positions.table[:, 0::2], torch.tensor(angles).sin(), 1e-6)
    same(positions.table[:, 1::2], torch.tensor(angles).cos(), 1e-6)
    assert not positions.state_dict()
    with pytest.raises(ValueError, match="width"):
        sinusoids(torch.arange(3), 7)


def test_pairs_turn_by_the_angles_of_the_paper_and_distance_alone_matters():
    rotary = RotaryPositions(replace(CONFIG, rotary_base=100.0))  # heads 4 wide
    at = lambda x, place: rotary.turn(x, rotary.tables(torch.tensor([place])))[0, 0, 0]  # noqa: E731
    slow = 3 * 100.0**-0.5
    expected = torch.tensor([math.cos(3), 2 * math.cos(slow), math.sin(3), 2 * math.sin(slow)])
    same(at(torch.tensor([1.0, 2.0, 0.0, 0.0]).view(1, 1, 1, 4), 3), expected, 1e-6)
    q, k = torch.randn(2, 1, 1, 1, 4)
    products = torch.stack([at(q, place) @ at(k, place + 4) for place in (0, 5, 15)])
    same(products, products[:1].expand(3), 1e-5)


class Everything(LearnedPositions):
    """All four methods at once, with weights of its own."""

    def tables(self, positions):
        return self.weight[positions][..., :1].unsqueeze(-3)

    def turn(self, x, tables):
        return x * (1 + tables)

    def bias(self, q_positions, k_positions):
        return (q_positions[..., :, None] * k_positions[..., None, :]).unsqueeze(-3) / 100


@dataclass(frozen=True)
class Own:
    kind: type

    def to_json(self) -> dict:
        return {}

    def build(self, config):
        return self.kind(config)


OUTSIDE = {"alibi": ALiBi(steepest=8.0), "everything": Own(Everything), "nothing": Own(Positions)}


def built(kind=DecoderOnlyTransformer, **changes) -> nn.Module:
    return randomised(kind(replace(CONFIG, **changes)), 0.4)


@pytest.mark.parametrize("positions", OUTSIDE.values(), ids=OUTSIDE)
@pytest.mark.parametrize("changes", [{}, {"num_key_value_heads": 1}, {"latent_width": 6}])
def test_positions_from_outside_work_like_any_other(positions, changes):
    model, x = built(positions=positions, **changes), ids(3, 12)
    whole = model(x)
    same(in_parts(model, x, [4, 1, 7], model.new_cache(3)), whole)
    same(model(x, mask=masks.causal(12)), whole)
    moves = (model(x, positions=torch.arange(12) + 3) - whole).abs().max() > 1e-8
    assert moves == (positions == Own(Everything)), "the others know of distances alone, or of nothing"
    document_ids = torch.tensor([[0] * 5 + [1] * 7]).expand(3, -1)
    packed = model(x, document_ids=document_ids, positions=torch.tensor([*range(5), *range(7)]))
    same(packed, torch.cat([model(x[:, :5]), model(x[:, 5:])], dim=1))
    assert not any(weights[..., ~masks.causal(12)].any() for weights in model.attention_maps(x))
    assert make_step(model) is None or positions == Own(Positions)
    assert built(EncoderOnlyTransformer, positions=positions, **changes)(x).isfinite().all()


def test_alibi_is_what_the_paper_says():
    """Against scores made by hand, in the first layer."""
    model, x = built(positions=ALiBi(steepest=8.0)), ids(1, 6)
    layer = model.decoder.blocks[0].self_attention
    q, k, _ = layer.attention.project(layer.read(model.embedding(x, None)))
    for h in range(2):
        scores = q[0, h] @ k[0, h].T / 2
        for t in range(6):
            row = torch.stack([scores[t, s] - 8 * 2.0 ** (-4 * (h + 1)) * (t - s) for s in range(t + 1)])
            same(model.attention_maps(x)[0][0, h, t, : t + 1], row.exp() / row.exp().sum(), 1e-6)


def test_weights_of_positions_are_one_tensor_in_the_model():
    model = DecoderOnlyTransformer(replace(CONFIG, positions="learned"))
    assert model.decoder.positions is model.embedding.place
    assert sum(p.shape == (20, 8) for p in model.parameters()) == 1
