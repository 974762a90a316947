"""The picture of notebook 08: one embedding, three stacks, and what each is asked.

Letters: B lines, T characters, C channels, K latents of W numbers, M memory vectors, V the vocabulary.
"""

import torch

from lab.chars.model import CharEncoder, CharEncoderConfig
from lab.show.diagrams.render import to_svg
from lab.show.diagrams.shapes import Shapes, _text
from lab.show.diagrams.sketch import sketch

DESCRIPTION = (
    "Downwards, two ways from one shared embedding. The encoder sees both sides: its states answer which character was "
    "masked, which one was read, and what was removed before each; their mean is the embedding of the chunk, which a "
    "later chunk can read as memory. To the left the states pass a bottleneck of a few latent vectors, from which a "
    "writer writes the text back. On the right the decoder, which sees only what came before, says which character is "
    "next. The arrows bear the shapes of the tensors."
)


def report_char_encoder_shapes(model: CharEncoder, ids: torch.Tensor) -> Shapes:
    """The shape of every tensor that the picture names, for `ids` `(B, T)`.

    >>> config = CharEncoderConfig(30, width=8, num_heads=2, feed_forward=16, memory_slots=2, latents=4, latent_width=3)
    >>> report_char_encoder_shapes(CharEncoder(config), torch.ones(3, 12, dtype=torch.long))["latents"]
    (3, 4, 3)

    Raises ValueError for a model without a bottleneck or without memory: both are in the picture.
    """
    if not model.config.latents or not model.config.memory_slots:
        raise ValueError(
            "the picture shows a bottleneck and a memory: give the config latents and memory_slots"
        )
    with torch.no_grad():
        memory = torch.zeros(len(ids), model.config.memory_slots, model.config.width, device=ids.device)
        said = model(ids, memory=memory)
        latents = model.compress(ids)
        tensors = {"ids": ids, "memory": memory, "latents": latents, "written": model.write(latents, ids)}
        tensors |= {name: tensor for name, tensor in said._asdict().items()}
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def char_encoder(config: CharEncoderConfig, shapes: Shapes) -> str:
    """A `CharEncoder` as a sketched SVG; `shapes` is what `report_char_encoder_shapes` says of a model of this config.

    Raises ValueError when they are those of another one.
    """
    return sketch(to_svg(_dot(config, _written(config, shapes))), DESCRIPTION)


def _written(c: CharEncoderConfig, shapes: Shapes) -> dict[str, str]:
    drawn = {"ids": "B T", "memory": "B M C", "latents": "B K W", "written": "B T V"}
    drawn |= dict.fromkeys(("mlm", "reconstruction", "restoration", "clm"), "B T V")
    drawn |= {"states": "B T C", "chunk_embedding": "B C"}
    if list(shapes) != list(drawn):
        raise ValueError(f"the picture draws {list(drawn)}, in the model there are {list(shapes)}")
    B, T = shapes["ids"]
    numbers = {"B": B, "T": T, "C": c.width, "V": c.vocab_size, "M": c.memory_slots}
    numbers |= {"K": c.latents, "W": c.latent_width}
    for name, letters in drawn.items():
        expected = tuple(numbers[letter] for letter in letters.split())
        if shapes[name] != expected:
            raise ValueError(f"{name} is drawn as ({letters}) = {expected}, the model's is {shapes[name]}")
    return {name: _text(letters.split(), numbers) for name, letters in drawn.items()}


def _dot(c: CharEncoderConfig, said: dict[str, str]) -> str:
    def layers(count: int) -> str:
        return "1 block" if count == 1 else f"{count} blocks"

    return f"""
digraph char_encoder {{
  graph [rankdir=TB newrank=true ranksep=0.42 nodesep=0.35 labelloc=t fontsize=22
         label="The character encoder\\n{_legend(c)}\\n\\n"]
  node [shape=box style="rounded,filled" fontsize=14]
  edge [fontsize=12]

  node [class=data shape=note style=filled]
  memory  [label="memory\\nearlier chunks"]
  masked  [label="characters\\nsome masked or removed"]
  whole   [label="characters\\nas they are"]
  before  [label="characters\\nfrom <s> on"]
  node [shape=box]
  embedding [class=parameters label="one embedding, shared\\nV × C; the heads read it too" width=7]
  encoder   [class=parameters label="encoder, {layers(c.encoder_layers)}\\nsees both sides" width=2.9]
  bottleneck [class=parameters label="bottleneck\\n{c.latents} latents of {c.latent_width} numbers"]
  writer    [class=parameters label="writer, {layers(c.writer_layers)}\\nsees what it has written"]
  decoder   [class=parameters label="decoder, {layers(c.decoder_layers)}\\nsees what came before"]
  node [class=output style="rounded,filled"]
  mlm [label="MLM\\nwhat was masked"]
  reconstruction [label="reconstruction\\nwhat was read"]
  restoration [label="restoration\\nwhat was removed here"]
  pooled [class=operation label="mean\\nof the chunk"]
  written [label="written back\\nfrom the latents alone"]
  clm [label="CLM\\nwhat comes next"]

  {{rank=same; memory; masked; whole; before}}
  {{rank=same; encoder; decoder}}
  {{rank=same; bottleneck; pooled; mlm; reconstruction; restoration}}
  {{rank=same; writer}}
  memory -> encoder [label=" {said["memory"]} "]
  masked -> embedding [label=" {said["ids"]} "]
  whole -> embedding
  before -> embedding
  embedding -> encoder [label=" {said["states"]} " weight=5]
  embedding -> decoder [weight=5]
  encoder -> mlm
  encoder -> reconstruction [label=" {said["states"]} "]
  encoder -> restoration
  encoder -> pooled
  encoder -> bottleneck
  bottleneck -> writer [label=" {said["latents"]} "]
  writer -> written [label=" {said["written"]} "]
  decoder -> clm [label=" {said["clm"]} "]
}}
"""


def _legend(c: CharEncoderConfig) -> str:
    return (
        f"B lines, T characters, C = {c.width:,} channels, V = {c.vocab_size:,} characters\\n"
        f"K = {c.latents} latents of W = {c.latent_width} numbers, M = {c.memory_slots} memory vectors"
    )
