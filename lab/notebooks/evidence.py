"""Conclusions that rest on long runs: trained at profile `full`, committed as rows, read at every other profile."""

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import torch

from lab.bench import machine_label
from lab.notebooks.claims import PROFILES
from lab.notebooks.fingerprint import asked, key, probe, running_cell, same_probe, text_of
from lab.notebooks.rows import ANY_STEPS, Evidence, Name, here, read, row_of, write
from lab.runs import Experiment, differing, seconds_per_step, trained, where
from lab.runs.experiment import flat
from lab.runs.folder import newest, read_manifest
from lab.text import CorpusError

FOLDER = Path(__file__).resolve().parents[2] / "notebooks" / "evidence"
NAME = re.compile(r"\d\d\.[a-z0-9_]+")
COUNTS = ("nats", "chars", "tokens")  # of the scored lines: no result


def evidence(
    name: str,
    experiments: Experiment | Sequence[Experiment],
    *,
    profile: str,
    folder: str | os.PathLike = FOLDER,
    runs_folder: str | os.PathLike | None = None,
    **options,
) -> pd.DataFrame:
    """One row for each experiment: the settings in which they differ, seed, outcome, cost, machine, date.

    At profile "full" what has no row yet is trained, by `lab.runs.trained` with `options`, and each row is written to
    `folder/name.json` as soon as its run is done; runs lie in `runs_folder`. At other profiles the rows are read. A row
    counts as done, whichever machine made it, while the cell that calls this, the experiment's settings and its first
    losses at a small size are what they were. A run that diverged has a row too, whose `state` says so.

    On another text than that of the committed rows, "full" keeps that text's own rows in `build/evidence/`. Where these
    are complete they are given, and else the committed ones. `rows.attrs["label"]` says for a caption on what text and
    machine they were measured and when; `rows.attrs["curves"][i]` is the curve of the row with index i.

    >>> rows = evidence("07.equal_tokens", experiments, profile=profile)  # doctest: +SKIP
    >>> compare(rows, by="model.positions").sentence()  # doctest: +SKIP
    'better by 0.021 (0.015 to 0.027, 5 seeds)'

    Raises ValueError for a name that is none, for no experiments, for rows that are missing or damaged, and, once all
    others are done and kept, for runs that did not come to their end.
    """
    wanted = _named(experiments)
    path, kept = _place(name, wanted, Path(folder), profile, "rows")
    if profile == "full":
        kept = _all_made(path, kept, wanted, runs_folder, options)
    _check_whole(wanted, kept.rows, f"are not among the rows of {path}", name)
    return _table([kept.rows[one] for one in wanted])


def steps_in(
    name: str,
    experiments: Experiment | Sequence[Experiment],
    seconds: float,
    *,
    profile: str,
    folder: str | os.PathLike = FOLDER,
    runs_folder: str | os.PathLike | None = None,
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
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"seconds must be a number above 0, got {seconds}")
    wanted = _named(experiments, ANY_STEPS)
    path, kept = _place(name, wanted, Path(folder), profile, "speeds")
    if profile == "full" and not wanted.keys() <= kept.speeds.keys():
        times = seconds_per_step(list(wanted.values()), runs_folder, seconds=measured_for)
        for (one, experiment), time in zip(wanted.items(), times, strict=True):
            speed = {"settings": experiment.to_json(), "asked": {}, "text": one[0], "seconds_per_step": time}
            kept.speeds[one] = speed | here(torch.get_num_threads())
        write(path, kept)
    _check_whole(wanted, kept.speeds, f"have no speed in {path}", name)
    every = [next(iter(_named(one, ANY_STEPS))) for one in _listed(experiments)]
    return [max(1, round(seconds / kept.speeds[one]["seconds_per_step"])) for one in every]


def label(rows: Sequence[dict]) -> str:
    """What a caption says of rows: the text, the machines, the days, and how many seeds."""
    texts = dict.fromkeys(Path(row["settings"]["data"]["corpus"]).stem for row in rows)
    machines = dict.fromkeys(_machine(row) for row in rows)
    days = sorted({row["date"] for row in rows})
    seeds = len({row["settings"]["seed"] for row in rows})
    told = (
        f"{' and '.join(texts)}: {' and '.join(machines)}, {' to '.join(dict.fromkeys((days[0], days[-1])))}"
    )
    return f"measured on {told}, {seeds} seed{'s' * (seeds > 1)}"


