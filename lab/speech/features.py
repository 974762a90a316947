"""From a waveform to a picture of it: the power in bands of pitch, a row for each hundredth of a second.

Letters: N samples, T frames, F bands.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple, Self

import torch
from torch import Tensor

from lab.config import AtLeast, validate
from lab.speech.audio import Audio, AudioError, check_audio

FLOOR = 1e-10  # the least power: -23 as a logarithm
DECIBELS = 80.0  # below the loudest place of the utterance, what is softer is cut off


class FeatureError(ValueError):
    """Features that are not `(T, F)` numbers of the spec; the message says what was given."""


@dataclass(frozen=True)
class FeatureSpec:
    """How features are made of audio. It belongs to a model like its tokenizer, and is saved with it.

    rate    samples a second; audio of another rate is refused, not resampled
    n_fft   samples a frame, under a Hann window
    hop     samples from one frame to the next
    bands   F, evenly spaced on the mel scale from 0 to rate / 2
    mel     "htk": 1127 ln(1 + f / 700), triangles of height 1 along mel, as in HTK and Kaldi; "slaney": linear below
            1000 Hz, triangles of area 1 along Hz, as in librosa
    scale   "log": the natural logarithm of the power; "db": decibels below the loudest place, -80 at least

    Raises ValueError for numbers that make no features, such as more bands than frequencies.
    """

    rate: Annotated[int, AtLeast(1)] = 22_050
    n_fft: Annotated[int, AtLeast(1)] = 512
    hop: Annotated[int, AtLeast(1)] = 220
    bands: Annotated[int, AtLeast(1)] = 80
    mel: Literal["htk", "slaney"] = "htk"
    scale: Literal["log", "db"] = "log"

    def __post_init__(self):
        validate(self)
        if self.n_fft % 2 or self.n_fft < max(self.hop, 2 * self.bands):
            raise ValueError(
                f"n_fft must be even, at least the hop {self.hop}, or samples are never looked at, and at least twice "
                f"the {self.bands} bands; got {self.n_fft}"
            )

    @property
    def seconds_per_frame(self) -> float:
        return self.hop / self.rate

    def frames(self, num_samples: int) -> int:
        """T for N samples: frames stand at 0, hop, 2 hop, ... up to N, so that no sample is missed."""
        return 1 + num_samples // self.hop


@lru_cache(maxsize=8)
def mel_matrix(spec: FeatureSpec) -> Tensor:
    """What each frequency gives to each band: float32 `(n_fft / 2 + 1, F)`, a triangle a column.

    Shared by all who ask: do not write to it. Source: Young et al., The HTK Book, 5.4; Slaney 1998, Auditory Toolbox.
    """
    with torch.inference_mode(False):
        hertz = torch.arange(spec.n_fft // 2 + 1, dtype=torch.float64) * spec.rate / spec.n_fft
        top = to_mel(torch.tensor(spec.rate / 2, dtype=torch.float64), spec.mel)
        corners = torch.linspace(0, 1, spec.bands + 2, dtype=torch.float64) * top
        if spec.mel == "htk":
            at, heights = to_mel(hertz, "htk"), torch.ones(spec.bands, dtype=torch.float64)
        else:
            at, corners = hertz, from_slaney(corners)
            heights = 2 / (corners[2:] - corners[:-2])
        left, middle, right = corners[:-2], corners[1:-1], corners[2:]
        up = (at[:, None] - left) / (middle - left)
        down = (right - at[:, None]) / (right - middle)
        return (torch.minimum(up, down).clamp(min=0) * heights).float()


def to_mel(hertz: Tensor, mel: str) -> Tensor:
    """Pitch as it is heard.

    >>> [round(to_mel(torch.tensor(1000.0), kind).item()) for kind in ("htk", "slaney")]
    [1000, 15]
    """
    if mel == "htk":
        return 1127 * torch.log1p(hertz / 700)
    above = 15 + 27 * torch.log(hertz.clamp(min=1000) / 1000) / math.log(6.4)
    return torch.where(hertz < 1000, hertz * 3 / 200, above)


def from_slaney(mel: Tensor) -> Tensor:
    """The hertz of Slaney's scale, which `to_mel(hertz, "slaney")` gave."""
    return torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * math.log(6.4) / 27))


def log_mel(audio: Audio, spec: FeatureSpec) -> Tensor:
    """The features of audio: float32 `(T, F)`, `T = spec.frames(N)`.

    Frame t looks at the n_fft samples around sample t * hop; before the first and after the last there is silence.

    >>> spec = FeatureSpec(rate=8000, n_fft=256, hop=80, bands=20)
    >>> tone = Audio(torch.sin(2 * math.pi * 1000 * torch.arange(8000) / 8000), 8000)
    >>> features = log_mel(tone, spec)
    >>> tuple(features.shape), features[50].argmax().item()
    ((101, 20), 9)

    Raises AudioError for another rate than the spec's, and for audio that is silent or clipped.
    """
    if audio.rate != spec.rate:
        raise AudioError(
            "wrong rate",
            f"{audio.name} has {audio.rate:,} samples a second, these features are made of {spec.rate:,}: convert it "
            f"(ffmpeg -i in.wav -ac 1 -ar {spec.rate} out.wav), or use a FeatureSpec of rate {audio.rate}",
        )
    check_audio(audio)
    options = {"window": torch.hann_window(spec.n_fft), "pad_mode": "constant", "return_complex": True}
    waves = torch.stft(audio.samples, spec.n_fft, spec.hop, **options)
    power = waves.real.square() + waves.imag.square()
    power = (power.T @ mel_matrix(spec)).clamp(min=FLOOR)
    if spec.scale == "log":
        return power.log()
    return (10 * (power / power.max()).log10()).clamp(min=-DECIBELS)


def check_features(features: Tensor, spec: FeatureSpec) -> None:
    """Refuse what is not the features of one utterance: floating point `(T, F)`, at least a frame, all finite.

    Raises FeatureError, which says so where `(F, T)` was given.
    """
    shape, F = tuple(features.shape), spec.bands
    if not features.is_floating_point() or len(shape) != 2 or shape[1] != F or not shape[0]:
        hint = "; it looks like (bands, frames): transpose it" if shape[:1] == (F,) else ""
        given = f"{features.dtype} {shape}{hint}"
        raise FeatureError(f"features must be floats (T, {F}), frames by bands, T at least 1; got {given}")
    if not features.isfinite().all():
        raise FeatureError("features hold NaN or infinity: make them anew, from audio without either")


class Normalizer(NamedTuple):
    """Features less their mean, over their standard deviation, band by band: F numbers each, the same for all.

    >>> Normalizer.fit([torch.tensor([[1.0, 5.0], [3.0, 5.0]])])
    Normalizer(mean=(2.0, 5.0), std=(1.0, 1.0))
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, features: Iterable[Tensor]) -> Self:
        """The mean and deviation of every band over all frames of many utterances `(T, F)`, summed in float64.

        A band that never changes gets the deviation 1. Raises ValueError where there are no frames.
        """
        count, total, squares = 0, 0.0, 0.0
        for x in features:
            x = x.double()
            count, total, squares = count + len(x), total + x.sum(0), squares + x.square().sum(0)
        if count == 0:
            raise ValueError("no frames to fit to: pass the features of at least one utterance")
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        constant = variance <= 1e-10 * (1 + mean.square())  # no more than rounding makes of it
        return cls(tuple(mean.tolist()), tuple(variance.sqrt().masked_fill(constant, 1.0).tolist()))
