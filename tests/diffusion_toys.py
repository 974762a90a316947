"""Small worlds in which all that diffusion estimates can be counted out, shared by the tests of `lab.diffusion`."""

from dataclasses import fields
from itertools import product

import pytest
import torch
from torch import Tensor

from lab.diffusion import Codebook, Denoiser, DenoiserConfig
from lab.nn import TransformerConfig

BLANK = 3
OF_STACK = {field.name for field in fields(TransformerConfig)}


every_noise = pytest.mark.parametrize(
    "noise, granularity", [("absorbing", "token"), ("absorbing", "cell"), ("uniform", "cell")]
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def config_of(vocab_size: int, cls=DenoiserConfig, **settings):
    """A config of a denoiser, from its own settings and those of its stack."""
    stack = {name: settings.pop(name) for name in OF_STACK & settings.keys()}
    if settings.get("noise") == "uniform":
        settings["granularity"] = "cell"
    return cls(TransformerConfig(vocab_size, **stack), **settings)


def toy_codebook(vocab_size: int, num_cells: int) -> Codebook:
    """Words spread over the patterns of three colours."""
    patterns = torch.tensor(list(product(range(3), repeat=num_cells)))
    order = torch.randperm(len(patterns), generator=seeded(7))
    return Codebook(patterns[order[:vocab_size]], 3)


class ExactDenoiser(Denoiser):
    """Knows the probability of every line of `length` words, and so the exact answer to every question."""

    def __init__(self, vocab_size=4, num_cells=2, length=2, seed=0, **settings):
        config = config_of(
            vocab_size, context=length, width=4, num_layers=1, num_heads=1, feed_forward=4, grid=(1, num_cells),
            **settings,
        )  # fmt: skip
        super().__init__(config, toy_codebook(vocab_size, num_cells))
        self.lines = torch.tensor(list(product(range(vocab_size), repeat=length)))  # (X, T)
        self.p = (1.5 * torch.randn(len(self.lines), generator=seeded(seed)).double()).softmax(0)  # (X,)
        self.x = self.patterns[self.lines]  # (X, T, n)

    @property
    def entropy(self) -> float:
        return float(-(self.p * self.p.log()).sum())

    def forward(self, cells, *, alpha=None, given=None, document_ids=None, where=None) -> Tensor:
        same = cells[:, None] == self.x  # (B, X, T, n)
        if self.config.noise == "absorbing":
            agree = (same | (cells[:, None] == BLANK)).flatten(2).sum(-1)  # (B, X)
            chance = (agree == agree.amax(-1, keepdim=True)).double()  # those that fit, or come nearest
        else:
            a = alpha.double()[:, None, None, None]
            each = torch.where(same, a + (1 - a) / 3, (1 - a) / 3).prod(-1)  # (B, X, T)
            if given is not None:
                each = torch.where(given[:, None], same.all(-1).double(), each)
            chance = each.prod(-1)
        lines = chance * self.p
        lines = lines / lines.sum(-1, keepdim=True)
        one_hot = torch.nn.functional.one_hot(self.lines, self.config.vocab_size).double()  # (X, T, V)
        words = torch.einsum("bx,xtv->btv", lines, one_hot).log()
        if self.config.head == "factorised":
            words = (words.exp() @ self.one_hot.double().flatten(1)).unflatten(-1, (-1, 3)).log()
        return words if where is None else words[where]

    def sample(self, count: int, seed: int = 0) -> Tensor:
        """Lines `(count, T)` as likely as they are."""
        return self.lines[torch.multinomial(self.p, count, replacement=True, generator=seeded(seed))]
