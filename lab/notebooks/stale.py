"""Which committed rows can no longer be believed: those that are stale, and one, drawn at random, trained again."""

import math
import random
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import torch

from lab.notebooks.conclusions import FOLDER, Folder
from lab.notebooks.fingerprint import cell_hash, probe, same_probe
from lab.notebooks.rows import here, read
from lab.notebooks.runner import NOTEBOOKS, all_notebooks
from lab.runs import Experiment, get_or_train, outcome

ASKS = re.compile(r"""\b(?:evidence|steps_in)\(\s*["']([\w.]+)""")
# How far a score may be from the committed one, as a share of it. With the instructions of 2008 in place of AVX-512 a
# score after 200 steps moved by 4e-8, while the scores of several seeds spread by 4e-3: between them is no rounding.
SAME_MACHINE, OTHER_MACHINE = 1e-6, 1e-3
CHEAP = 3  # one row in so many is cheap enough to be trained again


def complaints(
    folder: Folder = FOLDER, notebooks: Folder = NOTEBOOKS, say: Callable[[str], None] = print
) -> list[str]:
    """What is wrong with the committed evidence, a sentence a problem; an empty list when nothing is.

    A row is stale when the cell that asks for it has changed, or when its experiment begins otherwise by now; of each
    file the first and the last row are probed. What cannot be probed here, such as for want of the text, is told by
    `say`.
    """
    cells, found = _asking_cells(Path(notebooks)), []
    for path in sorted(Path(folder).glob("*.json")):
        found += [f"{path.name}: {problem}" for problem in _problems(path, cells.pop(path.stem, None), say)]
    return found + [f"{name}.json is not there: {_made_by(name)}" for name in cells]


def check_again(
    folder: Folder = FOLDER, seed: int | None = None, say: Callable[[str], None] = print
) -> list[str]:
    """Train one of the cheaper rows again and compare its scores with the committed ones; the complaints, if any.

    `seed` draws the row; without it each call draws another. On the machine of the row, by its processor, threads and
    version of torch, scores must agree to 1e-6 of themselves, on another to 1e-3. It is trained by as many threads as
    then, which this process keeps. Rows that cannot be made from what is committed, since they start from a run or name
    a class from outside, are left out.
    """
    done = []
    for path in sorted(Path(folder).glob("*.json")):
        for row in read(path)["rows"].values():
            with suppress(ValueError, LookupError):
                experiment = Experiment.from_json(row["settings"])
                if row["state"] == "done":
                    done.append((row["cost"]["seconds"], path.name, row, experiment))
    if not done:
        say(f"no row in {folder} could be trained again")
        return []
    seed = random.randrange(10**6) if seed is None else seed
    cheap = sorted(done, key=lambda one: one[0])[: math.ceil(len(done) / CHEAP)]
    seconds, name, row, experiment = random.Random(seed).choice(cheap)
    which, threads = f"{name}, seed {experiment.seed}", row["machine"]["threads"]
    same = row["machine"] == here(threads)["machine"] and row["versions"]["torch"] == torch.__version__
    within = SAME_MACHINE if same else OTHER_MACHINE
    say(f"{which}, drawn by {seed}, is trained again: it took {seconds:.0f} s")
    torch.set_num_threads(threads)
    with TemporaryDirectory() as runs_folder:
        found = outcome(get_or_train(experiment, runs_folder, say=say))
    pairs = {score: (value, row["outcome"].get(score)) for score, value in found.items()}
    wrong = [
        f"{which}: {score} is {value!r}, the committed row has {committed!r}"
        for score, (value, committed) in pairs.items()
        if committed is None or not math.isclose(value, committed, rel_tol=within, abs_tol=within)
    ]
    say(f"{len(wrong)} of {len(pairs)} scores differ by more than {within:g} of themselves")
    return wrong


def _asking_cells(notebooks: Path) -> dict[str, set[str]]:
    """For each name that a notebook's cell gives to `evidence` or `steps_in` the hashes of such cells."""
    found = {}
    for path in all_notebooks(notebooks):
        for cell in nbformat.read(path, as_version=4).cells:
            for name in ASKS.findall(cell.source) if cell.cell_type == "code" else ():
                found.setdefault(name, set()).add(cell_hash(cell.source))
    return found


def _problems(path: Path, cells: set[str] | None, say: Callable[[str], None]) -> list[str]:
    try:
        rows = list(read(path)["rows"].values())
    except ValueError as error:
        return [str(error)]
    if cells is None:
        return ["no notebook asks for it: delete it"]
    found, probed = [], [row for row in rows if row["probe"]]  # those that start from a run have none
    if old := sum(row["cell"] not in cells for row in rows):
        found.append(f"{old} of {len(rows)} rows were made by another version of the cell that asks for them")
    for row in probed[:1] + probed[1:][-1:]:
        try:
            losses = probe(Experiment.from_json(row["settings"]))
        except (ValueError, LookupError) as error:
            say(f"{path.name} was not probed: {str(error).splitlines()[0]}")
            continue
        if not same_probe(losses, row["probe"]):
            found.append(f"its runs begin otherwise by now, with the losses {losses}, then {row['probe']}")
    return [f"{problem}: {_made_by(path.stem)}" for problem in found]


def _made_by(name: str) -> str:
    return f"`lab run {name[:2]} --profile full` makes its rows"
