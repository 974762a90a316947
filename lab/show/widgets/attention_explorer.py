"""Type a sentence, choose a layer and a head, and see what each token attends to: in a model, or in given maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from traitlets import Bool, Int, Unicode

from lab.nn import evaluating
from lab.show.attention import LONGEST, label, settle_maps
from lab.show.widgets.base import Widget

SENTENCE = "In the beginning God created the heaven and the earth."


@dataclass(frozen=True)
class Reading:
    """A sentence as a model reads it: its tokens, one map `(H, T, T)` a layer, and what a reader should know."""

    tokens: tuple[str, ...]
    maps: tuple[Tensor, ...]
    notice: str = ""


def read(model, tokenizer, sentence: str, encode: Callable[[str], list[int]] | None = None) -> Reading:
    """Let `model.attention_maps(ids (1, T))` read a sentence; `encode` as in `AttentionExplorer`.

    Raises ValueError for a sentence without tokens, or with more than the model or the picture holds.
    """
    begin = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    ids = encode(sentence) if encode is not None else [*begin, *tokenizer.encode(sentence)]
    if not sentence or not ids or ids == begin:
        raise ValueError("there is no token to look at: type a sentence")
    room = min(LONGEST, getattr(getattr(model, "config", None), "context", LONGEST))
    if len(ids) > room:
        whose = "the picture" if room == LONGEST else "the context of the model"
        special = " with <s>" if encode is None and begin else ""
        raise ValueError(f"{len(ids)} tokens{special}, but {room} fit in {whose}: shorten the sentence")
    tokens, notice = tuple(tokenizer.tokens(ids)), ""
    if unknown := ids.count(tokenizer.unk_id):
        named = tokenizer.tokens([tokenizer.unk_id])[0]
        notice = f"not in the vocabulary: {unknown} of {len(ids)} tokens; the model reads {named} instead"
    return Reading(tokens, tuple(settle_maps(_maps(model, ids), tokens)), notice)


@torch.inference_mode()
def _maps(model, ids: list[int]) -> list[Tensor]:
    """The model's maps without dropout; a model that is being trained goes on being trained."""
    if not isinstance(model, torch.nn.Module):
        return model.attention_maps(torch.tensor([ids]))
    device = next(model.parameters(), torch.empty(0)).device
    try:
        with evaluating(model):
            return model.attention_maps(torch.tensor([ids], device=device))
    except (IndexError, RuntimeError) as error:  # a reader's own model may not count its tokens
        raise ValueError(f"the model could not read these {len(ids)} tokens: {error}") from error


class AttentionExplorer(Widget):
    """A sentence, and what a model attends to while reading it.

    `model` has `attention_maps(ids (1, T))`, which gives one `(1, H, T, T)` a layer; the tokenizer is of
    `lab.text`'s protocol. `encode` says how a sentence becomes ids, by default `<s>` and its tokens. Layers, heads and
    tokens are counted from 0; `query` is the token that attends, `mean` shows the mean of all heads in place of one.

    >>> AttentionExplorer(model, tokenizer, "And God said", layer=1)  # doctest: +SKIP
    >>> AttentionExplorer.from_maps(my_maps, ["the", "cat", "sat"])  # doctest: +SKIP
    """

    sentence = Unicode(SENTENCE, allow_none=True, help="None where maps are given").tag(sync=True)
    layer = Int(0, min=0).tag(sync=True)
    head = Int(0, min=0).tag(sync=True)
    mean = Bool(False).tag(sync=True)
    query = Int(LONGEST, min=0, help="one behind the last token shows the last").tag(sync=True)
    drawn_from = ("sentence",)

    def __init__(
        self, model, tokenizer, sentence: str = SENTENCE, *,
        encode: Callable[[str], list[int]] | None = None, **state,
    ):  # fmt: skip
        self.model, self.tokenizer, self.encode = model, tokenizer, encode
        super().__init__(sentence=sentence, **state)

    @staticmethod
    def from_maps(maps, tokens: Sequence[str], **state) -> "MapsExplorer":
        """The same over maps of your own, without a model or a tokenizer."""
        return MapsExplorer(maps, tokens, **state)

    def read(self) -> Reading:
        """The sentence as the model reads it. Raises ValueError as the function `read` does."""
        return read(self.model, self.tokenizer, self.sentence, self.encode)

    def draw(self) -> dict:
        """The tokens in short, and all shares: `maps[layer][head][query][key]`, in ten thousandths."""
        reading = self.read()
        return {
            "tokens": [label(text, 10) for text in reading.tokens],
            "maps": [(1e4 * layer).round().int().tolist() for layer in reading.maps],
            "notice": reading.notice,
        }


class MapsExplorer(AttentionExplorer):
    """Given attention maps of one sentence: layer, head, and the token that attends.

    >>> MapsExplorer(my_attention_maps, ["the", "cat", "sat"])  # doctest: +SKIP

    `maps` holds one tensor or array `(H, T, T)` or `(1, H, T, T)` a layer. Raises ValueError where they do not belong
    to the tokens, or their rows are no shares.
    """

    def __init__(self, maps, tokens: Sequence[str], **state):
        self._given = Reading(tuple(tokens), tuple(settle_maps(maps, tokens)))
        super().__init__(None, None, None, **state)

    def read(self) -> Reading:
        return self._given
