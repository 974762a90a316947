"""The codebook: a pattern of coloured cells for each token, and the way back.

Letters: V words, n cells a pattern, K colours.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from lab.diffusion import codes
from lab.diffusion.codes import PatternStatistics, check_sizes, collision_report, one_hot


class Nearest(NamedTuple):
    """The words nearest to some cells: int64 `ids` `(...)`, and in how many visible cells they differ."""

    ids: Tensor
    distances: Tensor


class Codebook:
    """V patterns of n cells in K colours, no two alike: token w is drawn as `patterns[w]`. Never changed.

    `patterns` is int64 `(V, n)` with values in 0 .. K - 1, read from a `grid` (rows, columns) line by line; the grid is
    by default a square where n is one, else a single row. Special tokens are tokens like any other. A cell that is
    erased or not yet known has the colour K, `blank`, which no pattern uses.

    Why not hash each token to a seed for random cells: of 192 words two share one of 10,000 seeds with probability
    0.84, as people share birthdays, and words of one pattern can never be told apart again. Here there are no two.

    >>> book = Codebook.linear(1000)
    >>> cells = book.encode(torch.tensor([7, 999]))  # (2, 25)
    >>> cells[:, :6] = (cells[:, :6] + 1) % 3  # six wrong cells each
    >>> book.decode(cells).tolist()
    [7, 999]

    Raises ValueError for patterns of another shape or type, colours or cells below 2, values that are no colour, and
    two ids that share a pattern (which are named).
    """

    def __init__(self, patterns: Tensor, num_colours: int, *, grid: tuple[int, int] | None = None):
        if patterns.dim() != 2 or patterns.dtype != torch.int64:
            raise ValueError(
                f"patterns must be an int64 tensor (V, n), a row for each token; got {patterns.dtype} "
                f"{tuple(patterns.shape)}"
            )
        V, n = patterns.shape
        check_sizes(V, n, num_colours)
        side = round(n**0.5)
        self.grid = tuple(grid) if grid is not None else (side, side) if side * side == n else (1, n)
        if self.grid[0] * self.grid[1] != n:
            raise ValueError(f"a grid of {self.grid} (rows, columns) does not hold patterns of {n} cells")
        if patterns.min() < 0 or patterns.max() >= num_colours:
            raise ValueError(
                f"colours must be in 0 .. {num_colours - 1}, got {int(patterns.min())} to {int(patterns.max())}"
            )
        if shared := collision_report(patterns):
            shown = ", ".join(map(str, shared[:5])) + (", ..." if len(shared) > 5 else "")
            raise ValueError(
                f"the ids {shown} share a pattern ({len(shared)} groups) and could not be told apart: each token "
                "needs a pattern of its own"
            )
        self.patterns, self.num_colours = patterns.clone(), num_colours
        self._kind, self._seed = "given", 0

    @classmethod
    def random(
        cls, vocab_size: int, *, grid: tuple[int, int] = (5, 5), num_colours: int = 3, seed: int = 0
    ) -> Self:
        """Random patterns, no two alike; of 25 cells of 3 colours 4 to 6 apart for 1,024 words, 2 to 4 for 4,096.

        The same for the same seed everywhere, and the first words are those of a smaller vocabulary.
        """
        patterns = codes.random_patterns(vocab_size, grid[0] * grid[1], num_colours, seed=seed)
        book = cls(patterns, num_colours, grid=grid)
        book._kind, book._seed = "random", seed
        return book

    @classmethod
    def linear(cls, vocab_size: int, *, grid: tuple[int, int] = (5, 5), num_colours: int = 3) -> Self:
        """A linear code: of 25 cells of 3 colours 13 apart up to 2,187 words, 12 apart up to 6,561.

        Six, or five, wrong cells are then always mended, and twelve, or eleven, missing ones. `num_colours` must be a
        prime. The first words are those of a smaller vocabulary.
        """
        book = cls(codes.linear_patterns(vocab_size, grid[0] * grid[1], num_colours), num_colours, grid=grid)
        book._kind = "linear"
        return book

    @property
    def vocab_size(self) -> int:
        return self.patterns.shape[0]

    @property
    def num_cells(self) -> int:
        return self.patterns.shape[1]

    @property
    def blank(self) -> int:
        """The colour of a cell that is erased or not yet known: K."""
        return self.num_colours

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Codebook) and (
            (self.num_colours, self.grid) == (other.num_colours, other.grid)
            and torch.equal(self.patterns, other.patterns.to(self.patterns.device))
        )

    __hash__ = None

    def __repr__(self) -> str:
        return f"Codebook({self._kind}, vocab_size={self.vocab_size}, grid={self.grid}, num_colours={self.num_colours})"

    def to(self, device: torch.device | str) -> Self:
        """The same codebook on another device."""
        return self._like(self.patterns.to(device))

    def encode(self, ids: Tensor) -> Tensor:
        """int64 ids `(...)` -> their patterns `(..., n)`; ValueError for ids of another vocabulary."""
        if ids.numel() and (ids.min() < 0 or ids.max() >= self.vocab_size):
            raise ValueError(
                f"this codebook has the ids 0 .. {self.vocab_size - 1}, got {int(ids.min())} to {int(ids.max())}: "
                "it is of another vocabulary"
            )
        return self.patterns.to(ids.device)[ids]

    def decode(self, cells: Tensor) -> Tensor:
        """int64 cells `(..., n)` -> the ids `(...)` of the nearest words, of equally near ones the lowest.

        Blank cells do not count; a pattern of blanks alone gives id 0.
        Raises ValueError for cells of another shape or type, and for values that are neither a colour nor blank.
        """
        return self.nearest(cells).ids

    def nearest(self, cells: Tensor) -> Nearest:
        """The ids that `decode` gives, and in how many visible cells these words differ: 0 for a word itself."""
        self._check(cells)
        rows, shape = cells.reshape(-1, self.num_cells), cells.shape[:-1]
        parts = rows.split(max(1, codes.PAIRS_AT_ONCE // self.vocab_size))
        found = [
            self.distances(part).min(dim=-1) for part in parts
        ]  # of equal ones torch's min promises the first
        distances, ids = (torch.cat(part).view(shape) for part in zip(*found, strict=True))
        return Nearest(ids, distances)

    def distances(self, cells: Tensor) -> Tensor:
        """In how many visible cells each word differs: cells int64 `(..., n)` -> int64 `(..., V)`.

        >>> book = Codebook(torch.tensor([[0, 1], [1, 1]]), num_colours=2)
        >>> book.distances(torch.tensor([[0, 1], [2, 0]])).tolist()
        [[0, 1], [1, 1]]
        """
        K, patterns = self.num_colours, self.patterns.to(cells.device)
        with torch.autocast(cells.device.type, enabled=False):  # bfloat16 does not count beyond 256
            agree = one_hot(cells, K).flatten(-2) @ one_hot(patterns, K).flatten(-2).T
        return (cells != K).sum(-1, keepdim=True) - agree.long()

    def one_hot(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The patterns as `(V, n, K)`: weights over words times this are the marginals of their cells."""
        return one_hot(self.patterns, self.num_colours, dtype)

    def distance_distribution(self) -> Tensor:
        """How many pairs of words are 0, 1, ... n cells apart: int64 `(n + 1,)`."""
        return codes.distance_distribution(self.patterns, self.num_colours)

    def minimum_distance(self) -> int:
        """In how many cells the two most alike words differ; ValueError for a vocabulary of one."""
        return codes.minimum_distance(self.patterns, self.num_colours)

    def statistics(self) -> PatternStatistics:
        """Distances between words and entropy of the cells: see `PatternStatistics`."""
        return codes.pattern_statistics(self.patterns, self.num_colours)

    def grow(self, new_vocab_size: int) -> Self:
        """A codebook of more words in which every old one keeps its pattern and the new ones take unused ones.

        A linear code goes on as that code, any other with random patterns. Raises ValueError for fewer words than now,
        and for more than there are patterns.
        """
        V, n = self.patterns.shape
        if new_vocab_size < V:
            raise ValueError(f"a codebook of {V} words can only grow, got new_vocab_size {new_vocab_size}")
        if new_vocab_size == V:
            return self
        if self._kind == "linear":
            grown = self.linear(new_vocab_size, grid=self.grid, num_colours=self.num_colours)
            return grown.to(self.patterns.device)
        more = codes.random_patterns(
            new_vocab_size - V, n, self.num_colours, seed=self._seed, avoid=self.patterns
        )
        return self._like(torch.cat([self.patterns, more.to(self.patterns.device)]))

    def require_vocab_size(self, vocab_size: int) -> None:
        """ValueError unless the codebook is of a vocabulary of this size."""
        if self.vocab_size != vocab_size:
            raise ValueError(
                f"this codebook is of a vocabulary of {self.vocab_size}, not of {vocab_size}: make one of the "
                "tokenizer's vocab_size, or grow this one"
            )

    def _like(self, patterns: Tensor) -> Self:
        book = type(self)(patterns, self.num_colours, grid=self.grid)
        book._kind, book._seed = self._kind, self._seed
        return book

    def _check(self, cells: Tensor) -> None:
        n, K = self.num_cells, self.num_colours
        if cells.dim() < 1 or cells.shape[-1] != n or cells.dtype != torch.int64:
            raise ValueError(f"cells must be int64 (..., {n}), got {cells.dtype} {tuple(cells.shape)}")
        if cells.numel() and not 0 <= int(cells.min()) <= int(cells.max()) <= K:
            raise ValueError(
                f"cells hold the colours 0 .. {K - 1}, or {K} for blank; got {int(cells.min())} to {int(cells.max())}"
            )
