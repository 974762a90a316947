"""The widgets in JupyterLab in a real browser: what a person does with mouse and keys is seen on the page.

Nothing may be asked of another machine, and no error may stand in the browser's console. The pictures are kept under
build/browser/, to be looked at.
"""

import re
from collections.abc import Iterator

import nbformat
import pytest
import torch
from browser import HOW, ROOT, Browser, browser, find_chromium, jupyter_lab
from nbformat.v4 import new_code_cell, new_notebook

from lab.speech.audio import Audio, wav_bytes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason=HOW),
]
DECODING = ROOT / "notebooks" / "09_decoding.ipynb"
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}

MODELS = """
import time

import torch
from lab.chars import CharEncoder, CharEncoderConfig
from lab.diffusion import Codebook, Denoiser, DenoiserConfig
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.show.widgets import *
from lab.speech.model import SpeechConfig, SpeechTransformer
from lab.speech.text import character_alphabet
from lab.text import BPETokenizer, CharTokenizer

lines = ["the heaven and the earth", "the earth was without form", "and the heaven was & is <b>"] * 4
characters, tokenizer = CharTokenizer.train(lines), BPETokenizer.train(lines, vocab_size=280)
torch.manual_seed(0)
sizes = {"width": 16, "num_layers": 2, "num_heads": 2, "feed_forward": 16}
model = DecoderOnlyTransformer(TransformerConfig(characters.vocab_size, context=32, **sizes))
writer = DecoderOnlyTransformer(TransformerConfig(tokenizer.vocab_size, context=64, **sizes))
book = Codebook.linear(tokenizer.vocab_size)
painter = Denoiser(
    DenoiserConfig(TransformerConfig(tokenizer.vocab_size, context=24, **sizes), num_colours=3), book
)
ears = SpeechTransformer(SpeechConfig(TransformerConfig(33, context=96, **sizes), encoder_layers=1, channels=4))
reader = CharEncoder(CharEncoderConfig(TransformerConfig(characters.vocab_size, context=64, **sizes)))
for of_model in (model, writer, painter, ears, reader):
    for parameter in of_model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)

def slowly(logits, ids):
    time.sleep(0.02)
    return logits
"""
RUNS = """
from dataclasses import replace
from pathlib import Path
from lab.bench import Row
from lab.runs import Data, Experiment, get_or_train
from lab.train import TrainConfig

Path("lines.txt").write_text("\\n".join(f"line {n} of the earth" for n in range(40)))
plan = Experiment(
    TransformerConfig(40, context=8, **sizes), training=TrainConfig(steps=6, warmup=2, evaluate_every=3),
    data=Data("lines.txt", "char", batch_size=4),
)
for seed in (0, 1):
    get_or_train(replace(plan, seed=seed), "some-runs", name=f"run {seed}", progress=False, say=lambda _: None)
rows = [
    Row({"batch": batch, "width": width, "context": context}, (1e-3 + 1e-9 * batch * context * width**2,))
    for batch in (1, 8, 64) for width in (64, 192) for context in (16, 64)
]
"""
CELLS = [
    MODELS,
    RUNS,
    'RunsExplorer("some-runs", prompt="line")',
    'StepTimeExplorer({"this CPU": rows, "another": rows})',
    'Sampler(writer, tokenizer, prompt="the", seed=1, filters={"slowly": slowly})',
    'BeamViewer(model, characters, "the ", beams=3, length=5)',
    'TokenizerPlayground({"characters": characters, "<BPE>": tokenizer}, "the heaven")',
    "MaskExplorer()",
    'AttentionExplorer(model, characters, "the earth")',
    'DenoisingViewer(painter, tokenizer, "the heaven _ the * earth", gap=3, steps=6)',
    "GridEditor(book, tokenizer)",
    'FillIn(reader, characters, "the heaven and the earth", hide=(4, 5))',
    'MergeStepper(tokenizer, "the heaven and the earth")',
    'SpeechExplorer(ears, character_alphabet(), "one two")',
    "WindowExplorer(tokenizer.encode_lines(lines[:3]), tokenizer, context=8)",
]


