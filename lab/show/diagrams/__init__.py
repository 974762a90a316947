"""Diagrams drawn by hand in DOT: the numbers are taken from the real thing, the look is a sketch.

`render` lays DOT out, `sketch` draws it again on paper with a pen (`strokes`) and one set of colours
(`palette`); `shapes` asks a running model for its tensors' shapes; every other module here is one diagram.
"""

from collections.abc import Callable
from os import PathLike
from pathlib import Path

import torch

from lab.chars import CharEncoder, CharEncoderConfig
from lab.diffusion import Codebook, Denoiser, DenoiserConfig
from lab.files import write_atomic
from lab.nn.recurrent import RecurrentConfig, RecurrentLM
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.show.diagrams.attention_backward import attention_backward
from lab.show.diagrams.attention_layer import attention_layer
from lab.show.diagrams.bpe import bpe
from lab.show.diagrams.char_encoder import char_encoder
from lab.show.diagrams.decoder import decoder
from lab.show.diagrams.decoder_block import decoder_block
from lab.show.diagrams.denoiser import denoiser
from lab.show.diagrams.recurrence import recurrence, report_recurrent_shapes
from lab.show.diagrams.run import run
from lab.show.diagrams.shapes import report_shapes
from lab.show.diagrams.speech import speech
from lab.show.diagrams.text_to_verse import count_parameters, text_to_verse
from lab.show.diagrams.visual_tokens import visual_tokens
from lab.speech.model import SpeechConfig, SpeechTransformer
from lab.text import BPETokenizer

# A few sentences about the sky, so that the picture of a merge needs no corpus.
SKY = (
    "Even the heavy clouds leave heaven a heaven again.",
    "When the evening comes, seven ravens leave the haven for the open heaven.",
    "They have seen heaven open over the hills, and the earth beneath the heaven.",
    "He heard them above the heath: the wind, the waves, the hen and her eleven chicks.",
)


def figures() -> dict[str, Callable[[], str]]:
    """Each figure that is kept in figures/, by name, and what draws it: `figures()["bpe"]()` is its SVG."""
    return {
        "text_to_verse": _first_model,
        "bpe": _heaven,
        "attention": lambda: _shapes_of_first_model(attention_layer),
        "decoder_block": lambda: _shapes_of_first_model(decoder_block),
        "decoder": lambda: _shapes_of_first_model(decoder),
        "attention_backward": attention_backward,
        "recurrence": _shapes_of_recurrent_model,
        "run": run,
        "visual_tokens": _tokens_of_the_sky,
        "denoiser": _shapes_of_denoiser,
        "char_encoder": _shapes_of_char_encoder,
        "speech": _shapes_of_speech,
    }


def write_figures(folder: str | PathLike) -> list[Path]:
    """Draw every figure into `folder` as <name>.svg; returns the paths."""
    return [write_atomic(Path(folder) / f"{name}.svg", draw()) for name, draw in figures().items()]


def _first_model() -> str:
    config = TransformerConfig(vocab_size=1000)
    return text_to_verse(config, count_parameters(DecoderOnlyTransformer(config)))


def _shapes_of_first_model(diagram: Callable[..., str]) -> str:
    config = TransformerConfig(vocab_size=1000)
    ids = torch.zeros(3, 12, dtype=torch.long)
    return diagram(config, report_shapes(DecoderOnlyTransformer(config), ids, past=5))


def _shapes_of_recurrent_model() -> str:
    config = RecurrentConfig(vocab_size=1000, cell="lstm", num_layers=2)
    return recurrence(
        config, report_recurrent_shapes(RecurrentLM(config), torch.zeros(3, 12, dtype=torch.long))
    )


def _tokens_of_the_sky() -> str:
    tokenizer = BPETokenizer.train(SKY, vocab_size=288)
    ids = torch.tensor([tokenizer.encode(SKY[0])[:12]])
    return visual_tokens(_denoiser(tokenizer.vocab_size), ids, example=tokenizer.decode(ids[0].tolist()))


def _shapes_of_denoiser() -> str:
    return denoiser(_denoiser(1000), torch.full((3, 12, 25), 3))


def _denoiser(vocab_size: int) -> Denoiser:
    config = DenoiserConfig(TransformerConfig(vocab_size), granularity="cell", reads="words", neighbours=2)
    return Denoiser(config, Codebook.linear(vocab_size))


def _shapes_of_char_encoder() -> str:
    stack = TransformerConfig(vocab_size=80, context=256, num_layers=3)
    config = CharEncoderConfig(stack, memory_slots=4, latents=16, latent_width=32)
    return char_encoder(CharEncoder(config), torch.ones(3, 12, dtype=torch.long))


def _shapes_of_speech() -> str:
    decoder = TransformerConfig(33, context=96, width=144, num_layers=1, feed_forward=576)
    config = SpeechConfig(decoder)
    features, ids = torch.zeros(3, 80, config.features.bands), torch.ones(3, 12, dtype=torch.long)
    return speech(SpeechTransformer(config), features, ids)


def _heaven() -> str:
    return bpe(BPETokenizer.train(SKY, vocab_size=288))
