"""Every control of every widget is moved, without a browser; rendering is a pure function of the state."""

import asyncio

import pytest
import torch
from diffusion_toys import config_of
from test_widgets_step_time import planted
from widget_toys import LINES, characters, controls_of, drawn_in, loud, names_of, text_of, tiny, tokenizer

from lab.diffusion import Codebook, Denoiser
from lab.show.colours import INK, TINTS, surprise_colour
from lab.show.diagrams.palette import contrast
from lab.show.tokens import by_probability, in_turn, tokens_figure, tokens_html
from lab.show.widgets import (
    AttentionExplorer,
    BeamViewer,
    DenoisingViewer,
    MaskExplorer,
    MergeStepper,
    StepTimeExplorer,
    TokenizerPlayground,
    WindowExplorer,
)
from lab.show.widgets.mask_explorer import MaskState, build, document_ids
from lab.show.widgets.mask_explorer import render as render_mask
from lab.show.widgets.parts import Debounced, alert, class_name
from lab.show.widgets.stream import Stream
from lab.text import CharTokenizer


def test_the_stepper_goes_from_bytes_to_tokens():
    stepper = MergeStepper(tokenizer, "the heaven")
    assert "before any merge" in stepper.view.value and "10 tokens" in stepper.view.value
    stepper.slider.value = stepper.slider.max
    final = tokenizer.encode("the heaven")
    assert f"{len(final)} tokens" in stepper.view.value
    assert text_of(stepper.view.value).startswith("the heaven")
    stepper.text.value = "form"
    assert text_of(stepper.view.value).startswith("form")
    assert stepper.slider.value <= stepper.slider.max
    stepper.text.value = "\ud800"
    assert "surrogate" in stepper.view.value
    stepper.slider.value = 0
    assert "surrogate" in stepper.view.value, "the slider hides no message"
    stepper.text.value = ""
    assert "0 tokens" in stepper.view.value


def test_the_playground_shows_every_tokenizer():
    chars = CharTokenizer.train(LINES)
    playground = TokenizerPlayground({"characters": chars, "<BPE>": tokenizer}, "the heaven")
    assert "10 tokens" in playground.view.value and "&lt;BPE&gt;" in playground.view.value
    assert f"{tokenizer.encode('the heaven')[0]}" not in text_of(playground.view.value).split()
    playground.ids.value = True
    assert f"{tokenizer.encode('the heaven')[0]}" in playground.view.value
    playground.text.value = "Q"
    assert "1 unknown" in playground.view.value
    playground.text.value = ""
    assert "0 tokens" in playground.view.value
    assert len(controls_of(playground)) == 2


def test_the_window_explorer_shows_the_window_that_is_asked_for():
    explorer = WindowExplorer(tokenizer.encode_lines(["the heaven", "form"]), tokenizer, context=4)
    assert explorer.policy.value == "slide" and "3 slots of padding" in explorer.view.value
    explorer.index.value = explorer.index.max
    assert "&lt;/s&gt;" in explorer.view.value
    before = explorer.view.value
    explorer.policy.value = "full_only"
    assert explorer.view.value != before and explorer.index.value <= explorer.index.max
    explorer.context.value = 2
    assert explorer.windows.context == 2 and explorer.index.max == len(explorer.windows) - 1
    assert len(controls_of(explorer)) == 3


def denoising_viewer() -> DenoisingViewer:
    book, stack = Codebook.linear(tokenizer.vocab_size), {"context": 24, "width": 16, "feed_forward": 16}
    config = config_of(tokenizer.vocab_size, num_layers=1, num_heads=2, grid=book.grid, **stack)
    painter = loud(Denoiser(config, book))
    return DenoisingViewer(painter, tokenizer, "the heaven _ the * earth", gap=3, steps=6)


def step_time_explorer() -> StepTimeExplorer:
    return StepTimeExplorer({"a fast <device>": planted(), "a slow one": planted(0.01, 5e-10, 5e-9)})


# Each explorer, and what its controls are moved to.
MOVED = {
    MaskExplorer: {"lengths": "2, 2", "T": 12, "documents": False, "sliding": 2, "row": 7},
    lambda: AttentionExplorer(tiny(tokenizer.vocab_size), tokenizer, "the heaven"): {
        "sentence": "the earth", "layer": 1, "head": 1, "mean": True, "query": 0,
    },
    lambda: BeamViewer(tiny(characters.vocab_size), characters, "the ", beams=3, length=5): {
        "prompt": "and ", "beams": 5, "length": 3, "length_penalty": -1.0, "step": 1,
    },
    denoising_viewer: {
        "text": "the * was _", "gap": 7, "steps": 3, "method": "confidence", "temperature": 0.1, "seed": 9,
    },
    step_time_explorer: {"device": "a slow one", "batch": 64, "width": 64, "context": 16},
    lambda: WindowExplorer(tokenizer.encode_lines(LINES), tokenizer): {"policy": "full_only", "context": 3, "index": 1},
    lambda: TokenizerPlayground({"BPE": tokenizer}, "the <b> & Q"): {"text": "form", "ids": True},
    lambda: MergeStepper(tokenizer, "the heaven"): {"text": "form", "slider": 2},
}  # fmt: skip
UNMOVED = {
    "lab-causal",
    "lab-padding",
    "lab-prefix",
    "lab-play",
    "lab-stage",
    "lab-merges",
}  # which have tests of their own


