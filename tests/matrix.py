"""`make matrix`: every notebook at `smoke` on texts of other kinds than the King James Bible.

A notebook passes, or says in one sentence what the text lacks; which of the two is written down here. A pair in
PENDING does neither yet: it has its sentence, and must go from the list when it holds.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import kinds
import pytest

from lab.notebooks.runner import all_notebooks, run_alone

CORPORA = [*kinds.KINDS, "python-docs"]  # the last is what `auto` takes where there is no network
NOTEBOOKS = {path.stem[:2]: path for path in all_notebooks()}
PAIRS = [(number, kind) for kind in CORPORA for number in NOTEBOOKS]

# The kinds of text that have not enough of what a notebook is about.
LACKING = {
    "00": (),
    "01": ("poem",),
    "02": ("names", "chinese", "poem"),
    "03": (),
    "04": (),
    "05": ("poem",),
    "06": (),
    "07": ("poem",),
    "08": ("names", "chinese", "poem", "one_line"),
    "09": ("poem",),
    "10": (),
}

PENDING = {}


@pytest.fixture(scope="session")
def runs(tmp_path_factory, request):
    """The pairs that are asked for, two at once in processes of one thread each."""
    folder = tmp_path_factory.mktemp("matrix")
    corpus = {kind: str(kinds.write(kind, folder)) if kind in kinds.KINDS else kind for kind in CORPORA}
    asked = [item.callspec.params["pair"] for item in request.session.items]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, spawn, _settle, ({"LAB_RUNS": str(folder / "runs")},)) as pool:
        yield {
            (number, kind): pool.submit(
                run_alone, NOTEBOOKS[number], folder / kind, {"profile": "smoke", "corpus": corpus[kind]}
            )
            for number, kind in asked
        }


def _settle(environment: dict[str, str]) -> None:
    """Nothing that was trained before is found."""
    os.environ.update(environment)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_notebook_holds_on_this_text_or_says_what_it_lacks(runs, pair):
    number, kind = pair
    run = runs[pair].result()
    if pair in PENDING:
        assert run.error, f"{number} on {kind} holds now: take it from PENDING"
        pytest.xfail(PENDING[pair])
    assert not run.error, run.error
    wanted = "does not apply" if kind in LACKING[number] else "passed"
    assert run.verdict == wanted, run.lacking
    if run.lacking:
        assert not any(metric["claim"] for metric in run.metrics), "said only after something was measured"
