"""Sample from a trained model: prompt, temperature, top-k, top-p, seed, Generate."""

import asyncio
import html
from collections.abc import Iterator
from dataclasses import dataclass

import ipywidgets as widgets
import torch
from torch import nn

from lab.decode.search import Drawn, Sampling, generate
from lab.show.colours import BLUE, FAINT, GREY, INK, PAPER
from lab.show.tokens import Token, by_probability, tokens_html, visible
from lab.show.widgets.debounce import Debounced
from lab.show.widgets.still import Still

WIDE = widgets.Layout(width="auto", max_width="56rem")
PREVIEWED = 10  # tokens in the picture of the next-token distribution


@dataclass(frozen=True)
class Settings:
    """Everything the controls hold; `top_k` 0 means all tokens."""

    prompt: str = "In the beginning"
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 0.95
    seed: int = 0
    length: int = 120

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_k or None, self.top_p)


def draw(model: nn.Module, tokenizer, settings: Settings) -> Iterator[Drawn]:
    """The tokens that `settings` gives, one at a time; ends with the line."""
    return generate(
        model,
        [tokenizer.bos_id, *tokenizer.encode(settings.prompt)],
        max_new_tokens=settings.length,
        sampling=settings.sampling,
        generator=torch.Generator().manual_seed(settings.seed),
        stop_id=tokenizer.eos_id,
    )


def drawn_tokens(tokenizer, prompt: str, drawn: list[Drawn]) -> list[Token]:
    """The prompt in grey, then each token coloured by its probability, its alternatives as details."""

    def details(step: Drawn) -> tuple[str, ...]:
        others = [f"{_name(tokenizer, i)}   {p:.1%}" for i, p in step.alternatives if i != step.token]
        return (f"{_name(tokenizer, step.token)}   {step.probability:.1%}", "instead of", *others)

    names = [_name(tokenizer, step.token) for step in drawn]
    tokens = by_probability(names, [step.probability for step in drawn], [details(step) for step in drawn])
    return [Token(prompt, FAINT), *tokens]


def render(tokenizer, prompt: str, drawn: list[Drawn]) -> str:
    """HTML of the text so far. A pure function of what was drawn."""
    caption = "Blue: the model expected it. Orange: a surprise. Point at a token to see the alternatives."
    return tokens_html(drawn_tokens(tokenizer, prompt, drawn), caption)


@torch.inference_mode()
def render_next(model: nn.Module, tokenizer, settings: Settings) -> str:
    """HTML bars of the next token's distribution after the prompt: what the filters keep and what they cut."""
    ids = [tokenizer.bos_id, *tokenizer.encode(settings.prompt)][-model.config.context :]
    logits = model(torch.tensor([ids], device=next(model.parameters()).device))[0, -1].double().cpu()
    before, after = logits.softmax(-1), settings.sampling.logits(logits).softmax(-1)
    kept = int((after > 0).sum())
    rows = []
    for i in before.topk(min(PREVIEWED, len(before))).indices.tolist():
        name = html.escape(visible(_name(tokenizer, i)).replace(" ", "·"))
        bars = "".join(
            f"<div style='height:7px;width:{max(1, 260 * share):.0f}px;background:{colour}'></div>"
            for share, colour in ((float(before[i]), GREY), (float(after[i]), BLUE))
        )
        rows.append(
            f"<tr><td style='font-family:monospace;padding-right:10px'>{name}</td><td>{bars}</td>"
            f"<td style='padding-left:8px'>{before[i]:.1%} &rarr; {after[i]:.1%}</td></tr>"
        )
    return (
        f"<div style='background:{PAPER};color:{INK};padding:8px 12px;border-radius:6px;"
        f"font:13px system-ui,sans-serif'>"
        f"Next token after the prompt: {kept:,} of {len(before):,} kept "
        f"(<span style='color:{GREY}'>grey</span>: the model's own probability, "
        f"<span style='color:{BLUE}'>blue</span>: after temperature, top-k and top-p)"
        f"<table style='border-spacing:0 2px'>{''.join(rows)}</table></div>"
    )


