"""Sound at another rate: the same wave, as far as the lower of the two rates can hold it.

Letters: N samples.
"""

import torch

from lab.speech.audio import Audio


def resampled(audio: Audio, rate: int) -> Audio:
    """`audio` at `rate` samples a second, by cutting or extending its spectrum.

    Exact for a sound without frequencies above half the lower rate; what lies above is left out, so nothing is folded
    back. The clip is taken for periodic, so a sound cut off loudly rings a little at its ends.

    >>> resampled(Audio(torch.zeros(44_100), rate=44_100), 22_050).seconds
    1.0

    Raises ValueError for a rate below 1.
    """
    if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
        raise ValueError(f"rate must be whole samples a second, at least 1; got {rate!r}")
    if rate == audio.rate:
        return audio
    N = len(audio.samples)
    length = max(1, round(N * rate / audio.rate))
    spectrum = torch.fft.rfft(audio.samples.double())
    kept = spectrum[: length // 2 + 1]
    samples = torch.fft.irfft(kept, n=length) * (length / N)
    return Audio(samples.clamp(-1, 1).float(), rate)
