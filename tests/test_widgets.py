"""All widgets, without a browser: every control is moved, and what makes no sense is said in place of the picture."""

import asyncio
import html

import pytest
from diffusion_toys import config_of
from widget_toys import (
    drawn_in,
    loud,
    names_of,
    text_of,
    tokenizer,
)

from lab.diffusion import Codebook, Denoiser
from lab.show.tokens import by_probability, in_turn, tokens_figure, tokens_html
from lab.show.widgets import (
    DenoisingViewer,
)
from lab.show.widgets.parts import Debounced, class_name


def denoising_viewer() -> DenoisingViewer:
    book, stack = Codebook.linear(tokenizer.vocab_size), {"context": 24, "width": 16, "feed_forward": 16}
    config = config_of(tokenizer.vocab_size, num_layers=1, num_heads=2, grid=book.grid, **stack)
    return DenoisingViewer(
        loud(Denoiser(config, book)), tokenizer, "the heaven _ the * earth", gap=3, steps=6
    )


# Each widget, what its controls are moved to, and the controls that others of these tests move.
MOVED = [
    (denoising_viewer,
     {"text": "the * was _", "gap": 7, "steps": 3, "method": "confidence", "temperature": 0.1, "seed": 9},
     {"stage", "play"}),
]  # fmt: skip


@pytest.mark.parametrize(("make", "moved", "elsewhere"), MOVED)
def test_every_control_changes_what_is_seen_and_has_a_name(make, moved, elsewhere):
    widget = make()
    names = names_of(widget)
    assert {class_name(name) for name in moved} <= names, "each is found by its name"
    assert names <= {class_name(name) for name in moved.keys() | elsewhere}, "no control was forgotten"
    assert type(widget).__name__ in repr(widget) and class_name(type(widget).__name__) in widget._dom_classes
    for control, value in moved.items():
        widget = make()
        before = widget.view.value
        getattr(widget, control).value = value
        if hasattr(widget, "button"):
            assert widget.view.value == before, "nothing is written before the button is pressed"
            widget.button.click()
        assert widget.view.value != before, control


# A widget, what is typed into one of its controls, what is said, and another control, moved to and fro.
TOLD = [
    (denoising_viewer, "text", "the earth", "there is nothing to write", "stage", 0),
    (denoising_viewer, "text", "the \ud800 _", "surrogate", "stage", 0),
    (denoising_viewer, "gap", 24, "24 fit in the context of the model", "stage", 0),
]


@pytest.mark.parametrize(("make", "control", "bad", "message", "other", "value"), TOLD)
def test_what_makes_no_sense_is_said_in_place_and_can_be_mended(make, control, bad, message, other, value):
    widget = make()
    press = widget.button.click if hasattr(widget, "button") else lambda: None
    good, was, other_was = (
        part.value for part in (widget.view, getattr(widget, control), getattr(widget, other))
    )
    getattr(widget, control).value = bad
    press()
    assert "role='alert'" in widget.view.value and "<svg" not in widget.view.value
    assert message in html.unescape(text_of(widget.view.value))
    getattr(widget, other).value = value
    assert message in html.unescape(text_of(widget.view.value)), "the slider hides no message"
    getattr(widget, other).value = other_was
    getattr(widget, control).value = was
    press()
    assert widget.view.value == good


def test_details_can_be_reached_with_the_keyboard_and_text_is_escaped():
    shown = tokens_html([*by_probability(["x"], [0.25]), *in_turn(["<script>", "\n", "", "a&b"])])
    assert "tabindex='0'" in shown and "p = 0.250" in shown
    assert "<script>" not in shown and "&lt;script&gt;" in shown
    figure = tokens_figure({"row": in_turn(["in ", "the", "$x$"])}, "Title")
    assert drawn_in(figure) == ["Title", "row", "in·", "the", "$x$"]


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
