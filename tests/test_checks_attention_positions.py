"""The check of sinusoidal positions passes what is right and catches every planted bug."""

import math

import numpy as np
import pytest
import torch
from test_checks import failing, passing

from lab import checks
from lab.checks.positions import sinusoids

LAYOUT, FIRST, RANGE = "layout", "position 0", "between -1 and 1"
WAVELENGTHS, DISTINCT = "wavelengths", "no two"
SHIFT, PREFIX, TOGETHER = "a shift", "the start of", "all together"


def encoding(T, C, *, start=0, base=10_000.0, power=lambda i, C: 2 * i / C, order=(math.sin, math.cos)):
    rows = []
    for t in range(start, start + T):
        angles = [t / base ** power(i, C) for i in range(C // 2)]
        rows.append([f(angle) for angle in angles for f in order])
    return rows


def in_torch(T, C):
    position = torch.arange(T)[:, None]
    turn = torch.exp(torch.arange(0, C, 2) * (-math.log(10_000.0) / C))
    answer = torch.zeros(T, C)
    answer[:, 0::2], answer[:, 1::2] = torch.sin(position * turn), torch.cos(position * turn)
    return answer


def halves(T, C):
    pairs = np.array(encoding(T, C))
    return np.concatenate([pairs[:, 0::2], pairs[:, 1::2]], axis=1)


test_right_positions_pass = passing(
    checks.positional_encoding,
    encoding, in_torch, sinusoids, lambda T, C: in_torch(5000, C)[:T].requires_grad_(),
)  # fmt: skip


def broken(**parts):
    return lambda T, C: encoding(T, C, **parts)


test_wrong_positions_are_caught = failing(
    checks.positional_encoding,
    (broken(order=(math.cos, math.sin)), [FIRST, TOGETHER]),
    (broken(start=1), [FIRST, TOGETHER]), (broken(base=1000), [WAVELENGTHS, TOGETHER]),
    (broken(power=lambda i, C: i / C), [WAVELENGTHS, TOGETHER]),
    (lambda T, C: np.array(encoding(T, C)) * math.sqrt(C), [LAYOUT, FIRST, RANGE, TOGETHER]),
    (lambda T, C: sinusoids(T, C) + 0.5 * np.arange(T)[:, None], [LAYOUT, RANGE, WAVELENGTHS, SHIFT, TOGETHER]),
    (lambda T, C: [encoding(1, C)[0]] * T, [WAVELENGTHS, DISTINCT, TOGETHER]),
    (lambda T, C: sinusoids(T, C)[::-1], [FIRST, PREFIX, TOGETHER]),
    (lambda T, C: np.sin(np.arange(T)[:, None] / 10_000 ** (np.arange(C) / C)), None),
    (halves, [LAYOUT], "all sines come first, then all cosines"),
)  # fmt: skip


def test_the_formula_of_the_check_has_the_papers_numbers():
    T, C = 50, 512
    answer = sinusoids(T, C)
    assert answer[7, 10] == pytest.approx(math.sin(7 / 10_000 ** (10 / 512)))
    assert answer[7, 11] == pytest.approx(math.cos(7 / 10_000 ** (10 / 512)))
    shift = np.linalg.lstsq(answer[:-3], answer[3:], rcond=None)[0]  # PE(t + 3) as a linear function of PE(t)
    np.testing.assert_allclose(answer[:-3] @ shift, answer[3:], atol=1e-9)
