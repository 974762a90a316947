"""Recurrent language models: all that is known of the past is one vector, made anew at each token.

Letters: B rows, T tokens, S tokens with those read before, C channels, L layers, V the vocabulary.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lab.nn.attention import settle_mask
from lab.nn.recurrence import CELLS, RecurrentConfig, RecurrentStack, initialise_cells, run_cells
from lab.nn.stack import TokenEmbedding
from lab.nn.transformer import make_output

__all__ = ["CELLS", "RecurrentConfig", "RecurrentLM", "RecurrentState"]


@dataclass
class RecurrentState:
    """What a recurrent model remembers of B rows: `(hidden,)`, of an LSTM `(hidden, cell)`, each `(L, B, C)`.

    With feed-forward layers there is one more, `(1, B, C)`: the embedding of the last token.

    `length` tokens have been read, and there is always room for more. A model's `forward` updates it in place.
    """

    tensors: tuple[Tensor, ...]
    length: int = 0
    max_length: ClassVar[float] = math.inf

    def detach(self) -> "RecurrentState":
        """The same memory, through which no gradient flows back to the text that made it."""
        return RecurrentState(tuple(x.detach() for x in self.tensors), self.length)

    def select(self, rows: Tensor) -> "RecurrentState":
        """The memories of `rows`, int64 `(N,)`, of which any may occur more than once."""
        return RecurrentState(tuple(x.index_select(1, rows) for x in self.tensors), self.length)


class RecurrentLM(nn.Module):
    """Predicts the next token from a state that each token changes.

    >>> model = RecurrentLM(RecurrentConfig(vocab_size=10, width=8, cell="gru"))
    >>> model(torch.tensor([[2, 7, 5]])).shape
    torch.Size([1, 3, 10])

    Each call starts from a state of zeros, unless it is given one. To train on a text that goes on from window
    to window, let row b of each batch continue row b of the last, keep the state, and detach it: gradients
    then end at the window (truncated backpropagation through time; Williams and Peng 1990).

    >>> from lab.data import LineWindows
    >>> windows = LineWindows([[2, 7, 8, 3], [2, 9, 8, 9, 3]], context=2, policy="continuous", stride=2)
    >>> rows, steps = 2, len(windows) // 2
    >>> state = model.init_hidden(rows)
    >>> for step in range(steps):
    ...     batch = windows.batch([step, steps + step])
    ...     logits = model(batch.ids, cache=state)  # no `cache`, and each window starts from zeros
    ...     state = state.detach()
    >>> state.length
    4
    """

    def __init__(self, config: RecurrentConfig):
        super().__init__()
        c = self.config = config
        self.embedding = TokenEmbedding(c)
        # Of this name, lab.train.optim gives the matrices to Muon: fewer bits after equally many steps than AdamW,
        # for all three cells, although gates are stacked in one matrix.
        self.blocks = RecurrentStack(c) if c.feed_forward else _stacked_cells(c)
        self.dropout = nn.Dropout(c.dropout) if c.dropout else nn.Identity()
        self.output = make_output(c, self.embedding)

    def forward(
        self,
        ids: Tensor,
        *,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: RecurrentState | None = None,
    ) -> Tensor:
        """`ids` `(B, T)` -> logits `(B, T, V)`; with a `cache`, on from that state, which is updated in place.

        Where a document begins, the state is zeros again: at each position 0 of `positions` `(T,)` or `(B, T)`,
        and where `mask` says so. A mask, bool, broadcastable to `(B, 1, T, S)`, may say what `lab.data.masks.documents`
        and `combine(causal, padding)` say: each token sees all of its document up to itself. A token that does
        not see itself is padding: it leaves the state untouched, and its logits mean nothing. Without a mask
        padding is text like any other, which is harmless at the right of a row whose state is not used again.

        Raises ValueError for any other mask, for what is seen of the past cannot be chosen.
        """
        if ids.dim() != 2 or not ids.shape[1] or ids.is_floating_point() or ids.dtype == torch.bool:
            raise ValueError(f"ids must be whole numbers (B, T), T > 0; got {ids.dtype} {tuple(ids.shape)}")
        B, T = ids.shape
        state = self.init_hidden(B, ids.device) if cache is None else cache
        if state.tensors[0].shape[1] != B:
            raise ValueError(
                f"a state of {state.tensors[0].shape[1]} rows cannot go on with ids {(B, T)}: make one with "
                f"model.init_hidden({B})"
            )
        real, starts = _documents(mask, positions, B, T, state.length, ids.device)
        x = self.embedding(ids, positions)
        if real.all() and not starts.any():
            x, state.tensors = self._run(x, state.tensors)
        else:
            x, state.tensors = self._run_documents(x, state.tensors, real, starts)
        state.length += T
        return self.output(self.dropout(x))

    def _run(self, x: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None = None) -> tuple:
        if isinstance(self.blocks, RecurrentStack):
            return self.blocks(x, state, lengths)
        return run_cells(self.blocks, x, state, lengths)

    def _run_documents(self, x: Tensor, tensors: tuple[Tensor, ...], real: Tensor, starts: Tensor) -> tuple:
        """Each document as a row of its own, without padding; then all put back in their places."""
        B, T, C = x.shape
        document = torch.arange(B, device=x.device)[:, None] * (T + 1) + starts.cumsum(1)  # (B, T)
        names, which, lengths = document[real].unique_consecutive(return_inverse=True, return_counts=True)
        after = tuple(t.clone() for t in tensors)
        found = x.new_zeros(B, T, C)
        if len(names):
            row, nth = names // (T + 1), names % (T + 1)
            place = torch.arange(len(which), device=x.device) - (lengths.cumsum(0) - lengths)[which]
            alone = x.new_zeros(len(names), int(lengths.max()), C)
            alone[which, place] = x[real]
            goes_on = (nth == 0)[:, None]  # the others begin anew
            before = tuple(t[:, row] * goes_on for t in tensors)
            read, ends = self._run(alone, before, lengths)
            found[real] = read[which, place]
            last = torch.cat((row[1:] != row[:-1], row.new_ones(1, dtype=torch.bool)))
            for t, end in zip(after, ends, strict=True):
                t[:, row[last]] = end[:, last]
        return found, after

    def init_hidden(self, batch: int, device: torch.device | str = "cpu") -> RecurrentState:
        """The state of `batch` rows that have read nothing: zeros."""
        c = self.config
        layers = [c.num_layers] * (2 if c.cell == "lstm" else 1) + [1] * (c.feed_forward > 0)
        dtype = self.output.weight.dtype
        return RecurrentState(
            tuple(torch.zeros(n, batch, c.width, device=device, dtype=dtype) for n in layers)
        )

    new_cache = init_hidden

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())


def _stacked_cells(c: RecurrentConfig) -> nn.RNNBase:
    between = c.dropout if c.num_layers > 1 else 0.0  # on what goes up, never on (Zaremba et al. 2014)
    cells = CELLS[c.cell](c.width, c.width, c.num_layers, batch_first=True, dropout=between)
    initialise_cells(cells)
    return cells


def _documents(mask, positions, B: int, T: int, past: int, device) -> tuple[Tensor, Tensor]:
    """Which tokens are real, and which begin a document: bool `(B, T)` each."""
    real = torch.ones(B, T, dtype=torch.bool, device=device)
    starts = torch.zeros_like(real)
    if mask is not None:
        real, starts = _read_mask(mask, B, T, past)
    if positions is not None:
        if positions.shape not in ((T,), (B, T), (1, T)) or positions.is_floating_point():
            raise ValueError(
                f"positions must be whole numbers (T,) or (B, T) for ids {(B, T)}, got {positions.dtype} "
                f"{tuple(positions.shape)}"
            )
        starts = starts | (positions == 0)
    return real, starts & real


def _read_mask(mask: Tensor, B: int, T: int, past: int) -> tuple[Tensor, Tensor]:
    """The same as a mask says it. Of the tokens read before it matters only whether any is seen."""
    allowed, empty = settle_mask(mask, B, T, past + T)
    allowed = allowed if empty is None else allowed & ~empty
    earlier, now = allowed.expand(B, 1, T, past + T)[:, 0].split([past, T], dim=-1)
    real = now.diagonal(dim1=1, dim2=2)
    goes_on = earlier.any(-1)
    starts = real & ~goes_on & ~now.tril(-1).any(-1)
    document = starts.cumsum(1)
    whole = ((document[:, :, None] == document[:, None]) & real[:, None]).tril()
    wrong = real & ((now != whole).any(-1) | (goes_on != (document == 0)))
    if wrong.any():
        row, t = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"a recurrent model cannot honour this mask: in row {row}, token {t} does not see just its document up to "
            "itself. It takes masks.causal, documents, and causal combined with padding; not windows or prefixes"
        )
    return real, starts
