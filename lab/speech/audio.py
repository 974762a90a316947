"""Sound as a row of numbers: read, written, and refused where nothing could be heard in it.

Letters: N samples.
"""

import io
import os
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lab.files import write_atomic

SILENT_PEAK = 1e-4  # 80 dB below full scale: three steps of a 16-bit number
CLIPPED_SHARE = 0.001  # of the samples in flat tops; unharmed speech has next to none


class AudioError(ValueError):
    """Audio that cannot be used. `reason` is one or two words, for counting what was left out."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Audio:
    """One channel of sound: `samples` float32 `(N,)` in -1 .. 1, `rate` of them a second.

    >>> Audio(torch.zeros(11_025), rate=22_050).seconds
    0.5

    Raises AudioError for samples of another shape or type, for none, and for NaN or infinity among them.
    """

    samples: Tensor
    rate: int

    def __post_init__(self):
        x = self.samples
        if not isinstance(x, Tensor) or x.dtype != torch.float32:
            given = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise AudioError(
                "wrong type",
                f"samples must be a float32 tensor in -1 .. 1, got {given}; 16-bit numbers are divided by 32768 first",
            )
        if x.dim() != 1:
            raise AudioError(
                "wrong shape",
                f"samples must be one channel, (N,), got {tuple(x.shape)}; average the channels of stereo",
            )
        if len(x) == 0:
            raise AudioError("empty", "the audio has no samples: it is empty")
        if not x.isfinite().all():
            bad = int((~x.isfinite()).sum())
            raise AudioError(
                "not finite", f"{bad:,} of {len(x):,} samples are NaN or infinite: record it again"
            )
        if isinstance(self.rate, bool) or not isinstance(self.rate, int) or self.rate < 1:
            raise AudioError(
                "wrong rate", f"rate must be whole samples a second, at least 1; got {self.rate!r}"
            )

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def _repr_html_(self) -> str:
        """A player, where a notebook shows it."""
        from IPython.display import Audio as Player

        return Player(wav_bytes(self))._repr_html_()


def check_audio(audio: Audio) -> None:
    """Refuse audio in which speech cannot be heard.

    Raises AudioError where it is "silent", no sample above 0.0001 of full scale, or "clipped": more than a thousandth
    of the samples lie within flat tops, three or more equal samples in a row at the largest value.

    >>> check_audio(Audio(torch.sin(torch.arange(8000) / 10).clamp(-0.5, 0.5), 8000))
    Traceback (most recent call last):
      ...
    lab.speech.audio.AudioError: 60.3 % of the samples lie in flat tops: the audio is clipped; record it less loud
    """
    x = audio.samples
    peak = x.abs().max()
    if peak <= SILENT_PEAK:
        raise AudioError("silent", f"the loudest sample is {peak:.1g} of full scale: the audio is silent")
    flat = (x[2:] == x[1:-1]) & (x[1:-1] == x[:-2]) & (x[1:-1].abs() >= 0.99 * peak)
    share = float(flat.sum()) / len(x)
    if share > CLIPPED_SHARE:
        raise AudioError(
            "clipped",
            f"{share:.1%} of the samples lie in flat tops: the audio is clipped; record it less loud".replace(
                "%", " %"
            ),
        )


def read_audio(source: str | os.PathLike | bytes) -> Audio:
    """The audio in a file, or in a file's bytes; channels are averaged.

    16-bit WAV is read by Python itself. Everything else, FLAC first of all, needs `soundfile`.

    Raises AudioError, naming the file, for one that cannot be read, and whatever `Audio` refuses.
    """
    name = "the audio" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        samples, rate = _pcm16(data) if data[:4] == b"RIFF" and _is_pcm16(data) else _by_soundfile(data)
    except ImportError:
        raise AudioError(
            "unreadable",
            f"{name} is no 16-bit WAV, and other formats need soundfile: pip install soundfile, or convert it",
        ) from None
    except (OSError, RuntimeError, EOFError, wave.Error) as error:
        raise AudioError("unreadable", f"{name} cannot be read as audio: {error}") from error
    try:
        return Audio(torch.from_numpy(np.ascontiguousarray(samples.mean(axis=1), dtype=np.float32)), rate)
    except AudioError as error:
        raise AudioError(error.reason, f"{name}: {error}") from None


def wav_bytes(audio: Audio) -> bytes:
    """A WAV file of 16-bit numbers; what is beyond full scale is cut off.

    >>> read_audio(wav_bytes(Audio(torch.tensor([0.0, 0.5, -1.0]), 8000))).samples.tolist()
    [0.0, 0.5, -1.0]
    """
    numbers = (audio.samples * 32768).round().clamp(-32768, 32767).to(torch.int16).numpy()
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(audio.rate)
        wav.writeframes(numbers.astype("<i2").tobytes())
    return file.getvalue()


def write_wav(path: str | os.PathLike, audio: Audio) -> Path:
    """Write `wav_bytes(audio)`, whole or not at all."""
    return write_atomic(path, wav_bytes(audio))


def from_pcm16(data: bytes, rate: int) -> Audio:
    """Audio of 16-bit little-endian numbers, one channel."""
    return Audio(torch.from_numpy(np.frombuffer(data, "<i2").astype(np.float32) / 32768), rate)


def _is_pcm16(data: bytes) -> bool:
    try:
        with wave.open(io.BytesIO(data)) as wav:
            return wav.getsampwidth() == 2
    except wave.Error:  # floating point, say: not for this module
        return False


def _pcm16(data: bytes) -> tuple[np.ndarray, int]:
    with wave.open(io.BytesIO(data)) as wav:
        numbers = np.frombuffer(wav.readframes(wav.getnframes()), "<i2")
        return numbers.reshape(-1, wav.getnchannels()) / np.float32(32768), wav.getframerate()


def _by_soundfile(data: bytes) -> tuple[np.ndarray, int]:
    import soundfile

    return soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
