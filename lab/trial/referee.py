"""The referee: an idea and its baseline, trained alike in pairs of a seed, and what may be said of the difference."""

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate
from pathlib import Path

import pandas as pd

from lab import runs
from lab.bench import compare
from lab.files import sha256_bytes, write_atomic
from lab.machine import machine
from lab.runs import Experiment, Run
from lab.text import Corpus, load
from lab.trial.idea import Idea, read_idea
from lab.trial.plan import (
    BASELINE,
    FEW_MINUTES,
    IDEA,
    PARAMETERS,
    RESIZED,
    TOKENS,
    comparisons,
    planned,
    trained_as,
)
from lab.trial.rule import FIRST, MATTERS, is_decided, level
from lab.trial.scoring import Lie, hold_out, score
from lab.trial.sizes import CLOSE, as_large, num_parameters

FACTORS, FARTHEST = (0.5, 1.0, 2.0), 8.0  # of the learning rates; the search goes as far as 8 and 1/8
VALIDATIONS = 10  # on the way
MEASURED = ("tokens", "seconds", "parameters")
NOTICED = 0.03  # what may differ between the sides without a word


class Stopped(ValueError):
    """Why a trial has no comparison to offer."""


@dataclass
class Trial:
    """What a trial found, as JSON can hold it.

    changes   what the idea changes
    plan      see `lab.trial.plan.planned`
    rates     for each side the validation, in bits a character, by the factor on its learning rates; None: it diverged
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
    rates: dict[str, dict[float, float | None]]
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
        return asdict(self)

    def __str__(self) -> str:
        told = [f"  {arm:<18}{found['sentence']}" for arm, found in self.arms.items()]
        return "\n".join([f"{self.file}: {self.about}", *([f"  {self.problem}"] if self.problem else told)])


def trial(
    path: str | os.PathLike,
    corpus: str | Corpus | None = None,
    *,
    minutes: float = 30.0,
    folder: str | os.PathLike | None = None,
    workers: int | None = None,
    steps: int | None = None,
    pairs: int | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Trial:
    """Is the idea in the file at `path` (see `read_idea`) better than its baseline, and by how much?

    Both sides get the same search for learning rates, by short runs and their validation lines. Then they are trained
    in pairs of a seed: for equally many tokens, for equally many seconds, and with equally many parameters, where these
    differ; until the answer is clear at each of the three (see `lab.trial.rule`), or the `minutes` are over. All that
    trains receives a file without the lines that are scored. This guards against mistakes, not against somebody who
    means to deceive: the code of the idea runs as it is.

    `corpus` takes the place of the baseline's. `steps` of a run and the most `pairs` are planned from measured speeds
    where they are not given. All lies in a folder under `folder`/trials, by default of `runs/`: the same call goes on
    where it was stopped.

    >>> print(trial("trials/muon.py", "kjv", minutes=5))  # doctest: +SKIP
    trials/muon.py: a first look, on kjv, 3 pairs of runs within 5 minutes
      equal tokens      better by 0.31 (0.28 to 0.34, 3 seeds)
      ...

    Raises ValueError for a file without an idea, for too few minutes, and for what `lab.runs.trained` refuses, and
    CorpusError for a text with too few lines. An idea that diverges or reads ahead raises nothing: that is the result.
    """
    end, idea = time.monotonic() + 60 * minutes, read_idea(path)
    text = _text(idea, corpus)
    kept, lines = hold_out(text)
    whole = [idea.idea.to_json(), idea.baseline.to_json(), text.sha256, minutes, steps, pairs]
    name = f"{idea.path.stem}-{sha256_bytes(json.dumps(whole, sort_keys=True).encode())[:8]}"
    place = Path(folder or runs.default_folder()) / "trials" / name
    sides, notes = _sides(idea, write_atomic(place / "lines.txt", "".join(f"{line}\n" for line in kept)))
    plan = place / "plan.json"
    if not plan.is_file():
        write_atomic(plan, json.dumps(planned(sides, minutes, workers, steps, pairs), indent=1) + "\n")
    plan = json.loads(plan.read_text("utf-8"))
    say(f"at most {plan['pairs']} pairs in {minutes:g} minutes; steps a run: {plan['steps']}")
    rates = {BASELINE: {}, IDEA: {}}
    found = Trial(
        name, os.path.relpath(idea.path), text.name, minutes, [*idea.changes], plan, rates, notes=notes
    )

    def train(jobs: Mapping) -> Iterator[tuple]:
        return _trained(jobs, place, workers, progress)

    try:
        factors = _search(found, sides, train)
        _judge_pairs(found, sides, factors, train, lines, end, say)
    except (Stopped, Lie) as problem:
        found.problem = str(problem)
    found.notes += _not_equal(found)
    return found


def _text(idea: Idea, asked: str | Corpus | None) -> Corpus:
    """The text of the trial. An idea with a text of its own might have read what it is scored on."""
    usual, own = idea.baseline.data.corpus, idea.idea.data.corpus
    if own not in ("auto", usual, asked):
        raise ValueError(
            f"{idea.path.name}: idea and baseline are tried on one text, but idea() names {own!r}: leave it out there, "
            "and choose the text with --corpus"
        )
    chosen = asked or usual
    return chosen if isinstance(chosen, Corpus) else load(chosen)


def _sides(idea: Idea, lines: Path) -> tuple[dict[str, Experiment], list[str]]:
    """What is trained, a baseline as large as the idea among it, all on the file of lines; and what to say of it."""
    sides = {BASELINE: idea.baseline, IDEA: idea.idea}
    for side, one in sides.items():
        sides[side] = replace(one, data=replace(one.data, corpus=str(lines), sha256=None)).resolved()
    own, tried = map(num_parameters, sides.values())
    notes = []
    if abs(own / tried - 1) > CLOSE:
        resized = as_large(sides[BASELINE], tried)
        sides |= {RESIZED: resized} if resized else {}
        notes.append(
            f"The idea has {tried:,} parameters, the baseline {own:,}. "
            + (f"For equal parameters: {'; '.join(runs.differences(sides[BASELINE], resized))}." if resized
               else "No width of the baseline makes them equal.")
        )  # fmt: skip
    if all(change.startswith(("training.matrix_lr:", "training.other_lr:")) for change in idea.changes):
        notes.append(
            "The idea is a learning rate, which the search multiplies by the same factors on both sides."
        )
    if any(change.startswith(("data.tokenizer", "model.vocab_size")) for change in idea.changes):
        notes.append("The sides cut the text differently: equal tokens are not equally much text.")
    notes += [
        f"The score of the {side} is measured by its objective, and may be a bound."
        for side in (BASELINE, IDEA)
        if not hasattr(sides[side].objective, "language_model")
    ]
    return sides, notes


def _trained(jobs: Mapping, folder: Path, workers: int | None, progress: bool) -> Iterator[tuple]:
    """Each key with its run as soon as that is there, or None where it diverged."""
    options = {"workers": workers, "progress": progress, "say": lambda _: None}
    with closing(runs.trained([*jobs.values()], folder, **options)) as ended:
        for experiment, run in ended:
            if isinstance(run, Exception) and getattr(run, "kind", "") != "diverged":
                raise run
            run = run if isinstance(run, Run) else None
            yield from ((key, run) for key, one in jobs.items() if one == experiment)


def _search(found: Trial, sides: Mapping[str, Experiment], train: Callable) -> dict[str, float]:
    """For each side the factor on its learning rates that is best on the validation lines; all try the same."""
    grid, tried = FACTORS, found.rates
    while grid:
        steps = found.plan["search_steps"]
        jobs = {(side, factor): _sized(sides[side], steps[side], factor) for side in tried for factor in grid}
        for (side, factor), run in train(jobs):
            tried[side][factor] = runs.outcome(run).get("bits_per_char") if run else None
        best = {side: _best(side, measured) for side, measured in tried.items()}
        edges = {min(tried[IDEA]): 0.5, max(tried[IDEA]): 2.0}
        beyond = [edge * times for edge, times in edges.items() if edge in best.values()]
        grid = [factor for factor in beyond if 1 / FARTHEST <= factor <= FARTHEST]
    for side, factor in best.items():
        if factor in (1 / FARTHEST, FARTHEST):
            found.notes.append(
                f"The {side} was best at the farthest learning rate tried, {factor:g} times its own."
            )
    return best


def _best(side: str, measured: Mapping[float, float | None]) -> float:
    measured = {factor: bits for factor, bits in measured.items() if bits is not None}
    if not measured:
        raise Stopped(f"the {side} diverged at every learning rate tried, or measures no bits_per_char")
    return min(measured, key=measured.get)


def _judge_pairs(found: Trial, sides, factors, train, lines: list[str], end: float, say) -> None:
    """Train and score pair after pair, until the answer is clear or time is out."""
    steps, most, begun = found.plan["steps"], found.plan["pairs"], time.monotonic()
    jobs = {}
    for seed in range(1, most + 1):
        for side, n in steps.items():
            own = trained_as(side)
            jobs[seed, side] = _sized(sides[own], n, factors.get(own, factors[BASELINE]), seed)
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
                say(
                    f"after {done} pairs: "
                    + "; ".join(f"{a}, {one['sentence']}" for a, one in found.arms.items())
                )
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


def _not_equal(found: Trial) -> list[str]:
    """What a run of the idea took and a run of the baseline did not, after equal tokens."""
    rows = pd.DataFrame(found.rows, columns=["side", *MEASURED])
    typical = rows.groupby("side")[[*MEASURED]].median()
    return [
        f"Not equal in the runs of equal tokens: {what}, {typical[what][IDEA]:,.6g} of the idea, "
        f"{typical[what][BASELINE]:,.6g} of the baseline."
        for what in MEASURED
        if {BASELINE, IDEA} <= {*typical.index}
        and abs(typical[what][IDEA] / typical[what][BASELINE] - 1) > NOTICED
    ]


def _row(side: str, seed: int, run: Run | None, lines: list[str]) -> dict:
    """What came of one run, scored in this process."""
    if run is None:
        raise Stopped(f"the {side} diverged, with seed {seed}")
    try:
        bits = score(run, lines)
    except Lie as lie:
        raise Lie(f"the {side} has no score to believe: {lie}") from lie
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


def _sized(experiment: Experiment, steps: int, factor: float, seed: int | None = None) -> Experiment:
    """For so many steps at `factor` times its learning rates; the run of a pair is validated on the way."""
    how = experiment.training
    every = how.evaluate_every if seed is None else max(1, steps // VALIDATIONS)
    rates = {"matrix_lr": factor * how.matrix_lr, "other_lr": factor * how.other_lr}
    return replace(
        experiment, seed=seed or 0, training=replace(how, steps=steps, evaluate_every=every, **rates)
    )
