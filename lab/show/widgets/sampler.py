"""Let a trained model write, by any strategy: see what each filter cuts, put in another token, and go on from there."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import nn
from traitlets import Bool, Float, Int, List, Unicode

from lab.decode import Drawn, Sampling
from lab.decode.strategies import Filter
from lab.nn import evaluating
from lab.runs import Run
from lab.show.attention import label
from lab.show.clusters import legible
from lab.show.colours import FAINT
from lab.show.next_token import next_token, next_token_json
from lab.show.tokens import Token, by_probability, visible
from lab.show.widgets.base import Widget
from lab.show.widgets.sessions import Session, load, restore, save, saved
from lab.show.widgets.voices import Voices
from lab.show.widgets.writing import STRATEGIES, Draft, Settings, draw, prompt_ids

__all__ = ["Sampler", "Settings", "draw", "drawn_tokens"]
PIECE = 0.1  # seconds of writing before what was written is shown, and the next click heard
INSTEAD = 4  # alternatives that are told where one points at a token
OFF, MEAN = "off", "mean of all heads"
# What a filter from outside may raise, or a model that cannot read its text.
TOLD = (ValueError, OSError, IndexError, RuntimeError, TypeError)
# Which settings each strategy takes notice of, besides prompt, strategy and length.
USED = {
    "sample": ["temperature", "top_k", "top_p", "min_p", "penalty", "seed", "filters"],
    "greedy": ["penalty", "filters"],
    "beam": ["beams", "length_penalty"],
}


class Sampler(Widget):
    """Controls around one model or several, which write side by side.

    Generate writes anew, Stop and Continue do what they say. A token is chosen by a click, or with the slider
    "token"; its alternatives are listed below, and the text goes on from the one that is taken. The bars show what the
    filters keep and remove at that place, or after the prompt where no token is chosen; "attention" colours the tokens
    by how much the model looked at them when it chose that token.

    `runs` is a folder of runs, or runs by name; without a model it is the default folder. `filters` are functions by
    name, as `lab.decode.Sampling(filters=...)` takes them; a list lets the reader choose among them. Each field of
    `Settings` is an attribute.

    >>> sampler = Sampler(model, tokenizer, prompt="And God said")  # doctest: +SKIP
    >>> sampler.temperature = 1.2; sampler.generate()  # doctest: +SKIP
    >>> Sampler(runs="runs")  # doctest: +SKIP

    Raises ValueError for a model without a tokenizer. What cannot be written, or read, is told in place.
    """

    prompt = Unicode(Settings.prompt).tag(sync=True)
    temperature = Float(Settings.temperature).tag(sync=True)
    top_k = Int(Settings.top_k).tag(sync=True)
    top_p = Float(Settings.top_p).tag(sync=True)
    seed = Int(Settings.seed).tag(sync=True)
    length = Int(Settings.length).tag(sync=True)
    strategy = Unicode(Settings.strategy).tag(sync=True)
    min_p = Float(Settings.min_p).tag(sync=True)
    penalty = Float(Settings.penalty).tag(sync=True)
    beams = Int(Settings.beams).tag(sync=True)
    length_penalty = Float(Settings.length_penalty).tag(sync=True)
    filters = List(Unicode()).tag(sync=True)

    models = List(Unicode(), help="the names of those that write").tag(sync=True)
    voice = Unicode(help="the model in whose text a token is chosen").tag(sync=True)
    token = Int(0, min=0, help="the chosen token, counted from 1 after the prompt; 0 is none").tag(sync=True)
    attention = Unicode(OFF).tag(sync=True)
    path = Unicode("sampler-session.json").tag(sync=True)
    texts = List(help="what was written").tag(sync=True)
    busy = Bool(False, help="whether there is more to write").tag(sync=True)
    _writing: Iterator[None] = iter(())
    drawn_from = (*vars(Settings()), "models", "voice", "token", "attention")

    def __init__(
        self,
        model: nn.Module | None = None,
        tokenizer=None,
        prompt: str = Settings.prompt,
        seed: int = 0,
        *,
        runs: str | os.PathLike | Mapping[str, Run] | None = None,
        filters: Mapping[str, Filter] | None = None,
        **state,
    ):
        self.voices = Voices(model, tokenizer, runs, filters)
        super().__init__(prompt=prompt, seed=seed, models=self.voices.names[:1], **state)

    @property
    def settings(self) -> Settings:
        """What the controls hold. Raises ValueError for what cannot be, such as a strategy that there is not."""
        return Settings(**{name: getattr(self, name) for name in vars(Settings()) if name != "filters"},
                        filters=tuple(self.filters))  # fmt: skip

    @property
    def drafts(self) -> dict[str, Draft]:
        """What the chosen models write, by name. Raises ValueError for a run that cannot be read."""
        return {name: self.voices.draft(name) for name in self.models}

    @property
    def place(self) -> int | None:
        """The place of the chosen token, counted from 0 after the prompt."""
        drawn = self.voices.drafts[self.voice].drawn if self.voice in self.models else []
        return min(self.token, len(drawn)) - 1 if self.token and drawn else None

    # Writing: a page asks for one piece after another, Python alone for all of it at once.

    def generate(self) -> None:
        """Write anew, with all models that are chosen. Raises ValueError for what cannot be written."""
        self._begin(lambda draft: draft.begin(self.settings), self.drafts)
        self._finish()

    def go_on(self) -> None:
        """Write on where the texts stand, those that have not ended."""
        drafts = {name: draft for name, draft in self.drafts.items() if not draft.ended} or self.drafts
        self._begin(lambda draft: draft.go_on(self.settings), drafts)
        self._finish()

    def choose(self, voice: str, place: int, token: int) -> None:
        """Put another token at a place of a text, and go on from there.

        Raises ValueError for a place that was not written, and a token that is not among its alternatives.
        """
        self.stop()
        draft = self.voices.draft(voice)
        draft.choose(place, token)
        self._begin(
            lambda draft: draft.go_on(self.settings), {} if draft.ended else {voice: draft}, none=True
        )
        self._finish()

    def more(self) -> bool:
        """Write for a moment; whether there is still more to write."""
        end = time.monotonic() + PIECE
        try:
            for _ in self._writing:
                if time.monotonic() > end:
                    self._show(short=True)
                    return True
        except BaseException:
            self.stop()
            raise
        self.stop()
        return False

    def stop(self) -> None:
        """Stop writing; `go_on` goes on as if nothing had been."""
        self._end()
        self.busy = False
        self.redraw()

    def close(self) -> None:
        self._end()  # and nothing more: Python closes widgets at its very end too, when no model can be asked
        super().close()

    def _end(self) -> None:
        if hasattr(self._writing, "close"):
            self._writing.close()  # now: what it holds is free at once
        self._writing = iter(())

    def _begin(
        self, begin: Callable[[Draft], Iterator[None]], drafts: Mapping[str, Draft], none=False
    ) -> None:
        """Let these models write by turns, a token each, so that all texts grow at once."""
        if not drafts and not none:
            raise ValueError("choose a model first")
        writing = [begin(draft) for draft in drafts.values()]  # which may fail, and then nothing has changed
        self._writing, self.token, self.busy = _by_turns(writing), 0, True

    def _finish(self) -> None:
        """Write all of it; but where a page has asked, only the first piece."""
        while self.more() and not self._asked:
            pass

    # Files

    def save(self, path: str | os.PathLike | None = None) -> os.PathLike:
        """Write settings and texts as JSON, by default to the file that the widget names; returns where it is."""
        texts = tuple(saved(name, draft) for name, draft in self.drafts.items())
        return save(path or self.path, Session(self.settings, texts))

    def load(self, path: str | os.PathLike | None = None) -> None:
        """Go on with what was saved. Raises ValueError for a file that is no session, or one of other models."""
        self.stop()
        session = load(path or self.path)
        session.settings.decoding(self.voices.filters)  # which refuses one with filters that are not here
        for text in session.texts:
            restore(self.voices.draft(text.name), text)
        with self.hold_trait_notifications():
            for name, value in vars(session.settings).items():
                setattr(self, name, list(value) if name == "filters" else value)
            self.models, self.token = [text.name for text in session.texts], 0
        self.redraw()

    # What is seen

    def draw(self) -> dict:
        """The next token's probabilities, and what there is to say of the chosen one; the texts stand in `texts`."""
        if not self.voices.names:
            raise ValueError(f"no runs in {self.voices.folder}: `lab train` makes one")
        drafts = self.drafts
        seen = {"names": self.voices.names, "filters": list(self.voices.filters), "strategies": list(STRATEGIES),
                "used": USED[self.settings.strategy], "heads": [OFF]}  # fmt: skip
        seen["next"] = [self._next(voice, draft) for voice, draft in drafts.items()]
        if self.place is not None:
            draft = drafts[self.voice]
            seen |= {"chosen": self._chosen(draft), "heads": [OFF, *heads(draft.model)]}
            if self.attention in seen["heads"][1:]:
                seen["looked"] = self._looked(draft)
        return seen

    def redraw(self) -> None:
        super().redraw()
        self._show()

    def _show(self, short: bool = False) -> None:
        """Show the texts; while there is more to come, without what is said of each token."""
        drafts = {name: self.voices.drafts[name] for name in self.models if name in self.voices.drafts}
        self.texts = [text_json(name, draft, short) for name, draft in drafts.items()]
        if self.voice not in drafts:
            self.voice = next(iter(drafts), "")

    def _next(self, voice: str, draft: Draft) -> dict:
        """The distribution at the chosen place of a text, or after the prompt."""
        place = self.place if voice == self.voice else None
        heading = "Next token after the prompt" if place is None else f"Token {place + 1}"
        heading = f"{legible(voice)}. {heading}" if len(self.voices.names) > 1 else heading
        try:
            decoding = self.settings.decoding(draft.filters)
            sampling = (
                decoding if isinstance(decoding, Sampling) else Sampling()
            )  # beam search filters nothing
            ids = prompt_ids(draft.tokenizer, self.prompt) if place is None else self._before(draft)
            return {
                "heading": heading,
                **next_token_json(next_token(draft.model, ids, sampling), draft.tokenizer),
            }
        except TOLD as error:
            return {"heading": heading, "problem": str(error)}

    def _before(self, draft: Draft) -> list[int]:
        """What the model had read when it chose the token."""
        return [*draft.prompt, *draft.tokens[: self.place]]

    def _chosen(self, draft: Draft) -> dict:
        step, pairs = draft.drawn[self.place], draft.alternatives(self.place)
        others = [[i, label(_name(draft, i), 24), p] for i, p in pairs if i != step.token]
        return {"place": self.place, "text": label(_name(draft, step.token), 24), "probability": step.probability,
                "by_hand": self.place in draft.by_hand, "others": others}  # fmt: skip

    def _looked(self, draft: Draft) -> dict:
        """How the attention of the place that chose the token is shared among what it read."""
        shares = attended(draft.model, ids := self._before(draft), self.attention)
        names = [visible(name) for name in draft.tokenizer.tokens(ids)]
        return {"voice": self.voice, "prompt": names[: len(draft.prompt)], "shares": shares}

    def save_as_named(self) -> str:
        """The page's Save: where the file is."""
        return str(self.save())

    answering = (generate, go_on, choose, more, stop, save_as_named, load)


