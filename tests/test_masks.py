"""Masks against loops that say the same one cell at a time, and what attention makes of them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lab.data import masks
from lab.nn.attention import MultiHeadAttention, attend
from lab.nn.transformer import TransformerConfig

lengths_of_rows = st.integers(1, 8)
quick = settings(max_examples=60, deadline=None, derandomize=True)


def cell_by_cell(T: int, may_attend) -> torch.Tensor:
    return torch.tensor([[bool(may_attend(query, key)) for key in range(T)] for query in range(T)])


@given(T=lengths_of_rows, width=st.integers(1, 10), data=st.data())
@quick
def test_masks_of_one_shape_equal_their_definitions(T, width, data):
    n = data.draw(st.integers(0, T))
    assert torch.equal(masks.sliding(T, width), cell_by_cell(T, lambda q, k: q - width < k <= q))
    expected = cell_by_cell(T, lambda q, k: k <= q or (q < n and k < n))
    assert torch.equal(masks.prefix(T, n), expected)
    assert torch.equal(masks.prefix(T, [n, 0])[0, 0], expected)
    assert torch.equal(masks.prefix(T, torch.tensor([n, 0]))[1, 0], masks.causal(T))


def test_padding_shows_just_the_real_keys():
    assert masks.padding([1, 3], T=3).int().tolist() == [[[[1, 0, 0]]], [[[1, 1, 1]]]]


def test_masks_are_built_once_and_combine_gives_a_new_one():
    assert masks.causal(9) is masks.causal(9, "cpu") is masks.causal(9, torch.device("cpu"))
    assert masks.sliding(9, 3) is masks.sliding(9, 3)
    assert masks.sliding(9, 50) is masks.causal(9), "wider than the row is plainly causal"
    masks.combine(masks.causal(9)).zero_()
    assert torch.equal(masks.causal(9), torch.ones(9, 9).tril().bool())


def test_a_mask_first_asked_for_while_decoding_can_be_trained_with():
    with torch.inference_mode():
        made = masks.causal(13), masks.sliding(13, 4)
    q = torch.randn(1, 2, 13, 4, requires_grad=True)
    for mask in made:
        attend(q, q, q, mask).sum().backward()
    assert q.grad.isfinite().all()


@pytest.mark.parametrize(
    "call, about",
    [
        (lambda: masks.causal(0), "T "),
        (lambda: masks.causal(2.5), "T "),
        (lambda: masks.sliding(4, 0), "width"),
        (lambda: masks.prefix(4, [1, -1]), "n "),
        (lambda: masks.padding([2, 5, 9], 4), "lengths"),
        (lambda: masks.padding([[1]], 4), "lengths"),
        (lambda: masks.padding([1.5], 4), "lengths"),
        (lambda: masks.documents([[0, -2]]), "document_ids"),
        (lambda: masks.documents(torch.zeros(1, 2)), "document_ids"),
        (lambda: masks.combine(), "mask"),
        (lambda: masks.combine(masks.causal(3), torch.ones(3, 3)), "mask 1"),
        (lambda: masks.combine(masks.causal(3), masks.causal(4)), "broadcast"),
        (lambda: masks.to_blocked(torch.ones(2, 2)), "mask"),
        (lambda: masks.from_additive(masks.causal(2)), "mask"),
        (lambda: masks.from_additive(torch.tensor([0, -1e9])), "mask"),
        (lambda: masks.from_additive(torch.tensor([0, torch.nan])), "mask"),
    ],
)
def test_refusals(call, about):
    with pytest.raises(ValueError, match=about):
        call()


def test_converters_lead_back():
    mask = masks.combine(masks.causal(5), masks.padding([5, 2], 5))
    assert torch.equal(masks.from_blocked(masks.to_blocked(mask)), mask)
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        additive = masks.to_additive(mask, dtype)
        assert additive.dtype == dtype and torch.equal(masks.from_additive(additive), mask)


def test_one_mask_in_four_conventions_is_one_attention():
    B, T, C, H = 2, 6, 8, 2
    ours = MultiHeadAttention(TransformerConfig(1, width=C, num_heads=H, feed_forward=1)).double()
    theirs = nn.MultiheadAttention(C, H, bias=False, batch_first=True).double().eval()
    projections = (ours.query.weight, ours.key.weight, ours.value.weight)
    theirs.in_proj_weight.data = torch.cat(projections).detach()
    theirs.out_proj.weight.data = ours.output.weight.data
    x = torch.randn(B, T, C, dtype=torch.float64)
    causal, real = masks.causal(T), masks.padding([6, 4], T)
    mask = masks.combine(causal, real)
    expected = ours(x, mask)
    blocked, pads = masks.to_blocked(causal), masks.to_blocked(real)[:, 0, 0]
    same = [
        theirs(x, x, x, attn_mask=blocked, key_padding_mask=pads, need_weights=False)[0],
        theirs(x, x, x, attn_mask=masks.to_additive(mask, x.dtype).expand(B, H, T, T).flatten(0, 1))[0],
    ]
    q, k, v = ours.project(x)
    for convention in (mask, masks.to_additive(mask, x.dtype)):
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=convention)
        same.append(ours.output(mixed.transpose(1, 2).reshape(B, T, C)))
    for actual in same:
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("causal", "documents"), [(True, None), (False, None), (False, [[0, 0, 0, 1, 1]])])
def test_attention_that_learns_in_bfloat16_is_that_of_float64(causal, documents):
    mask = None if documents is None else masks.documents(documents)
    exact = [torch.randn(2, heads, 5, 8, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2)]
    coarse = [x.detach().bfloat16().requires_grad_() for x in exact]
    found = [attend(*given, mask, causal=causal) for given in (coarse, exact)]
    for mixed in found:
        (mixed * torch.arange(8)).sum().backward()
    pairs = [found, *((x.grad, y.grad) for x, y in zip(coarse, exact, strict=True))]
    for actual, expected in pairs:
        assert (actual - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_row_that_sees_nothing_gives_zeros_and_clean_gradients(dtype):
    mask = masks.documents([[0, 0, -1, 1, -1], [-1, -1, -1, -1, -1]])
    q, k, v = (torch.randn(2, 3, 5, 8, dtype=dtype, requires_grad=True) for _ in range(3))
    mixed = attend(q, k, v, mask)
    with torch.no_grad():
        assert torch.equal(attend(q, k, v, mask), mixed)
    assert not mixed[0, :, [2, 4]].any() and not mixed[1].any()
    assert mixed[0, :, [0, 1, 3]].abs().min() > 0
    mixed.sum().backward()
    for tensor in (q, k, v):
        assert tensor.grad.isfinite().all()
        assert not tensor.grad[0, :, [2, 4]].any() and not tensor.grad[1].any(), "padding learns nothing"


def test_zeros_do_not_rest_on_what_a_kernel_promises(monkeypatch):
    """Older and other kernels divide zero by zero, in the forward or only in the backward."""

    def plain(q, k, v, attn_mask=None, is_causal=False, enable_gqa=False):
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~attn_mask, -torch.inf)
        return scores.softmax(-1) @ v

    mask = masks.documents([[0, 0, -1, 1, -1]])
    q, k, v = (torch.randn(1, 2, 5, 4, requires_grad=True) for _ in range(3))
    assert plain(q, k, v, mask).isnan().any(), "this kernel is one of those"
    expected = attend(q, k, v, mask)
    monkeypatch.setattr("lab.nn.attention.F.scaled_dot_product_attention", plain)
    mixed = attend(q, k, v, mask)
    torch.testing.assert_close(mixed, expected)
    for gradient in torch.autograd.grad(mixed.square().sum(), (q, k, v)):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("shape", [(4,), (4, 5), (2, 5, 5), (2, 2, 5, 5), (3, 1, 5, 5), (1, 1, 1, 5, 5)])
def test_masks_that_do_not_broadcast_are_refused(shape):
    """Also (B, T, T) where B equals the number of heads, which torch would take for a mask of each head."""
    q = torch.randn(2, 2, 5, 4)
    with pytest.raises(ValueError, match="does not broadcast"):
        attend(q, q, q, torch.ones(shape, dtype=torch.bool))
