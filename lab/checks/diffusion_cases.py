"""What the checks of diffusion share: the kernels by their definition, and a little world that can be counted out.

Letters: K colours, S states of a cell (K, or K and a blank as the last), n cells, X lines, Z noised lines.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np

KINDS = ("uniform", "absorbing")


def states(kind: str, num_colours: int) -> int:
    """How many states a cell has."""
    return num_colours + (kind == "absorbing")


def kernel(kind: str, before: float, after: float, num_colours: int) -> np.ndarray:
    """q(z_t | z_s) `(S, S)` by definition, a row for each state before."""
    kept, S = after / before, states(kind, num_colours)
    lost = np.full((S, S), 1 / S) if kind == "uniform" else np.eye(S)[np.full(S, S - 1)]
    return kept * np.eye(S) + (1 - kept) * lost


def bayes(kind: str, z: int, x: np.ndarray, before: float, after: float) -> np.ndarray:
    """q(z_s | z_t = z) `(S,)` for a clean colour that is as likely as x `(K,)` says, by Bayes' rule, state by state."""
    K = len(x)
    start = x @ kernel(kind, 1.0, before, K)[:K]
    joint = start * kernel(kind, before, after, K)[:, z]
    return joint / joint.sum()


class World:
    """Every line of n cells and its probability, drawn once: what is asked of it is counted out."""

    def __init__(self, num_cells: int, num_colours: int, seed: int = 0):
        self.K = num_colours
        self.lines = np.array(list(product(range(num_colours), repeat=num_cells)))  # (X, n)
        self.p = np.random.default_rng(seed).dirichlet(np.full(len(self.lines), 0.7))

    @property
    def entropy(self) -> float:
        return float(-(self.p * np.log(self.p)).sum())

    def noised(self, kind: str, alpha: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Every noised line z `(n,)`, the chance of each line and it together `(X,)`, and what to say of the cells.

        That is p `(n, K)`: of each cell given all the others; of a blank one that is given all that is visible.
        """
        step = kernel(kind, 1.0, alpha, self.K)
        for z in product(range(states(kind, self.K)), repeat=self.lines.shape[1]):
            each = step[self.lines, z]  # (X, n)
            guess = np.zeros((len(z), self.K))
            for j in range(len(z)):
                weights = self.p * np.delete(each, j, axis=1).prod(1)
                np.add.at(guess[j], self.lines[:, j], weights)
            total = guess.sum(1, keepdims=True)
            yield np.array(z), self.p * each.prod(1), guess / np.where(total > 0, total, 1)


def times(count: int = 24) -> list[tuple[float, float]]:
    """Times in (0, 1) and their weights, dense at both ends: an integral is a sum over them."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    u, w = (nodes + 1) / 2, weights / 2
    return list(zip(u**3 * (10 - 15 * u + 6 * u**2), w * 30 * u**2 * (1 - u) ** 2, strict=True))


def line(t: float) -> tuple[float, float]:
    """alpha and its slope, with alpha = 1 - t."""
    return 1 - t, -1.0


def curve(t: float) -> tuple[float, float]:
    """The same with alpha = cos(pi t / 2)^2."""
    return float(np.cos(np.pi * t / 2) ** 2), float(-np.pi / 2 * np.sin(np.pi * t))
