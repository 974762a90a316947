"""Watch BPE build its tokens: a slider over the merges recolours the text."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets as widgets

from lab.show.colours import INK
from lab.show.tokens import in_turn, tokens_html
from lab.show.widgets.debounce import Debounced
from lab.show.widgets.still import Still


@dataclass(frozen=True)
class MergeStep:
    """The text after the first `merges` merges; 0 is before any."""

    merges: int
    ids: list[int]


def merge_steps(tokenizer, text: str) -> list[MergeStep]:
    """Every state of `text` that some merge changed, from single bytes to the final tokens."""
    return [MergeStep(merges, ids) for merges, ids in tokenizer.steps(text)]


def render(tokenizer, step: MergeStep, number: int, total: int) -> str:
    """HTML of one state: the tokens in colours, and which merge made it."""
    if step.merges == 0:
        what = "before any merge, one token a byte"
    else:
        left, right = tokenizer.tokens(tokenizer.merges[step.merges - 1])
        what = f"merge {step.merges} of {len(tokenizer.merges)} joins “{left}” and “{right}”"
    caption = f"step {number} of {total}: {what}; {len(step.ids)} tokens"
    return tokens_html(in_turn(tokenizer.tokens(step.ids)), caption)


class MergeStepper(Still, widgets.VBox):
    """A text box and a slider over the merges that change it.

    >>> MergeStepper(tokenizer, "In the beginning God created the heaven and the earth.")  # doctest: +SKIP
    """

    def __init__(self, tokenizer, text: str):
        self.tokenizer = tokenizer
        self.text = widgets.Text(
            text, description="text", layout=widgets.Layout(width="auto", max_width="56rem")
        )
        self.slider = widgets.IntSlider(0, min=0, max=0, description="merges", layout=self.text.layout)
        self.view = widgets.HTML()
        self.steps: Sequence[MergeStep] = ()
        for control in (self.text, self.slider):
            control.add_class(f"lab-{control.description}")
        self.text.observe(Debounced(self._read), "value")
        self.slider.observe(Debounced(self._show, seconds=0.03), "value")
        self._read()
        super().__init__([self.text, self.slider, self.view])

    def _read(self) -> None:
        try:
            self.steps = merge_steps(self.tokenizer, self.text.value)
        except ValueError as error:
            self.view.value = f"<div role='alert' style='color:{INK}'>{html.escape(str(error))}</div>"
            return
        self.slider.max = len(self.steps) - 1
        self._show()

    def _show(self) -> None:
        number = self.slider.value
        self.view.value = render(self.tokenizer, self.steps[number], number, self.slider.max)
