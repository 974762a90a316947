"""Optimizers for small transformers: Muon and AdamW, who gets which, and how the learning rate moves."""

import math

import torch
from torch import Tensor, nn


def orthogonalise(matrix: Tensor, steps: int = 3) -> Tensor:
    """The nearest matrix with all singular values about 1, by `steps` Newton-Schulz iterations.

    Muon (Jordan et al. 2024). The quintic's coefficients push singular values fast to about 0.7 to 1.2
    instead of slowly to 1. float32 throughout: bfloat16, which GPUs like, is emulated on most CPUs.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)  # b gram + c gram gram
        x = torch.addmm(x, polynomial, x, beta=a)  # a x + polynomial x, without the sums in between
    return x if wide else x.T


class Muon(torch.optim.Optimizer):
    """Momentum whose step is orthogonalised, for weight matrices between hidden states (Jordan et al. 2024).

    All directions of a matrix then move equally far, also those with small gradients. A step has
    root-mean-square size about `lr * sqrt(max(1, rows / columns) / columns)`, whatever the gradient's size.
    """

    def __init__(self, params, lr: float = 0.03, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                direction = orthogonalise(p.grad.lerp(buffer, group["momentum"]))  # Nesterov
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(direction, alpha=-group["lr"] * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)


def make_optimizers(
    model: nn.Module, *, matrix_lr: float, other_lr: float, weight_decay: float = 0.0, muon: bool = True
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, output weights, norms and biases.

    Without `muon`, AdamW for all, at `other_lr`.
    Weight decay applies to matrices only: shrinking a norm's gain or a bias has no reason behind it.
    Each group keeps its base learning rate as `group["base_lr"]`, for `set_learning_rate`.
    """
    hidden, matrices, vectors = [], [], []
    for name, p in model.named_parameters():
        for_muon = muon and "blocks" in name.split(".")
        (hidden if for_muon and p.dim() == 2 else matrices if p.dim() == 2 else vectors).append(p)
    decayed = {"params": matrices, "weight_decay": weight_decay}
    plain = {"params": vectors, "weight_decay": 0.0}
    optimizers = [torch.optim.AdamW([decayed, plain], lr=other_lr, betas=(0.9, 0.95))]
    if hidden:
        optimizers.append(Muon(hidden, lr=matrix_lr, weight_decay=weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return optimizers


def set_learning_rate(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Set every group's learning rate to its base times `factor`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor


def learning_rate_factor(step: int, steps: int, warmup: int, schedule: str = "linear") -> float:
    """What the base learning rate is multiplied by at `step` (0-based) of `steps`.

    It rises in a line over `warmup` steps; then `"linear"` or `"cosine"` falls to 0 at the end, `"constant"` stays.

    >>> [learning_rate_factor(s, steps=6, warmup=2) for s in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return {"linear": 1 - progress, "cosine": cosine, "constant": 1.0}[schedule]
