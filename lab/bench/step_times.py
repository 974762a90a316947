"""What a training step should take, by a law of operations and bytes that was fitted to measured ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lab.bench.counts import operations, step_total
from lab.bench.fit import Interval, LinearFit, fit_linear
from lab.bench.results import Row
from lab.nn.transformer import TransformerConfig

SIZES = ("batch", "width", "context")
SMALL = TransformerConfig(vocab_size=1000)


@dataclass(frozen=True)
class StepTimes:
    """The rows measured on one device, and the law that was fitted to them.

    seconds = a * iteration + c * FLOP + d * byte, with operations and bytes counted by `lab.bench.operations`. The
    width decides the model: feed-forward is 4 times as wide, all else is as in `config`.
    """

    rows: tuple[Row, ...]
    law: LinearFit
    config: TransformerConfig = SMALL

    @classmethod
    def fit(cls, rows: Sequence[Row], config: TransformerConfig = SMALL) -> "StepTimes":
        """`rows` have batch, width and context in their case; those that were not measured are left out.

        A cost below zero is noise that another column made room for, so such a column is left out of the law.
        Raises ValueError for rows without these sizes, and as `fit_linear` does for too few.
        """
        rows = tuple(row for row in rows if row.seconds)
        if lacking := [row.case for row in rows if not row.case.keys() >= set(SIZES)]:
            raise ValueError(f"a row needs {', '.join(SIZES)} in its case, got {lacking[0]}")
        counted = [_columns(config, *_sizes(row)) for row in rows]
        columns = {name: np.array([one[name] for one in counted]) for name in ("iteration", "FLOP", "byte")}
        seconds = [row.timing.median for row in rows]
        while True:
            law = fit_linear(columns, seconds)
            lowest = min(columns, key=lambda name: law.coefficients[name] * np.mean(columns[name]))
            if law.coefficients[lowest] >= 0:
                return cls(rows, law, config)
            del columns[lowest]

    def predict(self, batch: int, width: int, context: int) -> tuple[float, Interval]:
        """Seconds of a step, and where their mean lies with the confidence of the law."""
        counted = _columns(self.config, batch, width, context)
        columns = {name: counted[name] for name in self.law.coefficients}
        low, high = self.law.predict_interval(**columns)
        return float(self.law.predict(**columns)), (max(0.0, low), high)

    def nearest(self, batch: int, width: int, context: int) -> Row:
        """The measured row whose sizes differ by the smallest factors."""

        def factors(row: Row) -> float:
            pairs = zip(_sizes(row), (batch, width, context), strict=True)
            return sum(math.log2(a / b) ** 2 for a, b in pairs)

        return min(self.rows, key=factors)

    def measured(self, size: str) -> tuple[int, int]:
        """The least and the most of one of `SIZES` that was measured: beyond them the law only goes on in a line."""
        values = [row.case[size] for row in self.rows]
        return min(values), max(values)


def _sizes(row: Row) -> list[int]:
    return [row.case[name] for name in SIZES]


def _columns(config: TransformerConfig, batch: int, width: int, context: int) -> dict[str, float]:
    """What the law counts of one step. Rotary positions have no table, so a context is never too long to count."""
    sized = replace(config, width=width, feed_forward=4 * width, context=context)
    total = step_total(operations(sized, batch, context))
    return {"iteration": 1.0, "FLOP": float(total.flops), "byte": float(total.bytes)}
