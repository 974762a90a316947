"""The picture of notebook 08: one embedding, three stacks, and what each is asked.

Letters: B lines, T characters, C channels, K latents of W numbers, M memory vectors, V the vocabulary.
"""

import torch

from lab.chars import CharEncoder, CharEncoderConfig
from lab.show.diagrams.render import counted, template
from lab.show.diagrams.shapes import written
from lab.show.diagrams.sketch import draw

DESCRIPTION = (
    "Downwards, two ways from one shared embedding. The encoder sees both sides: its states answer which character was "
    "masked, which one was read, and what was removed before each; their mean is the embedding of the chunk, which a "
    "later chunk can read as memory. To the left the states pass a bottleneck of a few latent vectors, from which a "
    "writer writes the text back. On the right the decoder, which sees only what came before, says which character is "
    "next. The arrows bear the shapes of the tensors."
)


def char_encoder(model: CharEncoder, ids: torch.Tensor) -> str:
    """A `CharEncoder` as a sketched SVG, with the shapes that it makes of `ids` `(B, T)`.

    Raises ValueError for a model without a bottleneck or without memory: both are in the picture.
    """
    c, (B, T) = model.config, ids.shape
    if not c.latents or not c.memory_slots:
        raise ValueError(
            "the picture shows a bottleneck and a memory: give the config latents and memory_slots"
        )
    with torch.no_grad():
        memory = torch.zeros(B, c.memory_slots, c.width, device=ids.device)
        said = model(ids, memory=memory)
        latents = model.compress(ids)
        tensors = {"ids": ids, "memory": memory, "latents": latents, "written": model.write(latents, ids)}
    shapes = {name: tuple(tensor.shape) for name, tensor in (tensors | said._asdict()).items()}
    letters = {"ids": "B T", "memory": "B M C", "latents": "B K W", "written": "B T V"}
    letters |= dict.fromkeys(("mlm", "reconstruction", "restoration", "clm"), "B T V")
    letters |= {"states": "B T C", "chunk_embedding": "B C"}
    numbers = {"B": B, "T": T, "C": c.width, "V": c.vocab_size, "M": c.memory_slots}
    numbers |= {"K": c.latents, "W": c.latent_width}
    return draw(_dot(c, written(letters, shapes, numbers)), DESCRIPTION)


def _dot(c: CharEncoderConfig, said: dict[str, str]) -> str:
    blocks = {
        "encoder_blocks": counted(c.stack.num_layers, "block"),
        "writer_blocks": counted(c.writer_layers, "block"),
        "decoder_blocks": counted(c.decoder_layers, "block"),
    }
    return template("char_encoder", c=c, said=said, legend=_legend(c), **blocks)


def _legend(c: CharEncoderConfig) -> str:
    return (
        f"B lines, T characters, C = {c.width:,} channels, V = {c.vocab_size:,} characters\\n"
        f"K = {c.latents} latents of W = {c.latent_width} numbers, M = {c.memory_slots} memory vectors"
    )
