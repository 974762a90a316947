"""The layers of recurrent models: cells alone, or in the place that attention has in a transformer.

Letters: B rows, T tokens, C channels, L layers.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lab.config import AtLeast, validate
from lab.nn.blocks import FeedForwardLayer, ResidualLayer, initialise, make_norm
from lab.nn.config import Share, TransformerConfig, Whole

CELLS = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


@dataclass(frozen=True)
class RecurrentConfig:
    """Sizes and the kind of cell: "elman" (1990), "gru" (Cho et al. 2014), "lstm" (Hochreiter and Schmidhuber 1997).

    vocab_size    ids of the vocabulary
    context       how many tokens it is trained on at once and scored with; it can read texts of any length
    cell          what keeps the state
    width         channels of the state
    num_layers    layers, each with a state of its own
    feed_forward  0, as in the papers: the cells are stacked, and each reads the states of the one below. More: the
                  layers are a transformer's, with a cell for attention and feed-forward layers of that hidden width,
                  over tokens that hold a learned share of the one before (`TokenShift`)
    dropout       the share of channels that are left out in training
    tied          the embedding is the output's matrix too

    >>> RecurrentConfig(vocab_size=1000, cell="gru").width
    256

    Raises ValueError for what cannot be built; the message names the field.
    """

    vocab_size: Whole
    context: Whole = 64
    cell: Literal["elman", "gru", "lstm"] = "lstm"
    width: Whole = 256
    num_layers: Whole = 1
    feed_forward: Annotated[int, AtLeast(0)] = 0
    dropout: Share = 0.0
    tied: bool = False

    __post_init__ = validate

    @property
    def shared(self) -> TransformerConfig:
        """What the parts that it shares with transformers are made of: embedding, feed-forward, norms, output."""
        c, sizes = self, dict(width=self.width, num_heads=1, feed_forward=self.feed_forward or 1)
        sizes["num_layers"] = c.num_layers  # of which it has no use but to tell how much memory they take
        return TransformerConfig(c.vocab_size, positions="none", dropout=c.dropout, tied=c.tied, **sizes)


def initialise_cells(cells: nn.RNNBase) -> None:
    """Orthogonal matrices from state to state, which neither shrink nor blow it up (Saxe et al. 2014).

    An LSTM's forget gates start at sigmoid(1), nearly open (Gers et al. 2000; Jozefowicz et al. 2015).
    """
    C = cells.hidden_size
    for name, parameter in cells.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.normal_(parameter, std=C**-0.5)
        elif name.startswith("weight_hh"):
            for gate in parameter.split(C):
                nn.init.orthogonal_(gate)
        else:
            nn.init.zeros_(parameter)
            if isinstance(cells, nn.LSTM) and name.startswith("bias_ih"):
                nn.init.ones_(parameter[C : 2 * C])  # input, forget, cell, output


def run_cells(
    cells: nn.RNNBase, x: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None = None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """`x` `(B, T, C)` and a state `(L, B, C)`, of an LSTM two, -> the states of the last layer, and the new state.

    With `lengths` `(B,)` only so many tokens of each row are read; after them the result is zeros.
    """
    T, is_pair = x.shape[1], isinstance(cells, nn.LSTM)
    if lengths is not None:
        x = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    found, after = cells(x, state if is_pair else state[0])
    if lengths is not None:
        found, _ = pad_packed_sequence(found, batch_first=True, total_length=T)
    return found, after if is_pair else (after,)


class RecurrentLayer(ResidualLayer):
    """Each token gathers from those before it, through a state: `(B, T, C)` -> `(B, T, C)`."""

    def __init__(self, config: RecurrentConfig):
        super().__init__(config.shared)
        self.cell = CELLS[config.cell](config.width, config.width, batch_first=True)
        initialise_cells(self.cell)

    def forward(self, x: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None = None) -> tuple:
        """Arguments and results as those of `run_cells`."""
        found, after = run_cells(self.cell, self.read(x), state, lengths)
        return self.add(x, found), after


class RecurrentBlock(nn.Module):
    """Recurrence, then feed-forward: a `Block` whose attention is a recurrence."""

    def __init__(self, config: RecurrentConfig):
        super().__init__()
        self.recurrence = RecurrentLayer(config)
        self.feed_forward = FeedForwardLayer(config.shared)
        initialise(self.feed_forward)

    def forward(self, x: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None = None) -> tuple:
        """Arguments and results as those of `run_cells`."""
        x, after = self.recurrence(x, state, lengths)
        return self.feed_forward(x), after


class TokenShift(nn.Module):
    """Adds to each token a learned share, channel by channel, of the token before it (Peng et al. 2023, RWKV).

    Pairs of tokens are then there from the first step of training, before the recurrence has learned to keep them.
    """

    def __init__(self, config: RecurrentConfig):
        super().__init__()
        self.share = nn.Parameter(torch.zeros(config.width))

    def forward(self, x: Tensor, last: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`x` `(B, T, C)` and the token before it `(1, B, C)` -> the sum, and the last token of each row."""
        before = torch.cat([last.transpose(0, 1), x[:, :-1]], dim=1)
        ends = x[:, -1] if lengths is None else x[torch.arange(len(x), device=x.device), lengths - 1]
        return x + self.share * before, ends[None]


class RecurrentStack(nn.Module):
    """Recurrent blocks one after the other, each with its own layer of the state, over shifted tokens.

    The state is that of `run_cells` and besides, `(1, B, C)`, the embedding of the last token.
    """

    def __init__(self, config: RecurrentConfig):
        super().__init__()
        self.shift = TokenShift(config)
        self.blocks = nn.ModuleList(RecurrentBlock(config) for _ in range(config.num_layers))
        self.norm = make_norm(config.shared)

    def forward(self, x: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None = None) -> tuple:
        """Arguments and results as those of `run_cells`."""
        *state, last = state
        x, last = self.shift(x, last, lengths)
        states = []
        for layer, block in enumerate(self.blocks):
            x, after = block(x, tuple(part[layer : layer + 1] for part in state), lengths)
            states.append(after)
        return self.norm(x), (*(torch.cat(part) for part in zip(*states, strict=True)), last)
