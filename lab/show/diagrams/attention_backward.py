"""The picture of notebook 04: what attention computes, and beside it, backwards, the gradient of each tensor."""

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
LETTERS = "B rows, H heads, T queries, S keys, E channels a head"
DASHED = "dashed: what the backward pass needs of the forward pass"


def attention_backward() -> str:
    """The backward pass through attention, formulas and shapes, as a sketched SVG.

    The formulas are those of `lab.scratch.ScaledDotProductAttention`, whose docstring derives them.
    """
    return draw(_dot(), DESCRIPTION)


def _dot() -> str:
    return f"""
digraph attention_backward {{
  graph [rankdir=TB newrank=true ranksep=0.75 nodesep=0.5 labelloc=t fontsize=22
         label="Attention, forwards and back\\n{LETTERS}\\n{DASHED}\\n\\n"]
  node [shape=box style="rounded,filled" width=2.15 fontsize=14]
  edge [fontsize=13 weight=20]

  // left, downwards: forward
  {_node("Q", "data", "group=1")}
  {_node("K", "data", "group=2")}
  {_node("V", "data", "group=2")}
  {_node("Z", "operation", "group=1")}
  {_node("A", "operation", "group=1")}
  {_node("O", "operation", "group=1")}
  Q -> Z -> A -> O
  K -> Z [weight=1]
  V -> O [weight=1]

  // below: the rest of the model, and back
  loss [class=operation label="loss\\nand all that lies between"]
  O -> loss [weight=1]

  // right, upwards: backward
  {_node("dO", "data", "group=3")}
  {_node("dA", "operation", "group=3")}
  {_node("dZ", "operation", "group=3")}
  {_node("dQ", "output", "group=3")}
  {_node("dK", "output", "group=4")}
  {_node("dV", "output", "group=4")}
  dQ -> dZ -> dA -> dO [dir=back]
  dO -> loss [dir=back weight=1]
  dK -> dZ [dir=back weight=1]
  dV -> dO [dir=back weight=1]

  // the same row: a tensor and its gradient
  edge [style=invis weight=1]
  {{rank=same; Q -> K -> dQ -> dK}}
  {{rank=same; Z -> dZ}}
  {{rank=same; A -> V -> dA -> dV}}
  {{rank=same; O -> dO}}

  // what must be kept
  edge [style=dashed weight=0 constraint=false]
  K -> dQ; Q -> dK; V -> dA; A -> dV; A -> dZ:w
}}
"""


def _node(tensor: str, meaning: str, place: str) -> str:
    formula, shape = TENSORS[tensor]
    corners = "style=filled shape=note" if meaning == "data" else ""
    return f'{tensor} [class={meaning} {corners} {place} label="{tensor}\\n{formula}\\n{shape}"]'
