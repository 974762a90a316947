"""A law in many times: seconds as a sum of costs, each a coefficient times something that can be counted."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit  # the quantile of Student's t

Interval = tuple[float, float]


@dataclass(frozen=True)
class LinearFit:
    """seconds = sum of coefficient * column, fitted by `fit_linear`.

    coefficients  seconds for one unit of each column
    fitted        the fit's seconds at the measured points `(n,)`
    residuals     measured / fitted - 1 there `(n,)`
    covariance    of the coefficients, in the order of the columns
    quantile      of Student's t, which widens a standard error to an interval
    """

    coefficients: dict[str, float]
    fitted: np.ndarray
    residuals: np.ndarray
    covariance: np.ndarray
    quantile: float

    def predict(self, **columns: ArrayLike) -> np.ndarray | float:
        """Seconds where the columns have these values, numbers or arrays; all columns are named.

        >>> round(float(fit_cost([1, 2, 4], [3.0, 4.0, 6.0]).predict(iteration=10, sample=40)), 6)
        60.0
        """
        values = self._in_order(columns)
        return sum(c * value for c, value in zip(self.coefficients.values(), values, strict=True))

    def predict_interval(self, **columns: float) -> Interval:
        """Where the mean of the seconds there lies with the confidence of the fit."""
        row = np.array(self._in_order(columns))
        middle = float(row @ np.array(list(self.coefficients.values())))
        half = self.quantile * float(np.sqrt(row @ self.covariance @ row))
        return middle - half, middle + half

    @property
    def intervals(self) -> dict[str, Interval]:
        """Where each coefficient lies with the confidence of the fit."""
        names = list(self.coefficients)
        return {name: self.predict_interval(**{n: float(n == name) for n in names}) for name in names}

    @property
    def balance(self) -> float:
        """The batch size at which samples cost as much as the iteration itself: a / b of `fit_cost`.

        Far below it time goes by iterations, far above by samples. Infinite when samples cost nothing.
        """
        a, b = self.coefficients["iteration"], self.coefficients["sample"]
        return a / b if b > 0 else float("inf")

    def _in_order(self, columns: dict[str, ArrayLike]) -> list[np.ndarray]:
        if columns.keys() != self.coefficients.keys():
            raise ValueError(f"expected the columns {', '.join(self.coefficients)}; got {', '.join(columns)}")
        return [np.asarray(columns[name], dtype=float) for name in self.coefficients]


def fit_cost(batch_sizes: ArrayLike, seconds: ArrayLike, *, confidence: float = 0.95) -> LinearFit:
    """Seconds of a step = a + b * batch size, so time = a * iterations + b * samples.

    `seconds` `(n,)` of one step at each of the `batch_sizes` `(n,)`. Coefficients "iteration" (a) and "sample" (b).

    >>> {name: round(s, 6) for name, s in fit_cost([1, 2, 4], [3.0, 4.0, 6.0]).coefficients.items()}
    {'iteration': 2.0, 'sample': 1.0}

    Raises ValueError as `fit_linear` does.
    """
    batch_sizes = np.asarray(batch_sizes, dtype=float)
    return fit_linear(
        {"iteration": np.ones_like(batch_sizes), "sample": batch_sizes}, seconds, confidence=confidence
    )


def fit_linear(columns: dict[str, ArrayLike], seconds: ArrayLike, *, confidence: float = 0.95) -> LinearFit:
    """Least squares of the relative errors: noise grows with the time, so a point weighs 1 / seconds^2.

    `columns` `{name: (n,)}` and `seconds` `(n,)`. Intervals are Student's t with n minus the number of columns degrees
    of freedom; they hold for noise of that kind, and say nothing where the residuals show a bend.

    Raises ValueError for lengths that differ, seconds that are not above 0, too few points for an interval (they must
    be more than the columns), or columns that cannot be told apart, such as one batch size only.
    """
    y = np.asarray(seconds, dtype=float)
    X = np.stack([np.asarray(column, dtype=float) for column in columns.values()], axis=1)
    if y.shape != X.shape[:1]:
        raise ValueError(f"columns and seconds must be equally long, got {len(X)} and {y.shape}")
    if not (np.isfinite(y).all() and (y > 0).all() and np.isfinite(X).all()):
        raise ValueError(
            "seconds must be finite and above 0, and columns finite: leave out what was not measured"
        )
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    n, k = X.shape
    if n <= k:
        raise ValueError(f"{k} coefficients need at least {k + 1} points to have intervals, got {n}")
    scale = np.abs(X).max(axis=0)
    if not scale.all() or np.linalg.matrix_rank(X / scale) < k:
        raise ValueError(
            f"the columns {', '.join(columns)} cannot be told apart at these points: measure where they differ, "
            "such as at other batch sizes"
        )
    W = X / scale / y[:, None]  # the target is then 1 everywhere
    solution = np.linalg.lstsq(W, np.ones(n), rcond=None)[0]
    variance = float(((1 - W @ solution) ** 2).sum()) / (n - k)
    covariance = variance * np.linalg.inv(W.T @ W) / np.outer(scale, scale)
    solution = solution / scale
    fitted = X @ solution
    return LinearFit(
        coefficients=dict(zip(columns, solution.tolist(), strict=True)),
        fitted=fitted,
        residuals=y / fitted - 1,
        covariance=covariance,
        quantile=float(stdtrit(n - k, (1 + confidence) / 2)),
    )
