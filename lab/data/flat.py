"""Lines of token ids as one flat array and the places where they begin: each id is stored once."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

SIZES = (np.uint8, np.uint16, np.int32, np.int64)  # as small as the largest id allows


def join_lines(encoded_lines: Iterable[list[int]]) -> torch.Tensor:
    """All lines of ids one after another: int64 `(N,)`.

    >>> join_lines([[2, 7, 3], [2, 8, 9, 3]]).tolist()
    [2, 7, 3, 2, 8, 9, 3]
    """
    return torch.from_numpy(np.concatenate([np.asarray(ids, dtype=np.int64) for ids in encoded_lines]))


def flatten(encoded_lines: Iterable[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """All ids one after another, `(N,)`, in the smallest integer type that holds them, and the offsets.

    Line i is `ids[offsets[i] : offsets[i + 1]]`; `offsets` is int64 `(lines + 1,)`, from 0 to N.

    >>> flatten([[2, 7, 3], [2, 8, 9, 3]])
    (array([2, 7, 3, 2, 8, 9, 3], dtype=uint8), array([0, 3, 7]))

    Raises ValueError for no lines, an empty line, or what is not a row of whole numbers from 0 up.
    """
    lines = [_checked(line, ids) for line, ids in enumerate(encoded_lines)]
    if not lines:
        raise ValueError("there are no lines: give at least one list of ids")
    offsets = np.cumsum([0, *map(len, lines)])
    return np.concatenate(lines, dtype=np.result_type(*{line.dtype for line in lines})), offsets


def _checked(line: int, ids: list[int]) -> np.ndarray:
    try:
        array = np.asarray(ids)
    except (ValueError, OverflowError) as error:  # numpy's word for lists within lists of unequal length
        raise ValueError(f"line {line} is not a flat list of ids: {_shown(ids)}") from error
    if array.ndim != 1:
        raise ValueError(f"line {line} is not a flat list of ids, its shape is {array.shape}: {_shown(ids)}")
    if not len(array):
        raise ValueError(f"line {line} is empty: leave out lines that have no tokens")
    if array.dtype.kind not in "iu":
        raise ValueError(f"ids are whole numbers, but line {line} holds {array.dtype}: {_shown(ids)}")
    if array.min() < 0 or array.max() > np.iinfo(np.int64).max:
        wrong = array.min() if array.min() < 0 else array.max()
        raise ValueError(f"ids are from 0 to 2**63 - 1, but line {line} holds {wrong}: {_shown(ids)}")
    return array.astype(smallest_type(int(array.max())))


def check_flat(ids: np.ndarray, offsets: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Flat ids in one piece of memory and int64 offsets that fit them; nothing is copied that need not be.

    Raises ValueError where they do not fit each other, for negative ids, and for a line of fewer than two ids.
    """
    ids = ids if isinstance(ids, np.memmap) else np.ascontiguousarray(ids)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"flat ids are whole numbers of shape (N,), got {ids.dtype} of shape {ids.shape}")
    if ids.dtype.kind == "i" and len(ids) and ids.min() < 0:
        raise ValueError(f"ids are from 0 up, but {ids.min()} stands at place {ids.argmin()}")
    offsets = np.asarray(offsets, dtype=np.int64)
    if offsets.ndim != 1 or len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(ids):
        raise ValueError(
            f"offsets run from 0 to the number of ids, {len(ids)}, with one more than there are lines; "
            f"got {_shown(offsets.tolist())}"
        )
    lengths = np.diff(offsets)
    if lengths.min() < 2:
        line = int(lengths.argmin())
        raise ValueError(
            f"line {line} has {lengths[line]} id(s), but a window needs an input and a target: "
            "frame each line by <s> and </s>, and leave out lines that have no tokens"
        )
    return ids, offsets


def check_whole(**settings: tuple[int, int]) -> None:
    """ValueError unless each setting, given as (value, least), is a whole number of at least `least`."""
    for name, (value, least) in settings.items():
        if not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def smallest_type(largest: int) -> type[np.integer]:
    """The smallest of `SIZES` that holds ids up to `largest`.

    >>> smallest_type(255).__name__, smallest_type(256).__name__
    ('uint8', 'uint16')
    """
    return next(size for size in SIZES if largest <= np.iinfo(size).max)


def _shown(ids) -> str:
    text = repr(ids)
    return text if len(text) <= 60 else text[:57] + "..."
