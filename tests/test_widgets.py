"""All widgets, without a browser: every control is moved, and what makes no sense is said in place of the picture."""

import asyncio
import html

import pytest
from widget_toys import (
    characters,
    drawn_in,
    names_of,
    planted,
    text_of,
    tiny,
    tokenizer,
)

from lab.show.tokens import by_probability, in_turn, tokens_figure, tokens_html
from lab.show.widgets import (
    AttentionExplorer,
    BeamViewer,
    StepTimeExplorer,
)
from lab.show.widgets.parts import Debounced, class_name


def attention_explorer() -> AttentionExplorer:
    return AttentionExplorer(tiny(tokenizer.vocab_size, context=24), tokenizer, "the heaven")


# Each widget, what its controls are moved to, and the controls that others of these tests move.
MOVED = [
    (attention_explorer, {"sentence": "the earth", "layer": 1, "head": 1, "mean": True, "query": 0}, set()),
    (lambda: BeamViewer(tiny(characters.vocab_size), characters, "the ", beams=3, length=5),
     {"prompt": "and ", "beams": 5, "length": 3, "length_penalty": -1.0, "step": 1}, {"play"}),
    (lambda: StepTimeExplorer({"a fast <device>": planted(), "a slow one": planted(0.01, 5e-10, 5e-9)}),
     {"device": "a slow one", "batch": 64, "width": 64, "context": 16}, set()),
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
    (attention_explorer, "sentence", "", "type a sentence", "layer", 1),
    (attention_explorer, "sentence", "qx" * 20, "41 tokens with <s>, but 24 fit in the context", "layer", 1),
    (attention_explorer, "sentence", "\ud800", "surrogate", "layer", 1),
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
