"""The hand-written layers against torch's autograd, in float64, over drawn shapes and every kind of mask."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lab.data import masks
from lab.scratch import Linear, MultiHeadAttention, ScaledDotProductAttention, Softmax

quick = settings(max_examples=60, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 5)
leading_dims = st.lists(st.integers(1, 3), max_size=3)


def assert_same(ours, theirs):
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)


def leaves(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.tensor(array, requires_grad=True) for array in arrays]


def torch_attention(q, k, v, mask=None):
    """torch's own; a query that sees nothing is opened before and emptied after, as kernels differ there."""
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v)
    mask = torch.tensor(np.array(mask))
    sees = mask.any(-1, keepdim=True)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask | ~sees).masked_fill(~sees, 0.0)


@st.composite
def attention_masks(draw, leading: list[int], L: int, S: int):
    """None, or a mask of one of the kinds, broadcastable to (*leading, L, S)."""
    rng = np.random.default_rng(draw(seeds))
    rows = [size if draw(st.booleans()) else 1 for size in leading]
    kind = draw(st.sampled_from(["none", "causal", "padding", "documents", "random", "nothing"]))
    if kind == "none":
        return None
    if kind == "causal":
        return np.tri(L, S, dtype=bool)
    if kind == "padding":  # a length of 0 blocks whole rows
        return np.arange(S) < rng.integers(0, S + 1, (*rows, 1, 1))
    if kind == "documents":  # queries may be the last L of the S tokens; -1 is padding
        ids = rng.integers(-1, 2, (*rows, max(L, S)))
        queries, keys = ids[..., :, None][..., -L:, :], ids[..., None, :S]
        return (queries == keys) & (keys >= 0)
    if kind == "random":
        return rng.random((*rows, L, S)) < 0.6
    return np.zeros((L, S), dtype=bool)


@given(leading=leading_dims, inputs=sizes, outputs=sizes, seed=seeds)
@quick
def test_linear_is_torchs(leading, inputs, outputs, seed):
    rng = np.random.default_rng(seed)
    layer = Linear(inputs, outputs, rng)
    x, dy = rng.standard_normal((*leading, inputs)), rng.standard_normal((*leading, outputs))
    tx, weight, bias = leaves(x, layer.weight, layer.bias)
    expected = F.linear(tx, weight, bias)
    assert_same(layer.forward(x), expected)
    expected.backward(torch.tensor(dy))
    assert_same(layer.backward(dy), tx.grad)
    assert_same(layer.gradients()["weight"], weight.grad)
    assert_same(layer.gradients()["bias"], bias.grad)


def test_linear_starts_where_torchs_does():
    layer = Linear(100, 200, np.random.default_rng(0))
    theirs = nn.Linear(100, 200)
    for ours, other in ((layer.weight, theirs.weight), (layer.bias, theirs.bias)):
        assert ours.shape == tuple(other.shape) and ours.dtype == np.float64
        assert 0.09 < np.abs(ours).max() <= 0.1 and abs(ours.std() - other.std().item()) < 0.01


def test_softmax_bears_large_numbers_and_what_is_blocked_is_never_read():
    with np.errstate(all="raise", under="ignore"):  # exp(-20000) is 0, as it should be
        assert_same(Softmax().forward(np.array([1e4, 1e4, -1e4])), np.array([0.5, 0.5, 0.0]))
        assert_same(Softmax().forward(np.array([-1e4, -1e4])), np.array([0.5, 0.5]))
        assert_same(Softmax().forward(np.array([-np.inf, 0.0])), np.array([0.0, 1.0]))
        x, mask = np.array([1.0, np.nan, np.inf, 1.0]), np.array([True, False, False, True])
        assert_same(Softmax().forward(x, mask), np.array([0.5, 0.0, 0.0, 0.5]))


