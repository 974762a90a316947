"""The referee: an idea and its baseline, trained alike in pairs of seeds, and what may be said of the difference."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd
import torch

from lab import runs
from lab.bench import compare
from lab.files import sha256_bytes, write_atomic
from lab.machine import machine
from lab.runs import Experiment, Run
from lab.text import NAMES, Corpus, load
from lab.trial import scoring
from lab.trial.idea import Idea, read_idea
from lab.trial.rule import FIRST, MATTERS, MOST, is_decided, level
from lab.trial.sizes import CLOSE, as_large, num_parameters, tokens_per_step

BASELINE, IDEA, IN_TIME, RESIZED = "baseline", "idea", "idea, equal seconds", "baseline, equal parameters"
TOKENS, SECONDS, PARAMETERS = "equal tokens", "equal seconds", "equal parameters"
FACTORS, FARTHEST = (0.5, 1.0, 2.0), 8.0  # of the learning rates; the search goes no farther than 8 and 1/8
SAME_SPEED = 0.03  # what two measured speeds may differ by chance
SEARCHED, TRAINING = 0.25, 0.8  # of the minutes, what the search takes of the training, and that of all
FEWEST_STEPS, FEW_MINUTES = 50, 20
CURVE = 10  # validations on the way


class Stopped(ValueError):
    """Why a trial has no comparison to offer."""


@dataclass
class Trial:
    """All that a trial found, ready for JSON.

    arms      by what is held equal: the two sides, the sentence, and the difference with its interval where there is
    rows      one a run: its side, seed, score on the held-out lines, cost, and its validation on the way
    rates     for each side the validation, in bits a character, by the factor on its learning rates
    problem   why there is no comparison, "" where there is
    """

    name: str
    file: str
    text: str
    minutes: float
    changes: list[str]
    plan: dict
    arms: dict[str, dict] = field(default_factory=dict)
    rows: list[dict] = field(default_factory=list)
    rates: dict[str, dict[float, float | None]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    level: float = math.nan
    problem: str = ""
    machine: dict = field(default_factory=machine)

    @property
    def pairs(self) -> int:
        return min((sum(row["side"] == side for row in self.rows) for side in (BASELINE, IDEA)), default=0)

    @property
    def is_first_look(self) -> bool:
        return self.minutes < FEW_MINUTES

    def to_json(self) -> dict:
        return asdict(self)

    def __str__(self) -> str:
        if self.problem:
            return f"{self.file} on {self.text}: {self.problem}"
        told = [f"  {arm:<17} {found['sentence']}" for arm, found in self.arms.items()]
        look = ", a first look" if self.is_first_look else ""
        return "\n".join([f"{self.file} on {self.text}{look}, bits a character:", *told])


def trial(
    path: str | os.PathLike,
    corpus: str | Corpus | None = None,
    *,
    minutes: float = 30.0,
    folder: str | os.PathLike | None = None,
    workers: int | None = None,
    steps: int | None = None,
    pairs: int | None = None,
    seconds_per_step: tuple[float, float] | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Trial:
    """Is the idea in the file at `path` (see `read_idea`) better than its baseline, and by how much?

    Both get the same search for learning rates, on short runs and their validation lines; then they are trained in
    pairs of a seed, after equal tokens, equal seconds and, where they differ, with equal parameters, until the answer
    is clear (`lab.trial.rule`) or the `minutes` are over. What trains receives a file without the lines that the score
    is taken on. This guards against mistakes, not against somebody who means to cheat: the idea's code runs as it is.

    `corpus` takes the place of the baseline's. `steps` and `pairs` are planned from measured speeds where they are not
    given; `seconds_per_step` are those of baseline and idea where they are known. Everything lies in a folder of
    `folder`/trials, by default in `runs/`: the same call goes on where it was stopped.

    >>> print(trial("trials/muon.py", "kjv", minutes=5))  # doctest: +SKIP
    trials/muon.py on kjv, a first look, bits a character:
      equal tokens      better by 0.31 (0.28 to 0.34, 3 seeds)
      ...

    Raises ValueError for a file that holds no idea, too few minutes, and what `lab.runs.trained` refuses, and
    CorpusError for a text with too few lines. An idea that diverges or reads ahead raises nothing: it is a result.
    """
    begun, idea = time.monotonic(), read_idea(path)
    text = _text(idea, corpus)
    kept, lines = scoring.held_out(text)
    name = _name(idea, text, [minutes, steps, pairs])
    place = Path(folder or runs.default_folder()) / "trials" / name
    sides, notes = _sides(idea, write_atomic(place / "lines.txt", "".join(f"{line}\n" for line in kept)))
    plan = _planned(sides, place / "plan.json", minutes, workers, steps, pairs, seconds_per_step)
    say(_told(plan, minutes))
    changes, file = list(idea.changes), os.path.relpath(idea.path)
    found = Trial(name, file, text.name, minutes, changes, plan, notes=notes)

    def train(jobs):
        return _trained(jobs, place, workers, progress)

    try:
        factors = _search(found, sides, train)
        _pairs(found, sides, factors, train, lines, begun + 60 * minutes, say)
    except (Stopped, scoring.Lie) as error:
        found.problem = str(error)
    found.notes += _not_equal(found)
    return found


def _text(idea: Idea, asked: str | Corpus | None) -> Corpus:
    """The text of the trial. An idea with a text of its own might have read what it is scored on."""
    usual, own = idea.baseline.data.corpus, idea.idea.data.corpus
    if own not in ("auto", usual, asked):
        raise ValueError(
            f"{idea.path.name}: idea and baseline are tried on one text, but idea() names the corpus {own!r}: leave it "
            "out, and choose the text with --corpus"
        )
    chosen = asked or usual
    return chosen if isinstance(chosen, Corpus) else load(chosen)


def _name(idea: Idea, text: Corpus, asked: list) -> str:
    """The file's name and a hash of all that decides what is trained."""
    whole = [idea.idea.to_json(), idea.baseline.to_json(), text.sha256, *asked]
    return f"{idea.name}-{sha256_bytes(json.dumps(whole, sort_keys=True).encode())[:8]}"


