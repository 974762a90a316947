"""The referee: an idea and its baseline, trained alike, and what may be said of the difference."""

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import accumulate
from pathlib import Path

import pandas as pd

from lab import runs
from lab.bench import compare
from lab.files import sha256_bytes, write_atomic
from lab.runs import Experiment, Run, RunFailed
from lab.text import Corpus, load
from lab.trial.idea import read_idea
from lab.trial.plan import planned
from lab.trial.result import PARAMETERS, SECONDS, TOKENS, Trial
from lab.trial.rule import FIRST, is_decided, level
from lab.trial.scoring import NoScore, hold_out, score
from lab.trial.search import best_rates, sized
from lab.trial.sides import BASELINE, CLOSE, IDEA, IN_TIME, RESIZED, sides_of

VALIDATIONS = 10  # of a run, on the way


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
    text = corpus or idea.baseline.data.corpus
    text = text if isinstance(text, Corpus) else load(text)
    kept, lines = hold_out(text)
    whole = [idea.idea.to_json(), idea.baseline.to_json(), text.sha256, minutes, steps, pairs]
    name = f"{Path(path).stem}-{sha256_bytes(json.dumps(whole, sort_keys=True).encode())[:8]}"
    place = Path(folder or runs.default_folder()) / "trials" / name
    sides, notes = sides_of(idea, write_atomic(place / "lines.txt", "".join(f"{line}\n" for line in kept)))
    plan = place / "plan.json"
    if not plan.is_file():
        write_atomic(plan, json.dumps(planned(sides, minutes, workers, steps, pairs), indent=1) + "\n")
    plan = json.loads(plan.read_text("utf-8"))
    say(f"at most {plan['pairs']} pairs in {minutes:g} minutes; steps a run: {plan['steps']}")

    def train(jobs: Mapping[tuple, Experiment]) -> Iterator[tuple[tuple, Run | RunFailed]]:
        """Each key with its run as soon as that is there, or that it diverged."""
        options = {"workers": workers, "progress": progress, "say": lambda _: None}
        for experiment, run in runs.trained([*jobs.values()], place, **options):
            if isinstance(run, RunFailed) and run.kind != "diverged":
                raise run
            yield from ((key, run) for key, one in jobs.items() if one == experiment)

    found = Trial(name, os.path.relpath(path), text.name, minutes, [*idea.changes], plan, notes)
    try:
        found.factors = best_rates(found, sides, train)
        _judge_pairs(found, sides, train, lines, end, say)
    except NoScore as problem:
        found.problem, found.arms = str(problem), {}
    return found


def _judge_pairs(found: Trial, sides: Mapping[str, Experiment], train, lines: Sequence[str], end: float, say):
    """Train and score pair after pair, until the answer is clear or time is out."""
    steps, most, begun = found.plan["steps"], found.plan["pairs"], time.monotonic()
    trained = sides | {IN_TIME: sides[IDEA]}
    factors = found.factors | {IN_TIME: found.factors[IDEA], RESIZED: found.factors[BASELINE]}
    jobs = {
        (seed, side): sized(trained[side], n, factors[side], seed, VALIDATIONS)
        for seed in range(1, most + 1)
        for side, n in steps.items()
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
                say(f"after {done} pairs: {'; '.join(map(', '.join, found.answers.items()))}")
                if clear:
                    return
                if done < most and time.monotonic() + (time.monotonic() - begun) / done > end:
                    found.notes.append(f"Time was out after {done} of at most {most} pairs.")
                    return


def _judge(found: Trial) -> bool:
    """What the pairs so far say of each comparison; whether all of it is clear."""
    rows = pd.DataFrame(found.rows)
    size = rows.groupby("side").parameters.first()
    own = RESIZED if RESIZED in size else BASELINE
    arms = {TOKENS: (BASELINE, IDEA), SECONDS: (BASELINE, IN_TIME if IN_TIME in size else IDEA)}
    if abs(size[own] / size[IDEA] - 1) <= CLOSE:
        arms[PARAMETERS] = own, IDEA
    found.level = level(len({*arms.values()}), found.plan["pairs"])
    found.arms = {
        arm: compare(rows, "side", levels=sides, confidence=1 - found.level) for arm, sides in arms.items()
    }
    return all(is_decided(one.low, one.high) for one in found.arms.values())


def _row(side: str, seed: int, run: Run | RunFailed, lines: Sequence[str]) -> dict:
    """What came of one run, scored in this process."""
    if isinstance(run, RunFailed):
        raise NoScore(f"the {side} diverged, with seed {seed}")
    try:
        bits = score(run, lines)
    except NoScore as lie:
        raise NoScore(f"the {side} has no score to believe: {lie}") from lie
    logged, state = runs.steps(run), run.state
    read = accumulate(step["tokens"] for step in logged)
    validated = zip(read, (step["validation"] for step in logged), strict=True)
    return {
        "side": side,
        "seed": seed,
        "bits_per_char": bits,
        "steps": state.step,
        "tokens": state.tokens,
        "seconds": state.seconds,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "curve": [(at, value) for at, value in validated if value is not None],
    }
