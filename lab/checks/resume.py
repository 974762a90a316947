"""A check of resuming: training with a break in the middle is the same, number for number, as without one."""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lab.checks.check import Case, Check, CheckReport, Examples
from lab.checks.numbers import Unreadable, differing, told
from lab.files import sha256_bytes

BROKEN_AT, STEPS = 3, 7
RESUMED = f"train_fn({STEPS - BROKEN_AT}, start=checkpoint of step {BROKEN_AT})"


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


@dataclass(frozen=True)
class Told:
    """The five calls that the check makes."""

    whole: Trace
    again: Trace
    first: Trace
    rest: Trace
    rest_again: Trace

    def after_the_break(self, what: str) -> tuple[list, list]:
        """These events of training in one go, and as it went on; there may be several a step."""
        whole = getattr(self.whole, what)
        return whole[BROKEN_AT * (len(whole) // STEPS) :], getattr(self.rest, what)


def resume(train_fn: Callable) -> CheckReport:
    """Does training go on where a checkpoint left it, as if it had never stopped?

    `train_fn(steps, start=None) -> (losses, checkpoint)` trains for `steps` more steps: with `start=None` from the
    beginning, seeding whatever it draws from; else from a checkpoint that it returned before, which may be anything,
    such as a folder. `losses` has one number a step. A schedule has its own length, not that of `steps`. The model is
    a torch module and the optimizer torch's, on the CPU: the check watches them while they train.

    Seven steps in one go are compared with three and four more; before these the global generators stand elsewhere,
    as in a new process.

    >>> resume(my_training)  # doctest: +SKIP
    """
    calls = count()

    def call(steps: int, start: object = None) -> Trace:
        return watch(train_fn, steps, start, seed=next(calls))

    def train(steps: int, broken_at: int) -> Told:
        whole, again, first = call(steps), call(steps), call(broken_at)
        rest, rest_again = (call(steps - broken_at, first.checkpoint) for _ in range(2))
        return Told(whole, again, first, rest, rest_again)

    case = Case("train_fn", steps=STEPS, broken_at=BROKEN_AT)
    wanted = "(losses, checkpoint), with one finite loss a step"
    check = Check("resume", train, wanted, lambda _, answer: answer, [case])
    note = "two fresh starts: seed weights, batches and dropout at the start"
    again = _same_losses(f"train_fn({STEPS})", lambda calls: (calls.whole.losses, calls.again.losses), note)
    repeated = check.judge("the same call gives the same losses again", again)
    cases = None if repeated else ()  # else nothing can be compared
    note = "does the schedule of the learning rate end with `steps`? Its length must be a setting of its own"
    both = f"train_fn({STEPS}) and train_fn({BROKEN_AT})"
    begun = _same_losses(both, lambda calls: (calls.whole.losses[:BROKEN_AT], calls.first.losses), note)
    check.judge("the first steps do not depend on how many follow", begun, cases)
    check.judge("the weights go on from where they were", _weights, cases)
    check.judge("the batches go on, and none comes again", _batches, cases)
    check.judge("the learning rate goes on", _rates, cases)
    check.judge("the optimizer keeps its memory", _memories, cases)
    check.judge("dropout goes on with the same random numbers", _dropout, cases)
    after = _same_losses(RESUMED, lambda calls: calls.after_the_break("losses"))
    check.judge("the losses are those of training in one go", after, cases)
    note = "the checkpoint changed with the training that it began: keep copies in it"
    twice = _same_losses(f"{RESUMED}, twice", lambda c: (c.rest.losses, c.rest_again.losses), note)
    check.judge("a checkpoint can be used twice", twice, cases)
    return check.report


def _weights(case: Case, calls: Told) -> Examples:
    whole, (expected, actual) = calls.whole.weights, calls.after_the_break("weights")
    if actual[:1] != expected[:1]:
        found = f"those of forward pass {whole.index(actual[0])}" if actual[0] in whole else "others"
        yield told(RESUMED, f"the weights of forward pass {len(whole) - len(expected)}", found)


def _batches(case: Case, calls: Told) -> Examples:
    order = {batch: n for n, batch in reversed(list(enumerate(calls.whole.batches)))}
    expected, actual = ([order.get(b, "another") for b in some] for some in calls.after_the_break("batches"))
    if expected != actual:
        begun = "the stream of batches began again: pass over those that were taken"
        shown = (", ".join(map(str, numbers)) or "none" for numbers in (expected, actual))
        yield told(RESUMED, f"batches {next(shown)}", next(shown), begun if actual[:1] == [0] else "")


def _rates(case: Case, calls: Told) -> Examples:
    expected, actual = calls.after_the_break("rates")
    if expected != actual:
        shown = (", ".join(f"{rates[0]:.4g}" for rates in every) for every in (expected, actual))
        yield told(RESUMED, *shown, "the learning rate of each step")


def _memories(case: Case, calls: Told) -> Examples:
    per_step = len(calls.whole.memories) // STEPS
    expected, actual = (memories[:per_step] for memories in calls.after_the_break("memories"))
    if expected != actual:
        empty = actual == calls.whole.memories[:per_step]
        found = "an optimizer that remembers nothing" if empty else "another memory"
        yield told(RESUMED, "momentum, and AdamW's second moments, as saved", found)


def _dropout(case: Case, calls: Told) -> Examples:
    """Same batch, same weights, other random numbers, and another loss: then they matter."""
    both = [calls.after_the_break(what) for what in ("batches", "weights", "random")]
    per_step = len(calls.whole.batches) // STEPS
    for n, events in enumerate(zip(*(zip(*pair, strict=False) for pair in both), strict=False)):
        same_batch, same_weights, same_random = (one == two for one, two in events)
        step = n // per_step
        losses = calls.whole.losses[BROKEN_AT + step], calls.rest.losses[step]
        if same_batch and same_weights and not same_random and losses[0] != losses[1]:
            note = "same weights, same batch, another loss: save and restore torch.get_rng_state()"
            yield told(RESUMED, *(f"loss {loss:.6g} at step {BROKEN_AT + step}" for loss in losses), note)


def _same_losses(call: str, which: Callable, note: str = "") -> Callable:
    """Finds where two lists of losses are not the same, bit for bit; `which(calls)` gives them."""

    def find(case: Case, calls: Told) -> Examples:
        expected, actual = which(calls)
        yield differing(call, expected, actual, note, np.array(expected) != np.array(actual))

    return find


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
