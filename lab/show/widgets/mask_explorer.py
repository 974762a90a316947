"""Type document lengths, combine kinds of mask, and see what each token may attend to."""

from dataclasses import dataclass, replace

import ipywidgets as widgets
import torch
from torch import Tensor

from lab.data import masks
from lab.show.grids import mask_html
from lab.show.widgets.parts import Explorer, in_row, page

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


def render(state: MaskState, row: int) -> str:
    """HTML of the combined mask with one row chosen."""
    return page(mask_html(build(state), labels(state), row))


class MaskExplorer(Explorer):
    """Lengths, kinds of mask, and the row whose allowed set is shown (by slider; pointing outlines a row too).

    >>> MaskExplorer()  # doctest: +SKIP
    """

    def __init__(self):
        start = MaskState()
        self.lengths = widgets.Text(", ".join(map(str, start.lengths)), description="documents")
        self.T = widgets.IntSlider(start.T, min=1, max=LONGEST, description="slots")
        self.causal = widgets.Checkbox(start.causal, description="causal", indent=False)
        self.documents = widgets.Checkbox(start.documents, description="documents apart", indent=False)
        self.padding = widgets.Checkbox(start.padding, description="hide padding", indent=False)
        self.sliding = widgets.IntSlider(start.sliding, min=0, max=LONGEST, description="sliding")
        self.prefix = widgets.IntSlider(start.prefix, min=0, max=LONGEST, description="prefix")
        self.row = widgets.IntSlider(5, min=0, max=start.T - 1, description="row")
        self.view = widgets.HTML()
        names = [*vars(start), "row"]
        self.named(*names, "view")
        self.watch(names, self.redraw)
        self.redraw()
        sizes, ticks = in_row(self.lengths, self.T), in_row(self.causal, self.documents, self.padding)
        super().__init__([sizes, ticks, in_row(self.sliding, self.prefix), self.row, self.view])

    @property
    def state(self) -> MaskState:
        held = self.held(MaskState)
        return replace(held, lengths=parse_lengths(held.lengths), prefix=min(held.prefix, held.T))

    def drawn(self) -> str:
        self.row.max = self.T.value - 1
        return render(self.state, self.row.value)
