"""What a reader's training does, seen from outside: torch tells of every forward pass and optimizer step."""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lab.checks.numbers import Unreadable
from lab.files import sha256_bytes


@dataclass
class Trace:
    """What one call did: its losses, what each forward pass began from, and what each step of an optimizer did.

    Batches, weights, random states and memories are fingerprints.
    """

    losses: list[float] = field(default_factory=list)
    checkpoint: object = None
    batches: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    random: list[str] = field(default_factory=list)
    rates: list[tuple[float, ...]] = field(default_factory=list)
    memories: list[str] = field(default_factory=list)


def watch(train_fn: Callable, steps: int, start: object, seed: int) -> Trace:
    """Call the reader's function with the global generators at `seed`, and see what it does."""
    trace = Trace()
    with _generators_at(seed), _hooks(trace):
        answer = train_fn(steps) if start is None else train_fn(steps, start)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Unreadable(f"{type(answer).__name__}; give (losses, checkpoint)")
    trace.losses, trace.checkpoint = [float(loss) for loss in answer[0]], answer[1]
    if len(trace.losses) != steps or not all(map(math.isfinite, trace.losses)):
        raise Unreadable(f"{len(trace.losses)} losses for {steps} steps: {trace.losses}")
    if trace.checkpoint is None:
        raise Unreadable("None as the checkpoint")
    return trace


@contextmanager
def _generators_at(seed: int) -> Iterator[None]:
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


@contextmanager
def _hooks(trace: Trace) -> Iterator[None]:
    """Write down each outermost forward pass in training, and each step of an optimizer."""
    depth = 0

    def before(module, arguments) -> None:
        nonlocal depth
        if depth == 0 and module.training:
            trace.batches.append(_fingerprint(arguments))
            trace.weights.append(_fingerprint(list(module.parameters())))
            trace.random.append(_fingerprint([torch.get_rng_state()]))
        depth += 1

    def after(*_) -> None:
        nonlocal depth
        depth -= 1

    def step(optimizer, *_) -> None:
        trace.rates.append(tuple(float(group["lr"]) for group in optimizer.param_groups))
        weights = (weight for group in optimizer.param_groups for weight in group["params"])
        memories = [sorted(optimizer.state.get(weight, {}).items()) for weight in weights]
        trace.memories.append(_fingerprint([memory for one in memories for _, memory in one]))

    handles = [
        register_module_forward_pre_hook(before),
        register_module_forward_hook(after, always_call=True),
        register_optimizer_step_pre_hook(step),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _fingerprint(values) -> str:
    parts = [v.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes() if torch.is_tensor(v) else
             repr(v).encode() for v in values]  # fmt: skip
    return sha256_bytes(b"|".join(parts))
