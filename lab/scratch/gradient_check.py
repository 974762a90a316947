"""The gradient check: is what `backward` says about a layer what one sees by moving its inputs a little?"""

import copy
import inspect
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from lab.scratch.layer import Layer

FLOOR = 1e-3  # of the largest gradient of all; see `gradient_check`


@dataclass(frozen=True)
class GradientCheck:
    """How far `backward` is from central differences, for each input and each parameter by its name."""

    errors: dict[str, float]

    @property
    def worst(self) -> float:
        """The largest relative error of all: about 1e-9 for a right backward, above 1e-3 for most wrong ones."""
        return max(self.errors.values())

    def __str__(self) -> str:
        width = max(map(len, self.errors))
        lines = [
            f"{name:<{width}}  {error:.1e}{'  <- worst' if error == self.worst else ''}"
            for name, error in self.errors.items()
        ]
        return "\n".join(["relative error of backward against central differences", *lines])


def gradient_check(
    layer: Layer, *inputs: ndarray, step: float = 1e-6, rng: np.random.Generator | None = None, **keywords
) -> GradientCheck:
    """Compare `layer.backward` with central differences of `layer.forward(*inputs, **keywords)`.

    The loss is sum(output * direction), for a random direction r of the output's shape: its gradient by the
    output is r, so `backward(r)` claims to know its gradient by everything else. Each number x of each float input
    and each parameter is then moved both ways,

        d loss / d x  ~  (loss(x + step) - loss(x - step)) / (2 step),

    and the error of an array is max |claimed - measured| / max |measured|. Two errors bound `step`: the
    formula's, about step ** 2, and rounding, about 1e-16 / step; 1e-6 lies between. In float32 rounding
    alone would be a tenth of the result, so only float64 is taken. Some gradients are zero by nature (that of
    the keys' bias in attention), and what is measured of them is rounding only: the divisor is therefore at
    least a thousandth of the largest gradient of all arrays.

    Integer and bool inputs are passed on as they are, and so are the keywords (masks). One array given twice
    counts as two inputs. It takes two forwards a number, so keep the layer small; it runs on a copy of it.

    Raises ValueError for floats that are not float64, for nothing to check, and for a `backward` or
    `gradients` whose arrays are too few, too many or of other shapes than what they belong to.

    >>> from lab.scratch.linear import Linear
    >>> check = gradient_check(Linear(3, 2, np.random.default_rng(0)), np.ones((4, 3)))
    >>> sorted(check.errors), check.worst < 1e-8
    (['bias', 'weight', 'x'], True)
    """
    rng = np.random.default_rng(0) if rng is None else rng
    layer = copy.deepcopy(layer)
    inputs = [np.array(x) if _is_float(x) else x for x in inputs]  # ours to write to
    names = _input_names(layer, len(inputs))
    by_input = {name: x for name, x in zip(names, inputs, strict=True) if _is_float(x)}
    arrays = by_input | layer.parameters()
    _require_float64(arrays)

    def forward() -> ndarray:
        return np.array(layer.forward(*inputs, **keywords))

    direction = rng.standard_normal(forward().shape)
    claimed = _claims(layer, list(by_input), layer.backward(direction.copy()))
    _require_same_shapes(claimed, arrays)
    measured = {name: _central_differences(forward, x, direction, step) for name, x in arrays.items()}
    floor = FLOOR * max(_largest(gradient) for gradient in measured.values())
    return GradientCheck({name: _error(claimed[name], measured[name], floor) for name in arrays})


def _central_differences(forward, x: ndarray, direction: ndarray, step: float) -> ndarray:
    """d sum(forward() * direction) / d x, of the shape of x, which `forward` reads and which is as it was after."""
    measured = np.empty_like(x)
    for index in np.ndindex(x.shape):
        here = x[index]
        above, below = here + step, here - step
        x[index] = above
        change = forward()
        x[index] = below
        change -= forward()  # subtracted before they are summed: fewer digits are lost
        x[index] = here
        measured[index] = (change * direction).sum() / (above - below)  # 2 step, but for rounding
    return measured


def _error(claimed: ndarray, measured: ndarray, floor: float) -> float:
    difference = _largest(claimed - measured)
    scale = max(_largest(measured), floor)
    if difference == 0:
        return 0.0
    return difference / scale if np.isfinite(difference) and scale > 0 else float("inf")  # NaN is wrong too


def _largest(array: ndarray) -> float:
    return float(np.abs(array).max(initial=0.0))


def _is_float(x) -> bool:
    return np.asarray(x).dtype.kind == "f"


def _input_names(layer: Layer, count: int) -> list[str]:
    """What `forward` calls its inputs; "input 0" and so on for `*inputs` and where a parameter has the name."""
    parameters = inspect.signature(layer.forward).parameters.values()
    named = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL and p.kind is not p.KEYWORD_ONLY]
    names = [named[n] if n < len(named) else f"input {n}" for n in range(count)]
    return [f"input {n}" if name in layer.parameters() else name for n, name in enumerate(names)]


def _claims(layer: Layer, input_names: list[str], by_inputs) -> dict[str, ndarray]:
    """What `backward` gave and what `gradients()` gives, by name, copied before the next `forward`."""
    if not isinstance(by_inputs, tuple):
        by_inputs = () if by_inputs is None else (by_inputs,)
    if len(by_inputs) != len(input_names):
        raise ValueError(
            f"backward gave {len(by_inputs)} gradients for {len(input_names)} float inputs {input_names}: it "
            "owes one to each, in their order (inputs given as keywords are not counted: give them in order)"
        )
    claimed = dict(zip(input_names, by_inputs, strict=True)) | layer.gradients()
    return {name: np.array(gradient) for name, gradient in claimed.items()}


def _require_float64(arrays: dict[str, ndarray]) -> None:
    if not arrays:
        raise ValueError("nothing to check: the layer has neither a float input nor a parameter")
    for name, array in arrays.items():
        if array.dtype != np.float64:
            raise ValueError(
                f"{name} is {array.dtype}, use float64: a finite difference is small beside the numbers it "
                f"is taken of and drowns in {array.dtype} rounding; {name}.astype(np.float64) converts it"
            )


def _require_same_shapes(claimed: dict[str, ndarray], arrays: dict[str, ndarray]) -> None:
    given = {name: gradient.shape for name, gradient in claimed.items()}
    expected = {name: array.shape for name, array in arrays.items()}
    if given != expected:
        raise ValueError(
            f"backward and gradients() give {given}, the inputs and parameters() are {expected}: each needs "
            "a gradient under its own name and of its own shape"
        )
