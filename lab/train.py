"""The training loop: a generator that takes a step each time it is asked, and tells what happened."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lab.batches import Batch
from lab.optim import learning_rate_factor, make_optimizers, set_learning_rate

LossFunction = Callable[[nn.Module, Batch], tuple[Tensor, int]]


@dataclass(frozen=True)
class TrainConfig:
    """How to train: `steps` optimizer steps, the learning rates rising over `warmup` steps, then falling.

    `matrix_lr` is Muon's, for the matrices inside the blocks; `other_lr` is AdamW's, for everything else.
    """

    steps: int
    matrix_lr: float = 0.03
    other_lr: float = 6e-3
    warmup: int = 20
    schedule: str = "linear"
    weight_decay: float = 0.0
    clip_norm: float = 1.0

    def __post_init__(self):
        if self.steps < 1 or self.warmup < 0:
            raise ValueError(
                f"steps must be at least 1 and warmup at least 0, got {self.steps} and {self.warmup}"
            )
        for name in ("matrix_lr", "other_lr", "clip_norm"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay must be 0 or a positive number, got {self.weight_decay!r}")
        learning_rate_factor(0, 1, 0, self.schedule)  # refuses an unknown schedule here, not at step 21


@dataclass(frozen=True)
class Step:
    """One optimizer step: `loss` in nats a target, before the step; `seconds` since training began."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    seconds: float
    tokens_per_second: float


def train(
    model: nn.Module, batches: Iterable[Batch], loss: LossFunction, config: TrainConfig
) -> Iterator[Step]:
    """Train `model` in place on `batches`, one `Step` at a time; stop any time by leaving the loop.

    `loss(model, batch) -> (summed nats, count)`: the gradient is that of the mean over the count.

    >>> for step in train(model, batches, next_token_loss, TrainConfig(steps=100)):  # doctest: +SKIP
    ...     print(step.step, step.loss)

    Raises ValueError when the batches run out early, FloatingPointError when the loss is no longer finite.
    """
    optimizers = make_optimizers(
        model, matrix_lr=config.matrix_lr, other_lr=config.other_lr, weight_decay=config.weight_decay
    )
    parameters = [p for p in model.parameters() if p.requires_grad]
    device = parameters[0].device
    batches = iter(batches)
    tokens, start = 0, time.perf_counter()
    for step in range(config.steps):
        batch = next(batches, None)
        if batch is None:
            raise ValueError(
                f"the batches ran out after {step} of {config.steps} steps: give more, or fewer steps"
            )
        model.train()
        nats, count = loss(model, batch.to(device))
        if count == 0:
            raise ValueError(f"the batch of step {step} has no targets: every target is padding")
        mean = nats / count
        if not torch.isfinite(mean):
            raise FloatingPointError(
                f"the loss is {mean.item()} at step {step}: lower matrix_lr ({config.matrix_lr}) and other_lr "
                f"({config.other_lr}), or warm up for longer than {config.warmup} steps"
            )
        mean.backward()
        grad_norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        factor = learning_rate_factor(step, config.steps, config.warmup, config.schedule)
        set_learning_rate(optimizers, factor)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        tokens += count
        seconds = time.perf_counter() - start
        yield Step(
            step, mean.item(), config.other_lr * factor, grad_norm.item(), count, seconds, tokens / seconds
        )
