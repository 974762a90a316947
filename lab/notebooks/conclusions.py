"""Conclusions that rest on long runs: trained at profile `full`, committed as rows, read at every other profile."""

import math
import os
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from lab.notebooks.fingerprint import key, probe, running_cell, same_probe, settings_of, text_of
from lab.notebooks.profiles import PROFILES
from lab.notebooks.rows import Kept, Name, here, read, row_of, table, write
from lab.runs import Experiment, RunFailed, run_name, seconds_per_step, threads_each, trained
from lab.text import CorpusError

FOLDER = Path(__file__).resolve().parents[2] / "notebooks" / "evidence"
Experiments = Experiment | Sequence[Experiment]
Folder = str | os.PathLike


def evidence(
    name: str, experiments: Experiments, *, profile: str, rows_folder: Folder = FOLDER, **options
) -> pd.DataFrame:
    """One row for each experiment: the settings in which they differ, seed, outcome, cost, machine, date.

    At profile "full" what has no row yet is trained, by `lab.runs.trained` with `options`, such as the `folder` of runs
    and `workers`, and each row is written to `rows_folder/name.json` as soon as its run is done. At other profiles the
    rows are read. A row counts as done, whichever machine made it, while the cell that calls this, the experiment's
    settings and its first losses at a small size are what they were. A run that diverged has a row too, whose `state`
    says so.

    On another text than that of the committed rows, "full" keeps that text's own rows in `build/evidence/`. Where these
    are complete they are given, and else the committed ones. `rows.attrs["label"]` says for a caption on what text and
    machine they were measured and when; `rows.attrs["curves"][i]` is the curve of the row with index i.

    >>> rows = evidence("07.equal_tokens", experiments, profile=profile)  # doctest: +SKIP
    >>> compare(rows, by="model.positions").sentence()  # doctest: +SKIP
    'better by 0.021 (0.015 to 0.027, 5 seeds)'

    Raises ValueError for a name that is none, for no experiments, for two that a row cannot tell apart, for rows that
    are missing or damaged, and, once all others are done and kept, for runs that did not come to their end.
    """
    named = _named(_listed(experiments))
    wanted = dict(named)
    if any(wanted[one].start != experiment.start for one, experiment in named):
        raise ValueError(
            "some experiments differ only in the run that they start from, which no row knows: ask apart"
        )
    path, kept = _place(name, wanted, Path(rows_folder), profile, "rows")
    if profile == "full":
        kept = _all_made(path, kept, wanted, options)
    return table(_each(wanted, kept, "rows", path))


def steps_in(
    name: str,
    experiments: Experiments,
    seconds: float,
    *,
    profile: str,
    rows_folder: Folder = FOLDER,
    measured_for: float = 5.0,
) -> list[int]:
    """How many steps each experiment takes in so many seconds of the machine on which that was measured.

    At "full" the speeds of all are measured in turns, once, for about `measured_for` seconds each, and kept beside the
    rows of `name`; ever after they are read, so that a row can be made again on any machine. An experiment's own number
    of steps and its seed do not matter.

    >>> steps_in("07.equal_seconds", [lstm, transformer], 60, profile=profile)  # doctest: +SKIP
    [1102, 1460]

    Raises ValueError for seconds that are no positive number, and as `evidence` does.
    """
    if not 0 < seconds < math.inf:
        raise ValueError(f"seconds must be a number above 0, got {seconds}")
    endless = [
        replace(one, seed=0, training=replace(one.training, steps=2**40)) for one in _listed(experiments)
    ]
    named = _named(endless)
    wanted = dict(named)
    path, kept = _place(name, wanted, Path(rows_folder), profile, "speeds")
    if profile == "full" and not wanted.keys() <= kept["speeds"].keys():
        times = seconds_per_step(list(wanted.values()), seconds=measured_for)
        for (one, experiment), time in zip(wanted.items(), times, strict=True):
            speed = {"settings": settings_of(experiment), "text": one[0], "seconds_per_step": time}
            kept["speeds"][one] = speed | here(torch.get_num_threads())
        write(path, kept)
    speeds = _each([one for one, _ in named], kept, "speeds", path)
    return [max(1, round(seconds / speed["seconds_per_step"])) for speed in speeds]


