"""Lines of token ids as one flat array and the places where they begin: each id is stored once."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch


class FlatLines(NamedTuple):
    """Line i is `ids[offsets[i] : offsets[i + 1]]`; `offsets` is int64 `(lines + 1,)`, from 0 to `len(ids)`.

    The ids may be an `np.memmap`, of a file larger than memory.
    """

    ids: np.ndarray
    offsets: np.ndarray


def join_lines(encoded_lines: Iterable[list[int]]) -> torch.Tensor:
    """All lines of ids one after another: int64 `(N,)`.

    >>> join_lines([[2, 7, 3], [2, 8, 9, 3]]).tolist()
    [2, 7, 3, 2, 8, 9, 3]
    """
    return torch.from_numpy(np.concatenate([np.asarray(ids, dtype=np.int64) for ids in encoded_lines]))


def flatten(encoded_lines: Iterable[list[int]]) -> FlatLines:
    """All ids one after another, `(N,)`, in the smallest integer type that holds them, and the offsets.

    >>> flatten([[2, 7, 3], [2, 8, 9, 3]])
    FlatLines(ids=array([2, 7, 3, 2, 8, 9, 3], dtype=uint8), offsets=array([0, 3, 7]))

    Raises ValueError for no lines, an empty line, or what is not a row of whole numbers from 0 up.
    """
    lines = [_checked(line, ids) for line, ids in enumerate(encoded_lines)]
    if not lines:
        raise ValueError("there are no lines: give at least one list of ids")
    offsets = np.cumsum([0, *map(len, lines)])
    return FlatLines(np.concatenate(lines, dtype=np.result_type(*{line.dtype for line in lines})), offsets)


def _checked(line: int, ids: list[int]) -> np.ndarray:
    array = np.asarray(ids)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu" or array.min() < 0:
        raise ValueError(f"line {line} must be token ids, at least one, each from 0 up; got {repr(ids)[:60]}")
    return array.astype(np.min_scalar_type(array.max()))


def check_flat(ids: np.ndarray, offsets: Sequence[int]) -> FlatLines:
    """Flat ids in one piece of memory and int64 offsets that fit them; nothing is copied that need not be.

    Raises ValueError where they do not fit each other, for negative ids, and for a line of fewer than two ids.
    """
    ids = np.ascontiguousarray(ids)
    # Unsigned ids are not read: the file may be large.
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or (ids.dtype.kind == "i" and ids.min(initial=0) < 0):
        raise ValueError(
            f"flat ids are whole numbers from 0 up, (N,); got {ids.dtype} of shape {ids.shape}: {ids}"
        )
    offsets = np.asarray(offsets, dtype=np.int64)
    lengths = np.diff(offsets)
    if not len(lengths) or offsets[0] != 0 or offsets[-1] != len(ids):
        raise ValueError(f"offsets run from 0 to the number of ids, {len(ids)}; got {offsets}")
    if lengths.min() < 2:
        raise ValueError(
            f"line {lengths.argmin()} has {lengths.min()} id(s), but a window needs an input and a target: "
            "frame each line by <s> and </s>, and leave out lines that have no tokens"
        )
    return FlatLines(ids, offsets)


def check_whole(least: int, **values) -> None:
    """ValueError unless each value is a whole number of at least `least`."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
