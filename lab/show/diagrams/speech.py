"""The picture of notebook 10: from frames of sound to two transcripts, one by CTC, one by attention.

Letters: B utterances, T frames, F bands, S frames after the embedding, U tokens of a transcript, C channels, V tokens.
"""

import torch

from lab.show.diagrams.render import counted
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
    return f"""
digraph speech {{
  graph [rankdir=TB newrank=true ranksep=0.4 nodesep=0.9 labelloc=t fontsize=22
         label="Speech to text\\n{_legend(c)}\\n\\n"]
  node [shape=box style="rounded,filled" width=3 fontsize=14]
  edge [fontsize=13]

  features [class=data shape=note style=filled label="features\\nlog-mel frames of the sound"]
  ids      [class=data shape=note style=filled label="characters\\nwritten so far, from <s> on"]
  node [class=parameters style=filled]
  front    [label="speech embedding\\n{FRONTS[c.embedding]}; one frame of {c.reduction}"]
  encoder  [label="encoder, {counted(c.encoder_layers, "block")}\\nattention to both sides{near}"]
  ctc      [label="a character, or blank\\nC → V, for each frame"]
  embedding [label="embedding\\nV × C"]
  decoder  [label="decoder, {counted(c.decoder.num_layers, "block")}\\nattention to what came before, and across"]
  scores   [label="the next character\\nC → V"]
  node [class=output style="rounded,filled"]
  by_ctc   [label="CTC transcript\\nrepeats merged, blanks dropped"]
  by_attention [label="attention transcript\\none character after the other"]

  {{rank=same; features; ids}}
  {{rank=same; encoder; decoder}}
  {{rank=same; ctc; scores}}
  {{rank=same; by_ctc; by_attention}}
  features -> front [label=" {said["features"]} " weight=9]
  front -> encoder  [label=" {said["memory"]} " weight=9]
  encoder -> ctc    [label=" {said["memory"]} " weight=9]
  ctc -> by_ctc     [label=" {said["ctc"]} " weight=9]
  ids -> embedding  [label=" {said["ids"]} " weight=9]
  embedding -> decoder [weight=9]
  encoder -> decoder [label=" across: {said["across"]} "]
  decoder -> scores [weight=9]
  scores -> by_attention [label=" {said["logits"]} " weight=9]
}}
"""


def _legend(c: SpeechConfig) -> str:
    return (
        f"B utterances, T frames of {c.features.bands} bands, S = T / {c.reduction} after the embedding\\n"
        f"C = {c.decoder.width:,} channels, {c.decoder.num_heads} heads, U characters of V = {c.vocab_size:,}"
    )
