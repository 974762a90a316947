"""What a character encoder is made of, in one small record."""

from dataclasses import dataclass

from lab.nn.config import TransformerConfig, check_whole

CROSS_ATTENTION = ("none", "memory", "states")


@dataclass(frozen=True)
class CharEncoderConfig:
    """Sizes and kinds of parts; those not named here are as in `TransformerConfig`, and reach every layer.

    context          the most characters read at once, special ones included
    tied             the embedding is also the output weights of every head but restoration
    head_maps        each tied head first maps its states by a matrix of its own, 0 at first: all characters then
                     start equally likely. Without, MLM and reconstruction are one function
    cross_attention  what the decoder reads besides its own past: "none"; "memory": the memory vectors; "states":
                     the encoder's states, which LEAK the next character where both read one text
    memory_slots     the most memory vectors that may stand before a text
    latents, latent_width, writer_layers
                     K and W of the bottleneck, and the depth of the writer behind it; 0 latents: no bottleneck

    Raises ValueError for what cannot be built; the message names the field.
    """

    vocab_size: int
    pad_id: int = 0
    context: int = 256
    width: int = 192
    encoder_layers: int = 3
    decoder_layers: int = 2
    num_heads: int = 4
    feed_forward: int = 768
    positions: str = "rotary"
    norm: str = "rms"
    norm_place: str = "pre"
    activation: str = "gelu"
    bias: bool = False
    tied: bool = True
    head_maps: bool = True
    dropout: float = 0.0
    cross_attention: str = "none"
    memory_slots: int = 0
    latents: int = 0
    latent_width: int = 0
    writer_layers: int = 1

    def __post_init__(self):
        for name, least in {
            "pad_id": 0,
            "context": 1,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "memory_slots": 0,
            "latents": 0,
            "latent_width": 0,
            "writer_layers": 1,
        }.items():
            check_whole(name, getattr(self, name), least)
        if not isinstance(self.head_maps, bool):
            raise ValueError(f"head_maps must be True or False, got {self.head_maps!r}")
        self.transformer(1)  # refuses what it cannot build
        if self.pad_id >= self.vocab_size:
            raise ValueError(f"pad_id {self.pad_id} is not among the {self.vocab_size} ids of the vocabulary")
        if self.cross_attention not in CROSS_ATTENTION:
            raise ValueError(
                f"cross_attention must be one of {', '.join(CROSS_ATTENTION)}; got {self.cross_attention!r}"
            )
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

    def transformer(self, num_layers: int) -> TransformerConfig:
        """One of the stacks, as `lab.nn` builds them. Memory stands at the first places, the text after it."""
        return TransformerConfig(
            vocab_size=self.vocab_size,
            context=self.context,
            width=self.width,
            num_layers=num_layers,
            num_heads=self.num_heads,
            feed_forward=self.feed_forward,
            positions=self.positions,
            num_positions=self.context + self.memory_slots,
            norm=self.norm,
            norm_place=self.norm_place,
            activation=self.activation,
            bias=self.bias,
            tied=self.tied,
            dropout=self.dropout,
        )
