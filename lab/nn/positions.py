"""Telling a transformer where each token stands. Every kind takes explicit positions, so rows may restart them."""

import torch
from torch import Tensor, nn


def sinusoids(positions: Tensor, width: int, base: float = 10_000.0) -> Tensor:
    """Sines at the even channels, cosines at the odd (Vaswani et al. 2017, section 3.5): `(...)` -> `(..., width)`.

    Channel pair i turns once every 2 pi base^(2i / width) positions.

    >>> sinusoids(torch.tensor([0]), 4).tolist()
    [[0.0, 1.0, 0.0, 1.0]]
    """
    angles = positions.double()[..., None] * _frequencies(width, base).to(
        positions.device
    )  # (..., width / 2)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2).float()


def _frequencies(width: int, base: float) -> Tensor:
    if width < 2 or width % 2:
        raise ValueError(
            f"a sine and a cosine need two channels each: width {width} is not an even number above 0"
        )
    return base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)  # (width / 2,)


class SinusoidalPositions(nn.Module):
    """A fixed vector for each place, a table made once: positions `(T,)` or `(B, T)` -> `(..., T, C)`."""

    def __init__(self, width: int, num_positions: int):
        super().__init__()
        self.register_buffer("table", sinusoids(torch.arange(num_positions), width), persistent=False)

    def forward(self, positions: Tensor) -> Tensor:
        return self.table[positions]


class LearnedPositions(nn.Embedding):
    """A learned vector for each place: positions `(T,)` or `(B, T)` -> `(..., T, C)`."""

    def __init__(self, width: int, num_positions: int):
        super().__init__(num_positions, width)


class RotaryPositions(nn.Module):
    """Rotary position embedding (Su et al. 2021, RoFormer, eq. 34).

    Channels are taken in pairs (i, i + E/2) and each pair is turned by an angle that grows with the
    position, so the product of a query and a key depends on their distance only.

    Shapes: B rows, H heads, T tokens, E channels a head.
    """

    def __init__(self, head_width: int, num_positions: int, base: float = 10_000.0):
        super().__init__()
        angles = torch.outer(torch.arange(num_positions, dtype=torch.float64), _frequencies(head_width, base))
        self.register_buffer("cos", angles.cos().float().repeat(1, 2), persistent=False)  # (num_positions, E)
        self.register_buffer("sin", angles.sin().float().repeat(1, 2), persistent=False)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The cosines and sines of `positions` `(T,)` or `(B, T)`, ready for `(B, H, T, E)`."""
        cos, sin = self.cos[positions], self.sin[positions]  # (T, E) or (B, T, E)
        return cos.unsqueeze(-3), sin.unsqueeze(-3)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn every channel pair of `x` `(B, H, T, E)` by its angle; lengths stay as they are."""
    first, second = x.chunk(2, dim=-1)
    turned = x * cos + torch.cat((-second, first), dim=-1) * sin
    return turned.to(x.dtype)  # under autocast the angles stay float32
