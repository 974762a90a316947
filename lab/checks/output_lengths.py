"""A check of what a speech embedding says of its own lengths, and of what it does with padding."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lab.checks.numbers import Asked, differing, noise, real_numbers
from lab.checks.report import Case, CheckReport, Example, Unreadable, as_array

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

    def read(case: Case, answer: object) -> np.ndarray:
        array = as_array(answer)
        if array.dtype.kind not in "iu":
            raise Unreadable(f"{array.dtype}; expected whole numbers")
        return real_numbers(array, tuple(case["lengths"].shape))

    asked = Asked(fn, "torch", "whole numbers (B,)", read, [_case(8), _case(5, 8)])

    def embedded(features: Tensor, lengths: Tensor) -> np.ndarray:
        with torch.no_grad():
            found = embed(features.clone(), lengths.clone())
        found = found[0] if isinstance(found, tuple) else found
        array = as_array(found.double() if isinstance(found, Tensor) else found)
        if array.ndim != 3 or len(array) != len(lengths):
            raise Unreadable(f"embed gave {array.shape}; expected (B, S, C) with B = {len(lengths)}")
        return array.astype(np.float64)

    def alone(case: Case) -> Example | None:
        lengths = case["lengths"]
        S = embedded(_features(lengths, bands), lengths).shape[1]
        return differing(str(case), [S], asked(case), "frames that embed makes of them, and what fn says")

    def together(case: Case) -> Example | None:
        lengths = case["lengths"]
        S = embedded(_features(lengths, bands), lengths).shape[1]
        return differing(str(case), [S], asked(case).max(keepdims=True))

    def padding(case: Case) -> Example | None:
        lengths = case["lengths"]
        features = _features(lengths, bands)
        batch = embedded(features, lengths)
        for b, count in enumerate(asked(case).astype(int)):
            row = slice(b, b + 1)
            expected = embedded(features[row, : lengths[b]], lengths[row])[0, :count]
            found, call = (
                batch[b, :count],
                f"row {b} of {int(lengths[b])} frames, alone and in a batch of {lengths.tolist()}",
            )
            if found.shape != expected.shape:
                return differing(call, [len(expected)], [len(found)], "frames within the length")
            if example := differing(call, expected, found, "is the padding zero again after each layer?"):
                return example

    def heard(case: Case) -> Example | None:
        lengths = case["lengths"]
        features, count = _features(lengths, bands), int(asked(case)[0])
        before = embedded(features, lengths)[:, :count]
        for t in range(len(features[0])):
            changed = features.clone()
            changed[:, t] += 1
            moved = np.abs(embedded(changed, lengths)[:, :count] - before).max(initial=0)
            if moved < STILL:
                note = f"frame {t} of {len(features[0])} changed: 1 if any of the {count} frames within the length did"
                return differing(str(case), [1.0], [0.0], note)

    lengths = range(1, LONGEST + 1)
    batches = [_case(1, 2, 3, 5), _case(4, 9, 16, 13), _case(8, 1), _case(6, 6, 7)]
    return CheckReport(
        "output_lengths",
        (
            asked.answered,
            asked.judge("alone, a row makes as many frames as it says", [_case(T) for T in lengths], alone),
            asked.judge("in a batch, the longest row says how many frames there are", batches, together),
            asked.judge("padding changes nothing within the length", batches, padding),
            asked.judge("every frame is heard, to the last", [_case(T) for T in lengths], heard),
        ),
    )


def _case(*lengths: int) -> Case:
    return Case(lengths=torch.tensor(lengths))


def _features(lengths: Tensor, bands: int) -> Tensor:
    """Noise, with zeros behind each row's length."""
    x = noise(len(lengths), int(lengths.max()), bands).float()
    return x * (torch.arange(x.shape[1]) < lengths[:, None])[..., None]
