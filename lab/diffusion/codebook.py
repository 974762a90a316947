"""The codebook: a pattern of coloured cells for each token, and the way back.

Letters: V words, n cells a pattern, K colours.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from lab import config
from lab.diffusion import codes
from lab.diffusion.codes import PatternStatistics, check_sizes, collision_report, one_hot


class Nearest(NamedTuple):
    """The words nearest to some cells: int64 `ids` `(...)`, and in how many visible cells they differ."""

    ids: Tensor
    distances: Tensor


@dataclass(frozen=True)
class CodebookRecord:
    """What a codebook is made again from; `kind` "given" needs its patterns beside it.

    `sha256` is of the patterns, a byte a cell: a record never gives other patterns than it was written for.
    """

    kind: str
    vocab_size: int
    rows: int
    columns: int
    num_colours: int
    seed: int
    sha256: str


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
        if not isinstance(patterns, Tensor) or patterns.dim() != 2 or patterns.dtype != torch.int64:
            given = (
                f"{patterns.dtype} {tuple(patterns.shape)}"
                if isinstance(patterns, Tensor)
                else type(patterns)
            )
            raise ValueError(f"patterns must be an int64 tensor (V, n), a row for each token; got {given}")
        V, n = patterns.shape
        check_sizes(V, n, num_colours)
        side = round(n**0.5)
        self.grid = tuple(grid) if grid is not None else (side, side) if side * side == n else (1, n)
        if len(self.grid) != 2 or self.grid[0] * self.grid[1] != n:
            raise ValueError(f"a grid of {self.grid} (rows, columns) does not hold patterns of {n} cells")
        if patterns.min() < 0 or patterns.max() >= num_colours:
            raise ValueError(
                f"colours must be in 0 .. {num_colours - 1}, got {int(patterns.min())} to {int(patterns.max())}"
            )
        if shared := collision_report(patterns):
            first, second = shared[0][:2]
            raise ValueError(
                f"ids {first} and {second} share the pattern {patterns[first].tolist()}; ids in {len(shared)} such "
                "groups could not be told apart: each token needs a pattern of its own"
            )
        self.patterns, self.num_colours = patterns.clone(), int(num_colours)
        self._kind, self._seed = "given", 0

    @classmethod
    def random(
        cls, vocab_size: int, *, grid: tuple[int, int] = (5, 5), num_colours: int = 3, seed: int = 0
    ) -> Self:
        """Random patterns, no two alike; of 25 cells of 3 colours 4 to 6 apart for 1,024 words, 2 to 4 for 4,096.

        The same for the same seed everywhere, and the first words are those of a smaller vocabulary.
        """
        cells = _cells(grid)
        book = cls(codes.random_patterns(vocab_size, cells, num_colours, seed=seed), num_colours, grid=grid)
        book._kind, book._seed = "random", seed
        return book

    @classmethod
    def linear(cls, vocab_size: int, *, grid: tuple[int, int] = (5, 5), num_colours: int = 3) -> Self:
        """A linear code: of 25 cells of 3 colours 13 apart up to 2,187 words, 12 apart up to 6,561.

        Six, or five, wrong cells are then always mended, and twelve, or eleven, missing ones. `num_colours` must be a
        prime. The first words are those of a smaller vocabulary.
        """
        book = cls(codes.linear_patterns(vocab_size, _cells(grid), num_colours), num_colours, grid=grid)
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

    @property
    def device(self) -> torch.device:
        return self.patterns.device

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Codebook) and (
            (self.num_colours, self.grid) == (other.num_colours, other.grid)
            and torch.equal(self.patterns, other.patterns.to(self.device))
        )

    __hash__ = None

    def __repr__(self) -> str:
        return f"Codebook({self._kind}, vocab_size={self.vocab_size}, grid={self.grid}, num_colours={self.num_colours})"

    def to(self, device: torch.device | str) -> Self:
        """The same codebook on another device."""
        return self._like(self.patterns.to(device))

    def encode(self, ids: Tensor) -> Tensor:
        """int64 ids `(...)` -> their patterns `(..., n)`; ValueError for ids of another vocabulary."""
        if ids.dtype != torch.int64:
            raise ValueError(f"ids must be int64, got {ids.dtype}")
        if ids.numel() and (ids.min() < 0 or ids.max() >= self.vocab_size):
            raise ValueError(
                f"this codebook has the ids 0 .. {self.vocab_size - 1}, got {int(ids.min())} to {int(ids.max())}: "
                "it is of another vocabulary"
            )
        return self.patterns.to(ids.device)[ids]

    def decode(self, cells: Tensor, *, blank: int | None = None) -> Tensor:
        """int64 cells `(..., n)` -> the ids `(...)` of the nearest words, of equally near ones the lowest.

        Cells of the colour `blank`, where it is given, do not count; a pattern of blanks alone gives id 0.
        Raises ValueError for cells of another shape or type, and for values that are neither a colour nor `blank`.
        """
        return self.nearest(cells, blank=blank).ids

    def distance(self, cells: Tensor, *, blank: int | None = None) -> Tensor:
        """In how many visible cells `(..., n)` the nearest word differs: int64 `(...)`, 0 for a word itself."""
        return self.nearest(cells, blank=blank).distances

    def nearest(self, cells: Tensor, *, blank: int | None = None) -> Nearest:
        """The ids that `decode` gives and the distances that `distance` gives, at once."""
        rows, visible = self._checked(cells, blank)
        patterns = self.patterns.to(cells.device)
        hot = one_hot(patterns, self.num_colours).flatten(1)  # (V, n K)
        chunks = []
        with torch.autocast(cells.device.type, enabled=False):  # bfloat16 does not count beyond 256
            for part in rows.split(max(1, codes.PAIRS_AT_ONCE // self.vocab_size)):
                best, ids = (one_hot(part, self.num_colours).flatten(1) @ hot.T).max(dim=1)
                chunks.append(torch.stack([best.long(), ids]))  # of equal ones torch's max promises the first
        matched, ids = torch.cat(chunks, dim=1) if chunks else rows.new_zeros(2, 0)
        shape = cells.shape[:-1]
        return Nearest(ids.view(shape), (visible.sum(-1) - matched).view(shape))

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
        """Distances, entropy of the cells and use of colours: see `codes.PatternStatistics`."""
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
            return self.linear(new_vocab_size, grid=self.grid, num_colours=self.num_colours).to(self.device)
        more = codes.random_patterns(
            new_vocab_size - V, n, self.num_colours, seed=self._seed, avoid=self.patterns
        )
        return self._like(torch.cat([self.patterns, more.to(self.device)]))

    def require_vocab_size(self, vocab_size: int) -> None:
        """ValueError unless the codebook is of a vocabulary of this size."""
        if self.vocab_size != vocab_size:
            raise ValueError(
                f"this codebook is of a vocabulary of {self.vocab_size}, not of {vocab_size}: make one of the "
                "tokenizer's vocab_size, or grow this one"
            )

    def to_json(self) -> dict:
        """A small record, for `json`; the patterns of a learned or given codebook are in `tensors()`."""
        rows, columns = self.grid
        sizes = (self.vocab_size, rows, columns, self.num_colours)
        return config.to_json(CodebookRecord(self._kind, *sizes, self._seed, _fingerprint(self.patterns)))

    def tensors(self) -> dict[str, Tensor]:
        """What the record cannot make again, for safetensors: nothing for a random or a linear codebook."""
        return {"patterns": self.patterns.to(torch.uint8).cpu()} if self._kind == "given" else {}

    @classmethod
    def from_json(cls, values: Mapping, tensors: Mapping[str, Tensor] | None = None) -> Self:
        """The codebook that `to_json` and `tensors` wrote.

        Raises ValueError for a record that is not one, patterns that are missing, or others than were written.
        """
        record = config.from_json(CodebookRecord, values)
        grid, K = (record.rows, record.columns), record.num_colours
        if record.kind == "random":
            book = cls.random(record.vocab_size, grid=grid, num_colours=K, seed=record.seed)
        elif record.kind == "linear":
            book = cls.linear(record.vocab_size, grid=grid, num_colours=K)
        elif record.kind != "given":
            raise ValueError(f"a codebook is of kind 'random', 'linear' or 'given', got {record.kind!r}")
        elif "patterns" not in (tensors or {}):
            raise ValueError("a given codebook needs its patterns: pass what tensors() gave")
        else:
            book = cls(tensors["patterns"].long(), K, grid=grid)
        book.require_vocab_size(record.vocab_size)
        if _fingerprint(book.patterns) != record.sha256:
            raise ValueError(
                f"the patterns have the hash {_fingerprint(book.patterns)}, the record says {record.sha256}: they "
                "do not belong together"
            )
        return book

    def _like(self, patterns: Tensor) -> Self:
        book = type(self)(patterns, self.num_colours, grid=self.grid)
        book._kind, book._seed = self._kind, self._seed
        return book

    def _checked(self, cells: Tensor, blank: int | None) -> tuple[Tensor, Tensor]:
        """Cells as rows `(N, n)`, and which of them are visible."""
        n, K = self.num_cells, self.num_colours
        if cells.dim() < 1 or cells.shape[-1] != n or cells.dtype != torch.int64:
            raise ValueError(f"cells must be int64 (..., {n}), got {cells.dtype} {tuple(cells.shape)}")
        if blank is not None and 0 <= blank < K:
            raise ValueError(
                f"blank must be none of the colours 0 .. {K - 1}, got {blank}; by custom it is {K}"
            )
        rows = cells.reshape(-1, n)
        is_colour = (rows >= 0) & (rows < K)
        unknown = ~is_colour if blank is None else ~is_colour & (rows != blank)
        if unknown.any():
            raise ValueError(
                f"cells hold the value {int(rows[unknown][0])}, which is no colour of 0 .. {K - 1}"
                + (
                    f": say blank={K} where it stands for an erased cell"
                    if blank is None
                    else f" nor blank {blank}"
                )
            )
        return rows, is_colour


def _cells(grid: tuple[int, int]) -> int:
    rows, columns = grid
    if rows < 1 or columns < 1 or rows * columns < 2:
        raise ValueError(f"a grid needs at least 2 cells, got {rows} rows and {columns} columns")
    return rows * columns


def _fingerprint(patterns: Tensor) -> str:
    return hashlib.sha256(patterns.to(torch.uint8).cpu().numpy().tobytes()).hexdigest()
