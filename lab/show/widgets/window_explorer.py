"""Look at any window of any line under any policy."""

import html

import ipywidgets as widgets
from matplotlib.figure import Figure

from lab.data import LineWindows
from lab.data.batch import IGNORE
from lab.data.policies import POLICIES
from lab.show.colours import FAINT, GREY, TINTS
from lab.show.tokens import Token, tokens_figure, tokens_html
from lab.show.widgets.debounce import Debounced
from lab.show.widgets.parts import alert, in_row, named, page, wide
from lab.show.widgets.still import Still


def slots(windows: LineWindows, tokenizer, index: int) -> dict[str, list[Token]]:
    """One window as two rows of tokens of equal widths: what is read, and slot under slot what is to be predicted."""
    x, y = windows[index]
    read = _named(tokenizer, x.tolist())
    wanted = _named(tokenizer, [windows.pad_id if i == IGNORE else i for i in y.tolist()])
    padded = [i == IGNORE for i in y.tolist()]
    wide = [max(len(a), len(b)) for a, b in zip(read, wanted, strict=True)]

    def tokens(texts: list[str]) -> list[Token]:
        return [
            Token(("·" if pad else text).ljust(w), FAINT if pad else TINTS[i % len(TINTS)])
            for i, (text, w, pad) in enumerate(zip(texts, wide, padded, strict=True))
        ]

    return {"read": tokens(read), "to be predicted": tokens(wanted)}


def told(windows: LineWindows, index: int) -> str:
    """Where a window was cut, and how much of it is padding."""
    line, offset = windows.locate(index)
    padded = int((windows[index][1] == IGNORE).sum())
    return f"window {index} of {len(windows):,}: line {line}, from place {offset}; {padded} slots of padding"


def render(windows: LineWindows, tokenizer, index: int) -> str:
    """HTML of one window: what is read above, what is to be predicted below, slot under slot."""
    rows = slots(windows, tokenizer, index).items()
    where = f"<div role='status' style='color:{GREY}'>{html.escape(told(windows, index))}</div>"
    return page(*(f"<b>{name}</b>{tokens_html(tokens)}" for name, tokens in rows), where)


class WindowExplorer(Still, widgets.VBox):
    """Choose a policy, the context and a window.

    >>> WindowExplorer(encoded_lines, tokenizer, context=8)  # doctest: +SKIP
    """

    def __init__(self, encoded_lines: list[list[int]], tokenizer, context: int = 8):
        self.encoded_lines, self.tokenizer = encoded_lines, tokenizer
        self.policy = widgets.Dropdown(options=list(POLICIES), description="policy")
        self.context = widgets.IntSlider(context, min=1, max=32, description="context")
        self.index = widgets.IntSlider(0, min=0, max=0, description="window", layout=wide())
        self.view = widgets.HTML(layout=wide())
        self.windows: LineWindows | None = None
        self.problem = ""
        named(self, ["policy", "context", "index", "view"])
        cut = Debounced(self._cut)
        for control in (self.policy, self.context):
            control.observe(cut, "value")
        self.index.observe(Debounced(self._show, seconds=0.03), "value")
        self._cut()
        super().__init__([in_row(self.policy, self.context), self.index, self.view])

    def figure(self) -> Figure:
        """The window that is chosen: the picture where nothing can be moved. Raises ValueError where there is none."""
        if self.problem:
            raise ValueError(f"no window was cut: {self.problem}")
        index = self.index.value
        return tokens_figure(
            slots(self.windows, self.tokenizer, index), f"{self.policy.value}, {told(self.windows, index)}"
        )

    def _cut(self) -> None:
        try:
            self.windows = LineWindows(
                self.encoded_lines, self.context.value, self.policy.value, self.tokenizer.pad_id
            )
            self.problem = ""
        except ValueError as error:
            self.problem = str(error)
            self._show()
            return
        self.index.max = len(self.windows) - 1
        self._show()

    def _show(self) -> None:
        if self.problem:
            self.view.value = alert(self.problem)
            return
        self.view.value = render(self.windows, self.tokenizer, self.index.value)


def _named(tokenizer, ids: list[int]) -> list[str]:
    return [text.replace(" ", "␣") for text in tokenizer.tokens(ids)]
