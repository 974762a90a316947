"""The check of codebooks passes what is right, ours and another's, and catches every planted bug."""

from itertools import count

import numpy as np
from test_checks import failing

from lab.checks import codebook
from lab.diffusion.codebook import Codebook


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
    codebook(lambda V, n, K: Codebook.linear(V, grid=(1, n), num_colours=K)).raise_if_failed()
    codebook(theirs(), SMALL).raise_if_failed()
    against_all = theirs(blank=lambda a, K: False)  # a blank that counts against every word changes nothing
    codebook(against_all, SMALL).raise_if_failed()


def drawn(V, n, K):  # and not looked at
    return np.random.default_rng(0).integers(0, K, (V, n)).tolist()


DRAW = count()


def unseeded(V, n, K):
    return first_patterns(V, n, K)[:: (-1) ** next(DRAW)]


def clips_blanks(V, n, K):
    book = Codebook.linear(V, grid=(1, n), num_colours=K)
    return book.encode, lambda cells: book.decode(cells.clamp(max=K - 1))


COLOURS, SHARED, AGAIN, BACK = "in range(num_colours)", "no two ids", "the same arguments", "every id"
NEAREST, LOWEST, BLANK = "a nearest word", "the lowest id", "blank cells"


test_wrong_codebooks_are_caught = failing(
    codebook,
    (theirs(drawn), [SHARED, BACK]),
    (theirs(lambda V, n, K: [[c + 1 for c in digits(w, n, K)] for w in range(V)]), [COLOURS, BACK]),
    (theirs(far=lambda a, b: abs(a - b)), [NEAREST, BLANK]),  # colours are names, not numbers
    (theirs(far=lambda a, b: a == b), [BACK, NEAREST, BLANK]),
    only=False, sizes=SMALL,
)  # fmt: skip
test_only_what_is_wrong_is_blamed = failing(
    codebook, (theirs(unseeded), [AGAIN]), (theirs(last=True), [LOWEST]), (clips_blanks, [BLANK]), sizes=SMALL
)
test_a_decode_that_gives_no_ids_is_reported = failing(
    lambda wrong: codebook(lambda V, n, K: (theirs()(V, n, K)[0], wrong), SMALL),
    *((wrong, [BACK, NEAREST, LOWEST, BLANK]) for wrong in (lambda cells: cells, lambda cells: cells[:, 0] + 7)),
    only=False,
)  # fmt: skip


def test_the_smallest_example_shows_cells_and_words():
    report = str(codebook(theirs(far=lambda a, b: a == b), [(2, 2, 2)]))
    assert "decode(encode(0)), build(vocab_size=2, num_cells=2, num_colours=2)" in report
    assert "0 cells differ on the left, 1 on the right" in report
