"""What the tests of widgets share: a few lines, tokenizers trained on them, a tiny model, and how a widget is read."""

import re
from itertools import product

import ipywidgets
import torch

from lab.bench import Operation, Row, operations, step_total
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.text import BPETokenizer, CharTokenizer

LINES = ["the heaven and the earth", "the earth was without form", "and the heaven was & is <b>"] * 4
tokenizer = BPETokenizer.train(LINES, vocab_size=280)
characters = CharTokenizer.train(LINES)


def tiny(vocab_size: int, **settings) -> DecoderOnlyTransformer:
    sizes = {"context": 32, "width": 16, "num_layers": 2, "num_heads": 2, "feed_forward": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return loud(DecoderOnlyTransformer(TransformerConfig(vocab_size, **(sizes | settings))))


def loud(model):
    """A model whose weights are large enough for its words to differ."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


model = tiny(tokenizer.vocab_size)


def text_of(html: str) -> str:
    """What a reader sees: no style, no tags, no hidden details."""
    html = re.sub(r"<style>.*?</style>|<span class='lab-details'>.*?</span>", "", html, flags=re.DOTALL)
    return re.sub(r"<[^>]*>", "", html).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def controls_of(widget) -> list[ipywidgets.ValueWidget]:
    """Every control below `widget` that a person can move."""
    if isinstance(widget, ipywidgets.Box):
        return [control for child in widget.children for control in controls_of(child)]
    return [] if isinstance(widget, (ipywidgets.HTML, ipywidgets.Button)) else [widget]


def names_of(widget) -> set[str]:
    """The classes of all its controls, by which pages and tests find them."""
    return {name for control in controls_of(widget) for name in control._dom_classes}


def drawn_in(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


A, FLOP, BYTE = 2e-3, 1e-10, 1e-9  # seconds an iteration, an operation and a byte


def counted(batch: int, width: int, context: int) -> Operation:
    config = TransformerConfig(1000, width=width, context=context, feed_forward=4 * width)
    return step_total(operations(config, batch, context))


def planted(iteration: float = A, flop: float = FLOP, byte: float = BYTE) -> list[Row]:
    """Rows of a device that follows the law; a repeat a little below, one a little above."""
    rows = []
    for batch, width, context in product((1, 8, 64), (64, 192), (16, 64)):
        total = counted(batch, width, context)
        seconds = iteration + flop * total.flops + byte * total.bytes
        case = {"batch": batch, "width": width, "context": context}
        rows.append(Row(case, (0.98 * seconds, seconds, 1.02 * seconds)))
    return rows
