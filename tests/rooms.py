"""The rooms of the house, from the ground up, and how much each may hold: `python tests/rooms.py` prints the table.

A module imports only from rooms above its own line. A budget counts lines of code without docstrings, comments and
blank lines; it is there to make us choose.
"""

import ast
import io
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lab"

BUDGETS = {
    "files": 66,
    "threads": 20,
    "outside": 76,
    "config": 115,
    "machine": 64,
    "text": 1600,  # 115 of them came with corpora in parts and WordLevel files
    "data": 605,
    "nn": 1008,
    "scratch": 360,
    "score": 330,
    "train": 686,
    "decode": 562,
    "runs": 1780,  # 160 of them came with fine-tuning, devices, and comparing and deleting runs
    "runs/format1": 90,  # beside the room: reads runs of an older lab, and goes one day
    "models": 16,
    "chars": 1200,
    "diffusion": 1620,
    "speech": 1995,
    "bench": 780,  # 48 of them came with the law of a step's time from show
    "checks": 2610,  # 10 of them came with the line of the reader's that raised
    "show": 3600,
    "notebooks": 1310,  # 400 of them came with lessons: their settings, answers and exercises, and what checks these
    "trial": 535,
    "cli": 535,
    "__main__": 10,
}
ALLOWED_OVER = 1.05
SKIPPED = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def holder_of(path: Path) -> str:
    """The line of the table on which a module is counted."""
    return "runs/format1" if path.stem == "format1" else room_of(path)


def code_size(source: str) -> tuple[int, int]:
    """Lines and tokens of code.

    >>> code_size('def f():\\n    "Doc."\\n\\n    return 1  # one\\n')
    (2, 7)
    """
    doc_lines = set()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                doc_lines |= set(range(first.lineno, first.end_lineno + 1))
    lines, tokens = set(), 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SKIPPED and token.start[0] not in doc_lines:
            lines |= set(range(token.start[0], token.end[0] + 1))
            tokens += 1
    return len(lines), tokens


def size(paths) -> tuple[int, int, int]:
    """Files, lines and tokens of code."""
    sizes = [code_size(path.read_text("utf-8")) for path in paths]
    return len(sizes), sum(lines for lines, _ in sizes), sum(tokens for _, tokens in sizes)


def main() -> int:
    modules = sorted(PACKAGE.rglob("*.py"))
    over = []
    print(f"{'room':<12}{'files':>7}{'lines':>8}{'budget':>8}{'tokens':>9}")
    for room, budget in BUDGETS.items():
        files, lines, tokens = size(path for path in modules if holder_of(path) == room)
        too_many = lines > budget * ALLOWED_OVER
        over += [room] * too_many
        print(
            f"{room:<12}{files:>7}{lines:>8}{budget:>8}{tokens:>9}{'  over its budget' if too_many else ''}"
        )
    files, lines, tokens = size(modules)
    print(f"{'lab':<12}{files:>7}{lines:>8}{sum(BUDGETS.values()):>8}{tokens:>9}")
    for beside in ("benchmarks", "tests"):
        files, lines, tokens = size(sorted((ROOT / beside).rglob("*.py")))
        print(f"{beside:<12}{files:>7}{lines:>8}{'':>8}{tokens:>9}")
    for language, ending in (("JavaScript", "js"), ("DOT", "dot")):
        texts = [path.read_text("utf-8") for path in sorted(PACKAGE.rglob(f"*.{ending}"))]
        print(f"{language:<12}{len(texts):>7}{sum(text.count(chr(10)) for text in texts):>8}")
    return bool(over)


if __name__ == "__main__":
    sys.exit(main())
