"""Positions: the published formulas, what each kind lets a model know, and kinds from outside."""

import math
from dataclasses import asdict, dataclass, replace

import pytest
import torch
from torch import nn

from lab.config import from_json, to_json
from lab.data import masks
from lab.nn import DecoderOnlyTransformer, EncoderOnlyTransformer, Positions, TransformerConfig
from lab.nn.positions import LearnedPositions, RotaryPositions, SinusoidalPositions, sinusoids
from lab.nn.step import make_step

CONFIG = TransformerConfig(vocab_size=30, context=20, width=8, num_layers=2, num_heads=2, feed_forward=12)


def test_sinusoids_are_those_of_the_paper():
    table = SinusoidalPositions(replace(CONFIG, width=6, positions="sinusoidal")).table
    for place in range(20):
        for i in range(3):
            angle = place / 10_000 ** (2 * i / 6)
            assert table[place, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[place, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)
    with pytest.raises(ValueError, match="width"):
        sinusoids(torch.arange(3), 7)


@pytest.mark.parametrize("kind", [SinusoidalPositions, LearnedPositions])
def test_positions_may_be_given_for_every_row(kind):
    places, x = kind(CONFIG), torch.randn(2, 5, 8)
    positions = torch.tensor([[0, 1, 2, 0, 1], [5, 6, 7, 8, 19]])
    vectors = places.embed(x, positions) - x
    torch.testing.assert_close(vectors[0, :2], vectors[0, 3:])
    torch.testing.assert_close(vectors[1, 4], places.embed(torch.zeros(8), torch.tensor([19]))[0])
    assert bool(list(places.parameters())) == (kind is LearnedPositions) == bool(places.state_dict())


def test_pairs_turn_by_the_angles_of_the_paper_and_distance_alone_matters():
    rotary = RotaryPositions(replace(CONFIG, rotary_base=100.0))  # heads 4 wide
    at = lambda x, place: rotary.turn(x, rotary.tables(torch.tensor([place])))[0, 0, 0]  # noqa: E731
    slow = 3 * 100.0**-0.5
    expected = [math.cos(3), 2 * math.cos(slow), math.sin(3), 2 * math.sin(slow)]
    assert at(torch.tensor([1.0, 2.0, 0.0, 0.0]).view(1, 1, 1, 4), 3).tolist() == pytest.approx(
        expected, abs=1e-6
    )
    q, k = torch.randn(2, 1, 1, 1, 4)
    products = [at(q, place) @ at(k, place + 4) for place in (0, 5, 15)]
    torch.testing.assert_close(products[0].expand(2), torch.stack(products[1:]), rtol=1e-4, atol=1e-5)
    assert at(q, 17).norm() == pytest.approx(q.norm().item(), rel=1e-5)


# From outside


@dataclass(frozen=True)
class Alibi:
    """Press et al. 2022: the score falls with the distance, in each head at a rate of its own."""

    start: float = 0.5

    def to_json(self) -> dict:
        return asdict(self)

    def build(self, config: TransformerConfig) -> Positions:
        return AlibiPositions(config, self.start)


class AlibiPositions(Positions):
    def __init__(self, config, start):
        super().__init__(config)
        self.slopes = start ** torch.arange(1, config.num_heads + 1)  # (H,)

    def bias(self, q_positions, k_positions):
        distance = (q_positions[..., :, None] - k_positions[..., None, :]).abs()  # (..., T, S)
        return -self.slopes[:, None, None] * distance.unsqueeze(-3)


class Everything(Positions):
    """All four methods at once, with weights of its own."""

    def __init__(self, config):
        super().__init__(config)
        self.weight = nn.Parameter(torch.randn(config.places, config.width))

    def embed(self, x, positions):
        return x + self.weight[positions]

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


OUTSIDE = {"alibi": Alibi(0.3), "everything": Own(Everything), "nothing": Own(Positions)}


def randomised(config: TransformerConfig, kind=DecoderOnlyTransformer) -> nn.Module:
    torch.manual_seed(0)
    model = kind(config).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


@pytest.mark.parametrize("positions", OUTSIDE.values(), ids=OUTSIDE)
@pytest.mark.parametrize("changes", [{}, {"num_key_value_heads": 1}, {"latent_width": 6}])
def test_positions_from_outside_work_like_any_other(positions, changes):
    model = randomised(replace(CONFIG, positions=positions, **changes))
    x = torch.randint(5, 30, (3, 12))
    whole = model(x)
    cache = model.new_cache(3)
    parts = [model(part, cache=cache) for part in x.split([4, 1, 7], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-10)
    torch.testing.assert_close(model(x, mask=masks.causal(12)), whole, rtol=0, atol=1e-10)
    assert (
        not torch.allclose(model(x, positions=torch.arange(12) + 3), whole)
        or type(positions) is Alibi
        or (positions.kind is Positions)
    )
    document_ids = torch.tensor([[0] * 5 + [1] * 7]).expand(3, -1)
    places = torch.tensor([*range(5), *range(7)])
    packed = model(x, document_ids=document_ids, positions=places)
    alone = torch.cat([model(x[:, :5]), model(x[:, 5:])], dim=1)
    torch.testing.assert_close(packed, alone, rtol=0, atol=1e-10)
    for weights in model.attention_maps(x):
        assert not weights[..., ~masks.causal(12)].any()
    assert make_step(model) is None or positions.kind is Positions
    assert randomised(model.config, EncoderOnlyTransformer)(x).isfinite().all()


def test_alibi_is_what_the_paper_says():
    """Against scores made by hand, in the first layer."""
    model, x = randomised(replace(CONFIG, positions=Alibi())), torch.randint(5, 30, (1, 6))
    layer = model.decoder.blocks[0].self_attention
    q, k, _ = layer.attention.project(layer.read(model.embedding(x, None)))
    for h in range(2):
        scores = q[0, h] @ k[0, h].T / 2
        for t in range(6):
            row = [scores[t, s].item() - 0.5 ** (h + 1) * (t - s) for s in range(t + 1)]
            powers = [math.exp(score) for score in row]
            found = model.attention_maps(x)[0][0, h, t, : t + 1]
            assert found.tolist() == pytest.approx([p / sum(powers) for p in powers], abs=1e-6)


def test_positions_from_outside_are_kept_in_a_config():
    config = replace(CONFIG, positions=Alibi(0.25))
    kept = to_json(config)
    assert from_json(TransformerConfig, kept, outside=[Alibi]) == config
    with pytest.raises(ValueError, match="Alibi"):
        from_json(TransformerConfig, kept)


def test_weights_of_positions_are_one_tensor_in_the_model():
    model = DecoderOnlyTransformer(replace(CONFIG, positions="learned"))
    assert model.decoder.positions is model.embedding.place
    assert sum(p.shape == (20, 8) for p in model.parameters()) == 1
