"""Which code a run was trained by: a fingerprint that a comment does not change."""

import ast
import hashlib
from functools import cache
from pathlib import Path

from lab.outside import is_outside

PACKAGE = Path(__file__).resolve().parents[1]
CORE = (
    "data",
    "nn",
    "text",
    "train",
)  # what the numbers of every run depend on; a change elsewhere trains nothing again


def code_version(objective) -> str:
    """The SHA-256 of what the parts of `lab` that a run with this objective uses do.

    Comments, layout and docstrings do not count. The source of an objective from outside is part of its experiment.
    """
    room = type(objective).__module__.split(".")[1] if not is_outside(type(objective)) else "train"
    return _fingerprint(CORE if room in CORE else (*CORE, "decode", room))


@cache
def _fingerprint(rooms: tuple[str, ...], package: Path = PACKAGE) -> str:
    digest = hashlib.sha256()
    for file in (file for room in rooms for file in sorted((package / room).rglob("*.py"))):
        digest.update(f"{file.relative_to(package).as_posix()}\n{_bare(file.read_text('utf-8'))}\n".encode())
    return digest.hexdigest()


def _bare(source: str) -> str:
    """The source as Python reads it, without docstrings.

    >>> _bare("def f( ):\\n    'Doc.'\\n    return 1  # one")
    'def f():\\n    return 1'
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
