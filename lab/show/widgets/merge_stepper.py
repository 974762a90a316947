"""Watch BPE build its tokens: a slider over the merges recolours the text."""

from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets as widgets
from matplotlib.figure import Figure

from lab.show.tokens import in_turn, tokens_figure, tokens_html
from lab.show.widgets.debounce import Debounced
from lab.show.widgets.parts import alert, named, wide
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
    return tokens_html(in_turn(tokenizer.tokens(step.ids)), told(tokenizer, step, number, total))


def told(tokenizer, step: MergeStep, number: int, total: int) -> str:
    """Which merge made this state."""
    if step.merges == 0:
        what = "before any merge, one token a byte"
    else:
        left, right = tokenizer.tokens(tokenizer.merges[step.merges - 1])
        what = f"merge {step.merges} of {len(tokenizer.merges)} joins “{left}” and “{right}”"
    return f"step {number} of {total}: {what}; {len(step.ids)} tokens"


class MergeStepper(Still, widgets.VBox):
    """A text box and a slider over the merges that change it.

    >>> MergeStepper(tokenizer, "In the beginning God created the heaven and the earth.")  # doctest: +SKIP
    """

    def __init__(self, tokenizer, text: str):
        self.tokenizer = tokenizer
        self.text = widgets.Text(text, description="text", layout=wide())
        self.slider = widgets.IntSlider(0, min=0, max=0, description="merges", layout=wide())
        self.view = widgets.HTML(layout=wide())
        self.steps: Sequence[MergeStep] = ()
        self.problem = ""
        named(self, ["text", "slider", "view"])
        self.slider.add_class("lab-merges")
        self.text.observe(Debounced(self._read), "value")
        self.slider.observe(Debounced(self._show, seconds=0.03), "value")
        self._read()
        super().__init__([self.text, self.slider, self.view])

    def figure(
        self, at: Sequence[int] | None = None, title: str = "A text while its tokens are merged"
    ) -> Figure:
        """Some states of the text, one below the other: the picture where nothing can be moved.

        `at` are places of the slider, by default the first, the last and two between. Raises ValueError for others.
        """
        if self.problem:
            raise ValueError(f"nothing was cut: {self.problem}")
        last = len(self.steps) - 1
        at = sorted({round(last * part / 3) for part in range(4)}) if at is None else list(at)
        if not at or not all(0 <= number <= last for number in at):
            raise ValueError(f"there are the steps 0 .. {last}, got {at}")
        rows = {}
        for number in at:
            step = self.steps[number]
            rows[told(self.tokenizer, step, number, last)] = in_turn(self.tokenizer.tokens(step.ids))
        return tokens_figure(rows, title)

    def _read(self) -> None:
        try:
            self.steps, self.problem = merge_steps(self.tokenizer, self.text.value), ""
        except ValueError as error:
            self.problem = str(error)
            self._show()
            return
        self.slider.max = len(self.steps) - 1
        self._show()

    def _show(self) -> None:
        if self.problem:
            self.view.value = alert(self.problem)
            return
        number = self.slider.value
        self.view.value = render(self.tokenizer, self.steps[number], number, self.slider.max)
