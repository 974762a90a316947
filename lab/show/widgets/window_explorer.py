"""Look at any window of any line under any policy."""

import html

import ipywidgets as widgets

from lab.batches import IGNORE
from lab.show.colours import FAINT, TINTS
from lab.show.tokens import Token, tokens_html
from lab.show.widgets.debounce import Debounced
from lab.show.widgets.still import Still
from lab.windows import LineWindows
from lab.windows.policies import POLICIES


def render(windows: LineWindows, tokenizer, index: int) -> str:
    """HTML of one window: what is read above, what is to be predicted below, slot under slot."""
    x, y = windows[index]
    read = _named(tokenizer, x.tolist())
    wanted = _named(tokenizer, [windows.pad_id if i == IGNORE else i for i in y.tolist()])
    padded = [i == IGNORE for i in y.tolist()]
    wide = [max(len(a), len(b)) for a, b in zip(read, wanted, strict=True)]

    def row(texts: list[str]) -> str:
        slots = zip(texts, wide, padded, strict=True)
        return tokens_html(
            [
                Token(("·" if pad else text).ljust(w), FAINT if pad else TINTS[i % len(TINTS)])
                for i, (text, w, pad) in enumerate(slots)
            ]
        )

    line, offset = windows.locate(index)
    where = f"window {index} of {len(windows):,}: line {line}, from place {offset}; {sum(padded)} slots of padding"
    return f"<b>read</b>{row(read)}<b>to be predicted</b>{row(wanted)}<div>{html.escape(where)}</div>"


class WindowExplorer(Still, widgets.VBox):
    """Choose a policy, the context and a window.

    >>> WindowExplorer(encoded_lines, tokenizer, context=8)  # doctest: +SKIP
    """

    def __init__(self, encoded_lines: list[list[int]], tokenizer, context: int = 8):
        self.encoded_lines, self.tokenizer = encoded_lines, tokenizer
        wide = widgets.Layout(width="auto", max_width="56rem")
        self.policy = widgets.Dropdown(options=list(POLICIES), description="policy")
        self.context = widgets.IntSlider(context, min=1, max=32, description="context")
        self.index = widgets.IntSlider(0, min=0, max=0, description="window", layout=wide)
        self.view = widgets.HTML(layout=wide)
        for name in ("policy", "context", "index"):
            getattr(self, name).add_class(f"lab-{name}")
        for control in (self.policy, self.context):
            control.observe(Debounced(self._cut), "value")
        self.index.observe(Debounced(self._show, seconds=0.03), "value")
        self._cut()
        super().__init__([widgets.HBox([self.policy, self.context]), self.index, self.view])

    def _cut(self) -> None:
        try:
            self.windows = LineWindows(
                self.encoded_lines, self.context.value, self.policy.value, self.tokenizer.pad_id
            )
        except ValueError as error:
            self.view.value = f"<div role='alert'>{html.escape(str(error))}</div>"
            return
        self.index.max = len(self.windows) - 1
        self._show()

    def _show(self) -> None:
        self.view.value = render(self.windows, self.tokenizer, self.index.value)


def _named(tokenizer, ids: list[int]) -> list[str]:
    return [text.replace(" ", "␣") for text in tokenizer.tokens(ids)]
