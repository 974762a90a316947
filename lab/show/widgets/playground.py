"""Type a text and see how several tokenizers cut it, side by side."""

from collections.abc import Mapping

from traitlets import Bool, Unicode

from lab.show.clusters import legible
from lab.show.tokens import visible
from lab.show.widgets.base import Widget


def cut(tokenizer, text: str) -> dict:
    """How a tokenizer cuts a text, as JSON: tokens and ids, how many stand for what it does not know, or a problem."""
    try:
        ids = tokenizer.encode(text)
    except ValueError as error:
        return {"problem": str(error)}
    tokens = [visible(token) for token in tokenizer.tokens(ids)]
    return {
        "tokens": tokens,
        "ids": ids,
        "unknown": ids.count(tokenizer.unk_id),
        "vocabulary": tokenizer.vocab_size,
    }


class TokenizerPlayground(Widget):
    """A text box over any number of tokenizers.

    >>> TokenizerPlayground({"characters": chars, "BPE": bpe}, "Egg, egg")  # doctest: +SKIP
    """

    text = Unicode().tag(sync=True)
    ids = Bool(False).tag(sync=True)
    drawn_from = ("text",)

    def __init__(self, tokenizers: Mapping[str, object], text: str, ids: bool = False):
        self.tokenizers = dict(tokenizers)
        super().__init__(text=text, ids=ids)

    def draw(self) -> dict:
        """For each tokenizer how it cuts the text."""
        cuts = [
            {"name": legible(name), **cut(tokenizer, self.text)}
            for name, tokenizer in self.tokenizers.items()
        ]
        return {"characters": len(self.text), "cuts": cuts}
