"""The picture of notebook 10: from frames of sound to two transcripts, one by CTC, one by attention.

Letters: B utterances, T frames, F bands, S frames after the embedding, U tokens of a transcript, C channels, V tokens.
"""

import torch

from lab.show.diagrams.render import to_svg
from lab.show.diagrams.shapes import Shapes
from lab.show.diagrams.sketch import sketch
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


def report_speech_shapes(model: SpeechTransformer, features: torch.Tensor, ids: torch.Tensor) -> Shapes:
    """The shape of every tensor that the picture names, for features `(B, T, F)` and ids `(B, U)`.

    >>> model = SpeechTransformer(SpeechConfig(vocab_size=33, width=16, num_heads=2, feed_forward=16))
    >>> report_speech_shapes(model, torch.zeros(2, 80, 80), torch.ones(2, 5, dtype=torch.long))["memory"]
    (2, 20, 16)
    """
    with torch.no_grad():
        lengths = torch.full((len(features),), features.shape[1])
        heard, logits = model(features, lengths, ids)
        weights = model.cross_attention_maps(ids, heard)[0]
    tensors = {"features": features, "memory": heard.memory, "ctc": heard.ctc_logits}
    tensors |= {"ids": ids, "across": weights, "logits": logits}
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def speech(config: SpeechConfig, shapes: Shapes) -> str:
    """A `SpeechTransformer` as a sketched SVG; `shapes` is what `report_speech_shapes` says of a model of this config.

    Raises ValueError when they are those of another one.
    """
    return sketch(
        to_svg(_dot(config, _written(config, shapes))), DESCRIPTION.format(reduction=config.reduction)
    )


def _written(c: SpeechConfig, shapes: Shapes) -> dict[str, str]:
    drawn = {"features": "B T F", "memory": "B S C", "ctc": "B S V"}
    drawn |= {"ids": "B U", "across": "B H U S", "logits": "B U V"}
    if list(shapes) != list(drawn):
        raise ValueError(f"the picture draws {list(drawn)}, in the model there are {list(shapes)}")
    (B, T, _), U = shapes["features"], shapes["ids"][1]
    numbers = {"B": B, "T": T, "U": U, "S": -(-T // c.reduction), "F": c.features.bands}
    numbers |= {"C": c.width, "H": c.num_heads, "V": c.vocab_size}
    for name, letters in drawn.items():
        expected = tuple(numbers[letter] for letter in letters.split())
        if shapes[name] != expected:
            raise ValueError(f"{name} is drawn as ({letters}) = {expected}, the model's is {shapes[name]}")
    return {name: _said(letters, numbers) for name, letters in drawn.items()}


def _said(letters: str, numbers: dict[str, int]) -> str:
    """`_said("B S C", ...) == "(B, S, 144)"`: lengths stay letters, sizes are numbers."""
    return f"({', '.join(x if x in 'BTUS' else f'{numbers[x]:,}' for x in letters.split())})"


def _dot(c: SpeechConfig, said: dict[str, str]) -> str:
    def layers(count: int) -> str:
        return "1 block" if count == 1 else f"{count} blocks"

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
  encoder  [label="encoder, {layers(c.encoder_layers)}\\nattention to both sides{near}"]
  ctc      [label="a character, or blank\\nC → V, for each frame"]
  embedding [label="embedding\\nV × C"]
  decoder  [label="decoder, {layers(c.decoder_layers)}\\nattention to what came before, and across"]
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
        f"C = {c.width:,} channels, {c.num_heads} heads, U characters of V = {c.vocab_size:,}"
    )
