"""Ways to choose a text: token by token, from a distribution that filters reshape; or several at once, by beams.

Letters: B rows, T tokens so far, V the vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import torch
from torch import Tensor

from lab.decode import filters

Generators = torch.Generator | Sequence[torch.Generator] | None


@dataclass(frozen=True)
class Sampling:
    """How to draw the next token. The defaults change nothing: the model's own distribution.

    Temperature 0 is greedy decoding: the likeliest token, of equals the one with the smaller id. The filters are
    applied in the order of `filter_logits`: repetition penalty, temperature, top-k, top-p, min-p.

    Raises ValueError for a value that makes no sense, naming it.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self):
        filters.check_temperature(self.temperature)
        if self.top_k is not None:
            filters.check_top_k(self.top_k)
        filters.check_top_p(self.top_p)
        filters.check_min_p(self.min_p)
        filters.check_penalty(self.repetition_penalty)

    @property
    def removes(self) -> bool:
        """Whether some tokens may lose all their probability."""
        return self.is_greedy or self.top_k is not None or self.top_p < 1 or self.min_p > 0

    @property
    def is_greedy(self) -> bool:
        """Whether chance has no part."""
        return self.temperature == 0

    def logits(self, logits: Tensor, ids: Tensor | None = None) -> Tensor:
        """Logits `(..., V)` as the filters leave them; `ids` `(..., T)`, the text so far, is read by the penalty."""
        return filters.filter_logits(
            logits,
            temperature_=self.temperature,
            k=self.top_k,
            p=self.top_p,
            minimum=self.min_p,
            penalty=self.repetition_penalty,
            ids=ids,
        )

    def choose(
        self, logits: Tensor, ids: Tensor, generator: Generators = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """A token for each row of `logits` `(B, V)` after `ids` `(B, T)`.

        -> tokens `(B,)`, the model's own log-probabilities `(B, V)`, and the `kept_mass` of each row `(B,)`, None where
        that is all, or just the chosen token's. `generator`: one for all rows, or a sequence of one each.
        """
        if self.is_greedy:
            penalty = self.repetition_penalty
            penalised = logits if penalty == 1 else filters.repetition_penalty(logits, ids, penalty)
            largest, tokens = penalised.max(dim=-1)  # of equals the first
            filters.check_largest(largest.tolist())
            return tokens, logits.log_softmax(dim=-1), None
        filtered, log_probs = self.logits(logits, ids), logits.log_softmax(dim=-1)
        tokens = draw(log_probs.exp() if filtered is logits else filtered.softmax(dim=-1), generator)
        return tokens, log_probs, filters.kept_mass(logits, filtered) if self.removes else None


def draw(probabilities: Tensor, generator: Generators = None) -> Tensor:
    """A token `(B,)` from each row of `probabilities` `(B, V)`: where their running sum passes a random number.

    It takes one random number a row; `torch.multinomial` takes V, which costs more than a small model's step. With
    a generator a row each is drawn from its own, so a row is the same alone.
    """
    if isinstance(generator, Sequence):
        uniform = torch.cat([torch.rand(1, 1, generator=g, dtype=torch.float64) for g in generator])
    else:
        uniform = torch.rand(probabilities.shape[0], 1, generator=generator, dtype=torch.float64)
    sums = probabilities.double().cumsum(dim=-1)
    # In (0, sum], so that what has no probability is never passed first, and the last token that has some always is.
    passed = (1 - uniform) * sums[:, -1:]
    return torch.searchsorted(sums, passed)[:, 0]


@dataclass(frozen=True)
class BeamSearch:
    """Keep the `width` likeliest beginnings at each step, and of the texts that end return the `num_best` best.

    A text's score is the sum of its tokens' log-probabilities over `length ** length_penalty` (Wu et al. 2016 in the
    form of transformers): 0 is the sum, which favours short texts, 1 the mean, above 1 favours long ones. The length
    counts new tokens, the stop token too.

    `early_stopping`, as in transformers, says when a search with `width` finished texts ends: True at once; False
    when the likeliest beam, if it ended here, would not beat the worst of them; "never" when it could not at any
    length up to the longest. "never" alone is exact where long texts are favoured.

    Raises ValueError for a value that makes no sense, naming it.
    """

    width: int = 4
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_best: int = 1

    def __post_init__(self):
        for name in ("width", "num_best"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if not (isinstance(self.length_penalty, Real) and math.isfinite(self.length_penalty)):
            raise ValueError(f"length_penalty must be a finite number, got {self.length_penalty!r}")
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise ValueError(f"early_stopping must be False, True or 'never'; got {self.early_stopping!r}")
        if self.num_best > self.width:
            raise ValueError(
                f"{self.width} beams end in at most {self.width} texts, got num_best {self.num_best}"
            )

    def score(self, total: float, length: int) -> float:
        """What texts are compared by: `total` log-probability of `length` new tokens."""
        return total / length**self.length_penalty
