"""Corrupted text and what to say of it: characters masked, and characters taken out.

Letters: B rows of a batch, T characters a row, T' characters a row once some are taken out, V ids in the vocabulary.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lab.data import IGNORE
from lab.text import Tokenizer

SPLIT = (0.8, 0.1, 0.1)


class Masked(NamedTuple):
    """A batch with some characters chosen: `ids` shows them corrupted, `targets` holds what they were.

    Both are int64 `(B, T)`; targets are `IGNORE` where nothing was chosen.
    """

    ids: Tensor
    targets: Tensor


def mask_characters(
    ids: Tensor,
    *,
    rate: float,
    vocab_size: int,
    mask_id: int,
    specials: Iterable[int],
    generator: torch.Generator,
    space_id: int | None = None,
    space_rate: float | None = None,
    split: Sequence[float] = SPLIT,
) -> Masked:
    """Choose characters at random, each by itself, and hide them: the input of masked language modelling.

    ids `(B, T)`. Each character is chosen with probability `rate`, a space (`space_id`) with `space_rate` where that
    is given. Of the chosen, `split` says which share becomes `mask_id`, which a character drawn at random (all equally
    likely, itself among them), and which stays as it is. `specials`, and `mask_id` with them, are never chosen and
    never drawn; see `special_ids`. The draws are made on the generator's device, as many for every text, so a CPU
    generator masks alike on every device.

    Raises ValueError for ids outside the vocabulary, rates outside 0 .. 1, a split that is not three shares with sum
    1, a `space_rate` without a `space_id` that can be chosen, or a vocabulary of special ids alone. Source: Devlin et
    al. 2019, BERT, section 3.1 (80 %, 10 %, 10 %).

    >>> ids = torch.tensor([[2, 5, 6, 5, 7, 3, 0]])  # <s>, four characters, </s>, padding
    >>> masked = mask_characters(ids, rate=0.5, vocab_size=8, mask_id=4, specials=range(5),
    ...                          generator=torch.Generator().manual_seed(19))
    >>> masked.ids.tolist(), masked.targets.tolist()
    ([[2, 7, 6, 5, 4, 3, 0]], [[-100, 5, -100, -100, 7, -100, -100]])
    """
    specials = {*specials, mask_id}
    for name, some in {"ids": ids.unique().tolist(), "specials and mask_id": specials}.items():
        if wrong := [i for i in some if not 0 <= i < vocab_size]:
            raise ValueError(f"{name} must be from 0 to {vocab_size - 1}, below vocab_size; got {wrong[0]}")
    for name, value in {"rate": rate, "space_rate": space_rate or 0}.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is a probability, from 0 to 1; got {value!r}")
    if len(split) != 3 or not all(0 <= share <= 1 for share in split) or abs(sum(split) - 1) > 1e-6:
        raise ValueError(
            f"split={tuple(split)!r}: expected three shares with sum 1 (<mask>, random character, left as it is), "
            f"such as {SPLIT}"
        )
    ordinary = torch.tensor([i not in specials for i in range(vocab_size)])
    if not ordinary.any():
        raise ValueError(
            f"specials hold all {vocab_size} ids of this vocabulary: none is left to choose or draw"
        )
    rates = torch.where(ordinary, float(rate), 0.0)
    if space_rate is not None:
        if space_id is None or not 0 <= space_id < vocab_size or not ordinary[space_id]:
            raise ValueError(
                f"space_rate is {space_rate}, but space_id is {space_id}: give the id of the space, which is no special"
            )
        rates[space_id] = space_rate

    characters = ordinary.nonzero()[:, 0].to(ids.device)
    chance, fate = (_draw(torch.rand, ids, generator) for _ in range(2))
    drawn = characters[_draw(torch.randint, ids, generator, len(characters))]

    chosen = chance < rates.to(ids.device)[ids]
    hidden = chosen & (fate < split[0])
    replaced = chosen & ~hidden & (fate < split[0] + split[1])
    return Masked(
        ids=torch.where(hidden, mask_id, torch.where(replaced, drawn, ids)),
        targets=ids.masked_fill(~chosen, IGNORE),
    )


class Removed(NamedTuple):
    """Rows with characters taken out: `ids` `(B, T')`, and `labels` `(B, T')` of what stood before each that is left.

    A label is an id; the id of padding where nothing was taken out, `IGNORE` at padding.
    """

    ids: Tensor
    labels: Tensor


def remove_characters(ids: Tensor, removed_ids: Iterable[int], *, pad_id: int) -> Removed:
    """Take characters out, and label each one left with the one that stood right before it.

    ids `(B, T)`, padded with `pad_id`; the rows that come are padded on the right to the longest of them, T' (0 where
    nothing at all is left). Of several in a run only the last stood right before something, and what ends a row
    stands before nothing: neither can `restore_characters` bring back. With `</s>` in the rows a full stop at the end
    is its label.

    Raises ValueError if padding itself is to be removed.

    >>> removed = remove_characters(torch.tensor([[5, 9, 6, 8, 9, 7], [9, 5, 9, 0, 0, 0]]), [8, 9], pad_id=0)
    >>> removed.ids.tolist(), removed.labels.tolist()
    ([[5, 6, 7], [5, 0, 0]], [[0, 9, 9], [9, -100, -100]])
    >>> restore_characters(*removed, pad_id=0).tolist()
    [[5, 9, 6, 9, 7], [9, 5, 0, 0, 0]]
    """
    removed_ids = sorted(removed_ids)
    if pad_id in removed_ids:
        raise ValueError(
            f"removed_ids {removed_ids} hold pad_id {pad_id}: padding is no character to take out"
        )
    removed = torch.isin(ids, torch.tensor(removed_ids, dtype=ids.dtype, device=ids.device))
    before = torch.full_like(ids, pad_id)
    before[:, 1:] = ids[:, :-1].masked_fill(~removed[:, :-1], pad_id)
    left = ~removed & (ids != pad_id)
    return Removed(_gathered(ids, left, pad_id), _gathered(before, left, IGNORE))


def restore_characters(ids: Tensor, labels: Tensor, *, pad_id: int) -> Tensor:
    """Put each label back before its character: the inverse of `remove_characters`, where nothing was lost.

    ids and labels `(B, T')`, labels true or guessed; `pad_id` and `IGNORE` say that nothing stood there, and labels of
    padding are not read. The rows that come are padded on the right to the longest of them. Raises ValueError for
    shapes that differ.
    """
    if ids.shape != labels.shape:
        raise ValueError(
            f"ids and labels must be of one shape, got {tuple(ids.shape)} and {tuple(labels.shape)}: "
            "a label says what stood before its character"
        )
    nothing = (labels == IGNORE) | (ids == pad_id)
    pairs = torch.stack([labels.masked_fill(nothing, pad_id), ids], dim=-1).flatten(1)
    return _gathered(pairs, pairs != pad_id, pad_id)


def special_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids of padding, `<unk>`, `<s>`, `</s>` and `<mask>`, those that this tokenizer has."""
    every = (tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.mask_id)
    return tuple(i for i in every if i is not None)


