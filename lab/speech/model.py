"""A transformer that hears: features in, a transcript out, by CTC on its encoder and by attention from its decoder.

Letters: B rows, T frames, F bands, S frames after the embedding, U tokens of a transcript, C channels, V tokens in all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lab.config import AtLeast, validate
from lab.data import masks, pad
from lab.nn import AttentionMaps, KeyValueCache, Model, Stack, TokenEmbedding, TransformerConfig
from lab.nn.stack import settle_positions
from lab.nn.transformer import make_output
from lab.speech.encoder import SpeechEncoder, make_embedding, real_frames, reduced
from lab.speech.features import FeatureError, FeatureSpec, Normalizer

Whole = Annotated[int, AtLeast(1)]
LEAST_SPREAD = 1e-3  # a band that never changes is not blown up


@dataclass(frozen=True)
class SpeechConfig:
    """Sizes and kinds of parts; a `decoder` of width 144 with one layer is the small model of notebook 10.

    decoder         what the decoder is made of; its context is the most tokens of a transcript, `<s>` included. The
                    encoder is as wide and of the same parts: norm, activation, positions, dropout
    encoder_layers  the encoder's depth
    encoder_heads   its heads of attention; None for as many as the decoder's
    features        what is heard of a sound
    max_frames      the most frames that the encoder reads
    embedding       what makes states of frames: convolutions; LSTMs in both directions, which reduce the time by
                    putting neighbours side by side or by keeping the largest of each channel; or both
    channels        of these convolutions
    reduction       it leaves one frame of so many
    kernel          the width of the encoder's convolutions in frames, an odd number; 0 leaves them out
    normalize       "global", by the mean and spread of each band over the training utterances, or "utterance", over the
                    utterance itself

    The blank of CTC is token 0, `<pad>`.

    >>> SpeechConfig(TransformerConfig(vocab_size=33, num_layers=1)).features.bands
    80

    Raises ValueError for what cannot be built; the message names the field.
    """

    decoder: TransformerConfig
    encoder_layers: Whole = 3
    encoder_heads: Whole | None = None
    features: FeatureSpec = field(default_factory=FeatureSpec)
    max_frames: Whole = 4000
    embedding: Literal["conv", "blstm", "blstm pooled", "both"] = "conv"
    channels: Whole = 16
    reduction: Whole = 4
    kernel: Annotated[int, AtLeast(0)] = 15
    normalize: Literal["global", "utterance"] = "global"

    def __post_init__(self):
        validate(self)
        if self.kernel and self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, to have a middle, or 0 for none; got {self.kernel}")
        if self.decoder.width % (heads := self.encoder_heads or 1):
            raise ValueError(f"width {self.decoder.width} does not split into {heads} heads (encoder_heads)")

    @property
    def vocab_size(self) -> int:
        return self.decoder.vocab_size

    @property
    def context(self) -> int:
        return self.decoder.context

    @property
    def encoder(self) -> TransformerConfig:
        """What the encoder is made of."""
        places = -(-self.max_frames // self.reduction)
        heads = self.encoder_heads or self.decoder.num_heads
        depth = {"num_layers": self.encoder_layers, "num_heads": heads}
        return replace(self.decoder, context=places, num_positions=None, **depth)


class Encoded(NamedTuple):
    """What the encoder makes of utterances.

    memory      `(B, S, C)`, for the decoder to attend to
    lengths     `(B,)`: how many of the S frames are real
    ctc_logits  `(B, S, V)`: of a token, or the blank, at each frame
    """

    memory: Tensor
    lengths: Tensor
    ctc_logits: Tensor

    @property
    def mask(self) -> Tensor | None:
        """Which frames may be attended to: bool `(B, 1, 1, S)`; None where there is no padding."""
        S = self.memory.shape[1]
        return None if int(self.lengths.min()) == S else masks.padding(self.lengths, S)

    def row(self, n: int) -> "Encoded":
        """One utterance alone, without padding."""
        S = int(self.lengths[n])
        rows = slice(n, n + 1)
        return Encoded(self.memory[rows, :S], self.lengths[rows], self.ctc_logits[rows, :S])

    @classmethod
    def together(cls, utterances: Sequence["Encoded"]) -> "Encoded":
        """Utterances that stand alone as the rows of one batch, padded."""
        memory, lengths, ctc_logits = zip(*utterances, strict=True)
        return cls(pad([one[0] for one in memory]), torch.cat(lengths), pad([one[0] for one in ctc_logits]))


class SpeechOutput(NamedTuple):
    """What a pass over a batch gives: `encoded`, and the decoder's logits `(B, U, V)`; None where it got no tokens."""

    encoded: Encoded
    logits: Tensor | None


