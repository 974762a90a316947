"""A check of the sinusoidal encoding of positions, one fact at a time."""

from collections.abc import Callable

import numpy as np

from lab.checks.drawing import sentence
from lab.checks.numbers import Asked, close, differing, real_numbers
from lab.checks.report import Case, CheckReport, Example

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
        return _in_pairs(real_numbers(answer, (case["T"], case["C"])))

    def cases(*sizes: tuple[int, int]) -> list[Case]:
        return [Case(T=T, C=C) for T, C in sizes]

    asked = Asked(fn, "torch", "real numbers (T, C)", read, cases((1, 2), (2, 2), (1, 4), (3, 8), (40, 16)))

    def layout(case: Case) -> Example | None:
        answer = real_numbers(asked.fn(case["T"], case["C"]), (case["T"], case["C"]))
        if close(answer, _in_pairs(answer)).all():
            return _not_on_circles(case, answer)
        note = "all sines come first, then all cosines; in the paper they take turns"
        return differing(str(case), _in_pairs(answer), answer, note)

    def first_position(case: Case) -> Example | None:
        right = np.tile([0.0, 1.0], case["C"] // 2)
        return differing(f"{case}, position 0", right, asked(case)[0])

    def range_(case: Case) -> Example | None:
        answer = asked(case)
        inside = np.clip(answer, -1, 1)
        return differing(str(case), inside, answer, "expected: what is beyond cut off")

    def wavelengths(case: Case) -> Example | None:
        C, steps = case["C"], case["T"] - 1
        right = 2 * np.pi * 10_000 ** (np.arange(0, C, 2) / C)
        angles = np.unwrap(np.arctan2(*np.moveaxis(asked(case).reshape(-1, C // 2, 2), -1, 0)), axis=0)
        with np.errstate(divide="ignore"):
            found = 2 * np.pi * steps / np.abs(angles[-1] - angles[0])
        wrong = ~np.isclose(found, right, rtol=WAVELENGTH_RTOL)
        note = "positions until each pair of channels has turned once, measured over the given ones"
        return differing(str(case), right, found, note, wrong)

    def distinct(case: Case) -> Example | None:
        answer = asked(case)
        for t in range(1, len(answer)):
            same = close(answer[:t], answer[t]).all(axis=1)
            if same.any():
                s = int(same.argmax())
                said = f"both are {answer[t, :8].round(4).tolist()}"
                return Example(str(case), sentence(f"positions {s} and {t} differ"), sentence(said))

    def rotation(case: Case) -> Example | None:
        answer = asked(case)
        products = answer @ answer.T
        t, s = np.indices(products.shape)
        note = "the dot product of every two positions; expected: that of position 0 and the same distance"
        return differing(str(case), products[0][np.abs(t - s)], products, note)

    def prefix(case: Case) -> Example | None:
        T, C = case["T"], case["C"]
        longer = asked(Case(T=2 * T, C=C))
        return differing(f"fn(T={2 * T}, C={C})[:{T}], and {case}", longer[:T], asked(case))

    sizes = ((1, 2), (2, 2), (2, 4), (20, 6), (40, 16))
    return CheckReport(
        "positional_encoding",
        (
            asked.answered,
            asked.judge(
                "the layout: channels 2i and 2i + 1 are sine and cosine of one angle", cases(*sizes), layout
            ),
            asked.judge("position 0 is 0, 1, 0, 1, ...", cases((1, 2), (1, 4), (3, 8)), first_position),
            asked.judge("all numbers are between -1 and 1", cases(*sizes), range_),
            asked.judge(
                "wavelengths grow from 2 pi to 2 pi 10000^((C - 2) / C)",
                cases((2, 2), (8, 4), (64, 8), (100, 16)),
                wavelengths,
            ),
            asked.judge("no two positions are the same", cases((2, 2), (20, 2), (100, 8)), distinct),
            asked.judge(
                "a shift is a rotation: dot products depend on the distance alone",
                cases(*sizes[1:]),
                rotation,
            ),
            asked.judge("fn(T, C) is the start of fn(2T, C)", cases(*sizes), prefix),
            asked.expect(
                "all together: the formula", cases(*sizes), lambda case: sinusoids(case["T"], case["C"])
            ),
        ),
    )


def _not_on_circles(case: Case, answer: np.ndarray) -> Example | None:
    radii = (answer.reshape(len(answer), -1, 2) ** 2).sum(axis=-1)
    return differing(str(case), np.ones_like(radii), radii, "sin^2 + cos^2 of each pair of channels")


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
