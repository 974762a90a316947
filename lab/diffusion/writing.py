"""A line of text from a saved visual-token model: what stands before and after is given, the rest is written."""

from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import torch
from torch import Tensor

from lab.decode import Sampling
from lab.diffusion.codebook import Codebook
from lab.diffusion.sampler import Method, Trajectory, canvas, denoise
from lab.diffusion.visual import VisualDiffusion


@dataclass(frozen=True)
class Line:
    """`text`, prompt and suffix included; its `ids` from `<s>` to `</s>`; and how they came about."""

    text: str
    ids: list[int]
    trajectory: Trajectory


def write_line(
    model: VisualDiffusion,
    tokenizer,
    *,
    prompt: str = "",
    suffix: str = "",
    steps: int = 16,
    length: int | None = None,
    max_new_tokens: int | None = None,
    method: Method = "ancestral",
    sampling: Sampling | None = None,
    generator: torch.Generator | None = None,
) -> Line:
    """One line that begins with `prompt` and ends with `suffix`, in `steps` steps; neither is ever changed.

    `length` tokens long, `<s>` and `</s>` not counted; by default drawn from the lengths of the lines it was trained
    on, those that fit: longer than prompt and suffix, by `max_new_tokens` at most, and not beyond the context. A
    factorised head draws each cell by itself; a grid that is no word is then read as the nearest one.

    Raises ValueError for a line that does not fit, fewer steps than 1, a method that the noise does not know, and a
    code in which words share a pattern.
    """
    before, after = tokenizer.encode(prompt), tokenizer.encode(suffix)
    given, longest = len(before) + len(after), model.config.context - 2
    if max_new_tokens is not None:
        longest = min(longest, given + max_new_tokens)
    if given >= longest if length is None else not given <= length <= longest:
        raise ValueError(
            f"prompt and suffix have {given} tokens, a line at most {longest} (the context, and max_new_tokens), and "
            f"the length asked for is {length}: shorten them, or ask for another length"
        )
    if length is None:
        lengths, known = range(given + 1, longest + 1), model.lengths
        weights = -torch.tensor([known.nats(n) for n in lengths], dtype=torch.float64)
        length = lengths[int(torch.multinomial(weights.softmax(0), 1, generator=generator))]
    book = model.codebook()
    ids = canvas(length + 2, prefix=[tokenizer.bos_id, *before], suffix=[*after, tokenizer.eos_id])
    how = {"steps": steps, "method": method, "sampling": sampling, "generator": generator}
    trajectory = denoise(model.denoiser, ids, **how)
    written = trajectory.ids[0]
    read = written.where(written >= 0, book.decode(trajectory.cells[-1, 0])).tolist()
    return Line(tokenizer.decode(read[1:-1]), read, trajectory)


def text_of(cells: Tensor, codebook: Codebook, tokenizer, hole: str = " _") -> str:
    """The text of grids `(T, n)`, finished or not: a grid that is no word yet stands as `hole`."""
    ids, distances = codebook.nearest(cells)
    whole = (cells != codebook.blank).all(-1) & (distances == 0)
    runs = groupby(zip(ids.tolist(), whole.tolist(), strict=True), key=itemgetter(1))
    return "".join(
        tokenizer.decode([token for token, _ in run]) if known else hole * len(list(run))
        for known, run in runs
    )
