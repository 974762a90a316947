"""Denoising viewer, grid editor, fill-in and speech explorer on a plain page: what a person does with them is seen."""

import re

import pytest
import torch
from plain_page import HOSTILE, NAMES, NASTY, PlainPage, plain_page
from test_widgets_denoising import TEXT, small
from test_widgets_speech import RATE, small_recogniser
from widget_toys import LINES, loud, tokenizer

from lab.chars import CharEncoder, CharEncoderConfig
from lab.diffusion import Codebook
from lab.nn import TransformerConfig
from lab.notebooks.stills import HOW, find_chromium
from lab.show.diagrams.palette import contrast
from lab.show.widgets import DenoisingViewer, FillIn, GridEditor, SpeechExplorer
from lab.speech import espeak
from lab.speech.audio import Audio, wav_bytes
from lab.speech.text import character_alphabet
from lab.speech.whistle import whistle
from lab.text import BPETokenizer, CharTokenizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason=HOW),
    pytest.mark.filterwarnings("ignore:the tokenizer has"),
]


@pytest.fixture(scope="module")
def browser():
    with plain_page() as opened:
        yield opened


@pytest.fixture
def page(browser) -> PlainPage:
    yield browser
    errors, browser.errors[:] = list(browser.errors), []
    assert errors == []


def fits(page: PlainPage) -> bool:
    return page.too_wide() == [] and page.unlabelled() == [] and page.find("img[src=x]").count() == 0


def test_the_denoising_viewer_by_keyboard_alone(page):
    viewer = DenoisingViewer(small(), tokenizer, TEXT, gap=3, steps=6)
    page.show(viewer, 400)
    words = page.find(".lab-reads")
    assert words.all_text_contents() == viewer.drawing["stages"][6]["words"]
    page.find(".lab-stage input").press("Home")
    assert words.all_text_contents() == viewer.drawing["stages"][0]["words"]
    assert page.find(".lab-cell-blank").count() == 4 and "at the start" in page.text("[role=status]")
    assert page.until(lambda: viewer.stage == 0)
    page.find(".lab-play").press("Enter")
    assert page.until(lambda: page.text(".lab-stage output") == "6 of 6")
    page.find(".lab-text input").fill(f"{HOSTILE} _")
    page.find(".lab-write").press("Enter")
    assert page.until(lambda: "24 fit in the context" in page.text("[role=alert]"))
    assert words.all_text_contents() == viewer.drawing["stages"][6]["words"], "the old line stays"
    page.find(".lab-gap input").fill("5")
    page.find(".lab-steps input").press("ArrowRight")
    page.find(".lab-method select").select_option("confidence")
    page.find(".lab-temperature input").press("Home")
    page.find(".lab-seed input").fill("8")
    page.find(".lab-text input").fill("<b> *")
    page.find(".lab-write").press("Enter")
    assert page.until(lambda: page.find(".lab-reads").count() == viewer.drawing["given"].__len__() == 10)
    assert (viewer.gap, viewer.steps, viewer.method, viewer.temperature, viewer.seed) == (
        5, 7, "confidence", 0, 8,
    )  # fmt: skip
    assert page.find("[role=alert]").is_hidden() and page.text("[role=status]").count("<b>") == 1
    assert fits(page) and not page.find(".lab-write").is_disabled()


@pytest.mark.parametrize("text", NASTY, ids=NAMES)
def test_the_denoising_viewer_takes_any_text(page, text):
    known = BPETokenizer.train([*LINES, text or "a"], vocab_size=280)
    viewer = DenoisingViewer(small(), known, f"{text[:6]} _", steps=2)
    page.show(viewer, 400, dark=True)
    assert page.find(".lab-reads").count() == len(viewer.drawing["given"])
    assert fits(page)


