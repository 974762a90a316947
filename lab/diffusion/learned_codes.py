"""A code that is learned: an encoder that draws each token, and a decoder that reads it, trained to get it back.

Letters: V words, n cells a pattern, K colours; B, T rows and tokens of a batch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.data.batch import IGNORE, Batch
from lab.diffusion.codebook import Codebook
from lab.diffusion.codes import check_sizes, collision_report, one_hot

__all__ = [
    "Autoencoder",
    "AutoencoderConfig",
    "LearnableDecoder",
    "LearnableEncoder",
    "annealed_reconstruction_loss",
    "collision_report",
    "reconstruction_accuracy",
    "reconstruction_loss",
    "straight_through_gumbel",
    "temperature_at",
    "vocabulary_batches",
]

CODES = ("learned", "random", "linear")


def straight_through_gumbel(
    logits: Tensor, temperature: float, generator: torch.Generator | None = None
) -> Tensor:
    """A colour drawn from softmax(logits) `(..., K)`, as one-hot, with the gradient of a relaxed draw.

    Forward it is argmax(logits + g) with Gumbel noise g; backward it is softmax((logits + g) / temperature). The
    temperature changes the gradient alone: low ones are truer and noisier. How random the draw is, the logits say.
    Jang et al. 2017, section 2.2. Without a `generator` torch's global one is drawn from.

    >>> straight_through_gumbel(torch.tensor([0.0, 100.0, 0.0]), temperature=1.0).tolist()
    [0.0, 1.0, 0.0]

    Raises ValueError for a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    noise = -torch.empty_like(logits).exponential_(generator=generator).log()
    noisy = logits + noise
    soft = (noisy / temperature).softmax(-1)
    hard = one_hot(noisy.argmax(-1), logits.shape[-1], logits.dtype)
    return hard + (soft - soft.detach())  # in this order the value is exactly the hard one


