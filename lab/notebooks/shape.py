"""Whether a notebook has the shape of a lesson: read from its cells and its published outputs, nothing is run."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from lab.notebooks.runner import claims_of
from lab.notebooks.settings import PROFILES

CELLS, LINES, LINES_A_CELL, LINES_OF_A_MODEL = 45, 350, 25, 60
WORDS, CLAIMS = (1800, 3500), (8, 15)
CLOSING = ["What we found", "Exercises", "References"]
SOLUTION = re.compile(r"<summary>[^<]*[Ss]olution.*?```python\n(.*?)```", re.DOTALL)
Problems = Iterator[tuple[int, str]]


def is_lesson(notebook: NotebookNode) -> bool:
    """Whether its metadata say `"lab": {"lesson": true}`."""
    return bool(notebook.metadata.get("lab", {}).get("lesson"))


def complaints(path: Path) -> list[str]:
    """What keeps a lesson from its shape: notebook, cell, what, and what to do. Other notebooks have no shape."""
    notebook = nbformat.read(path, as_version=4)
    found = [one for rule in RULES for one in rule(notebook.cells)] if is_lesson(notebook) else []
    return [f"{path.name}, cell {number}: {text}" for number, text in sorted(found)]


def remarks(path: Path) -> list[str]:
    """Signs, not faults: how many words and claims, where that is unusual for a lesson."""
    notebook = nbformat.read(path, as_version=4)
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    counted = {"words": (words, WORDS), "claims": (len(claims_of(notebook)), CLAIMS)}
    return [
        f"{path.name} has {count:,} {what}; a lesson has some {least:,} to {most:,}"
        for what, (count, (least, most)) in counted.items()
        if is_lesson(notebook) and not least <= count <= most
    ]


def tags(cell: NotebookNode) -> list[str]:
    """The cell's tags."""
    return cell.metadata.get("tags", [])


def code_of(cells: list[NotebookNode]) -> list[tuple[int, NotebookNode, ast.Module]]:
    """The code cells, each with its number among all cells, from 1, and its syntax tree."""
    read = TransformerManager().transform_cell  # magic commands are calls
    return [
        (n, cell, ast.parse(read(cell.source))) for n, cell in enumerate(cells, 1) if cell.cell_type == "code"
    ]


def _calls(tree: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.Call) and _name(node.func) == name for node in ast.walk(tree))


def _name(node: ast.AST) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


def _opening(cells: list[NotebookNode]) -> Problems:
    """Question, answer, parameters, settings."""
    first, second = [*cells, NotebookNode(), NotebookNode()][:2]
    if not first.get("source", "").startswith("# ") or "?" not in first.source:
        yield 1, "begin with Markdown: the title, `# ...`, and the question, with its question mark"
    if "answer" not in second.get("metadata", {}).get("tags", []) or second.cell_type != "markdown":
        yield 2, "the answer stands here: an empty Markdown cell tagged `answer`, which `lab publish` fills"
    code = code_of(cells)
    if code and "parameters" not in tags(code[0][1]):
        yield code[0][0], "the first code cell is the one tagged `parameters`"
    for name, where in (
        ("settings", "in one of the two code cells after the parameters"),
        ("answer", "once"),
    ):
        numbers = [n for n, _, tree in code if _calls(tree, name)]
        if len(numbers) != 1 or (name == "settings" and numbers[0] not in [n for n, *_ in code[1:3]]):
            yield (numbers or [len(cells)])[-1], f"call `{name}(...)` {where}, and nowhere else"


def _closing(cells: list[NotebookNode]) -> Problems:
    """What we found, exercises, references."""
    headings = [
        (n, title)
        for n, cell in enumerate(cells, 1)
        if cell.cell_type == "markdown"
        for title in re.findall(r"^## +(?:\d+\. +)?(.+?) *$", cell.source, re.MULTILINE)
    ]
    if [title for _, title in headings[-3:]] != CLOSING:
        wanted = ", ".join(f"`## {title}`" for title in CLOSING)
        yield (headings or [(len(cells), "")])[-1][0], f"the last three sections are {wanted}, in this order"


