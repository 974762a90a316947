"""Optimizers for small transformers: Muon and AdamW, who gets which, and how the learning rate moves."""

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn


def orthogonalise(matrix: Tensor, steps: int = 3) -> Tensor:
    """The nearest matrix with all singular values about 1, by `steps` Newton-Schulz iterations.

    Muon (Jordan et al. 2024). The quintic's coefficients push singular values fast to about 0.7 to 1.2
    instead of slowly to 1. In the precision of the matrix: bfloat16, which most CPUs emulate, is enough.
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

    def __init__(
        self,
        params,
        lr: float = 0.03,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        computed_in=torch.float32,
    ):
        usual = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "computed_in": computed_in}
        super().__init__(params, usual)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                gradient = p.grad.lerp(buffer, group["momentum"])  # Nesterov
                direction = orthogonalise(gradient.to(group["computed_in"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(direction, alpha=-group["lr"] * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)


Rates = Sequence[tuple[str, float]]


def make_optimizers(
    model: nn.Module,
    *,
    matrix_lr: float,
    other_lr: float,
    weight_decay: float = 0.0,
    muon: bool = True,
    computed_in: torch.dtype = torch.float32,
    rates: Rates = (),
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, output weights, norms and biases.

    Without `muon`, AdamW for all, at `other_lr`.
    Weight decay applies to matrices only: shrinking a norm's gain or a bias has no reason behind it.
    `rates`, as of `TrainConfig`, multiply the learning rate of parameters by name; 0 turns their `requires_grad` off.
    Each group keeps its base learning rate as `group["base_lr"]`, for `set_learning_rate`.

    Raises ValueError for a pattern that fits no parameter, and where none is left to learn.
    """
    hidden, others = {}, {}  # the parameters of each group, by its settings
    for name, p in model.named_parameters():
        factor, matrix = rate_of(name, rates), p.dim() == 2
        if factor == 0:
            p.requires_grad_(False)
        elif muon and matrix and "blocks" in name.split("."):
            hidden.setdefault((matrix_lr * factor, weight_decay), []).append(p)
        else:
            others.setdefault((other_lr * factor, weight_decay if matrix else 0.0), []).append(p)
    _check_rates(model, rates, hidden or others)
    optimizers = [torch.optim.AdamW(_groups(others), betas=(0.9, 0.95))] if others else []
    if hidden:
        optimizers.append(Muon(_groups(hidden), computed_in=computed_in))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return optimizers


def rate_of(name: str, rates: Rates) -> float:
    """The factor of the first pattern that fits a parameter's name, 1 where none does.

    >>> rate_of("decoder.blocks.0.feed_forward.expand.weight", [("embedding.*", 0), ("*blocks.0.*", 0.5)])
    0.5
    """
    return next((factor for pattern, factor in rates if fnmatchcase(name, pattern)), 1.0)


def _groups(parameters: dict[tuple[float, float], list[nn.Parameter]]) -> list[dict]:
    return [{"params": ps, "lr": lr, "weight_decay": decay} for (lr, decay), ps in parameters.items()]


def _check_rates(model: nn.Module, rates: Rates, learning: dict) -> None:
    names = [name for name, _ in model.named_parameters()]
    for pattern, _ in rates:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"no parameter is called {pattern!r} (rates); there are {', '.join(names)}")
    if not learning:
        raise ValueError(f"rates {rates} leave nothing that learns: let a factor be above 0")


def set_learning_rate(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Set every group's learning rate to its base times `factor`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor


def learning_rate_factor(
    step: int,
    steps: int,
    warmup: int,
    schedule: str = "linear",
    *,
    restarts: int = 0,
    least: float = 0.0,
    halvings: int = 0,
) -> float:
    """What the base learning rate is multiplied by at `step` (0-based) of `steps`.

    It rises in a line over `warmup` steps; then `"linear"` or `"cosine"` falls to `least` at the end, `"constant"`
    stays. With `restarts` it falls so many times more, in equal parts (Loshchilov and Hutter 2017, SGDR). Each of
    `halvings` takes half of it, but never below `least`.

    >>> [learning_rate_factor(s, steps=6, warmup=2) for s in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    >>> [learning_rate_factor(s, steps=6, warmup=2, restarts=1, least=0.5) for s in range(6)]
    [0.5, 1.0, 1.0, 0.75, 1.0, 0.75]
    """
    if step < warmup:
        return (step + 1) / warmup
    falls, after = restarts + 1, max(1, steps - warmup)
    progress = (step - warmup) * falls % after / after
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    share = {"linear": 1 - progress, "cosine": cosine, "constant": 1.0}[schedule]
    return max(least, (least + (1 - least) * share) * 0.5**halvings)
