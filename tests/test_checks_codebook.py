"""The check of codebooks passes what is right, ours and another's, and catches every planted bug."""

import hashlib
from itertools import count, product

import numpy as np
import pytest
import torch
from test_checks import caught

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


COLOURS, SHARED = "every colour is in range(num_colours)", "no two ids share a pattern"
AGAIN, BACK = "the same arguments give the same code again", "decode gives back every id"
NEAREST, LOWEST = "decode gives a nearest word", "of words equally near, decode gives the lowest id"
BLANK = "blank cells do not count"


@pytest.mark.parametrize(
    "build, failed",
    [
        (theirs(hashed), [SHARED, BACK]),
        (theirs(unseeded), [AGAIN]),
        (theirs(lambda V, n, K: [[c + 1 for c in digits(w, n, K)] for w in range(V)]), [COLOURS, BACK]),
        (theirs(lambda V, n, K: [*first_patterns(V - 1, n, K), [0] * n]), [SHARED, BACK]),
        (theirs(far=lambda a, b: abs(a - b)), [NEAREST, BLANK]),  # colours are names, not numbers
        (theirs(far=lambda a, b: a == b), [BACK, NEAREST, BLANK]),
        (theirs(far=lambda a, b: a % 2 != b % 2), [BACK, NEAREST, BLANK]),
        (theirs(blank=lambda a, K: a in (0, K)), [NEAREST, BLANK]),
        (theirs(last=True), [LOWEST]),
    ],
)
def test_wrong_codebooks_are_caught(build, failed):
    assert set(failed) <= set(caught(codebook(build, SMALL)))


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


@pytest.mark.parametrize(
    "build, failed",
    [
        (exact_only, [NEAREST, BLANK]),
        (clips_blanks, [BLANK]),
        (columns_turned, [BACK, NEAREST, BLANK]),
        (ids_in_another_order, [BACK, NEAREST]),
    ],
)
def test_wrong_decoding_is_caught(build, failed):
    assert set(failed) <= set(caught(codebook(build)))


def test_only_what_is_wrong_is_blamed():
    assert caught(codebook(clips_blanks)) == [BLANK]
    assert caught(codebook(theirs(last=True), SMALL)) == [LOWEST]
    assert caught(codebook(theirs(unseeded), SMALL)) == [AGAIN]


@pytest.mark.parametrize(
    "build, said",
    [
        (lambda V, n, K: None, "NoneType None"),
        (lambda V, n, K: (len, 3), "tuple"),
        (lambda V, n, K: 1 / 0, "raised ZeroDivisionError"),
        (lambda V, n, K: (lambda ids: torch.zeros(len(ids), n), len), "encode gave float32 (2, 2)"),
        (lambda V, n, K: (lambda ids: torch.zeros(len(ids), n + 1).long(), len), "encode gave int64 (2, 3)"),
    ],
)
def test_no_answer_is_a_failed_property_and_never_a_crash(build, said):
    report = codebook(build)
    assert caught(report)[0].startswith("the answer is ") and said in str(report)


@pytest.mark.parametrize("wrong", [lambda cells: cells, lambda cells: cells[:, 0] + 7, lambda cells: None])
def test_a_decode_that_gives_no_ids_is_reported(wrong):
    report = codebook(lambda V, n, K: (ours(Codebook.linear)(V, n, K)[0], wrong))
    assert {BACK, NEAREST, LOWEST, BLANK} <= set(caught(report))


def test_the_example_shows_cells_and_words():
    report = str(codebook(theirs(far=lambda a, b: a == b), [(2, 2, 2)]))
    assert "decode(encode(0)), build(vocab_size=2, num_cells=2, num_colours=2)" in report
    assert "0 cells differ on the left, 1 on the right" in report
    report = str(codebook(clips_blanks, [(5, 3, 3)]))
    assert "0 cells differ on the left" in report and "3 is blank" in report
    report = str(codebook(theirs(hashed), [(192, 25, 3)]))
    assert "185 different patterns for 192 ids" in report
