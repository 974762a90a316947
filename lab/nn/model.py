"""What all models here have in common."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


class Model(nn.Module):
    """A module that knows its size."""

    @property
    def num_parameters(self) -> int:
        """How many numbers are learned; tied weights count once."""
        return sum(p.numel() for p in self.parameters())


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Without dropout inside; afterwards each model trains or not, as it did before.

    >>> model = nn.Dropout(0.5)
    >>> with evaluating(model):
    ...     model.training
    False
    >>> model.training
    True
    """
    before = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for model, training in zip(models, before, strict=True):
            model.train(training)
