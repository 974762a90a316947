"""The rooms of the house: a module imports only from rooms listed before its own, and importing does nothing."""

import ast
import importlib
import subprocess
import sys

import pytest
from rooms import BUDGETS, PACKAGE, room_of

ROOMS = [room for room in BUDGETS if "/" not in room]
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imported_rooms(source: str) -> set[str]:
    """The rooms of `lab` that a module's source imports from, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that this test can read them"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("lab.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_rooms_below_its_own(path):
    room = room_of(path)
    assert room in ROOMS, f"{room} is not in the list of rooms"
    above = {name for name in imported_rooms(path.read_text()) if ROOMS.index(name) > ROOMS.index(room)}
    assert not above, f"{path.name} imports from {above}, which stand above {room}"


def test_nothing_happens_at_import():
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in MODULES]
    names = [name for name in names if not name.endswith("__main__")]
    script = f"""
import importlib, random, socket, sys, warnings
import numpy, torch
def refuse(*_): raise AssertionError("network at import")
socket.socket.connect = refuse
# Others may do what they do.
import IPython, ipywidgets, matplotlib.pyplot, nbconvert, pandas, papermill, scipy.special, tyro
before = torch.initial_seed(), random.getstate(), list(warnings.filters), torch.get_num_threads()
import lab.show; lab.show.figure; assert not any(name.startswith("lab.show.widgets") for name in sys.modules)
for name in {names}:
    importlib.import_module(name)
assert before == (torch.initial_seed(), random.getstate(), list(warnings.filters), torch.get_num_threads())
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "", "importing printed something"


@pytest.mark.parametrize("room", ["lab.show", "lab.bench"])
def test_a_face_that_waits_names_what_is_there(room):
    face = importlib.import_module(room)
    assert all(getattr(face, name) for name in face.__all__)
    with pytest.raises(AttributeError):
        _ = face.no_such_thing
