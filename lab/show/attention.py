"""Pictures of attention: every head of a model at once (matplotlib), or one head to point at (SVG).

Letters: B rows, H heads, T tokens of one sentence. `weights[query, key]` is the share of its attention that a
token (the query) gives to another (the key); the shares of a query sum to 1.
"""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap, PowerNorm, to_hex
from matplotlib.figure import Figure
from torch import Tensor

from lab.show.clusters import advance, escaped, one_line, shortened
from lab.show.colours import BLUE, FAINT, GREY, INK, ORANGE, PAPER, SKY
from lab.show.lettering import Lettered
from lab.show.plots import MANNER

# Ever darker, so that it reads without colour; by the square root of the share, so that 2% is seen beside 100%.
SCALE = LinearSegmentedColormap.from_list("share", ["#F4F6F8", SKY, BLUE, "#04263F"])
NORM = PowerNorm(0.5, vmin=0, vmax=1)
TICKS = (0, 0.02, 0.1, 0.25, 0.5, 1)

LONGEST = 64  # tokens in the SVG; more lines than that cannot be told apart
LEAST = 0.01  # shares below are not drawn as lines
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


def strongest(row: Tensor, count: int = 3) -> list[tuple[int, float]]:
    """The keys `(T,)` that get most, with their shares, largest first; keys that get nothing are left out.

    >>> strongest(torch.tensor([0.0, 0.75, 0.25]))
    [(1, 0.75), (2, 0.25)]
    """
    order = sorted(range(len(row)), key=lambda key: -float(row[key]))[:count]  # stable: of equals, the first
    return [(key, float(row[key])) for key in order if row[key] > 0]


def told(row: Tensor, tokens: Sequence[str], query: int) -> str:
    """One sentence on what a query attends to, such as `“b” (token 1) attends most to “a” (0) 75.0%`."""
    who = f"“{label(tokens[query])}” (token {query})"
    most = [f"“{label(tokens[key])}” ({key}) {share:.1%}" for key, share in strongest(row)]
    return f"{who} attends most to " + ", ".join(most) if most else f"{who} attends to nothing"


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


# The rules name no id: what is pointed at decides within its own picture, so two pictures do not meet. Where a page
# strips them, the attributes of the drawing still show the chosen token's lines and hide the others.
STYLE = f"""<style>
.lab-attention .query {{ cursor: pointer; outline: none; }}
.lab-attention .query:focus .spot {{ stroke: {INK}; stroke-width: 2px; }}
.lab-attention .queries:focus-within .query .shown {{ display: none; }}
.lab-attention .queries .query:focus .shown {{ display: inline; }}
.lab-attention .queries:hover .query .shown {{ display: none; }}
.lab-attention .queries .query:hover .shown {{ display: inline; }}
</style>"""
CHAR, LEFT, LINES, BAR = 7.3, 14, 190, 80  # pixels: a letter's advance, the margin, the lines, a bar of 100%
END, SANS = "text-anchor='end'", "font-family='system-ui, sans-serif' font-size='13'"
BOLD = SANS + " font-weight='bold'"


def attention_html(weights, tokens: Sequence[str], query: int = -1, heading: str = "") -> str:
    """One head as SVG: its map, and lines from a query to what it attends to, wider and darker for a larger share.

    `weights` `(T, T)`. The lines of `query` (by default the last token) stand there; pointing at another token, or
    reaching it with the tab key, shows its lines instead, without any script.

    >>> HTML(attention_html(model.attention_maps(ids)[0][0, 2], tokens))  # doctest: +SKIP

    Raises ValueError for weights that do not belong to the tokens, and for more than `LONGEST` tokens.
    """
    T = len(tokens)
    if T > LONGEST:
        raise ValueError(f"{T} tokens are too many for this picture, which holds {LONGEST}: shorten the text")
    weights = settle_maps([torch.as_tensor(weights)[None]], tokens)[0][0]
    if not -T <= query < T:
        raise ValueError(f"query {query} is not among the {T} tokens: use 0 to {T - 1}")
    return f"<div class='lab-attention'>{STYLE}{_Drawing(weights, tokens).svg(query % T, heading)}</div>"


