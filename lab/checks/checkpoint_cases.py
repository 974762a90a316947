"""What the check of checkpoints has saved, and how it knows a pickle."""

import io
import pickletools
import zipfile
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.text import BPETokenizer

TEXTS = ("the cat sat on the mat", "Ünïcödé, 2026 and the rest\tof it")


@dataclass
class Made:
    """What is saved."""

    model: DecoderOnlyTransformer
    tokenizer: BPETokenizer
    optimizer: torch.optim.Optimizer
    step: int


@cache
def _trained_tokenizer(width: int) -> BPETokenizer:
    """Two that cut the same text in other places."""
    if width == 8:
        return BPETokenizer.train([TEXTS[0]] * 2, vocab_size=264, pattern="gpt2")
    return BPETokenizer.train(
        [TEXTS[0].replace("t", "n")] * 2 + [TEXTS[0][4:9]] * 9, vocab_size=266, pattern="none"
    )


def make(dtype: str, width: int, step: int) -> Made:
    """The same objects anew at each call: a model with random weights, three steps trained."""
    tokenizer = _trained_tokenizer(width)
    config = TransformerConfig(tokenizer.vocab_size, 16, width, 1, 2, width, tied=width == 12)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(step)
        model = DecoderOnlyTransformer(config)
        for weight in model.parameters():
            nn.init.normal_(weight, std=0.3)
    model.to(getattr(torch, dtype))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0123, betas=(0.7, 0.9), weight_decay=0.05)
    made = Made(model, tokenizer, optimizer, step)
    for n in range(3):
        step_once(made, seed=n)
    return made


def step_once(made: Made, seed: int) -> None:
    """One step of the optimizer along made-up gradients."""
    generator = torch.Generator().manual_seed(seed)
    for weight in made.model.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator).to(weight.dtype)
    made.optimizer.step()


def is_pickled(data: bytes) -> bool:
    """Whether a file is a pickle, or an archive that has one in it."""
    if zipfile.is_zipfile(io.BytesIO(data)):  # torch.save writes one, with a pickle in it
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return any(is_pickled(archive.read(name)) for name in archive.namelist())
    if data.startswith(b"\x93NUMPY"):  # an array of objects is a pickle behind a header
        return b"'|O'" in data[:256]
    try:
        last = [at for opcode, _, at in pickletools.genops(data) if opcode.name == "STOP"][-1]
    except Exception:  # genops gives up on what is no pickle in many ways
        return False
    # Older pickles are text: the whole file must be one, for "0." begins like one.
    return data[:1] == b"\x80" or (last == len(data) - 1 and len(data) > 3)
