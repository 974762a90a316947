"""The layers of the encoder of speech: those of a transformer, and between them convolutions over neighbours.

Letters: B rows, S frames, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.nn.blocks import Block, ResidualLayer, initialise
from lab.nn.config import TransformerConfig
from lab.nn.stack import Stack
from lab.speech.embedding import real_frames


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
        return self.add(x, self.output(F.silu(self.middle_norm(mixed))))


class ConvEncoderLayer(Block):
    """Self-attention, convolution, then feed-forward: far, near, and each frame alone."""

    def __init__(self, config: TransformerConfig, kernel: int):
        super().__init__(config)
        self.convolution = ConvolutionLayer(config, kernel)

    def forward(self, x: Tensor, mask=None, *, real: Tensor | None = None, **shared) -> Tensor:
        """`real` as of `ConvolutionLayer`, the rest as of its parent."""
        return self.feed_forward(self.convolution(self.self_attention(x, mask, **shared), real))


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
        S = x.shape[1]
        positions = torch.arange(S, device=x.device)
        real = None if int(lengths.min()) == S else real_frames(lengths, S)  # (B, S)
        shared = self._settle(x, positions, mask=None if real is None else real[:, None, None])
        if self.kernel:
            shared["real"] = real
        x = self.positions.embed(x, positions)
        for block in self.blocks:
            x = block(x, **shared)
        return self.norm(x)
