"""The referee: an idea and its baseline, trained alike, and what may be said of the difference."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from lab import runs
from lab.files import sha256_bytes, write_atomic
from lab.runs import Experiment, Run
from lab.text import Corpus, load
from lab.trial.idea import Idea, read_idea
from lab.trial.pairs import judge_pairs
from lab.trial.plan import BASELINE, IDEA, RESIZED, planned
from lab.trial.result import Trial, not_equal
from lab.trial.scoring import NoScore, hold_out
from lab.trial.search import best_rates
from lab.trial.sizes import CLOSE, as_large, num_parameters


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
        found.factors = best_rates(found, sides, train)
        judge_pairs(found, sides, train, lines, end, say)
    except NoScore as problem:
        found.problem = str(problem)
    found.notes += not_equal(found)
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