@given(leading=leading_dims, L=sizes, S=sizes, E=sizes, Ev=sizes, seed=seeds, data=st.data())
@settings(quick, max_examples=150)
def test_attention_is_torchs(leading, L, S, E, Ev, seed, data):
    rng = np.random.default_rng(seed)
    q, k, v, d_output = (
        rng.standard_normal((*leading, *shape)) for shape in ((L, E), (S, E), (S, Ev), (L, Ev))
    )
    mask = data.draw(attention_masks(leading, L, S))
    tq, tk, tv = leaves(q, k, v)
    expected = torch_attention(tq, tk, tv, mask)
    expected.backward(torch.tensor(d_output))
    layer = ScaledDotProductAttention()
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        output, gradients = layer.forward(q, k, v, mask), layer.backward(d_output)
    assert_same(output, expected)
    for gradient, leaf in zip(gradients, (tq, tk, tv), strict=True):
        assert_same(gradient, leaf.grad)

    allowed = np.broadcast_to(True if mask is None else mask, (*leading, L, S))
    assert layer.weights.shape == allowed.shape and (layer.weights[~allowed] == 0).all()
    np.testing.assert_allclose(layer.weights.sum(-1), allowed.any(-1), rtol=1e-12)
    blind, unseen = ~allowed.any(-1), ~allowed.any(-2)  # queries that see nothing, keys nobody sees
    assert not output[blind].any() and not gradients[0][blind].any()
    assert not gradients[1][unseen].any() and not gradients[2][unseen].any()


def test_float32_stays_float32():
    q = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    layer = ScaledDotProductAttention()
    for array in (layer.forward(q, q, q, np.tri(3, dtype=bool)), *layer.backward(q), layer.weights):
        assert array.dtype == np.float32


def as_torchs(layer: MultiHeadAttention) -> nn.MultiheadAttention:
    theirs = nn.MultiheadAttention(layer.embed_dim, layer.num_heads, batch_first=True).double()
    ours = {name: torch.tensor(array) for name, array in layer.parameters().items()}
    theirs.in_proj_weight.data = torch.cat([ours[f"{n}.weight"] for n in ("query", "key", "value")])
    theirs.in_proj_bias.data = torch.cat([ours[f"{n}.bias"] for n in ("query", "key", "value")])
    theirs.out_proj.weight.data, theirs.out_proj.bias.data = ours["output.weight"], ours["output.bias"]
    return theirs


@pytest.mark.parametrize("num_heads", [1, 2, 3, 6])
@pytest.mark.parametrize("kind", ["none", "causal", "padding", "both", "documents"])
def test_multi_head_is_torchs_module(num_heads, kind):
    """Whose masks say True = blocked, and whose rows must each see something."""
    N, L, C = 3, 5, 6
    S = 5 if kind in ("both", "documents") else 4
    rng = np.random.default_rng(num_heads)
    layer = MultiHeadAttention(C, num_heads, rng)
    theirs = as_torchs(layer)
    q, k, v, dy = (rng.standard_normal((N, T, C)) for T in (L, S, S, L))
    real = np.arange(S) < np.array([[S], [2], [1]]) if kind in ("padding", "both") else None
    pairs = np.tri(L, S, dtype=bool) if kind in ("causal", "both") else None
    if kind == "documents":
        ids = rng.integers(0, 2, (N, S))
        pairs = masks.documents(torch.tensor(ids))[:, 0].numpy()
    blocked = None if pairs is None else torch.tensor(~pairs)
    if kind == "documents":
        blocked = blocked.repeat_interleave(num_heads, dim=0)  # (N * H, L, S)
    tq, tk, tv = leaves(q, k, v)
    unreal = None if real is None else torch.tensor(~real)
    how = dict(key_padding_mask=unreal, attn_mask=blocked, average_attn_weights=False)
    expected, weights = theirs(tq, tk, tv, **how)
    expected.backward(torch.tensor(dy))
    assert_same(layer.forward(q, k, v, key_padding_mask=real, attention_mask=pairs), expected)
    assert_same(layer.attention.weights, weights)
    for gradient, leaf in zip(layer.backward(dy), (tq, tk, tv), strict=True):
        assert_same(gradient, leaf.grad)
    found = layer.gradients()
    for kind_of in ("weight", "bias"):
        stacked = np.concatenate([found[f"{n}.{kind_of}"] for n in ("query", "key", "value")])
        assert_same(stacked, getattr(theirs, f"in_proj_{kind_of}").grad)
        assert_same(found[f"output.{kind_of}"], getattr(theirs.out_proj, kind_of).grad)


