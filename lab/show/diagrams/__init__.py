"""Diagrams drawn by hand in DOT: the numbers are taken from the real thing, the look is a sketch.

`render` lays DOT out, `sketch` draws it again on paper with a pen (`strokes`) and one set of colours
(`palette`); every other module here is one diagram.
"""

from collections.abc import Callable
from os import PathLike
from pathlib import Path

from lab.files import write_atomic
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.show.diagrams.bpe import bpe
from lab.show.diagrams.text_to_verse import count_parameters, text_to_verse
from lab.tokenize import BPETokenizer

# A few sentences about the sky, so that the picture of a merge needs no corpus.
SKY = (
    "Even the heavy clouds leave heaven a heaven again.",
    "When the evening comes, seven ravens leave the haven for the open heaven.",
    "They have seen heaven open over the hills, and the earth beneath the heaven.",
    "He heard them above the heath: the wind, the waves, the hen and her eleven chicks.",
)


def figures() -> dict[str, Callable[[], str]]:
    """Each figure that is kept in figures/, by name, and what draws it: `figures()["bpe"]()` is its SVG."""
    return {"text_to_verse": _first_model, "bpe": _heaven}


def write_figures(folder: str | PathLike) -> list[Path]:
    """Draw every figure into `folder` as <name>.svg; returns the paths."""
    return [write_atomic(Path(folder) / f"{name}.svg", draw()) for name, draw in figures().items()]


def _first_model() -> str:
    config = TransformerConfig(vocab_size=1000)
    return text_to_verse(config, count_parameters(DecoderOnlyTransformer(config)))


def _heaven() -> str:
    return bpe(BPETokenizer.train(SKY, vocab_size=288))