def character_ids(tokenizer: Tokenizer, characters: str) -> list[int]:
    """The ids of those characters that the vocabulary knows, such as `string.punctuation` or a space.

    >>> from lab.text import CharTokenizer
    >>> character_ids(CharTokenizer(" ,.ab"), ".;,")
    [7, 6]
    """
    encoded = [tokenizer.encode(character) for character in characters]
    return [ids[0] for ids in encoded if len(ids) == 1 and ids[0] != tokenizer.unk_id]


def vocabulary_of(tokenizer: Tokenizer) -> dict:
    """What `mask_characters` asks of a vocabulary, as its arguments.

    >>> from lab.text import CharTokenizer
    >>> vocabulary_of(CharTokenizer(" ab"))
    {'vocab_size': 8, 'mask_id': 4, 'specials': (0, 1, 2, 3, 4), 'space_id': 5}
    """
    return {
        "vocab_size": tokenizer.vocab_size,
        "mask_id": tokenizer.mask_id,
        "specials": special_ids(tokenizer),
        "space_id": next(iter(character_ids(tokenizer, " ")), None),
    }


def _draw(function, ids: Tensor, generator: torch.Generator, *bounds: int) -> Tensor:
    return function(*bounds, ids.shape, generator=generator, device=generator.device).to(ids.device)


def _gathered(values: Tensor, left: Tensor, fill: int) -> Tensor:
    """Those of `values` `(B, T)` that are `left`, at the start of their rows, with `fill` behind them."""
    places = left.cumsum(1) - 1
    rows = left.nonzero()[:, 0]
    width = int(left.sum(1).max()) if left.numel() else 0
    out = values.new_full((len(values), width), fill)
    out[rows, places[left]] = values[left]
    return out
