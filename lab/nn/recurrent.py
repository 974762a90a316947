"""Recurrent language models: all that is known of the past is one vector, made anew at each token.

Letters: B rows, T tokens, S tokens with those read before, C channels, L layers, V the vocabulary.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from lab.nn.model import Model
from lab.nn.recurrence import CELLS, RecurrentConfig, RecurrentStack, initialise_cells, run_cells
from lab.nn.stack import TokenEmbedding, check_ids
from lab.nn.transformer import make_output


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


class RecurrentLM(Model):
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
    >>> state = model.new_cache(rows)
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
        self.embedding = TokenEmbedding(c.shared)
        # Of this name, lab.train.optim gives the matrices to Muon: fewer bits after equally many steps than AdamW,
        # for all three cells, although gates are stacked in one matrix.
        self.blocks = RecurrentStack(c) if c.feed_forward else _stacked_cells(c)
        self.dropout = nn.Dropout(c.dropout) if c.dropout else nn.Identity()
        self.output = make_output(c.shared, self.embedding)

    def forward(
        self,
        ids: Tensor,
        *,
        mask=None,
        document_ids=None,
        positions=None,
        cache: RecurrentState | None = None,
    ) -> Tensor:
        """`ids` `(B, T)` -> logits `(B, T, V)`; with a `cache`, on from that state, which is updated in place.

        Where a document begins, the state is zeros again: where `document_ids` `(B, T)` change, and at each position
        0 of `positions` `(T,)` or `(B, T)`. What has the id -1 is padding: it leaves the state untouched, and its
        logits mean nothing. Without ids padding is text like any other, which is harmless at the right of a row
        whose state is not used again.

        Raises ValueError for a mask: what is seen of the past cannot be chosen.
        """
        check_ids(ids, positions)
        if mask is not None:
            raise ValueError("a recurrent model takes no mask: keep documents apart with document_ids (B, T)")
        B, T = ids.shape
        state = self.new_cache(B, ids.device) if cache is None else cache
        if (rows := state.tensors[0].shape[1]) != B:
            raise ValueError(f"a cache of {rows} rows cannot go on with {B}: make one with new_cache({B})")
        x = self.embedding(ids, positions)
        anew = torch.zeros_like(ids, dtype=torch.bool) if positions is None else (positions == 0).expand(B, T)
        if document_ids is None and not anew.any():
            x, state.tensors = self._run(x, state.tensors)
        else:
            document_ids = torch.zeros_like(ids) if document_ids is None else document_ids
            x, state.tensors = self._run_documents(x, state.tensors, document_ids, anew)
        state.length += T
        return self.output(self.dropout(x))

    def _run(self, x: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None = None) -> tuple:
        if isinstance(self.blocks, RecurrentStack):
            return self.blocks(x, state, lengths)
        return run_cells(self.blocks, x, state, lengths)

    def _run_documents(self, x: Tensor, tensors: tuple[Tensor, ...], document_ids: Tensor, anew: Tensor):
        """Each document as a row of its own, without padding; then all put back in their places.

        The first of a row goes on from the state, unless `anew` bool `(B, T)` says that it begins there too.
        """
        found, after = torch.zeros_like(x), tuple(t.clone() for t in tensors)
        real = document_ids >= 0
        if not real.any():
            return found, after
        row, document = real.nonzero()[:, 0], document_ids[real]  # (N,) of the N real tokens
        new_row = row.diff(prepend=row[:1] - 1) > 0
        from_zeros = anew[real] | (document.diff(prepend=document[:1]) != 0) & ~new_row
        starts = new_row | from_zeros  # where one of D documents starts
        which = starts.cumsum(0) - 1
        lengths = which.bincount()
        place = torch.arange(len(row), device=x.device) - starts.nonzero()[which, 0]
        alone = x.new_zeros(len(lengths), int(lengths.max()), x.shape[2])
        alone[which, place] = x[real]
        row, goes_on = row[starts], ~from_zeros[starts, None]  # (D,), (D, 1)
        read, ends = self._run(alone, tuple(t[:, row] * goes_on for t in tensors), lengths)
        found[real] = read[which, place]
        last = row.diff(append=row[-1:] + 1) > 0  # of its row
        for t, end in zip(after, ends, strict=True):
            t[:, row[last]] = end[:, last]
        return found, after

    def new_cache(self, batch: int, device: torch.device | str = "cpu") -> RecurrentState:
        """The state of `batch` rows that have read nothing: zeros."""
        c = self.config
        layers = [c.num_layers] * (2 if c.cell == "lstm" else 1) + [1] * (c.feed_forward > 0)
        zeros = partial(torch.zeros, device=device, dtype=self.output.weight.dtype)
        return RecurrentState(tuple(zeros(n, batch, c.width) for n in layers))


def _stacked_cells(c: RecurrentConfig) -> nn.RNNBase:
    between = c.dropout if c.num_layers > 1 else 0.0  # on what goes up, never on (Zaremba et al. 2014)
    cells = CELLS[c.cell](c.width, c.width, c.num_layers, batch_first=True, dropout=between)
    initialise_cells(cells)
    return cells
