"""Every notebook runs at profile `smoke`; the committed outputs belong to the committed sources."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from ctypes.util import find_library

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import lab.text
from lab.cli import project
from lab.notebooks import ClaimFailed, DoesNotApply, by_profile, expect, needs, record
from lab.notebooks.publish import complaints, publish, readme_table, stripped, with_table
from lab.notebooks.report import closing_table, exit_status, run_and_report, write_report
from lab.notebooks.runner import (
    NOTEBOOKS,
    NotebookRun,
    all_notebooks,
    find_notebooks,
    metrics_of,
    outputs_of,
    run_alone,
    run_notebook,
)

README = NOTEBOOKS.parent / "README.md"


@pytest.fixture(scope="session")
def smoke_runs(tmp_path_factory):
    """All notebooks at `smoke`, two at once in processes of one thread each; started with the first test that asks."""
    folder = tmp_path_factory.mktemp("smoke")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, spawn, _settle, ({"LAB_RUNS": str(folder / "runs")},)) as pool:
        run = lambda path: pool.submit(run_alone, path, folder, {"profile": "smoke"})  # noqa: E731
        yield {path.stem: run(path) for path in all_notebooks()}


def _settle(environment: dict[str, str]) -> None:
    """Nothing that was trained before is found."""
    os.environ.update(environment)


@pytest.mark.slow
@pytest.mark.parametrize("name", [path.stem for path in all_notebooks()])
def test_notebook_runs_and_its_claims_hold(smoke_runs, name):
    run = smoke_runs[name].result()
    assert run.passed, run.error
    assert run.answer or any(metric["headline"] for metric in run.metrics), (
        "README's table has nothing to show"
    )


@pytest.mark.slow
@pytest.mark.skipif(bool(find_library("espeak-ng")), reason="espeak-ng is the system's, and cannot be hidden")
def test_speech_is_whistled_where_there_is_no_espeak_and_no_sample(tmp_path, monkeypatch):
    (tmp_path / "espeakng_loader.py").write_text("raise ImportError('hidden')\n")
    folders = {"PYTHONPATH": tmp_path, "LAB_DATA": tmp_path / "data", "LAB_RUNS": tmp_path / "runs"}
    for name, value in (folders | {"LAB_MIRROR": "", "OMP_NUM_THREADS": "1"}).items():
        monkeypatch.setenv(name, str(value))
    (path,) = find_notebooks(("10",))
    run = run_notebook(path, tmp_path / "build", {"profile": "smoke"}, progress=False)
    assert run.passed, run.error
    printed = run.output.read_text(encoding="utf-8")
    assert "pip install espeakng-loader" in printed and "No real sample at hand" in printed


@pytest.mark.parametrize("path", all_notebooks(), ids=lambda path: path.stem)
def test_committed_outputs_belong_to_the_committed_source(path):
    assert complaints(path) == []


def test_readme_shows_what_the_committed_notebooks_measured():
    text = README.read_text(encoding="utf-8")
    assert text == with_table(text, readme_table(all_notebooks())), "run `python -m lab publish`"


def make_notebook(folder, *code: str, name: str = "00_made"):
    parameters = new_code_cell('profile = "standard"\nsteps = 3')
    parameters.metadata["tags"] = ["parameters"]
    setup = new_code_cell("from lab.notebooks import expect, record")
    cells = [new_markdown_cell("# Made\n\nDoes it run?"), parameters, setup, *map(new_code_cell, code)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


def test_a_run_gathers_figures_and_claims_and_can_be_published(tmp_path):
    claim = 'expect("steps", steps, close_to=7, headline=True)'
    path = make_notebook(tmp_path, 'record("seconds", 1.5, "s")', claim)
    run = run_notebook(path, tmp_path / "build", {"profile": "smoke", "steps": 7}, progress=False)
    assert run.passed, run.error
    told = [(m["name"], m["value"], m["claim"]) for m in run.metrics]
    assert told == [("seconds", 1.5, None), ("steps", 7.0, "7")]
    shown = [output.data for output in outputs_of(nbformat.read(run.output, as_version=4))]
    assert all({"text/html", "text/plain"} <= data.keys() for data in shown)

    assert any("edited after its output was published" in text for text in complaints(path))
    publish(path, run.output)
    assert complaints(path) == []
    assert metrics_of(nbformat.read(path, as_version=4)) == run.metrics
    assert "| [00_made](notebooks/00_made.ipynb) | Does it run? | steps: 7 |" in readme_table([path])

    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source += "  # edited"
    nbformat.write(notebook, path)
    (complaint,) = complaints(path)
    assert "code cell 4 was edited after its output was published" in complaint


def test_a_claim_that_does_not_hold_fails_the_run_with_both_numbers(tmp_path):
    path = make_notebook(tmp_path, 'expect("loss", 2.5, below=2.0)', 'record("never", 1.0)')
    run = run_notebook(path, tmp_path / "build", {}, progress=False)
    assert not run.passed and "loss: 2.5, claimed: less than 2" in run.error
    assert [metric["holds"] for metric in run.metrics] == [False]
    report = write_report([run], tmp_path / "report", "standard").read_text()
    assert "does not hold" in report and "failed" in report
    assert "failed: 00_made" in closing_table([run])


def test_a_run_that_makes_fewer_claims_than_the_committed_one_fails(tmp_path):
    path = make_notebook(tmp_path, 'if steps == 3:\n    expect("only at three", 1, close_to=1)')
    publish(path, run_notebook(path, tmp_path / "build", {}, progress=False).output)
    run = run_notebook(path, tmp_path / "build", {"steps": 4}, progress=False)
    assert not run.passed and "only at three" in run.error


SWALLOWED = """
try:
    expect("swallowed", 1, above=2)
