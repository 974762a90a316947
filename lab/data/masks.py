"""Attention masks: who may look at whom. In every mask here `True` = may attend, as in torch's SDPA.

A mask has a row for each query (the position that looks) and a column for each key (the position looked
at). Every mask broadcasts to `(B, 1, T, T)`: B rows of a batch, one mask for all heads, T queries, T keys.
"""

from collections.abc import Sequence
from functools import lru_cache, reduce
from numbers import Integral

import torch
from torch import Tensor

from lab.data.flat import check_whole

Device = torch.device | str | None
Ints = Tensor | Sequence[int]


def causal(T: int, device: Device = None) -> Tensor:
    """Each position sees itself and what came before it: bool `(T, T)`.

    Built once per T and device and shared by all who ask: do not write to it, `clone()` it first.
    Raises ValueError when T < 1.

    >>> causal(3).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    check_whole(1, T=T)
    return _band(T, T, torch.device(device or "cpu"))


def sliding(T: int, width: int, device: Device = None) -> Tensor:
    """Each position sees the last `width` positions, itself included: bool `(T, T)`.

    Shared like `causal`: do not write to it. Raises ValueError when T or width < 1.
    Source: Beltagy et al. 2020, Longformer, section 3.1, in its causal form.

    >>> sliding(4, width=2).int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    """
    check_whole(1, T=T, width=width)
    return _band(T, min(width, T), torch.device(device or "cpu"))  # wider than T is plainly causal


def prefix(T: int, n: int | Ints, device: Device = None) -> Tensor:
    """The first `n` positions see one another, both ways; the rest is causal.

    One number gives `(T, T)`, a number for each row of the batch, `(B,)`, gives `(B, 1, T, T)`.
    Raises ValueError unless every n is in 0 .. T.
    Source: Raffel et al. 2020, T5, figure 4 ("prefix language model").

    >>> prefix(3, n=2).int().tolist()
    [[1, 1, 0], [1, 1, 0], [1, 1, 1]]
    """
    if isinstance(n, Integral):
        n = torch.tensor(n, device=device)
    else:
        n = _whole_numbers("n", n, device, "B,").view(-1, 1, 1, 1)
    _check_range("n", n, T)
    return causal(T, n.device) | (torch.arange(T, device=n.device) < n)


def padding(lengths: Ints, T: int, device: Device = None) -> Tensor:
    """The keys that are real tokens, for right-padded rows: `(B,)` lengths -> bool `(B, 1, 1, T)`.

    It says nothing of who looks: `combine` it with `causal(T)`. On the device of `lengths` unless told.
    Raises ValueError for lengths below 0 or beyond T.

    >>> padding([1, 3], T=3).int().tolist()
    [[[[1, 0, 0]]], [[[1, 1, 1]]]]
    """
    lengths = _whole_numbers("lengths", lengths, device, "B,")
    _check_range("lengths", lengths, T)
    return torch.arange(T, device=lengths.device) < lengths.view(-1, 1, 1, 1)


def documents(
    document_ids: Tensor | Sequence[Sequence[int]], device: Device = None, *, both_ways: bool = False
) -> Tensor:
    """The sawtooth: causal inside each document of a packed row. `(B, T)` ids -> bool `(B, 1, T, T)`.

    Tokens with the same id are one document; -1 is padding, which attends nothing and is attended by
    nothing. `both_ways`: not causal, each token sees all of its document. On the device of `document_ids`
    unless told. Raises ValueError for ids that are not `(B, T)`, not whole numbers, or below -1.

    >>> documents([[0, 0, 1, -1]])[0, 0].int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    """
    ids = _whole_numbers("document_ids", document_ids, device, "B, T")
    if ids.numel() and int(ids.min()) < -1:
        raise ValueError(f"document_ids must be -1 (padding) or more, got {int(ids.min())}")
    query, key = ids[:, None, :, None], ids[:, None, None, :]
    same = (query == key) & (key >= 0)
    return same if both_ways else same & causal(ids.shape[1], ids.device)


def combine(*masks: Tensor) -> Tensor:
    """What every one of the masks allows, broadcast: `combine(causal(T), padding(lengths, T))`.

    A new tensor, free to be written to. Raises ValueError for no masks, for masks that are not bool, and for shapes
    that do not broadcast.

    >>> combine(causal(3), padding([2], T=3))[0, 0].int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 0]]
    """
    if not masks:
        raise ValueError("combine needs at least one mask, got none")
    first, *others = (_bool(f"mask {n}", mask) for n, mask in enumerate(masks))
    try:
        return reduce(torch.logical_and, others, first.clone())
    except RuntimeError as error:
        shapes = ", ".join(str(tuple(mask.shape)) for mask in masks)
        raise ValueError(f"masks of shapes {shapes} do not broadcast: each must fit (B, 1, T, T)") from error


def to_blocked(mask: Tensor) -> Tensor:
    """From ours to `nn.MultiheadAttention`'s convention, where `True` = may *not* attend.

    The trap: both conventions are bool tensors of the same shape, so the wrong one is accepted without a
    word and attention is inverted: each token sees exactly what it should not. A causal model then reads
    the future, its loss falls below what is possible, and its samples are noise. `F.scaled_dot_product_attention` and
    this project say `True` = may attend; `attn_mask` and `key_padding_mask` of `nn.MultiheadAttention` and
    `nn.TransformerEncoder` say `True` = blocked. Convert at the border, and nowhere else.

    Another difference: a row blocked altogether gives zeros here; `nn.MultiheadAttention` gives NaN for it,
    or zeros, by whether it trains and whether weights are asked for.

    >>> to_blocked(causal(2)).int().tolist()
    [[0, 1], [0, 0]]
    """
    return ~_bool("mask", mask)


def from_blocked(mask: Tensor) -> Tensor:
    """From `nn.MultiheadAttention`'s convention (`True` = blocked) to ours; see `to_blocked` for the trap."""
    return ~_bool("mask", mask)