def test_parameters_are_the_layers_own_so_that_it_learns():
    rng = np.random.default_rng(0)
    layer, x = MultiHeadAttention(4, 2, rng), rng.standard_normal((2, 5, 4))
    assert not any(gradient.any() for gradient in layer.gradients().values()), "before the first backward"
    target, losses = np.roll(x, 1, axis=-1), []
    for _ in range(50):
        error = layer.forward(x, x, x) - target
        losses.append((error**2).mean())
        layer.backward(2 * error / error.size)
        for name, parameter in layer.parameters().items():
            parameter -= 0.5 * layer.gradients()[name]
    assert losses[-1] < 0.7 * losses[0] and losses == sorted(losses, reverse=True)


rng = np.random.default_rng(0)
ones, eye = np.ones, np.eye(3, dtype=bool)
LAYERS = {
    "linear": (lambda: Linear(4, 4, rng), 1),
    "softmax": (Softmax, 1),
    "attention": (ScaledDotProductAttention, 3),
    "heads": (lambda: MultiHeadAttention(4, 2, rng), 3),
}
every_layer = pytest.mark.parametrize("make, num_inputs", LAYERS.values(), ids=LAYERS)


@every_layer
def test_backward_answers_again_and_for_what_forward_saw(make, num_inputs):
    layer = make()
    *inputs, dy = np.random.default_rng(0).standard_normal((num_inputs + 1, 2, 3, 4))
    output = layer.forward(*inputs)
    first = np.stack(layer.backward(dy))
    for array in (*inputs, output):
        array[:] = 7.0  # as `x += ...` of a residual connection would
    assert np.array_equal(np.stack(layer.backward(dy)), first)


def linear(x):
    return lambda: Linear(2, 2, rng).forward(x)


def attention(query=(2, 3, 4), key=(2, 5, 4), value=(2, 5, 6), mask=None):
    return lambda: ScaledDotProductAttention().forward(ones(query), ones(key), ones(value), mask)


def multi_head(query=(2, 3, 4), **how):
    return lambda: MultiHeadAttention(4, 2, rng).forward(ones(query), *[ones((2, 5, 4))] * 2, **how)


REFUSALS = {
    "in_features": lambda: Linear(0, 2, rng),
    r"\(4, 3\)": linear(ones((4, 3))),
    "x .* int64": linear(np.ones((4, 2), int)),
    "mask .* float64": lambda: Softmax().forward(ones((3, 3)), np.tri(3)),
    r"mask .* \(3, 3\) .* \(3,\)": lambda: Softmax().forward(ones((3,)), eye),
    r"query \(2, 3, 5\)": attention(query=(2, 3, 5)),
    r"value \(2, 4, 6\)": attention(value=(2, 4, 6)),
    r"mask .* \(4, 1, 3, 5\)": attention(mask=np.ones((4, 1, 3, 5), bool)),
    "weights": lambda: ScaledDotProductAttention().weights,
    "embed_dim = 5": lambda: MultiHeadAttention(5, 2, rng),
    r"query \(1, 3, 4\)": multi_head(query=(1, 3, 4)),
    r"key_padding_mask .* \(3, 5\)": multi_head(key_padding_mask=np.ones((3, 5), bool)),
    r"attention_mask .* \(5, 3\)": multi_head(attention_mask=np.ones((5, 3), bool)),
}


@pytest.mark.parametrize("about", REFUSALS)
def test_refusals(about):
    with pytest.raises(ValueError, match=about):
        REFUSALS[about]()


@every_layer
def test_backward_needs_a_forward_and_a_gradient_that_fits(make, num_inputs):
    layer = make()
    with pytest.raises(ValueError, match="forward first"):
        layer.backward(ones((2, 3, 4)))
    layer.forward(*[ones((2, 3, 4))] * num_inputs)
    for wrong in (ones((3, 4)), np.ones((2, 3, 4), int)):
        with pytest.raises(ValueError, match="grad_output"):
            layer.backward(wrong)


def test_no_torch_is_needed():
    script = "import sys, lab.scratch; assert 'torch' not in sys.modules, 'torch is imported'"
    subprocess.run([sys.executable, "-c", script], check=True)