def _listed(experiments: Experiments) -> list[Experiment]:
    listed = [experiments] if isinstance(experiments, Experiment) else list(experiments)
    if not listed or not all(isinstance(one, Experiment) for one in listed):
        raise ValueError(f"evidence is made of one or more experiments, got {experiments!r:.80}")
    return listed


def _named(experiments: Sequence[Experiment]) -> list[tuple[Name, Experiment]]:
    """The experiments by what they are known by in a file: their text, and their settings."""
    texts = {}
    for corpus in {one.data.corpus for one in experiments}:
        with suppress(CorpusError):  # what is committed is shown also where the text cannot be had
            texts[corpus] = text_of(corpus).sha256
    return [((texts.get(one.data.corpus, ""), key(settings_of(one))), one) for one in experiments]


def _place(name: str, wanted: dict, folder: Path, profile: str, part: str) -> tuple[Path, Kept]:
    """The file that counts for these experiments, and what it holds for them."""
    if not re.fullmatch(r"\d\d\.[a-z0-9_]+", name):
        raise ValueError(f"evidence is called by notebook and word, such as '07.equal_tokens'; got {name!r}")
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}")
    path = folder / f"{name}.json"
    kept = read(path)
    texts = {text for text, _ in (*kept["rows"], *kept["speeds"])}
    if not texts or texts & {text for text, _ in wanted}:
        return path, kept
    own_path = folder.parents[1] / "build" / "evidence" / path.name
    own = read(own_path)
    if profile == "full" or wanted.keys() <= own[part].keys():
        return own_path, own
    known = {settings: one for (_, settings), one in kept[part].items()}  # of whichever text
    return path, {part: {one: known[one[1]] for one in wanted if one[1] in known}}


def _all_made(path: Path, kept: Kept, wanted: dict, options: dict) -> Kept:
    """Train what has no row, or a stale one; each new row is written at once."""
    cell, probes, waiting, stopped = running_cell(), {}, {}, []
    for name, one in wanted.items():
        seedless = name[0], key(settings_of(replace(one, seed=0)))
        probes[seedless] = losses = probes.get(seedless) or probe(one)
        row = kept["rows"].get(name)
        if row is None or row["cell"] != cell or not same_probe(row["probe"], losses):
            waiting[name] = run_name(one.resolved(options.get("folder"))), losses
    threads = threads_each(options.get("workers"), options.get("scheduler"))
    missing = [wanted[name] for name in waiting]
    for resolved, run in trained(missing, **options) if missing else ():
        if isinstance(run, RunFailed) and run.kind != "diverged":
            stopped.append(run)
            continue
        kept = read(path)
        # On a small text different wishes may come to the same run, such as vocabularies larger than it can fill.
        for name, (asked_for, losses) in waiting.items():
            if asked_for == run_name(resolved):
                row = row_of(run, wanted[name], resolved, options.get("folder"))
                kept["rows"][name] = {"text": name[0], "cell": cell, "probe": losses} | here(threads) | row
        write(path, kept)
    if stopped:
        told = f"{len(stopped)} of {len(waiting)} runs did not come to their end; the same call goes on"
        raise ValueError(
            f"{told}, as what is done is kept in {path}. The first said: {stopped[0]}"
        ) from stopped[0]
    return kept


def _each(wanted: Collection[Name], kept: Kept, part: str, path: Path) -> list[dict]:
    """What is kept for each experiment; ValueError where something is missing."""
    if missing := [one for one in wanted if one not in kept[part]]:
        told = f"{len(missing)} of {len(wanted)} experiments have no {part} in {path}"
        raise ValueError(f"{told}: `lab run {path.name[:2]} --profile full` makes them")
    return [kept[part][one] for one in wanted]
