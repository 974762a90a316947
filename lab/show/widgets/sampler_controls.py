"""The sampler's controls for its settings, and the button that copies a text."""

from collections.abc import Callable, Iterable

import ipywidgets as widgets

from lab.show.clusters import escaped
from lab.show.widgets.parts import Controls, in_row, wide
from lab.show.widgets.writing import STRATEGIES, Settings

# Which controls each strategy takes notice of, besides prompt, strategy and length.
USED = {
    "sample": {"temperature", "top_k", "top_p", "min_p", "penalty", "seed", "filters"},
    "greedy": {"penalty", "filters"},
    "beam": {"beams", "length_penalty"},
}


class SettingsControls(Controls):
    """One control a setting, by its name; `changed` is called when any is moved. Those without effect are disabled.

    `filters` are the names of filters from outside; where there are none, nor is there a list to choose from.
    """

    def __init__(self, settings: Settings, changed: Callable[[], None], filters: Iterable[str] = ()):
        s = settings
        self.prompt = widgets.Text(s.prompt, description="prompt", layout=wide())
        self.strategy = widgets.Dropdown(options=STRATEGIES, value=s.strategy, description="strategy")
        self.temperature = _slider(s.temperature, 0, 2, 0.05, "temperature")
        self.top_k = widgets.IntSlider(s.top_k, min=0, max=100, description="top-k (0: all)")
        self.top_p = _slider(s.top_p, 0.05, 1, 0.05, "top-p")
        self.min_p = _slider(s.min_p, 0, 0.5, 0.01, "min-p")
        self.penalty = _slider(s.penalty, 1, 2, 0.05, "repetition", "repetition penalty; 1 is none")
        self.beams = widgets.IntSlider(s.beams, min=1, max=16, description="beams")
        told = "length penalty of beam search; above 0 favours long texts"
        self.length_penalty = _slider(s.length_penalty, -1, 3, 0.1, "length penalty", told)
        self.length = widgets.IntSlider(s.length, min=1, max=500, description="tokens")
        self.seed = widgets.IntText(s.seed, description="seed")
        names = tuple(filters)
        self.filters = widgets.SelectMultiple(options=names, rows=max(1, len(names)), description="filters")
        self.named(*vars(s))
        for name in vars(s):
            getattr(self, name).observe(lambda _: changed(), "value")
            if name != "prompt":
                getattr(self, name).layout.width = "23rem"
        self.strategy.observe(lambda _: self._enable(), "value")
        self._enable()
        pairs = [
            (self.strategy, self.seed), (self.temperature, self.top_k), (self.top_p, self.min_p),
            (self.penalty, self.length), (self.beams, self.length_penalty), *([(self.filters,)] if names else []),
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


def _slider(
    value: float, least: float, most: float, step: float, name: str, told: str = ""
) -> widgets.FloatSlider:
    made = widgets.FloatSlider(value, min=least, max=most, step=step, description=name)
    made.tooltip = told or None
    return made


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
        f"<textarea readonly aria-hidden='true' tabindex='-1' style='{away}'>{escaped(text)}</textarea>"
    )
