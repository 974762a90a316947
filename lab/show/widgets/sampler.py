"""Let a trained model write, by any strategy: see what each filter cuts, put in another token, and go on from there."""

import os
from collections.abc import Callable, Iterator, Mapping

import ipywidgets as widgets
from matplotlib.figure import Figure
from torch import nn

from lab.decode import Sampling
from lab.decode.strategies import Filter
from lab.runs import Run
from lab.show.clusters import escaped
from lab.show.next_token import NextToken, next_html, next_token
from lab.show.tokens import tokens_figure
from lab.show.widgets.parts import Debounced, Explorer, alert, in_row, page, wide
from lab.show.widgets.sampler_controls import SettingsControls, copy_button
from lab.show.widgets.sessions import Session, load, restore, save, saved
from lab.show.widgets.stream import Stream
from lab.show.widgets.token_choice import TokenChoice
from lab.show.widgets.token_strip import CAPTION, TokenStrip, drawn_tokens
from lab.show.widgets.voices import Voices
from lab.show.widgets.writing import Draft, Settings, draw, prompt_ids

__all__ = ["Sampler", "Settings", "draw", "drawn_tokens"]
# The last three are those of a filter from outside.
TOLD = (ValueError, OSError, IndexError, RuntimeError, TypeError)
COLUMNS = "repeat(auto-fit, minmax(20rem, 1fr))"


