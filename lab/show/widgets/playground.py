"""Type a text and see how several tokenizers cut it, side by side."""

import html
from collections.abc import Mapping

import ipywidgets as widgets

from lab.show.colours import GREY, INK, PAPER
from lab.show.tokens import in_turn, tokens_html
from lab.show.widgets.debounce import Debounced
from lab.show.widgets.still import Still


def render(tokenizers: Mapping[str, object], text: str, show_ids: bool) -> str:
    """HTML: for each tokenizer its tokens in colours, how many there are, and their ids if asked for."""
    rows = []
    for name, tokenizer in tokenizers.items():
        try:
            ids = tokenizer.encode(text)
        except ValueError as error:
            rows.append(f"<h4>{html.escape(name)}</h4><p>{html.escape(str(error))}</p>")
            continue
        rate = f", {len(text) / len(ids):.2f} characters each" if ids else ""
        unknown = ids.count(tokenizer.unk_id)
        missed = f", {unknown} unknown" if unknown else ""
        heading = (
            f"<div style='font:13px system-ui,sans-serif;margin-top:10px'><b>{html.escape(name)}</b> "
            f"<span style='color:{GREY}'>vocabulary {tokenizer.vocab_size:,}: "
            f"{len(ids)} tokens{rate}{missed}</span></div>"
        )
        listed = (
            f"<div style='font:12px monospace;color:{GREY}'>{' '.join(map(str, ids))}</div>"
            if show_ids
            else ""
        )
        rows.append(heading + tokens_html(in_turn(tokenizer.tokens(ids))) + listed)
    return f"<div style='background:{PAPER};color:{INK};padding:4px 12px 12px;border-radius:6px'>{''.join(rows)}</div>"


class TokenizerPlayground(Still, widgets.VBox):
    """A text box over any number of tokenizers.

    >>> TokenizerPlayground({"characters": chars, "BPE": bpe}, "Egg, egg")  # doctest: +SKIP
    """

    def __init__(self, tokenizers: Mapping[str, object], text: str):
        self.tokenizers = dict(tokenizers)
        wide = widgets.Layout(width="auto", max_width="56rem")
        self.text = widgets.Textarea(text, description="text", rows=3, layout=wide)
        self.ids = widgets.Checkbox(False, description="show ids")
        self.view = widgets.HTML(layout=wide)
        for name, control in (("text", self.text), ("ids", self.ids)):
            control.add_class(f"lab-{name}")
            control.observe(Debounced(self._show), "value")
        self._show()
        super().__init__([self.text, self.ids, self.view])

    def _show(self) -> None:
        self.view.value = render(self.tokenizers, self.text.value, self.ids.value)
