"""What a transformer is made of, in one small record."""

import math
from dataclasses import dataclass

CHOICES = {
    "positions": ("rotary", "learned", "sinusoidal", "none"),
    "norm": ("rms", "layer"),
    "norm_place": ("pre", "post"),
    "activation": ("gelu", "gelu_tanh", "gated_silu"),
}


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes and kinds of parts. The defaults are the small model of notebook 00; two well-known others:

        GPT-2   positions="learned", norm="layer", activation="gelu_tanh", bias=True, tied=True
        Llama   norm="rms", activation="gated_silu", num_key_value_heads below num_heads

    `context` is the most tokens read at once, `num_positions` how many places there are (by default the
    context; more, where positions count from elsewhere). `feed_forward` is the hidden width of the
    feed-forward layers. Queries in `num_heads` heads share the keys and values of `num_key_value_heads`
    (by default as many; 1 is multi-query, in between is grouped-query attention), or all keys and values are
    made from one vector of `latent_width` a token, which is then all that decoding keeps.

    >>> TransformerConfig(vocab_size=1000, width=64, num_heads=4).head_width
    16

    Raises ValueError for what cannot be built; the message names the field.
    """

    vocab_size: int
    context: int = 64
    width: int = 192
    num_layers: int = 2
    num_heads: int = 4
    feed_forward: int = 768
    num_key_value_heads: int | None = None
    latent_width: int | None = None
    positions: str = "rotary"
    num_positions: int | None = None
    rotary_base: float = 10_000.0
    norm: str = "rms"
    norm_place: str = "pre"
    norm_epsilon: float = 1e-6
    activation: str = "gelu"
    bias: bool = False
    tied: bool = False
    dropout: float = 0.0

    def __post_init__(self):
        for name in ("vocab_size", "context", "width", "num_layers", "num_heads", "feed_forward"):
            check_whole(name, getattr(self, name))
        for name in ("num_key_value_heads", "latent_width", "num_positions"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name))
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}")
        for name in ("bias", "tied"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        for name in ("rotary_base", "norm_epsilon"):
            value = getattr(self, name)
            if not (is_number(value) and 0 < value < math.inf):
                raise ValueError(f"{name} must be a number above 0, got {value!r}")
        if not (is_number(self.dropout) and 0 <= self.dropout < 1):
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout!r}")
        self._check_heads()

    def _check_heads(self) -> None:
        if self.width % self.num_heads:
            raise ValueError(
                f"width {self.width} does not split into {self.num_heads} heads: use a width that is a "
                f"multiple of num_heads"
            )
        if self.latent_width is not None and self.num_key_value_heads is not None:
            raise ValueError("choose one of latent_width and num_key_value_heads: both shrink the same cache")
        if self.latent_width is not None and self.positions == "rotary" and self.head_width % 4:
            raise ValueError(
                f"with latent_width, half of a head is turned by pairs: head width {self.head_width} must be "
                f"a multiple of 4"
            )
        if self.num_heads % self.key_value_heads:
            raise ValueError(
                f"num_key_value_heads {self.key_value_heads} must divide num_heads {self.num_heads}"
            )
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(
                f"rotary positions turn pairs of channels: width {self.width} / num_heads {self.num_heads} "
                f"= {self.head_width} is odd; use a width that is a multiple of {2 * self.num_heads}"
            )

    @property
    def head_width(self) -> int:
        return self.width // self.num_heads

    @property
    def key_value_heads(self) -> int:
        """Heads of keys and values: as many as those of queries unless `num_key_value_heads` says less."""
        return self.num_key_value_heads or self.num_heads

    @property
    def places(self) -> int:
        """How many positions there are."""
        return self.num_positions or self.context


def check_whole(name: str, value, least: int = 1) -> None:
    """Raises ValueError, naming the field, unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def is_number(value) -> bool:
    """Whether it is an int or a float; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)
