"""Pictures of attention: every head of a model at once.

Letters: B rows, H heads, T tokens of one sentence. `weights[query, key]` is the share of its attention that a
token (the query) gives to another (the key); the shares of a query sum to 1.
"""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from lab.show.clusters import advance, one_line, shortened
from lab.show.colours import BLUE, SKY
from lab.show.lettering import Lettered
from lab.show.plots import MANNER

# Ever darker, so that it reads without colour; by the square root of the share, so that 2% is seen beside 100%.
SCALE = LinearSegmentedColormap.from_list("share", ["#F4F6F8", SKY, BLUE, "#04263F"])
NORM = PowerNorm(0.5, vmin=0, vmax=1)
TICKS = (0, 0.02, 0.1, 0.25, 0.5, 1)

LONGEST = 64  # tokens in the explorer; more lines than that cannot be told apart
ROUNDING = 0.02  # how far from 1 half precision may leave a sum of shares


def settle_maps(maps, tokens: Sequence[str]) -> list[Tensor]:
    """Attention maps of one sentence, one `(H, T, T)` a layer, from what `attention_maps` or a reader's code gives.

    `maps` holds for each layer a tensor or array `(1, H, T, T)` or `(H, T, T)`. Raises ValueError where they do not
    belong to these tokens, or are no shares.
    """
    settled = []
    for i, layer in enumerate(maps):
        given = torch.as_tensor(layer).detach().cpu().float()
        shape, T = tuple(given.shape), len(tokens)
        if given.dim() == 4 and shape[0] == 1:
            given = given[0]
        if given.dim() != 3 or given.shape[1:] != (T, T) or 0 in given.shape:
            raise ValueError(
                f"layer {i} of the maps has shape {shape}; {T} tokens of one sentence need (1, H, {T}, {T}) or "
                f"(H, {T}, {T}). Of a batch, choose a row: [layer[0] for layer in maps]"
            )
        sums = given.sum(-1)
        share = (given >= 0).all(-1) & (((sums - 1).abs() < ROUNDING) | (sums == 0))
        if not share.all():
            head, query = (~share).nonzero()[0].tolist()
            raise ValueError(
                f"layer {i}, head {head}: the weights of query {query} are no shares, they sum to "
                f"{sums[head, query]:.3g}, the least is {given[head, query].min():.3g}. Give the weights after the "
                "softmax over the keys, without dropout (model.eval())"
            )
        settled.append(given)
    if not settled:
        raise ValueError("there are no attention maps: give one (H, T, T) for each layer")
    return settled


def label(text: str, longest: int = 12) -> str:
    """A token's text in one short line, its white space made visible.

    >>> label(" begin"), label("\\n"), label("incomprehensible")
    ('␣begin', '⏎', 'incomprehen…')
    """
    return shortened(one_line(text) or "∅", longest)


def heads_figure(maps, tokens: Sequence[str], title: str) -> Figure:
    """Every head of every layer: a layer a row, a head a column; in each panel queries down and keys across.

    `maps` as in `settle_maps`. Layers and heads are counted from 0, as in `maps[layer][:, head]`.

    >>> heads_figure(model.attention_maps(ids), tokenizer.tokens(ids[0].tolist()), "Untrained")  # doctest: +SKIP
    """
    maps = settle_maps(maps, tokens)
    rows, across, T = len(maps), max(map(len, maps)), len(tokens)
    side = min(max(2.0, 0.16 * T + 0.2), max(1.3, 12 / across), 6)  # inches
    every = math.ceil(T * 0.13 / side)  # so that labels of 8 points do not touch
    places, names = range(0, T, every), [label(text) for text in tokens[::every]]
    margin = 0.085 * max(map(advance, names))
    width = max(across * (side + 0.15) + margin + 1.3, min(0.11 * advance(title), 12) + 0.3)
    size = (width, rows * (side + 0.3) + margin + 0.8)
    with plt.rc_context(MANNER):
        sheet = {"figsize": size, "layout": "compressed", "FigureClass": Lettered}
        made, axes = plt.subplots(rows, across, squeeze=False, **sheet)
        for (row, column), ax in np.ndenumerate(axes):
            ax.grid(False)
            if column >= len(maps[row]):
                ax.axis("off")
                continue
            image = ax.imshow(maps[row][column].numpy(), cmap=SCALE, norm=NORM, interpolation="nearest")
            ax.set_title(f"layer {row}, head {column}", fontsize=9, weight="normal")
            lowest = row + 1 == rows or column >= len(maps[row + 1])
            style = {"fontsize": 8, "family": "monospace", "parse_math": False}
            ax.set_xticks(places, names if lowest else [""] * len(names), rotation=90, **style)
            ax.set_yticks(places, names if column == 0 else [""] * len(names), **style)
            ax.tick_params(length=2)
        made.supxlabel("key: the token that is attended to", fontsize=10)
        made.supylabel("query: the token that attends", fontsize=10)
        bar = made.colorbar(image, ax=axes, ticks=TICKS, format="{x:.0%}", aspect=25 * rows, pad=0.02)
        bar.set_label("share of attention")
        made.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=12)
        plt.close(made)
    return made
