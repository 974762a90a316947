"""What a trial found."""

import math
from dataclasses import asdict, dataclass, field

import pandas as pd

from lab.machine import machine
from lab.trial.plan import BASELINE, FEW_MINUTES, IDEA

MEASURED = {"tokens": ",.0f", "seconds": ",.3g", "parameters": ",.0f"}  # and how it is written
NOTICED = 0.03  # what may differ between the sides without a word


@dataclass
class Trial:
    """What a trial found, as JSON can hold it.

    changes   what the idea changes
    plan      see `lab.trial.plan.planned`
    rates     for each side the validation, in bits a character, by the factor on its learning rates; inf: it diverged
    factors   those that were chosen
    rows      a run each: its side, seed, score on the held-out lines, cost, and its validation on the way
    arms      by what is held equal: the two sides, the sentence, and the difference with its interval
    level     of the intervals
    notes     what is not equal, and what else a reader should know
    problem   why there is no comparison; "" where there is
    """

    name: str
    file: str
    text: str
    minutes: float
    changes: list[str]
    plan: dict
    rates: dict[str, dict[float, float]]
    factors: dict[str, float] = field(default_factory=dict)
    rows: list[dict] = field(default_factory=list)
    arms: dict[str, dict] = field(default_factory=dict)
    level: float = 0.0
    notes: list[str] = field(default_factory=list)
    problem: str = ""
    machine: dict = field(default_factory=machine)

    @property
    def pairs(self) -> int:
        return max((row["seed"] for row in self.rows), default=0)

    @property
    def about(self) -> str:
        look = "a first look, " if self.minutes < FEW_MINUTES else ""
        return f"{look}on {self.text}, {self.pairs} pairs of runs within {self.minutes:g} minutes"

    def to_json(self) -> dict:
        rates = {
            side: {factor: bits if math.isfinite(bits) else None for factor, bits in tried.items()}
            for side, tried in self.rates.items()
        }
        return asdict(self) | {"rates": rates}

    def __str__(self) -> str:
        told = [f"  {arm:<18}{found['sentence']}" for arm, found in self.arms.items()]
        return "\n".join([f"{self.file}: {self.about}", *([f"  {self.problem}"] if self.problem else told)])


def not_equal(found: Trial) -> list[str]:
    """What a run of the idea took and a run of the baseline did not, after equal tokens: medians over the seeds."""
    rows = pd.DataFrame(found.rows, columns=["side", *MEASURED])
    if rows.empty:
        return []
    typical = rows.groupby("side")[[*MEASURED]].median()
    told = []
    for what, form in MEASURED.items():
        own, tried = typical[what][BASELINE], typical[what][IDEA]
        if abs(tried / own - 1) > NOTICED:
            told.append(
                f"Not equal in the runs of equal tokens: {tried:{form}} {what}, the baseline's {own:{form}}."
            )
    return told
