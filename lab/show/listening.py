"""What a recogniser makes of one sound: its picture, the letters where they were heard, the transcripts.

Letters: S frames that the encoder makes of T, F bands.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lab.speech.audio import Audio, resampled
from lab.speech.ctc import collapse
from lab.speech.features import log_mel
from lab.speech.model import SpeechTransformer
from lab.speech.reading import Reading, listen, read
from lab.text import Tokenizer


@dataclass(frozen=True, eq=False)
class Listened:
    """`features` `(T, F)`; `letters`: (second, letter, probability) of each that CTC wrote, where it began to.

    `ctc` and `attention` are the transcripts, `seconds` the length of the sound.
    """

    features: Tensor
    letters: tuple[tuple[float, str, float], ...]
    ctc: str
    attention: str
    seconds: float


@torch.inference_mode()
def listened(model: SpeechTransformer, tokenizer: Tokenizer, audio: Audio) -> Listened:
    """What the model makes of a sound; another rate than the model's is changed first.

    Raises AudioError for a sound in which nothing can be heard, ValueError for one that is too long.
    """
    spec = model.config.features
    features = log_mel(resampled(audio, spec.rate), spec)
    (heard,) = listen(model, [features])
    shares, path = heard.ctc_logits[0].softmax(-1).cpu().max(-1)  # (S,), (S,)
    second = len(features) / len(path) * spec.seconds_per_frame
    letters, before = [], 0
    for frame, (token, share) in enumerate(zip(path.tolist(), shares.tolist(), strict=True)):
        if token not in (0, before):
            letters.append((frame * second, tokenizer.decode([token]), share))
        before = token
    return Listened(
        features,
        tuple(letters),
        tokenizer.decode(collapse(path.tolist())),
        tokenizer.decode(read(model, heard, tokenizer, Reading("attention"))),
        len(features) * spec.seconds_per_frame,
    )
