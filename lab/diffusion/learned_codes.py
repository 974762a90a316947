"""A code that is learned: an encoder that draws each token, and a decoder that reads it, trained to get it back.

Letters: V words, n cells a pattern, K colours; B, T rows and tokens of a batch.
"""

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.data import IGNORE, Batch
from lab.diffusion.codebook import Codebook
from lab.diffusion.codes import check_sizes, one_hot
from lab.nn import evaluating
from lab.train import Loss, Step

Code = Literal["linear", "random", "learned"]
HOT, COOL = (
    2.0,
    1.0,
)  # the temperature falls from one to the other; below 1 more words stay stuck on shared patterns


def straight_through_gumbel(
    logits: Tensor, temperature: float, generator: torch.Generator | None = None
) -> Tensor:
    """A colour drawn from softmax(logits) `(..., K)`, as one-hot, with the gradient of a relaxed draw.

    Forward it is argmax(logits + g) with Gumbel noise g; backward it is softmax((logits + g) / temperature). The
    temperature changes the gradient alone: low ones are truer and noisier. How random the draw is, the logits say.
    Jang et al. 2017, section 2.2. Without a `generator` torch's global one is drawn from.

    >>> straight_through_gumbel(torch.tensor([0.0, 100.0, 0.0]), temperature=1.0).tolist()
    [0.0, 1.0, 0.0]
    """
    noise = -torch.empty_like(logits).exponential_(generator=generator).log()
    noisy = logits + noise
    soft = (noisy / temperature).softmax(-1)
    hard = one_hot(noisy.argmax(-1), logits.shape[-1], logits.dtype)
    return hard + (soft - soft.detach())  # in this order the value is exactly the hard one


def temperature_at(step: Step) -> float:
    """From 2 at the first step to 1 at the last, by the same factor each step.

    >>> [temperature_at(Step(number, share=number / 3)) for number in range(3)]
    [2.0, 1.4142135623730951, 1.0]
    """
    steps = round(step.number / step.share) if step.share else 1
    return HOT * (COOL / HOT) ** (step.number / max(1, steps - 1))


class LearnableEncoder(nn.Module):
    """A table of logits for the colour of each cell of each token.

    In training a pattern is drawn from them (straight-through Gumbel), in evaluation it is their argmax: hard one-hot
    cells either way, so that what the decoder learns is what it meets in use. It needs room: 40 words find patterns of
    their own among 81, of 60 a few stay stuck together. Raises ValueError as `Codebook` does.
    """

    def __init__(self, vocab_size: int, *, grid: tuple[int, int] = (5, 5), num_colours: int = 3):
        super().__init__()
        check_sizes(vocab_size, grid[0] * grid[1], num_colours)
        self.grid, self.num_colours = tuple(grid), num_colours
        self.table = nn.Embedding(vocab_size, grid[0] * grid[1] * num_colours)

    def logits(self, ids: Tensor) -> Tensor:
        """ids `(...)` -> `(..., n, K)`."""
        return self.table(ids).unflatten(-1, (-1, self.num_colours))

    def forward(self, ids: Tensor, temperature: float = 1.0) -> Tensor:
        """ids `(...)` -> one-hot cells `(..., n, K)`."""
        logits = self.logits(ids)
        if self.training:
            return straight_through_gumbel(logits, temperature)
        return one_hot(logits.argmax(-1), self.num_colours, logits.dtype)

    @torch.no_grad()
    def patterns(self) -> Tensor:
        """The pattern of every token: int64 `(V, n)`. Two may be alike: see `collision_report`."""
        return self.table.weight.unflatten(-1, (-1, self.num_colours)).argmax(-1)


class FixedEncoder(nn.Module):
    """A codebook in the encoder's place: nothing to learn."""

    def __init__(self, book: Codebook):
        super().__init__()
        self.grid, self.num_colours = book.grid, book.num_colours
        self.register_buffer("table", book.patterns)

    def forward(self, ids: Tensor, temperature: float = 1.0) -> Tensor:
        return one_hot(self.table[ids], self.num_colours)

    def patterns(self) -> Tensor:
        return self.table


