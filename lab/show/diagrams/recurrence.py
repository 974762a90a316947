"""The picture of notebook 05: a recurrent language model, and the loop through which each token changes its state.

Letters: B rows, T tokens, C channels, V tokens in the vocabulary.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lab.nn.recurrent import RecurrentConfig, RecurrentLM
from lab.show.diagrams.render import counted, lines, some_of, template
from lab.show.diagrams.shapes import Shapes, watching, written
from lab.show.diagrams.sketch import draw

DESCRIPTION = (
    "Downwards: ids are embedded, pass one recurrent layer after the other and the output weights, and come out as "
    "logits. On the right of each layer is a loop: the layer reads a token and its own state, makes the state anew, "
    "and the new state comes back into it with the next token. A gradient that goes back t tokens passes t times "
    "through the same loop; in a transformer every token reads all earlier ones at once. Every arrow down bears "
    "the shape of its tensor, every state its own."
)


class Cell(NamedTuple):
    """How a kind of cell makes its state anew, with how many matrices, and what the state consists of."""

    name: str
    way: str
    matrices: int
    state: str


CELLS = {
    "elman": Cell("Elman cells", "h = tanh(W x + U h + b)", 2, "h"),
    "gru": Cell("GRU", "two gates: reset, update", 6, "h"),
    "lstm": Cell("LSTM", "three gates: forget, input, output", 8, "hc"),
}


def report_recurrent_shapes(model: RecurrentLM, ids: Tensor) -> Shapes:
    """The shape of every tensor on the way of `ids` `(B, T)` through the model, by name, in order.

    `layer_1` is what the first recurrent layer hands on, `layer_1.h` the state that it keeps, after the last token;
    an LSTM's has a second part, `layer_1.c`.

    >>> model = RecurrentLM(RecurrentConfig(vocab_size=10, width=8, cell="gru"))
    >>> shapes = report_recurrent_shapes(model, torch.zeros(3, 12, dtype=torch.long))
    >>> shapes["layer_1"], shapes["layer_1.h"]
    ((3, 12, 8), (3, 8))
    """
    shapes = {"ids": tuple(ids.shape)}
    drawn = {name: m for name, m in model.named_modules() if name and not isinstance(m, nn.Identity)}

    def note(name, args, kwargs, result):
        if isinstance(drawn[name], nn.RNNBase):
            shapes.update(_inside_layers(drawn[name], args[0], *result))
        elif isinstance(result, Tensor):
            shapes[name] = tuple(result.shape)

    with watching(drawn, note):
        model(ids)
    return shapes


def _inside_layers(
    recurrent: nn.RNNBase, x: Tensor, last: Tensor, state: Tensor | tuple[Tensor, ...]
) -> Shapes:
    """The shapes between the layers, which torch runs as one: each layer is run again by itself."""
    shapes, weights = {}, recurrent.state_dict()
    parts = state if isinstance(state, tuple) else (state,)
    for i in range(recurrent.num_layers):
        own = {name.replace(f"_l{i}", "_l0"): w for name, w in weights.items() if name.endswith(f"_l{i}")}
        with torch.random.fork_rng(devices=[]):  # initial weights draw random numbers
            alone = type(recurrent)(x.shape[2], recurrent.hidden_size, batch_first=True).to(x)
        alone.load_state_dict(own)
        x = alone(x)[0]
        shapes[f"layer_{i + 1}"] = tuple(x.shape)
        shapes |= {f"layer_{i + 1}.{'hc'[k]}": tuple(part[i].shape) for k, part in enumerate(parts)}
    return shapes | {f"layer_{recurrent.num_layers}": tuple(last.shape)}


def recurrence(config: RecurrentConfig, shapes: Shapes) -> str:
    """A recurrent language model as a sketched SVG: down the layers, each with its loop, and every tensor's shape.

    `shapes` is what `report_recurrent_shapes` says of a model of this config. Raises ValueError when the model has
    other parts than the picture (dropout), has them in another order, or other shapes.
    """
    return draw(_dot(config, _written(config, shapes)), DESCRIPTION)


def _written(c: RecurrentConfig, shapes: Shapes) -> dict[str, str]:
    """The model's shapes in letters and numbers: `{"layer_1.h": "(B, C) = (B, 256)"}`."""
    drawn = {"ids": "B T", "embedding.token": "B T C", "embedding": "B T C"}
    for i in range(1, c.num_layers + 1):
        drawn |= {f"layer_{i}": "B T C"} | {f"layer_{i}.{part}": "B C" for part in CELLS[c.cell].state}
    drawn["output"] = "B T V"
    B, T = shapes["ids"]
    return written(drawn, shapes, {"B": B, "T": T, "C": c.width, "V": c.vocab_size})


def _dot(c: RecurrentConfig, said: dict[str, str]) -> str:
    tied = "\\nthe embedding again" if c.tied else ""
    layers = counted(c.num_layers, "layer")
    shown = some_of("layer", c.num_layers)
    way = " -> ".join([*shown, "output"])
    nodes = lines(_layer(layer, title, CELLS[c.cell], said) for layer, title in shown.items())
    about = {"cells": CELLS[c.cell].name, "layers": layers, "legend": _legend(c), "tied": tied}
    return template("recurrence", said=said, way=way, layer_nodes=nodes, **about)


def _layer(layer: str, title: str, cell: Cell, said: dict[str, str]) -> str:
    """DOT for a layer, and the loop through which its state comes back into it."""
    title += ", each" if "layers" in title else ""
    state = "\\n".join(f" {part} {said[f'layer_1.{part}']} " for part in cell.state)
    return f"""{layer} [label="{title}\\n{cell.way}\\n{cell.matrices} matrices, C × C"]
  {layer}:se -> {layer}:ne [label=" its state, one token later \\n{state}"]"""


def _legend(c: RecurrentConfig) -> str:
    return f"B rows, T tokens, C = {c.width:,} channels, V = {c.vocab_size:,} tokens in the vocabulary"
