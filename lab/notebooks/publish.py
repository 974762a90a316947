"""Writing the outputs of a run back into the committed notebooks, and keeping them honest."""

import copy
import html
import re
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path

import nbformat

from lab.files import sha256_bytes, write_atomic
from lab.notebooks.claims import boxed, first_sentence, sentence
from lab.notebooks.runner import (
    PICTURES,
    NotebookRun,
    all_notebooks,
    answer_of,
    claims_of,
    find_notebooks,
    metrics_of,
)
from lab.notebooks.stills import Still, as_text, stills, widget_states

WIDGET_VIEW, PICTURE = "application/vnd.jupyter.widget-view+json", "image/png"
KEPT_NOTEBOOK_METADATA = {"kernelspec", "language_info", "lab"}
KEPT_CELL_METADATA = {"tags", "lab"}
TABLE_START, TABLE_END = "<!-- notebooks -->", "<!-- /notebooks -->"


def source_hash(source: str) -> str:
    """The fingerprint by which an output is tied to the source that made it."""
    return sha256_bytes(source.encode())[:16]


def with_outputs(
    source: nbformat.NotebookNode,
    executed: nbformat.NotebookNode,
    pictures: Mapping[str, Still] | None = None,
) -> nbformat.NotebookNode:
    """A copy of `source` that carries the outputs of `executed`, stripped of all that is volatile.

    Cells are matched by id; each code cell keeps a hash of its source, so that a later edit shows. In place of a widget
    stands its picture, of `pictures` by the widget's id; where there is none, the picture that `source` has. The answer
    is copied to the cell under the title.
    """
    outputs = {cell.id: cell for cell in executed.cells if cell.cell_type == "code"}
    published = copy.deepcopy(source)
    for number, cell in enumerate((c for c in published.cells if c.cell_type == "code"), start=1):
        if cell.id not in outputs or outputs[cell.id].source != cell.source:
            raise ValueError(f"cell {cell.id} changed while the notebook ran: publish again")
        before, cell.outputs = cell.outputs, outputs[cell.id].outputs
        cell.execution_count = number
        for output in cell.outputs:
            if WIDGET_VIEW in (data := output.get("data", {})):
                widget = data.pop(WIDGET_VIEW)["model_id"]  # its plain text stays
                if still := (pictures or {}).get(widget):
                    data[PICTURE], output.metadata[PICTURE] = as_text(still.png), {"alt": still.described}
                elif old := _old_output(data, before):
                    data[PICTURE], output.metadata = old.data[PICTURE], old.metadata
            if "execution_count" in output:
                output["execution_count"] = number
        cell.metadata["lab"] = {"source": source_hash(cell.source)}
    if (top := _top_of(published)) is not None:
        top.source = _boxed_answer(published)
    return stripped(published)


