"""Watch BPE build its tokens: a slider over the merges recolours the text."""

from collections.abc import Sequence
from typing import NamedTuple

import ipywidgets as widgets

from lab.show.tokens import in_turn, tokens_html
from lab.show.widgets.parts import Explorer, wide


class MergeStep(NamedTuple):
    """The text after the first `merges` merges; 0 is before any."""

    merges: int
    ids: list[int]


def merge_steps(tokenizer, text: str) -> list[MergeStep]:
    """Every state of `text` that some merge changed, from single bytes to the final tokens."""
    return [MergeStep(*step) for step in tokenizer.steps(text)]


def told(tokenizer, step: MergeStep, number: int, total: int) -> str:
    """Which merge made this state."""
    if step.merges == 0:
        what = "before any merge, one token a byte"
    else:
        left, right = tokenizer.tokens(tokenizer.merges[step.merges - 1])
        what = f"merge {step.merges} of {len(tokenizer.merges)} joins “{left}” and “{right}”"
    return f"step {number} of {total}: {what}; {len(step.ids)} tokens"


class MergeStepper(Explorer):
    """A text box and a slider over the merges that change it.

    >>> MergeStepper(tokenizer, "In the beginning God created the heaven and the earth.")  # doctest: +SKIP
    """

    def __init__(self, tokenizer, text: str):
        self.tokenizer = tokenizer
        self.text = widgets.Text(text, description="text", layout=wide())
        self.slider = widgets.IntSlider(0, min=0, max=0, description="merges", layout=wide())
        self.view = widgets.HTML(layout=wide())
        self.steps: Sequence[MergeStep] = ()
        self.named("text", "slider", "view")
        self.slider.add_class("lab-merges")
        self.watch(["text"], lambda: self.redraw(self._cut))
        self.watch(["slider"], self.redraw, seconds=0.03)
        self.redraw(self._cut)
        super().__init__([self.text, self.slider, self.view])

    def drawn(self) -> str:
        number = self.slider.value
        step = self.steps[number]
        said = told(self.tokenizer, step, number, self.slider.max)
        return tokens_html(in_turn(self.tokenizer.tokens(step.ids)), said)

    def _cut(self) -> None:
        self.steps = merge_steps(self.tokenizer, self.text.value)
        self.slider.max = len(self.steps) - 1
