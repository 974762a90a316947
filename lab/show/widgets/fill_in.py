"""Type a line, hide characters, and see what a character encoder puts there; strip punctuation and see it put back."""

import random
import string

import ipywidgets as widgets
from matplotlib.figure import Figure

from lab.chars import CharEncoder, guess, put_back
from lab.show.fill_in import guessed_tokens, holes, render_guesses, restored_tokens
from lab.show.tokens import Token, tokens_figure, tokens_html, visible
from lab.show.widgets.debounce import Debounced
from lab.show.widgets.parts import alert, in_row, named, page, wide
from lab.show.widgets.still import Still
from lab.text import Tokenizer

SHARE_HIDDEN = 0.2
REMOVED = {"punctuation": string.punctuation, "spaces": " "}


class FillIn(Still, widgets.VBox):
    """A line, a button for each of its characters (pressed: hidden), the guesses; and a line stripped and restored.

    >>> FillIn(model, tokenizer, line="And God said, Let there be light.")  # doctest: +SKIP
    """

    def __init__(
        self, model: CharEncoder, tokenizer: Tokenizer, line: str, hide: tuple[int, ...] = (), seed: int = 0
    ):
        self.model, self.tokenizer = model, tokenizer
        self._chance = random.Random(seed)
        self.line = widgets.Text(line, description="line", layout=wide())
        self.characters = widgets.HBox(layout=widgets.Layout(flex_flow="row wrap"))
        self.hide_some = widgets.Button(description="hide one in five", icon="eye-slash")
        self.show_all = widgets.Button(description="show all", icon="eye")
        self.removed = widgets.ToggleButtons(options=list(REMOVED), description="strip")
        self.guesses, self.restored = widgets.HTML(layout=wide()), widgets.HTML(layout=wide())
        named(self, ("line", "characters", "hide_some", "show_all", "removed", "guesses", "restored"))
        self._show = Debounced(self.refresh)
        self._lay_out()
        self.hide(hide)
        self.line.observe(lambda _: (self._lay_out(), self._show()), "value")
        self.removed.observe(self._show, "value")
        self.hide_some.on_click(lambda _: self.hide(self._one_in_five()))
        self.show_all.on_click(lambda _: self.hide(()))
        self.refresh()
        super().__init__(
            [
                self.line,
                self.characters,
                in_row(self.hide_some, self.show_all),
                self.guesses,
                self.removed,
                self.restored,
            ]
        )

    @property
    def hidden(self) -> set[int]:
        """The places that are hidden."""
        return {place for place, button in enumerate(self.characters.children) if button.value}

    def hide(self, places) -> None:
        """Hide just these places."""
        for place, button in enumerate(self.characters.children):
            button.value = place in set(places)

    def refresh(self) -> None:
        """Ask the model again."""
        line = self.line.value
        try:
            self.guesses.value = render_guesses(line, guess(self.model, self.tokenizer, line, self.hidden))
            without, restored = put_back(self.model, self.tokenizer, line, REMOVED[self.removed.value])
            self.restored.value = page(f"stripped: <code>{_escaped(without)}</code>") + tokens_html(
                restored_tokens(restored), "Put back by the model; orange: it was not sure."
            )
        except ValueError as error:
            self.guesses.value, self.restored.value = alert(str(error)), ""

    def figure(self) -> Figure:
        """The guesses and the restored line: the picture where nothing can be pressed."""
        line, hidden = self.line.value, self.hidden
        found = guess(self.model, self.tokenizer, line, hidden)
        without, restored = put_back(self.model, self.tokenizer, line, REMOVED[self.removed.value])
        right = sum(one.right for one in found)
        return tokens_figure(
            {
                "hidden": _plain(holes(line, hidden)),
                f"guessed, {right} of {len(found)} right": guessed_tokens(line, found),
                f"stripped of {self.removed.value}": _plain(without),
                "put back": restored_tokens(restored),
            },
            "What the encoder puts into the holes (blue: sure, orange: not)",
        )

    def _lay_out(self) -> None:
        """A button for each character of the line; no more than the model can read."""
        small = widgets.Layout(width="1.7rem", padding="0", margin="1px")
        self.characters.children = [
            self._button(char, place, small)
            for place, char in enumerate(self.line.value[: self.model.config.context - 2])
        ]

    def _button(self, char: str, place: int, layout: widgets.Layout) -> widgets.ToggleButton:
        shown = "␣" if char == " " else visible(char)
        button = widgets.ToggleButton(
            False, description=shown, tooltip=f"hide character {place + 1}, {char!r}", layout=layout
        )
        button.observe(self._show, "value")
        return button

    def _one_in_five(self) -> list[int]:
        places = range(len(self.characters.children))
        return self._chance.sample(places, max(1, round(SHARE_HIDDEN * len(places)))) if places else []


def _plain(text: str) -> list[Token]:
    return [Token(char, "#ffffff") for char in text]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
