"""What all layers here share: the four methods, what is remembered between them, and what is refused."""

import numpy as np
from numpy import ndarray


class Layer:
    """A function with a derivative written by hand.

    `forward(*inputs)` gives the output and remembers what the derivative will need. `backward(grad_output)`
    is told how some loss changes with that output, and answers how it changes with each input: one array,
    or a tuple in the inputs' order. What it finds out about the parameters is then in `gradients()`.

    In the derivations of this folder dX stands for d loss / d X. It always has the shape of X, so the shapes
    alone tell most of how a formula must read. X' is X transposed, `*` is elementwise.

    `backward` answers for the latest `forward` and replaces the gradients, it does not add to them. What
    is remembered is copied: writing into an input or an output in between does no harm.
    """

    _output_shape: tuple[int, ...] | None = None
    _memory: tuple[ndarray, ...] = ()

    def forward(self, *inputs: ndarray) -> ndarray:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, grad_output: ndarray) -> ndarray | tuple[ndarray, ...]:
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def parameters(self) -> dict[str, ndarray]:
        """What can be learned: the arrays themselves, so that `array -= rate * gradient` changes the layer."""
        return {}

    def gradients(self) -> dict[str, ndarray]:
        """d loss / d parameter, under the names of `parameters`; zeros before the first `backward`."""
        return {}

    def _remember(self, output: ndarray, *memory: ndarray) -> ndarray:
        """Keep what `backward` will need, and pass the output on."""
        self._output_shape, self._memory = output.shape, tuple(array.copy() for array in memory)
        return output

    def _recall(self, grad_output: ndarray) -> tuple[ndarray, ...]:
        """What `_remember` kept, for a gradient that fits the output it was kept for."""
        if self._output_shape is None:
            raise ValueError(
                f"{type(self).__name__}.backward has no output to start from: call forward first"
            )
        require_floats(grad_output=grad_output)
        if grad_output.shape != self._output_shape:
            raise ValueError(
                f"grad_output has shape {grad_output.shape}, the latest output of {type(self).__name__} has "
                f"{self._output_shape}: a gradient has the shape of what it belongs to"
            )
        return self._memory


def require_floats(**arrays: ndarray) -> None:
    """ValueError unless each is a NumPy array of floating point numbers."""
    for name, array in arrays.items():
        if not isinstance(array, ndarray) or array.dtype.kind != "f":
            given = array.dtype if isinstance(array, ndarray) else type(array).__name__
            raise ValueError(
                f"{name} must be a NumPy array of floating point numbers, got {given}: "
                f"np.asarray({name}, dtype=np.float64) makes one"
            )


def require_bool(name: str, mask: ndarray) -> None:
    """ValueError unless the mask is a NumPy array of bool."""
    if not isinstance(mask, ndarray) or mask.dtype != np.bool_:
        given = mask.dtype if isinstance(mask, ndarray) else type(mask).__name__
        raise ValueError(
            f"{name} must be a NumPy array of bool, True = may take part; got {given}: "
            "an additive mask becomes one by `mask == 0`, a torch mask by `mask.numpy()`"
        )


def require_mask(mask: ndarray, shape: tuple[int, ...], letters: str) -> None:
    """ValueError unless the mask is bool and broadcasts to `shape`, which the message calls `letters`."""
    require_bool("mask", mask)
    try:
        fits = np.broadcast_shapes(mask.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"a mask of shape {mask.shape} does not broadcast to {letters} = {shape}: counted from the "
            "right, each of its sizes must be that one or 1; `mask[:, None]` inserts a 1"
        )
