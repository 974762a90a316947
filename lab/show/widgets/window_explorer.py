"""Look at any window of any line under any policy."""

from functools import lru_cache

from traitlets import Enum, Int

from lab.data import LineWindows
from lab.data.batch import IGNORE
from lab.data.policies import POLICIES
from lab.show.clusters import one_line
from lab.show.widgets.base import Widget

LONGEST = 32  # tokens of context


class WindowExplorer(Widget):
    """Choose a policy, the context and a window: what is read in each slot, what is to be predicted, where it is from.

    >>> WindowExplorer(encoded_lines, tokenizer, context=8)  # doctest: +SKIP
    """

    policy = Enum(list(POLICIES), next(iter(POLICIES))).tag(sync=True)
    context = Int(8, min=1, max=LONGEST).tag(sync=True)
    index = Int(0, min=0).tag(sync=True)
    drawn_from = ("policy", "context", "index")

    def __init__(self, encoded_lines: list[list[int]], tokenizer, context: int = 8, **state):
        self.tokenizer = tokenizer
        self._cut = lru_cache(1)(
            lambda policy, context: LineWindows(encoded_lines, context, policy, tokenizer.pad_id)
        )
        super().__init__(context=context, **state)

    @property
    def windows(self) -> LineWindows:
        """All windows, as the controls ask for them."""
        return self._cut(self.policy, self.context)

    def draw(self) -> dict:
        """One window: a slot is the token that is read and the one to be predicted; None where there is none."""
        index = min(self.index, len(self.windows) - 1)
        read, predicted = (part.tolist() for part in self.windows[index])
        line, place = self.windows.locate(index)
        slots = [
            [None, None] if target == IGNORE else self._named([token, target])
            for token, target in zip(read, predicted, strict=True)
        ]
        return {"slots": slots, "index": index, "count": len(self.windows), "line": line, "place": place,
                "policies": list(POLICIES), "longest": LONGEST}  # fmt: skip

    def _named(self, ids: list[int]) -> list[str]:
        return [one_line(text) for text in self.tokenizer.tokens(ids)]
