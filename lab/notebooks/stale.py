"""Which committed rows can no longer be believed: those that are stale, and one, drawn at random, trained again."""

import ast
import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import torch
from IPython.core.inputtransformer2 import TransformerManager

from lab.notebooks.evidence import FOLDER
from lab.notebooks.fingerprint import cell_hash, probe, same_probe
from lab.notebooks.rows import here, read
from lab.notebooks.runner import NOTEBOOKS, all_notebooks
from lab.runs import Experiment, get_or_train, outcome

# How far a score may be from the committed one, as a share of it. With the instructions of 2008 in place of AVX-512 a
# score after 200 steps moved by 4e-8, while seeds differ by 4e-3: what lies between is no rounding.
SAME_MACHINE, OTHER_MACHINE = 1e-6, 1e-3
CHEAP = 3  # one row in so many is cheap enough to be trained again


def complaints(
    folder: str | os.PathLike = FOLDER,
    notebooks: str | os.PathLike = NOTEBOOKS,
    say: Callable[[str], None] = print,
) -> list[str]:
    """What is wrong with the committed evidence, a sentence a problem; an empty list when nothing is.

    A row is stale when the cell that asks for it has changed, or when its experiment begins otherwise by now; of each
    file the first and the last row are probed. What cannot be probed here, such as for want of the text, is told by
    `say`.
    """
    cells, found = asking_cells(Path(notebooks)), []
    for path in sorted(Path(folder).glob("*.json")):
        found += [f"{path.name}: {problem}" for problem in _problems(path, cells.pop(path.stem, None), say)]
    return found + [f"{name}.json is not there: {_made_by(name)}" for name in cells]


def asking_cells(notebooks: Path) -> dict[str, set[str]]:
    """For each name that a notebook's cell gives to `evidence("NAME", ...)` the hashes of such cells."""
    found = {}
    for path in all_notebooks(notebooks):
        for cell in nbformat.read(path, as_version=4).cells:
            for name in _asked_for(cell.source) if cell.cell_type == "code" else ():
                found.setdefault(name, set()).add(cell_hash(cell.source))
    return found


def check_again(
    folder: str | os.PathLike = FOLDER, seed: int | None = None, say: Callable[[str], None] = print
) -> list[str]:
    """Train one of the cheaper rows again and compare its scores with the committed ones; the complaints, if any.

    `seed` draws the row; without it each call draws another. On the machine of the row, by its processor, libraries and
    threads, scores must agree to 1e-6 of themselves, on another to 1e-3.
    """
    paths = sorted(Path(folder).glob("*.json"))
    done = [(path.name, row) for path in paths for row in read(path).rows.values() if row["outcome"]]
    done = sorted(done, key=lambda one: one[1]["cost"]["seconds"])[: math.ceil(len(done) / CHEAP)]
    if not done:
        say(f"no evidence in {folder}")
        return []
    seed = random.randrange(10**6) if seed is None else seed
    name, row = random.Random(seed).choice(done)
    same = row["machine"] == here(row["machine"]["threads"])["machine"]
    say(
        f"{name}, seed {row['settings']['seed']}, drawn by {seed}: trained again, {row['cost']['seconds']:.0f} s"
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(row["machine"]["threads"])
    try:
        with TemporaryDirectory() as runs_folder:
            run = get_or_train(Experiment.from_json(row["settings"]), runs_folder, say=say)
    finally:
        torch.set_num_threads(threads)
    within = SAME_MACHINE if same else OTHER_MACHINE
    return [
        f"{name}, seed {row['settings']['seed']}: {measure} is {value!r}, committed is {row['outcome'].get(measure)!r}"
        for measure, value in outcome(run).items()
        if not math.isclose(value, row["outcome"].get(measure) or math.nan, rel_tol=within, abs_tol=within)
    ]


def _problems(path: Path, cells: set[str] | None, say: Callable[[str], None]) -> list[str]:
    try:
        rows = list(read(path).rows.values())
    except ValueError as error:
        return [str(error)]
    if cells is None:
        return ["no notebook asks for it: delete it"]
    found = []
    if old := sum(row["cell"] not in cells for row in rows):
        found.append(f"{old} of {len(rows)} rows were made by another version of the cell that asks for them")
    for row in rows[:1] + rows[1:][-1:]:
        try:
            losses = probe(Experiment.from_json(row["settings"]))
        except (ValueError, LookupError) as error:
            say(f"{path.name} was not probed: {str(error).splitlines()[0]}")
            continue
        if not same_probe(losses, row["probe"]):
            found.append(f"its runs begin otherwise by now, with the losses {losses}, then {row['probe']}")
    return [f"{problem}: {_made_by(path.stem)}" for problem in found]


def _asked_for(source: str) -> list[str]:
    """The names in calls of `evidence` in a cell."""
    try:
        tree = ast.parse(TransformerManager().transform_cell(source))
    except SyntaxError:
        return []
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    calls = [
        call for call in calls if getattr(call.func, "id", getattr(call.func, "attr", None)) == "evidence"
    ]
    return [call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)]


def _made_by(name: str) -> str:
    return f"`lab run {name[:2]} --profile full` makes its rows"
