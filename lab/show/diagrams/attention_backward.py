"""The picture of notebook 04: what attention computes, and beside it, backwards, the gradient of each tensor."""

from lab.show.diagrams.render import template
from lab.show.diagrams.sketch import draw

DESCRIPTION = (
    "Left, downwards: queries Q and keys K give scores Z, the scores weights A, the weights and values V the "
    "output O. Right, upwards: from the gradient dO of the output come dV and dA, from dA comes dZ, from "
    "dZ come dQ and dK; each stands beside its tensor and has its shape. Dashed arrows: what the forward "
    "pass must keep, since one factor's gradient is made with the other factor."
)

# tensor -> (what it is, its shape); a gradient has the shape of its tensor.
TENSORS = {
    "Q": ("queries", "(B, H, T, E)"),
    "K": ("keys", "(B, H, S, E)"),
    "V": ("values", "(B, H, S, E)"),
    "Z": ("Q K' / √E", "(B, H, T, S)"),
    "A": ("softmax(Z), row by row", "(B, H, T, S)"),
    "O": ("A V", "(B, H, T, E)"),
    "dO": ("given by what follows", "(B, H, T, E)"),
    "dV": ("A' dO", "(B, H, S, E)"),
    "dA": ("dO V'", "(B, H, T, S)"),
    "dZ": ("A * (dA − sum(dA * A))", "(B, H, T, S)"),
    "dQ": ("dZ K / √E", "(B, H, T, E)"),
    "dK": ("dZ' Q / √E", "(B, H, S, E)"),
}
# What each means, and the column in which it stands.
LOOKS = {
    "Q": ("data", 1), "K": ("data", 2), "V": ("data", 2), "Z": ("operation", 1), "A": ("operation", 1),
    "O": ("operation", 1), "dO": ("data", 3), "dA": ("operation", 3), "dZ": ("operation", 3),
    "dQ": ("output", 3), "dK": ("output", 4), "dV": ("output", 4),
}  # fmt: skip


def attention_backward() -> str:
    """The backward pass through attention, formulas and shapes, as a sketched SVG.

    The formulas are those of `lab.scratch.ScaledDotProductAttention`, whose docstring derives them.
    """
    nodes = {tensor: _node(tensor) for tensor in TENSORS}
    return draw(template("attention_backward", node=nodes), DESCRIPTION)


def _node(tensor: str) -> str:
    formula, shape = TENSORS[tensor]
    meaning, column = LOOKS[tensor]
    corners = "style=filled shape=note" if meaning == "data" else ""
    return f'{tensor} [class={meaning} {corners} group={column} label="{tensor}\\n{formula}\\n{shape}"]'
