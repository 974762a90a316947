"""A check of the sinusoidal encoding of positions, one fact at a time."""

from collections.abc import Callable

import numpy as np

from lab.checks.check import Case, Check, CheckReport, Examples
from lab.checks.numbers import close, differing, real_numbers, told

WAVELENGTH_RTOL = 1e-3  # float32 leaves fewer digits of a slow turn


def positional_encoding(fn: Callable) -> CheckReport:
    """Does `fn(T, C)` give the sinusoidal encoding of positions 0 .. T - 1, `(T, C)` with an even C?

    Channel 2i of position t is sin(t / 10000^(2i/C)) and channel 2i + 1 the cosine of the same. Some codes
    have all sines first, then all cosines: that fails the property of the layout, by its name, and the
    others are judged as if the channels stood in the paper's order. `fn` may return any array or nested
    lists. Source: Vaswani et al. 2017, section 3.5.

    >>> def halves(T, C):
    ...     angles = np.arange(T)[:, None] / 10_000 ** (np.arange(0, C, 2) / C)
    ...     return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    >>> print("\\n".join(str(positional_encoding(halves)).splitlines()[:8]))
    positional_encoding: failed, 8 of 9 properties hold
      ✓ the answer is real numbers (T, C)
      ✗ the layout: channels 2i and 2i + 1 are sine and cosine of one angle
          fn(T=2, C=4)
          expected                    actual
                0 [     1][   0] 1          0 [   0][     1] 1
           0.8415 [0.5403][0.01] 1     0.8415 [0.01][0.5403] 1
          all sines come first, then all cosines; in the paper they take turns
    """

    def read(case: Case, answer: object) -> np.ndarray:
        return _in_pairs(real_numbers(answer, tuple(case)))

    def cases(*sizes: tuple[int, int]) -> list[Case]:
        return [Case(T=T, C=C) for T, C in sizes]

    def right(case: Case) -> np.ndarray:
        return sinusoids(*case)

    first = cases((1, 2), (2, 2), (1, 4), (3, 8), (40, 16))
    check = Check("positional_encoding", fn, "real numbers (T, C)", read, first, right=right)

    def layout(case: Case, answer: np.ndarray) -> Examples:
        given = real_numbers(fn(*case), tuple(case))
        if close(given, _in_pairs(given)).all():
            radii = (given.reshape(len(given), -1, 2) ** 2).sum(axis=-1)
            yield differing(case, np.ones_like(radii), radii, "sin^2 + cos^2 of each pair of channels")
        note = "all sines come first, then all cosines; in the paper they take turns"
        yield differing(case, _in_pairs(given), given, note)

    def first_position(case: Case, answer: np.ndarray) -> Examples:
        yield differing(f"{case}, position 0", np.tile([0.0, 1.0], case["C"] // 2), answer[0])

    def range_(case: Case, answer: np.ndarray) -> Examples:
        yield differing(case, np.clip(answer, -1, 1), answer, "expected: what is beyond cut off")

    def wavelengths(case: Case, answer: np.ndarray) -> Examples:
        T, C = case
        right = 2 * np.pi * 10_000 ** (np.arange(0, C, 2) / C)
        angles = np.unwrap(np.arctan2(*np.moveaxis(answer.reshape(-1, C // 2, 2), -1, 0)), axis=0)
        with np.errstate(divide="ignore"):
            found = 2 * np.pi * (T - 1) / np.abs(angles[-1] - angles[0])
        note = "positions until each pair of channels has turned once, measured over the given ones"
        yield differing(case, right, found, note, ~np.isclose(found, right, rtol=WAVELENGTH_RTOL))

    def distinct(case: Case, answer: np.ndarray) -> Examples:
        for t in range(1, len(answer)):
            same = close(answer[:t], answer[t]).all(axis=1)
            if same.any():
                both = f"both are {answer[t, :8].round(4).tolist()}"
                yield told(case, f"positions {int(same.argmax())} and {t} differ", both)

    def rotation(case: Case, answer: np.ndarray) -> Examples:
        products = answer @ answer.T
        t, s = np.indices(products.shape)
        note = "the dot product of every two positions; expected: that of position 0 and the same distance"
        yield differing(case, products[0][np.abs(t - s)], products, note)

    def prefix(case: Case, answer: np.ndarray) -> Examples:
        T, longer = case["T"], case.but(T=2 * case["T"])
        yield differing(f"{longer}[:{T}], and {case}", check.ask(longer)[:T], answer)

    sizes = cases((1, 2), (2, 2), (2, 4), (20, 6), (40, 16))
    long = cases((2, 2), (8, 4), (64, 8), (100, 16))
    check.judge("the layout: channels 2i and 2i + 1 are sine and cosine of one angle", layout, sizes)
    check.judge("position 0 is 0, 1, 0, 1, ...", first_position, cases((1, 2), (1, 4), (3, 8)))
    check.judge("all numbers are between -1 and 1", range_, sizes)
    check.judge("wavelengths grow from 2 pi to 2 pi 10000^((C - 2) / C)", wavelengths, long)
    check.judge("no two positions are the same", distinct, cases((2, 2), (20, 2), (100, 8)))
    check.judge("a shift is a rotation: dot products depend on the distance alone", rotation, sizes[1:])
    check.judge("fn(T, C) is the start of fn(2T, C)", prefix, sizes)
    check.expect("all together: the formula", sizes)
    return check.report


def _in_pairs(encoding: np.ndarray) -> np.ndarray:
    """The channels with sines and cosines taking turns, where all sines came first; else as they are.

    In halves, position 0 is zeros, then ones; that tells from four channels on.
    """
    T, C = encoding.shape
    halves = np.repeat([0.0, 1.0], C // 2)
    if C < 4 or C % 2 or not close(halves, encoding[0]).all():
        return encoding
    return encoding.reshape(T, 2, C // 2).swapaxes(1, 2).reshape(T, C)


def sinusoids(T: int, C: int) -> np.ndarray:
    """The definition (Vaswani et al. 2017, section 3.5), `(T, C)`."""
    angles = np.arange(T)[:, None] / 10_000 ** (np.arange(0, C, 2) / C)  # (T, C / 2)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(T, C)
