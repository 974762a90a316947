"""Watch BPE build its tokens: a slider over the merges that change a text."""

from itertools import pairwise
from typing import NamedTuple

from traitlets import Int, Unicode

from lab.show.tokens import visible
from lab.show.widgets.base import Widget


class MergeStep(NamedTuple):
    """The text after the first `merges` merges; 0 is before any."""

    merges: int
    ids: list[int]


def merge_steps(tokenizer, text: str) -> list[MergeStep]:
    """Every state of `text` that some merge changed, from single bytes to the final tokens."""
    return [MergeStep(*step) for step in tokenizer.steps(text)]


def places_joined(before: list[int], after: list[int]) -> list[int]:
    """Where one merge joined two tokens, counted in what came out of it.

    >>> places_joined([7, 8, 9, 7, 8], [50, 9, 50])
    [0, 2]
    """
    joined, i = [], 0
    for place, token in enumerate(after):
        if before[i] != token:
            joined.append(place)
            i += 1
        i += 1
    return joined


class MergeStepper(Widget):
    """A text box and a slider over the merges that change it. `step` counts the states of the text, 0 is its bytes.

    >>> MergeStepper(tokenizer, "In the beginning God created the heaven and the earth.")  # doctest: +SKIP
    """

    text = Unicode().tag(sync=True)
    step = Int(0, min=0).tag(sync=True)
    drawn_from = ("text",)

    def __init__(self, tokenizer, text: str, step: int = 0):
        self.tokenizer = tokenizer
        super().__init__(text=text, step=step)

    def draw(self) -> dict:
        """The bytes, and for each merge that changes the text what it joins, and where. The page replays them."""
        steps = merge_steps(self.tokenizer, self.text)
        return {"merges": len(self.tokenizer.merges), "start": self._shown(steps[0].ids),
                "steps": [self._merge(*pair) for pair in pairwise(steps)]}  # fmt: skip

    def _merge(self, before: MergeStep, after: MergeStep) -> dict:
        left, right = self._shown(self.tokenizer.merges[after.merges - 1])
        at = places_joined(before.ids, after.ids)
        (joined,) = self._shown(after.ids[at[0] : at[0] + 1])
        return {"merge": after.merges, "left": left, "right": right, "joined": joined, "at": at}

    def _shown(self, ids) -> list[str]:
        return [visible(text) for text in self.tokenizer.tokens(ids)]
