"""Any words stand in any figure, and any numbers: as they are, in fonts that have them, without a flood of warnings."""

import io
import logging
import math
from xml.etree import ElementTree

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from widget_toys import planted, tiny

from lab.bench import STEP_PARTS, Operation, Row, StepTimes, Timing
from lab.chars import CharEncoder, CharEncoderConfig
from lab.data.batch import IGNORE
from lab.diffusion import Codebook
from lab.nn.transformer import TransformerConfig
from lab.show import attention, bench, grids, lettering, plots, token_grids, tokens, widgets
from lab.show.clusters import advance, escaped, fitted, legible, one_line, parts, shortened
from lab.show.diagrams import render, sketch
from lab.text import CharTokenizer

pytestmark = pytest.mark.filterwarnings("error")

FAMILY, PERSIAN = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "می\u200cخواهم"
NASTY = (
    f"Zq$_x$ $$ \\ %{{}}{{0}} <b onclick='x'>&\" \n\t\0\x1b[31m\ud800 中文 ไทย हिन्दी {FAMILY} {PERSIAN} שלום"
)
TEXTS = (
    "$",
    "$$",
    r"$\frac{$",
    "\\",
    "%",
    "{0}",
    "_x",
    "",
    "\n" * 90,
    "\0\x1b[31m\ud800\ufffe",
    "x" * 5000,
    "中文" * 900,
)


def drawn(made: Figure, form: str = "png") -> list[str]:
    """Draw a figure; returns all its words."""
    data = io.BytesIO()
    made.savefig(data, format=form, dpi=40)
    if form == "svg":
        ElementTree.fromstring(data.getvalue())
    return [text.get_text() for text in made.findobj(Text)]


def a_curve(words: str) -> Figure:
    made, ax = plots.figure(words, words, words)
    ax.plot([1, 2], [1, 2], label=words)
    ax.set_xticks([1, 2], [words, "b"])
    plots.levels(ax, {words: 1.5})
    plots.legend(ax)
    return made


def panels(words: str) -> Figure:
    made, (left, right) = plots.figure(words, words, words, panels=2)
    left.set_title(words)
    left.annotate(words, (0.5, 0.5))
    right.barh([words, "b"], [1, 2])
    return made


def live(words: str) -> Figure:
    curve = plots.LiveCurve(words, words, words, {words: 1.0})
    curve.add(1, 2.0)
    return curve.figure()


SHARES = torch.full((2, 3, 3), 1 / 3)
WINDOW = (torch.tensor([1, 2, 0]), torch.tensor([2, 1, IGNORE]))
PARTS = [Row({"batch": 8, "part": part}, (0.1, 0.2)) for part in STEP_PARTS]
TIMES = StepTimes.fit(planted())
DRAWN = {
    "curve": a_curve,
    "panels": panels,
    "live": live,
    "masks": lambda w: grids.masks_figure({w: torch.ones(2, 2)}, w, [w, w]),
    "windows": lambda w: grids.windows_figure({w: [WINDOW]}, ["", w, w], w),
    "heads": lambda w: attention.heads_figure([SHARES], [w, "a", w], w),
    "tokens": lambda w: tokens.tokens_figure({w: tokens.in_turn([w, "a"])}, w),
    "cost": lambda w: bench.cost({w: [Row({"batch": 2**n}, (n + 1, n + 2)) for n in range(3)]}, {}, title=w),
    "roofline": lambda w: bench.roofline({w: (Operation(w, w, 9, 9, 3), Timing((1.0,)))}, 9, 9, title=w),
    "parts": lambda w: bench.step_parts({w: PARTS}, title=w),
    "predicted": lambda w: bench.predicted({w: TIMES.rows}, {w: TIMES.law}, title=w),
}


@pytest.mark.parametrize("name", DRAWN)
def test_any_words_stand_in_a_figure_as_they_are(name):
    assert any("Zq$_x$" in words for words in drawn(DRAWN[name](NASTY)))


@pytest.mark.parametrize("words", TEXTS, ids=lambda words: ascii(words[:9]))
def test_no_text_spoils_a_figure(words):
    said = drawn(a_curve(words), "svg")
    begin = legible(words)[:5].replace("\n", "")
    assert sum(begin in label for label in said) >= 5  # title, axes, tick, legend
    assert max(map(len, said)) < 700


def test_who_begins_with_an_underscore_stands_in_the_legend_and_powers_of_ten_are_set_as_ever():
    made, ax = plots.figure("t", "x", "y")
    ax.plot([1, 1000], [1, 1e6], label="_run")
    ax.plot([1, 1000], [2, 1e5])  # which has no name
    ax.set_yscale("log")
    plots.legend(ax)
    drawn(made)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["_run"]
    assert any("mathdefault" in label.get_text() and label.get_parse_math() for label in ax.get_yticklabels())


def test_ticks_may_be_labelled_with_numbers():
    made, ax = plots.figure("t", "x", "y")
    ax.set_xticks([0, 1], [3, 5.5])
    assert {"3", "5.5"} <= set(drawn(made))


def test_letters_are_counted_cut_and_shown_as_a_reader_sees_them():
    assert [advance(text) for text in ("word", "中文", "e\u0301", FAMILY, "")] == [4, 4, 1, 2, 0]
    assert legible(f"{FAMILY}{PERSIAN}") == f"{FAMILY}{PERSIAN}"
    assert legible("\u200d \u200d\u202e\ud800\x1b") == r"\u200d \u200d\u202e\ud800\x1b"
    assert legible("1\xa02") == r"1\xa02" and fitted("1\xa02", 9) == escaped("1\xa02") == "1\xa02"
    assert parts(FAMILY * 3, 4) == [FAMILY * 2, FAMILY]
    assert shortened("e\u0301" * 9, 4) == "e\u0301" * 3 + "…"
    assert one_line(" a\n") == "␣a⏎"
    assert fitted("one two three four", 9, 2) == "one two\nthree…"