def test_the_grid_editor_by_mouse_and_by_keyboard(page):
    book = Codebook.linear(tokenizer.vocab_size)
    editor = GridEditor(book, tokenizer, " the", seed=1)
    page.show(editor, 400)
    cells, keys = page.find(".lab-cell"), page.page.keyboard
    start, seen = editor.painted[7], []
    for _ in range(4):
        cells.nth(7).click()
        seen.append(cells.nth(7).inner_text())
    assert seen == [str(c) if c < 3 else "·" for c in ((start + k) % 4 for k in (1, 2, 3, 4))]
    keys.press("ArrowUp")  # from the cell that was clicked
    keys.press("ArrowRight")
    keys.press("Delete")
    assert cells.nth(3).get_attribute("aria-label") == "row 1, column 4: blank"
    keys.press("ArrowLeft")
    other = (editor.painted[2] + 1) % 3
    for key in (str(other), "9"):  # there is no ninth colour
        keys.press(key)
        assert cells.nth(2).inner_text() == str(other)
    assert page.until(lambda: (editor.painted[2], editor.painted[3], editor.painted[7]) == (other, 3, start))
    keys.press("Tab")
    assert page.page.evaluate("document.activeElement.closest('.lab-word') !== null"), (
        "the grid is one stop of Tab"
    )
    for bad in (HOSTILE, "שלום", "天地玄黄", "x" * 500, ""):
        page.find(".lab-word input").fill(bad)
        page.find(".lab-load").press("Enter")
        assert page.until(lambda bad=bad: page.find("[role=alert]").is_visible() and editor.word == bad)
        assert fits(page)
    page.find(".lab-word input").fill("heaven")
    keys.press("Enter")
    assert page.until(lambda: "Nearest word: “␣heaven”" in page.text("[role=status]"))
    assert page.find("[role=alert]").is_hidden()
    page.find(".lab-count input").press("End")
    page.find(".lab-erase").click()
    assert page.until(lambda: "Every cell is blank" in page.text("[role=status]"))
    page.find(".lab-recolour").press("Enter")
    assert page.until(lambda: page.find(".lab-cell.lab-cell-blank").count() == 0)


@pytest.mark.parametrize("dark", [False, True])
def test_the_number_on_a_cell_can_be_read_on_its_colour(page, dark):
    book = Codebook.random(tokenizer.vocab_size, num_colours=8)
    editor = GridEditor(book, tokenizer)
    editor.paint([i % 9 for i in range(25)])
    page.show(editor, dark=dark)
    look = page.find(".lab-cell").evaluate_all(
        "all => all.map(e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor])"
    )
    in_hex = lambda rgb: "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", rgb)[:3])  # noqa: E731
    assert len({back for _, back in look}) == 9
    assert all(contrast(in_hex(ink), in_hex(back)) > 4.5 for ink, back in look)


def fill_in(line: str, **settings) -> FillIn:
    known = CharTokenizer.train([*LINES, line])
    torch.manual_seed(0)
    stack = TransformerConfig(known.vocab_size, context=64, width=16, num_heads=2, feed_forward=32)
    return FillIn(loud(CharEncoder(CharEncoderConfig(stack))).eval(), known, line, **settings)


def test_the_fill_in_by_mouse_and_by_keyboard(page):
    widget = fill_in("the <b> heaven, & the earth.", hide=(4, 20))
    page.show(widget, 400)
    characters, keys = page.find(".lab-character"), page.page.keyboard
    pressed, details = page.find(".lab-character[aria-pressed=true]"), ".lab-details"
    assert (characters.count(), pressed.count()) == (28, 2)
    characters.nth(0).click()
    assert page.until(lambda: widget.hidden == [0, 4, 20] and "of 3 right" in page.text("[role=status]"))
    keys.press("ArrowRight")
    keys.press("Space")
    assert page.until(lambda: widget.hidden == [0, 1, 4, 20] and "Character 2: “" in page.text(details))
    assert page.text(details).count("%") == 5, "the guess and the others"
    keys.press("Space")
    assert page.until(lambda: widget.hidden == [0, 4, 20] and "press to hide" in page.text(details))
    characters.nth(4).hover()
    assert page.text(details).startswith("Character 5") and characters.nth(4).inner_text().startswith("<")
    page.find(".lab-show").press("Enter")
    assert page.until(lambda: widget.hidden == [] and "Choose characters" in page.text("[role=status]"))
    assert page.text(details) == "Character 5: press to hide it.", "of what was pointed at last"
    page.find(".lab-hide").press("Enter")
    assert page.until(lambda: pressed.count() == len(widget.hidden) == 6)
    page.find(".lab-removed select").select_option("spaces")
    assert page.until(lambda: "the<b>heaven,&theearth." in page.text(".lab-restored"))
    assert page.find(".lab-restored .lab-guess").count() == sum(
        p is not None for _, p in widget.drawing["restored"]
    )
    page.find(".lab-line input").fill("the earth")
    assert page.until(lambda: characters.count() == 9)
    page.find(".lab-line input").fill("the earth " * 9)
    assert page.until(lambda: "1 to 62 characters" in page.text("[role=alert]"))
    assert characters.count() == 9 and fits(page)


