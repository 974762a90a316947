"""Conclusions that rest on long runs: trained at profile `full`, committed as rows, read at every other profile."""

import math
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd
import torch

from lab.notebooks.claims import PROFILES
from lab.notebooks.fingerprint import asked, key, probe, running_cell, same_probe, settings_of, text_of
from lab.notebooks.rows import ANY_STEPS, Evidence, Name, here, read, row_of, table, write
from lab.runs import Experiment, RunFailed, seconds_per_step, threads_each, trained
from lab.text import CorpusError

FOLDER = Path(__file__).resolve().parents[2] / "notebooks" / "evidence"
NAME = re.compile(r"\d\d\.[a-z0-9_]+")
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

    Raises ValueError for a name that is none, for no experiments, for rows that are missing or damaged, and, once all
    others are done and kept, for runs that did not come to their end.
    """
    wanted = dict(_named(experiments))
    path, kept = _place(name, wanted, Path(rows_folder), profile, "rows")
    if profile == "full":
        kept = _all_made(path, kept, wanted, options)
    _check_whole(wanted, kept.rows, "row", path)
    return table([kept.rows[one] for one in wanted])


def steps_in(
    name: str,
    experiments: Experiments,
    seconds: float,
    *,
    profile: str,
    rows_folder: Folder = FOLDER,
    folder: Folder | None = None,
    measured_for: float = 5.0,
) -> list[int]:
    """How many steps each experiment takes in so many seconds of the machine on which that was measured.

    At "full" the speeds of all are measured in turns, once, for about `measured_for` seconds each, and kept beside the
    rows of `name`; ever after they are read, so that a row can be made again on any machine. An experiment's own number
    of steps and its seed do not matter. `folder` is that of runs from which experiments may start.

    >>> steps_in("07.equal_seconds", [lstm, transformer], 60, profile=profile)  # doctest: +SKIP
    [1102, 1460]

    Raises ValueError for seconds that are no positive number, and as `evidence` does.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"seconds must be a number above 0, got {seconds}")
    named = _named(experiments, ANY_STEPS)
    wanted = dict(named)
    path, kept = _place(name, wanted, Path(rows_folder), profile, "speeds")
    if profile == "full" and not wanted.keys() <= kept.speeds.keys():
        times = seconds_per_step(list(wanted.values()), folder, seconds=measured_for)
        for (one, experiment), time in zip(wanted.items(), times, strict=True):
            speed = {
                "settings": settings_of(experiment),
                "asked": {},
                "text": one[0],
                "seconds_per_step": time,
            }
            kept.speeds[one] = speed | here(torch.get_num_threads())
        write(path, kept)
    _check_whole(wanted, kept.speeds, "speed", path)
    return [max(1, round(seconds / kept.speeds[one]["seconds_per_step"])) for one, _ in named]


def _named(experiments, without: Sequence[str] = ()) -> list[tuple[Name, Experiment]]:
    """The experiments by what they are known by in a file: their text, and their settings."""
    listed = [experiments] if isinstance(experiments, Experiment) else list(experiments)
    if not listed or not all(isinstance(one, Experiment) for one in listed):
        raise ValueError(f"evidence is made of one or more experiments, got {experiments!r:.80}")
    texts = {}
    for one in {one.data.corpus: one for one in listed}.values():
        with suppress(CorpusError):  # what is committed is shown also where the text cannot be had
            texts[one.data.corpus] = text_of(one).sha256
    return [((texts.get(one.data.corpus, ""), key(asked(settings_of(one)), without)), one) for one in listed]


def _place(name: str, wanted: dict, folder: Path, profile: str, part: str) -> tuple[Path, Evidence]:
    """The file that counts for these experiments, and what it holds for them."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f"evidence is named by a notebook and a word, such as '07.equal_tokens'; got {name!r}"
        )
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}")
    path = folder / f"{name}.json"
    kept = read(path)
    if not kept.texts or kept.texts & {text for text, _ in wanted}:
        return path, kept
    own_path = folder.parents[1] / "build" / "evidence" / path.name
    own = read(own_path)
    if profile == "full" or wanted.keys() <= getattr(own, part).keys():
        return own_path, own
    known = {settings: one for (_, settings), one in getattr(kept, part).items()}  # of whichever text
    return path, kept._replace(**{part: {one: known[one[1]] for one in wanted if one[1] in known}})


def _all_made(path: Path, kept: Evidence, wanted: dict, options: dict) -> Evidence:
    """Train what has no row, or a stale one; each new row is written at once."""
    cell, probes, waiting, stopped = running_cell(), {}, {}, []
    for name, one in wanted.items():
        kind = name[0], key(asked(settings_of(one)), ("seed",))
        probes[kind] = losses = probes[kind] if kind in probes else probe(one)
        row = kept.rows.get(name)
        if row is None or row["cell"] != cell or not same_probe(row["probe"], losses):
            one = one.resolved(options.get("folder"))
            # On a small text different wishes may come to the same, such as vocabularies larger than it can fill.
            waiting.setdefault(_resolved(one), (one, []))[1].append((name, losses))
    threads = threads_each(options.get("workers"), options.get("scheduler"))
    for one, run in trained([one for one, _ in waiting.values()], **options) if waiting else ():
        if isinstance(run, RunFailed) and run.kind != "diverged":
            stopped.append(run)
            continue
        one, asking = waiting[_resolved(one)]
        kept = read(path)
        for name, losses in asking:
            about = {"cell": cell, "probe": losses, "text": name[0]} | here(threads)
            kept.rows[name] = about | row_of(run, wanted[name], one, options.get("folder"))
        write(path, kept)
    if stopped:
        raise ValueError(
            f"{len(stopped)} of {len(waiting)} runs did not come to their end; the others are kept in {path}, and the "
            f"same call goes on. The first said: {stopped[0]}"
        ) from stopped[0]
    return kept


def _resolved(experiment: Experiment) -> Name:
    return experiment.data.sha256, key(asked(settings_of(experiment)))


def _check_whole(wanted: dict, found: dict, kind: str, path: Path) -> None:
    if missing := len(wanted.keys() - found.keys()):
        raise ValueError(
            f"{missing} of {len(wanted)} experiments have no {kind} in {path}: `lab run {path.name[:2]} --profile "
            "full` makes it; there is none for other settings than those that were measured"
        )
