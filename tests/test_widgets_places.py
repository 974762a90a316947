"""The widgets in Notebook 7 and in marimo, where these are installed: drawn, moved, and answered by Python."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import nbformat
import pytest
from browser import HOW, ROOT, SECONDS, Browser, browser, find_chromium, jupyter_lab
from nbformat.v4 import new_code_cell, new_notebook
from test_widgets_browser import KERNEL, MODELS, RUNS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_chromium() is None, reason=HOW)]
MADE = {
    "stepper": 'MergeStepper(tokenizer, "the heaven and the earth")',
    "masks": "MaskExplorer()",
    "sampler": 'Sampler(writer, tokenizer, prompt="the", seed=1, length=20)',
    "beams": 'BeamViewer(model, characters, "the ", beams=2, length=3)',
    "playground": 'TokenizerPlayground({"characters": characters, "<BPE>": tokenizer}, "the heaven")',
    "attention": 'AttentionExplorer(model, characters, "the earth")',
    "denoising": 'DenoisingViewer(painter, tokenizer, "the heaven _ the * earth", gap=3, steps=6)',
    "editor": "GridEditor(book, tokenizer)",
    "filling": 'FillIn(reader, characters, "the heaven and the earth", hide=(4, 5))',
    "speech": 'SpeechExplorer(ears, character_alphabet(), "one two")',
    "windows": "WindowExplorer(tokenizer.encode_lines(lines[:3]), tokenizer, context=8)",
    "runs": 'RunsExplorer("some-runs", prompt="line")',
    "times": 'StepTimeExplorer({"this CPU": rows, "another": rows})',
}
# By keys alone: what is pressed in each of the others, after which it shows something else.
PRESSED = {
    "beam-viewer": [(".lab-beams input", "End")],
    "tokenizer-playground": [(".lab-ids input", "Space")],
    "attention-explorer": [(".lab-layer input", "End")],
    "denoising-viewer": [(".lab-stage input", "Home")],
    "grid-editor": [(".lab-cell", "Enter")],
    "fill-in": [(".lab-hide", "Enter")],
    "speech-explorer": [(".lab-voice select", "ArrowDown"), (".lab-speak", "Enter")],
    "window-explorer": [(".lab-context input", "Home")],
    "runs-explorer": [(".lab-models input", "Space")],
    "step-time-explorer": [(".lab-batch input", "End")],
}
# What it shows, without its controls, which change by themselves.
SHOWN = """(root) => {
    const copy = root.cloneNode(true);
    copy.querySelectorAll(".lab-control").forEach((one) => one.remove());
    return copy.innerHTML;
}"""


@pytest.fixture
def notebook_7(tmp_path) -> Iterator[Browser]:
    pytest.importorskip("notebook", reason="no Notebook 7: `pip install notebook`")
    notebook = new_notebook(cells=[new_code_cell(source) for source in (MODELS, RUNS, *MADE.values())])
    notebook.metadata.kernelspec = KERNEL
    nbformat.write(notebook, tmp_path / "widgets.ipynb")
    with (
        jupyter_lab(tmp_path, "notebook") as (address, token),
        browser(find_chromium(), address, token, tmp_path / ".private" / "profile") as opened,
    ):
        opened.open("widgets.ipynb", "notebooks")
        opened.errors.clear()  # Notebook 7.6 complains of a schema of its own before any cell has run
        opened.run_all()
        yield opened


@pytest.fixture
def marimo(tmp_path) -> Iterator[Browser]:
    if importlib.util.find_spec("marimo") is None:
        pytest.skip("no marimo: `pip install marimo`")
    (tmp_path / "made.py").write_text(
        MODELS + RUNS + "".join(f"{name} = {source}\n" for name, source in MADE.items())
    )
    cells = ["import marimo as mo; import made", *(f"mo.ui.anywidget(made.{name})" for name in MADE)]
    lines = ["import marimo", "app = marimo.App()"]
    for cell in cells:
        arguments, returned = ("", "return made, mo") if cell == cells[0] else ("made, mo", "return")
        lines += ["@app.cell", f"def _({arguments}):", f"    {cell}", f"    {returned}"]
    (tmp_path / "app.py").write_text("\n".join([*lines, ""]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    private = {name: str(tmp_path / name) for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
    environment = os.environ | private | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    command = [sys.executable, "-m", "marimo", "--quiet", "run", "app.py", "--headless", "--no-token",
               "--host=127.0.0.1", f"--port={port}"]  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL) as server:
        try:
            end = time.monotonic() + SECONDS
            while not _answers(f"{address}/health") and time.monotonic() < end:
                time.sleep(0.2)
            with browser(find_chromium(), address, "", tmp_path / "profile") as opened:
                opened.page.goto(address, wait_until="commit")
                yield opened
        finally:
            server.terminate()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.parametrize("place", ["notebook_7", "marimo"])
def test_widgets_are_drawn_and_python_answers(request, place):
    opened = request.getfixturevalue(place)
    page = opened.page
    stepper, masks, sampler = (
        page.locator(f".lab-{name}") for name in ("merge-stepper", "mask-explorer", "sampler")
    )
    sampler.locator(".lab-generate").wait_for()
    cut = stepper.locator(".lab-tokens .lab-token")
    assert cut.count() == 24
    stepper.locator(".lab-step input").press("End")
    assert cut.count() == 6
    stepper.locator(".lab-text input").fill("form")
    assert opened.until(lambda: cut.all_text_contents() == list("form") or cut.count() < 4)
    masks.locator(".lab-documents input").press("Space")
    assert opened.until(lambda: masks.locator("td.may").count() == 55)
    masks.locator(".lab-lengths input").fill("two")
    assert opened.until(lambda: "whole numbers" in masks.locator(".lab-problem").first.inner_text())
    written = sampler.locator(".lab-strip .lab-written")
    sampler.locator(".lab-prompt input").fill("and the")
    sampler.locator(".lab-generate").click()
    assert opened.until(lambda: written.count() > 3 and sampler.locator(".lab-stop:disabled").count() == 1)
    given = sampler.locator(".lab-strip .lab-given")
    assert opened.until(lambda: given.all_text_contents() == ["and the"]), (
        "what was typed went with the click"
    )
    before = written.all_text_contents()
    written.nth(1).click()
    assert opened.until(lambda: sampler.locator(".lab-take").count() > 3)
    sampler.locator(".lab-take").first.click()
    assert opened.until(lambda: written.count() > 1 and written.all_text_contents() != before)
    for name, keys in PRESSED.items():
        widget = page.locator(f".lab-{name}")
        widget.wait_for()
        before = widget.evaluate(SHOWN)
        for selector, key in keys:
            widget.locator(selector).first.press(key)
        assert opened.until(lambda widget=widget, before=before: widget.evaluate(SHOWN) != before), name
    opened.picture(f"{place}_sampler", ".lab-sampler")
    opened.picture(f"{place}_page")
    assert opened.outside == [], "a request left this computer"
    assert opened.errors == [], "the browser complained"
