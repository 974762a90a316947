"""The sampler's controls for its settings, and the button that copies a text."""

import html
from collections.abc import Callable

import ipywidgets as widgets

from lab.show.widgets.parts import Controls, in_row, wide
from lab.show.widgets.writing import STRATEGIES, Settings

SLIDERS = widgets.IntSlider, widgets.FloatSlider
# Which controls each strategy takes notice of, besides prompt, strategy and length.
USED = {
    "sample": {"temperature", "top_k", "top_p", "min_p", "penalty", "seed"},
    "greedy": {"penalty"},
    "beam": {"beams", "length_penalty"},
}


class SettingsControls(Controls):
    """One control a setting, by its name; `changed` is called when any is moved. Those without effect are disabled."""

    def __init__(self, settings: Settings, changed: Callable[[], None]):
        s = settings
        self.prompt = widgets.Text(s.prompt, description="prompt", layout=wide())
        self.strategy = widgets.Dropdown(options=STRATEGIES, value=s.strategy, description="strategy")
        self.temperature = widgets.FloatSlider(
            s.temperature, min=0, max=2, step=0.05, description="temperature"
        )
        self.top_k = widgets.IntSlider(s.top_k, min=0, max=100, description="top-k (0: all)")
        self.top_p = widgets.FloatSlider(s.top_p, min=0.05, max=1, step=0.05, description="top-p")
        self.min_p = widgets.FloatSlider(s.min_p, min=0, max=0.5, step=0.01, description="min-p")
        self.penalty = widgets.FloatSlider(s.penalty, min=1, max=2, step=0.05, description="repetition")
        self.penalty.tooltip = "repetition penalty; 1 is none"
        self.beams = widgets.IntSlider(s.beams, min=1, max=16, description="beams")
        self.length_penalty = widgets.FloatSlider(
            s.length_penalty, min=-1, max=3, step=0.1, description="length penalty"
        )
        self.length_penalty.tooltip = "length penalty of beam search; above 0 favours long texts"
        self.length = widgets.IntSlider(s.length, min=1, max=500, description="tokens")
        self.seed = widgets.IntText(s.seed, description="seed")
        names = list(vars(s))
        self.named(*names)
        for name in names:
            control = getattr(self, name)
            if isinstance(control, SLIDERS):
                control.layout.width = "23rem"
            control.observe(lambda _: changed(), "value")
        self.strategy.layout.width = self.seed.layout.width = "23rem"
        self.strategy.observe(lambda _: self._enable(), "value")
        self._enable()
        pairs = [
            (self.strategy, self.seed), (self.temperature, self.top_k), (self.top_p, self.min_p),
            (self.penalty, self.length), (self.beams, self.length_penalty),
        ]  # fmt: skip
        super().__init__([self.prompt, *(in_row(*pair) for pair in pairs)])

    @property
    def settings(self) -> Settings:
        return self.held(Settings)

    @settings.setter
    def settings(self, settings: Settings) -> None:
        for name, value in vars(settings).items():
            getattr(self, name).value = value

    def _enable(self) -> None:
        for name in set().union(*USED.values()):
            getattr(self, name).disabled = name not in USED[self.strategy.value]


def copy_button(text: str) -> str:
    """HTML of a button that copies `text`, in the browser alone: the page needs no permission and the kernel no part.

    The clipboard of the newer kind is refused to pages that are not served over https, so the text is selected in a
    field that nobody sees.
    """
    away = "position:fixed;left:-9999px;top:0;width:1px;height:1px"
    return (
        "<button type='button' class='jupyter-button widget-button lab-copy' style='width:auto;min-width:7rem' "
        "onclick='const held=this.nextElementSibling;held.select();document.execCommand(\"copy\");this.focus()'>"
        "<i class='fa fa-copy'></i> Copy text</button>"
        f"<textarea readonly aria-hidden='true' tabindex='-1' style='{away}'>{html.escape(text)}</textarea>"
    )