def drawn_tokens(tokenizer, prompt: str, drawn: Sequence[Drawn]) -> list[Token]:
    """The prompt in grey, then each token coloured by its probability, its alternatives as details."""
    names = [tokenizer.tokens([step.token])[0] for step in drawn]
    details = [details_of(tokenizer, step) for step in drawn]
    return [Token(prompt, FAINT), *by_probability(names, [step.probability for step in drawn], details)]


def details_of(tokenizer, step: Drawn) -> tuple[str, ...]:
    """A token and its likeliest alternatives, each in a line."""
    others = [(i, p) for i, p in step.alternatives if i != step.token][:INSTEAD]
    lines = [f"{tokenizer.tokens([i])[0]}   {p:.1%}" for i, p in [(step.token, step.probability), *others]]
    return (lines[0], "instead of", *lines[1:])


def text_json(voice: str, draft: Draft, short: bool = False) -> dict:
    """What a model wrote, a token `[text, probability, details]`; `short` leaves the details out."""
    tokens = [
        [visible(_name(draft, step.token)), step.probability,
         "" if short else legible("\n".join(details_of(draft.tokenizer, step)))]
        for step in draft.drawn
    ]  # fmt: skip
    prompt = visible(draft.settings.prompt) if draft.settings.prompt else ""
    return {"voice": voice, "name": legible(voice), "prompt": prompt, "tokens": tokens, "plain": legible(draft.text),
            "by_hand": sorted(draft.by_hand), "ended": draft.ended}  # fmt: skip


