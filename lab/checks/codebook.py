"""A check of codebooks: a pattern of coloured cells for each token, and the nearest token for any pattern."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lab.checks.drawing import sentence, tables
from lab.checks.report import Case, CheckReport, Example, Unreadable, as_array, ask, judge

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
    wanted = "(encode, decode), and encode gives a pattern for each id"
    answered, answers = ask(build, cases, wanted, _read)

    def changes(case: Case, book: Book) -> Example | None:
        again = _read(case, build(*case.arguments.values()))
        if not np.array_equal(again.patterns, book.patterns):
            return Example(f"{case}, a second time", *tables(book.patterns.tolist(), again.patterns.tolist()))

    return CheckReport(
        "codebook",
        (
            answered,
            judge("every colour is in range(num_colours)", answers, _other_colour),
            judge("no two ids share a pattern", answers, _shared),
            judge("the same arguments give the same code again", answers, changes),
            judge("decode gives back every id", answers, _lost),
            judge("decode gives a nearest word", answers, _not_nearest),
            judge("of words equally near, decode gives the lowest id", answers, _not_lowest),
            judge("blank cells do not count", answers, _blanks_counted),
        ),
    )


@dataclass(frozen=True)
class Book:
    """What was built: its patterns `(V, n)` and its decode."""

    patterns: np.ndarray
    decode: Callable
    num_colours: int

    def decoded(self, cells: np.ndarray) -> np.ndarray:
        ids = as_array(self.decode(torch.tensor(cells)))
        if ids.shape != cells.shape[:1] or ids.dtype.kind not in "iu":
            raise Unreadable(
                f"decode gave {ids.dtype} {ids.shape}; expected an id for each of {len(cells)} rows"
            )
        if ids.min() < 0 or ids.max() >= len(self.patterns):
            raise Unreadable(f"decode gave the ids {ids.min()} to {ids.max()} of {len(self.patterns)}")
        return ids

    def distances(self, cells: np.ndarray) -> np.ndarray:
        """In how many visible cells each row of `cells` `(N, n)` differs from each word: `(N, V)`."""
        visible = cells != self.num_colours
        return np.array(
            [((self.patterns != row) & seen).sum(1) for row, seen in zip(cells, visible, strict=True)]
        )

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
    V, n, K = case.arguments.values()
    encode, decode = (answer.encode, answer.decode) if hasattr(answer, "decode") else _two_functions(answer)
    patterns = as_array(encode(torch.arange(V)))
    if patterns.shape != (V, n) or patterns.dtype.kind not in "iu":
        raise Unreadable(f"encode gave {patterns.dtype} {patterns.shape}; expected whole numbers {(V, n)}")
    return Book(patterns.astype(np.int64), decode, K)


def _two_functions(answer: object) -> tuple[Callable, Callable]:
    if not isinstance(answer, tuple | list) or len(answer) != 2 or not all(map(callable, answer)):
        raise Unreadable(f"{type(answer).__name__} {answer!r}")
    return tuple(answer)


def _other_colour(case: Case, book: Book) -> Example | None:
    wrong = ((book.patterns < 0) | (book.patterns >= book.num_colours)).any(axis=1)
    if wrong.any():
        word = int(wrong.argmax())
        expected = sentence(f"colours in 0 .. {book.num_colours - 1}")
        return Example(f"encode of id {word}, {case}", expected, sentence(str(book.patterns[word].tolist())))


def _shared(case: Case, book: Book) -> Example | None:
    first_of: dict[tuple, int] = {}
    pairs = [
        (first_of[row], word)
        for word, row in enumerate(map(tuple, book.patterns.tolist()))
        if first_of.setdefault(row, word) != word
    ]
    if pairs:
        first, second = pairs[0]
        actual = sentence(f"ids {first} and {second}: {book.patterns[first].tolist()}")
        note = f"{len(first_of)} different patterns for {len(book.patterns)} ids"
        return Example(str(case), sentence("a pattern of its own for each id"), actual, note)


def _lost(case: Case, book: Book) -> Example | None:
    right, ids = np.arange(len(book.patterns)), book.decoded(book.patterns)
    if (ids != right).any():
        word = int((ids != right).argmax())
        return _compared(f"decode(encode({word})), {case}", book, book.patterns[word], word, int(ids[word]))


def _not_nearest(case: Case, book: Book) -> Example | None:
    return _first_wrong(case, book, book.damaged(), _further)


def _not_lowest(case: Case, book: Book) -> Example | None:
    return _first_wrong(case, book, book.damaged(), _as_near_but_higher)


def _blanks_counted(case: Case, book: Book) -> Example | None:
    return _first_wrong(case, book, book.with_blanks(), _further)


def _first_wrong(case: Case, book: Book, cells: np.ndarray, wrong: Callable) -> Example | None:
    distances, ids = book.distances(cells), book.decoded(cells)
    for at in wrong(distances, ids):
        return _compared(
            f"decode of the first row, {case}", book, cells[at], int(distances[at].argmin()), int(ids[at])
        )
    return None


def _further(distances: np.ndarray, ids: np.ndarray) -> Iterator[int]:
    given = distances[np.arange(len(ids)), ids]
    return iter(np.flatnonzero(given > distances.min(axis=1)))


def _as_near_but_higher(distances: np.ndarray, ids: np.ndarray) -> Iterator[int]:
    given = distances[np.arange(len(ids)), ids]
    return iter(np.flatnonzero((given == distances.min(axis=1)) & (ids != distances.argmin(axis=1))))


def _compared(call: str, book: Book, cells: np.ndarray, right: int, given: int) -> Example:
    """The cells over the word that should have come and over the one that came."""
    distances = book.distances(cells[None])[0]
    drawn = tables(
        *(
            [["cells", *cells.tolist()], [f"id {word}", *book.patterns[word].tolist()]]
            for word in (right, given)
        )
    )
    blank = f"; {book.num_colours} is blank" if (cells == book.num_colours).any() else ""
    return Example(
        call, *drawn, f"{distances[right]} cells differ on the left, {distances[given]} on the right{blank}"
    )
