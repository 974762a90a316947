"""The training loop: a generator that takes a step each time it is asked, and reports what happened."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from lab.machine import check_memory
from lab.nn import evaluating
from lab.train import parallel
from lab.train.objective import Loss, Step
from lab.train.optim import set_learning_rate
from lab.train.state import TrainConfig, TrainingState

# In float16 a gradient that is beyond its largest number, 65,504, costs a step, and losses are scaled by half as much
# from then on; so many steps later by twice as much (Micikevicius et al. 2018, section 3.2).
SCALE_GROWS, LEAST_SCALE = 2000, 2.0**-16
NO_FLOAT16 = ("cpu",)  # which would be slower by it, not faster


class TrainingDiverged(FloatingPointError):
    """A loss, gradient or validation that is not a finite number; the message says when, on what, what to do."""


@dataclass(frozen=True)
class Report:
    """One optimizer step: `loss` in nats a target, before the step; `seconds` since training began.

    `validation` is what `evaluate` measured after the step, None where it was not asked; `metrics` what the loss had
    to say besides, the mean over the batches of the step. `grad_norm` is that before clipping; 0 of a step in float16
    that was left out, for its gradient was too large a number.
    """

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    seconds: float
    tokens_per_second: float
    validation: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


def train(
    model: nn.Module,
    batches: Iterable,
    loss: Callable[[nn.Module, object, Step], Loss],
    config: TrainConfig,
    *,
    state: TrainingState | None = None,
    evaluate: Callable[[nn.Module], float] | None = None,
    seed: int = 0,
    material=None,
) -> Iterator[Report]:
    """Train `model` in place on `batches`, one `Report` a step; stop any time by leaving the loop.

    `loss(model, batch, step)`: the gradient is that of the mean over all targets of all batches of a step and of all
    processes. `evaluate(model)` is a number, lower is better, asked every `config.evaluate_every` steps, in evaluation
    mode and without gradients. `seed` is that of `step.rng`, `material` what `step.material` shows.

    With a `state`, training goes on where that stands: `batches` is then the same stream made anew, of which the first
    `state.batches_taken` are passed over. After each report the state fits the weights: save both inside the loop.

    >>> for report in train(model, batches, next_token_loss, TrainConfig(steps=100)):  # doctest: +SKIP
    ...     print(report.step, report.loss)

    Raises ValueError when the batches run out early, and TrainingDiverged, a FloatingPointError, when a loss or
    gradient is no longer finite; the weights are then those of the step before.
    """
    config = config.settled()
    state = state or TrainingState(model, config)
    _check(model, config, state, evaluate)
    parameters = [p for p in model.parameters() if p.requires_grad]
    numbers = sum(p.numel() for p in parameters if p.device.type == "cpu")
    # Each has a gradient, and the optimizer remembers one number or two.
    check_memory(f"training {numbers:,} weights", 8 * numbers, "make the model smaller")
    parallel.share_weights(parameters)
    device = parameters[0].device
    if config.precision == "float16" and device.type in NO_FLOAT16:
        raise ValueError('precision "float16" is for GPUs: on a CPU take "bfloat16" or "float32"')
    computed_in = torch.float16 if config.precision == "float16" else torch.bfloat16
    compiled = torch.compile(model) if config.compile else model
    batches = state.remaining(batches)
    start = time.perf_counter() - state.seconds
    model.zero_grad()  # an earlier training that was interrupted in the middle of a step leaves a part of a gradient

    while not state.stopped:
        model.train()
        nats, count, suspect, told = 0.0, 0, None, []
        scale = state.loss_scale if config.precision == "float16" else 1.0
        for micro in range(config.accumulate):
            batch = next(batches, None)
            if batch is None:
                raise ValueError(f"the batches ran out after {state.step} of {config.steps} steps: give more")
            batch = parallel.shard(batch.to(device))
            if batch.num_targets == 0 and parallel.world_size() > 1:  # fewer rows than processes
                continue
            step = Step(state.step, micro, state.step / config.steps, _rng(seed, state, micro), material)
            with torch.autocast(device.type, computed_in, enabled=config.precision != "float32"):
                found = loss(compiled, batch, step)
            if not isinstance(found, Loss):
                raise ValueError(f"a loss returns lab.train.Loss(nats, count), got a {type(found).__name__}")
            (found.nats * scale).backward()
            nats, count = nats + found.nats.item(), count + found.count
            told.append(found.metrics)
            if suspect is None and not math.isfinite(nats):
                suspect = batch

        nats, count = parallel.total(nats, count)
        if count == 0:
            raise ValueError(f"the batch of step {state.step} has no targets: every target is padding")
        mean = nats / count
        if not math.isfinite(mean):
            raise _diverged("loss", mean, state, suspect)
        parallel.sum_gradients(parameters, count * scale)
        grad_norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm).item()
        fits = math.isfinite(grad_norm)
        if not fits and (config.precision != "float16" or scale <= LEAST_SCALE):
            raise _diverged("norm of the gradient", grad_norm, state, batch)
        factor = state.rate_factor
        set_learning_rate(state.optimizers, factor)
        for optimizer in state.optimizers:
            if fits:
                optimizer.step()
            optimizer.zero_grad()

        state.step += 1
        if not fits:
            state.loss_scale, grad_norm = scale / 2, 0.0
        elif config.precision == "float16" and state.step % SCALE_GROWS == 0:
            state.loss_scale = scale * 2
        state.batches_taken += config.accumulate
        state.tokens += int(count)
        state.validation = None
        if config.evaluate_every and state.step % config.evaluate_every == 0:
            state.record(_evaluated(model, evaluate, state))
        state.seconds = time.perf_counter() - start
        rate, speed = config.other_lr * factor, state.tokens / state.seconds
        measured = mean, rate, grad_norm, int(count), state.seconds, speed, state.validation
        yield Report(state.step - 1, *measured, _means(told))


def _means(metrics: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure over the batches that told it; not each must."""
    names = dict.fromkeys(name for one in metrics for name in one)
    told = {name: [one[name] for one in metrics if name in one] for name in names}
    return {name: sum(values) / len(values) for name, values in told.items()}