def to_additive(mask: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """As numbers to add to the scores before the softmax: 0 = may attend, -inf = blocked.

    The trap: a bool mask turned into numbers by `mask.float()` is not this. It adds 1 to some scores and 0
    to the others, which blocks nothing, and nothing complains. Use the dtype of the queries, as torch's
    attention demands. Raises ValueError for a mask that is not bool.

    >>> to_additive(causal(2)).tolist()
    [[0.0, -inf], [0.0, 0.0]]
    """
    zeros = torch.zeros(mask.shape, dtype=dtype, device=_bool("mask", mask).device)
    return zeros.masked_fill(~mask, -torch.inf)


def from_additive(mask: Tensor) -> Tensor:
    """From numbers added to the scores (0 or -inf) to ours.

    Raises ValueError for other values: a bias such as ALiBi is not a mask, and a large negative number
    such as -1e9 blocks only as long as some other score in its row is not blocked.

    >>> from_additive(torch.tensor([0.0, -torch.inf])).tolist()
    [True, False]
    """
    allowed = mask == 0
    other = mask[~(allowed | (mask == -torch.inf))]
    if not mask.dtype.is_floating_point or other.numel():
        raise ValueError(
            f"an additive mask is floating point, 0 or -inf; got {mask.dtype} with the values {other.unique().tolist()}"
        )
    return allowed


@lru_cache(maxsize=64)
def _band(T: int, width: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # else a mask first asked for while decoding could not be trained with
        ones = torch.ones(T, T, dtype=torch.bool, device=device)
        return ones.tril().triu(1 - width)


def _check_range(name: str, values: Tensor, T: int) -> None:
    if ((values < 0) | (values > T)).any():
        raise ValueError(f"{name} must be in 0 .. T = {T}, got {values.tolist()}")


def _whole_numbers(name: str, values, device: Device, shape: str) -> Tensor:
    tensor = torch.as_tensor(values, device=device)
    if tensor.dim() != len(shape.split(", ")) or tensor.dtype == torch.bool or tensor.dtype.is_floating_point:
        raise ValueError(
            f"{name} must be whole numbers ({shape}), got {tensor.dtype} of shape {tuple(tensor.shape)}"
        )
    return tensor


def _bool(name: str, mask: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        raise ValueError(f"{name} must be bool, True = may attend; got {mask.dtype}")
    return mask