except AssertionError:
    pass
"""


@pytest.mark.parametrize(
    ("code", "named"),
    [(SWALLOWED, "swallowed"), ("raise SystemExit(0)", "SystemExit"), ("1 / 0", "division")],
)
def test_what_ends_or_hides_in_a_cell_fails_the_run(code, named, tmp_path):
    run = run_notebook(make_notebook(tmp_path, code), tmp_path / "build", {}, progress=False)
    assert run.verdict == "failed" and named in run.error and exit_status([run]) == 1


LACKS = """
import lab.text
from lab.cli import project
from lab.notebooks import needs
needs(lab.text.Corpus("haiku", ("an", "old", "pond")), distinct_lines=10, spaces=0.01)
"""
ELSEWHERE = 'expect("of one text", 1.5, above=2, claimed=False)'
NOT_FINITE = 'record("share", float("nan"))\nexpect("loss", float("inf"), below=2)'
HARMFUL = """
from lab.notebooks import say
say("[press](javascript:alert(1)) <script>alert(2)</script>")
"""


def test_a_text_that_lacks_something_is_no_failure_and_nothing_hides_in_the_report(tmp_path):
    cells = {"00_lacks": [LACKS, "1 / 0"], "01_odd": [ELSEWHERE, HARMFUL, NOT_FINITE]}
    paths = [make_notebook(tmp_path, *code, name=name) for name, code in cells.items()]
    lacks, odd = (run_notebook(path, tmp_path / "build", {}, progress=False) for path in paths)
    assert lacks.verdict == "does not apply" and exit_status([lacks]) == 3
    assert (
        "10 different lines (it has 3)" in lacks.lacking and "1.0% of its characters spaces" in lacks.lacking
    )
    assert odd.verdict == "failed" and "loss: inf" in odd.error and exit_status([lacks, odd]) == 1
    assert [metric["holds"] for metric in odd.metrics] == [True, True, False]
    table = closing_table([lacks, odd])
    assert "share: nan" not in table and "failed: 01_odd; does not apply: 00_lacks" in table
    report = write_report([lacks, odd], tmp_path / "report", "--corpus my.txt").read_text()
    assert (
        "share: nan" in report
        and lacks.lacking in report
        and "not claimed of this text" in report
        and "--corpus my.txt" in report
    )
    page = (tmp_path / "report" / "00_lacks.html").read_text()
    assert "10 different lines" in page and "papermill" not in page
    page = (tmp_path / "report" / "01_odd.html").read_text()
    assert 'href="javascript' not in page and "<script>alert(2)" not in page and "alert(2)" in page


def test_an_interrupted_run_reports_what_is_done(tmp_path, monkeypatch, capsys):
    claims = [{"name": "n", "value": 1.0, "unit": "", "claim": "above 2", "holds": True, "headline": False}]
    claims += [claims[0] | {"claimed": False}]
    done = NotebookRun("00_start_here", tmp_path / "00_start_here.ipynb", 1.0, claims)

    def run(path, *_):
        if path.stem == done.name:
            return done
        raise KeyboardInterrupt

    monkeypatch.setattr("lab.notebooks.report.run_notebook", run)
    with pytest.raises(SystemExit) as ended:
        run_and_report(("00", "01", "02"), "smoke", tmp_path, {"corpus": "my text", "seed": None})
    printed = capsys.readouterr().out
    assert ended.value.code == 130 and "00_start_here" in printed
    assert "1 claims hold" in printed, "the other is not claimed of this text"
    assert "lab run 01 02 --corpus 'my text' --profile smoke" in printed
    assert "00_start_here" in (tmp_path / "index.html").read_text()


def test_a_relative_path_is_taken_from_where_it_was_given(tmp_path, monkeypatch, capsys):
    (tmp_path / "my.txt").write_text("one\ntwo\nthree\n")
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr("lab.notebooks.report.run_and_report", lambda *given: asked.append(given[-1]) or [])
    for corpus in ("my.txt", "grammar", None):
        with pytest.raises(SystemExit) as ended:
            project.run(corpus=corpus)
        assert ended.value.code == 0
    assert [given["corpus"] for given in asked] == [str(tmp_path / "my.txt"), "grammar", None]
    with pytest.raises(SystemExit) as ended:
        project.run(corpus="no.txt")
    assert ended.value.code == 2 and "'no.txt'" in capsys.readouterr().err and len(asked) == 3


def test_needs_goes_on_where_the_text_has_enough():
    text = lab.text.Corpus("two", ("To be, or not", "to be."))
    needs(text, distinct_lines=2, words_per_line=3, punctuation=0.1, spaces=0.1, chars=21)
    with pytest.raises(DoesNotApply, match="two"):
        needs(text, chars=22)


@pytest.mark.slow
def test_the_report_asks_the_network_for_nothing(smoke_runs, tmp_path):
    runs = [future.result() for future in smoke_runs.values()]
    index = write_report(runs, tmp_path, "smoke")
    pages = {page.name: page.read_text() for page in tmp_path.glob("*.html")}
    assert len(pages) == len(runs) + 1
    for name, page in pages.items():
        for asks in ('src="http', "src='http", "@import url(http", '<link rel="stylesheet" href="http'):
            assert asks not in page, f"{name} loads something from elsewhere: {asks}"
    for run in runs:
        assert f"href='{run.name}.html'" in index.read_text()


@pytest.mark.parametrize(
    ("value", "bounds", "holds"),
    [
        *[(value, {"below": 2.0}, value < 2) for value in (1.9, 2.0, float("nan"))],
        (2.0, {"above": 2.0}, False),
        *[(value, {"above": 2.0, "below": 3.0}, value > 2) for value in (2.5, 1.0)],
        *[(value, {"close_to": 1.0, "rel": 1e-3}, value < 1.001) for value in (1.0005, 1.01)],
        *[(value, {"close_to": 0, "rel": 1e-5}, value < 1e-5) for value in (1e-6, 1e-3)],
        *[(value, {"close_to": 1}, value) for value in (True, False)],
    ],
)
def test_a_claim_that_does_not_hold_raises(value, bounds, holds, capsys):
    with nullcontext() if holds else pytest.raises(ClaimFailed, match="the claim"):
        expect("the claim", value, **bounds)


def test_numpys_numbers_are_numbers_in_the_output_too(tmp_path):
    code = "import numpy as np\nexpect('loss', np.float32(1.5), below=np.float64(2), above=np.int64(1))"
    run = run_notebook(make_notebook(tmp_path, code), tmp_path / "build", {}, progress=False)
    assert not run.error and run.metrics[0]["holds"] is True


def test_stripping_keeps_outputs_and_drops_what_changes_from_run_to_run():
    cell = new_code_cell("1 + 1", metadata={"papermill": {"duration": 1}, "tags": ["x"], "execution": {}})
    cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "2"}, metadata={"volatile": 1})]
    language = {"name": "python", "version": "3.11"}
    metadata = {"widgets": {}, "papermill": {}, "language_info": language}
    notebook = new_notebook(cells=[cell], metadata=metadata)
    clean = stripped(notebook)
    assert clean.metadata == {"language_info": {"name": "python"}}
    assert clean.cells[0].metadata == {"tags": ["x"]}
    assert clean.cells[0].outputs[0].data["text/plain"] == "2" and clean.cells[0].outputs[0].metadata == {}
    assert "papermill" in notebook.metadata, "the original is untouched"


REFUSED = [
    (lambda path: run_notebook(path, path.parent, {"step": 4}), "step: its parameters are profile, steps"),
    (lambda path: run_notebook(path, path.parent, {"profile": "quick"}), "unknown profile 'quick'"),
    (lambda path: find_notebooks(("77",)), "no notebook begins with '77'"),
    (lambda path: find_notebooks(("",)), "no notebook begins with ''"),
    (lambda path: expect("the claim", 1.0), "says nothing"),
    *[
        (lambda path, bounds=bounds: expect("the claim", 1.5, **bounds), "the claim")
        for bounds in [
            {"above": 2, "below": 1},
            {"above": 1, "below": 1},
            {"below": float("nan")},
            {"above": float("-inf")},
            {"close_to": 1, "rel": float("inf")},
            {"close_to": 1, "rel": -1},
        ]
    ],
    (lambda path: record("the figure", torch.zeros(2, 3)), r"the figure.*\(2, 3\)"),
    (lambda path: record("the figure", "many"), "the figure.*str"),
    (lambda path: needs(lab.text.Corpus("x", ("y",)), words=3), "words_per_line"),
    (lambda path: by_profile("quick", smoke=1, standard=2, full=3), "smoke, standard, full"),
    (lambda path: with_table("# lab", "| |"), "put the marks back"),
]


@pytest.mark.parametrize(("call", "named"), REFUSED)
def test_what_cannot_be_run_or_claimed_is_refused(call, named, tmp_path):
    with pytest.raises(ValueError, match=named):
        call(make_notebook(tmp_path))
