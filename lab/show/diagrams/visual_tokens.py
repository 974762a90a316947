"""The picture of notebook 07: how a text becomes grids, the grids noise, and the noise another text.

Letters: B lines, T tokens, n cells a token, V words.
"""

import re
from collections.abc import Iterator, Mapping
from random import Random
from typing import NamedTuple
from xml.etree import ElementTree

import torch
from torch import Tensor

from lab.diffusion import Denoiser, denoise
from lab.diffusion.sampler import BLANK
from lab.show.colours import PAPER
from lab.show.diagrams.palette import INK
from lab.show.diagrams.render import quoted, template, to_svg
from lab.show.diagrams.shapes import written
from lab.show.diagrams.sketch import SVG, sketch
from lab.show.token_grids import cell_colours

DESCRIPTION = (
    "Left, downwards: a text becomes tokens, each token the grid that the codebook has for it, and noise takes colours "
    "away. In the middle the denoiser sees the whole noised line and gives every token a score for every word; in "
    "training these go to the loss. Right, upwards: to write, words are drawn, some of their cells are shown, and "
    "the line goes back into the denoiser, until each grid is a word and the words are text. The grids drawn are those "
    "of this codebook and this noise. Every arrow bears the shape of its tensor."
)
STEPS = 4  # of the line that is written for the picture
DRAWN = 4  # grids in a node
PITCH, GAP = 7.5, 9.0  # points: from a cell to the next, and between grids


class Pipeline(NamedTuple):
    """The tensors on the way there and back: ids `(B, T)`, cells `(B, T, n)`, logits `(B, T, V)`."""

    ids: Tensor
    cells: Tensor
    noised: Tensor
    logits: Tensor
    shown: Tensor
    new_ids: Tensor


def run_pipeline(model: Denoiser, ids: Tensor, seed: int = 0) -> Pipeline:
    """Send ids `(B, T)` through: their grids, these noised to t = 0.5, what the model says, and new lines.

    `shown` are the grids half-way through writing as many new lines of as many tokens.
    """
    generator, half = torch.Generator().manual_seed(seed), torch.full((len(ids),), 0.5)
    cells = model.cells(ids)
    noised = model.noise.corrupt(cells, half, generator)
    with torch.inference_mode():
        logits = model(noised, alpha=model.noise.alpha(half).to(model.from_cells.weight.dtype))
    made = denoise(model, torch.full_like(ids, BLANK), steps=STEPS, generator=generator)
    return Pipeline(ids, cells, noised, logits, made.cells[STEPS // 2], made.ids)


def visual_tokens(model: Denoiser, ids: Tensor, example: str = "In the beginning") -> str:
    """From text to grids to text as a sketched SVG, with the shapes and the grids of ids `(B, T)` in this model.

    `example` is the text that the path starts with. Raises ValueError for a model that scores colours, not words.
    """
    c = model.config
    if c.head != "codebook":
        raise ValueError(f"the picture shows a model that scores words (head codebook), got head {c.head}")
    made = run_pipeline(model, ids)
    (B, T), words = ids.shape, ("B T", "B T n", "B T n", "B T V", "B T n", "B T")
    numbers = {"B": B, "T": T, "n": c.num_cells, "V": c.vocab_size}
    shapes = {name: tuple(tensor.shape) for name, tensor in made._asdict().items()}
    said = written(dict(zip(Pipeline._fields, words, strict=True)), shapes, numbers)
    plain = to_svg(_dot(model, said, example))
    strips = {name: getattr(made, name)[0, :DRAWN] for name in ("cells", "noised", "shown")}
    drawn, end = sketch(plain, DESCRIPTION), "</g>\n<g transform="
    return drawn.replace(end, "".join(_strips(plain, strips, c.num_colours)) + end)


def _strips(plain: str, strips: Mapping[str, Tensor], num_colours: int) -> Iterator[str]:
    """Grids with wobbly edges, in the lower half of the nodes of these names."""
    colours = (*cell_colours(num_colours), PAPER)
    for node in ElementTree.fromstring(plain).iter(f"{SVG}g"):
        name = node.findtext(f"{SVG}title")
        if node.get("class").startswith("node") and name in strips:
            shape = next(e for e in node if e.get("points") or e.get("d"))
            corners = re.findall(r"(-?[\d.]+),(-?[\d.]+)", shape.get("points") or shape.get("d"))
            xs, ys = ([float(pair[i]) for pair in corners] for i in (0, 1))
            yield from _strip(strips[name], colours, (min(xs) + max(xs)) / 2, max(ys), Random(name))


def _strip(
    grids: Tensor, colours: tuple[str, ...], middle: float, bottom: float, rng: Random
) -> Iterator[str]:
    T, n = grids.shape
    side = round(n**0.5)
    columns = side if side * side == n else n
    rows = n // columns
    left, top = middle - (T * columns * PITCH + (T - 1) * GAP) / 2, bottom - rows * PITCH - 9
    squares: dict[str, list[str]] = {}
    for t in range(T):
        for i, colour in enumerate(grids[t].tolist()):
            row, column = divmod(i, columns)
            x, y = left + t * (columns * PITCH + GAP) + column * PITCH, top + row * PITCH
            corners = ((x, y), (x + PITCH, y), (x + PITCH, y + PITCH), (x, y + PITCH))
            shaken = [
                f"{a + rng.uniform(-0.4, 0.4):.1f} {b + rng.uniform(-0.4, 0.4):.1f}" for a, b in corners
            ]
            squares.setdefault(colours[colour], []).append(f"M{'L'.join(shaken)}Z")
    for colour, paths in squares.items():
        yield f'<path d="{"".join(paths)}" fill="{colour}" stroke="{INK}" stroke-width="0.5"/>\n'


def _dot(model: Denoiser, said: dict[str, str], example: str) -> str:
    c = model.config
    lost = "blank" if model.noise.kind == "absorbing" else "any colour"
    until = "until no cell is blank" if model.noise.kind == "absorbing" else "until all steps are made"
    room = "height=1.2 width=3.1"
    cells = f"n = {c.num_cells} cells a token in {c.num_colours} colours"
    legend = f"B lines, T tokens, {cells}, V = {c.vocab_size:,} words"
    size = f"{model.num_parameters:,} parameters"
    words = {"lost": lost, "until": until, "room": room, "legend": legend, "size": size}
    return template("visual_tokens", c=c, said=said, example=quoted(example), **words)
