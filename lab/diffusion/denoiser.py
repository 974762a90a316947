"""The network that sees a noised line of grids and says what each token was.

A transformer over the tokens of a line, never over single cells: the n cells of a token enter one vector together.

Letters: B lines, T tokens, N tokens picked from them, V words, n cells a token, K colours, C channels.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from lab.config import AtLeast, validate
from lab.diffusion.codebook import Codebook
from lab.diffusion.codes import one_hot
from lab.diffusion.heads import CodebookHead, FactorisedHead, evidence, word_log_marginals
from lab.diffusion.noise import Absorbing, Granularity, Schedule, Uniform
from lab.nn.blocks import FeedForwardLayer, initialise, make_norm
from lab.nn.config import TransformerConfig
from lab.nn.model import Model
from lab.nn.positions import sinusoids
from lab.nn.stack import WHOLE, Stack, settle_positions, unknown_id


@dataclass(frozen=True)
class DenoiserConfig:
    """A stack of layers, and what goes into it and comes out.

    stack       the layers
    noise       what the cells have been through: "absorbing" or "uniform"
    schedule    of the noise: "linear", "cosine" or "log-linear"
    granularity what is lost at once: a whole "token" or a single "cell" (under uniform noise always a cell)
    head        "codebook": a score for each word; "factorised": for each colour of each cell
    reads       "cells": a linear map of the cells; "words": to that is added the mean embedding of the words that fit
                what is visible, a word's own where all of it is
    attends     False: the same without attention, each token by itself, which cannot model language
    time_input  whether the network is told alpha; absorbing noise shows it anyway
    neighbours  this many tokens on either side are added to each, channel by channel, before the first layer
    grid        rows and columns of cells, which are the picture of a token
    num_colours colours that a cell may have

    Raises ValueError for what cannot be built; the message names the field.
    """

    stack: TransformerConfig
    noise: Literal["absorbing", "uniform"] = "absorbing"
    schedule: Schedule = "linear"
    granularity: Granularity = "token"
    head: Literal["codebook", "factorised"] = "codebook"
    reads: Literal["cells", "words"] = "cells"
    attends: bool = True
    time_input: bool = False
    neighbours: Annotated[int, AtLeast(0)] = 0
    grid: tuple[Annotated[int, AtLeast(1)], Annotated[int, AtLeast(1)]] = (5, 5)
    num_colours: Annotated[int, AtLeast(2)] = 3

    def __post_init__(self):
        validate(self)
        if self.stack.positions in ("learned", "sinusoidal") or self.stack.tied:
            raise ValueError(
                "a denoiser has no table of tokens to which places could be added, or which could be tied: positions "
                "must be turned in its layers, and tied False"
            )
        if self.noise == "uniform" and self.granularity == "token":
            raise ValueError("uniform noise changes single cells: granularity must be 'cell', got 'token'")
        if self.neighbours and not self.attends:
            raise ValueError("neighbours show a token those beside it, so attends must be True")

    @property
    def vocab_size(self) -> int:
        return self.stack.vocab_size

    @property
    def context(self) -> int:
        return self.stack.context

    @property
    def num_cells(self) -> int:
        return self.grid[0] * self.grid[1]


class Denoiser(Model):
    """Says of every token which word it was, or of every cell which colour, having seen the whole noised line.

    The patterns are not among the weights: they belong to the `codebook`, and `set_codebook` changes them.

    >>> codebook = Codebook(torch.tensor([[0, 0], [0, 1], [1, 0]]), num_colours=2)
    >>> stack = TransformerConfig(3, width=8, num_heads=2, feed_forward=16)
    >>> config = DenoiserConfig(stack, grid=(1, 2), num_colours=2)
    >>> cells = torch.tensor([[[0, 2], [1, 0]]])  # one line of two tokens; 2 is blank
    >>> Denoiser(config, codebook)(cells).softmax(-1).tolist()
    [[[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]]

    Raises ValueError for a codebook of another vocabulary, grid or number of colours.
    """

    def __init__(self, config: DenoiserConfig, codebook: Codebook):
        super().__init__()
        c, width = config, config.stack.width
        self.config = config
        self.noise = {"absorbing": Absorbing, "uniform": Uniform}[c.noise](c.num_colours, c.schedule)
        self.set_codebook(codebook)
        self.states = c.num_colours + (c.noise == "absorbing")
        self.from_cells = nn.Linear(c.num_cells * self.states, width, bias=False)
        nn.init.normal_(self.from_cells.weight, std=c.num_cells**-0.5)
        self.from_word = nn.Embedding(c.vocab_size, width) if c.reads == "words" else None
        self.from_time = nn.Linear(width, width, bias=False) if c.time_input else None
        if c.time_input:
            nn.init.zeros_(self.from_time.weight)
        # Under uniform noise a given token looks like any other: only this tells them apart.
        self.given = nn.Parameter(torch.zeros(width)) if c.noise == "uniform" else None
        self.beside = nn.Parameter(torch.randn(2 * c.neighbours, width) / 2) if c.neighbours else None
        self.encoder = Stack(c.stack, causal=False) if c.attends else TokenByToken(c.stack)
        if c.head == "codebook":
            self.head = CodebookHead(width, c.vocab_size)
        else:
            self.head = FactorisedHead(width, c.num_cells, c.num_colours)

    def set_codebook(self, codebook: Codebook) -> None:
        """Draw the words with these patterns from now on."""
        c, book = self.config, codebook
        expected = (c.vocab_size, c.num_cells, c.num_colours)
        given = (book.vocab_size, book.num_cells, book.num_colours)
        if expected != given:
            words = "{} words of {} cells in {} colours".format
            raise ValueError(
                f"the network was made for {words(*expected)}; this codebook has {words(*given)}"
            )
        device = next(self.parameters()).device if hasattr(self, "head") else None
        patterns = book.patterns.to(device)
        self.register_buffer("patterns", patterns, persistent=False)  # (V, n)
        self.register_buffer("one_hot", one_hot(patterns, c.num_colours), persistent=False)  # (V, n, K)
        keys, order = self._keys(patterns).sort()
        self.register_buffer("keys", keys, persistent=False)
        self.register_buffer("ids_by_key", order, persistent=False)

    def forward(
        self,
        cells: Tensor,
        *,
        alpha: Tensor | None = None,
        given: Tensor | None = None,
        document_ids: Tensor | None = None,
        where: Tensor | None = None,
    ) -> Tensor:
        """Cells `(B, T, n)` -> log p(word | cells) up to a constant, `(B, T, V)`, or p(colour | cells) `(B, T, n, K)`.

        `alpha` `(B,)`: how much of each line is left; uniform noise needs it. `given` bool `(B, T)`: tokens that
        were never noised. `document_ids` `(B, T)`: -1 for padding, which nothing sees; None where there is none. With
        `where`, bool `(B, T)`, the head answers for these N tokens only: `(N, ...)`.
        """
        if cells.dim() != 3 or cells.shape[2] != self.config.num_cells:
            raise ValueError(f"expected cells (B, T, {self.config.num_cells}), got {tuple(cells.shape)}")
        B, T, _ = cells.shape
        positions = settle_positions(cells[..., 0], None, 0, self.config.stack)
        x = self.embed(cells, alpha, given)
        if self.beside is not None:
            x = x + self._from_beside(x if document_ids is None else x * (document_ids >= 0)[..., None])
        x = self.encoder(x, positions, document_ids=document_ids)  # (B, T, C)
        each = alpha[:, None].expand(B, T) if self.config.noise == "uniform" else None  # alpha of each token
        if where is not None:
            return self.head(x[where], cells[where], self.one_hot, None if each is None else each[where])
        each = None if each is None else each.flatten()
        return self.head(x.flatten(0, 1), cells.flatten(0, 1), self.one_hot, each).unflatten(0, (B, T))

    def embed(self, cells: Tensor, alpha: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """Cells `(B, T, n)` -> `(B, T, C)`, each token by itself."""
        x = self.from_cells(one_hot(cells, self.states, self.from_cells.weight.dtype).flatten(-2))
        if self.from_word is not None:
            x = x + self._from_words(cells, alpha, given)
        if self.from_time is not None:
            wave = sinusoids(1000 * alpha, self.config.stack.width).to(x)  # (B, C)
            x = x + self.from_time(wave)[:, None]
        if self.given is not None and given is not None:
            x = x + given[..., None] * self.given
        return x

    def cell_log_marginals(self, logits: Tensor) -> Tensor:
        """log p(colour of each cell | all that is shown) `(..., n, K)`, from what `forward` gave."""
        if self.config.head == "codebook":
            return word_log_marginals(logits, self.one_hot)
        return logits.log_softmax(-1)

    def cells(self, ids: Tensor) -> Tensor:
        """The patterns of words: ids `(...)` -> cells `(..., n)`. Raises ValueError for an unknown id, on a CPU."""
        if ids.dtype not in WHOLE:
            raise ValueError(f"ids must be int64, got {ids.dtype}")
        try:
            # Unlike an index it does not count from the end.
            return nn.functional.embedding(ids, self.patterns)
        except IndexError:
            raise unknown_id(ids, self.config.vocab_size) from None

    def ids(self, cells: Tensor) -> Tensor:
        """The words with just these patterns, -1 where there is none: cells `(..., n)` -> ids `(...)`."""
        place = torch.searchsorted(self.keys, self._keys(cells)).clamp_max(len(self.keys) - 1)
        ids = self.ids_by_key[place]
        return ids.where((self.patterns[ids] == cells).all(-1), -1)

    def _from_words(self, cells: Tensor, alpha: Tensor | None, given: Tensor | None) -> Tensor:
        """The mean embedding of the words, each weighed by how well it explains the cells alone."""
        B, T, n = cells.shape
        shown = cells.view(B * T, n)
        ids = self.ids(shown)
        known = ids >= 0  # a whole word is visible
        if alpha is not None and self.config.noise == "uniform":
            known = known & given.flatten() if given is not None else torch.zeros_like(known)
        nothing = (shown == self.config.num_colours).all(-1)
        x = self.from_word(ids.clamp_min(0)) * known[:, None]
        partly = ~(known | nothing)
        if partly.any():
            each = alpha[:, None].expand(B, T).flatten()[partly] if self.config.noise == "uniform" else None
            weights = evidence(shown[partly], self.one_hot, each).softmax(-1)  # (N, V)
            mixed = weights.to(x.dtype) @ self.from_word.weight
            x = x.index_put((partly,), mixed.to(x.dtype))  # autocast makes products coarser than sums
        return x.view(B, T, -1)

    def _keys(self, cells: Tensor) -> Tensor:
        """One number for each pattern. A large one wraps round: two patterns may share it, so look at them again."""
        powers = (self.config.num_colours + 1) ** torch.arange(cells.shape[-1], device=cells.device)
        return (cells * powers).sum(-1)

    def _from_beside(self, x: Tensor) -> Tensor:
        """The tokens beside each one, scaled channel by channel; none from beyond the line."""
        reach, T, found = self.config.neighbours, x.shape[1], torch.zeros_like(x)
        padded = nn.functional.pad(x, (0, 0, reach, reach))
        offsets = [offset for offset in range(2 * reach + 1) if offset != reach]
        for weight, offset in zip(self.beside, offsets, strict=True):
            found = found + weight * padded[:, offset : offset + T]
        return found


class TokenByToken(nn.Module):
    """Feed-forward layers only, in the place of a `Stack`: what a token becomes depends on no other."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(FeedForwardLayer(config) for _ in range(config.num_layers))
        self.norm = make_norm(config)
        for layer in self.blocks:
            initialise(layer)

    def forward(self, x: Tensor, positions: Tensor, *, document_ids: Tensor | None = None) -> Tensor:
        """`x` `(B, T, C)` -> `(B, T, C)`; what stands where says nothing of a token by itself."""
        for layer in self.blocks:
            x = layer(x)
        return self.norm(x)
