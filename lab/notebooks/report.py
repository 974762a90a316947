"""What a run of the notebooks leaves to read: a table in the terminal and pages to open in a browser."""

import html
import logging
import re
import shlex
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from lab.files import printable, write_atomic
from lab.machine import machine
from lab.notebooks.claims import first_sentence, sentence
from lab.notebooks.runner import NOTEBOOKS, PICTURES, NotebookRun, find_notebooks, outputs_of, run_notebook

ERROR = "papermill-error-cell-tag"  # of the cells that papermill puts in where a cell raises


def run_and_report(
    names: tuple[str, ...], profile: str, build: Path, parameters: dict[str, object]
) -> list[NotebookRun]:
    """Run the notebooks whose names begin so, print a line of each, and write all to `build/index.html`.

    A parameter that is None is left to the notebook. Ctrl-C ends the notebook that runs, reports those that are done,
    and exits with status 130.
    """
    given = {name: value for name, value in parameters.items() if value is not None} | {"profile": profile}
    paths, runs = find_notebooks(names), []
    flags = " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in given.items())
    try:
        for path in paths:
            runs.append(run_notebook(path, build / "notebooks", given))
    except KeyboardInterrupt:
        # What is still asked of the kernel is no news.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        rest = [path.stem for path in paths[len(runs) :]]
        if runs:
            _tell(runs, build, flags)
        left = f"lab run {' '.join(name[:2] for name in rest)} {flags}"
        print(f"\ninterrupted in {rest[0]}, {len(runs)} notebooks done; `{left}` runs what is left")
        sys.exit(130)
    _tell(runs, build, flags)
    return runs


def exit_status(runs: list[NotebookRun]) -> int:
    """0 where all passed, 1 where one failed, 3 where none failed but one does not apply to this text."""
    verdicts = {run.verdict for run in runs}
    return 1 if "failed" in verdicts else 3 if "does not apply" in verdicts else 0


def _tell(runs: list[NotebookRun], build: Path, flags: str) -> None:
    index = write_report(runs, build, flags)
    print(f"\n{closing_table(runs)}\n\nreport of {flags}: {index}")


def closing_table(runs: list[NotebookRun]) -> str:
    """A line a notebook: verdict, seconds, its answer in a sentence; what fails is told in full."""
    lines = []
    for run in runs:
        lines.append(f"{run.name:<28}{run.seconds:7.0f} s  {_verdict_of(run)}")
        lines += [f"    ! {line}" for line in (run.error or "").splitlines()]
    total = sum(run.seconds for run in runs)
    of = {
        verdict: [run.name for run in runs if run.verdict == verdict]
        for verdict in ("failed", "does not apply")
    }
    told = [f"{verdict}: {', '.join(names)}" for verdict, names in of.items() if names]
    claims = [_verdict(metric) for run in runs for metric in run.metrics].count("holds")
    lines.append(f"{'all':<28}{total:7.0f} s  {'; '.join(told) or f'passed: {claims} claims hold'}")
    return "\n".join(lines)


def _verdict_of(run: NotebookRun) -> str:
    """What came of a run, with its answer in a sentence, or the figure that it puts first."""
    headline = next((sentence(metric) for metric in run.metrics if metric["headline"]), "")
    answer = re.sub(r"[*`]", "", first_sentence(run.answer)) if run.answer else headline
    return f"{run.verdict}: {printable(run.lacking or answer)}".rstrip(": ")


def write_report(runs: list[NotebookRun], folder: Path, flags: str) -> Path:
    """Write one page a notebook and `index.html` into `folder`; returns the path of the index.

    `flags` are those that the notebooks were run with.
    """
    # Addresses emptied: the pages must read well with no network, so they may ask for nothing.
    exporter = HTMLExporter(
        mathjax_url="", require_js_url="", jquery_url="", widget_renderer_url="", mermaid_js_url=""
    )
    if (pictures := NOTEBOOKS / PICTURES).is_dir():  # of the answers under the titles
        shutil.copytree(pictures, folder / PICTURES, dirs_exist_ok=True)
    for run in runs:
        if run.output.exists():
            notebook = nbformat.read(run.output, as_version=4)
            notebook.metadata.pop("widgets", None)
            if run.lacking:
                notebook.cells = [
                    cell for cell in notebook.cells if ERROR not in cell.metadata.get("tags", [])
                ]
            for output in outputs_of(notebook):
                _defuse(output.get("data", {}))
            page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": run.name}})
            write_atomic(folder / f"{run.name}.html", page)
    return write_atomic(folder / "index.html", _index(runs, flags))


def _defuse(data: dict) -> None:
    """What a notebook says may quote any text: its Markdown is drawn without HTML and without links that run code."""
    if "text/markdown" in data:
        renderer = IPythonRenderer(escape=True, allow_harmful_protocols=False)
        data["text/html"] = MarkdownWithMath(renderer=renderer).render(data.pop("text/markdown"))


def _index(runs: list[NotebookRun], flags: str) -> str:
    here = machine()
    head = "<tr><th>what was measured</th><th>claimed</th><th></th></tr>"
    sections = []
    for run in runs:
        rows = "".join(
            f"<tr><td>{html.escape(sentence(metric))}</td><td>{html.escape(metric['claim'] or '')}</td>"
            f"<td class={'ok' if metric['holds'] else 'bad'}>{_verdict(metric)}</td></tr>"
            for metric in run.metrics
        )
        problem = f"<pre class=bad>{html.escape(run.error)}</pre>" if run.error else ""
        colour = {"passed": "ok", "failed": "bad"}.get(run.verdict, "")
        sections.append(
            f"<h2><a href='{run.name}.html'>{run.name}</a></h2>"
            f"<p><b class='{colour}'>{html.escape(_verdict_of(run))}</b> ({run.seconds:.0f} s)</p>{problem}"
            + (f"<table>{head}{rows}</table>" if rows else "")
        )
    return _PAGE.format(
        flags=html.escape(flags),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=html.escape(f"{here['cpu']}, {here['cores']} cores, torch {here['torch']}"),
        sections="\n".join(sections),
    )


def _verdict(metric: dict) -> str:
    if metric["claim"] is None:
        return ""
    if not metric.get("claimed", True):
        return "not claimed of this text"
    return "holds" if metric["holds"] else "does not hold"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>lab: report</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; --line: #8885; --ok: #00785a; --bad: #b8420f; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ok: #35c99c; --bad: #ff9d5c; }} }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; font-size: 0.9rem; }}
td, th {{ text-align: left; padding: 0.25rem 0.6rem; border-bottom: 1px solid var(--line); vertical-align: top; }}
.ok {{ color: var(--ok); }} .bad {{ color: var(--bad); }} pre {{ white-space: pre-wrap; }}
</style></head><body>
<h1>lab: what the notebooks measured</h1>
<p><b>lab run {flags}</b>, {date}, {machine}. Each heading opens the executed notebook.</p>
{sections}
</body></html>
"""
