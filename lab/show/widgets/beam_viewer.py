"""Watch a beam search grow its tree: what each step keeps, what it gives up, and which lines win at the end."""

from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets as widgets
from IPython.display import SVG
from torch import nn

from lab.decode import BeamSearch, BeamStep, beam_search
from lab.show.beams import beam_svg, beam_tree, key
from lab.show.clusters import escaped
from lab.show.widgets.parts import MONO, Explorer, in_row, page, wide
from lab.show.widgets.writing import Settings, prompt_ids

MOST_BEAMS, LONGEST = 6, 16


@dataclass(frozen=True)
class BeamSettings:
    """What the controls hold, but for the step that is shown."""

    prompt: str = Settings.prompt
    beams: int = 3
    length: int = 6
    length_penalty: float = 1.0


def search(model: nn.Module, tokenizer, settings: BeamSettings) -> list[BeamStep]:
    """Every step of the search that the settings ask for. Raises ValueError as `beam_search` does."""
    steps = beam_search(
        model,
        [prompt_ids(tokenizer, settings.prompt)],
        BeamSearch(settings.beams, settings.length_penalty, num_best=settings.beams),
        max_new_tokens=settings.length,
        stop_id=tokenizer.eos_id,
        cut_prompt=True,
    )
    return [step for (step,) in steps]


def render(steps: Sequence[BeamStep], tokenizer, upto: int) -> str:
    """HTML of the tree after `upto` steps, and of the lines that are finished by then, the best first. Pure."""
    picture = beam_svg(beam_tree(steps, upto), tokenizer)
    return page(f"<div style='overflow-x:auto'>{picture}</div>", key(), _lines(steps[upto - 1], tokenizer))


def _lines(step: BeamStep, tokenizer) -> str:
    rows = "".join(
        f"<tr><td style='text-align:right'>{n}</td><td style='font-family:{MONO};padding:0 12px'>"
        f"{escaped(''.join(tokenizer.tokens(list(line.tokens))))}</td>"
        f"<td style='text-align:right'>{line.log_probability:.2f}</td>"
        f"<td style='text-align:right;padding-left:12px'>{len(line.tokens)}</td>"
        f"<td style='text-align:right;padding-left:12px'>{line.score:.3f}</td></tr>"
        for n, line in enumerate(step.hypotheses, start=1)
    )
    if not rows:
        return "<div role='status'>No line has ended yet.</div>"
    what = "The search is over. Its lines" if step.over else "Lines that have ended so far"
    right = "style='text-align:right;padding-left:12px'"
    heads = (
        "<tr><th></th><th style='text-align:left;padding-left:12px'>line</th>"
        f"<th {right}>log-probability</th><th {right}>tokens</th><th {right}>score</th></tr>"
    )
    return f"<div role='status'>{what}, the best score first:</div><table>{heads}{rows}</table>"


class BeamViewer(Explorer):
    """A prompt, how many beams are kept, and a slider over the steps of the search.

    >>> viewer = BeamViewer(model, tokenizer, "And God", beams=3)  # doctest: +SKIP
    >>> display(viewer, viewer.figure())  # doctest: +SKIP

    What cannot be searched is told in place.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer,
        prompt: str = BeamSettings.prompt,
        *,
        beams: int = BeamSettings.beams,
        length: int = BeamSettings.length,
        length_penalty: float = BeamSettings.length_penalty,
    ):
        self.model, self.tokenizer = model, tokenizer
        self.steps: list[BeamStep] = []
        self.prompt = widgets.Text(prompt, description="prompt", layout=wide())
        self.beams = widgets.IntSlider(beams, min=1, max=max(beams, MOST_BEAMS), description="beams")
        self.length = widgets.IntSlider(length, min=1, max=max(length, LONGEST), description="tokens")
        self.length_penalty = widgets.FloatSlider(
            length_penalty, min=-1, max=3, step=0.1, description="length penalty"
        )
        self.step = widgets.IntSlider(1, min=1, max=1, description="after step")
        self.play = widgets.Play(min=1, max=1, interval=900)
        self.view = widgets.HTML(layout=widgets.Layout(width="auto"))
        settings = list(vars(BeamSettings()))
        self.named(*settings, "step", "play", "view")
        self.watch(settings, lambda: self.redraw(self._search))
        self.watch(["step"], self.redraw, seconds=0.03)
        widgets.link((self.play, "value"), (self.step, "value"))
        self.redraw(self._search)
        asked = in_row(self.beams, self.length, self.length_penalty)
        super().__init__([self.prompt, asked, in_row(self.step, self.play), self.view])

    @property
    def settings(self) -> BeamSettings:
        return self.held(BeamSettings)

    def drawn(self) -> str:
        return render(self.steps, self.tokenizer, self.step.value)

    def figure(self, upto: int | None = None) -> SVG:
        """The tree after `upto` steps, by default all: the picture where nothing can be moved.

        Raises ValueError where nothing could be searched, and for a step that was not made.
        """
        if self.problem:
            raise ValueError(f"nothing was searched: {self.problem}")
        s = self.settings
        title = f"Beam search with {s.beams} beams after “{s.prompt[-40:]}”"
        return SVG(beam_svg(beam_tree(self.steps, upto), self.tokenizer, title))

    def _search(self) -> None:
        """Search anew, and look at the end of it."""
        self.steps = search(self.model, self.tokenizer, self.settings)
        self.step.max = self.play.max = len(self.steps)
        self.step.value = len(self.steps)
