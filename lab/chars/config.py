"""What a character encoder is made of, in one small record."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from lab.config import AtLeast, validate
from lab.nn.config import TransformerConfig


@dataclass(frozen=True)
class CharEncoderConfig:
    """The stacks of a character encoder, and what stands around them.

    stack            the encoder; the decoder and the writer differ from it in depth alone. Its context is the most
                     characters read at once, special ones included; `tied` makes the embedding the output weights of
                     every head but restoration
    pad_id           the id that fills up rows
    decoder_layers   the decoder's depth
    head_maps        each tied head first maps its states by a matrix of its own, 0 at first: all characters then
                     start equally likely. Without, MLM and reconstruction are one function
    cross_attention  what the decoder reads besides its own past: "none"; "memory": the memory vectors; "states":
                     the encoder's states, which LEAK the next character where both read one text
    memory_slots     the most memory vectors that may stand before a text
    latents, latent_width, writer_layers
                     K and W of the bottleneck, and the depth of the writer behind it; 0 latents: no bottleneck

    >>> CharEncoderConfig(TransformerConfig(80, context=256, tied=True), latents=32, latent_width=16).context
    256

    Raises ValueError for what cannot be built; the message names the field.
    """

    stack: TransformerConfig
    pad_id: Annotated[int, AtLeast(0)] = 0
    decoder_layers: Annotated[int, AtLeast(1)] = 2
    head_maps: bool = True
    cross_attention: Literal["none", "memory", "states"] = "none"
    memory_slots: Annotated[int, AtLeast(0)] = 0
    latents: Annotated[int, AtLeast(0)] = 0
    latent_width: Annotated[int, AtLeast(0)] = 0
    writer_layers: Annotated[int, AtLeast(1)] = 1

    def __post_init__(self):
        validate(self)
        if self.stack.num_positions is not None:
            raise ValueError(
                f"stack.num_positions is context + memory_slots here: leave it out, got {self.stack.num_positions}"
            )
        if self.pad_id >= self.vocab_size:
            raise ValueError(f"pad_id {self.pad_id} is not among the {self.vocab_size} ids of the vocabulary")
        if self.cross_attention == "memory" and not self.memory_slots:
            raise ValueError('cross_attention="memory" reads memory vectors: memory_slots must be at least 1')
        if bool(self.latents) != bool(self.latent_width):
            raise ValueError(
                "latents and latent_width go together, both 0 or both above: got "
                f"{self.latents} and {self.latent_width}"
            )
        if self.latents > self.context:
            raise ValueError(
                f"{self.latents} latents for at most {self.context} characters: one each is enough"
            )

    @property
    def vocab_size(self) -> int:
        return self.stack.vocab_size

    @property
    def context(self) -> int:
        return self.stack.context

    @property
    def width(self) -> int:
        return self.stack.width

    def stack_of(self, num_layers: int) -> TransformerConfig:
        """One of the three stacks. Memory stands at the first places, the text after it."""
        return replace(self.stack, num_layers=num_layers, num_positions=self.context + self.memory_slots)
