"""What a transformer is made of, in one small record."""

from dataclasses import dataclass
from typing import Annotated, Literal

from lab.config import OR_OUTSIDE, Above, AtLeast, Below, validate

Whole = Annotated[int, AtLeast(1)]
Share = Annotated[float, AtLeast(0), Below(1)]


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes and kinds of parts. The defaults are the small model of notebook 00; two well-known others:

        GPT-2   positions="learned", norm="layer", activation="gelu_tanh", bias=True, tied=True
        Llama   norm="rms", activation="gated_silu", num_key_value_heads below num_heads

    vocab_size           ids of the vocabulary
    context              the most tokens read at once
    width                channels of the vector that stands for a token
    num_layers           layers, each of attention and feed-forward
    num_heads            heads of attention
    feed_forward         the hidden width of the feed-forward layers
    num_key_value_heads  heads of keys and values that the heads of queries share: by default as many; 1 is multi-query,
                         in between is grouped-query attention
    latent_width         instead, all keys and values are made from one vector of this width a token, which is then all
                         that decoding keeps
    positions            how tokens know their places; also an object of your own, with `to_json()` and
                         `build(config) -> lab.nn.Positions`
    num_positions        how many places there are: by default the context; more, where positions count from elsewhere
    rotary_base          of rotary positions: the slowest channels turn about this many times slower than the fastest
    norm                 the kind of normalisation
    norm_place           whether it stands before each layer or after it
    norm_epsilon         what it adds to the mean square
    activation           of the feed-forward layers
    bias                 whether linear maps add one
    tied                 the embedding is the output's matrix too
    dropout              the share of channels that are left out in training, of embeddings and of what a layer adds
    attention_dropout    the same for attention weights
    feed_forward_dropout  the same for the hidden channels of the feed-forward layers
    layer_dropout        the share of blocks that a step of training passes over (Fan et al. 2020, LayerDrop)

    >>> TransformerConfig(vocab_size=1000, width=64, num_heads=4).head_width
    16

    Raises ValueError for what cannot be built; the message names the field.
    """

    vocab_size: Whole
    context: Whole = 64
    width: Whole = 192
    num_layers: Whole = 2
    num_heads: Whole = 4
    feed_forward: Whole = 768
    num_key_value_heads: Whole | None = None
    latent_width: Whole | None = None
    positions: Annotated[Literal["rotary", "learned", "sinusoidal", "none"], OR_OUTSIDE] = "rotary"
    num_positions: Whole | None = None
    rotary_base: Annotated[float, Above(0)] = 10_000.0
    norm: Literal["rms", "layer"] = "rms"
    norm_place: Literal["pre", "post"] = "pre"
    norm_epsilon: Annotated[float, Above(0)] = 1e-6
    activation: Literal["gelu", "gelu_tanh", "gated_silu"] = "gelu"
    bias: bool = False
    tied: bool = False
    dropout: Share = 0.0
    attention_dropout: Share = 0.0
    feed_forward_dropout: Share = 0.0
    layer_dropout: Share = 0.0

    def __post_init__(self):
        validate(self)
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} does not split into {self.num_heads} heads (num_heads)")
        if self.num_heads % self.key_value_heads:
            raise ValueError(f"num_key_value_heads {self.key_value_heads} must divide {self.num_heads} heads")
        if self.latent_width is not None and self.num_key_value_heads is not None:
            raise ValueError("choose one of latent_width and num_key_value_heads: both shrink the same cache")
        parts = 4 if self.latent_width else 2  # pairs of channels; with a latent, those of half of a head
        if self.positions == "rotary" and self.head_width % parts:
            need = f"width / num_heads must be a multiple of {parts}"
            raise ValueError(f"rotary positions turn pairs of channels: {need}, got {self.head_width}")

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