def _top_of(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """The cell under the title in which a reader finds the answer."""
    return next((cell for cell in notebook.cells if "answer" in cell.metadata.get("tags", [])), None)


def _boxed_answer(notebook: nbformat.NotebookNode) -> str:
    """What stands in that cell: the answer that the code gave, and the picture that shows it."""
    answer = answer_of(notebook) or {"text": ""}
    described = re.sub(r"[*`\[\]]", "", first_sentence(answer["text"]))
    picture = f"\n\n![{described}]({answer['picture']})" if "picture" in answer else ""
    return boxed(answer["text"]) + picture


def _old_output(data: dict, outputs: list) -> nbformat.NotebookNode | None:
    """Of the outputs that a cell had, that with the picture of the same widget, by its plain text."""
    for output in outputs:
        had = output.get("data", {})
        if PICTURE in had and had.get("text/plain") == data.get("text/plain"):
            return output
    return None


def stripped(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy without timestamps, widget state, papermill's notes and exact Python version."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata = nbformat.from_dict(
        {key: value for key, value in notebook.metadata.items() if key in KEPT_NOTEBOOK_METADATA}
    )
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(
            {key: value for key, value in cell.metadata.items() if key in KEPT_CELL_METADATA}
        )
        for output in cell.get("outputs", []):
            if had := output.get("metadata"):
                described = had.get(PICTURE, {}).get("alt")
                output.metadata = nbformat.from_dict({PICTURE: {"alt": described}} if described else {})
    return notebook


def complaints(path: Path) -> list[str]:
    """What is wrong with a committed notebook; an empty list when nothing is."""
    notebook = nbformat.read(path, as_version=4)
    found = []
    if notebook != stripped(notebook):
        found.append("holds volatile metadata: run `python -m lab publish`")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if sum("parameters" in cell.metadata.get("tags", []) for cell in code) != 1:
        found.append("must have one cell tagged `parameters`")
    for number, cell in enumerate(code, start=1):
        if cell.metadata.get("lab", {}).get("source") != source_hash(cell.source):
            found.append(
                f"code cell {number} was edited after its output was published: run `python -m lab publish`"
            )
        if any(WIDGET_VIEW in output.get("data", {}) for output in cell.outputs):
            found.append(f"code cell {number} holds a dead widget view: run `python -m lab publish`")
        if any(output.output_type == "error" for output in cell.outputs):
            found.append(f"code cell {number} holds an error")
    if code and not claims_of(notebook):
        found.append("makes no claims")
    if (top := _top_of(notebook)) is not None and top.source != _boxed_answer(notebook):
        found.append("shows another answer under its title than its code gives: run `python -m lab publish`")
    return [f"{path.name}: {text}" for text in found]


def publish(path: Path, executed_path: Path) -> None:
    """Put the outputs of the executed notebook, and pictures of its widgets, into the committed one.

    Where there is no browser to take pictures in, the old ones stay, and that is said.
    """
    source = nbformat.read(path, as_version=4)
    executed = nbformat.read(executed_path, as_version=4)
    try:
        pictures = stills(states) if (states := widget_states(executed)) else {}
    except RuntimeError as error:
        print(f"{path.name}: the old pictures of its widgets stay: {error}")
        pictures = {}
    if "picture" in (
        answer := answer_of(executed) or {}
    ):  # a file: what is in a notebook, GitHub shows not in Markdown
        name = f"{PICTURES}/{path.stem}.png"
        write_atomic(path.parent / name, b64decode(answer["picture"]))
        answer["picture"] = name
    write_atomic(path, nbformat.writes(with_outputs(source, executed, pictures)) + "\n")


def publish_all(runs: list[NotebookRun], readme: Path) -> None:
    """Write the outputs of the runs that passed back into their notebooks, and the table into the README."""
    for run in runs:
        if run.passed:
            (path,) = find_notebooks((run.name,))
            publish(path, run.output)
            print(f"published {run.name}")
    write_atomic(readme, with_table(readme.read_text(encoding="utf-8"), readme_table(all_notebooks())))


def readme_table(notebooks: list[Path]) -> str:
    """README's notebook table: title, question and answer in a sentence, all read from the committed notebooks."""
    rows = ["| notebook | the question | the answer |", "|---|---|---|"]
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)
        intro = next(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        paragraphs = [part.replace("\n", " ").strip() for part in intro.split("\n\n")]
        question = next(part for part in paragraphs if not part.startswith("#"))
        headline = next((sentence(metric) for metric in metrics_of(notebook) if metric["headline"]), "")
        answer = answer_of(notebook)
        shown = html.escape(
            first_sentence(answer["text"]) if answer else headline, quote=False
        )  # `<mask>` is no tag
        shown = shown.replace("|", "\\|")  # nor a bar the end of a cell
        rows.append(f"| [{path.stem}](notebooks/{path.name}) | {question} | {shown} |")
    return "\n".join(rows)


def with_table(readme: str, table: str) -> str:
    """README's text with the part between the two table marks replaced."""
    pattern = re.compile(f"{re.escape(TABLE_START)}.*?{re.escape(TABLE_END)}", re.DOTALL)
    if not pattern.search(readme):
        raise ValueError(
            f"README.md has no {TABLE_START} ... {TABLE_END} for the notebook table: put the marks back"
        )
    return pattern.sub(lambda _: f"{TABLE_START}\n{table}\n{TABLE_END}", readme)
