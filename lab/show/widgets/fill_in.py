"""Type a line, hide characters, and see what a character encoder puts there; strip punctuation and see it put back."""

import random
import string
from collections.abc import Collection, Sequence

import ipywidgets as widgets
from matplotlib.figure import Figure

from lab.chars import CharEncoder, guess, put_back
from lab.chars.filling import Guess
from lab.show.clusters import escaped
from lab.show.colours import FAINT, PAPER
from lab.show.tokens import Token, by_probability, tokens_figure, tokens_html, visible
from lab.show.widgets.parts import Debounced, Explorer, alert, in_row, page, wide
from lab.text import Tokenizer

SHARE_HIDDEN = 0.2
REMOVED = {"punctuation": string.punctuation, "spaces": " "}
HOLE = "▢"


def guessed_tokens(line: str, guesses: Sequence[Guess]) -> list[Token]:
    """The line with the likeliest guess in each hole, coloured by its probability, the others as details."""
    tokens = [Token(char, FAINT) for char in line]
    for one in guesses:
        details = [f"{visible(c)}   {p:.1%}" for c, p in one.likeliest]
        said = "right" if one.right else f"it was {visible(one.truth)}"
        first, p = one.likeliest[0]
        (tokens[one.place],) = by_probability([first], [p], [(*details, said)])
    return tokens


def restored_tokens(restored: Sequence[tuple[str, float | None]]) -> list[Token]:
    """The line as `lab.chars.put_back` restores it, what was put back coloured by its probability."""
    tokens = []
    for character, p in restored:
        details = [(f"{visible(character)}   {p or 0:.1%}", "put back here")]
        tokens += [Token(character, FAINT)] if p is None else by_probability([character], [p], details)
    return tokens


def holes(line: str, masked: Collection[int]) -> str:
    """The line with its holes: `holes("light", {0, 2}) == "▢i▢ht"`."""
    return "".join(HOLE if place in masked else char for place, char in enumerate(line))


class FillIn(Explorer):
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
        self.named("line", "characters", "hide_some", "show_all", "removed", "guesses", "restored")
        self._soon = Debounced(self.refresh)
        self._lay_out()
        self.hide(hide)
        self.line.observe(lambda _: (self._lay_out(), self._soon()), "value")
        self.removed.observe(self._soon, "value")
        self.hide_some.on_click(lambda _: self.hide(self._one_in_five()))
        self.show_all.on_click(lambda _: self.hide(()))
        self.refresh()
        buttons = in_row(self.hide_some, self.show_all)
        super().__init__([self.line, self.characters, buttons, self.guesses, self.removed, self.restored])

    @property
    def hidden(self) -> set[int]:
        """The places that are hidden."""
        return {place for place, button in enumerate(self.characters.children) if button.value}

    def hide(self, places: Collection[int]) -> None:
        """Hide just these places."""
        for place, button in enumerate(self.characters.children):
            button.value = place in places

    def refresh(self) -> None:
        """Ask the model again."""
        try:
            guesses, without, restored = self._asked()
        except ValueError as error:
            self.guesses.value, self.restored.value = alert(str(error)), ""
            return
        caption = (
            f"{sum(one.right for one in guesses)} of {len(guesses)} right. Blue: the model was sure; orange: it was "
            "not. Point at a guess, or go to it with Tab, to see the others."
            if guesses
            else "Choose characters to hide: press them, or “hide one in five”."
        )
        self.guesses.value = tokens_html(guessed_tokens(self.line.value, guesses), caption)
        stripped = page(f"stripped: <code>{escaped(without, quote=False)}</code>")
        said = "Put back by the model; orange: it was not sure."
        self.restored.value = stripped + tokens_html(restored_tokens(restored), said)

    def figure(self) -> Figure:
        """The guesses and the restored line: the picture where nothing can be pressed."""
        line, (guesses, without, restored) = self.line.value, self._asked()
        right = sum(one.right for one in guesses)
        rows = {
            "hidden": _plain(holes(line, self.hidden)),
            f"guessed, {right} of {len(guesses)} right": guessed_tokens(line, guesses),
            f"stripped of {self.removed.value}": _plain(without),
            "put back": restored_tokens(restored),
        }
        return tokens_figure(rows, "What the encoder puts into the holes (blue: sure, orange: not)")

    def _asked(self) -> tuple:
        """The guesses at the holes, and the line that was stripped, before and after it was restored."""
        line = self.line.value
        guesses = guess(self.model, self.tokenizer, line, self.hidden)
        return guesses, *put_back(self.model, self.tokenizer, line, REMOVED[self.removed.value])

    def _lay_out(self) -> None:
        """A button for each character of the line; no more than the model can read."""
        line = self.line.value[: self.model.config.context - 2]
        self.characters.children = [self._button(char, place) for place, char in enumerate(line)]

    def _button(self, char: str, place: int) -> widgets.ToggleButton:
        button = widgets.ToggleButton(
            False,
            description="␣" if char == " " else visible(char),
            tooltip=f"hide character {place + 1}, {char!r}",
            layout=widgets.Layout(width="1.7rem", padding="0", margin="1px"),
        )
        button.observe(self._soon, "value")
        return button

    def _one_in_five(self) -> list[int]:
        places = range(len(self.characters.children))
        return self._chance.sample(places, max(1, round(SHARE_HIDDEN * len(places)))) if places else []


def _plain(text: str) -> list[Token]:
    return [Token(char, PAPER) for char in text]
