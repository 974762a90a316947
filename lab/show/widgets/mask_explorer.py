"""Type document lengths, combine kinds of mask, and see what each token may attend to."""

from dataclasses import dataclass

import torch
from torch import Tensor
from traitlets import Bool, Int, Unicode

from lab.data import masks
from lab.show.widgets.base import Widget

LONGEST = 24  # tokens; more cells than that cannot be read


@dataclass(frozen=True)
class MaskState:
    """What the controls hold: document lengths in a row of `T` slots, and which masks are combined."""

    lengths: tuple[int, ...] = (4, 3, 2)
    T: int = 10
    causal: bool = True
    documents: bool = True
    padding: bool = False
    sliding: int = 0  # 0: off
    prefix: int = 0  # 0: off


def parse_lengths(text: str) -> tuple[int, ...]:
    """Lengths from what was typed: `"4, 3 2"` -> `(4, 3, 2)`. Raises ValueError with the text."""
    try:
        lengths = tuple(int(part) for part in text.replace(",", " ").split())
    except ValueError:
        lengths = ()
    if not lengths or min(lengths) < 1:
        raise ValueError(f"{text!r}: type the lengths of the documents as whole numbers, such as 4, 3, 2")
    return lengths


def document_ids(state: MaskState) -> Tensor:
    """int64 `(1, T)`: which document each slot belongs to, -1 in padding."""
    filled = [document for document, length in enumerate(state.lengths) for _ in range(length)]
    if len(filled) > state.T:
        raise ValueError(f"the documents need {len(filled)} slots, the row has {state.T}")
    return torch.tensor([filled + [-1] * (state.T - len(filled))])


def build(state: MaskState) -> Tensor:
    """The combined mask, bool `(T, T)`."""
    ids = document_ids(state)
    chosen = [torch.ones(state.T, state.T, dtype=torch.bool)]
    if state.causal:
        # A prefix is read both ways, so it takes the place of the plain causal mask.
        chosen.append(masks.prefix(state.T, state.prefix) if state.prefix else masks.causal(state.T))
    if state.documents:
        chosen.append(masks.documents(ids))
    if state.padding:
        chosen.append(masks.padding((ids >= 0).sum(-1), state.T))
    if state.sliding:
        chosen.append(masks.sliding(state.T, state.sliding))
    return masks.combine(*chosen).reshape(state.T, state.T)


def labels(state: MaskState) -> list[str]:
    """A name for each slot: a1 a2 a3 a4 b1 b2 ..., and · in padding."""
    names = [f"{chr(97 + d % 26)}{i + 1}" for d, length in enumerate(state.lengths) for i in range(length)]
    return names + ["·"] * (state.T - len(names))


class MaskExplorer(Widget):
    """Lengths, kinds of mask, and the row whose allowed set is shown: chosen by the slider, or by a click on it.

    >>> MaskExplorer(lengths="5, 3", sliding=2)  # doctest: +SKIP
    """

    lengths = Unicode("4, 3, 2").tag(sync=True)
    T = Int(10, min=1, max=LONGEST).tag(sync=True)
    causal = Bool(True).tag(sync=True)
    documents = Bool(True).tag(sync=True)
    padding = Bool(False).tag(sync=True)
    sliding = Int(0, min=0, max=LONGEST).tag(sync=True)
    prefix = Int(0, min=0, max=LONGEST).tag(sync=True)
    row = Int(5, min=0).tag(sync=True)
    drawn_from = ("lengths", "T", "causal", "documents", "padding", "sliding", "prefix")

    @property
    def state(self) -> MaskState:
        """What the controls hold. Raises ValueError for lengths that are none."""
        kinds = {name: getattr(self, name) for name in ("causal", "documents", "padding", "sliding")}
        return MaskState(parse_lengths(self.lengths), self.T, prefix=min(self.prefix, self.T), **kinds)

    def draw(self) -> dict:
        """A name for each slot, and for each row which slots it may attend to."""
        return {"labels": labels(self.state), "allowed": build(self.state).tolist(), "longest": LONGEST}