def temperature_at(step: int, steps: int, *, start: float = 2.0, end: float = 1.0) -> float:
    """The temperature at `step` (0-based) of `steps`: from `start` to `end` by the same factor each step.

    Ends below 1 were measured to leave more words stuck on shared patterns, so the default stops there.

    >>> [round(temperature_at(step, steps=3, start=4.0, end=1.0), 3) for step in range(3)]
    [4.0, 2.0, 1.0]
    """
    if not (start > 0 and end > 0):
        raise ValueError(f"temperatures must be above 0, got start {start} and end {end}")
    progress = min(1.0, max(0.0, step / max(1, steps - 1)))
    return start * (end / start) ** progress


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

    def forward(
        self, ids: Tensor, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """ids `(...)` -> one-hot cells `(..., n, K)`."""
        logits = self.logits(ids)
        if self.training:
            return straight_through_gumbel(logits, temperature, generator)
        return one_hot(logits.argmax(-1), self.num_colours, logits.dtype)

    @torch.no_grad()
    def patterns(self) -> Tensor:
        """The pattern of every token: int64 `(V, n)`. Two may be alike: see `collision_report`."""
        return self.table.weight.unflatten(-1, (-1, self.num_colours)).argmax(-1)

    def codebook(self) -> Codebook:
        """The code as it stands; ValueError naming the ids that share a pattern, where any do."""
        patterns = self.patterns()
        if shared := collision_report(patterns):
            shown = ", ".join(map(str, shared[:5])) + (", ..." if len(shared) > 5 else "")
            raise ValueError(
                f"the learned code is not injective: the ids {shown} share a pattern ({len(shared)} groups); train "
                "the reconstruction for longer, or take a larger grid"
            )
        return Codebook(patterns, self.num_colours, grid=self.grid)


class FixedEncoder(nn.Module):
    """A codebook in the encoder's place: nothing to learn."""

    def __init__(self, book: Codebook):
        super().__init__()
        self.grid, self.num_colours = book.grid, book.num_colours
        self.register_buffer("table", book.patterns)
        self._book = book

    def forward(self, ids: Tensor, *, temperature: float = 1.0, generator=None) -> Tensor:
        return one_hot(self.table[ids], self.num_colours)

    def patterns(self) -> Tensor:
        return self.table

    def codebook(self) -> Codebook:
        return self._book.to(self.table.device)


class LearnableDecoder(nn.Module):
    """Cells -> logits over the vocabulary: one matrix, for that is enough.

    With the code itself as its weights a logit is the number of cells that match, and the greatest belongs to the
    nearest word; what is learned is this matrix, sharpened. No bias: no word is favoured before its cells are read.
    A blank cell adds nothing to any word.
    """

    def __init__(self, vocab_size: int, num_cells: int, num_colours: int):
        super().__init__()
        check_sizes(vocab_size, num_cells, num_colours)
        self.num_cells, self.num_colours = num_cells, num_colours
        self.words = nn.Linear(num_cells * num_colours, vocab_size, bias=False)

    def forward(self, cells: Tensor) -> Tensor:
        """One-hot cells `(..., n, K)`, or int64 colours `(..., n)` with blank = K, -> logits `(..., V)`."""
        if not cells.is_floating_point():
            cells = one_hot(cells, self.num_colours, self.words.weight.dtype)
        if cells.shape[-2:] != (self.num_cells, self.num_colours):
            wanted = f"(..., {self.num_cells}, {self.num_colours}) one-hot or (..., {self.num_cells}) colours"
            raise ValueError(f"cells must be {wanted}, got {tuple(cells.shape)}")
        return self.words(cells.flatten(-2))


@dataclass(frozen=True)
class AutoencoderConfig:
    """`code` is "learned", or "random" (from `seed`) or "linear", with which only the decoder learns.

    Raises ValueError for an unknown code, and for sizes that `Codebook` does not take.
    """

    vocab_size: int
    rows: int = 5
    columns: int = 5
    num_colours: int = 3
    code: str = "learned"
    seed: int = 0

    def __post_init__(self):
        if self.code not in CODES:
            raise ValueError(f"code must be one of {', '.join(CODES)}; got {self.code!r}")
        check_sizes(self.vocab_size, self.rows * self.columns, self.num_colours)


class Autoencoder(nn.Module):
    """Encoder and decoder: the first stage, in which every token must come back from its pattern.

    >>> model = Autoencoder(AutoencoderConfig(vocab_size=50))
    >>> model(torch.tensor([[7, 9, 3]])).shape
    torch.Size([1, 3, 50])
    """

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        c, grid = config, (config.rows, config.columns)
        self.config = config
        if c.code == "learned":
            self.encoder = LearnableEncoder(c.vocab_size, grid=grid, num_colours=c.num_colours)
        elif c.code == "random":
            book = Codebook.random(c.vocab_size, grid=grid, num_colours=c.num_colours, seed=c.seed)
            self.encoder = FixedEncoder(book)
        else:
            self.encoder = FixedEncoder(Codebook.linear(c.vocab_size, grid=grid, num_colours=c.num_colours))
        self.decoder = LearnableDecoder(c.vocab_size, c.rows * c.columns, c.num_colours)

    def forward(
        self, ids: Tensor, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """ids `(B, T)` -> logits `(B, T, V)`, through hard cells."""
        return self.decoder(self.encoder(ids, temperature=temperature, generator=generator))

    def codebook(self) -> Codebook:
        """The code as it stands; ValueError where two ids share a pattern."""
        return self.encoder.codebook()


def reconstruction_loss(model: nn.Module, batch: Batch, *, temperature: float = 1.0) -> tuple[Tensor, int]:
    """The summed cross-entropy of the targets in nats, and how many there are; `targets` are the ids themselves.

    Cross-entropy of logits, not of probabilities: after a softmax of its own it could not fall below
    ln(1 + (V - 1) / e), and would hardly move.
    """
    logits = model(batch.ids, temperature=temperature)  # (B, T, V)
    nats = F.cross_entropy(
        logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum"
    )
    return nats, batch.num_targets


def annealed_reconstruction_loss(
    step: Callable[[], int], steps: int, *, start: float = 2.0, end: float = 1.0
) -> Callable[[nn.Module, Batch], tuple[Tensor, int]]:
    """`reconstruction_loss` at the temperature that belongs to the step, asked of `step()` at each batch.

    The training state counts the steps, and goes on counting in a run that is resumed; nothing is remembered here:

        state = TrainingState(model, config)
        loss = annealed_reconstruction_loss(lambda: state.step, config.steps)
        for step in train(model, batches, loss, config, state=state): ...
    """
    temperature_at(0, steps, start=start, end=end)  # says at once what is wrong with them
    return lambda model, batch: reconstruction_loss(
        model, batch, temperature=temperature_at(step(), steps, start=start, end=end)
    )


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
    was_training = model.training
    model.eval()
    ids = torch.arange(model.config.vocab_size, device=model.decoder.words.weight.device)
    right = sum(int((model(part[None])[0].argmax(-1) == part).sum()) for part in ids.split(size))
    model.train(was_training)
    return right / len(ids)
