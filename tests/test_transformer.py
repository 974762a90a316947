import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from lab.nn.attention import MultiHeadSelfAttention
from lab.nn.positions import RotaryPositions, rotate
from lab.nn.transformer import AbsolutePositionTransformer, DecoderOnlyTransformer, TransformerConfig

CONFIG = TransformerConfig(vocab_size=50, context=24, width=32, num_layers=3, num_heads=4, feed_forward=48)


@pytest.fixture
def model() -> DecoderOnlyTransformer:
    """Random weights everywhere: with the zero initialisation most tests here could not fail."""
    model = DecoderOnlyTransformer(CONFIG).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def ids(rows: int = 2, length: int = 20) -> torch.Tensor:
    return torch.randint(5, CONFIG.vocab_size, (rows, length))


def test_the_first_loss_is_that_of_a_uniform_guess():
    model = DecoderOnlyTransformer(CONFIG)
    x = ids()
    loss = cross_entropy(model(x).flatten(0, 1), x.flatten())
    assert loss.item() == pytest.approx(math.log(CONFIG.vocab_size), rel=1e-6)


def test_no_gradient_reaches_the_future(model):
    embedded = []
    model.embedding.register_forward_hook(lambda *args: embedded.append(args[2].requires_grad_()))
    logits = model(ids(rows=1))
    for t in range(logits.shape[1]):
        (gradient,) = torch.autograd.grad(logits[0, t].sum(), embedded[0], retain_graph=True)
        reached = gradient[0].abs().sum(-1) > 0
        assert reached[: t + 1].all(), f"position {t} should see everything up to itself"
        assert not reached[t + 1 :].any(), f"position {t} sees the future"


@pytest.mark.parametrize("sizes", [[1] * 20, [20], [7, 1, 1, 11], [1, 19]])
def test_reading_in_parts_with_a_cache_gives_the_same_logits(model, sizes):
    x = ids(rows=3)
    cache = model.new_cache(batch=3)
    parts = [model(part, cache=cache) for part in x.split(sizes, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(x), rtol=0, atol=1e-10)
    assert cache.length == 20


def test_only_distances_between_positions_matter(model):
    x = ids(length=10)
    shifted = torch.arange(10) + 9
    torch.testing.assert_close(model(x, positions=shifted), model(x), rtol=0, atol=1e-6)  # float32 tables
    stretched = torch.arange(10) * 2
    assert (model(x, positions=stretched) - model(x)).abs().max() > 1e-3


def test_positions_may_differ_from_row_to_row(model):
    x = ids(length=6)
    positions = torch.stack([torch.arange(6), torch.arange(6) * 3])
    both = model(x, positions=positions)
    for row in range(2):
        alone = model(x[row : row + 1], positions=positions[row])
        torch.testing.assert_close(both[row : row + 1], alone, rtol=0, atol=1e-10)


def test_a_mask_says_who_may_attend(model):
    x = ids()
    causal = torch.ones(20, 20, dtype=torch.bool).tril()
    torch.testing.assert_close(model(x, mask=causal), model(x), rtol=0, atol=1e-10)
    only_self = torch.eye(20, dtype=torch.bool)
    alone = torch.cat([model(x[:, t : t + 1], positions=torch.tensor([t])) for t in range(20)], dim=1)
    torch.testing.assert_close(model(x, mask=only_self), alone, rtol=0, atol=1e-10)


def test_with_absolute_positions_it_matters_where_a_token_stands():
    model = AbsolutePositionTransformer(CONFIG, num_positions=40).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = ids(rows=2, length=10)
    assert (model(x, positions=torch.arange(10) + 30) - model(x)).abs().max() > 1e-3
    cache = model.new_cache(batch=2)
    parts = [model(part, cache=cache) for part in x.split([4, 1, 5], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(x), rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="position 40, but there are only 40"):
        model(x, positions=torch.arange(10) + 31)


def test_attention_is_the_average_that_the_formula_says():
    B, T, C, H = 2, 5, 12, 3
    attention = MultiHeadSelfAttention(C, H).double()
    positions = RotaryPositions(C // H, T)
    x = torch.randn(B, T, C, dtype=torch.float64)
    rotation = positions.at(torch.arange(T))
    q, k, v = attention.query_key_value(x).chunk(3, dim=-1)
    heads = []
    for h in range(H):
        part = slice(h * C // H, (h + 1) * C // H)
        rotated = [rotate(z[:, None, :, part], *rotation)[:, 0] for z in (q, k)]
        scores = rotated[0] @ rotated[1].mT / math.sqrt(C // H)
        scores[:, torch.ones(T, T).triu(1).bool()] = -math.inf
        heads.append(scores.softmax(-1) @ v[..., part])
    expected = attention.output(torch.cat(heads, dim=-1))
    torch.testing.assert_close(attention(x, rotation), expected, rtol=0, atol=1e-6)


def test_turning_keeps_lengths_and_depends_on_distance_only():
    rotary = RotaryPositions(head_width=8, max_length=30)
    q, k = torch.randn(2, 1, 1, 1, 8)
    products = [
        (rotate(q, *rotary.at(torch.tensor([at]))) * rotate(k, *rotary.at(torch.tensor([at + 4])))).sum()
        for at in (0, 5, 25)
    ]
    torch.testing.assert_close(products[0].expand(2), torch.stack(products[1:]), rtol=1e-4, atol=1e-5)
    assert rotate(q, *rotary.at(torch.tensor([17]))).norm() == pytest.approx(q.norm().item(), rel=1e-5)


@pytest.mark.parametrize("field", list(vars(CONFIG)))
def test_a_config_refuses_what_cannot_be(field):
    with pytest.raises(ValueError, match=field):
        replace(CONFIG, **{field: 0})


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width 32 must split into 5 heads"):
        replace(CONFIG, num_heads=5)


def test_too_long_a_text_is_refused_with_both_numbers(model):
    with pytest.raises(ValueError, match="25 tokens do not fit in a context of 24"):
        model(ids(length=25))
    cache = model.new_cache(2)
    model(ids(length=20), cache=cache)
    with pytest.raises(ValueError, match="25 tokens do not fit"):
        model(ids(length=5), cache=cache)
