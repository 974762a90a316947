"""Telling a transformer where each token stands."""

import torch
from torch import Tensor, nn


class RotaryPositions(nn.Module):
    """Rotary position embedding (Su et al. 2021, RoFormer, eq. 34).

    Channels are taken in pairs (i, i + E/2) and each pair is turned by an angle that grows with the
    position, so the product of a query and a key depends on their distance only.

    Shapes: B rows, H heads, T tokens, E channels a head.
    """

    def __init__(self, head_width: int, max_length: int, base: float = 10_000.0):
        super().__init__()
        if head_width % 2:
            raise ValueError(f"rotary positions turn pairs of channels: head width {head_width} is odd")
        frequencies = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)  # (E/2,)
        angles = torch.outer(torch.arange(max_length, dtype=torch.float64), frequencies)  # (max_length, E/2)
        self.register_buffer("cos", angles.cos().float().repeat(1, 2), persistent=False)  # (max_length, E)
        self.register_buffer("sin", angles.sin().float().repeat(1, 2), persistent=False)

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The cosines and sines of `positions` `(T,)` or `(B, T)`, ready for `(B, H, T, E)`."""
        cos, sin = self.cos[positions], self.sin[positions]  # (T, E) or (B, T, E)
        return cos.unsqueeze(-3), sin.unsqueeze(-3)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn every channel pair of `x` `(B, H, T, E)` by its angle; lengths stay as they are."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
