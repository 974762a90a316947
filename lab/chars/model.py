"""One network, several tasks: an encoder that reads characters on both sides, a decoder that reads them in order.

The encoder's states say of each character which it should be (MLM, reconstruction) and what was removed before it
(restoration); the causal decoder says which comes next (CLM); through a bottleneck of K latent vectors a writer
writes the whole text back. All share one embedding.

Letters: B rows, T characters, M memory vectors, K latents of W numbers, C channels, V the vocabulary.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lab.chars.bottleneck import Bottleneck
from lab.chars.config import CharEncoderConfig
from lab.data import masks
from lab.nn.cache import KeyValueCache
from lab.nn.config import TransformerConfig
from lab.nn.model import Model
from lab.nn.stack import Stack, TokenEmbedding, settle_positions
from lab.nn.transformer import make_output

__all__ = ["HEADS", "CharEncoder", "CharEncoderConfig", "CharEncoding"]

HEADS = ("mlm", "reconstruction", "restoration", "clm")


class CharEncoding(NamedTuple):
    """What a `CharEncoder` says of a batch; None for a head that was not asked for.

    mlm, reconstruction  `(B, T, V)` logits from the encoder's states: which character this is
    restoration          `(B, T, V)` logits from the same: which was removed before this one, `pad_id` for none
    clm                  `(B, T, V)` logits from the decoder: which comes next
    states               `(B, T, C)` of the encoder, those of the memory cut off
    chunk_embedding      `(B, C)`: the mean state of the real characters
    """

    mlm: Tensor | None
    reconstruction: Tensor | None
    restoration: Tensor | None
    clm: Tensor | None
    states: Tensor
    chunk_embedding: Tensor


class Head(nn.Module):
    """States `(B, T, C)` -> logits `(B, T, V)`."""

    def __init__(self, config: TransformerConfig, embedding: TokenEmbedding, *, mapped: bool):
        super().__init__()
        self.map = nn.Linear(config.width, config.width, bias=False) if mapped else nn.Identity()
        if mapped:
            nn.init.zeros_(self.map.weight)
        self.output = make_output(config, embedding)

    def forward(self, states: Tensor) -> Tensor:
        return self.output(self.map(states))


class CharEncoder(Model):
    """Reads characters; see the top of this file and `CharEncoderConfig`.

    >>> stack = TransformerConfig(vocab_size=30, width=8, num_heads=2, feed_forward=16)
    >>> config = CharEncoderConfig(stack, latents=4, latent_width=3)
    >>> model, ids = CharEncoder(config), torch.tensor([[2, 7, 5, 3], [2, 9, 3, 0]])
    >>> model(ids).clm.shape, model(ids).chunk_embedding.shape, model.compress(ids).shape
    (torch.Size([2, 4, 30]), torch.Size([2, 8]), torch.Size([2, 4, 3]))
    """

    def __init__(self, config: CharEncoderConfig):
        super().__init__()
        c = self.config = config
        parts = c.stack_of(c.stack.num_layers)
        self.embedding = TokenEmbedding(parts)
        self.encoder = Stack(parts, causal=False, positions=self.embedding.place)
        self.decoder = Stack(
            c.stack_of(c.decoder_layers),
            causal=True,
            reads_memory=c.cross_attention != "none",
            positions=self.embedding.place,
        )
        names = ["mlm", "reconstruction", "clm"] + (["written"] if c.latents else [])
        mapped = parts.tied and c.head_maps
        self.heads = nn.ModuleDict({name: Head(parts, self.embedding, mapped=mapped) for name in names})
        self.heads["restoration"] = nn.Linear(c.width, c.vocab_size, bias=False)
        nn.init.zeros_(self.heads["restoration"].weight)
        if c.memory_slots:
            self.from_memory = nn.Linear(c.width, c.width, bias=False)
            self.memory_place = nn.Embedding(c.memory_slots, c.width)
            nn.init.normal_(self.memory_place.weight, std=0.1)
        if c.latents:
            self.bottleneck = Bottleneck(c.context, c.width, c.latents, c.latent_width)
            self.writer = Stack(c.stack_of(c.writer_layers), causal=True, positions=self.embedding.place)

    def forward(
        self,
        ids: Tensor,
        *,
        causal_ids: Tensor | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        mask: Tensor | None = None,
        heads: tuple[str, ...] = HEADS,
    ) -> CharEncoding:
        """`ids` `(B, T)` for the encoder, `causal_ids` `(B, T2)` for the decoder (None: the same) -> `CharEncoding`.

        `memory` `(B, M, C)`: chunk embeddings of earlier chunks, oldest first; `memory_mask` bool `(B, M)` says which
        of them there are (None: all). `mask` bool `(B, T)`: `True` = a character, `False` = padding, which nothing
        attends to; None: wherever the id is not `pad_id`. It goes for `causal_ids` too where they have the same shape.

        Raises ValueError for a text or a memory that is longer than the config allows.
        """
        real = self._real(ids, mask)
        states = self.encode(ids, memory=memory, memory_mask=memory_mask, mask=real)
        logits = {
            name: self.heads[name](states) if name in heads else None for name in HEADS if name != "clm"
        }
        clm = None
        if "clm" in heads:
            causal_ids = ids if causal_ids is None else causal_ids
            clm = self.decode(
                causal_ids,
                memory=memory,
                memory_mask=memory_mask,
                states=states,
                states_mask=real,
                mask=mask if mask is not None and mask.shape == causal_ids.shape else None,
            )
        return CharEncoding(**logits, clm=clm, states=states, chunk_embedding=self.pool(states, real))

    def encode(self, ids: Tensor, *, memory=None, memory_mask=None, mask=None) -> Tensor:
        """The encoder's states `(B, T, C)` of `ids` `(B, T)`; the rest as in `forward`."""
        real, places = self._real(ids, mask), self._places(ids)
        x = self.embedding(ids, places)
        if memory is None:
            return self.encoder(x, places, mask=_keys(real))
        vectors, there = self._read_memory(memory, memory_mask, len(ids))
        M, slots = vectors.shape[1], self.config.memory_slots
        # The newest stands right before the text, however many there are.
        places = torch.cat([torch.arange(slots - M, slots, device=ids.device), places])
        mask = _keys(torch.cat([there, real], dim=1))
        return self.encoder(torch.cat([vectors, x], dim=1), places, mask=mask)[:, M:]

    def decode(
        self,
        causal_ids: Tensor,
        *,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        states: Tensor | None = None,
        states_mask: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """CLM logits `(B, T, V)` for `causal_ids` `(B, T)`: at each character, which comes next.

        `memory` or `states` `(B, S, C)` of the encoder are read where `config.cross_attention` says so. With a `cache`
        (`new_cache`) the ids hold only what is new, none of it padding; it belongs to one memory.
        """
        read = {}
        if self.config.cross_attention == "memory":
            vectors, there = self._read_memory(memory, memory_mask, len(causal_ids))
            read = {"memory": vectors, "memory_mask": _keys(there)}
        elif self.config.cross_attention == "states":
            read = {"memory": states, "memory_mask": None if states_mask is None else _keys(states_mask)}
        return self.heads["clm"](self._causally(self.decoder, causal_ids, mask, cache, **read))

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """The mean `(B, C)` of `states` `(B, T, C)` where `mask` `(B, T)` is True; 0 where it never is."""
        total = (states * mask[..., None]).sum(dim=1)
        return total / mask.sum(dim=1, keepdim=True).clamp(min=1)

    def compress(self, ids: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """The latents `(B, K, W)` of texts `ids` `(B, T)`, padding on the right.

        Raises ValueError without a bottleneck, and for a row that is empty or has padding within.
        """
        self._needs_bottleneck()
        real = self._real(ids, mask)
        if not real[:, 0].all() or (real[:, 1:] & ~real[:, :-1]).any():
            raise ValueError(
                "a text to compress needs at least one character, and its padding on the right only"
            )
        return self.bottleneck.fold(self.encode(ids, mask=real), real.sum(dim=1))

    def write(self, latents: Tensor, ids: Tensor, *, cache: KeyValueCache | None = None) -> Tensor:
        """The writer's logits `(B, T, V)`: at t, for character t of the text that became `latents` `(B, K, W)`.

        `ids` `(B, T)` is what was written before each: `<s>`, then the text without its last character. With a `cache`
        (`new_writer_cache`) they hold only what is new.
        """
        self._needs_bottleneck()
        past = cache.length if cache is not None else 0
        positions = torch.arange(past, past + ids.shape[1], device=ids.device)
        given = self.bottleneck.unfold(latents, positions)
        real = torch.ones_like(ids, dtype=torch.bool)  # padding stands on the right, where no character looks
        return self.heads["written"](self._causally(self.writer, ids, real, cache, given))

    def new_cache(self, batch: int, device: torch.device | str = "cpu") -> KeyValueCache:
        """An empty cache for `batch` rows of the decoder."""
        return self.decoder.new_cache(batch, device)

    def new_writer_cache(self, batch: int, device: torch.device | str = "cpu") -> KeyValueCache:
        """An empty cache for `batch` rows of the writer."""
        return self.writer.new_cache(batch, device)

    def _causally(
        self, stack: Stack, ids: Tensor, mask, cache, given: Tensor | None = None, **read
    ) -> Tensor:
        """The states `(B, T, C)` of a causal stack; `given` `(B, T, C)` is added to the embedded ids."""
        places = self._places(ids, cache.length if cache is not None else 0)
        x = self.embedding(ids, places)
        x = x if given is None else x + given
        if cache is not None:
            return stack(x, places, cache=cache, **read)
        real = _keys(self._real(ids, mask))
        T = ids.shape[1]
        may = None if real is None else masks.causal(T, ids.device) & real
        return stack(x, places, mask=may, **read)

    def _places(self, ids: Tensor, past: int = 0) -> Tensor:
        """The text stands after the places of the memory, whether there is one or not."""
        return settle_positions(ids, None, past, self.encoder.config) + self.config.memory_slots

    def _real(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        return ids != self.config.pad_id if mask is None else mask

    def _read_memory(self, memory, memory_mask, B: int) -> tuple[Tensor, Tensor]:
        """The memory as the stacks read it, `(B, M, C)`, and which of it there is, bool `(B, M)`."""
        c = self.config
        if memory is None:  # one vector that nothing may attend to
            weight = self.from_memory.weight
            return weight.new_zeros(B, 1, c.width), torch.zeros(B, 1, dtype=torch.bool, device=weight.device)
        M = memory.shape[1]
        if memory.dim() != 3 or not 1 <= M <= c.memory_slots:
            raise ValueError(
                f"expected a memory (B, M, C) of 1 to {c.memory_slots} vectors (config.memory_slots), got "
                f"{tuple(memory.shape)}"
            )
        if memory_mask is None:
            memory_mask = torch.ones(B, M, dtype=torch.bool, device=memory.device)
        return self.from_memory(memory) + self.memory_place.weight[c.memory_slots - M :], memory_mask

    def _needs_bottleneck(self) -> None:
        if not self.config.latents:
            raise ValueError("this model has no bottleneck: set latents and latent_width in its config")


def _keys(real: Tensor) -> Tensor | None:
    """Which keys may be attended to, bool `(B, 1, 1, S)`; None where all may, which is faster."""
    return None if real.all() else real[:, None, None, :]


class NextCharacter(nn.Module):
    """A character encoder as a model of the next character alone: what `score_lines` and `generate` take."""

    def __init__(self, model: CharEncoder):
        super().__init__()
        self.model, self.config = model, model.config
        self.train(model.training)

    def forward(
        self, ids: Tensor, *, mask=None, document_ids=None, positions=None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """ids `(B, T)`, padded on the right -> logits `(B, T, V)`; padding is known by its id.

        Raises ValueError for a mask, document_ids or positions, of which it knows nothing, and for a cache where the
        whole text is read anew for each character.
        """
        if any(given is not None for given in (mask, document_ids, positions)):
            raise ValueError(
                "a character encoder reads whole rows: it takes no mask, document_ids or positions"
            )
        if self.config.cross_attention == "states":
            if cache is not None:
                raise ValueError(
                    'with cross_attention="states" the whole text is read anew for each character: generate with '
                    "cached=False"
                )
            return self.model(ids, heads=("clm",)).clm
        return self.model.decode(ids, cache=cache)

    def new_cache(self, batch: int, device: torch.device | str = "cpu") -> KeyValueCache:
        """An empty cache of the decoder, for `lab.decode.search.generate`."""
        return self.model.new_cache(batch, device)
