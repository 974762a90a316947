"""The check of codebooks passes what is right, ours and another's, and catches every planted bug."""

import hashlib
from itertools import count, product

import numpy as np
import pytest
import torch
from test_checks import failing

from lab.checks import codebook
from lab.diffusion.codebook import Codebook


def ours(make):
    def build(vocab_size, num_cells, num_colours):
        book = make(vocab_size, grid=(1, num_cells), num_colours=num_colours)
        return book.encode, lambda cells: book.decode(cells)

    return build


def digits(word, n, K):
    return [word // K**place % K for place in range(n)]


def first_patterns(V, n, K):
    """Every other pattern in the order of the dictionary, so that words lie a little apart where there is room."""
    step = max(1, K**n // V)
    return [digits(step * word, n, K) for word in range(V)]


def nearest(patterns, row, K, far=lambda a, b: a != b, blank=lambda a, K: a == K, last=False):
    """The reader's way, cell by cell; its arguments plant bugs."""
    best, least = None, None
    for word, pattern in enumerate(patterns):
        away = sum(far(a, b) for a, b in zip(row, pattern, strict=True) if not blank(a, K))
        if least is None or away < least or (last and away == least):
            best, least = word, away
    return best


def theirs(patterns=first_patterns, **bug):
    def build(V, n, K):
        table = patterns(V, n, K)
        return (
            lambda ids: [table[word] for word in ids.tolist()],
            lambda cells: [nearest(table, row, K, **bug) for row in cells.tolist()],
        )

    return build


SMALL = ((2, 2, 2), (4, 2, 2), (5, 3, 3), (27, 3, 3), (40, 6, 2), (30, 4, 5), (192, 25, 3))


def test_right_codebooks_pass():
    codebook(ours(Codebook.random)).raise_if_failed()
    codebook(ours(Codebook.linear)).raise_if_failed()
    codebook(theirs(), SMALL).raise_if_failed()
    different_from_all = theirs(
        blank=lambda a, K: False
    )  # a blank that counts against every word changes nothing
    codebook(different_from_all, SMALL).raise_if_failed()


def test_an_object_passes_too():
    class Square:
        def encode(self, ids):
            return ids[:, None] // torch.tensor([2, 1]) % 2

        def decode(self, cells):
            words = np.array(list(product(range(2), repeat=2)))
            away = (words != cells.numpy()[:, None]) & (cells.numpy()[:, None] != 2)
            return away.sum(-1).argmin(-1)

    codebook(lambda V, n, K: Square(), [(4, 2, 2)]).raise_if_failed()


def hashed(V, n, K):
    seeds = [int(hashlib.md5(str(word).encode()).hexdigest(), 16) % 10_000 for word in range(V)]
    return [np.random.default_rng(seed).integers(0, K, n).tolist() for seed in seeds]


DRAW = count()


def unseeded(V, n, K):
    draw = np.random.default_rng(next(DRAW))
    table = {}
    while len(table) < V:
        table.setdefault(tuple(draw.integers(0, K, n).tolist()))
    return list(table)


def exact_only(V, n, K):
    table = first_patterns(V, n, K)
    index = {tuple(pattern): word for word, pattern in enumerate(table)}
    return (
        lambda ids: [table[word] for word in ids.tolist()],
        lambda cells: [index.get(tuple(row), 0) for row in cells.tolist()],
    )


def clips_blanks(V, n, K):
    book = Codebook.linear(V, grid=(1, n), num_colours=K)
    return book.encode, lambda cells: book.decode(cells.clamp(max=K - 1))


def columns_turned(V, n, K):
    book = Codebook.linear(V, grid=(1, n), num_colours=K)
    return book.encode, lambda cells: book.decode(cells.flip(-1))


def ids_in_another_order(V, n, K):
    encode, decode = ours(Codebook.random)(V, n, K)
    return encode, lambda cells: V - 1 - decode(cells)


COLOURS, SHARED, AGAIN, BACK = "in range(num_colours)", "no two ids", "the same arguments", "every id"
NEAREST, LOWEST, BLANK = "a nearest word", "the lowest id", "blank cells"


test_wrong_codebooks_are_caught = failing(
    codebook,
    (theirs(hashed), [SHARED, BACK]),
    (theirs(lambda V, n, K: [[c + 1 for c in digits(w, n, K)] for w in range(V)]), [COLOURS, BACK]),
    (theirs(lambda V, n, K: [*first_patterns(V - 1, n, K), [0] * n]), [SHARED, BACK]),
    (theirs(far=lambda a, b: abs(a - b)), [NEAREST, BLANK]),  # colours are names, not numbers
    (theirs(far=lambda a, b: a == b), [BACK, NEAREST, BLANK]),
    (theirs(far=lambda a, b: a % 2 != b % 2), [BACK, NEAREST, BLANK]),
    (theirs(blank=lambda a, K: a in (0, K)), [NEAREST, BLANK]),
    (exact_only, [NEAREST, BLANK]),
    (columns_turned, [BACK, NEAREST, BLANK]),
    (ids_in_another_order, [BACK, NEAREST]),
    only=False, sizes=SMALL,
)  # fmt: skip
test_only_what_is_wrong_is_blamed = failing(
    codebook, (theirs(unseeded), [AGAIN]), (theirs(last=True), [LOWEST]), (clips_blanks, [BLANK]), sizes=SMALL
)
test_a_decode_that_gives_no_ids_is_reported = failing(
    lambda wrong: codebook(lambda V, n, K: (theirs()(V, n, K)[0], wrong), SMALL),
    *((wrong, [BACK, NEAREST, LOWEST, BLANK]) for wrong in (
        lambda cells: cells, lambda cells: cells[:, 0] + 7, lambda cells: None,
    )),
    only=False,
)  # fmt: skip


@pytest.mark.parametrize("build, size, said", [
    (theirs(far=lambda a, b: a == b), (2, 2, 2), "decode(encode(0)), build(vocab_size=2, num_cells=2, num_colours=2)"),
    (theirs(far=lambda a, b: a == b), (2, 2, 2), "0 cells differ on the left, 1 on the right"),
    (clips_blanks, (5, 3, 3), "3 is blank"),
    (theirs(hashed), (192, 25, 3), "185 different patterns for 192 ids"),
])  # fmt: skip
def test_the_example_shows_cells_and_words(build, size, said):
    assert said in str(codebook(build, [size]))
