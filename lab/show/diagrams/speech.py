"""The picture of notebook 10: from frames of sound to two transcripts, one by CTC, one by attention.

Letters: B utterances, T frames, F bands, S frames after the embedding, U tokens of a transcript, C channels, V tokens.
"""

import torch

from lab.show.diagrams.render import counted, template
from lab.show.diagrams.shapes import written
from lab.show.diagrams.sketch import draw
from lab.speech.model import SpeechConfig, SpeechTransformer

FRONTS = {
    "conv": "convolutions",
    "blstm": "a recurrent network, both ways",
    "both": "convolutions, then a recurrent network both ways",
}
DESCRIPTION = (
    "On the left, downwards: features of a sound enter the speech embedding, which leaves one frame of every "
    "{reduction}, then the encoder, in which every frame sees every other. A linear map says of each frame which "
    "character it is, or none: the CTC output. On the right, downwards: the characters written so far enter an "
    "embedding and the decoder, which attends to itself, and across to the encoder's frames, and says which character "
    "comes next. The arrows bear the shapes of the tensors."
)


def speech(model: SpeechTransformer, features: torch.Tensor, ids: torch.Tensor) -> str:
    """A `SpeechTransformer` as a sketched SVG, with its shapes for features `(B, T, F)` and ids `(B, U)`."""
    c, (B, T, _), U = model.config, features.shape, ids.shape[1]
    with torch.no_grad():
        heard, logits = model(features, torch.full((B,), T), ids)
        across = model.cross_attention_maps(ids, heard)[0]
    tensors = {"features": features, "memory": heard.memory, "ctc": heard.ctc_logits}
    tensors |= {"ids": ids, "across": across, "logits": logits}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    letters = {"features": "B T F", "memory": "B S C", "ctc": "B S V"}
    letters |= {"ids": "B U", "across": "B H U S", "logits": "B U V"}
    numbers = {"B": B, "T": T, "U": U, "S": -(-T // c.reduction), "F": c.features.bands}
    numbers |= {"C": c.decoder.width, "H": c.decoder.num_heads, "V": c.vocab_size}
    both = written(letters, shapes, numbers)
    said = {name: text.rpartition(" = ")[2] for name, text in both.items()}  # sizes as numbers alone
    return draw(_dot(c, said), DESCRIPTION.format(reduction=c.reduction))


def _dot(c: SpeechConfig, said: dict[str, str]) -> str:
    near = f", convolution over {c.kernel} frames" if c.kernel else ""
    about = {"legend": _legend(c), "front": FRONTS[c.embedding], "near": near}
    blocks = {
        "encoder_blocks": counted(c.encoder_layers, "block"),
        "decoder_blocks": counted(c.decoder.num_layers, "block"),
    }
    return template("speech", c=c, said=said, **about, **blocks)


def _legend(c: SpeechConfig) -> str:
    return (
        f"B utterances, T frames of {c.features.bands} bands, S = T / {c.reduction} after the embedding\\n"
        f"C = {c.decoder.width:,} channels, {c.decoder.num_heads} heads, U characters of V = {c.vocab_size:,}"
    )