@pytest.mark.parametrize("text", NASTY, ids=NAMES)
def test_the_fill_in_takes_any_text(page, text):
    widget = fill_in(text, hide=(0, 2))
    page.show(widget, 400, dark=True)
    there = 0 < len(text) <= 62
    assert page.find(".lab-character").count() == (len(text) if there else 0)
    assert page.find("[role=alert]").is_hidden() == there and fits(page)
    page.find(".lab-line input").fill("the earth")
    assert page.until(lambda: page.find(".lab-character").count() == 9)


def test_the_speech_explorer(page, monkeypatch):
    monkeypatch.setattr(espeak, "available", lambda: False)
    widget = SpeechExplorer(small_recogniser(), character_alphabet(), "one")
    page.show(widget, 400)
    sound = lambda: page.find("audio").get_attribute("src")  # noqa: E731
    alert, said = page.find("[role=alert]"), lambda: page.text("dl")

    def load(name: str, content: bytes) -> None:
        with page.page.expect_file_chooser() as chooser:
            page.find(".lab-load").press("Enter")
        chooser.value.set_files({"name": name, "mimeType": "audio/wav", "buffer": content})

    assert sound() == widget.drawing["sound"] and page.find(".lab-letter").count() == len(
        widget.found.letters
    )
    length = page.page.evaluate(
        "async () => { const a = document.querySelector('audio'); a.load();"
        " await new Promise((done) => (a.onloadedmetadata = done)); return a.duration; }"
    )
    assert length == pytest.approx(widget.audio.seconds, rel=0.01), "the browser can play it"
    natural = page.find(".lab-heard img").evaluate("i => [i.naturalWidth, i.naturalHeight]")
    assert natural == list(widget.found.features.shape)
    first = sound()
    page.find(".lab-sentence input").fill("two three")
    page.page.keyboard.press("Enter")
    assert page.until(lambda: sound() != first and "two three" in said())
    second = sound()
    page.find(".lab-voice select").select_option(index=2)
    page.find(".lab-speak").press("Enter")
    assert page.until(lambda: sound() != second)
    for sentence in (HOSTILE, "שלום", "天地玄黄", "x" * 999, ""):
        page.find(".lab-sentence input").fill(sentence)
        page.find(".lab-speak").press("Enter")
        assert page.until(lambda sentence=sentence: alert.is_visible() and widget.sentence == sentence)
        assert fits(page)
    load("song.wav", wav_bytes(whistle("four", 1, RATE)))
    assert page.until(lambda: alert.is_hidden() and "two three" not in said())
    for content in (b"no sound", b"", wav_bytes(Audio(torch.zeros(9000), 9000))):
        load(f"{HOSTILE[:-1].replace('/', '')}.wav", content)
        assert page.until(alert.is_visible)
        load("song.wav", wav_bytes(whistle("four", 1, RATE)))
        assert page.until(alert.is_hidden)
    load("long.wav", bytes(7_000_000))
    assert page.until(lambda: "7.0 MB" in alert.inner_text()) and fits(page)
