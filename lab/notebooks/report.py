"""What a run of the notebooks leaves to read: a table in the terminal and pages to open in a browser."""

import html
from datetime import UTC, datetime
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from lab.files import write_atomic
from lab.machine import machine
from lab.notebooks.runner import NotebookRun, find_notebooks, run_notebook


def run_and_report(
    names: tuple[str, ...], profile: str, build: Path, parameters: dict[str, object]
) -> list[NotebookRun]:
    """Run the notebooks whose names begin so, print what they measured, and write `build/index.html`.

    A parameter that is None is left to the notebook.
    """
    given = {name: value for name, value in parameters.items() if value is not None} | {"profile": profile}
    runs = [run_notebook(path, build / "notebooks", given) for path in find_notebooks(names)]
    index = write_report(runs, build, profile)
    print(f"\n{closing_table(runs)}\n\nreport: {index}")
    return runs


def closing_table(runs: list[NotebookRun]) -> str:
    """Every notebook with its time, its figures and whether its claims hold, as plain text."""
    lines = []
    for run in runs:
        claims = sum(metric["claim"] is not None for metric in run.metrics)
        verdict = f"{claims} claims hold" if run.passed else "FAILED"
        lines.append(f"{run.name:<32}{run.seconds:8.1f} s   {verdict}")
        for metric in run.metrics:
            lines.append(f"    {_text(metric)}")
        if run.error:
            lines += [f"    ! {line}" for line in run.error.splitlines()[-12:]]
    total = sum(run.seconds for run in runs)
    failed = [run.name for run in runs if not run.passed]
    lines.append(f"{'all':<32}{total:8.1f} s   {'failed: ' + ', '.join(failed) if failed else 'passed'}")
    return "\n".join(lines)


def write_report(runs: list[NotebookRun], folder: Path, profile: str) -> Path:
    """Write one page a notebook and `index.html` into `folder`; returns the path of the index."""
    # Addresses emptied: the pages must read well with no network, so they may ask for nothing.
    exporter = HTMLExporter(
        mathjax_url="", require_js_url="", jquery_url="", widget_renderer_url="", mermaid_js_url=""
    )
    for run in runs:
        if run.output.exists():
            notebook = nbformat.read(run.output, as_version=4)
            notebook.metadata.pop("widgets", None)
            page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": run.name}})
            write_atomic(folder / f"{run.name}.html", page)
    return write_atomic(folder / "index.html", _index(runs, profile))


def _text(metric: dict) -> str:
    value = f"{metric['value']:.4g}" if isinstance(metric["value"], float) else f"{metric['value']}"
    text = f"{metric['name']}: {value} {metric['unit']}".rstrip()
    if metric["claim"] is None:
        return text
    return f"{text}, expected {metric['claim']}: {'holds' if metric['holds'] else 'DOES NOT HOLD'}"


def _index(runs: list[NotebookRun], profile: str) -> str:
    here = machine()
    sections = []
    for run in runs:
        rows = "".join(
            f"<tr><td>{html.escape(metric['name'])}</td><td class=n>{metric['value']:,.5g}</td>"
            f"<td>{html.escape(metric['unit'])}</td><td>{html.escape(metric['claim'] or '')}</td>"
            f"<td class={'ok' if metric['holds'] else 'bad'}>{_verdict(metric)}</td></tr>"
            for metric in run.metrics
        )
        problem = f"<pre class=bad>{html.escape(run.error)}</pre>" if run.error else ""
        sections.append(
            f"<h2><a href='{run.name}.html'>{run.name}</a></h2>"
            f"<p><b class={'ok' if run.passed else 'bad'}>{'passed' if run.passed else 'failed'}</b>"
            f" in {run.seconds:.0f} s</p>{problem}"
            "<table><tr><th>figure</th><th>value</th><th>unit</th><th>expected</th><th>claim</th></tr>"
            f"{rows}</table>"
        )
    return _PAGE.format(
        profile=html.escape(profile),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=html.escape(f"{here['cpu']}, {here['cores']} cores, torch {here['torch']}"),
        sections="\n".join(sections),
    )


def _verdict(metric: dict) -> str:
    if metric["claim"] is None:
        return ""
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
.n {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
.ok {{ color: var(--ok); }} .bad {{ color: var(--bad); }} pre {{ white-space: pre-wrap; }}
</style></head><body>
<h1>lab: what the notebooks measured</h1>
<p>Profile <b>{profile}</b>, {date}, {machine}. Each heading opens the executed notebook.</p>
{sections}
</body></html>
"""
