"""The losses of a character encoder, each a sum of nats and how many targets there were.

Letters: B rows, T characters a row (`<s>` and `</s>` among them), V the vocabulary, C channels, M lines of memory.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.chars.model import CharEncoder
from lab.data import IGNORE, Batch

Nats = tuple[Tensor, int]


class Memory(NamedTuple):
    """What rows remember of the text before them: `vectors` `(B, M, C)`, of which `there` `(B, M)` says which exist."""

    vectors: Tensor
    there: Tensor


def head_loss(head: nn.Module, states: Tensor, targets: Tensor) -> Nats:
    """What a head on states `(B, T, C)` pays for targets `(B, T)`; it is asked only where there is one."""
    asked = targets != IGNORE
    logits = head(states[asked])  # (N, V)
    return F.cross_entropy(logits, targets[asked], reduction="sum"), len(logits)


def clm_loss(model: CharEncoder, batch: Batch, memory: Memory | None = None) -> Nats:
    """Each character from those before it: `batch.targets` from `batch.ids`, which nothing was masked in."""
    if model.config.cross_attention == "states":  # it sees what it should predict: for showing that
        logits = model(batch.ids, heads=("clm",)).clm
    else:
        # Under a causal mask nothing real sees the padding behind it: without a mask of its own it is faster.
        read = {"mask": torch.ones_like(batch.ids, dtype=torch.bool)}
        if memory is not None and model.config.cross_attention == "memory":
            read |= {"memory": memory.vectors, "memory_mask": memory.there}
        logits = model.decode(batch.ids, **read)
    return _nats(logits, batch.targets), batch.num_targets


def bottleneck_loss(model: CharEncoder, chunks: Tensor, bos_id: int) -> Nats:
    """The characters of chunks `(B, T)`, padded on the right, written from their latent vectors one after the other."""
    shifted = F.pad(chunks[:, :-1], (1, 0), value=bos_id)
    logits = model.write(model.compress(chunks), shifted)
    targets = chunks.masked_fill(chunks == model.config.pad_id, IGNORE)
    return _nats(logits, targets), int((targets != IGNORE).sum())


def random_chunks(ids: Tensor, chunk: int, generator: torch.Generator, ends: tuple[int, ...]) -> Tensor:
    """`chunk` characters from a random place of each row `(B, T)`; a shorter row gives all it has, padded with 0.

    `ends` are the ids around a line, of which a chunk has none. Rows without a character give no chunk.

    >>> ids = torch.tensor([[2, 7, 8, 9, 3], [2, 6, 3, 0, 0]])
    >>> random_chunks(ids, 2, torch.Generator().manual_seed(0), ends=(0, 2, 3)).tolist()
    [[7, 8], [6, 0]]
    """
    real = ~torch.isin(ids, torch.tensor(ends, device=ids.device))
    ids, real = ids[real.any(1)], real[real.any(1)]
    length = real.sum(1)
    chance = torch.rand(len(ids), generator=generator).to(ids.device)
    first = real.int().argmax(1) + (chance * (length - chunk + 1).clamp(min=1)).long()
    steps = torch.arange(int(length.clamp(max=chunk).max()) if len(ids) else 0, device=ids.device)
    places = (first[:, None] + steps).clamp(max=max(0, ids.shape[1] - 1))
    return ids.gather(1, places).masked_fill(steps >= length[:, None], 0)


def encode_remembering(model: CharEncoder, rows: Tensor, B: int, lines: int) -> tuple[Tensor, Memory | None]:
    """The states of all rows. The first B come in groups of which the last row remembers the `lines` before it.

    Those, and what comes after the B rows, remember nothing. With 0 lines there is no memory.
    """
    if not lines:
        return model.encode(rows), None
    if B % (lines + 1):
        raise ValueError(f"with a memory of {lines} lines rows come in groups of {lines + 1}, got {B} rows")
    place = torch.arange(len(rows), device=rows.device)
    last = (place < B) & (place % (lines + 1) == lines)
    fresh = rows[~last]
    states = model.encode(fresh)
    G = B // (lines + 1)
    earlier = G * lines
    vectors = model.pool(states[:earlier], fresh[:earlier] != model.config.pad_id).view(G, lines, -1)
    remembering = model.encode(rows[last], memory=vectors)
    order = torch.cat([place[~last], place[last]]).argsort()
    memory = torch.zeros(B, lines, vectors.shape[-1], dtype=vectors.dtype, device=rows.device)
    memory[last[:B]] = vectors
    return torch.cat([states, remembering])[order], Memory(memory, last[:B, None].expand(B, lines))


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum")