def _profile_words(cells: list[NotebookNode]) -> Problems:
    for n, cell, tree in code_of(cells):
        if "parameters" in tags(cell) or _calls(tree, "settings"):
            continue
        handed_on = {
            id(k.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            for k in node.keywords
            if k.arg == "profile"
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in PROFILES:
                word = repr(node.value)
            elif _name(node) in ("by_profile", "on_clock", "profile") and id(node) not in handed_on:
                word = node.id
            elif isinstance(node, ast.Compare) and "text.name" in ast.unparse(node):
                word = ast.unparse(node)
            else:
                continue
            yield n, f"{word} belongs in the settings cell: make a setting of what depends on it"


def _lengths(cells: list[NotebookNode]) -> Problems:
    code = [cell for cell in cells if cell.cell_type == "code"]
    lines = {id(cell): sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code}
    if len(cells) > CELLS:
        yield (
            len(cells),
            f"a lesson has at most {CELLS} cells: make two of it, or leave out what nobody would miss",
        )
    if (total := sum(lines.values())) > LINES:
        yield (
            len(cells),
            f"{total} lines of code, where a lesson has at most {LINES}: leave out, or move to `lab`",
        )
    models = 0
    for n, cell in enumerate(cells, 1):
        models += (model := "model" in tags(cell) and not models)
        most = LINES_OF_A_MODEL if model else LINES_A_CELL
        if lines.get(id(cell), 0) > most:
            yield n, f"{lines[id(cell)]} lines, where at most {most} are read in one breath: divide it"


def _pictures_are_read(cells: list[NotebookNode]) -> Problems:
    """After the last figure or table of a cell comes a sentence: `say`, or Markdown that is not a heading."""
    for n, cell in enumerate(cells, 1):
        shown = [output.get("data", {}) for output in cell.get("outputs", [])]
        last = max((i for i, data in enumerate(shown) if _is_picture(data)), default=None)
        if last is None or any("text/markdown" in data for data in shown[last + 1 :]):
            continue
        after = cells[n] if n < len(cells) else NotebookNode(cell_type="markdown", source="#")
        said = after.get("outputs", [{}])[:1]
        if (
            after.source.startswith("#")
            if after.cell_type == "markdown"
            else "text/markdown" not in said[0].get("data", {})
        ):
            yield (
                n,
                "nobody reads this figure or table out: say under it what to look at, what it means, what not",
            )


def _is_picture(data: dict) -> bool:
    table = re.search("<table (?:border|id)", data.get("text/html", ""))  # as pandas writes them
    return bool(table) or (_is_drawn(data) and not _is_widget(data))


def _is_drawn(data: dict) -> bool:
    return "image/png" in data or "image/svg+xml" in data


def _is_widget(data: dict) -> bool:
    return "controls that need a running notebook" in data.get("text/plain", "")


def _widgets_have_stills(cells: list[NotebookNode]) -> Problems:
    for n, cell in enumerate(cells, 1):
        shown = [output.get("data", {}) for output in cell.get("outputs", [])]
        if any(_is_widget(data) and not _is_drawn(data) for data in shown):
            yield n, "this widget has no picture of itself: `lab publish` where there is a chromium"


def _by_hand(cells: list[NotebookNode]) -> Problems:
    """An algorithm that the title promises names nothing of lab."""
    code = code_of(cells)
    imports = [
        node for *_, tree in code for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    of_lab = {
        (alias.asname or alias.name).partition(".")[0]
        for node in imports
        for alias in node.names
        if (getattr(node, "module", None) or alias.name).partition(".")[0] == "lab"
    }
    by_hand = [(n, tree) for n, cell, tree in code if "by-hand" in tags(cell)]
    if not by_hand:
        yield 1, "no cell is tagged `by-hand`: which one holds the algorithm that the title promises?"
    for n, tree in by_hand:
        for name in sorted({_name(node) for node in ast.walk(tree)} & (of_lab | {"lab"})):
            yield n, f"`{name}` is of lab, and this cell is by hand: write it out, or use it in a later cell"
        if not functions_of(tree):
            yield n, "a cell that is tagged `by-hand` defines a function or a class at its left margin"


def functions_of(tree: ast.Module) -> list[str]:
    """The names of the functions and classes that a cell defines at its left margin."""
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def _exercises(cells: list[NotebookNode]) -> Problems:
    """A stub, its check, its solution; nothing else uses the stub, so that solving it can break nothing."""
    code = code_of(cells)
    for n, cell, tree in code:
        if "check" in tags(cell):
            only = all(isinstance(node, ast.Expr) and _calls(node, "attempt") for node in tree.body)
            if not only or "exercise" not in tags(cells[n - 2]):
                yield n, "a cell tagged `check` follows one tagged `exercise`, and has `attempt(...)` alone"
        elif _calls(tree, "attempt"):
            yield n, "tag the cell with `attempt` as `check`"
        if "exercise" not in tags(cell):
            continue
        if "check" not in (tags(cells[n]) if n < len(cells) else []):
            yield n, "a cell tagged `exercise` is followed by one tagged `check`: `attempt(checks.x, my_x)`"
        if n + 1 >= len(cells) or not SOLUTION.search(cells[n + 1].source):
            yield n, "after the check comes Markdown with a solution, a python block folded in `<details>`"
        names = set(functions_of(tree))
        for other, _, elsewhere in code:
            if other not in (n, n + 1) and (used := names & {_name(node) for node in ast.walk(elsewhere)}):
                yield other, f"`{used.pop()}` is the reader's, of cell {n}: only its check may use it"


RULES = (
    _opening, _closing, _profile_words, _lengths, _pictures_are_read, _widgets_have_stills, _by_hand, _exercises,
)  # fmt: skip
