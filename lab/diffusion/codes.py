"""Codes: which pattern of coloured cells stands for which token, and how far apart the patterns are.

Letters: V words, n cells a pattern, K colours; a code of dimension k has K^k words. Distances are Hamming's: in how
many cells two patterns differ. With minimum distance d, (d - 1) // 2 wrong cells or d - 1 missing ones do no harm.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Each row more is one more dimension: distances 18, 18, 17, 16, 13, 13, 13, 12. The best chain of cyclic codes of
# length 26 over GF(3), found by trying them all, without its last cell: shifts of the polynomials (x^26 - 1) / h, the
# constant first, with h = 1 + 2x + x^3 (rows 1-3), x - 1 (row 4), 2 + x^2 + x^3 (rows 5-7), x + 1 (row 8).
TERNARY_25 = (
    "2220122120200111021121010",
    "0222012212020011102112101",
    "0022201221202001110211210",
    "1111111111111111111111111",
    "1011122012100101112201210",
    "0101112201210010111220121",
    "0010111220121001011122012",
    "2121212121212121212121212",
)
CANDIDATES = 64  # rows tried for each dimension that no table has
PAIRS_AT_ONCE = 1 << 22  # patterns compared in one product: 16 MiB of float32


def random_patterns(
    vocab_size: int, num_cells: int, num_colours: int, *, seed: int = 0, avoid: Tensor | None = None
) -> Tensor:
    """V different patterns drawn evenly from all K^n: int64 `(V, n)`. Those in `avoid` `(any, n)` are passed over.

    The same on every machine and with every version of every library, because the colours are digits of a hash
    (SHAKE-256) and not a library's random numbers; a longer list begins with the shorter one.

    >>> random_patterns(3, num_cells=4, num_colours=3).tolist()
    [[0, 0, 0, 0], [0, 2, 2, 1], [2, 0, 1, 2]]

    Raises ValueError when there are fewer patterns than words, or for colours or cells below 2.
    """
    taken = set() if avoid is None else set(_as_bytes(avoid))
    check_sizes(vocab_size, num_cells, num_colours, taken=len(taken))
    draws = 2 * vocab_size + 16
    while True:
        drawn = _colours(f"patterns {seed}", draws * num_cells, num_colours).reshape(-1, num_cells)
        new = [row for row in dict.fromkeys(_as_bytes(drawn)) if row not in taken]
        if len(new) >= vocab_size:
            rows = np.frombuffer(b"".join(new[:vocab_size]), np.uint8).reshape(vocab_size, num_cells)
            return torch.from_numpy(rows.astype(np.int64))
        draws *= 2


def linear_patterns(vocab_size: int, num_cells: int, num_colours: int) -> Tensor:
    """The first V words of a linear code: int64 `(V, n)`. A longer list begins with the shorter one.

    Word w is the sum modulo K of the generator's rows, each as often as the digits of w to base K say, the last digit
    first. The difference of two words is a word, so the minimum distance is the least number of cells that are not 0.

    >>> linear_patterns(4, num_cells=3, num_colours=2).tolist()
    [[0, 0, 0], [1, 1, 1], [0, 0, 1], [1, 1, 0]]

    Raises ValueError when K is not a prime, for more words than patterns, or for colours or cells below 2.
    """
    check_sizes(vocab_size, num_cells, num_colours)
    dimension = 0
    while num_colours**dimension < vocab_size:
        dimension += 1
    digits = torch.arange(vocab_size)[:, None] // num_colours ** torch.arange(dimension) % num_colours
    return digits @ generator_matrix(dimension, num_cells, num_colours) % num_colours


def generator_matrix(dimension: int, num_cells: int, num_colours: int) -> Tensor:
    """Rows that span a code of many colours apart: int64 `(k, n)`; its first rows are the matrix of a smaller k.

    From a table for 25 cells of 3 colours and up to 8 dimensions, minimum distance 13 for 2,187 words and 12 for 6,561.
    Elsewhere each row is the best of 64 random ones, which comes near: that with which the words stay furthest apart.

    Raises ValueError when K is not a prime (its numbers are then no field), or for more dimensions than cells.
    """
    if num_colours < 2 or any(num_colours % divisor == 0 for divisor in range(2, num_colours)):
        raise ValueError(
            f"a linear code needs a prime number of colours (2, 3, 5, 7, ...), got {num_colours}: use a random one"
        )
    if not 0 <= dimension <= num_cells:
        raise ValueError(f"{num_cells} cells hold 0 to {num_cells} dimensions, got {dimension}")
    table = TERNARY_25 if (num_cells, num_colours) == (25, 3) else ()
    rows = [np.array(list(row), dtype=np.uint8) for row in table[:dimension]]
    words = np.zeros((1, num_cells), np.uint8)
    for at in range(dimension):
        if at == len(rows):
            drawn = _colours(f"row {at}", CANDIDATES * num_cells, num_colours).reshape(CANDIDATES, num_cells)
            # Multiples of a row are as far from the words as the row is, for the words are a space.
            rows.append(max(drawn, key=lambda row: (words != row).sum(1).min()))
        if at + 1 < dimension:
            multiples = [(words + digit * rows[at]) % num_colours for digit in range(num_colours)]
            words = np.concatenate(multiples).astype(np.uint8)
    return torch.from_numpy(np.array(rows, dtype=np.int64).reshape(dimension, num_cells))


def one_hot(cells: Tensor, num_colours: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Colours `(..., n)` -> `(..., n, K)` with a single 1 a cell, and none in a blank cell (colour K).

    >>> one_hot(torch.tensor([1, 3]), num_colours=3).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return (cells[..., None] == torch.arange(num_colours, device=cells.device)).to(dtype)


def distance_distribution(patterns: Tensor, num_colours: int) -> Tensor:
    """How many of the V (V - 1) / 2 pairs of patterns are 0, 1, ... n cells apart: int64 `(n + 1,)`.

    >>> distance_distribution(torch.tensor([[0, 0], [0, 1], [1, 1]]), num_colours=2).tolist()
    [0, 2, 1]
    """
    V, n = patterns.shape
    hot = one_hot(patterns, num_colours).flatten(1)  # (V, n K)
    counts = torch.zeros(n + 1, dtype=torch.int64, device=patterns.device)
    for rows in hot.split(max(1, PAIRS_AT_ONCE // V)):
        counts += torch.bincount((n - rows @ hot.T).long().flatten(), minlength=n + 1)
    counts[0] -= V  # each pattern with itself
    return counts // 2


def minimum_distance(patterns: Tensor, num_colours: int) -> int:
    """In how many cells the two most alike patterns differ; ValueError for fewer than two patterns."""
    if len(patterns) < 2:
        raise ValueError(f"a minimum distance needs two patterns, got {len(patterns)}")
    return int(distance_distribution(patterns, num_colours).nonzero()[0])


@dataclass(frozen=True)
class PatternStatistics:
    """What a set of patterns looks like; entropy in bits, distances in cells.

    corrects_wrong    how many wrong cells nearest-word decoding always mends: (d - 1) // 2
    corrects_missing  how many blank cells it always fills: d - 1
    mean_distance     over all pairs; n (1 - 1/K) for random ones
    cell_entropy      of the colour of a cell over the vocabulary, mean over cells; at most log2 K
    """

    minimum_distance: int
    corrects_wrong: int
    corrects_missing: int
    mean_distance: float
    cell_entropy: float


def pattern_statistics(patterns: Tensor, num_colours: int) -> PatternStatistics:
    """The statistics of `(V, n)` patterns; ValueError for fewer than two.

    >>> stats = pattern_statistics(torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]), num_colours=2)
    >>> stats.minimum_distance, stats.cell_entropy
    (1, 1.0)
    """
    least = minimum_distance(patterns, num_colours)
    pairs = distance_distribution(patterns, num_colours).double()
    use = one_hot(patterns, num_colours, torch.float64).mean(0)  # (n, K)
    return PatternStatistics(
        minimum_distance=least,
        corrects_wrong=max(0, (least - 1) // 2),
        corrects_missing=max(0, least - 1),
        mean_distance=float(pairs @ torch.arange(len(pairs), device=pairs.device).double() / pairs.sum()),
        cell_entropy=float(torch.special.entr(use).sum(1).mean() / math.log(2)),
    )


def collision_report(patterns: Tensor) -> list[list[int]]:
    """The groups of ids that share a pattern, each from its lowest id; empty when every pattern is another.

    >>> collision_report(torch.tensor([[0, 1], [2, 2], [0, 1]]))
    [[0, 2]]
    """
    groups: dict[tuple, list[int]] = {}
    for word, row in enumerate(map(tuple, patterns.tolist())):
        groups.setdefault(row, []).append(word)
    return [ids for ids in groups.values() if len(ids) > 1]


def check_sizes(vocab_size: int, num_cells: int, num_colours: int, *, taken: int = 0) -> None:
    """ValueError unless V words can have a pattern each, `taken` patterns being in use already."""
    if vocab_size < 1 or num_cells < 2 or not 2 <= num_colours <= 256:
        raise ValueError(
            f"a code needs a vocab_size of at least 1, 2 cells or more and num_colours from 2 to 256; got "
            f"{vocab_size} words, {num_cells} cells and {num_colours} colours"
        )
    if vocab_size + taken > num_colours**num_cells:
        raise ValueError(
            f"{vocab_size + taken:,} tokens need as many patterns, but {num_cells} cells of {num_colours} colours "
            f"have only {num_colours**num_cells:,}: take a larger grid or more colours"
        )


def _colours(key: str, count: int, num_colours: int) -> np.ndarray:
    """At least `count` colours, a multiple of it cut off; more of them begin with the same."""
    fair = 256 - 256 % num_colours  # bytes from here on would favour the low colours
    length = 2 * count + 64
    while True:
        drawn = np.frombuffer(hashlib.shake_256(key.encode()).digest(length), np.uint8)
        drawn = drawn[drawn < fair]
        if len(drawn) >= count:
            return drawn[:count] % np.uint8(num_colours) if num_colours < 256 else drawn[:count]
        length *= 2


def _as_bytes(patterns: Tensor | np.ndarray) -> Iterator[bytes]:
    rows = patterns.cpu().numpy() if isinstance(patterns, Tensor) else patterns
    return (row.tobytes() for row in rows.astype(np.uint8))
