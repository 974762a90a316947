"""Say what is given and where to write, and watch the grids of the whole line sharpen, step by step."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from traitlets import Float, Int, Unicode

from lab.decode import Sampling
from lab.diffusion import Codebook, Denoiser, denoise
from lab.diffusion.sampler import BLANK, METHODS
from lab.diffusion.writing import text_of
from lab.show.clusters import legible
from lab.show.token_grids import cells_text, stages
from lab.show.widgets.base import Widget

ONE, MANY = "_", "*"  # in the text: one token to write, and as many as `gap` says
MOST_STEPS = 64


@dataclass(frozen=True)
class Written:
    """A line as it came about: cells int64 `(steps + 1, T, n)`, which of its T tokens were given, and its ids `(T,)`.

    `times`, one a stage, go from 1 to 0; an id of -1 is a grid that is no word.
    """

    cells: Tensor
    given: tuple[bool, ...]
    ids: Tensor
    times: tuple[float, ...]


def line_to_write(tokenizer, text: str, gap: int) -> list[int]:
    """The ids of a line between `<s>` and `</s>`, -1 where to write: at each `_`, and `gap` times at each `*`.

    A space before either belongs to what is written, as the words of most tokenizers begin with their space.

    Raises ValueError for a text that leaves nothing to write.
    """
    ids = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    for part in re.split(r"([_*])", re.sub(r" +(?=[_*])", "", text)):
        if part in (ONE, MANY):
            ids += [BLANK] * (1 if part == ONE else gap)
        else:
            ids += tokenizer.encode(part)
    ids += [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    if BLANK not in ids:
        raise ValueError(
            f"there is nothing to write: put {ONE} into the text for one token, or {MANY} for several"
        )
    return ids


def write(model: Denoiser, ids: list[int], *, seed: int = 0, **how) -> Written:
    """Let the model fill in a line of ids, -1 where to write; the same `seed` gives the same line.

    `how` are `steps`, `method` and `sampling` of `denoise`. Raises ValueError for a line that is longer than the
    context, and as `denoise` does.
    """
    if len(ids) > model.config.context:
        raise ValueError(
            f"{len(ids)} tokens with <s> and </s>, but {model.config.context} fit in the context of the model: "
            "shorten the text, or leave fewer to write"
        )
    made = denoise(model, torch.tensor(ids), generator=torch.Generator().manual_seed(seed), **how)
    given = tuple(token != BLANK for token in ids)
    return Written(made.cells[:, 0].cpu(), given, made.ids[0].cpu(), made.times)


def text_at(written: Written, codebook: Codebook, tokenizer, stage: int) -> str:
    """The text that the grids of one stage decode to; a grid that is no word yet stands as `_`."""
    return text_of(written.cells[stage], codebook, tokenizer, f" {ONE}").strip()


class DenoisingViewer(Widget):
    """A text with places to write, a button that writes them, and a slider over the steps in which it was done.

    In the text `_` is one token to write and `*` as many as `gap`; a space before either belongs to what is written.

    >>> DenoisingViewer(model, tokenizer, "And God said, * the earth.", steps=32)  # doctest: +SKIP

    Raises ValueError for a tokenizer of another vocabulary; what a line cannot be is told in place.
    """

    text = Unicode("In the beginning * the earth.").tag(sync=True)
    gap = Int(6, min=1).tag(sync=True)
    steps = Int(16, min=1).tag(sync=True)
    method = Unicode("ancestral").tag(sync=True)
    temperature = Float(1.0, min=0).tag(sync=True)
    seed = Int(0).tag(sync=True)
    stage = Int(0, min=0, help="how many steps were made when what is shown was there").tag(sync=True)

    def __init__(self, model: Denoiser, tokenizer, text: str = text.default_value, **state):
        self.model, self.tokenizer = model, tokenizer
        self.codebook = Codebook(model.patterns.cpu(), model.config.num_colours, grid=model.config.grid)
        self.codebook.require_vocab_size(tokenizer.vocab_size)
        self.written: Written | None = None
        super().__init__(text=text, **{"stage": state.get("steps", self.steps), **state})

    def draw(self) -> dict:
        """Write the line anew: for each stage its grids, the words that they say, and the text that they decode to."""
        ids = line_to_write(self.tokenizer, self.text, self.gap)
        how = {"steps": self.steps, "method": self.method, "sampling": Sampling(self.temperature)}
        self.written = write(self.model, ids, seed=self.seed, **how)
        known = METHODS if self.model.noise.kind == "absorbing" else METHODS[:1]
        return {
            "columns": self.codebook.grid[1],
            "colours": self.codebook.num_colours,
            "given": list(self.written.given),
            "stages": [self._stage(line, i) for i, line in enumerate(self._lines(range(self.steps + 1)))],
            "methods": list(known),
            "most_steps": max(self.steps, MOST_STEPS),
        }

    def write_anew(self) -> None:
        """Write by what the controls hold now, and look at the end of it."""
        self.redraw()
        if not self.problem:
            self.stage = self.steps

    answering = (write_anew,)

    def _lines(self, at: Sequence[int] | None) -> list:
        made = self.written
        return stages(made.cells, self.codebook, self.tokenizer, at=at, times=made.times, given=made.given)

    def _stage(self, line, stage: int) -> dict:
        text = text_at(self.written, self.codebook, self.tokenizer, stage)
        cells = cells_text(line.cells, self.codebook)
        return {"label": line.label, "cells": cells, "words": list(line.words), "text": legible(text)}
