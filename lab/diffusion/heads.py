"""From a token's hidden state to what its cells should be, with what the cells show taken into account.

Letters: B lines, T tokens, N tokens picked from them, V words, n cells a token, K colours, C channels.
"""

import torch
from torch import Tensor, nn

from lab.diffusion.codes import one_hot

SMALLEST = 1e-30  # a probability that underflowed; its logarithm must stay finite


def evidence(cells: Tensor, patterns: Tensor, alpha: Tensor | None) -> Tensor:
    """log q(cells | word) up to a constant: cells `(N, n)`, patterns one-hot `(V, n, K)` -> `(N, V)`.

    `alpha` None: absorbing noise, a word fits what is visible or has -inf. Where no word fits, which only cells drawn
    independently bring about, those that agree in most cells do. Else `alpha` `(N,)`: uniform noise, where a cell shows
    its own colour with alpha + (1 - alpha) / K and any other with (1 - alpha) / K.
    """
    shown = one_hot(cells, patterns.shape[2], patterns.dtype)
    matches = (
        shown.flatten(-2) @ patterns.flatten(-2).T
    )  # cells in which they agree; a blank one agrees with none
    if alpha is None:
        return torch.zeros_like(matches).masked_fill_(matches < matches.amax(-1, keepdim=True), -torch.inf)
    alpha = alpha.double().clamp(0, 1 - 1e-9)
    return matches * torch.log1p(patterns.shape[2] * alpha / (1 - alpha)).to(matches.dtype)[:, None]


def cell_evidence(cells: Tensor, num_colours: int, alpha: Tensor | None) -> Tensor:
    """The same for each cell by itself: cells `(N, n)` -> `(N, n, K)`."""
    shown = one_hot(cells, num_colours)
    if alpha is None:
        visible = (cells != num_colours)[..., None]
        return torch.zeros_like(shown).masked_fill_(visible & (shown == 0), -torch.inf)
    alpha = alpha.double().clamp(0, 1 - 1e-9)
    return shown * torch.log1p(num_colours * alpha / (1 - alpha)).to(shown.dtype)[:, None, None]


class CodebookHead(nn.Module):
    """A score for each word, to which the evidence is added: p(word | all that is shown)."""

    def __init__(self, width: int, vocab_size: int):
        super().__init__()
        self.words = nn.Linear(width, vocab_size, bias=False)
        nn.init.zeros_(self.words.weight)  # at first all words are equally likely

    def forward(self, x: Tensor, cells: Tensor, patterns: Tensor, alpha: Tensor | None) -> Tensor:
        """x `(N, C)`, cells `(N, n)` -> logits `(N, V)`."""
        scores = self.words(x)
        if alpha is None and (cells == patterns.shape[2]).all():
            return scores  # nothing is visible, so nothing is ruled out
        return scores + evidence(cells, patterns, alpha)


class FactorisedHead(nn.Module):
    """A score for each colour of each cell, which must learn by itself which patterns are words."""

    def __init__(self, width: int, num_cells: int, num_colours: int):
        super().__init__()
        self.num_colours = num_colours
        self.colours = nn.Linear(width, num_cells * num_colours)
        nn.init.zeros_(self.colours.weight)
        nn.init.zeros_(self.colours.bias)

    def forward(self, x: Tensor, cells: Tensor, patterns: Tensor, alpha: Tensor | None) -> Tensor:
        """x `(N, C)`, cells `(N, n)` -> logits `(N, n, K)`."""
        scores = self.colours(x).unflatten(-1, (-1, self.num_colours))
        return scores + cell_evidence(cells, self.num_colours, alpha).to(scores.dtype)


def word_log_marginals(logits: Tensor, patterns: Tensor) -> Tensor:
    """log p(colour of each cell), from logits of words: `(..., V)` -> `(..., n, K)`; patterns one-hot `(V, n, K)`.

    Words share out their probability to the colours of their patterns.

    >>> patterns = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]])  # three words of one cell
    >>> word_log_marginals(torch.zeros(3), patterns).exp()
    tensor([[0.3333, 0.6667]])
    """
    V, n, K = patterns.shape
    shares = logits.softmax(-1) @ patterns.to(logits.dtype).view(V, n * K)
    return shares.clamp_min(SMALLEST).log().unflatten(-1, (n, K))


def leave_one_out(log_marginals: Tensor, cells: Tensor, alpha: Tensor) -> Tensor:
    """log p(x_j | all shown but cell j) from log p(x_j | all shown), both `(N, n, K)`; cells `(N, n)`, alpha `(N,)`.

    Under uniform noise what cell j shows says of x_j exactly q(z_j | x_j), whatever the others show; so that is
    divided out.
    """
    K, alpha = log_marginals.shape[-1], alpha.to(log_marginals.dtype)[:, None, None]
    shown = one_hot(cells, K, log_marginals.dtype)
    return (log_marginals - (alpha * shown + (1 - alpha) / K).clamp_min(SMALLEST).log()).log_softmax(-1)