class Sampler(Still, widgets.VBox):
    """Controls around a model and its tokenizer. Generate streams the text; the bars follow every control.

    >>> Sampler(model, tokenizer, prompt="And God said")  # doctest: +SKIP
    """

    def __init__(self, model: nn.Module, tokenizer, prompt: str = Settings.prompt, seed: int = 0):
        self.model, self.tokenizer = model, tokenizer
        self.prompt = widgets.Text(prompt, description="prompt", layout=WIDE)
        self.temperature = widgets.FloatSlider(
            Settings.temperature, min=0, max=2, step=0.05, description="temperature"
        )
        self.top_k = widgets.IntSlider(0, min=0, max=100, description="top-k (0: all)")
        self.top_p = widgets.FloatSlider(Settings.top_p, min=0.05, max=1, step=0.05, description="top-p")
        self.length = widgets.IntSlider(Settings.length, min=1, max=500, description="tokens")
        self.seed = widgets.IntText(seed, description="seed", layout=widgets.Layout(width="12rem"))
        self.button = widgets.Button(description="Generate", button_style="primary", icon="play")
        self.next_token, self.text = widgets.HTML(layout=WIDE), widgets.HTML(layout=WIDE)
        self._running: asyncio.Task | None = None
        self._show_next = Debounced(self._refresh_next)
        names = ("prompt", "temperature", "top_k", "top_p", "length", "seed")
        controls = [getattr(self, name) for name in names]
        for name, control in zip(names, controls, strict=True):
            control.style.description_width = "7rem"
            if isinstance(control, (widgets.IntSlider, widgets.FloatSlider)):
                control.layout.width = "26rem"
            control.add_class(f"lab-{name.replace('_', '-')}")
            control.observe(self._show_next, "value")
        self.button.add_class("lab-generate")
        self.text.add_class("lab-text")
        self.button.on_click(self._start)
        self._refresh_next()
        pairs = [
            widgets.HBox(controls[i : i + 2], layout=widgets.Layout(flex_flow="row wrap")) for i in (1, 3)
        ]
        last = widgets.HBox([self.seed, self.button], layout=widgets.Layout(align_items="center"))
        super().__init__([self.prompt, *pairs, last, self.text, self.next_token])

    @property
    def settings(self) -> Settings:
        return Settings(
            prompt=self.prompt.value,
            temperature=self.temperature.value,
            top_k=self.top_k.value,
            top_p=self.top_p.value,
            seed=self.seed.value,
            length=self.length.value,
        )

    def _refresh_next(self) -> None:
        try:
            self.next_token.value = render_next(self.model, self.tokenizer, self.settings)
        except ValueError as error:
            self.next_token.value = _problem(error)

    def _start(self, _button) -> None:
        """Generate anew. In a notebook as a task, so that the kernel can still hear the next click."""
        if self._running is not None:
            self._running.cancel()
        stream = self._stream(self.settings)
        try:
            self._running = asyncio.get_running_loop().create_task(_spread(stream))
        except RuntimeError:  # no event loop: a script or a test
            for _ in stream:
                pass

    def _stream(self, settings: Settings) -> Iterator[None]:
        drawn: list[Drawn] = []
        try:
            for step in draw(self.model, self.tokenizer, settings):
                drawn.append(step)
                self.text.value = render(self.tokenizer, settings.prompt, drawn)
                yield
        except ValueError as error:
            self.text.value = _problem(error)


async def _spread(stream: Iterator[None]) -> None:
    for _ in stream:
        await asyncio.sleep(0.005)


def _problem(error: Exception) -> str:
    return f"<div role='alert' style='padding:8px 12px'>{html.escape(str(error))}</div>"


def _name(tokenizer, i: int) -> str:
    return tokenizer.tokens([i])[0]