class SpeechTransformer(Model):
    """An encoder of speech with a CTC output, and a decoder that attends to it and writes the transcript.

    >>> model = SpeechTransformer(SpeechConfig(TransformerConfig(33, width=16, feed_forward=16)))
    >>> encoded, logits = model(torch.randn(1, 81, 80), torch.tensor([81]), torch.tensor([[2, 9, 11]]))
    >>> encoded.ctc_logits.shape, logits.shape
    (torch.Size([1, 21, 33]), torch.Size([1, 3, 33]))
    """

    def __init__(self, config: SpeechConfig):
        super().__init__()
        c = self.config = config
        bands, width = c.features.bands, c.decoder.width
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("std", torch.ones(bands))
        self.front = make_embedding(c.embedding, bands, width, c.channels, c.reduction)
        self.front_norm = nn.RMSNorm(width)
        self.encoder = SpeechEncoder(c.encoder, c.kernel)
        self.ctc_output = nn.Linear(width, c.vocab_size)
        nn.init.zeros_(self.ctc_output.weight)
        nn.init.zeros_(self.ctc_output.bias)
        self.embedding = TokenEmbedding(c.decoder)
        self.decoder = Stack(c.decoder, causal=True, reads_memory=True, positions=self.embedding.place)
        self.output = make_output(c.decoder, self.embedding)

    def forward(self, features: Tensor, lengths: Tensor, ids: Tensor | None = None) -> SpeechOutput:
        """features `(B, T, F)`, of which row b has `lengths[b]` frames; ids `(B, U)`: `<s>` and the transcript.

        The logits at u are of the token after ids `0 .. u`. Padding may hold anything. Raises ValueError for shapes
        that do not fit, more frames or tokens than the config allows, and rows without frames.
        """
        encoded = self.encode(features, lengths)
        return SpeechOutput(encoded, None if ids is None else self.decode(ids, encoded))

    def encode(self, features: Tensor, lengths: Tensor) -> Encoded:
        """What the encoder makes of features `(B, T, F)`; arguments and errors as of `forward`."""
        x, lengths = self._embedded(features, lengths)
        memory = self.encoder(x, lengths)
        return Encoded(memory, lengths, self.ctc_output(memory))

    def _embedded(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What the encoder reads: states `(B, S, C)`, and how many of them are real."""
        _check(features, lengths, self.config)
        x = self.front(self.normalized(features, lengths), lengths)
        x = self.front_norm(x.to(self.front_norm.weight.dtype))  # norms are of float32 under autocast too
        return x, self.output_lengths(lengths)

    def decode(self, ids: Tensor, encoded: Encoded, *, cache: KeyValueCache | None = None) -> Tensor:
        """ids `(B, U)` -> logits `(B, U, V)`; with a cache, of `new_cache`, ids hold only what is new.

        A cache belongs to one memory: its keys and values are made on the first call and kept.
        """
        positions = settle_positions(ids, None, cache.length if cache is not None else 0, self.config.decoder)
        x = self.embedding(ids, positions)
        x = self.decoder(x, positions, cache=cache, memory=encoded.memory, memory_mask=encoded.mask)
        return self.output(x)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """How many frames the encoder makes of so many: ceil(lengths / reduction)."""
        return reduced(lengths, self.config.reduction)

    def normalized(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features with mean 0 and spread 1 in each band; zero beyond the lengths."""
        real = real_frames(lengths, features.shape[1])[..., None]  # (B, T, 1)
        if self.config.normalize == "global":
            x = (features - self.mean) / self.std
        else:
            n, silenced = lengths[:, None, None], torch.where(real, features, 0.0)
            mean = silenced.sum(1, keepdim=True) / n  # (B, 1, F)
            spread = (torch.where(real, features - mean, 0.0).square().sum(1, keepdim=True) / n).sqrt()
            x = (features - mean) / spread.clamp(min=LEAST_SPREAD)
        return torch.where(real, x, 0.0)

    @torch.no_grad()
    def normalize_by(self, normalizer: Normalizer) -> None:
        """Take over a mean and a spread of each band; they are saved with the weights."""
        self.mean.copy_(torch.tensor(normalizer.mean))
        self.std.copy_(torch.tensor(normalizer.std))

    def attention_maps(self, features: Tensor, lengths: Tensor, ids: Tensor) -> AttentionMaps:
        """The attention weights of all layers, as `forward` uses them for the same arguments."""
        encoded = self.encode(features, lengths)
        own = self.encoder.attention_maps(*self._embedded(features, lengths))
        return AttentionMaps(own, *self._decoder_maps(ids, encoded))

    def cross_attention_maps(self, ids: Tensor, encoded: Encoded) -> list[Tensor]:
        """How much each token takes of each frame while ids `(B, U)` are read: `(B, H, U, S)` for each layer."""
        return self._decoder_maps(ids, encoded)[1]

    def _decoder_maps(self, ids: Tensor, encoded: Encoded) -> tuple[list[Tensor], list[Tensor]]:
        positions = settle_positions(ids, None, 0, self.config.decoder)
        x = self.embedding(ids, positions)
        return self.decoder.maps(x, positions, memory=encoded.memory, memory_mask=encoded.mask)

    def new_cache(self, batch: int, device: torch.device | str = "cpu") -> KeyValueCache:
        """An empty cache for `batch` rows, for decoding a few tokens at a time."""
        return self.decoder.new_cache(batch, device)


def _check(features: Tensor, lengths: Tensor, c: SpeechConfig) -> None:
    F = c.features.bands
    if features.dim() != 3 or features.shape[2] != F or not features.is_floating_point():
        hint = ": time and bands have changed places, transpose(1, 2)" if features.shape[1:2] == (F,) else ""
        given = f"{features.dtype} {tuple(features.shape)}{hint}"
        raise FeatureError(f"features must be floats (B, T, F) with F = {F} bands, got {given}")
    B, T, _ = features.shape
    if c.max_frames < T:
        raise ValueError(f"{T} frames are more than max_frames, {c.max_frames}: cut the audio, or raise it")
    if lengths.shape != (B,) or not 1 <= int(lengths.min()) <= int(lengths.max()) <= T:
        raise ValueError(f"lengths must be {B} numbers in 1 .. T = {T}, got {lengths.tolist()}")