class LearnableDecoder(nn.Module):
    """Cells -> logits over the vocabulary: one matrix, for that is enough.

    With the code itself as its weights a logit is the number of cells that match, and the greatest belongs to the
    nearest word; what is learned is this matrix, sharpened. No bias: no word is favoured before its cells are read.
    A blank cell adds nothing to any word.
    """

    def __init__(self, vocab_size: int, num_cells: int, num_colours: int):
        super().__init__()
        self.num_colours = num_colours
        self.words = nn.Linear(num_cells * num_colours, vocab_size, bias=False)

    def forward(self, cells: Tensor) -> Tensor:
        """One-hot cells `(..., n, K)`, or int64 colours `(..., n)` with blank = K, -> logits `(..., V)`."""
        if not cells.is_floating_point():
            cells = one_hot(cells, self.num_colours, self.words.weight.dtype)
        return self.words(cells.flatten(-2))


class Autoencoder(nn.Module):
    """Encoder and decoder: the first stage, in which every token must come back from its pattern.

    `code` is "learned", or "random" (from `seed`) or "linear", with which only the decoder learns; `sizes` are the
    `grid` and `num_colours` of the codebook. Raises ValueError for sizes that `Codebook` does not take.

    >>> model = Autoencoder(50)
    >>> model(torch.tensor([[7, 9, 3]])).shape
    torch.Size([1, 3, 50])
    """

    def __init__(self, vocab_size: int, code: Code = "learned", seed: int = 0, **sizes):
        super().__init__()
        if code == "learned":
            self.encoder = LearnableEncoder(vocab_size, **sizes)
        elif code == "random":
            self.encoder = FixedEncoder(Codebook.random(vocab_size, **sizes, seed=seed))
        else:
            self.encoder = FixedEncoder(Codebook.linear(vocab_size, **sizes))
        self.decoder = LearnableDecoder(*self.encoder.patterns().shape, self.encoder.num_colours)

    def forward(self, ids: Tensor, temperature: float = 1.0) -> Tensor:
        """ids `(B, T)` -> logits `(B, T, V)`, through hard cells."""
        return self.decoder(self.encoder(ids, temperature))

    def codebook(self) -> Codebook:
        """The code as it stands; ValueError naming the ids that share a pattern, where any do."""
        return Codebook(self.encoder.patterns(), self.encoder.num_colours, grid=self.encoder.grid)


def reconstruction_loss(model: Autoencoder, batch: Batch, step: Step | None = None) -> Loss:
    """The summed cross-entropy of the targets, which are the ids themselves, at the temperature of the step (else 1).

    Cross-entropy of logits, not of probabilities: after a softmax of its own it could not fall below
    ln(1 + (V - 1) / e), and would hardly move.
    """
    logits = model(batch.ids, COOL if step is None else temperature_at(step))  # (B, T, V)
    nats = F.cross_entropy(
        logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum"
    )
    return Loss(nats, batch.num_targets)


def vocabulary_batches(vocab_size: int, size: int = 256, *, seed: int = 0) -> Iterator[Batch]:
    """Batches `(1, size)` of ids without end, every id once before any comes again: special and rare ones too.

    In text some ids never occur, and what is never seen is never learned.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.empty(0, dtype=torch.int64)
    while True:
        while len(ids) < size:
            ids = torch.cat([ids, torch.randperm(vocab_size, generator=generator)])
        yield Batch(ids[None, :size], ids[None, :size])
        ids = ids[size:]


@torch.no_grad()
def reconstruction_accuracy(model: Autoencoder, size: int = 1024) -> float:
    """The share of the vocabulary that comes back from its hard pattern, as it is used; 1.0 is all."""
    words = model.decoder.words.weight
    ids = torch.arange(len(words), device=words.device)
    with evaluating(model):
        right = sum(int((model(part[None])[0].argmax(-1) == part).sum()) for part in ids.split(size))
    return right / len(ids)
