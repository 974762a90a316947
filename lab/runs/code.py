"""Which code a run was trained by: a fingerprint that a comment does not change."""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]

# All that the numbers of a run depend on, given the text: a change elsewhere trains nothing again.
MORE = {  # beside PARTS, for runs of these kinds
    "visual-diffusion": ("decode", "diffusion"),
    "char-encoder": ("chars",),
    "speech": ("decode", "speech"),
}
PARTS = (
    "data", "nn", "score/lines.py", "text", "train",
)  # fmt: skip


@cache
def code_version(kind: str = "decoder", package: Path = PACKAGE) -> str:
    """The SHA-256 of what the parts of `lab` that training a model of this kind uses do.

    Comments, layout and docstrings do not count.
    """
    digest = hashlib.sha256()
    for part in (*PARTS, *MORE.get(kind, ())):
        path = package / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(
                f"{file.relative_to(package).as_posix()}\n{_bare(file.read_text('utf-8'))}\n".encode()
            )
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
