"""The weights of a model: each tensor once, put into the place of the model's own, and no more than were saved."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and buffers, each once: tied weights go by their first name."""
    named, seen = {}, set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            named[name] = tensor
    return named


@contextmanager
def no_larger_than(weights: dict[str, Tensor]) -> Iterator[None]:
    """Raise ValueError as soon as a model is built of more than was saved; what is tied is made several times."""
    left = 8 * sum(tensor.numel() for tensor in weights.values())

    def count(_, name: str, weight: Tensor | None) -> None:
        nonlocal left
        left -= 0 if weight is None else weight.numel()
        if left < 0:
            raise ValueError(f"these are too few weights for the experiment's model, such as of {name!r}")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def load_weights(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put `tensors` in the place of the model's own, in the number format that they have."""
    own = own_tensors(model)
    if own.keys() != tensors.keys():
        raise ValueError(f"these weights are missing or too many: {sorted(own.keys() ^ tensors.keys())[:3]}")
    formats = {t.dtype for t in tensors.values() if t.is_floating_point()}
    if len(formats) == 1:
        model.to(formats.pop())  # tables that are not stored follow the weights
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise ValueError(f"{name} must be {tuple(tensor.shape)}, got {tuple(tensors[name].shape)}")
        # The parameter stays the same object, so tied weights stay tied; the copy is aligned as torch aligns.
        tensor.data = tensors[name].clone()
    if hasattr(model, "refresh"):
        model.refresh()  # what follows from the weights, and is not stored
