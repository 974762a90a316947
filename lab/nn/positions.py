"""Telling a transformer where each token stands. Every kind takes explicit positions, so rows may restart them.

Letters: B rows, H heads, T tokens, S tokens that are looked at, E channels a head, C channels.
"""

import torch
from torch import Tensor, nn

from lab.nn.config import TransformerConfig


class Positions(nn.Module):
    """Nothing is told; a kind of positions is a subclass of it, made from the config, that says more.

    Positions are int64 `(T,)` or `(B, T)`. A new kind is a class here, its name in `KINDS`, and in the choices of
    `TransformerConfig`; from outside, `TransformerConfig(positions=...)` takes any object with `to_json()` and
    `build(config) -> Positions`.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()

    def initialise(self, config: TransformerConfig) -> None:
        """Set the weights, if there are any, once all of the model's have been made."""

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """The token embeddings `(B, T, C)`, with what is added to them."""
        return x

    def tables(self, positions: Tensor):
        """What `turn` needs, made once for all layers."""

    def turn(self, x: Tensor, tables) -> Tensor:
        """Queries or keys `(B, H, T, E)` of any layer, turned to where they stand."""
        return x

    def bias(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """What is added to the scores, broadcastable to `(B, H, T, S)`; with one, attention is slower.

        In a cache the S keys are those of earlier tokens, which stand right before the new ones, and then these.
        """


class LearnedPositions(Positions):
    """A learned vector for each place."""

    def __init__(self, config: TransformerConfig):
        super().__init__(config)
        self.weight = nn.Parameter(torch.empty(config.places, config.width))
        nn.init.normal_(self.weight)

    def initialise(self, config: TransformerConfig) -> None:
        nn.init.normal_(self.weight, std=0.01 if config.tied else 0.1)  # below the embeddings of tokens

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        return x + nn.functional.embedding(positions, self.weight)


class SinusoidalPositions(Positions):
    """A fixed vector for each place."""

    def __init__(self, config: TransformerConfig):
        super().__init__(config)
        table = sinusoids(torch.arange(config.places), config.width)
        self.register_buffer("table", table, persistent=False)

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        return x + self.table[positions]


class RotaryPositions(Positions):
    """Rotary position embedding (Su et al. 2021, RoFormer, eq. 34).

    Channels are taken in pairs (i, i + E/2) and each pair is turned by an angle that grows with the
    position, so the product of a query and a key depends on their distance only.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__(config)
        places = torch.arange(config.places, dtype=torch.float64)
        angles = torch.outer(places, _frequencies(turned_width(config), config.rotary_base))
        self.register_buffer("cos", angles.cos().float().repeat(1, 2), persistent=False)  # (places, E)
        self.register_buffer("sin", angles.sin().float().repeat(1, 2), persistent=False)

    def tables(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, `(1, T, E)` or `(B, 1, T, E)`."""
        return self.cos[positions].unsqueeze(-3), self.sin[positions].unsqueeze(-3)

    def turn(self, x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
        cos, sin = tables
        first, second = x.chunk(2, dim=-1)
        turned = x * cos + torch.cat((-second, first), dim=-1) * sin
        return turned.to(x.dtype)  # under autocast the angles stay float32


KINDS = {
    "rotary": RotaryPositions,
    "learned": LearnedPositions,
    "sinusoidal": SinusoidalPositions,
    "none": Positions,
}


def make_positions(config: TransformerConfig) -> Positions:
    """The positions that a config asks for."""
    kind = config.positions
    return KINDS[kind](config) if isinstance(kind, str) else kind.build(config)


def turned_width(config: TransformerConfig) -> int:
    """How many channels of a head turn: all of them, with latent attention half; 0 where positions do not turn."""
    kind = config.positions
    if isinstance(kind, str) and KINDS[kind].turn is Positions.turn:
        return 0
    return config.head_width // 2 if config.latent_width else config.head_width


def sinusoids(positions: Tensor, width: int, base: float = 10_000.0) -> Tensor:
    """Sines at the even channels, cosines at the odd (Vaswani et al. 2017, section 3.5): `(...)` -> `(..., width)`.

    Channel pair i turns once every 2 pi base^(2i / width) positions.

    >>> sinusoids(torch.tensor([0]), 4).tolist()
    [[0.0, 1.0, 0.0, 1.0]]
    """
    frequencies = _frequencies(width, base).to(positions.device)
    angles = positions.double()[..., None] * frequencies  # (..., width / 2)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2).float()


def _frequencies(width: int, base: float) -> Tensor:
    if width < 2 or width % 2:
        raise ValueError(f"a sine and a cosine need a channel each: width must be even, got {width}")
    return base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)  # (width / 2,)
