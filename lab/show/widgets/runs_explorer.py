"""Pick some trained runs: see their curves on one axis, and what each writes after the same prompt."""

import os
from collections.abc import Iterator, Mapping

import ipywidgets as widgets

from lab.decode import Drawn
from lab.runs import CheckpointError, Run, default_folder, open_runs, score
from lab.show.clusters import escaped
from lab.show.colours import INK
from lab.show.runs import XLABELS, compare, has_curve, labelled
from lab.show.tokens import tokens_html
from lab.show.widgets.parts import Explorer, alert, embedded, in_row, page, wide
from lab.show.widgets.sampler import drawn_tokens
from lab.show.widgets.stream import Stream
from lab.show.widgets.voices import language_model
from lab.show.widgets.writing import Settings, draw

CHOSEN_FIRST = 4  # runs
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
            f"<div style='padding:0 12px'><b>{escaped(label)}</b><br>{about}</div>{text}</div>"
        )
    grid = "display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:16px"
    columns = f"<div style='{grid}'>{''.join(cards)}</div>"
    return page(columns, f"<div style='padding:6px 12px 0'>{CAPTION}</div>")


class RunsExplorer(Explorer):
    """The runs of a folder (by default `runs/`): their curves, and a text from each for one prompt and one seed.

    >>> RunsExplorer("runs", prompt="And God said")  # doctest: +SKIP

    Runs that cannot be read, and what goes wrong, are told in place.
    """

    def __init__(self, folder: str | os.PathLike | None = None, prompt: str = Settings.prompt, seed: int = 0):
        folder = folder or default_folder()
        opened = open_runs(folder)
        drawable = {name: run for name, run in opened.items() if has_curve(run)}
        self.opened: dict[str, Run] = labelled(drawable) if drawable else {}
        self.runs = widgets.SelectMultiple(
            options=list(self.opened),
            value=list(self.opened)[:CHOSEN_FIRST],
            rows=min(8, max(2, len(self.opened))),
            description="runs",
            layout=wide(),
        )
        self.x = widgets.Dropdown(options=list(XLABELS), description="over")
        self.prompt = widgets.Text(prompt, description="prompt", layout=wide())
        self.temperature = widgets.FloatSlider(
            Settings.temperature, min=0, max=2, step=0.05, description="temperature"
        )
        self.seed = widgets.IntText(seed, description="seed", layout=widgets.Layout(width="12rem"))
        self.button = widgets.Button(description="Generate", button_style="primary", icon="play")
        self.curves, self.texts = widgets.HTML(), widgets.HTML(layout=widgets.Layout(max_width="80rem"))
        self.stream = Stream(self._show_texts)
        self._writing: tuple = ()
        self.named("runs", "x", "prompt", "temperature", "seed", "curves", "texts")
        self.watch(["runs", "x"], self._show_curves)
        self.button.add_class("lab-generate")
        self.button.on_click(self._start)
        damaged = {name: str(error) for name, error in opened.items() if isinstance(error, CheckpointError)}
        alerts = [alert(f"{name} is left out: {why}") for name, why in damaged.items()]
        self.problems = widgets.HTML("".join(alerts))
        if not opened:
            self.problems.value = alert(f"no runs in {folder}: `lab train` makes one")
        self._show_curves()
        asked = in_row(self.temperature, self.seed, self.button)
        super().__init__([self.problems, self.runs, self.x, self.curves, self.prompt, asked, self.texts])

    @property
    def chosen(self) -> dict[str, Run]:
        """The runs that are picked, by label."""
        return {label: self.opened[label] for label in self.runs.value}

    @property
    def settings(self) -> Settings:
        prompt, temperature, seed = self.prompt.value, self.temperature.value, self.seed.value
        return Settings(prompt, temperature, top_p=1.0, seed=seed, length=LENGTH)

    def _show_curves(self) -> None:
        if not self.chosen:
            self.curves.value = alert("pick a run; with Ctrl or Shift several") if self.opened else ""
            return
        described = f"Training curves of {'; '.join(self.chosen)}, over {XLABELS[self.x.value]}"
        self.curves.value = embedded(compare(self.chosen, x=self.x.value), described)

    def _start(self, _button) -> None:
        """Write anew, one run after the other."""
        self.stream.stop()
        if not self.chosen:
            self.texts.value = alert("pick a run first")
            return
        drawn: dict[str, list[Drawn] | str] = {}
        self._writing = (self.chosen, self.settings.prompt, drawn)
        self.stream.start(self._write(self.chosen, self.settings, drawn))

    def _write(self, chosen: dict[str, Run], settings: Settings, drawn: dict) -> Iterator[None]:
        for label, run in chosen.items():
            drawn[label] = []
            try:
                for token in draw(language_model(run), run.tokenizer, settings):
                    drawn[label].append(token)
                    yield
            except ValueError as error:
                drawn[label] = str(error)

    def _show_texts(self, _more: bool) -> None:
        self.texts.value = render(*self._writing)
