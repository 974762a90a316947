"""A model that begins with what another of its kind has learned."""

from collections.abc import Iterator
from dataclasses import is_dataclass

from torch import nn

# Of a config's fields those on which no weight depends: they belong to the training.
FREE = ("dropout", "attention_dropout", "feed_forward_dropout", "layer_dropout")


def take_over(model: nn.Module, earlier: nn.Module) -> None:
    """Give `model` all weights of `earlier`, whose config must be the same; only what it drops out may be other.

    Raises ValueError with the fields in which the two differ.
    """
    if differ := list(config_differences(earlier.config, model.config)):
        raise ValueError(f"the model is that of the run it starts from; leave out {', '.join(differ)}")
    model.load_state_dict(earlier.state_dict())


def config_differences(earlier, later) -> Iterator[str]:
    """What differs in two configs, but for what is free, with both values.

    >>> from lab.nn import TransformerConfig
    >>> list(config_differences(TransformerConfig(9), TransformerConfig(9, tied=True, dropout=0.1)))
    ['tied: False -> True']
    """
    if type(earlier) is not type(later):
        yield f"kind: {type(earlier).__name__} -> {type(later).__name__}"
        return
    for name, value in vars(earlier).items():
        asked = getattr(later, name)
        if is_dataclass(value) and is_dataclass(asked):
            yield from (f"{name}.{one}" for one in config_differences(value, asked))
        elif name not in FREE and value != asked:
            yield f"{name}: {value} -> {asked}"
