"""Pick some trained runs: see their curves on one axis, and what each writes after the same prompt."""

import asyncio
import html
import io
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping

import ipywidgets as widgets
from matplotlib.figure import Figure

from lab.bundle import BundleError, Run
from lab.decode.search import Drawn
from lab.runs import default_folder, open_runs, score, steps
from lab.show.colours import INK, PAPER
from lab.show.runs import XLABELS, compare, labelled
from lab.show.tokens import tokens_html
from lab.show.widgets.attention_explorer import alert
from lab.show.widgets.debounce import Debounced
from lab.show.widgets.sampler import WIDE, Settings, _spread, draw, drawn_tokens
from lab.show.widgets.still import Still

CHOSEN_FIRST = 4  # runs
REDRAWN_EVERY = 4  # tokens
LENGTH = 80
CAPTION = "Blue: the model expected it. Orange: a surprise. Point at a token to see the alternatives."


def render(runs: Mapping[str, Run], prompt: str, drawn: Mapping[str, list[Drawn] | str]) -> str:
    """HTML of what each run wrote, beside each other; a string in place of tokens is what went wrong. Pure."""
    cards = []
    for label, run in runs.items():
        written, found = drawn.get(label, []), score(run)
        about = "unfinished" if found is None else f"{found.bits_per_char:.3f} bits per character"
        text = (
            alert(written)
            if isinstance(written, str)
            else tokens_html(drawn_tokens(run.tokenizer, prompt, written))
        )
        cards.append(
            f"<div style='min-width:0;border-top:3px solid {INK};padding-top:4px'>"
            f"<div style='padding:0 12px'><b>{html.escape(label)}</b><br>{about}</div>{text}</div>"
        )
    page = f"background:{PAPER};color:{INK};padding:8px 12px;border-radius:6px;font:13px/1.5 system-ui,sans-serif"
    grid = "display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:16px"
    return (
        f"<div style='{page}'><div style='{grid}'>{''.join(cards)}</div>"
        f"<div style='padding:6px 12px 0'>{CAPTION}</div></div>"
    )


def picture(made: Figure, described: str) -> str:
    """A figure as HTML that needs no file beside it; `described` is for those who do not see it."""
    data = io.BytesIO()
    made.savefig(data, format="svg")
    source = f"data:image/svg+xml;base64,{b64encode(data.getvalue()).decode()}"
    return f"<img alt='{html.escape(described, quote=True)}' src='{source}' style='max-width:100%'>"


class RunsExplorer(Still, widgets.VBox):
    """The runs of a folder (by default `runs/`): their curves, and a text from each for one prompt and one seed.

    >>> RunsExplorer("runs", prompt="And God said")  # doctest: +SKIP

    Runs that cannot be read, and what goes wrong, are told in place.
    """

    def __init__(self, folder: str | os.PathLike | None = None, prompt: str = Settings.prompt, seed: int = 0):
        folder = folder or default_folder()
        opened = open_runs(folder)
        intact = {name: run for name, run in opened.items() if isinstance(run, Run) and steps(run)}
        self.opened: dict[str, Run] = labelled(intact) if intact else {}
        self.runs = widgets.SelectMultiple(
            options=list(self.opened),
            value=list(self.opened)[:CHOSEN_FIRST],
            rows=min(8, max(2, len(self.opened))),
            description="runs",
            layout=WIDE,
        )
        self.x = widgets.ToggleButtons(options=list(XLABELS), description="over")
        self.prompt = widgets.Text(prompt, description="prompt", layout=WIDE)
        self.temperature = widgets.FloatSlider(
            Settings.temperature, min=0, max=2, step=0.05, description="temperature"
        )
        self.seed = widgets.IntText(seed, description="seed", layout=widgets.Layout(width="12rem"))
        self.button = widgets.Button(description="Generate", button_style="primary", icon="play")
        self.curves, self.texts = widgets.HTML(), widgets.HTML(layout=widgets.Layout(max_width="80rem"))
        self._running: asyncio.Task | None = None
        for name in ("runs", "x", "prompt", "temperature", "seed"):
            control = getattr(self, name)
            control.style.description_width = "6rem"
            control.add_class(f"lab-{name}")
        for control in (self.runs, self.x):
            control.observe(Debounced(self._show_curves), "value")
        self.curves.add_class("lab-curves")
        self.texts.add_class("lab-texts")
        self.button.add_class("lab-generate")
        self.button.on_click(self._start)
        damaged = {name: str(error) for name, error in opened.items() if isinstance(error, BundleError)}
        self.problems = widgets.HTML(
            "".join(alert(f"{name} is left out: {why}") for name, why in damaged.items())
        )
        if not opened:
            self.problems.value = alert(
                f"no runs in {folder}: train one with lab.runs.get_or_train or `lab train`"
            )
        self._show_curves()
        asked = widgets.HBox(
            [self.temperature, self.seed, self.button],
            layout=widgets.Layout(flex_flow="row wrap", align_items="center"),
        )
        super().__init__([self.problems, self.runs, self.x, self.curves, self.prompt, asked, self.texts])

    @property
    def chosen(self) -> dict[str, Run]:
        """The runs that are picked, by label."""
        return {label: self.opened[label] for label in self.runs.value}

    @property
    def settings(self) -> Settings:
        return Settings(
            self.prompt.value, self.temperature.value, top_p=1.0, seed=self.seed.value, length=LENGTH
        )

    def _show_curves(self) -> None:
        if not self.chosen:
            self.curves.value = alert("pick a run; with Ctrl or Shift several") if self.opened else ""
            return
        described = f"Training curves of {'; '.join(self.chosen)}, over {XLABELS[self.x.value]}"
        self.curves.value = picture(compare(self.chosen, x=self.x.value), described)

    def _start(self, _button) -> None:
        """Write anew. In a notebook as a task, so that the kernel can still hear the next click."""
        if self._running is not None:
            self._running.cancel()
        if not self.chosen:
            self.texts.value = alert("pick a run first")
            return
        stream = self._stream(self.chosen, self.settings)
        try:
            self._running = asyncio.get_running_loop().create_task(_spread(stream))
        except RuntimeError:  # no event loop: a script or a test
            for _ in stream:
                pass

    def _stream(self, chosen: dict[str, Run], settings: Settings) -> Iterator[None]:
        drawn: dict[str, list[Drawn] | str] = {}
        for label, run in chosen.items():
            drawn[label] = written = []
            try:
                for token in draw(run.model, run.tokenizer, settings):
                    written.append(token)
                    if len(written) % REDRAWN_EVERY == 0:
                        self.texts.value = render(chosen, settings.prompt, drawn)
                    yield
            except ValueError as error:
                drawn[label] = str(error)
            self.texts.value = render(chosen, settings.prompt, drawn)
            yield
