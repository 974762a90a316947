"""A check of what a speech embedding says of its own lengths, and of what it does with padding."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lab.checks.check import Case, Check, CheckReport, Examples
from lab.checks.numbers import Unreadable, as_array, differing, noise, whole_numbers

LONGEST = 17
STILL = 1e-6  # an output that moves by less has not heard what changed


def output_lengths(fn: Callable, embed: Callable, bands: int) -> CheckReport:
    """Does `fn(lengths)` say how many frames `embed(features, lengths)` makes of so many, and is the rest padding?

    lengths are int64 `(B,)`, features `(B, T, bands)` float32, of which row b has `lengths[b]` frames and zeros
    behind them; embed gives `(B, S, C)`, or a tuple that begins with it. `embed` is called without gradients and in
    the mode it is in: call `model.eval()` before. Its weights must not all be at rest.

    What is judged: a row alone makes exactly so many frames; in a batch, those of the longest; and what a row
    makes within its length is the same with padding behind it and without, and depends on all of its frames.

    >>> report = output_lengths(lambda lengths: lengths // 2, lambda x, lengths: x[:, ::2], bands=3)
    >>> print(report.properties[2].example.call, report.properties[2].example.actual)
    fn(lengths=[1, 2, 3, 5]) [2]
    """

    read = lambda case, answer: whole_numbers(answer, tuple(case["lengths"].shape))  # noqa: E731
    check = Check("output_lengths", fn, "whole numbers (B,)", read, [_case(8), _case(5, 8)])

    def embedded(features: Tensor, lengths: Tensor) -> np.ndarray:
        with torch.no_grad():
            found = embed(features.clone(), lengths.clone())
        found = found[0] if isinstance(found, tuple) else found
        array = as_array(found.double() if isinstance(found, Tensor) else found)
        if array.ndim != 3 or len(array) != len(lengths):
            raise Unreadable(f"embed gave {array.shape}; expected (B, S, C) with B = {len(lengths)}")
        return array.astype(np.float64)

    def longest(note: str) -> Callable:
        def find(case: Case, counts: np.ndarray) -> Examples:
            S = embedded(_features(case["lengths"], bands), case["lengths"]).shape[1]
            yield differing(case, [S], counts.max(keepdims=True), note)

        return find

    def padding(case: Case, counts: np.ndarray) -> Examples:
        lengths = case["lengths"]
        features = _features(lengths, bands)
        batch = embedded(features, lengths)
        for b, count in enumerate(counts):
            row = slice(b, b + 1)
            expected, found = embedded(features[row, : lengths[b]], lengths[row])[0, :count], batch[b, :count]
            call = f"row {b} of {int(lengths[b])} frames, alone and in a batch of {lengths.tolist()}"
            if found.shape != expected.shape:
                yield differing(call, [len(expected)], [len(found)], "frames within the length")
            yield differing(call, expected, found, "is the padding zero again after each layer?")

    def heard(case: Case, counts: np.ndarray) -> Examples:
        (lengths,), count = case, counts[0]
        features = _features(lengths, bands)
        before = embedded(features, lengths)[:, :count]
        for t in range(len(features[0])):
            changed = features.clone()
            changed[:, t] += 1
            moved = np.abs(embedded(changed, lengths)[:, :count] - before).max(initial=0)
            if moved < STILL:
                note = f"frame {t} of {len(features[0])} changed: 1 if any of the {count} frames within the length did"
                yield differing(case, [1.0], [0.0], note)

    alone = [_case(T) for T in range(1, LONGEST + 1)]
    batches = [_case(1, 2, 3, 5), _case(4, 9, 16, 13), _case(8, 1), _case(6, 6, 7)]
    said = "frames that embed makes of them, and what fn says"
    check.judge("alone, a row makes as many frames as it says", longest(said), alone)
    check.judge("in a batch, the longest row says how many frames there are", longest(""), batches)
    check.judge("padding changes nothing within the length", padding, batches)
    check.judge("every frame is heard, to the last", heard, alone)
    return check.report


def _case(*lengths: int) -> Case:
    return Case(lengths=torch.tensor(lengths))


def _features(lengths: Tensor, bands: int) -> Tensor:
    """Noise, with zeros behind each row's length."""
    x = noise(len(lengths), int(lengths.max()), bands).float()
    return x * (torch.arange(x.shape[1]) < lengths[:, None])[..., None]
