"""Still pictures of windows and of masks."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from lab.data.batch import IGNORE
from lab.show.clusters import one_line, shortened
from lab.show.colours import BLUE, FAINT, GREY, INK, PAPER, TINTS
from lab.show.plots import figure

MAY, MAY_NOT = BLUE, "#EDEFF2"


def masks_figure(masks: Mapping[str, Tensor], title: str, labels: Sequence[str] | None = None) -> Figure:
    """Square masks `(T, T)` side by side: blue where the row's token may attend to the column's.

    `labels`, one a token, are written along both axes of small masks. Raises ValueError for no masks, and for
    one of another shape.
    """
    if not masks:
        raise ValueError("there are no masks to draw: give at least one, such as {'causal': mask}")
    height = 3.1 if labels is None else 3.4
    made, axes = figure(title, "looked at", "looking", panels=len(masks), size=(3.0 * len(masks), height))
    for ax, (name, mask) in zip([axes] if len(masks) == 1 else axes, masks.items(), strict=True):
        if mask.dim() < 2 or not 0 < mask.numel() == mask.shape[-2] * mask.shape[-1]:
            raise ValueError(f"{name}: expected a mask (T, T), got {tuple(mask.shape)}")
        allowed = mask.reshape(mask.shape[-2:]).cpu().numpy()
        rows, columns = allowed.shape
        ax.imshow(allowed, cmap=ListedColormap([MAY_NOT, MAY]), vmin=0, vmax=1)
        ax.set_title(f"{_name(name, 28)}: {allowed.mean():.0%} allowed", fontsize=10, weight="normal")
        ax.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
        ax.grid(False)
        ax.grid(which="minor", color=PAPER, linewidth=1)
        ax.tick_params(which="both", length=0)
        if labels is not None:
            names = [_name(label, 20) for label in labels]
            ax.set_xticks(range(columns), names, rotation=90, fontsize=8)
            ax.set_yticks(range(rows), names, fontsize=8)
    return made


def windows_figure(
    windows: Mapping[str, Sequence[tuple[Tensor, Tensor]]], tokens: Sequence[str], title: str
) -> Figure:
    """For each policy its windows, one a row: the token read in each slot and, small, the one to predict.

    `tokens` names the ids; a slot without a target is grey, one of padding is empty. Raises ValueError where there is
    no window.
    """
    if not (every := [pair for pairs in windows.values() for pair in pairs]):
        raise ValueError("there are no windows to draw: give at least one (x, y) of one policy")
    context = len(every[0][0])
    rows = max(map(len, windows.values()))
    size = (max(2.6, 0.62 * context + 0.5) * len(windows), 0.38 * rows + 1.4)
    made, axes = figure(title, "place in the window", "", panels=len(windows), size=size)
    np.atleast_1d(axes)[0].set_ylabel("window")
    for ax, (policy, pairs) in zip(np.atleast_1d(axes), windows.items(), strict=True):
        for row, (x, y) in enumerate(pairs):
            for place, (read, target) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
                asked = target != IGNORE
                colour = TINTS[read % len(TINTS)] if asked else FAINT
                ax.add_patch(_slot(place, row, colour))
                look = {"va": "center", "color": INK, "ha": "center", "fontsize": 9}
                ax.text(place, row - 0.12, _name(tokens[read], 10) if read else "", **look)
                if asked:
                    look |= {"color": GREY, "ha": "right", "fontsize": 6}
                    ax.text(place + 0.4, row + 0.3, _name(tokens[target], 14), **look)
        ax.set(xlim=(-0.6, context - 0.4), ylim=(rows - 0.4, -0.6), xticks=range(context))
        ax.set_yticks(range(len(pairs)))
        ax.grid(False)
        ax.set_title(f"{_name(policy, 30)}: {len(pairs)}", fontsize=10, weight="normal")
    return made


def _name(token: str, most: int) -> str:
    """A token's text as it fits into its slot, which shows where its spaces are."""
    return shortened(one_line(token, " "), most)


def _slot(place: float, row: float, colour: str) -> FancyBboxPatch:
    return FancyBboxPatch(
        (place - 0.38, row - 0.34), 0.76, 0.68, boxstyle="round,pad=0.05", color=colour, linewidth=0
    )
