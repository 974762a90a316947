"""A text whose tokens can be clicked: each is a button that looks like text, coloured by its probability."""

import re
from collections.abc import Callable, Sequence, Set
from uuid import uuid4

import ipywidgets as widgets

from lab.decode import Drawn
from lab.show.clusters import escaped
from lab.show.colours import FAINT, INK, PAPER, VERMILION
from lab.show.tokens import Token, by_probability, visible
from lab.show.widgets.parts import MONO, WIDEST

INSTEAD = 4  # alternatives that are told where one points at a token
CAPTION = (
    "Blue: the model expected it. Orange: a surprise. Click a token, or go to it with the slider, to see what else "
    "it might have been."
)

STYLE = f"""
.lab-strip {{ width:auto; height:auto; max-width:{WIDEST}; background:{PAPER}; border-radius:6px; padding:8px 12px;
  overflow:visible; }}
.lab-strip > div {{ display:block; }}
.lab-strip button.widget-toggle-button, .lab-strip button.widget-toggle-button.mod-active {{ width:auto; min-width:0;
  max-width:100%; height:auto; margin:0; padding:0; border:0; border-radius:3px; box-shadow:none; background:{FAINT};
  color:{INK}; font:15px/1.75 {MONO}; white-space:pre-wrap; text-align:left; overflow-wrap:anywhere; opacity:1; }}
.lab-strip button.widget-toggle-button:hover, .lab-strip button.widget-toggle-button:focus-visible {{
  outline:2px solid {INK}; box-shadow:none; }}
"""


def drawn_tokens(tokenizer, prompt: str, drawn: Sequence[Drawn]) -> list[Token]:
    """The prompt in grey, then each token coloured by its probability, its alternatives as details."""

    def details(step: Drawn) -> tuple[str, ...]:
        others = [(i, p) for i, p in step.alternatives if i != step.token][:INSTEAD]
        names = [f"{name(tokenizer, i)}   {p:.1%}" for i, p in others]
        return (f"{name(tokenizer, step.token)}   {step.probability:.1%}", "instead of", *names)

    names = [name(tokenizer, step.token) for step in drawn]
    tokens = by_probability(names, [step.probability for step in drawn], [details(step) for step in drawn])
    return [Token(prompt, FAINT), *tokens]


def name(tokenizer, i: int) -> str:
    """One token as it is shown."""
    return tokenizer.tokens([i])[0]


def words(prompt: str) -> list[str]:
    """The prompt in parts between which a line may break; put together they are the prompt.

    >>> words("And God  said, ")
    ['And', ' God', '  said,', ' ']
    """
    return re.findall(r"\s*\S+|\s+", prompt)


class TokenStrip(widgets.VBox):
    """The buttons of one text; `picked(place)` is called when one is clicked, places counted after the prompt."""

    def __init__(self, picked: Callable[[int], None]):
        self.picked, self._before, self._quiet = picked, 0, False
        self._own = f"lab-strip-{uuid4().hex[:8]}"  # so that no other text takes its colours
        self.above = widgets.HTML()
        self.buttons = widgets.ToggleButtons(options=[])
        self.buttons.add_class("lab-strip")
        self.buttons.add_class(self._own)
        self.buttons.observe(self._clicked, "index")
        super().__init__([self.above, self.buttons])

    @property
    def texts(self) -> list[str]:
        """What stands on the buttons behind the prompt."""
        return [text for text, _ in self.buttons.options[self._before :]]

    def show(
        self,
        tokens: Sequence[Token],
        by_hand: Set[int] = frozenset(),
        place: int | None = None,
        heading: str = "",
    ) -> None:
        """Show `drawn_tokens`, those `by_hand` underlined, the one at `place` framed."""
        prompt, *rest = tokens
        before = words(visible(prompt.text)) if prompt.text else []
        texts = [*before, *(visible(token.text).replace("\n", "") for token in rest)]
        options = tuple((text, n) for n, text in enumerate(texts))
        self._before, self._quiet = len(before), True
        try:
            with self.buttons.hold_sync():  # one message to the page, so that nothing flickers
                if options != self.buttons.options:
                    self.buttons.options = options
                    self.buttons.tooltips = [""] * len(before) + ["\n".join(token.details) for token in rest]
                wanted = None if place is None else self._before + place
                if self.buttons.index != wanted:
                    self.buttons.index = wanted
        finally:
            self._quiet = False
        above = f"<b>{escaped(heading)}</b>" if heading else ""
        self.above.value = f"<style>{STYLE}{self._colours(rest, by_hand, place)}</style>{above}"

    def _colours(self, tokens: Sequence[Token], by_hand: Set[int], place: int | None) -> str:
        rules: dict[str, list[int]] = {}
        for n, token in enumerate(tokens):
            rules.setdefault(f"background:{token.colour}", []).append(n)
        rules |= {f"text-decoration:underline 2px {VERMILION}": sorted(by_hand)} if by_hand else {}
        rules |= {f"outline:2px solid {VERMILION}": [place]} if place is not None else {}
        # Twice the class, so that it counts for more than the rule for all.
        where = f".{self._own}.lab-strip.lab-strip button.widget-toggle-button.widget-toggle-button"
        return "\n".join(
            ",".join(f"{where}:nth-child({self._before + n + 1})" for n in places) + f" {{ {rule}; }}"
            for rule, places in rules.items()
        )

    def _clicked(self, change: dict) -> None:
        if not self._quiet and change["new"] is not None and change["new"] >= self._before:
            self.picked(change["new"] - self._before)