def _rng(seed: int, state: TrainingState, micro: int) -> torch.Generator:
    """Where the noise of one batch begins: the same after a resume, another in every process."""
    mixed = np.random.SeedSequence((seed, parallel.rank(), state.batches_taken, micro)).generate_state(1)
    return torch.Generator().manual_seed(int(mixed[0]))


def _check(model: nn.Module, config: TrainConfig, state: TrainingState, evaluate) -> None:
    if state.model is not model:
        raise ValueError("this state belongs to another model: make TrainingState(model, config)")
    if state.config != config:
        raise ValueError("this state was made for another config: load its tensors and values into a new one")
    if (evaluate is None) != (config.evaluate_every == 0):
        raise ValueError(
            f"evaluate and evaluate_every ({config.evaluate_every}) go together: give both, or none"
        )


@torch.no_grad()
def _evaluated(model: nn.Module, evaluate: Callable[[nn.Module], float], state: TrainingState) -> float:
    with evaluating(model):
        # The mean over processes, so that all of them stop at the same step.
        validation = parallel.total(float(evaluate(model)))[0] / parallel.world_size()
    if not math.isfinite(validation):
        raise _diverged("validation", validation, state, None)
    return validation


def _diverged(what: str, value: float, state: TrainingState, batch) -> TrainingDiverged:
    """The error, once the gradients are cleared: what was bad must not leak into a later step."""
    for optimizer in state.optimizers:
        optimizer.zero_grad()
    c = state.config
    ids = getattr(batch, "ids", ())
    on = f" on a batch that begins with ids {ids[0].tolist()[:12]}" if len(ids) else ""
    factor = state.rate_factor
    return TrainingDiverged(
        f"the {what} is {value} at step {state.step}{on}; matrix_lr was {c.matrix_lr * factor:.3g} (of "
        f"{c.matrix_lr}) and other_lr {c.other_lr * factor:.3g} (of {c.other_lr}): lower them, or warm up for longer "
        f"than {c.warmup} steps. The last good step: {state.saved_to or 'none saved'}"
    )
