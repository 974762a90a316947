"""Whether a notebook has the shape of a lesson: read from its cells and its published outputs, nothing is run."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from lab.notebooks.profiles import PROFILES
from lab.notebooks.runner import claims_of

CELLS, LINES, LINES_A_CELL, LINES_OF_A_MODEL = 45, 350, 25, 60
WORDS, CLAIMS = (1800, 3500), (8, 15)
CLOSING = ["What we found", "Exercises", "References"]
HEADING = re.compile(r"^## +(?:\d+\. +)?(.+?) *$", re.MULTILINE)
SOLUTION = re.compile(r"<summary>[^<]*[Ss]olution.*?```python\n(.*?)```", re.DOTALL)
TABLE = re.compile("<table (?:border|id)")  # as pandas writes them
WIDGET = "controls that need a running notebook"
Problems = Iterator[tuple[int, str]]


class Cell(NamedTuple):
    """A cell as the rules see it: its number in the notebook, from 1, and what the published outputs show."""

    number: int
    source: str
    tags: list[str]
    tree: ast.Module | None  # None: Markdown
    shown: list[dict]

    @property
    def functions(self) -> list[str]:
        """The functions and classes that it defines at its left margin."""
        return [node.name for node in self.tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]

    @property
    def names(self) -> set[str]:
        """Every name that stands in it."""
        return {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}

    def calls(self, name: str) -> bool:
        """Whether it calls the function `name`."""
        calls = (node.func for node in ast.walk(self.tree or ast.Pass()) if isinstance(node, ast.Call))
        return any(isinstance(function, ast.Name) and function.id == name for function in calls)


NO_CELL = Cell(0, "", [], None, [])


def cells_of(notebook: NotebookNode) -> list[Cell]:
    """The cells of a notebook, read."""
    found = []
    for number, cell in enumerate(notebook.cells, 1):
        shown = [output.get("data", {}) for output in cell.get("outputs", [])]
        code = cell.cell_type == "code"  # a magic command is a call
        tree = ast.parse(TransformerManager().transform_cell(cell.source)) if code else None
        found.append(Cell(number, cell.source, cell.metadata.get("tags", []), tree, shown))
    return found


def is_lesson(notebook: NotebookNode) -> bool:
    """Whether its metadata say `"lab": {"lesson": true}`."""
    return bool(notebook.metadata.get("lab", {}).get("lesson"))


def complaints(path: Path) -> list[str]:
    """What keeps a lesson from its shape: notebook, cell, what, and what to do. Other notebooks have no shape."""
    notebook = nbformat.read(path, as_version=4)
    cells = cells_of(notebook) if is_lesson(notebook) else []
    found = sorted(one for rule in RULES if cells for one in rule(cells))
    return [f"{path.name}, cell {number}: {text}" for number, text in found]


def remarks(path: Path) -> list[str]:
    """Signs, not faults: the number of words and of claims, where it is unusual for a lesson."""
    notebook = nbformat.read(path, as_version=4)
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    counted = {"words": (words, WORDS), "claims": (len(claims_of(notebook)), CLAIMS)}
    return [
        f"{path.name} has {count:,} {what}; a lesson has some {least:,} to {most:,}"
        for what, (count, (least, most)) in counted.items()
        if is_lesson(notebook) and not least <= count <= most
    ]


def _order(cells: list[Cell]) -> Problems:
    """Question, answer, parameters, settings; what we found, exercises, references."""
    first, second = [*cells, NO_CELL][:2]
    code = [cell for cell in cells if cell.tree]
    if first.tree or not first.source.startswith("# ") or "?" not in first.source:
        yield 1, "begin with Markdown: the title, `# ...`, and the question, with its question mark"
    if second.tree or "answer" not in second.tags:
        yield 2, "the answer stands here: an empty Markdown cell tagged `answer`, which `lab publish` fills"
    if code and "parameters" not in code[0].tags:
        yield code[0].number, "the first code cell is the one tagged `parameters`"
    headings = [
        (cell.number, title) for cell in cells if not cell.tree for title in HEADING.findall(cell.source)
    ]
    if [title for _, title in headings[-3:]] != CLOSING:
        yield [(1, ""), *headings][-1][0], f"the last three sections are, in this order: {', '.join(CLOSING)}"
    found = next((number for number, title in headings if title == CLOSING[0]), 0)
    for name, places, where in (
        ("settings", code[1:3], "in one of the two code cells after the parameters"),
        ("answer", [cell for cell in code if cell.number > found], f'under "{CLOSING[0]}"'),
    ):
        calling = [cell for cell in code if cell.calls(name)]
        if len(calling) != 1 or calling[0] not in places:
            yield [*cells, *calling][-1].number, f"call `{name}(...)` once, {where}"


def _profile_words(cells: list[Cell]) -> Problems:
    for cell in cells:
        if not cell.tree or "parameters" in cell.tags or cell.calls("settings"):
            continue
        nodes = list(ast.walk(cell.tree))
        handed_on = [node.value for node in nodes if isinstance(node, ast.keyword) and node.arg == "profile"]
        for node in nodes:
            word = ast.unparse(node)
            named = isinstance(node, ast.Name) and word in ("by_profile", "on_clock", "profile")
            constant = isinstance(node, ast.Constant) and node.value in PROFILES
            text = isinstance(node, ast.Compare) and "text.name" in word
            if (named or constant or text) and node not in handed_on:
                yield cell.number, f"`{word}` belongs in the settings: make a value of what depends on it"


def _lengths(cells: list[Cell]) -> Problems:
    last, model = cells[-1].number, next((cell for cell in cells if "model" in cell.tags), None)
    lines = [sum(map(bool, map(str.strip, cell.source.splitlines()))) if cell.tree else 0 for cell in cells]
    if len(cells) > CELLS:
        yield last, f"a lesson has at most {CELLS} cells: make two of it, or leave out what nobody would miss"
    if sum(lines) > LINES:
        yield last, f"{sum(lines)} lines of code, of at most {LINES}: leave out, or move some to `lab`"
    for cell, count in zip(cells, lines, strict=True):
        most = LINES_OF_A_MODEL if cell is model else LINES_A_CELL
        if count > most:
            yield cell.number, f"{count} lines, where at most {most} are read in one breath: divide it"


def _pictures_are_read(cells: list[Cell]) -> Problems:
    """After the last figure or table of a cell comes a sentence: `say`, or Markdown that is not a heading."""
    for cell, after in zip(cells, [*cells[1:], NO_CELL], strict=True):
        widgets = [WIDGET in data.get("text/plain", "") for data in cell.shown]
        drawn = ["image/png" in data or "image/svg+xml" in data for data in cell.shown]
        if any(widget and not picture for widget, picture in zip(widgets, drawn, strict=True)):
            yield cell.number, "this widget has no picture of itself: `lab publish` where there is a chromium"
        read = None  # nothing to read yet
        for data, widget, picture in zip(cell.shown, widgets, drawn, strict=True):
            if (picture and not widget) or TABLE.search(data.get("text/html", "")):
                read = False
            elif "text/markdown" in data and read is False:
                read = True
        below = (
            after.source if after.tree is None else after.shown and after.shown[0].get("text/markdown", "")
        )
        if read is False and (not below or below.startswith("#")):
            yield (
                cell.number,
                "nobody reads this figure or table out: say under it what it shows and what not",
            )


def _by_hand(cells: list[Cell]) -> Problems:
    """What the title promises names nothing of lab."""
    code, of_lab = [cell for cell in cells if cell.tree], {"lab"}
    for node in (node for cell in code for node in ast.walk(cell.tree)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                if (getattr(node, "module", None) or alias.name).split(".")[0] == "lab":
                    of_lab.add((alias.asname or alias.name).split(".")[0])
    by_hand = [cell for cell in code if "by-hand" in cell.tags]
    if not by_hand:
        yield 1, "no cell is tagged `by-hand`: which one holds the algorithm that the title promises?"
    for cell in by_hand:
        for name in sorted(cell.names & of_lab):
            yield (
                cell.number,
                f"`{name}` is of lab, and this is by hand: write it out, or use it in a later cell",
            )
        if not cell.functions:
            yield cell.number, "a cell tagged `by-hand` defines a function or a class at its left margin"


def _exercises(cells: list[Cell]) -> Problems:
    """A stub, its check, its solution; nothing else uses the stub, so that solving it can break nothing."""
    for before, cell in zip([NO_CELL, *cells], cells, strict=False):
        if not cell.tree or not ("check" in cell.tags or cell.calls("attempt")):
            continue
        alone = all(isinstance(node, ast.Expr) for node in cell.tree.body) and cell.calls("attempt")
        if "check" not in cell.tags or "exercise" not in before.tags or not alone:
            yield (
                cell.number,
                "`attempt(checks.x, my_x)` stands alone in a cell tagged `check`, after `exercise`",
            )
    for cell, check, below in zip(cells, [*cells[1:], NO_CELL], [*cells[2:], NO_CELL, NO_CELL], strict=True):
        if "exercise" not in cell.tags:
            continue
        if "check" not in check.tags or not SOLUTION.search(below.source):
            yield (
                cell.number,
                "after an exercise come its `check` and Markdown with a solution in `<details>`",
            )
        for other in cells:
            if other.tree and other not in (cell, check) and (used := other.names & set(cell.functions)):
                yield (
                    other.number,
                    f"`{used.pop()}` is the reader's, of cell {cell.number}: only its check uses it",
                )


RULES = (_order, _profile_words, _lengths, _pictures_are_read, _by_hand, _exercises)
