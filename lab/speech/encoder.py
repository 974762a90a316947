"""The encoder of speech: from frames to fewer, wider ones, then a transformer's layers with convolutions between them.

The first half is by convolutions, recurrent layers, or both; every kind leaves ceil(T / reduction) frames. Padding
changes nothing: what lies beyond a row's length is zero before each layer looks at it, as it is beyond the end of a row
that stands alone. Letters: B rows, T frames, S frames left, F bands, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lab.nn.blocks import Block, ResidualLayer, initialise
from lab.nn.config import TransformerConfig
from lab.nn.stack import Stack


def reduced(lengths: Tensor, reduction: int) -> Tensor:
    """How many frames are left of `lengths`: ceil(length / reduction), for a part of a frame counts as one.

    >>> reduced(torch.tensor([1, 4, 5, 80]), 4).tolist()
    [1, 1, 2, 20]
    """
    return (lengths + reduction - 1).div(reduction, rounding_mode="floor")


def real_frames(lengths: Tensor, T: int) -> Tensor:
    """Which frames are no padding: bool `(B, T)`."""
    return torch.arange(T, device=lengths.device) < lengths[:, None]


def steps_of(reduction: int) -> list[int]:
    """The prime factors of the reduction, one a layer, small ones first; no reduction is one step of 1.

    >>> steps_of(4), steps_of(6), steps_of(5), steps_of(1)
    ([2, 2], [2, 3], [5], [1])
    """
    steps = []
    for step in range(2, reduction + 1):
        while reduction % step == 0:
            reduction, steps = reduction // step, [*steps, step]
    return steps or [1]


class ConvEmbedding(nn.Module):
    """Convolutions over time and bands, each of which leaves a part of the time and half of the bands.

    Dong et al. 2018 (Speech-Transformer), section 3.2. `(B, T, F)` -> `(B, S, C)`.
    """

    def __init__(self, bands: int, width: int, channels: int, reduction: int):
        super().__init__()
        self.steps, layers = steps_of(reduction), []
        for n, step in enumerate(self.steps):
            wide = max(3, 2 * step - 1)  # in time: none is left out between two steps, or after the last
            shape = {"kernel_size": (wide, 3), "stride": (step, 2), "padding": (wide // 2, 1)}
            layers.append(nn.Conv2d(channels if n else 1, channels, **shape))
            bands = (bands + 1) // 2
        self.layers = nn.ModuleList(layers)
        self.project = nn.Linear(channels * bands, width)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """`x`, zero beyond `lengths` `(B,)`."""
        x = x[:, None]  # (B, 1, T, F)
        for layer, step in zip(self.layers, self.steps, strict=True):
            lengths = reduced(lengths, step)
            x = F.gelu(layer(x))
            x = x * real_frames(lengths, x.shape[2])[:, None, :, None]
        return self.project(x.transpose(1, 2).flatten(2))


class RecurrentEmbedding(nn.Module):
    """A pyramid of LSTMs that read both ways, each over a part of the frames, neighbours side by side in one.

    Chan et al. 2016 (Listen, Attend and Spell), section 3.1. `(B, T, F)` -> `(B, S, C)`; half of C is for each way.
    With `pooled`, each LSTM reads every frame that is left, and of neighbours the largest of each channel stays.
    """

    def __init__(self, bands: int, width: int, reduction: int, pooled: bool = False):
        super().__init__()
        self.steps, self.pooled = steps_of(reduction), pooled
        beside = [1] * len(self.steps) if pooled else self.steps
        reads = [size * step for size, step in zip([bands] + [width] * len(beside), beside, strict=False)]
        self.layers = nn.ModuleList(
            nn.LSTM(size, width // 2, batch_first=True, bidirectional=True) for size in reads
        )

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """`x`, zero beyond `lengths` `(B,)`."""
        for layer, step in zip(self.layers, self.steps, strict=True):
            if not self.pooled:
                x, lengths = _side_by_side(x, step), reduced(lengths, step)
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            x, _ = pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=x.shape[1])
            if self.pooled:
                x, lengths = _largest(x, lengths, step), reduced(lengths, step)
        return x


class ConvRecurrentEmbedding(nn.Module):
    """Convolutions that reduce the time, then an LSTM that reads both ways over what is left."""

    def __init__(self, bands: int, width: int, channels: int, reduction: int):
        super().__init__()
        self.reduction = reduction
        self.conv = ConvEmbedding(bands, width, channels, reduction)
        self.recurrent = RecurrentEmbedding(width, width, 1)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """`x`, zero beyond `lengths` `(B,)`."""
        return self.recurrent(self.conv(x, lengths), reduced(lengths, self.reduction))


def make_embedding(kind: str, bands: int, width: int, channels: int, reduction: int) -> nn.Module:
    """The embedding of that kind: a module `(x (B, T, F), lengths (B,)) -> (B, S, C)`."""
    if kind.startswith("blstm"):
        return RecurrentEmbedding(bands, width, reduction, pooled=kind == "blstm pooled")
    return (ConvRecurrentEmbedding if kind == "both" else ConvEmbedding)(bands, width, channels, reduction)


def _side_by_side(x: Tensor, step: int) -> Tensor:
    """Every `step` neighbours as one frame: `(B, T, F)` -> `(B, ceil(T / step), step * F)`, zeros at the end."""
    x = F.pad(x, (0, 0, 0, -x.shape[1] % step))
    return x.reshape(len(x), -1, step * x.shape[2])


def _largest(x: Tensor, lengths: Tensor, step: int) -> Tensor:
    """Of every `step` neighbours the largest of each channel: `(B, T, C)` -> `(B, ceil(T / step), C)`, padding zero."""
    x = x.masked_fill(~real_frames(lengths, x.shape[1])[..., None], -torch.inf)
    x = F.pad(x, (0, 0, 0, -x.shape[1] % step), value=-torch.inf)
    x = x.unflatten(1, (-1, step)).amax(2)
    return x.masked_fill(x == -torch.inf, 0.0)


class ConvolutionLayer(ResidualLayer):
    """Each frame gathers from its neighbours, channel by channel: `(B, S, C)` -> `(B, S, C)`.

    Gulati et al. 2020 (Conformer), section 2.2, with RMSNorm for BatchNorm, which would mix the rows of a batch.
    """

    def __init__(self, config: TransformerConfig, kernel: int):
        super().__init__(config)
        C = config.width
        self.expand = nn.Linear(C, 2 * C)
        self.convolution = nn.Conv1d(C, C, kernel, padding=kernel // 2, groups=C)
        self.middle_norm = nn.RMSNorm(C, eps=config.norm_epsilon)
        self.output = nn.Linear(C, C)

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """`real` bool `(B, S)`, None for all: what is not is taken for silence beyond the end, zero."""
        gated = F.glu(self.expand(self.read(x)))
        if real is not None:
            gated = gated * real[..., None]
        mixed = self.convolution(gated.transpose(1, 2)).transpose(1, 2)
        mixed = self.middle_norm(mixed.to(self.middle_norm.weight.dtype))
        return self.add(x, self.output(F.silu(mixed)))


class ConvEncoderLayer(Block):
    """Self-attention, convolution, then feed-forward: far, near, and each frame alone."""

    def __init__(self, config: TransformerConfig, kernel: int):
        super().__init__(config)
        self.convolution = ConvolutionLayer(config, kernel)

    def forward(self, x: Tensor, mask=None, *, real: Tensor | None = None, **shared) -> Tensor:
        """`real` as of `ConvolutionLayer`, the rest as of its parent."""
        return self.feed_forward(self.convolution(self.self_attention(x, mask, **shared), real))

    def weights(self, x: Tensor, mask=None, *, real: Tensor | None = None, **shared) -> tuple[Tensor, ...]:
        """As of its parent; who attends to whom is decided before the convolution."""
        return super().weights(x, mask, **shared)


class SpeechEncoder(Stack):
    """A stack of encoder layers, with convolutions `kernel` frames wide; 0 leaves them out."""

    def __init__(self, config: TransformerConfig, kernel: int):
        super().__init__(config, causal=False)
        self.kernel = kernel
        self.positions.initialise(config)
        if kernel:
            self.blocks = nn.ModuleList(ConvEncoderLayer(config, kernel) for _ in range(config.num_layers))
            for layer in (layer for block in self.blocks for layer in block.children()):
                initialise(layer)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """`x` `(B, S, C)`, of which row b has `lengths[b]` frames -> `(B, S, C)`."""
        return self.norm(self._through(*self._placed(x, lengths)))

    def attention_maps(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        """The attention weights `(B, H, S, S)` of each block; arguments as of `forward`."""
        return self._maps(*self._placed(x, lengths))[0]

    def _placed(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, dict]:
        """The frames with their positions, and what every block is given."""
        S = x.shape[1]
        positions = torch.arange(S, device=x.device)
        real = None if int(lengths.min()) == S else real_frames(lengths, S)  # (B, S)
        shared = self._settle(x, positions, mask=None if real is None else real[:, None, None])
        if self.kernel:
            shared["real"] = real
        return self.positions.embed(x, positions), shared
