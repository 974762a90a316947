"""Sound as a row of numbers: read, written, brought to another rate, and refused where nothing could be heard in it.

Letters: N samples.
"""

import io
import os
import struct
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from lab.config import AtLeast, validate

SILENT_PEAK = 1e-4  # 80 dB below full scale: three steps of a 16-bit number
LOUDEST = 8.0  # beyond full scale, as lossy formats are a little; numbers above are on another scale
MOST_BYTES = 1 << 32  # as a WAV may have
STREAMED = 0x7FFF0000  # bytes and more a WAV announces whose length was not known when its header was written
CLIPPED_SHARE = 0.001  # of the samples in flat tops; unharmed speech has next to none


class Unusable(ValueError):
    """Speech that is to be left out. `reason` is one or two words, for counting what was."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


class AudioError(Unusable):
    """Audio that cannot be used."""


@dataclass(frozen=True, eq=False)
class Audio:
    """One channel of sound: `samples` float32 `(N,)` in -1 .. 1, `rate` of them a second; its `name` for errors.

    >>> Audio(torch.zeros(11_025), rate=22_050).seconds
    0.5

    Raises AudioError for samples of another shape or type, for none, and for NaN, infinity or another scale among them.
    """

    samples: Tensor
    rate: Annotated[int, AtLeast(1)]
    name: str = "the audio"

    def __post_init__(self):
        validate(self)
        x = self.samples
        expected = {
            "wrong type": (x.dtype == torch.float32, "float32; divide 16-bit numbers by 32768"),
            "wrong shape": (x.dim() == 1, "one channel, (N,); average the channels of stereo"),
            "empty": (x.numel() > 0, "at least one"),
            "not finite": (bool(x.isfinite().all()), "finite; record it again"),
            "not scaled": (bool((x.abs() <= LOUDEST).all()), "in -1 .. 1; divide 16-bit numbers by 32768"),
        }
        for reason, (holds, what) in expected.items():
            if not holds:
                raise AudioError(reason, f"samples must be {what}; got {x.dtype} {tuple(x.shape)}: {reason}")

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
        raise AudioError("silent", f"the loudest sample is {peak:.1g} of full scale: {audio.name} is silent")
    flat = (x[2:] == x[1:-1]) & (x[1:-1] == x[:-2]) & (x[1:-1].abs() >= 0.99 * peak)
    share = float(flat.sum()) / len(x)
    if share > CLIPPED_SHARE:
        tops = f"{100 * share:.1f} % of the samples lie in flat tops"
        raise AudioError("clipped", f"{tops}: {audio.name} is clipped; record it less loud")


def read_audio(source: str | os.PathLike | bytes) -> Audio:
    """The audio in a file, or in a file's bytes; channels are averaged.

    16-bit WAV is read by Python itself. Everything else, FLAC first of all, needs `soundfile`.

    Raises AudioError, naming the file, for one that cannot be read or was cut short, and whatever `Audio` refuses.
    """
    name = Audio.name if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else plain_bytes(Path(source))
        samples, rate = _pcm16(data) or _by_soundfile(data)
        return Audio(torch.from_numpy(samples.mean(axis=1)), rate, name)
    except ImportError:
        needed = "other formats need soundfile: pip install soundfile, or convert it"
        raise AudioError("unreadable", f"{name} is no 16-bit WAV, and {needed}") from None
    except AudioError as error:
        raise AudioError(error.reason, f"{name}: {error}") from None
    except (OSError, ValueError, RuntimeError, MemoryError, struct.error) as error:
        why = getattr(error, "error_string", None) or getattr(error, "strerror", None) or error
        raise AudioError("unreadable", f"{name} cannot be read as audio: {why}") from error


def plain_bytes(file: Path) -> bytes:
    """What is in a file. OSError for what may never end, a pipe or a device, and for more than `MOST_BYTES`."""
    if file.exists() and not (file.is_file() and file.stat().st_size <= MOST_BYTES):
        raise OSError(f"{file} is no plain file of at most {MOST_BYTES:,} bytes")
    return file.read_bytes()


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


def resampled(audio: Audio, rate: int) -> Audio:
    """`audio` at `rate` samples a second, by cutting or extending its spectrum.

    Exact for a sound without frequencies above half the lower rate; what lies above is left out, so nothing is folded
    back. The clip is taken for periodic, so a sound cut off loudly rings a little at its ends.

    >>> resampled(Audio(torch.zeros(44_100), rate=44_100), 22_050).seconds
    1.0
    """
    if rate == audio.rate:
        return audio
    N = len(audio.samples)
    length = max(1, round(N * rate / audio.rate))
    spectrum = torch.fft.rfft(audio.samples.double())
    samples = torch.fft.irfft(spectrum[: length // 2 + 1], n=length) * (length / N)
    return Audio(samples.clamp(-1, 1).float(), rate, audio.name)


def _pcm16(data: bytes) -> tuple[np.ndarray, int] | None:
    """Samples `(N, channels)` and their rate; None for no 16-bit WAV. AudioError for a WAV that was cut short."""
    chunks, at = {}, 12
    while data[:4] == b"RIFF" and at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        chunks.setdefault(name, (size, memoryview(data)[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    if not {b"fmt ", b"data"} <= chunks.keys():
        return None
    (_, form), (size, numbers) = chunks[b"fmt "], chunks[b"data"]
    if len(numbers) < size < STREAMED:
        raise AudioError("cut short", f"it announces {size:,} bytes of samples, {len(numbers):,} are there")
    kind, channels, rate, bits = struct.unpack_from("<HHI6xH", form)
    if kind not in (1, 0xFFFE) or bits != 16 or not channels:  # plain, or WAVE_FORMAT_EXTENSIBLE
        return None
    return np.frombuffer(numbers, "<i2").reshape(-1, channels) / np.float32(32768), rate


def _by_soundfile(data: bytes) -> tuple[np.ndarray, int]:
    import soundfile

    return soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
