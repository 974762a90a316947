"""Type a text and see how several tokenizers cut it, side by side."""

from collections.abc import Mapping

import ipywidgets as widgets

from lab.show.clusters import escaped
from lab.show.colours import GREY
from lab.show.tokens import in_turn, tokens_html
from lab.show.widgets.parts import LETTERS, Explorer, alert, page, wide


def render(tokenizers: Mapping[str, object], text: str, show_ids: bool) -> str:
    """HTML: for each tokenizer its tokens in colours, how many there are, and their ids if asked for."""
    rows = []
    for name, tokenizer in tokenizers.items():
        try:
            ids = tokenizer.encode(text)
        except ValueError as error:
            rows.append(_heading(name) + alert(str(error)))
            continue
        numbers = f"<div style='{LETTERS};font-size:12px;color:{GREY};padding:0 12px'>{' '.join(map(str, ids))}</div>"
        heading = _heading(name, told(tokenizer, text, ids))
        rows.append(heading + tokens_html(in_turn(tokenizer.tokens(ids))) + (numbers if show_ids else ""))
    return page(*rows)


def told(tokenizer, text: str, ids: list[int]) -> str:
    """How a text was cut, such as `vocabulary 280: 10 tokens, 1.00 characters each`."""
    rate = f", {len(text) / len(ids):.2f} characters each" if ids else ""
    unknown = ids.count(tokenizer.unk_id)
    missed = f", {unknown} unknown" if unknown else ""
    return f"vocabulary {tokenizer.vocab_size:,}: {len(ids)} tokens{rate}{missed}"


def _heading(name: str, said: str = "") -> str:
    grey = f"<span style='color:{GREY}'>{said}</span>"
    return f"<div style='margin-top:6px'><b>{escaped(name)}</b> {grey}</div>"


class TokenizerPlayground(Explorer):
    """A text box over any number of tokenizers.

    >>> TokenizerPlayground({"characters": chars, "BPE": bpe}, "Egg, egg")  # doctest: +SKIP
    """

    def __init__(self, tokenizers: Mapping[str, object], text: str):
        self.tokenizers = dict(tokenizers)
        self.text = widgets.Textarea(text, description="text", rows=3, layout=wide())
        self.ids = widgets.Checkbox(False, description="show ids", indent=False)
        self.view = widgets.HTML(layout=wide())
        self.named("text", "ids", "view")
        self.watch(["text", "ids"], self.redraw)
        self.redraw()
        super().__init__([self.text, self.ids, self.view])

    def drawn(self) -> str:
        return render(self.tokenizers, self.text.value, self.ids.value)