class Sampler(Explorer):
    """Controls around one model or several, which write side by side.

    Generate writes anew, Stop and Continue do what they say. A token is chosen by a click, or with the slider
    "token"; its alternatives are listed below, and the text goes on from the one that is taken. The bars show what the
    filters keep and remove at that place, or after the prompt where no token is chosen.

    `runs` is a folder of runs, or runs by name; without a model it is the default folder. `filters` are functions by
    name, as `lab.decode.Sampling(filters=...)` takes them; a list lets the reader choose among them.

    >>> Sampler(model, tokenizer, prompt="And God said")  # doctest: +SKIP
    >>> Sampler(runs="runs")  # doctest: +SKIP

    Raises ValueError for a model without a tokenizer. What cannot be written, or read, is told in place.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        tokenizer=None,
        prompt: str = Settings.prompt,
        seed: int = 0,
        *,
        runs: str | os.PathLike | Mapping[str, Run] | None = None,
        filters: Mapping[str, Filter] | None = None,
    ):
        self.voices = Voices(model, tokenizer, runs, filters)
        self.strips: dict[str, TokenStrip] = {}
        self.problem = ""
        self.stream = Stream(self._show)
        self._show_bars_soon = Debounced(self._show_bars)
        names = self.voices.names
        self.models = widgets.SelectMultiple(
            options=names,
            value=names[:1],
            rows=min(6, max(2, len(names))),
            description="models",
            layout=wide(),
        )
        first = Settings(prompt, seed=seed)
        self.controls = SettingsControls(first, self._show_bars_soon, self.voices.filters)
        self.choice = TokenChoice(self._chosen, self.choose)
        self.button = self._button("Generate", "play", self.generate)
        self.button.button_style = "primary"
        self.stop_button = self._button("Stop", "stop", self.stop)
        self.continue_button = self._button("Continue", "forward", self.go_on)
        self.path = widgets.Text("sampler-session.json", description="session")
        self.save_button = self._button("Save", "save", self.save)
        self.load_button = self._button("Load", "folder-open", self.load)
        self.notice, self.copy, self.saying = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.next_token = widgets.HTML(layout=wide())
        self.texts = widgets.GridBox(layout=widgets.Layout(grid_template_columns=COLUMNS, grid_gap="8px"))
        caption = f"<div style='padding:0 12px;line-height:1.5'>{CAPTION}</div>"
        self.caption = widgets.HTML(caption, layout=wide())
        self.named("models", "path", "notice", "next_token", "texts")
        self.models.observe(lambda _: self._show(), "value")
        self._show()
        super().__init__(
            [
                *([self.models] if len(names) > 1 or model is None else []),
                self.controls,
                in_row(self.button, self.stop_button, self.continue_button, self.copy),
                self.notice,
                self.texts,
                self.caption,
                self.choice,
                self.next_token,
                in_row(self.path, self.save_button, self.load_button, self.saying),
            ]
        )

    @property
    def settings(self) -> Settings:
        """What the controls hold."""
        return self.controls.settings

    @property
    def drafts(self) -> dict[str, Draft]:
        """What the chosen models write, by name. Raises ValueError for a run that cannot be read."""
        return {name: self.voices.draft(name) for name in self.models.value}

    def generate(self) -> None:
        """Write anew, with all models that are chosen."""
        self._write(lambda draft: draft.begin(self.settings), self.drafts)

    def stop(self) -> None:
        """Stop writing; Continue goes on as if nothing had been."""
        self.stream.stop()

    def go_on(self) -> None:
        """Write on where the texts stand, those that have not ended."""
        drafts = {name: draft for name, draft in self.drafts.items() if not draft.ended} or self.drafts
        self._write(lambda draft: draft.go_on(self.settings), drafts)

    def choose(self, voice: str, place: int, token: int) -> None:
        """Put another token at a place of a text, and go on from there.

        Raises ValueError for a place that was not written, and a token that is not among its alternatives.
        """
        self.stop()
        draft = self.voices.draft(voice)
        draft.choose(place, token)
        if draft.ended:
            self._show()
        else:
            self._write(lambda draft: draft.go_on(self.settings), {voice: draft})

    def save(self, path: str | os.PathLike | None = None) -> os.PathLike:
        """Write settings and texts as JSON, by default to the file that the widget names; returns where it is."""
        texts = tuple(saved(name, draft) for name, draft in self.drafts.items())
        written = save(path or self.path.value, Session(self.settings, texts))
        self.saying.value = f"<span role='status'>saved as {escaped(str(written))}</span>"
        return written

    def load(self, path: str | os.PathLike | None = None) -> None:
        """Go on with what was saved. Raises ValueError for a file that is no session, or one of other models."""
        self.stop()
        session = load(path or self.path.value)
        session.settings.decoding(self.voices.filters)  # which refuses one with filters that are not here
        for text in session.texts:
            restore(self.voices.draft(text.name), text)
        self.controls.settings = session.settings
        self.models.value = tuple(text.name for text in session.texts)
        self._show()

    def figure(self, title: str = "What was written") -> Figure:
        """The texts as they stand, or what Generate would write: the picture where nothing can be clicked."""
        rows = {}
        for voice, draft in self.drafts.items():
            if not draft.drawn:
                draft = Draft(draft.model, draft.tokenizer, draft.filters)
                for _ in draft.begin(self.settings):
                    pass
            how = f"{draft.settings.strategy}, seed {draft.settings.seed}"
            rows[f"{voice}: {how}"] = drawn_tokens(draft.tokenizer, draft.settings.prompt, draft.drawn)
        return tokens_figure(rows, title)

    def _button(self, text: str, icon: str, action: Callable[[], object]) -> widgets.Button:
        """A button whose failures are told in place."""
        made = widgets.Button(description=text, icon=icon)
        made.layout.width = "7rem"
        made.add_class(f"lab-{text.lower()}")

        def pressed(_) -> None:
            self.problem = self.saying.value = ""
            try:
                action()
            except TOLD as error:
                self.problem = str(error)
                self._show()

        made.on_click(pressed)
        return made

    def _write(self, begin: Callable[[Draft], Iterator[None]], drafts: Mapping[str, Draft]) -> None:
        """Let these models write by turns, a token each, so that all texts grow at once."""
        self.stop()
        self.problem = ""
        if not drafts:
            raise ValueError("choose a model first")
        writing = [begin(draft) for draft in drafts.values()]
        self.choice.pick("", None)
        self.stream.start(self._by_turns(writing))

    def _by_turns(self, writing: list[Iterator[None]]) -> Iterator[None]:
        while writing:
            for one in list(writing):
                try:
                    next(one)
                except StopIteration:
                    writing.remove(one)
                except TOLD as error:
                    self.problem = str(error)
                    return
                yield

    def _chosen(self) -> None:
        self._show_texts(self.drafts)
        self._show_bars_soon()

    def _show(self, more: bool = False) -> None:
        """Draw everything; while there is more to come, only the texts."""
        try:
            drafts = self.drafts
            if not self.voices.names:
                raise ValueError(f"no runs in {self.voices.folder}: `lab train` makes one")
        except ValueError as error:
            self.problem, drafts = str(error), {}
        if more:
            self.stop_button.disabled = False
        self._show_texts(drafts)
        if not more:
            self.stop_button.disabled = True
            self.notice.value = alert(self.problem) if self.problem else ""
            self.copy.value = copy_button("\n\n".join(draft.text for draft in drafts.values()))
            self.choice.offer(drafts)
            self._show_bars_soon()

    def _show_texts(self, drafts: dict[str, Draft]) -> None:
        for voice, draft in drafts.items():
            if voice not in self.strips:
                self.strips[voice] = TokenStrip(lambda place, voice=voice: self.choice.pick(voice, place))
            tokens = drawn_tokens(draft.tokenizer, draft.settings.prompt, draft.drawn)
            place = self.choice.place if draft is self.choice.draft else None
            heading = voice if len(self.voices.names) > 1 else ""
            self.strips[voice].show(tokens, draft.by_hand, place, heading)
        shown = tuple(self.strips[voice] for voice in drafts)
        if shown != self.texts.children:
            self.texts.children = shown

    def _next(self, draft: Draft) -> tuple[NextToken, int | None]:
        """The distribution at the chosen place of a text, or after the prompt, and where that is."""
        settings, place = self.settings, self.choice.place if draft is self.choice.draft else None
        decoding = settings.decoding(draft.filters)
        sampling = decoding if isinstance(decoding, Sampling) else Sampling()  # beam search filters nothing
        prompt = prompt_ids(draft.tokenizer, settings.prompt) if place is None else draft.prompt
        return next_token(draft.model, [*prompt, *draft.tokens[: place or 0]], sampling), place

    def _show_bars(self) -> None:
        parts = []
        try:
            for voice, draft in self.drafts.items():
                step, place = self._next(draft)
                heading = "Next token after the prompt:" if place is None else f"Token {place + 1}:"
                heading = f"{voice}. {heading}" if len(self.voices.names) > 1 else heading
                parts.append(next_html(step, draft.tokenizer, heading))
        except TOLD as error:
            parts.append(alert(str(error)))
        self.next_token.value = page(*parts)
