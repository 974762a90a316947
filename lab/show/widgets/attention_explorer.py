"""Type a sentence, choose a layer and a head, and see what each token attends to: in a model, or in given maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ipywidgets as widgets
import torch
from torch import Tensor

from lab.nn import evaluating
from lab.show.attention import LONGEST, attention_html, settle_maps
from lab.show.widgets.parts import Explorer, alert, in_row, wide

SENTENCE = "In the beginning God created the heaven and the earth."


@dataclass(frozen=True)
class AttentionState:
    """What the sliders hold; layers, heads and tokens are counted from 0. `mean`: of all heads, not one."""

    layer: int = 0
    head: int = 0
    mean: bool = False
    query: int = 0


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


def chosen(reading: Reading, state: AttentionState) -> Tensor:
    """The weights `(T, T)` that the state asks for."""
    heads = reading.maps[state.layer]
    return heads.mean(0) if state.mean else heads[state.head]


def render(reading: Reading, state: AttentionState) -> str:
    """HTML of one head while reading a sentence, with one token's attention drawn. Pure."""
    layers, heads = len(reading.maps), len(reading.maps[state.layer])
    which = "mean of the heads" if state.mean else f"head {state.head}"
    heading = (
        f"Layer {state.layer}, {which} (layers: {layers}, heads: {heads}, counted from 0). "
        "Point at a token to see what it attends to."
    )
    picture = attention_html(chosen(reading, state), reading.tokens, state.query, heading)
    return (alert(reading.notice) if reading.notice else "") + picture


class MapsExplorer(Explorer):
    """Sliders over given attention maps of one sentence: layer, head, and the token that attends (the query).

    >>> MapsExplorer(my_attention_maps, ["the", "cat", "sat"])  # doctest: +SKIP

    `maps` holds one tensor or array `(H, T, T)` or `(1, H, T, T)` a layer. Raises ValueError where they do not belong
    to the tokens, or their rows are no shares.
    """

    def __init__(self, maps, tokens: Sequence[str]):
        self._build()
        self._take(Reading(tuple(tokens), tuple(settle_maps(maps, tokens))))
        self.redraw()

    def _build(self, *above: widgets.Widget) -> None:
        self.reading: Reading | None = None
        self.layer = widgets.IntSlider(0, min=0, max=0, description="layer")
        self.head = widgets.IntSlider(0, min=0, max=0, description="head")
        self.mean = widgets.Checkbox(False, description="mean of the heads", indent=False)
        self.query = widgets.IntSlider(0, min=0, max=0, description="token")
        self.view = widgets.HTML()
        self.named("layer", "head", "mean", "query")
        self.watch(["layer", "head", "mean", "query"], self.redraw, seconds=0.05)
        super().__init__([*above, in_row(self.layer, self.head, self.mean), self.query, self.view])

    @property
    def state(self) -> AttentionState:
        return self.held(AttentionState)

    def drawn(self) -> str:
        self.head.max = len(self.reading.maps[self.layer.value]) - 1
        self.head.disabled = self.mean.value
        return render(self.reading, self.state)

    def _take(self, reading: Reading) -> None:
        """Look at another reading, from the places where the sliders stand, as far as it has them."""
        first, self.reading = self.reading is None, reading
        self.layer.max, self.query.max = len(reading.maps) - 1, len(reading.tokens) - 1
        if first:
            self.query.value = self.query.max


class AttentionExplorer(MapsExplorer):
    """A sentence, and what a model attends to while reading it.

    `model` has `attention_maps(ids (1, T))`, which gives one `(1, H, T, T)` a layer; the tokenizer is of
    `lab.text`'s protocol. `encode` says how a sentence becomes ids, by default `<s>` and its tokens.

    >>> AttentionExplorer(model, tokenizer, "And God said")  # doctest: +SKIP
    >>> AttentionExplorer.from_maps(my_maps, ["the", "cat", "sat"])  # doctest: +SKIP
    """

    def __init__(
        self, model, tokenizer, sentence: str = SENTENCE, *, encode: Callable[[str], list[int]] | None = None
    ):
        self.model, self.tokenizer, self.encode = model, tokenizer, encode
        self.sentence = widgets.Text(sentence, description="sentence", layout=wide())
        self._build(self.sentence)
        self.named("sentence")
        self.watch(["sentence"], self._read)
        self._read()

    @staticmethod
    def from_maps(maps, tokens: Sequence[str]) -> MapsExplorer:
        """The same sliders over maps of your own, without a model or a tokenizer."""
        return MapsExplorer(maps, tokens)

    def _read(self) -> None:
        """Read the sentence; of a bad one the sliders keep their places for the next good one."""
        self.redraw(lambda: self._take(read(self.model, self.tokenizer, self.sentence.value, self.encode)))