@pytest.mark.parametrize(("explorer", "moved"), MOVED.items())
def test_every_control_changes_what_is_seen_and_has_a_name(explorer, moved):
    widget = explorer()
    assert {class_name(name) for name in moved} == names_of(widget) - UNMOVED, "no control was forgotten"
    assert type(widget).__name__ in repr(widget)
    for control, value in moved.items():
        widget = explorer()
        before = widget.view.value
        getattr(widget, control).value = value
        if hasattr(widget, "button"):
            assert widget.view.value == before, "nothing is written before the button is pressed"
            widget.button.click()
        assert widget.view.value != before, control


@pytest.mark.parametrize(("control", "value"), [("causal", False), ("padding", True), ("prefix", 3)])
def test_causal_padding_and_prefix_show_where_documents_are_not_apart(control, value):
    explorer = MaskExplorer()
    explorer.documents.value = False
    before = explorer.view.value
    getattr(explorer, control).value = value
    assert explorer.view.value != before


def test_the_mask_explorer_builds_what_its_controls_say():
    state = MaskState(lengths=(2, 1), T=4)
    expected = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    assert torch.equal(build(state), expected)
    assert document_ids(state).tolist() == [[0, 0, 1, -1]]
    assert "nothing: it gets zeros" in render_mask(state, 3)
    everything = build(MaskState(lengths=(3,), T=3, causal=False, documents=False))
    assert everything.all()


@pytest.mark.parametrize("typed", ["", "two", "3, -1", "0"])
def test_lengths_that_make_no_sense_are_said_in_place_of_the_mask(typed):
    explorer = MaskExplorer()
    explorer.lengths.value = typed
    assert "whole numbers" in explorer.view.value
    explorer.lengths.value = "20, 20"
    assert "need 40 slots" in explorer.view.value


def test_dark_ink_reads_on_every_token():
    for colour in [*TINTS, *(surprise_colour(p) for p in (0, 1e-9, 0.01, 0.3, 1))]:
        assert contrast(INK, colour) > 4.5
    assert surprise_colour(1.0) == "#dcecf7" and surprise_colour(0.001) == "#f2a65a"


def test_details_can_be_reached_with_the_keyboard_and_text_is_escaped():
    shown = tokens_html([*by_probability(["x"], [0.25]), *in_turn(["<script>", "\n", "", "a&b"])])
    assert "tabindex='0'" in shown and "p = 0.250" in shown
    assert "<script>" not in shown and "&lt;script&gt;" in shown
    figure = tokens_figure({"row": in_turn(["in ", "the", "$x$"])}, "Title")
    assert drawn_in(figure) == ["Title", "row", "in·", "the", "$x$"]


def test_the_still_picture_holds_every_token():
    assert drawn_in(tokens_figure({"row": in_turn(["in ", "the", "$x$"])}, "Title")) == [
        "Title",
        "row",
        "in·",
        "the",
        "$x$",
    ]


def test_a_slider_that_is_dragged_asks_once():
    async def session():
        calls = []
        debounced = Debounced(lambda: calls.append(1), seconds=0.02)
        for _ in range(10):
            debounced()
            await asyncio.sleep(0.002)
        assert calls == []
        await asyncio.sleep(0.05)
        return calls

    assert asyncio.run(session()) == [1]


def test_a_widget_is_found_by_its_name():
    assert "MergeStepper" in repr(MergeStepper(tokenizer, "a"))
    assert {"lab-widget", "lab-mask-explorer"} <= set(MaskExplorer()._dom_classes)
    assert class_name("TokenizerPlayground") == "lab-tokenizer-playground"
    assert "role='alert'" in alert("<b>") and "&lt;b&gt;" in alert("<b>")


def test_work_in_a_stream_goes_on_beside_other_work_and_can_be_stopped():
    async def session():
        seen, closed = [], []

        def work():
            try:
                for n in range(1000):
                    seen.append(n)
                    yield
            finally:
                closed.append(True)

        shown = []
        stream = Stream(shown.append, seconds=0.01)
        stream.start(work())
        assert seen == [], "the click itself returns at once"
        await asyncio.sleep(0.1)
        assert stream.running and True in shown and False not in shown
        stream.stop()
        count = len(seen)
        assert closed == [True] and shown[-1] is False and not stream.running
        await asyncio.sleep(0.03)
        assert 1 < len(seen) == count < 1000
        stream.start(iter([1, 2]))
        await asyncio.sleep(0.1)
        return stream.running, shown[-1]

    assert asyncio.run(session()) == (False, False)