class _Drawing:
    """From left to right: the map, the queries' names, the lines, the keys' names, the bars."""

    def __init__(self, weights: Tensor, tokens: Sequence[str]):
        self.weights, self.tokens, T = weights, tokens, len(tokens)
        self.names = [label(text) for text in tokens]
        wide = max(CHAR * max(map(advance, self.names)), 44)
        self.high = 24 if T <= 16 else 20 if T <= 32 else 16  # of a row
        self.cell = min(self.high, 384 / T)
        self.top = 74 + round(wide)
        self.queries = LEFT + T * self.cell + 10 + wide  # where the names of the queries end
        self.start = self.queries + 8
        self.stop = self.start + LINES
        self.keys = self.stop + 8
        self.bars = self.keys + wide + 10
        said = max(advance(told(row, tokens, i)) for i, row in enumerate(weights))
        self.width, self.height = max(self.bars + BAR + 60, 700, 8.6 * said), self.top + T * self.high + 44

    def svg(self, query: int, heading: str) -> str:
        T, foot = len(self.tokens), self.top + len(self.tokens) * self.high
        every = math.ceil(13 / self.cell)  # so that the names above the map do not touch
        above = "".join(
            f"<g transform='translate({LEFT + (j + 0.5) * self.cell + 4:.1f},{self.top - 6:.1f}) rotate(-90)'>"
            f"{_text(0, 0, self.names[j])}</g>"
            for j in range(0, T, every)
        )
        beside = "".join(_text(self.keys, self._middle(j) + 4, name) for j, name in enumerate(self.names))
        heads = ((self.queries, "query", END), (self.keys, "key", ""), (self.bars, "share", ""))
        heads = "".join(_text(x, self.top - 8, word, f"{SANS} {end}") for x, word, end in heads)
        rows = "".join(self._row(i, chosen=i == query) for i in range(T))
        return (
            f"<svg xmlns='http://www.w3.org/2000/svg' role='group' aria-label='{escaped(heading)}' "
            f"width='{self.width:.0f}' height='{self.height:.0f}' viewBox='0 0 {self.width:.0f} {self.height:.0f}' "
            "style='max-width:100%;height:auto' "
            f"font-family='ui-monospace, Menlo, Consolas, monospace' font-size='12' fill='{INK}'>"
            f"<rect width='100%' height='100%' fill='{PAPER}' rx='6'/>{_text(LEFT, 24, heading, SANS)}{above}{heads}"
            f"<rect x='{LEFT}' y='{self.top:.1f}' width='{T * self.cell:.1f}' height='{T * self.high}' "
            f"fill='{_colour(0)}' stroke='{FAINT}'/>{beside}<g class='queries'>{rows}</g>{_swatches(foot + 14)}</svg>"
        )

    def _row(self, i: int, chosen: bool) -> str:
        """Query `i`: its row of the map, its name, and what is shown while it is chosen or pointed at."""
        y, said = self.top + i * self.high, told(self.weights[i], self.tokens, i)
        cells = "".join(
            f"<rect x='{LEFT + j * self.cell:.1f}' y='{y:.0f}' width='{self.cell:.1f}' height='{self.high}' "
            f"fill='{_colour(share)}'/>"
            for j, share in enumerate(self.weights[i].tolist())
            if share
        )
        spot = f"x='{LEFT - 3}' y='{y:.1f}' width='{self.queries - LEFT + 6:.1f}' height='{self.high}' rx='3'"
        hidden = "" if chosen else " display='none'"
        return (
            f"<g class='query' tabindex='0' role='img' aria-label='{escaped(said)}'>{cells}"
            f"{_text(self.queries, self._middle(i) + 4, self.names[i], END)}"
            f"<rect class='spot' {spot} fill='transparent'/>"
            f"<g class='shown' pointer-events='none'{hidden}>{_text(LEFT, 46, said, BOLD)}"
            f"<rect {spot} fill='none' stroke='{ORANGE}' stroke-width='2.5'/>{self._lines(i)}</g></g>"
        )

    def _lines(self, i: int) -> str:
        """Lines from query `i`, the widest drawn last, and the share of each key as a bar."""
        lines = bars = shares = ""
        bends = self.start, self.start + 80, self.stop - 80, self.stop
        leave, turn, turned, arrive = map(round, bends)
        for j, share in sorted(enumerate(self.weights[i].tolist()), key=lambda pair: pair[1]):
            if share >= LEAST:
                y, to = self._middle(i), self._middle(j)
                lines += (
                    f"<path d='M{leave},{y:.0f}C{turn},{y:.0f} {turned},{to:.0f} {arrive},{to:.0f}' "
                    f"stroke-width='{1 + 8 * share:.1f}' stroke-opacity='{0.25 + 0.75 * share:.2f}'/>"
                )
                bars += f"M{self.bars:.0f},{to:.0f}h{BAR * share:.1f}"
                shares += _text(self.bars + BAR * share + 5, to + 4, f"{share:.1%}")
        return f"<g fill='none' stroke='{BLUE}'>{lines}<path d='{bars}' stroke-width='10'/></g>{shares}"

    def _middle(self, row: int) -> float:
        return self.top + (row + 0.5) * self.high


def _text(x: float, y: float, content: str, more: str = "") -> str:
    return f"<text x='{x:.0f}' y='{y:.0f}' {more}>{escaped(content)}</text>"


def _colour(share: float) -> str:
    return to_hex(SCALE(NORM(share)))


def _swatches(y: float) -> str:
    """What the colours of the map mean."""
    drawn = _text(LEFT, y + 11, "share of attention", SANS)
    for i, share in enumerate(TICKS):
        x = LEFT + 125 + 58 * i
        drawn += f"<rect x='{x}' y='{y:.1f}' width='14' height='14' fill='{_colour(share)}' stroke='{GREY}'/>"
        drawn += _text(x + 19, y + 11, f"{share:.0%}", SANS)
    return drawn
