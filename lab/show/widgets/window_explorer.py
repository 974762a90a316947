"""Look at any window of any line under any policy."""

import ipywidgets as widgets

from lab.data import LineWindows
from lab.data.batch import IGNORE
from lab.data.policies import POLICIES
from lab.show.clusters import escaped
from lab.show.colours import FAINT, GREY, TINTS
from lab.show.tokens import Token, tokens_html
from lab.show.widgets.parts import Explorer, in_row, page, wide


def render(windows: LineWindows, tokenizer, index: int) -> str:
    """HTML of one window: what is read above, what is to be predicted below, slot under slot; and where it is from."""
    x, y = (part.tolist() for part in windows[index])
    padded = [i == IGNORE for i in y]
    rows = [_named(tokenizer, x), _named(tokenizer, [windows.pad_id if i == IGNORE else i for i in y])]
    wide = [max(map(len, pair)) for pair in zip(*rows, strict=True)]

    def tokens(texts: list[str]) -> list[Token]:
        return [
            Token(("·" if pad else text).ljust(w), FAINT if pad else TINTS[i % len(TINTS)])
            for i, (text, w, pad) in enumerate(zip(texts, wide, padded, strict=True))
        ]

    line, offset = windows.locate(index)
    told = f"window {index} of {len(windows):,}: line {line}, from place {offset}; {sum(padded)} slots of padding"
    return page(
        f"<b>read</b>{tokens_html(tokens(rows[0]))}<b>to be predicted</b>{tokens_html(tokens(rows[1]))}",
        f"<div role='status' style='color:{GREY}'>{escaped(told)}</div>",
    )


class WindowExplorer(Explorer):
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
        self.named("policy", "context", "index", "view")
        self.watch(["policy", "context"], lambda: self.redraw(self._cut))
        self.watch(["index"], self.redraw, seconds=0.03)
        self.redraw(self._cut)
        super().__init__([in_row(self.policy, self.context), self.index, self.view])

    def drawn(self) -> str:
        return render(self.windows, self.tokenizer, self.index.value)

    def _cut(self) -> None:
        context, policy = self.context.value, self.policy.value
        self.windows = LineWindows(self.encoded_lines, context, policy, self.tokenizer.pad_id)
        self.index.max = len(self.windows) - 1


def _named(tokenizer, ids: list[int]) -> list[str]:
    return [text.replace(" ", "␣") for text in tokenizer.tokens(ids)]
