"""Pair after pair of runs, trained and scored, until the answer is clear."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import accumulate

import pandas as pd

from lab import runs
from lab.bench import compare
from lab.runs import Experiment, Run
from lab.trial.plan import BASELINE, IDEA, PARAMETERS, RESIZED, TOKENS, comparisons, sized, trained_as
from lab.trial.result import Trial
from lab.trial.rule import FIRST, MATTERS, is_decided, level
from lab.trial.scoring import NoScore, score
from lab.trial.sizes import CLOSE

VALIDATIONS = 10  # of a run, on the way


def judge_pairs(
    found: Trial,
    sides: Mapping[str, Experiment],
    train: Callable,
    lines: Sequence[str],
    end: float,
    say: Callable[[str], None],
) -> None:
    """Train and score pair after pair, until the answer is clear or time is out."""
    steps, most, begun = found.plan["steps"], found.plan["pairs"], time.monotonic()
    factors = {RESIZED: found.factors[BASELINE]} | found.factors
    jobs = {
        (seed, side): sized(sides[own], n, factors[own], seed, validations=VALIDATIONS)
        for seed in range(1, most + 1)
        for side, n in steps.items()
        for own in [trained_as(side)]
    }
    there, done = defaultdict(list), 0
    with closing(train(jobs)) as ended:
        for (seed, side), run in ended:
            there[seed].append(_row(side, seed, run, lines))
            while len(there[done + 1]) == len(steps):
                done += 1
                found.rows += there[done]
                if done < FIRST:
                    continue
                clear = _judge(found)
                told = "; ".join(f"{arm}, {one['sentence']}" for arm, one in found.arms.items())
                say(f"after {done} pairs: {told}")
                if clear:
                    return
                if done < most and time.monotonic() + (time.monotonic() - begun) / done > end:
                    found.notes.append(f"Time was out after {done} of at most {most} pairs.")
                    return


def _judge(found: Trial) -> bool:
    """What the pairs so far say of each comparison; whether all of it is clear."""
    rows, steps = pd.DataFrame(found.rows), found.plan["steps"]
    size = rows.groupby("side").parameters.first()
    sides_of = comparisons(steps, same_size=abs(size[IDEA] / size[BASELINE] - 1) <= CLOSE)
    found.level = level(len({*sides_of.values()}), found.plan["pairs"])
    clear = True
    for arm, sides in sides_of.items():
        one = compare(rows, "side", levels=sides, confidence=1 - found.level)
        decided = is_decided(one.low, one.high)
        small = f"; surely below {MATTERS}" if decided and not one.is_clear else ""
        same = "; the same runs as for equal tokens" if arm != TOKENS and sides == sides_of[TOKENS] else ""
        found.arms[arm] = {
            "sides": sides,
            "sentence": one.sentence() + small + same,
            "pairs": [*one.pairs.values()],
        }
        found.arms[arm] |= {"difference": one.difference, "low": one.low, "high": one.high}
        clear = clear and decided
    found.arms.setdefault(PARAMETERS, {"sides": (), "sentence": "could not be made equal"})
    return clear


def _row(side: str, seed: int, run: Run | None, lines: list[str]) -> dict:
    """What came of one run, scored in this process."""
    if run is None:
        raise NoScore(f"the {side} diverged, with seed {seed}")
    try:
        bits = score(run, lines)
    except NoScore as lie:
        raise NoScore(f"the {side} has no score to believe: {lie}") from lie
    logged, state = runs.steps(run), run.state
    read = accumulate(step["tokens"] for step in logged)
    return {
        "side": side,
        "seed": seed,
        "bits_per_char": bits,
        "steps": state.step,
        "tokens": state.tokens,
        "seconds": state.seconds,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "curve": [
            (at, step["validation"])
            for at, step in zip(read, logged, strict=True)
            if step["validation"] is not None
        ],
    }