def test_fonts_of_the_machine_are_asked_once_and_what_none_has_is_noted_in_a_line(monkeypatch, caplog):
    asked, serif = [], [font for font in lettering.fontManager.ttflist if font.name == "DejaVu Serif"]
    monkeypatch.setattr(lettering, "_FAMILIES", {})
    monkeypatch.setattr(lettering, "_fonts", lambda: asked.append(1) or iter(serif))
    made, _ = plots.figure("\U0001d5a0 \u2e80", "x", "y")  # no font of this list has the second
    with caplog.at_level(logging.WARNING):
        first, second = drawn(made), drawn(made)
    notes = [words for words in first if "U+2E80" in words]
    assert len(notes) == 1 and "\n" not in notes[0] and first == second
    assert len(asked) == 1 and not caplog.records
    made, _ = plots.figure("plain", "x", "y")
    assert not any("font" in words for words in drawn(made)) and len(asked) == 1


NAN, INF = math.nan, math.inf
A_ROW, BY_ONE = Row({"batch": 1}, (0.1,)), Operation("x", "x", 9, 9, 3)


def curve_of(values: list[float]) -> Figure:
    curve = plots.LiveCurve("t", "x", "y", {"level": 1e30}, window=3)
    for step, value in enumerate(values):
        curve.add(step, value)
        curve.mark(step, value)
    made = curve.figure()
    bench.on_log_scales(made.axes[0])
    return made


@pytest.mark.parametrize(
    "values",
    [[], [1.0], [NAN, NAN], [1.0, NAN, INF, 2.0], [INF, -INF], [0.0, 0.0], [-1.0, -2.0], [1e300, 1e307]],
)
def test_a_curve_of_odd_numbers_is_drawn_and_what_is_none_is_counted(values):
    lost = sum(not abs(value) < 1e300 for value in values)
    assert any(f"{lost} are no numbers" in words for words in drawn(curve_of(values))) == bool(lost)


REFUSED = {
    "cost": (lambda: bench.cost({"a": []}, {}), "nothing was measured on a"),
    "no time": (lambda: bench.cost({"a": [Row({"batch": 1}, (0.0,))]}, {}), "0.0"),
    "parts": (lambda: bench.step_parts({}), "nothing was measured"),
    "predicted": (lambda: bench.predicted({}, {}), "nothing was measured"),
    "roofline": (lambda: bench.roofline({"a": (BY_ONE, Timing((0.0,)))}, 9, 9), "above 0"),
    "masks": (lambda: grids.masks_figure({}, "t"), "no masks"),
    "mask": (lambda: grids.masks_figure({"a": torch.ones(2, 3, 3)}, "t"), r"\(2, 3, 3\)"),
    "windows": (lambda: grids.windows_figure({"a": []}, [], "t"), "no windows"),
    "heads": (lambda: attention.heads_figure([SHARES * NAN], "abc", "t"), "nan"),
    "lines": (lambda: token_grids.lines_svg([], Codebook.linear(9)), "nothing to draw"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_drawn_is_said_in_a_sentence(name):
    draw, named = REFUSED[name]
    with pytest.raises(ValueError, match=named):
        draw()


def test_the_smallest_that_can_be_drawn_is_drawn():
    drawn(bench.cost({"a": [A_ROW], "b": []}, {}))
    drawn(grids.masks_figure({"a": torch.ones(1, 1)}, "t", ["a"]))
    drawn(attention.heads_figure([torch.ones(1, 1, 1)], ["a"], "t"))
    drawn(tokens.tokens_figure({"a": []}, ""))


@pytest.mark.parametrize("words", [NASTY, "x" * 5000, "", FAMILY], ids=["nasty", "long", "none", "family"])
def test_pages_and_diagrams_show_any_words_and_take_none_for_markup(words):
    grid = Codebook.linear(9).encode(torch.tensor([1]))
    line = token_grids.TokenLine(grid, [words], words)
    pages = [
        token_grids.lines_svg([line], Codebook.linear(9), title=words),
        sketch.draw(f'digraph {{ a [class=data label="{render.quoted(words)}"] }}', words),
    ]
    for page in pages:
        tree = ElementTree.fromstring(page)  # so all of it is well formed
        assert not any("onclick" in element.attrib for element in tree.iter())
        assert words[:2] in "".join(tree.itertext())


def test_one_panel_too_keeps_its_name_apart_from_the_title():
    for made in (DRAWN["masks"]("one"), DRAWN["windows"]("one")):
        assert made.get_suptitle() == "one" and not made.axes[0].get_title("left")
        assert made.axes[0].get_title().startswith("one:")


@pytest.mark.parametrize(
    "text", ["a", "天地玄黄", FAMILY, PERSIAN, "$x$ <b onclick='x'>\\ {}\0", "   "], ids=ascii
)
def test_widgets_run_on_any_text_and_on_an_empty_prompt(text):
    known = CharTokenizer.train([text])
    writer, encoder = (
        tiny(known.vocab_size),
        CharEncoder(CharEncoderConfig(TransformerConfig(known.vocab_size, 32))),
    )
    for prompt in (text, ""):
        sampler = widgets.Sampler(writer, known, prompt)
        sampler.length = 3
        sampler.generate()
        shown = (sampler, widgets.BeamViewer(writer, known, prompt, length=2))
        assert all(widget.drawing and not widget.problem for widget in shown)
    assert widgets.FillIn(encoder, known, text).drawing