def _sides(idea: Idea, lines: Path) -> tuple[dict[str, Experiment], list[str]]:
    """What is trained, on the file of lines, and what there is to say of it; a baseline as large as the idea too."""
    both = {BASELINE: idea.baseline, IDEA: idea.idea}
    sides = {
        side: replace(one, data=replace(one.data, corpus=str(lines), sha256=None))
        for side, one in both.items()
    }
    notes = []
    own, tried = (num_parameters(sides[side]) for side in both)
    if abs(own / tried - 1) > CLOSE and (resized := as_large(sides[BASELINE], tried)):
        sides[RESIZED] = resized
        changed = "; ".join(runs.differences(sides[BASELINE], resized))
        notes.append(f"For equal parameters the baseline's size is changed: {changed}.")
    elif abs(own / tried - 1) > CLOSE:
        notes.append(f"No size of the baseline has the idea's {tried:,} parameters; it has {own:,}.")
    if idea.is_learning_rate:
        notes.append("The idea is a learning rate: the search multiplies it by the same factors as the baseline's.")
    if any(change.startswith(("data.tokenizer", "model.vocab_size")) for change in idea.changes):
        notes.append("The sides cut the text differently: equal tokens are not equally much text.")
    return sides, notes


def _planned(sides, file: Path, minutes, workers, steps, pairs, speeds) -> dict:
    """How many steps of which side, in how many pairs: what fits into the minutes, or what is written in the file."""
    if file.is_file():
        return json.loads(file.read_text("utf-8"))
    if speeds is None:
        with _threads(None if workers == 0 else max(1, _cores() // (workers or _cores()))):
            speeds = runs.seconds_per_step(list(sides.values()), seconds=min(5.0, 3 * minutes))
    seconds = dict(zip(sides, [*speeds, speeds[0]], strict=False))  # of the resized baseline, where it is not known
    ratio = tokens_per_step(sides[BASELINE]) / tokens_per_step(sides[IDEA])
    share = {BASELINE: 1.0, IDEA: ratio, IN_TIME: seconds[BASELINE] / seconds[IDEA]}  # steps for each of the baseline
    if abs(share[IN_TIME] / ratio - 1) <= SAME_SPEED:
        del share[IN_TIME]
    share |= {RESIZED: 1.0} if RESIZED in sides else {}
    cost = {side: part * seconds[_side(side)] for side, part in share.items()}  # for each step of the baseline
    most = pairs or (MOST if minutes >= FEW_MINUTES else 5)
    budget = 60 * minutes * TRAINING * (workers or _cores())
    searched = int(SEARCHED * budget / (5 * (cost[BASELINE] + cost[IDEA])))  # three factors, perhaps two more
    planned = steps or int((1 - SEARCHED) * budget / (most * sum(cost.values())))
    while not pairs and planned < FEWEST_STEPS and most > FIRST:
        most -= 1
        planned = steps or int((1 - SEARCHED) * budget / (most * sum(cost.values())))
    if planned < FEWEST_STEPS and not steps:
        needed = math.ceil(minutes * FEWEST_STEPS / max(planned, 0.5))
        raise ValueError(
            f"{minutes:g} minutes are too few for {most} pairs of {FEWEST_STEPS} steps: about {needed} are needed here; "
            "give more --minutes, or a smaller model"
        )
    plan = {
        "pairs": most,
        "steps": {side: max(1, round(part * planned)) for side, part in share.items()},
        "search_steps": {
            side: max(1, round(share[side] * min(planned, steps or searched))) for side in (BASELINE, IDEA)
        },
        "seconds_per_step": seconds,
    }
    write_atomic(file, json.dumps(plan, indent=1) + "\n")
    return plan


def _told(plan: dict, minutes: float) -> str:
    steps = ", ".join(f"{side} {n:,}" for side, n in plan["steps"].items())
    searched = ", ".join(f"{side} {n:,}" for side, n in plan["search_steps"].items())
    return f"{plan['pairs']} pairs at most in {minutes:g} minutes; steps a run: {steps}; to find the learning rate: {searched}"


def _trained(jobs: Mapping, folder: Path, workers: int | None, progress: bool) -> Iterator[tuple[object, Run]]:
    """Each key with its run, as soon as that is there; an experiment that two keys share is trained once."""
    jobs = {key: experiment.resolved() for key, experiment in jobs.items()}
    options = {"workers": workers, "progress": progress, "say": lambda _: None}
    with closing(runs.trained(list(jobs.values()), folder, **options)) as ended:
        for experiment, run in ended:
            yield from ((key, run) for key, one in jobs.items() if one == experiment)


def _search(found: Trial, sides: Mapping[str, Experiment], train: Callable) -> dict[str, float]:
    """The factor on its learning rates with which each side does best on its validation lines; both try the same."""
    tried, grid = {BASELINE: {}, IDEA: {}}, list(FACTORS)
    found.rates = tried
    while grid:
        steps = found.plan["search_steps"]
        jobs = {
            (side, factor): _sized(sides[side], steps[side], factor) for side in tried for factor in grid
        }
        for (side, factor), run in train(jobs):
            tried[side][factor] = None if _diverged(run) else runs.outcome(run).get("bits_per_char")
        best = {side: _best(side, rates) for side, rates in tried.items()}
        ends = min(tried[IDEA]) / 2, max(tried[IDEA]) * 2
        grid = [end for end in ends if {2 * end, end / 2} & {*best.values()} and 1 / FARTHEST <= end <= FARTHEST]
    for side, factor in best.items():
        if factor in (FARTHEST, 1 / FARTHEST):
            found.notes.append(f"The best learning rate of the {side} is the last that was tried: {factor:g} times.")
    return best


def _best(side: str, rates: Mapping[float, float | None]) -> float:
    measured = {factor: bits for factor, bits in rates.items() if bits is not None}
    if not measured:
        raise Stopped(f"the {side} diverges, or measures no bits_per_char, at every learning rate tried")
    return min(measured, key=measured.get)


def _pairs(found: Trial, sides, factors, train, lines: list[str], end: float, say) -> None:
    """Train pair after pair until the answer is clear at each of the three, or time is out."""
    steps, most, begun = found.plan["steps"], found.plan["pairs"], time.monotonic()
    jobs = {
        (seed, side): _sized(sides[_side(side)], n, factors[IDEA if side in (IDEA, IN_TIME) else BASELINE], seed)
        for seed in range(1, most + 1)
        for side, n in steps.items()
    }
    there, looked = [], 0
    with closing(train(jobs)) as ended:
        for (seed, side), run in ended:
            there.append(_row(side, seed, run, lines))
            whole = _whole_pairs(there, len(steps))
            if whole == looked:
                continue
            looked, found.rows = whole, [row for row in there if row["seed"] <= whole]
            if looked < min(FIRST, most):
                continue
            clear = _judge(found)
            say(f"after {looked} pairs: " + "; ".join(f"{arm}: {one['sentence']}" for arm, one in found.arms.items()))
            if clear:
                return
            if time.monotonic() + (time.monotonic() - begun) / looked > end and looked < most:
                found.notes.append(f"Time was out after {looked} of {most} pairs.")
                return


def _judge(found: Trial) -> bool:
    """Say what the pairs so far tell at each of the three; whether all of it is clear."""
    steps, rows = found.plan["steps"], pd.DataFrame(found.rows)
    own, tried = (rows.loc[rows.side == side, "parameters"].iloc[0] for side in (BASELINE, IDEA))
    arms = {TOKENS: (BASELINE, IDEA), SECONDS: (BASELINE, IN_TIME if IN_TIME in steps else IDEA)}
    if RESIZED in steps or abs(own / tried - 1) <= CLOSE:
        arms[PARAMETERS] = (RESIZED if RESIZED in steps else BASELINE, IDEA)
    found.level = level(len(set(arms.values())), max(FIRST, found.plan["pairs"]))
    clear = True
    for arm, pair in arms.items():
        told = compare(rows, "side", levels=pair, confidence=1 - found.level)
        decided = is_decided(told.low, told.high)
        small = f"; no difference of {MATTERS} or more" if decided and not told.is_clear else ""
        found.arms[arm] = {
            "sides": pair, "sentence": told.sentence() + small, "difference": told.difference, "low": told.low,
            "high": told.high, "pairs": list(told.pairs.values()),
        }  # fmt: skip
        clear &= decided
    found.arms.setdefault(PARAMETERS, {"sides": (), "sentence": "could not be made equal"})
    return clear


def _row(side: str, seed: int, run: Run, lines: list[str]) -> dict:
    """What came of one run, scored here."""
    if _diverged(run):
        raise Stopped(f"the {side} diverged with seed {seed}: {run}")
    try:
        bits = scoring.score(run, lines)
    except scoring.Lie as lie:
        raise scoring.Lie(f"the {side}: {lie}") from lie
    logged, tokens, curve = runs.steps(run), 0, []
    for step in logged:
        tokens += step["tokens"]
        if step["validation"] is not None:
            curve.append((tokens, step["validation"]))
    return {
        "side": side, "seed": seed, "bits_per_char": bits, "own_score": scoring.is_own_score(run),
        "steps": run.state.step, "tokens": run.state.tokens, "seconds": run.state.seconds,
        "parameters": sum(p.numel() for p in run.model.parameters()), "curve": curve,
    }  # fmt: skip


def _not_equal(found: Trial) -> list[str]:
    """What idea and baseline differ in besides what was changed, in the runs of equal tokens."""
    if found.problem or not found.rows:
        return []
    rows = pd.DataFrame(found.rows)
    both = [rows[rows.side == side] for side in (BASELINE, IDEA)]
    told = []
    for what, unit, close in (("tokens", "tokens", CLOSE), ("parameters", "parameters", CLOSE), ("seconds", "s of training", SAME_SPEED)):
        own, tried = (rows[what].median() for rows in both)
        if abs(own / tried - 1) > close:
            told.append(f"Not equal after equal tokens: {tried:,.4g} {unit}, the baseline's {own:,.4g}.")
    own = [side for side, rows in zip((BASELINE, IDEA), both, strict=True) if rows.own_score.any()]
    told += [f"The score of the {side} is the objective's own, perhaps a bound." for side in own]
    same = [arm for arm, one in found.arms.items() if arm != TOKENS and one["sides"] == found.arms[TOKENS]["sides"]]
    told += [f"{arm.capitalize()}: the runs of equal tokens are that already." for arm in same]
    return told


def _sized(experiment: Experiment, steps: int, factor: float, seed: int | None = None) -> Experiment:
    """For so many steps at `factor` times its learning rates; a run of a pair is validated on the way."""
    how = experiment.training
    rates = {name: factor * getattr(how, name) for name in ("matrix_lr", "other_lr")}
    every = how.evaluate_every if seed is None else max(1, steps // CURVE)
    return replace(experiment, seed=seed or 0, training=replace(how, steps=steps, evaluate_every=every, **rates))


def _side(side: str) -> str:
    """The experiment that a side is a run of."""
    return IDEA if side == IN_TIME else side


def _whole_pairs(rows: list[dict], sides: int) -> int:
    """How many of the first pairs are whole."""
    counts = [sum(row["seed"] == seed for row in rows) for seed in range(1, len(rows) + 2)]
    return next(n for n, count in enumerate(counts) if count < sides)


def _diverged(run: Run | Exception) -> bool:
    """Whether it diverged; what else went wrong is raised."""
    diverged = isinstance(run, FloatingPointError) or getattr(run, "kind", "") == "diverged"
    if isinstance(run, Exception) and not diverged:
        raise run
    return diverged


def _cores() -> int:
    return os.cpu_count() or 1


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    """As many threads as a worker has; with None those there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