@pytest.fixture(scope="module")
def on_page(tmp_path_factory) -> Iterator[Browser]:
    """A page with every widget on a tiny model."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = new_notebook(cells=[new_code_cell(source) for source in CELLS])
    notebook.metadata.kernelspec = KERNEL
    nbformat.write(notebook, folder / "widgets.ipynb")
    if DECODING.is_file():
        nbformat.write(at_smoke(nbformat.read(DECODING, as_version=4)), folder / DECODING.name)
    with (
        jupyter_lab(folder) as (address, token),
        browser(find_chromium(), address, token, folder / ".private" / "profile") as opened,
    ):
        opened.open("widgets.ipynb")
        opened.run_all()
        opened.page.wait_for_selector(".lab-window-explorer")
        opened.settle()
        yield opened


@pytest.fixture(autouse=True)
def nothing_outside_and_no_error(request) -> Iterator[None]:
    """Looked at after each test, so that it is known which widget it was."""
    page = request.getfixturevalue("on_page")
    yield
    assert page.outside == [], "a request left this computer"
    assert page.errors == [], "the browser complained"


def at_smoke(notebook):
    """The notebook with its profile set to smoke, as the tests run all notebooks."""
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source, found = re.subn(r'^profile = "\w+"', 'profile = "smoke"', cell.source, flags=re.MULTILINE)
    assert found == 1
    notebook.metadata.kernelspec = KERNEL
    return notebook


def drag(on_page: Browser, slider: str, share: float) -> None:
    """Drag a slider's handle to a share of its length, by several moves, as a hand does."""
    page, control = on_page.page, on_page.page.locator(slider)
    own = control.locator("input[type=range]")
    old = own.count() == 0  # of ipywidgets
    handle, track = (control.locator(".noUi-handle"), control.locator(".noUi-base")) if old else (own, own)
    handle.scroll_into_view_if_needed()
    held, box = handle.bounding_box(), track.bounding_box()
    page.mouse.move(held["x"] + held["width"] / 2, held["y"] + held["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2, steps=6)
    page.mouse.up()


def type_into(on_page: Browser, field: str, text: str) -> None:
    target = on_page.page.locator(field)
    target.scroll_into_view_if_needed()
    target.fill(text)
    target.press("Tab")


def text(on_page: Browser, selector: str) -> str:
    return on_page.page.locator(selector).first.inner_text().replace("\xa0", " ")


def count(on_page: Browser, selector: str) -> int:
    return on_page.page.locator(selector).count()


def strip(on_page: Browser, sampler: str):
    """The tokens on the page, prompt and all; of several texts the first."""
    return on_page.page.locator(f"{sampler} .lab-strip").first.locator(".lab-token")


def written(on_page: Browser, sampler: str) -> list[str]:
    return strip(on_page, sampler).all_text_contents()


def another(on_page: Browser, sampler: str, before: list[str]) -> list[str]:
    """What stands there once the model has written something else, and has stopped."""
    stopped = f"{sampler} .lab-stop:disabled"
    assert on_page.until(lambda: written(on_page, sampler) != before and count(on_page, stopped) > 0)
    on_page.settle()
    return written(on_page, sampler)


def play_with_sampler(on_page: Browser, sampler: str, prompt: str) -> None:
    """Drag temperature, type a prompt, Generate, and see the text change; choose another token and go on from it."""
    page, bars = on_page.page, f"{sampler} .lab-next-token"
    drag(on_page, f"{sampler} .lab-length", 0.06)
    before = text(on_page, bars)
    drag(on_page, f"{sampler} .lab-temperature", 0.9)
    assert 1.6 < float(text(on_page, f"{sampler} .lab-temperature output")) < 2.0
    assert on_page.until(lambda: text(on_page, bars) != before)
    page.locator(f"{sampler} .lab-generate").click()
    first = another(on_page, sampler, written(on_page, sampler))
    assert len(first) > 3
    type_into(on_page, f"{sampler} .lab-prompt input", prompt)
    page.locator(f"{sampler} .lab-generate").press("Enter")
    second = another(on_page, sampler, first)
    assert "".join(second).startswith(prompt) and len(second) > 4
    place = len(second) - 2
    strip(on_page, sampler).nth(place).click()
    assert on_page.until(lambda: "Token" in text(on_page, bars))
    assert count(on_page, f"{sampler} .lab-take") > 3
    page.locator(f"{sampler} .lab-take").nth(1).click()
    third = another(on_page, sampler, second)
    assert third[:place] == second[:place] and third[place] != second[place]


def test_the_sampler(on_page):
    sampler, page = ".lab-sampler", on_page.page
    play_with_sampler(on_page, sampler, "and the")
    # Without a mouse: the slider finds a token, and its alternatives are buttons.
    page.locator(f"{sampler} .lab-control.lab-token input").press("Home")
    page.locator(f"{sampler} .lab-control.lab-token input").press("ArrowRight")
    assert on_page.until(lambda: "Token 1:" in text(on_page, f"{sampler} .lab-next-token"))
    page.locator(f"{sampler} .lab-attention select").select_option("mean of all heads")
    assert on_page.until(lambda: count(on_page, f"{sampler} .lab-looked") > 0)
    on_page.picture("sampler_attention", sampler)
    page.locator(f"{sampler} .lab-attention select").select_option("off")
    assert on_page.until(lambda: count(on_page, f"{sampler} .lab-looked") == 0)
    before = written(on_page, sampler)
    page.locator(f"{sampler} .lab-take").first.press("Enter")
    assert another(on_page, sampler, before)
    page.locator(f"{sampler} .lab-copy").click()
    assert page.evaluate("document.activeElement.classList.contains('lab-copy')")
    on_page.picture("sampler", sampler)


def test_stop_and_continue(on_page):
    sampler, page = ".lab-sampler", on_page.page
    before = written(on_page, sampler)
    page.locator(f"{sampler} .lab-strategy select").select_option("greedy")  # which does not end by chance
    page.locator(f"{sampler} .lab-filters input").check()
    drag(on_page, f"{sampler} .lab-length", 1.0)
    page.locator(f"{sampler} .lab-generate").click()
    assert on_page.until(lambda: before != written(on_page, sampler) and strip(on_page, sampler).count() > 3)
    page.locator(f"{sampler} .lab-stop").click()
    stopped = another(on_page, sampler, before)
    assert 3 < len(stopped) < 400
    drag(on_page, f"{sampler} .lab-length", 0.02)
    page.locator(f"{sampler} .lab-filters input").uncheck()
    page.locator(f"{sampler} .lab-continue").click()
    more = another(on_page, sampler, stopped)
    assert len(more) > len(stopped) and more[: len(stopped)] == stopped


def test_the_beam_viewer(on_page):
    page, nodes = on_page.page, ".lab-beam-viewer .lab-tree .lab-node"
    at_end = count(on_page, nodes)
    page.locator(".lab-beam-viewer .lab-step input").press("Home")
    assert on_page.until(lambda: count(on_page, nodes) == 0)
    page.locator(".lab-beam-viewer .lab-step input").press("End")
    type_into(on_page, ".lab-beam-viewer .lab-prompt input", "and")
    drag(on_page, ".lab-beam-viewer .lab-beams", 0.8)
    assert on_page.until(lambda: count(on_page, nodes) > at_end)
    page.locator(nodes).first.focus()
    assert "log-probability" in text(on_page, ".lab-beam-viewer .lab-pointed")
    on_page.picture("beam_viewer", ".lab-beam-viewer")


def test_the_tokenizer_playground(on_page):
    view = ".lab-tokenizer-playground .lab-view"
    type_into(on_page, ".lab-tokenizer-playground textarea", "form & <b> Q")
    assert on_page.until(lambda: "form & <b> " in text(on_page, view))
    shown = text(on_page, view)
    assert "12 tokens" in shown and "1 unknown" in shown
    on_page.page.locator(".lab-tokenizer-playground .lab-ids input").press("Space")
    assert on_page.until(lambda: text(on_page, view) != shown)
    on_page.picture("tokenizer_playground", ".lab-tokenizer-playground")


def test_the_mask_explorer(on_page):
    explorer, may, told = ".lab-mask-explorer", ".lab-mask-explorer td.may", ".lab-mask-explorer [role=alert]"
    assert count(on_page, may) == 19, "causal, and 4, 3 and 2 apart"
    on_page.page.locator(f"{explorer} .lab-documents input").click()
    assert on_page.until(lambda: count(on_page, may) == 55)
    on_page.page.locator(f"{explorer} .lab-causal input").press("Space")
    assert on_page.until(lambda: count(on_page, may) == 100)
    type_into(on_page, f"{explorer} .lab-lengths input", "two")
    assert on_page.until(lambda: "whole numbers" in text(on_page, told))
    on_page.picture("mask_explorer_problem", explorer)
    type_into(on_page, f"{explorer} .lab-lengths input", "5, 3")
    on_page.page.locator(f"{explorer} .lab-documents input").click()
    assert on_page.until(lambda: count(on_page, may) == 21)
    on_page.picture("mask_explorer", explorer)


def test_the_attention_explorer(on_page):
    page, explorer = on_page.page, ".lab-attention-explorer"
    type_into(on_page, f"{explorer} .lab-sentence input", "the heaven")
    assert on_page.until(lambda: count(on_page, f"{explorer} g.lab-query") == 11)
    drag(on_page, f"{explorer} .lab-layer", 1.0)
    assert on_page.until(lambda: "Layer 1" in text(on_page, f"{explorer} [role=status]"))
    page.locator(f"{explorer} g.lab-query").nth(3).click()
    assert on_page.until(lambda: "(token 3)" in text(on_page, f"{explorer} [role=status]"))
    on_page.picture("attention_explorer", explorer)


def test_the_runs_explorer(on_page):
    page, explorer = on_page.page, ".lab-runs-explorer"
    assert count(on_page, f"{explorer} .lab-keys li") == 2
    page.locator(f"{explorer} .lab-models input").first.press("Space")
    assert on_page.until(lambda: count(on_page, f"{explorer} .lab-keys li") == 1)
    page.locator(f"{explorer} .lab-x select").select_option("seconds of training")
    assert on_page.until(lambda: "seconds of training" in text(on_page, f"{explorer} .lab-curves"))
    page.locator(f"{explorer} .lab-models input").first.press("Space")
    page.locator(f"{explorer} .lab-generate").click()
    assert on_page.until(lambda: count(on_page, f"{explorer} .lab-card") == 2)
    on_page.settle()
    on_page.picture("runs_explorer", explorer)


def test_the_step_time_explorer(on_page):
    explorer = ".lab-step-time-explorer"
    before = text(on_page, f"{explorer} [role=status]")
    drag(on_page, f"{explorer} .lab-batch", 1.0)
    assert "batch 1024 (measured: 1 to 64)" in text(on_page, f"{explorer} [role=status]") != before
    on_page.page.locator(f"{explorer} .lab-device select").select_option("another")
    assert on_page.until(lambda: text(on_page, f"{explorer} .lab-heading").startswith("another"))
    on_page.picture("step_time_explorer", explorer)


def test_the_denoising_viewer(on_page):
    page, viewer = on_page.page, ".lab-denoising-viewer"
    said = f"{viewer} [role=status]"
    at_end = text(on_page, said)
    page.locator(f"{viewer} .lab-stage input").press("Home")
    assert on_page.until(lambda: text(on_page, said) != at_end)
    page.locator(f"{viewer} .lab-temperature input").press("End")
    type_into(on_page, f"{viewer} .lab-text input", "form _ and *")
    page.locator(f"{viewer} .lab-write").click()
    assert on_page.until(lambda: "t = 0.00: form" in text(on_page, said))
    # The styles of all widgets are on this page.
    gap = page.locator(f"{viewer} .lab-grids").evaluate("e => getComputedStyle(e).columnGap")
    given = page.locator(f"{viewer} .lab-known").first.evaluate("e => getComputedStyle(e).backgroundColor")
    assert (gap, given) == ("9px", "rgba(0, 0, 0, 0)")
    on_page.settle()
    on_page.picture("denoising_viewer", viewer)


def test_the_speech_explorer(on_page):
    page, explorer = on_page.page, ".lab-speech-explorer"

    def sound() -> str:
        return page.locator(f"{explorer} audio").get_attribute("src")

    first = sound()
    type_into(on_page, f"{explorer} .lab-sentence input", "seven")
    page.locator(f"{explorer} .lab-speak").click()
    assert on_page.until(lambda: sound() != first and "seven" in text(on_page, f"{explorer} dl"))
    on_page.picture("speech_explorer", explorer)
    with page.expect_file_chooser() as chooser:
        page.locator(f"{explorer} .lab-load").click()
    tone = wav_bytes(Audio(torch.sin(torch.arange(16_000) * 0.3) * 0.5, 16_000))
    chooser.value.set_files({"name": "tone.wav", "mimeType": "audio/wav", "buffer": tone})
    assert on_page.until(lambda: "seven" not in text(on_page, f"{explorer} dl"))


def test_keys_pressed_in_a_widget_are_no_commands_of_the_notebook(on_page):
    page, cells = on_page.page, count(on_page, ".jp-Cell")
    first, second = (page.locator(".lab-grid-editor .lab-cell").nth(n) for n in (0, 5))
    first.press("ArrowDown")
    assert second.evaluate("cell => cell === document.activeElement"), "a row of 5 further down"
    for key in ("b", "a", "d", "d"):  # new cells, and one that is deleted
        second.press(key)
    page.locator(".lab-speech-explorer select").press("ArrowDown")
    on_page.settle()
    assert count(on_page, ".jp-Cell") == cells


def test_the_other_widgets(on_page):
    page = on_page.page
    cell = page.locator(".lab-grid-editor .lab-cell").first
    before = cell.inner_text()
    cell.press("Enter")
    assert on_page.until(lambda: cell.inner_text() != before)
    on_page.picture("grid_editor", ".lab-grid-editor")
    holes = ".lab-fill-in .lab-away"
    assert count(on_page, holes) == 2
    page.locator(".lab-fill-in .lab-character").first.click()
    assert on_page.until(lambda: "of 3 right" in text(on_page, ".lab-fill-in [role=status]"))
    page.locator(".lab-fill-in .lab-hide").press("Enter")
    assert on_page.until(lambda: count(on_page, holes) == 5)
    on_page.picture("fill_in", ".lab-fill-in")
    merged = count(on_page, ".lab-merge-stepper .lab-token")
    page.locator(".lab-merge-stepper .lab-step input").press("End")
    assert on_page.until(lambda: 0 < count(on_page, ".lab-merge-stepper .lab-token") < merged)
    on_page.picture("merge_stepper", ".lab-merge-stepper")
    window = text(on_page, ".lab-window-explorer .lab-status")
    page.locator(".lab-window-explorer .lab-policy select").select_option("continuous")
    assert on_page.until(lambda: text(on_page, ".lab-window-explorer .lab-status") != window)
    on_page.picture("window_explorer", ".lab-window-explorer")


@pytest.mark.skipif(not DECODING.is_file(), reason="there is no notebook 09")
def test_the_sampler_of_notebook_09(on_page):
    on_page.open(DECODING.name)
    on_page.run_all(seconds=300)
    on_page.page.wait_for_selector(".lab-sampler .lab-generate", timeout=60_000)
    on_page.settle()
    play_with_sampler(on_page, ".lab-sampler", "And the ")
    on_page.picture("notebook_09_sampler", ".lab-sampler")
