"""A check of codebooks: a pattern of coloured cells for each token, and the nearest token for any pattern."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lab.checks.check import Case, Check, CheckReport, Example, Examples
from lab.checks.drawing import tables
from lab.checks.numbers import Unreadable, told, unequal, whole_numbers

# (vocab_size, num_cells, num_colours), from the smallest up; in the second and fourth every pattern is a word.
SIZES = ((2, 2, 2), (4, 2, 2), (5, 3, 3), (27, 3, 3), (40, 6, 2), (30, 4, 5), (192, 25, 3), (1000, 25, 3))
QUERIES = 40  # damaged patterns of each size


def codebook(build: Callable, sizes: Sequence[tuple[int, int, int]] = SIZES) -> CheckReport:
    """Does `build(vocab_size, num_cells, num_colours)` give each token a pattern of its own, and read damaged ones?

    `build` returns two functions `(encode, decode)`, or an object with methods of these names:

        encode(ids)    int64 tensor (N,) -> colours (N, num_cells), each in range(num_colours)
        decode(cells)  int64 tensor (N, num_cells) -> ids (N,): the token whose pattern differs in the fewest cells,
                       of several the lowest id; cells of the colour `num_colours` are blank and do not count

    The same arguments must give the same code. `sizes` are those that are tried; the default has primes for colours,
    so that linear codes can be judged, and asks twice for as many words as there are patterns.

    >>> from lab.diffusion import Codebook
    >>> def mine(vocab_size, num_cells, num_colours):
    ...     book = Codebook.random(vocab_size, grid=(1, num_cells), num_colours=num_colours)
    ...     return book.encode, lambda cells: book.decode(cells)
    >>> bool(codebook(mine))
    True
    """
    cases = [Case("build", vocab_size=V, num_cells=n, num_colours=K) for V, n, K in sizes]
    check = Check("codebook", build, "(encode, decode), and encode gives a pattern for each id", _read, cases)

    def changes(case: Case, book: Book) -> Examples:
        again = check.ask(case)
        yield unequal(f"{case}, a second time", book.patterns.tolist(), again.patterns.tolist())

    check.judge("every colour is in range(num_colours)", _other_colour)
    check.judge("no two ids share a pattern", _shared)
    check.judge("the same arguments give the same code again", changes)
    check.judge("decode gives back every id", _lost)
    check.judge("decode gives a nearest word", _misread(Book.damaged, _further))
    lowest = _misread(Book.damaged, _as_near_but_higher)
    check.judge("of words equally near, decode gives the lowest id", lowest)
    check.judge("blank cells do not count", _misread(Book.with_blanks, _further))
    return check.report


@dataclass(frozen=True)
class Book:
    """What was built: its patterns `(V, n)` and its decode."""

    patterns: np.ndarray
    decode: Callable
    num_colours: int

    def decoded(self, cells: np.ndarray) -> np.ndarray:
        ids = whole_numbers(self.decode(torch.tensor(cells)), (len(cells),), "decode(cells)")
        if ids.min() < 0 or ids.max() >= len(self.patterns):
            raise Unreadable(f"decode gave the ids {ids.min()} to {ids.max()} of {len(self.patterns)}")
        return ids

    def distances(self, cells: np.ndarray) -> np.ndarray:
        """In how many visible cells each row of `cells` `(N, n)` differs from each word: `(N, V)`."""
        visible = (cells != self.num_colours)[:, None]
        return ((cells[:, None] != self.patterns) & visible).sum(axis=-1)

    def damaged(self) -> np.ndarray:
        """Any cells at all, and words with some cells changed: `(N, n)`, no blank among them."""
        V, n = self.patterns.shape
        draw = np.random.default_rng(0)
        anything = draw.integers(0, self.num_colours, (QUERIES, n))
        rate = draw.choice([0.1, 0.3, 0.6], (QUERIES, 1))
        words = self.patterns[draw.integers(0, V, QUERIES)]
        return np.concatenate([np.where(draw.random((QUERIES, n)) < rate, anything, words), anything])

    def with_blanks(self) -> np.ndarray:
        """Words and damaged words, some or all of their cells blank: `(N, n)`."""
        draw = np.random.default_rng(1)
        cells = np.concatenate([self.patterns[:QUERIES], self.damaged()])
        rate = draw.choice([0.2, 0.5, 0.8, 1.0], (len(cells), 1))
        return np.where(draw.random(cells.shape) < rate, self.num_colours, cells)


def _read(case: Case, answer: object) -> Book:
    V, n, K = case
    both = (answer.encode, answer.decode) if hasattr(answer, "decode") else answer
    if not isinstance(both, tuple | list) or len(both) != 2 or not all(map(callable, both)):
        raise Unreadable(f"{type(answer).__name__} {answer!r}")
    encode, decode = both
    return Book(whole_numbers(encode(torch.arange(V)), (V, n), "encode(ids)"), decode, K)


def _other_colour(case: Case, book: Book) -> Examples:
    wrong = ((book.patterns < 0) | (book.patterns >= book.num_colours)).any(axis=1)
    if wrong.any():
        word = int(wrong.argmax())
        expected = f"colours in 0 .. {book.num_colours - 1}"
        yield told(f"encode of id {word}, {case}", expected, book.patterns[word].tolist())


def _shared(case: Case, book: Book) -> Examples:
    rows = list(map(tuple, book.patterns.tolist()))
    for second, row in enumerate(rows):
        if (first := rows.index(row)) != second:
            note = f"{len(set(rows))} different patterns for {len(rows)} ids"
            same = f"ids {first} and {second}: {list(row)}"
            yield told(case, "a pattern of its own for each id", same, note)


def _lost(case: Case, book: Book) -> Examples:
    for word, given in enumerate(book.decoded(book.patterns)):
        if given != word:
            yield _compared(f"decode(encode({word})), {case}", book, book.patterns[word], word, given)


def _further(distances: np.ndarray, ids: np.ndarray) -> np.ndarray:
    return distances[np.arange(len(ids)), ids] > distances.min(axis=1)


def _as_near_but_higher(distances: np.ndarray, ids: np.ndarray) -> np.ndarray:
    return ~_further(distances, ids) & (ids != distances.argmin(axis=1))


def _misread(make_cells: Callable, wrong: Callable) -> Callable:
    """Finds cells for which decode gives a word that is wrong, by its distance and that of the others."""

    def find(case: Case, book: Book) -> Examples:
        cells = make_cells(book)
        distances, ids = book.distances(cells), book.decoded(cells)
        for at in np.flatnonzero(wrong(distances, ids)):
            call, right = f"decode of the first row, {case}", distances[at].argmin()
            yield _compared(call, book, cells[at], right, ids[at])

    return find


def _compared(call: str, book: Book, cells: np.ndarray, right: int, given: int) -> Example:
    """The cells over the word that should have come and over the one that came."""
    distances = book.distances(cells[None])[0]
    rows = ([["cells", *cells], [f"id {word}", *book.patterns[word]]] for word in (right, given))
    blank = f"; {book.num_colours} is blank" if (cells == book.num_colours).any() else ""
    note = f"{distances[right]} cells differ on the left, {distances[given]} on the right{blank}"
    return Example(call, *tables(*rows), note)
