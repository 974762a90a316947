"""What a recogniser makes of one sound: its picture, the letters where they were heard, the transcripts.

Letters: S frames that the encoder makes of T, F bands.
"""

from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

from lab.show.colours import BLUE, INK, PAPER
from lab.show.plots import figure
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


def listening_figure(found: Listened, said: str = "") -> Figure:
    """The log-mel picture, above it each letter where CTC wrote it, and the transcripts as the title."""
    told = [f"by CTC: {found.ctc or '(nothing)'}", f"by attention: {found.attention or '(nothing)'}"]
    title = "\n".join([f"said: {said}", *told] if said else told)
    made, ax = figure(title, "seconds", "mel band", size=(9, 3.9))
    bands = found.features.shape[1]
    look = {"origin": "lower", "aspect": "auto", "cmap": "cividis"}
    ax.imshow(found.features.T.numpy(), extent=(0, found.seconds, 0, bands), **look)
    ax.grid(False)
    ax.set_ylim(0, bands * 1.12)
    ax.set_facecolor(PAPER)
    for second, letter, _ in found.letters:
        shown = "␣" if letter == " " else letter
        ax.text(second, bands * 1.06, shown, ha="center", va="center", fontsize=11, color=INK)
        ax.plot([second, second], [bands, bands * 1.02], color=BLUE, linewidth=1)
    return made