def _listed(experiments) -> list[Experiment]:
    listed = [experiments] if isinstance(experiments, Experiment) else list(experiments)
    if not listed or not all(isinstance(one, Experiment) for one in listed):
        raise ValueError(f"evidence is made of one or more experiments, got {experiments!r:.80}")
    return listed


def _named(experiments, without: Sequence[str] = ()) -> dict[Name, Experiment]:
    """The experiments, each once, by their text and settings."""
    named, texts = {}, {}
    for one in _listed(experiments):
        if (corpus := one.data.corpus) not in texts:
            try:
                texts[corpus] = text_of(one).sha256
            except CorpusError:  # committed rows are shown wherever they are read
                texts[corpus] = ""
        named.setdefault((texts[corpus], key(asked(one), without)), one)
    return named


def _place(name: str, wanted: dict, folder: Path, profile: str, part: str) -> tuple[Path, Evidence]:
    """The file that counts for these experiments, and what it holds for them."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f"evidence goes by the notebook's number and a name, such as '07.equal_tokens'; got {name!r}"
        )
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}")
    kept = read(path := folder / f"{name}.json")
    if not kept.texts or kept.texts & {text for text, _ in wanted}:
        return path, kept
    own = read(own_path := folder.parents[1] / "build" / "evidence" / path.name)
    if profile == "full" or wanted.keys() <= getattr(own, part).keys():
        return own_path, own
    known = {key: one for (_, key), one in getattr(kept, part).items()}  # of whichever text
    return path, kept._replace(**{part: {one: known[one[1]] for one in wanted if one[1] in known}})


def _all_made(path: Path, kept: Evidence, wanted: dict, runs_folder, options: dict) -> Evidence:
    """Train what has no row, or a stale one; each new row is written at once."""
    cell, begun, waiting, stopped = running_cell(), {}, {}, []
    for name, one in wanted.items():
        kind = name[0], key(asked(one), ("seed",))
        begun[kind] = begun[kind] if kind in begun else probe(one)
        row = kept.rows.get(name)
        if row is None or row["cell"] != cell or not same_probe(row["probe"], begun[kind]):
            resolved = one.resolved(runs_folder)
            waiting[resolved.data.sha256, key(asked(resolved))] = name, resolved, begun[kind]
    for trained_one, run in trained([one for _, one, _ in waiting.values()], runs_folder, **options):
        name, resolved, losses = waiting[trained_one.data.sha256, key(asked(trained_one))]
        threads = torch.get_num_threads() if options.get("workers") == 0 else 1  # as each worker has
        about = {"state": "done", "cell": cell, "probe": losses} | here(threads)
        if isinstance(run, FloatingPointError):
            about["state"], run = f"diverged: {run}", None
        elif isinstance(run, Exception):
            stopped.append(run)
            continue
        else:
            about["date"] = read_manifest(newest(where(resolved, runs_folder)))["date"][:10]
        kept = read(path)
        kept.rows[name] = row_of(run, wanted[name], resolved, name[0], **about)
        write(path, kept)
    if stopped:
        raise ValueError(
            f"{len(stopped)} of {len(waiting)} runs did not come to their end; the others are kept in {path}, and the "
            f"same call goes on. The first said: {stopped[0]}"
        ) from stopped[0]
    return kept


def _check_whole(wanted: Iterable, found: dict, problem: str, name: str) -> None:
    if missing := sum(one not in found for one in wanted):
        raise ValueError(
            f"{missing} of {len(wanted)} experiments {problem}: `lab run {name[:2]} --profile full` makes them; other "
            "settings than those that were measured have none"
        )


def _machine(row: dict) -> str:
    return machine_label(row["machine"] | {"date": None})


def _table(rows: list[dict]) -> pd.DataFrame:
    tuples = lambda v: tuple(v) if isinstance(v, list) else v  # noqa: E731
    settings = [{place: tuples(v) for place, v in flat(row["settings"]).items()} for row in rows]
    differ = differing(dict(enumerate(settings)))
    lines = []
    for i, row in enumerate(rows):
        found = {name: value for name, value in row["outcome"].items() if name not in COUNTS}
        about = {"machine": _machine(row), "date": row["date"], "state": row["state"]}
        lines.append(differ[i] | {"seed": row["settings"]["seed"]} | found | row["cost"] | about)
    made = pd.DataFrame(lines)
    made.attrs = {"label": label(rows), "curves": {i: row["curve"] for i, row in enumerate(rows)}}
    return made
