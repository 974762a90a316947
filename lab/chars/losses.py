"""The losses of a character encoder, each a sum of nats and how many targets there were, and all of them in one.

Letters: B rows, T characters a row (`<s>` and `</s>` among them), V the vocabulary, C channels, M lines of memory.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.chars.corruption import Masked, character_ids, mask_characters, remove_characters, special_ids
from lab.chars.model import CharEncoder
from lab.chars.objective import CharacterObjectives
from lab.data.batch import IGNORE, Batch

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


def mlm_loss(model: CharEncoder, masked: Masked) -> Nats:
    """The masked characters, from both sides."""
    return head_loss(model.heads["mlm"], model.encode(masked.ids), masked.targets)


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
    nats = F.cross_entropy(
        logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum"
    )
    return nats, batch.num_targets


def reconstruction_loss(model: CharEncoder, ids: Tensor) -> Nats:
    """Each of the ids `(B, T)`, from its own state."""
    targets = ids.masked_fill(ids == model.config.pad_id, IGNORE)
    return head_loss(model.heads["reconstruction"], model.encode(ids), targets)


def bottleneck_loss(model: CharEncoder, chunks: Tensor, bos_id: int) -> Nats:
    """The characters of chunks `(B, T)`, padded on the right, written from their latent vectors one after the other."""
    shifted = F.pad(chunks[:, :-1], (1, 0), value=bos_id)
    logits = model.write(model.compress(chunks), shifted)
    targets = chunks.masked_fill(chunks == model.config.pad_id, IGNORE)
    nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum")
    return nats, int((targets != IGNORE).sum())


def restoration_loss(model: CharEncoder, shorter: Tensor, labels: Tensor) -> Nats:
    """What was taken out before each character of `shorter`: see `lab.chars.corruption.remove_characters`."""
    return head_loss(model.heads["restoration"], model.encode(shorter), labels)


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


def character_loss(
    objectives: CharacterObjectives,
    tokenizer,
    generator: torch.Generator,
    *,
    progress: Callable[[], float] = lambda: 0.0,
    begin: Callable[[], None] = lambda: None,
    told: dict | None = None,
) -> Callable[[CharEncoder, Batch], Nats]:
    """A loss for `lab.train.train`: the weighted sum of the mean nats of all objectives, times the batch's targets.

    Batches are those of `lab.chars.batches`. `progress()` is the share of the steps taken; `begin()` is
    called before a batch is corrupted; the mean nats of each objective are left in `told`.

    The encoder reads the rows once, masked, with shortened rows among them, and some short chunks; the decoder reads
    the rows as they are. What the encoder sees and was not masked is what `reconstruction` asks for.

    Raises ValueError when the tokenizer has none of the characters to remove.
    """
    specials, told = special_ids(tokenizer), {} if told is None else told
    ends = (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id)
    removed = [character_ids(tokenizer, characters) for characters in objectives.removed]
    if not all(removed) and any(w.restoration for w in (objectives.weights_at(0), objectives.weights_at(1))):
        raise ValueError(
            f"restoration takes out {objectives.removed!r}, but of one of these sets the vocabulary has no character"
        )
    masking = {
        "vocab_size": tokenizer.vocab_size, "mask_id": tokenizer.mask_id, "specials": specials,
        "generator": generator, "space_rate": objectives.space_rate,
        "space_id": next(iter(character_ids(tokenizer, " ")), None),
    }  # fmt: skip

    def some(share: float, of: Tensor) -> Tensor:
        """A share of the rows, at random, at least one."""
        count = math.ceil(share * len(of))
        return of[torch.randperm(len(of), generator=generator)[:count].to(of.device)]

    def encoder_losses(model: CharEncoder, ids: Tensor) -> tuple[dict[str, Nats], Memory | None]:
        pad_id, B, width = model.config.pad_id, len(ids), ids.shape[1]
        weights = objectives.weights_at(progress())
        masked = mask_characters(ids, rate=objectives.mask_rate_at(progress()), **masking)
        few = some(objectives.restored, torch.arange(B, device=ids.device))
        rows = masked.ids
        if weights.restoration:
            which = int(torch.randint(len(removed), (1,), generator=generator))
            shorter = remove_characters(ids[few], removed[which], pad_id=pad_id)
            T = shorter.ids.shape[1]
            rows = torch.cat([rows, F.pad(shorter.ids, (0, width - T), value=pad_id)])
        states, memory = _encoded(model, rows, B, objectives.memory)
        found = {}
        if weights.mlm:
            found["mlm"] = head_loss(model.heads["mlm"], states[:B], masked.targets)
        if weights.reconstruction:
            seen = ids.masked_fill((masked.targets != IGNORE) | (ids == pad_id), IGNORE)
            found["reconstruction"] = head_loss(model.heads["reconstruction"], states[few], seen[few])
        if weights.restoration:
            found["restoration"] = head_loss(model.heads["restoration"], states[B:, :T], shorter.labels)
        return found, memory

    def causal_rows(batch: Batch, memory: Memory | None) -> tuple[Batch, Memory | None]:
        if objectives.predicted == 1:
            return batch, memory
        rows = some(objectives.predicted, torch.arange(len(batch.ids), device=batch.ids.device))
        memory = None if memory is None else Memory(memory.vectors[rows], memory.there[rows])
        return Batch(batch.ids[rows], batch.targets[rows]), memory

    def loss(model: CharEncoder, batch: Batch) -> Nats:
        begin()
        weights, found, memory = objectives.weights_at(progress()), {}, None
        if weights.mlm or weights.reconstruction or weights.restoration:
            found, memory = encoder_losses(model, batch.ids)
        if weights.clm:
            found["clm"] = clm_loss(model, *causal_rows(batch, memory))
        if weights.bottleneck:
            rows = some(objectives.chunked, batch.ids)
            chunks = random_chunks(rows, objectives.chunk, generator, ends)
            if chunks.numel():  # not all lines of the batch are empty
                found["bottleneck"] = bottleneck_loss(model, chunks, tokenizer.bos_id)
        means = {name: nats / max(1, count) for name, (nats, count) in found.items()}
        told.update({name: mean.item() for name, mean in means.items()})
        total = sum(weight * means[name] for name, weight in weights.items() if weight and name in means)
        return total * batch.num_targets, batch.num_targets

    return loss


def _encoded(model: CharEncoder, rows: Tensor, B: int, lines: int) -> tuple[Tensor, Memory | None]:
    """The states of all rows. The first B come in groups of which the last row remembers the `lines` before it.

    Those, and what comes after the B rows, remember nothing.
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
