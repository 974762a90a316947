"""Choose a token of a text, see what else it might have been, and take that instead."""

from collections.abc import Callable, Mapping

import ipywidgets as widgets

from lab.show.attention import label
from lab.show.clusters import escaped
from lab.show.widgets.parts import Controls, in_row, wide
from lab.show.widgets.writing import Draft


class TokenChoice(Controls):
    """A slider over the tokens of a text, and a list of the alternatives at the one that is chosen.

    `moved()` is called when another token is chosen, `taken(voice, place, token)` when its alternative is. Places
    are counted from 0 after the prompt, on the slider from 1; there 0 is none.
    """

    def __init__(self, moved: Callable[[], None], taken: Callable[[str, int, int], None]):
        self.moved, self.taken = moved, taken
        self.drafts: dict[str, Draft] = {}
        self._quiet = False
        self.voice = widgets.Dropdown(options=[], description="written by", layout=wide())
        self.token = widgets.IntSlider(0, min=0, max=0, description="token", layout=wide())
        self.instead = widgets.Select(options=[], rows=6, description="instead", layout=wide())
        self.take = widgets.Button(description="Take it and go on", icon="arrow-right")
        self.take.layout.width = "12rem"
        self.told = widgets.HTML()
        self.named("voice", "token", "instead", "take", "told")
        self.voice.observe(lambda _: self._changed(), "value")
        self.token.observe(lambda _: self._changed(), "value")
        self.take.on_click(lambda _: self._take())
        super().__init__([self.voice, self.token, self.instead, in_row(self.take, self.told)])
        self.offer({})

    @property
    def place(self) -> int | None:
        """The place that is chosen."""
        return self.token.value - 1 if self.token.value else None

    @property
    def draft(self) -> Draft | None:
        """The text in which a token can be chosen."""
        return self.drafts.get(self.voice.value)

    def offer(self, drafts: Mapping[str, Draft]) -> None:
        """Let a token of these texts be chosen; what was chosen stays so where it is still there."""
        self.drafts = {voice: draft for voice, draft in drafts.items() if draft.drawn}
        self._quiet = True
        was = self.voice.value
        if self.voice.options != tuple(self.drafts):
            self.voice.options = tuple(self.drafts)
            self.voice.value = was if was in self.drafts else next(iter(self.drafts), None)
        self.voice.layout.display = None if len(self.drafts) > 1 else "none"
        self._quiet = False
        self._list()

    def pick(self, voice: str, place: int | None) -> None:
        """Choose a place of a text, or None."""
        self._quiet = True
        if voice in self.drafts:
            self.voice.value = voice
            self.token.max = len(self.drafts[voice].drawn)
        self.token.value = 0 if place is None else place + 1
        self._quiet = False
        self._changed()

    def _changed(self) -> None:
        if not self._quiet:
            self._list()
            self.moved()

    def _list(self) -> None:
        """Let the slider and the list fit the text."""
        draft = self.draft
        self._quiet = True
        self.token.max = len(draft.drawn) if draft else 0
        self._quiet = False
        place = self.place
        options, said = (), "Choose a token to see its alternatives."
        if draft and place is not None:
            step, pairs = draft.drawn[place], draft.alternatives(place)
            names = [label(text, 24) for text in draft.tokenizer.tokens([i for i, _ in pairs])]
            options = tuple(
                (f"{name}   {p:.2%}", i) for name, (i, p) in zip(names, pairs, strict=True) if i != step.token
            )
            who = "you chose" if place in draft.by_hand else "stands there:"
            now = label(draft.tokenizer.tokens([step.token])[0], 24)
            said = f"{who} “{now}” {step.probability:.2%}"
        if self.instead.options != options:
            self.instead.options = options
            self.instead.index = 0 if options else None
        self.take.disabled = self.instead.disabled = not options
        self.told.value = f"<span role='status'>{escaped(said)}</span>"

    def _take(self) -> None:
        if self.place is not None and self.instead.value is not None:
            self.taken(self.voice.value, self.place, self.instead.value)
