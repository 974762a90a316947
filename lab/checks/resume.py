"""A check of resuming: training with a break in the middle is the same, number for number, as without one."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np

from lab.checks.drawing import sentence
from lab.checks.numbers import differing
from lab.checks.report import Case, CheckReport, Example, ask, judge
from lab.checks.training_trace import Trace, watch

BROKEN_AT, STEPS = 3, 7


@dataclass(frozen=True)
class Told:
    """The four calls that the check makes."""

    whole: Trace
    first: Trace
    rest: Trace
    rest_again: Trace


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

    def answer(steps: int, broken_at: int) -> tuple[Told, list[float]]:
        whole, again, first = call(steps), call(steps), call(broken_at)
        rest, rest_again = (call(steps - broken_at, first.checkpoint) for _ in range(2))
        return Told(whole, first, rest, rest_again), again.losses

    case = Case("train_fn", steps=STEPS, broken_at=BROKEN_AT)
    answered, answers = ask(
        answer, [case], "(losses, checkpoint), with one finite loss a step", lambda _, a: a
    )
    repeated = judge("the same call gives the same losses again", answers, _repeated)
    told = [(case, answer[0]) for case, answer in answers if repeated.passed]  # else nothing can be compared
    judged = {
        "the first steps do not depend on how many follow": _first,
        "the weights go on from where they were": _weights,
        "the batches go on, and none comes again": _batches,
        "the learning rate goes on": _rates,
        "the optimizer keeps its memory": _memories,
        "dropout goes on with the same random numbers": _dropout,
        "the losses are those of training in one go": _losses,
        "a checkpoint can be used twice": _twice,
    }
    return CheckReport(
        "resume", (answered, repeated, *(judge(name, told, find) for name, find in judged.items()))
    )


def _repeated(case: Case, answer: tuple[Told, list[float]]) -> Example | None:
    told, again = answer
    note = "two fresh starts: seed weights, batches and dropout at the start"
    return _same_losses(f"train_fn({case['steps']})", told.whole.losses, again, note)


def _first(case: Case, told: Told) -> Example | None:
    call = f"train_fn({case['steps']}) and train_fn({case['broken_at']})"
    note = "does the schedule of the learning rate end with `steps`? Its length must be a setting of its own"
    return _same_losses(call, told.whole.losses[: case["broken_at"]], told.first.losses, note)


def _weights(case: Case, told: Told) -> Example | None:
    at = case["broken_at"] * _per_step(told.whole.weights, case)
    if told.rest.weights[:1] == told.whole.weights[at : at + 1]:
        return None
    where = (
        told.whole.weights.index(told.rest.weights[0]) if told.rest.weights[0] in told.whole.weights else None
    )
    actual = "others" if where is None else f"those of forward pass {where}"
    return Example(_resumed(case), sentence(f"the weights of forward pass {at}"), sentence(actual))


def _batches(case: Case, told: Told) -> Example | None:
    at = case["broken_at"] * _per_step(told.whole.batches, case)
    order = {batch: n for n, batch in reversed(list(enumerate(told.whole.batches)))}
    expected = [order[batch] for batch in told.whole.batches[at:]]
    actual = [order.get(batch, "another") for batch in told.rest.batches]
    if expected == actual:
        return None
    note = "the stream of batches began again: pass over those that were taken" if actual[:1] == [0] else ""
    return Example(_resumed(case), sentence(f"batches {_list(expected)}"), sentence(_list(actual)), note)


def _rates(case: Case, told: Told) -> Example | None:
    at = case["broken_at"] * _per_step(told.whole.rates, case)
    expected, actual = told.whole.rates[at:], told.rest.rates
    if expected == actual:
        return None
    shown = [", ".join(f"{rates[0]:.4g}" for rates in every) for every in (expected, actual)]
    return Example(_resumed(case), *map(sentence, shown), "the learning rate of each step")


def _memories(case: Case, told: Told) -> Example | None:
    per_step = _per_step(told.whole.memories, case)
    at = case["broken_at"] * per_step
    if told.rest.memories[:per_step] == told.whole.memories[at : at + per_step]:
        return None
    empty = told.rest.memories[:per_step] == told.whole.memories[:per_step]
    actual = "an optimizer that remembers nothing" if empty else "another memory"
    return Example(
        _resumed(case), sentence("momentum, and AdamW's second moments, as saved"), sentence(actual)
    )


def _dropout(case: Case, told: Told) -> Example | None:
    """Same batch, same weights, other random numbers, and another loss: then they matter."""
    per_step, whole, rest = _per_step(told.whole.batches, case), told.whole, told.rest
    at = case["broken_at"] * per_step
    for n in range(min(len(rest.batches), len(whole.batches) - at)):
        same = rest.batches[n] == whole.batches[at + n] and rest.weights[n] == whole.weights[at + n]
        step = n // per_step
        losses = whole.losses[case["broken_at"] + step], rest.losses[step]
        if same and rest.random[n] != whole.random[at + n] and losses[0] != losses[1]:
            note = "same weights, same batch, another loss: save and restore torch.get_rng_state()"
            shown = [f"loss {loss:.6g} at step {case['broken_at'] + step}" for loss in losses]
            return Example(_resumed(case), *map(sentence, shown), note)
    return None


def _losses(case: Case, told: Told) -> Example | None:
    return _same_losses(_resumed(case), told.whole.losses[case["broken_at"] :], told.rest.losses)


def _twice(case: Case, told: Told) -> Example | None:
    note = "the checkpoint changed with the training that it began: keep copies in it"
    return _same_losses(f"{_resumed(case)}, twice", told.rest.losses, told.rest_again.losses, note)


def _same_losses(call: str, expected: list, actual: list, note: str = "") -> Example | None:
    return differing(
        call, np.array([expected]), np.array([actual]), note, np.array([expected]) != np.array([actual])
    )


def _resumed(case: Case) -> str:
    return f"train_fn({case['steps'] - case['broken_at']}, start=checkpoint of step {case['broken_at']})"


def _per_step(events: list, case: Case) -> int:
    return len(events) // case["steps"]


def _list(numbers: list) -> str:
    return ", ".join(map(str, numbers)) or "none"
