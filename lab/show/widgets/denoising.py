"""Say what is given and where to write, and watch the grids of the whole line sharpen, step by step."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets as widgets
import torch
from IPython.display import SVG
from torch import Tensor

from lab.decode import Sampling
from lab.diffusion import Codebook, Denoiser, denoise
from lab.diffusion.sampler import BLANK, METHODS
from lab.diffusion.writing import text_of
from lab.show.clusters import escaped, shortened
from lab.show.colours import GREY
from lab.show.token_grids import cell_colours, lines_figure, lines_svg, stages
from lab.show.widgets.parts import LETTERS, Explorer, in_row, page, wide

ONE, MANY = "_", "*"  # in the text: one token to write, and as many as `gap` says
MOST_STEPS = 64


@dataclass(frozen=True)
class DenoisingSettings:
    """What the controls hold; `gap`: how many tokens a `*` in the text stands for."""

    text: str = "In the beginning * the earth."
    gap: int = 6
    steps: int = 16
    method: str = "ancestral"
    temperature: float = 1.0
    seed: int = 0


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
    for part in re.split(r"([_*])", text):
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


def write(model: Denoiser, tokenizer, settings: DenoisingSettings) -> Written:
    """Let the model fill in the line that the settings ask for; the same settings give the same line.

    Raises ValueError for a line that the model cannot read, and as `denoise` does.
    """
    ids = line_to_write(tokenizer, re.sub(r" +(?=[_*])", "", settings.text), settings.gap)
    if len(ids) > model.config.context:
        raise ValueError(
            f"{len(ids)} tokens with <s> and </s>, but {model.config.context} fit in the context of the model: "
            "shorten the text, or leave fewer to write"
        )
    made = denoise(
        model,
        torch.tensor(ids),
        steps=settings.steps,
        method=settings.method,
        sampling=Sampling(settings.temperature),
        generator=torch.Generator().manual_seed(settings.seed),
    )
    given = tuple(token != BLANK for token in ids)
    return Written(made.cells[:, 0].cpu(), given, made.ids[0].cpu(), made.times)


def text_at(written: Written, codebook: Codebook, tokenizer, stage: int) -> str:
    """The text that the grids of one stage decode to; a grid that is no word yet stands as `_`."""
    return text_of(written.cells[stage], codebook, tokenizer, f" {ONE}").strip()


def render(written: Written, codebook: Codebook, tokenizer, stage: int) -> str:
    """HTML of one stage: the grids of the line, and the text that they decode to. Pure."""
    (line,) = stages(written.cells, codebook, tokenizer, at=[stage], times=written.times, given=written.given)
    text = escaped(text_at(written, codebook, tokenizer, stage))
    return page(
        lines_svg([line], codebook),
        f"<div role='status' style='padding:6px 12px 0;{LETTERS}'>{text}</div>",
        f"<div style='padding:4px 12px 0;color:{GREY}'>{_key(codebook)}</div>",
    )


def _key(codebook: Codebook) -> str:
    """What the signs beneath the grids mean."""
    swatches = "".join(
        f"<span style='display:inline-block;width:10px;height:10px;margin-right:2px;background:{colour}'></span>"
        for colour in cell_colours(codebook.num_colours)
    )
    return (
        f"{swatches} colours; paper with an edge: blank. Underlined: given. “12 fit”: twelve words agree with "
        "what is visible; “word?”: the nearest one to a grid that is not finished; _: nothing is visible."
    )


class DenoisingViewer(Explorer):
    """A text with places to write, a button that writes them, and a slider over the steps in which it was done.

    In the text `_` is one token to write and `*` as many as `gap`; a space before either belongs to what is written.

    >>> viewer = DenoisingViewer(model, tokenizer, "And God said, * the earth.")  # doctest: +SKIP
    >>> display(viewer, viewer.figure())  # doctest: +SKIP

    Raises ValueError for a tokenizer of another vocabulary; what a line cannot be is told in place.
    """

    def __init__(
        self,
        model: Denoiser,
        tokenizer,
        text: str = DenoisingSettings.text,
        *,
        gap: int = DenoisingSettings.gap,
        steps: int = DenoisingSettings.steps,
        method: str = DenoisingSettings.method,
        seed: int = DenoisingSettings.seed,
    ):
        self.model, self.tokenizer = model, tokenizer
        self.codebook = Codebook(model.patterns.cpu(), model.config.num_colours, grid=model.config.grid)
        self.codebook.require_vocab_size(tokenizer.vocab_size)
        self.written: Written | None = None
        methods = METHODS if model.noise.kind == "absorbing" else METHODS[:1]
        self.text = widgets.Text(text, description="text", layout=wide())
        self.gap = widgets.BoundedIntText(gap, min=1, max=model.config.context, description="* stands for")
        self.steps = widgets.IntSlider(steps, min=1, max=max(steps, MOST_STEPS), description="steps")
        self.method = widgets.Dropdown(options=methods, value=method, description="method")
        self.temperature = widgets.FloatSlider(1.0, min=0, max=2, step=0.05, description="temperature")
        self.seed = widgets.IntText(seed, description="seed")
        self.button = widgets.Button(description="Write", button_style="primary", icon="play")
        self.stage = widgets.IntSlider(0, min=0, max=steps, description="after step")
        self.play = widgets.Play(min=0, max=steps, interval=400)
        self.view = widgets.HTML(layout=wide())
        self.named(*vars(DenoisingSettings()), "stage", "play")
        for name in ("gap", "seed"):
            getattr(self, name).layout.width = "12rem"
        self.stage.layout.width = "30rem"
        self.view.add_class("lab-grids-view")
        self.button.add_class("lab-write")
        self.button.on_click(lambda _: self.redraw(self._write))
        widgets.link((self.play, "value"), (self.stage, "value"))
        self.watch(["stage"], self.redraw, seconds=0.03)
        self.redraw(self._write)
        super().__init__(
            [
                self.text,
                in_row(self.gap, self.steps, self.method),
                in_row(self.temperature, self.seed, self.button),
                in_row(self.stage, self.play),
                self.view,
            ]
        )

    @property
    def settings(self) -> DenoisingSettings:
        return self.held(DenoisingSettings)

    def figure(self, at: Sequence[int] | None = None, *, width: float = 900) -> SVG:
        """Some steps of the line, one above the other: the picture where nothing can be moved.

        `at` are the steps, by default the first, the last and three between; `width` is at most so many pixels, longer
        lines go on below. Raises ValueError when nothing was written, or a step was not made.
        """
        if self.written is None:
            raise ValueError(f"nothing was written: {self.problem}")
        made, last = self.written, len(self.written.cells) - 1
        title = f"{self.model.config.noise} noise, {last} steps: {text_at(made, self.codebook, self.tokenizer, last)}"
        title = shortened(title, min(80, int(width / 10.5) - 3))  # a longer one would widen the picture
        lines = stages(made.cells, self.codebook, self.tokenizer, at=at, times=made.times, given=made.given)
        return lines_figure(lines, self.codebook, title, width=width)

    def drawn(self) -> str:
        return render(self.written, self.codebook, self.tokenizer, self.stage.value)

    def _write(self) -> None:
        """Write anew, and look at the end of it."""
        self.written = write(self.model, self.tokenizer, self.settings)
        last = len(self.written.cells) - 1
        self.stage.max = self.play.max = last
        self.stage.value = last
