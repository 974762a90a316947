"""Models with random weights, and what the tests of lab.nn ask of all of them."""

import torch
from torch import nn

from lab.nn import TransformerConfig

CONFIG = TransformerConfig(vocab_size=50, context=24, width=32, num_layers=3, num_heads=4, feed_forward=48)


def randomised(model: nn.Module, std: float = 0.3, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Random weights everywhere, norms and biases too: with the zero initialisation most tests could not fail."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std)
    return model.to(dtype).eval()


def ids(rows: int = 2, length: int = 20, vocab_size: int = 30) -> torch.Tensor:
    return torch.randint(5, vocab_size, (rows, length))


def same(actual, expected, atol: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def in_parts(read, x: torch.Tensor, sizes: list[int], cache) -> torch.Tensor:
    """The logits of ids `(B, T)` that are read so many at a time."""
    return torch.cat([read(part, cache=cache) for part in x.split(sizes, dim=1)], dim=1)


def reach(embedding: nn.Module, run) -> torch.Tensor:
    """bool `(T, S)`: which of the S embedded tokens have a gradient from each of the T rows of logits."""
    embedded = []
    hook = embedding.token.register_forward_hook(lambda *args: embedded.append(args[2].requires_grad_()))
    logits = run()
    hook.remove()
    rows = []
    for t in range(logits.shape[1]):
        (gradient,) = torch.autograd.grad(logits[0, t].square().sum(), embedded[0], retain_graph=True)
        rows.append(gradient[0].abs().sum(-1) > 0)
    return torch.stack(rows)
