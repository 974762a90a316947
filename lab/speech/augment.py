"""SpecAugment: stretches of time and bands of pitch hidden while training.

Source: Park et al. 2019, SpecAugment, section 2, without its time warping; the share that bounds a mask is that of
Park et al. 2020, SpecAugment on Large Scale Datasets.
Letters: B rows, T frames, F bands.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from lab.config import AtLeast, AtMost, validate


@dataclass(frozen=True)
class SpecAugment:
    """How much is hidden: so many masks of each kind, each of 0 up to that width, evenly drawn.

    time_masks, time_width    frames; no mask is wider than `time_share` of the utterance
    band_masks, band_width    bands
    """

    time_masks: Annotated[int, AtLeast(0)] = 2
    time_width: Annotated[int, AtLeast(0)] = 20
    band_masks: Annotated[int, AtLeast(0)] = 2
    band_width: Annotated[int, AtLeast(0)] = 10
    time_share: Annotated[float, AtLeast(0), AtMost(1)] = 0.2

    __post_init__ = validate


def spec_augment(
    features: Tensor, lengths: Tensor, config: SpecAugment, generator: torch.Generator
) -> Tensor:
    """Features `(B, T, F)` of `(B,)` frames with other masks for each row; the originals stay as they are.

    What is hidden gets the mean of its band over the row's own frames, which is 0 once normalised by utterance.
    Padding is left alone. The same generator state gives the same masks.

    >>> x = torch.arange(12.0).view(1, 6, 2)
    >>> all_bands = SpecAugment(time_masks=0, band_masks=9, band_width=2)
    >>> spec_augment(x, torch.tensor([6]), all_bands, torch.Generator().manual_seed(0))[0, :2].tolist()
    [[5.0, 6.0], [5.0, 6.0]]
    """
    B, T, F = features.shape
    real = torch.arange(T) < lengths.cpu()[:, None]  # (B, T)
    longest = (lengths.cpu() * config.time_share).floor().clamp(max=config.time_width)
    time = _stretches(T, lengths.cpu(), longest, config.time_masks, generator)
    all_bands = torch.full((B,), F)
    bands = _stretches(F, all_bands, all_bands.clamp(max=config.band_width), config.band_masks, generator)
    hidden = (time[:, :, None] | bands[:, None, :]) & real[:, :, None]
    sums = features.masked_fill(~real.to(features.device)[:, :, None], 0).sum(1, keepdim=True)
    mean = sums / lengths.to(features)[:, None, None]
    return torch.where(hidden.to(features.device), mean, features)


def _stretches(size: int, lengths: Tensor, widest: Tensor, masks: int, generator: torch.Generator) -> Tensor:
    """Bool `(B, size)`: what any of `masks` stretches covers, each 0 to `widest` wide, within `lengths`."""
    chance = torch.rand(2, len(lengths), masks, generator=generator, dtype=torch.float64)
    width = (chance[0] * (widest[:, None] + 1)).floor()
    start = (chance[1] * (lengths[:, None] - width + 1)).floor()
    at = torch.arange(size)[:, None]  # against (B, 1, masks)
    return ((at >= start[:, None]) & (at < (start + width)[:, None])).any(-1)
