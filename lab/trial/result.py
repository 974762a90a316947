"""What a trial found."""

import math
from dataclasses import asdict, dataclass, field

import pandas as pd

from lab.bench import Comparison
from lab.machine import machine
from lab.trial.plan import FEW_MINUTES
from lab.trial.rule import MATTERS, is_decided
from lab.trial.sides import BASELINE, IDEA

TOKENS, SECONDS, PARAMETERS = "equal tokens", "equal seconds", "equal parameters"


@dataclass
class Trial:
    """What a trial found.

    changes   what the idea changes
    plan      see `lab.trial.plan.planned`
    rates     for each side the validation, in bits a character, by the factor on its learning rates; inf: it diverged
    factors   those that were chosen
    rows      a run each: its side, seed, score on the held-out lines, cost, and its validation on the way
    arms      the comparison of two sides by what they have equal; without parameters, where these could not be made so
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
    notes: list[str]
    rates: dict[str, dict[float, float]] = field(default_factory=lambda: {BASELINE: {}, IDEA: {}})
    factors: dict[str, float] = field(default_factory=dict)
    rows: list[dict] = field(default_factory=list)
    arms: dict[str, Comparison] = field(default_factory=dict)
    level: float = 0.0
    problem: str = ""
    machine: dict = field(default_factory=machine)

    @property
    def about(self) -> str:
        look = "a first look, " if self.minutes < FEW_MINUTES else ""
        pairs = max((row["seed"] for row in self.rows), default=0)
        return f"{look}on {self.text}, {pairs} pairs of runs within {self.minutes:g} minutes"

    @property
    def answers(self) -> dict[str, str]:
        """What may be said, by what was held equal; or why nothing may."""
        if self.problem:
            return {"no comparison": self.problem}
        told = dict.fromkeys((TOKENS, SECONDS, PARAMETERS), "nothing to compare: see what else was noted")
        for arm, one in self.arms.items():
            told[arm] = one.sentence()
            if is_decided(one.low, one.high) and not one.is_clear:
                told[arm] += f"; surely below {MATTERS}"
            if arm != TOKENS and (one.a, one.b) == (BASELINE, IDEA):
                told[arm] += "; the same runs as for equal tokens"
        return told

    def to_json(self) -> dict:
        """All of it, as JSON can hold it: the rate at which a run diverged has no validation."""
        rates = pd.DataFrame(self.rates, dtype=object).replace(math.inf, None).to_dict()
        return asdict(self) | {"rates": rates, "answers": self.answers}

    def __str__(self) -> str:
        told = [f"  {arm:<18}{answer}" for arm, answer in self.answers.items()]
        return "\n".join([f"{self.file}: {self.about}", *told, *(f"  {note}" for note in self.notes)])
