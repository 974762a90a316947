"""Type a line, hide characters, and see what a character encoder puts there; strip punctuation and see it put back."""

import random
import string
from collections.abc import Collection

from traitlets import Int, List, Unicode

from lab.chars import CharEncoder, guess, put_back
from lab.chars.filling import Guess
from lab.show.clusters import legible, one_line
from lab.show.widgets.base import Widget
from lab.text import Tokenizer

SHARE_HIDDEN = 0.2
REMOVED = {"punctuation": string.punctuation, "spaces": " "}


class FillIn(Widget):
    """A line whose characters are hidden by a click, the guesses beneath them; and the line stripped and restored.

    >>> FillIn(model, tokenizer, line="And God said, Let there be light.", hide=(4, 5, 6))  # doctest: +SKIP
    """

    line = Unicode().tag(sync=True)
    hidden = List(Int(), help="the places of the characters that are hidden").tag(sync=True)
    removed = Unicode(next(iter(REMOVED)), help="what the line is stripped of").tag(sync=True)
    drawn_from = ("line", "hidden", "removed")

    def __init__(
        self, model: CharEncoder, tokenizer: Tokenizer, line: str, hide: Collection[int] = (), seed: int = 0
    ):
        self.model, self.tokenizer = model, tokenizer
        self._chance = random.Random(seed)
        super().__init__(line=line, hidden=sorted(hide))

    def hide(self, places: Collection[int]) -> None:
        """Hide just these places."""
        self.hidden = sorted(places)

    def hide_some(self) -> None:
        """Hide one character in five, others each time."""
        places = range(min(len(self.line), self.model.config.context - 2))
        self.hide(self._chance.sample(places, max(1, round(SHARE_HIDDEN * len(places)))) if places else ())

    answering = (hide_some,)

    def draw(self) -> dict:
        """The characters, the guesses at those that are hidden, and the line before and after it was restored."""
        guesses, without, restored = self._read()
        return {
            "characters": [shown(character) for character in self.line],
            "guesses": [self._told(one) for one in guesses],
            "removed": list(REMOVED),
            "stripped": legible(without),
            "restored": [[legible(character), p] for character, p in restored],
        }

    def _read(self) -> tuple:
        """The guesses at the holes, and the line that was stripped, before and after it was restored."""
        if self.removed not in REMOVED:
            raise ValueError(f"a line can be stripped of {', '.join(REMOVED)}, not of {self.removed!r}")
        # The holes stay where they are while a line is typed; those beyond its end wait.
        places = [place for place in self.hidden if 0 <= place < len(self.line)]
        guesses = guess(self.model, self.tokenizer, self.line, places)
        return guesses, *put_back(self.model, self.tokenizer, self.line, REMOVED[self.removed])

    @staticmethod
    def _told(one: Guess) -> dict:
        likeliest = [[shown(character), p] for character, p in one.likeliest]
        return {"place": one.place, "truth": shown(one.truth), "right": one.right, "likeliest": likeliest}


def shown(character: str) -> str:
    """A character for a field of its own: `shown(" ") == "␣"`."""
    return one_line(character) or "∅"