def heads(model: nn.Module) -> list[str]:
    """What can be looked at of a model's attention: nothing where it has none."""
    if not hasattr(model, "attention_maps"):
        return []
    layers, of_each = range(model.config.num_layers), range(model.config.num_heads)
    return [MEAN, *(f"layer {layer}, head {head}" for layer in layers for head in of_each)]


def attended(model: nn.Module, ids: Sequence[int], which: str) -> list[float]:
    """The share of its attention that the last of `ids` gives to each; what lies before the context gets 0."""
    read = torch.tensor([list(ids)[-model.config.context :]], device=next(model.parameters()).device)
    with torch.inference_mode(), evaluating(model):
        rows = torch.stack(
            [layer[0, :, -1].float().cpu() for layer in model.attention_maps(read)]
        )  # (L, H, T)
    layer, head = divmod(heads(model)[1:].index(which), rows.shape[1]) if which != MEAN else (None, None)
    row = rows.mean((0, 1)) if which == MEAN else rows[layer, head]
    return [0.0] * (len(ids) - len(row)) + row.tolist()


def _by_turns(writing: list[Iterator[None]]) -> Iterator[None]:
    while writing:
        for one in list(writing):
            try:
                next(one)
            except StopIteration:
                writing.remove(one)
            yield


def _name(draft: Draft, i: int) -> str:
    return draft.tokenizer.tokens([i])[0]
