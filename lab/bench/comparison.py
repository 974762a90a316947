"""Is one better than the other, and by how much? Runs in pairs, and an interval that covers what it says."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # the quantile of Student's t


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """The mean of independent values `(n,)`, and the low and high end of its interval by Student's t (Student 1908).

    It is exact for values that are normally distributed, however few; a bootstrap of 3 to 5 of them covers far less
    than it says. Values that are all alike have an interval without width.

    >>> [round(number, 2) for number in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.48, 4.48]

    Raises ValueError for fewer than two values, for one that is no finite number, and for a confidence outside (0, 1).
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"an interval takes two or more finite numbers, got {values.tolist()}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, such as 0.95; got {confidence}")
    if np.all(values == values[0]):  # rounding would give it a width
        return (float(values[0]),) * 3
    n, mean = len(values), float(values.mean())
    half = float(stdtrit(n - 1, (1 + confidence) / 2) * values.std(ddof=1) / math.sqrt(n))
    return mean, mean - half, mean + half


@dataclass(frozen=True)
class Comparison:
    """What `compare` found: `difference` is the mean over the pairs of the value of `b` less that of `a`.

    low, high   where the true difference lies, with the confidence that was asked for
    pairs       the difference of each pair, by its seed
    left_out    the seeds that only one of the two sides has
    pair        the column by which they are paired
    """

    a: Any
    b: Any
    difference: float
    low: float
    high: float
    pairs: Mapping[Any, float]
    left_out: tuple = ()
    pair: str = "seed"

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def sentence(self, lower_is_better: bool = True) -> str:
        """What may be said of `b` beside `a`: that it is better or worse, by how much, or neither.

        >>> Comparison("learned", "rotary", -0.021, -0.027, -0.015, {seed: -0.021 for seed in range(5)}).sentence()
        'better by 0.021 (0.015 to 0.027, 5 seeds)'
        """
        size = (self.high - self.low) / 10 or abs(self.difference) / 1000 or 1.0
        digits = max(0, -math.floor(math.log10(size)))  # that the width of the interval leaves to be said
        said = lambda number: f"{round(number, digits) + 0.0:,.{digits}f}"  # noqa: E731  + 0.0: no "-0.00"
        found, ends = "no difference that we could measure", [self.low, self.high]
        if self.is_clear:
            word = "better" if (self.difference < 0) == lower_is_better else "worse"
            found, ends = f"{word} by {said(abs(self.difference))}", sorted(map(abs, ends))
        count = f"{len(self.pairs)} {'seeds' if self.pair == 'seed' else f'pairs by {self.pair}'}"
        alone = f"; no partner for {self.pair} {', '.join(map(str, self.left_out))}" if self.left_out else ""
        return f"{found} ({said(ends[0])} to {said(ends[1])}, {count}{alone})"

    __str__ = sentence


def compare(
    rows: pd.DataFrame,
    by: str,
    *,
    value: str = "bits_per_char",
    pair: str = "seed",
    confidence: float = 0.95,
    levels: tuple | None = None,
) -> Comparison:
    """How the rows with the one value of column `by` differ from those with the other, in pairs of the same `pair`.

    `levels=(a, b)` says which two are compared, and in which order: found is the mean of b less a. Without it the
    column must hold exactly two, taken in ascending order; rows without a value there have the level "none". The
    interval is that of the paired t test: what two runs of a seed have in common, such as the order of their batches,
    does not widen it. Rows that are not of the two levels, and seeds that only one of them has, are left out.

    >>> rows = pd.DataFrame({"width": [8, 8, 8, 16, 16, 16], "seed": [0, 1, 2] * 2,
    ...                      "bits_per_char": [2.50, 2.60, 2.55, 2.31, 2.40, 2.37]})
    >>> print(compare(rows, by="width"))
    better by 0.190 (0.165 to 0.215, 3 seeds)

    Raises ValueError for a column that is not there, more or fewer than two levels, two rows for one place, fewer than
    two pairs, a value that is no finite number, and pairs of seconds that were measured on two machines.
    """
    if missing := [name for name in (by, value, pair) if name not in rows]:
        raise ValueError(f"there is no column {', '.join(missing)}: the rows have {', '.join(rows.columns)}")
    rows = rows.assign(**{by: rows[by].astype(object).where(rows[by].notna(), "none")})
    found = sorted(set(rows[by]), key=lambda level: (isinstance(level, str), level))
    chosen = ["none" if level is None else level for level in levels or found]
    if len(chosen) != 2 or len({*chosen} & {*found}) != 2:
        raise ValueError(f"{by!r} has the levels {found}: say which two of them, levels=(a, b); got {levels}")
    a, b = chosen
    rows = rows[rows[by].isin(chosen)]
    refused = {
        "there are two rows for {}: choose those that differ in nothing else": rows.duplicated([by, pair]),
        f"{value!r} is no number for {{}}: leave these rows out, and say so, or train them to their end":
            ~np.isfinite(rows[value].astype(float)),
    }  # fmt: skip
    if value.endswith(("seconds", "per_second")) and "machine" in rows:
        machines = rows.groupby(pair)["machine"].transform("nunique")
        refused["seconds were measured on several machines for {}: train each pair on one"] = machines > 1
    for problem, where in refused.items():
        named = [f"{by} {level!r}, {pair} {key}" for level, key in rows.loc[where, [by, pair]].values]
        if named:
            raise ValueError(problem.format("; ".join(named)))
    table = rows.pivot(index=pair, columns=by, values=value).astype(float)
    whole = table.dropna()
    if len(whole) < 2:
        has = {level: table[level].dropna().index.tolist() for level in chosen}
        raise ValueError(f"an interval takes two pairs of the same {pair} or more; these have {has}")
    differences = (whole[b] - whole[a]).to_dict()
    interval = mean_interval([*differences.values()], confidence)
    return Comparison(a, b, *interval, differences, tuple(table.index.difference(whole.index)), pair)
