"""Ways to choose a text: token by token, from a distribution that filters reshape; or several at once, by beams.

Letters: B rows, T tokens so far, V the vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import torch
from torch import Tensor

from lab.config import Above, AtLeast, AtMost, validate
from lab.decode import filters

Generators = torch.Generator | Sequence[torch.Generator] | None
Filter = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Sampling:
    """How to draw the next token. The defaults change nothing: the model's own distribution.

    Applied in this order: repetition penalty, temperature, top-k, top-p, min-p, then `filters`: functions from outside
    `filter(logits, ids) -> logits`, logits `(..., V)` as those before left them, ids `(..., T)` the text so far. Each
    gives a new tensor, -inf for tokens that it removes.

    Temperature 0 is greedy decoding: the likeliest token that the penalty and `filters` leave, of equals the one with
    the smaller id.

    >>> def no_token_twice(logits, ids):
    ...     return logits.scatter(-1, ids, -torch.inf)
    >>> greedy = Sampling(temperature=0, filters=(no_token_twice,))
    >>> greedy.logits(torch.tensor([3.0, 2.0, 1.0]), ids=torch.tensor([0])).tolist()
    [-inf, 2.0, -inf]

    Raises ValueError for a value that makes no sense, naming it.
    """

    temperature: Annotated[float, AtLeast(0)] = 1.0
    top_k: Annotated[int, AtLeast(1)] | None = None
    top_p: Annotated[float, Above(0), AtMost(1)] = 1.0
    min_p: Annotated[float, AtLeast(0), AtMost(1)] = 0.0
    repetition_penalty: Annotated[float, AtLeast(1e-6), AtMost(1e6)] = 1.0
    filters: tuple[Filter, ...] = ()

    __post_init__ = validate

    @property
    def is_greedy(self) -> bool:
        """Whether chance has no part."""
        return self.temperature == 0

    @property
    def removes(self) -> bool:
        """Whether some tokens may lose all their probability."""
        return self.is_greedy or bool(self._built_in or self.filters)

    def logits(self, logits: Tensor, ids: Tensor | None = None) -> Tensor:
        """Logits `(..., V)` as all of it leaves them; `ids` `(..., T)`, the text so far, is read by the penalty."""
        filters.check_logits(logits)
        logits = self._reshaped(logits, ids)
        return filters.top_k(logits, 1) if self.is_greedy else logits

    def choose(
        self, logits: Tensor, ids: Tensor, generator: Generators = None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """A token for each row of `logits` `(B, V)` after `ids` `(B, T)`.

        -> tokens `(B,)`, the model's own log-probabilities `(B, V)`, and the `kept_mass` of each row `(B,)`, None where
        that is all, or just the chosen token's; and the log-probability `(B,)` that the token had in the distribution
        it was drawn from, None where none was reshaped. `generator`: one for all rows, or a sequence of one each.
        """
        if self.is_greedy:
            largest, tokens = self._reshaped(logits, ids).max(dim=-1)  # of equals the first
            filters.check_largest(largest.tolist())
            return tokens, logits.log_softmax(dim=-1), None, None
        filtered, log_probs = self.logits(logits, ids), logits.log_softmax(dim=-1)
        if filtered is logits:
            return draw(log_probs.exp(), generator), log_probs, None, None
        probabilities = filtered.softmax(dim=-1)
        tokens = draw(probabilities, generator)
        kept = filters.kept_mass(logits, filtered) if self.removes else None
        return tokens, log_probs, kept, probabilities.gather(-1, tokens[:, None])[:, 0].log()

    @cached_property  # asked at every token
    def _built_in(self) -> list[tuple[Callable[[Tensor, float], Tensor], float]]:
        """Those of `FILTERS` that change anything, each with its value."""
        values = [(change, getattr(self, change.__name__)) for change in filters.FILTERS]
        return [(change, value) for change, value in values if value != getattr(Sampling, change.__name__)]

    def _reshaped(self, logits: Tensor, ids: Tensor | None) -> Tensor:
        """By all but the choice of the likeliest, from which the built-in filters would take nothing away."""
        if self.repetition_penalty != 1:
            logits = filters.repetition_penalty(logits, ids, self.repetition_penalty)
        if not self.is_greedy:
            logits = filters.temperature(logits, self.temperature)
            for change, value in self._built_in:
                logits = change(logits, value)
        for change in self.filters:
            logits = change(logits, ids)
        if self.filters:
            filters.check_logits(logits)
        return logits


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

    `repetition_penalty` and `temperature` change the logits, as in `Sampling` (transformers penalises log-probabilities
    instead). Then `filters`, functions from outside `filter(log_probs, ids) -> log_probs`, change the log-probabilities
    `(B, V)` after texts `ids` `(B, T)`. What they give is what is summed, so what one adds to a token counts for its
    text: that is how a second model has a say (shallow fusion).

    Raises ValueError for a value that makes no sense, naming it.
    """

    width: Annotated[int, AtLeast(1)] = 4
    length_penalty: Annotated[float, AtLeast(-10), AtMost(10)] = 1.0
    early_stopping: Literal[False, True, "never"] = False
    num_best: Annotated[int, AtLeast(1)] = 1
    temperature: Annotated[float, Above(0)] = 1.0
    repetition_penalty: Annotated[float, AtLeast(1e-6), AtMost(1e6)] = 1.0
    filters: tuple[Filter, ...] = ()

    def __post_init__(self):
        validate(self)
        if self.num_best > self.width:
            raise ValueError(
                f"{self.width} beams end in at most {self.width} texts, got num_best {self.num_best}"
            )

    def log_probs(self, logits: Tensor, ids: Tensor) -> Tensor:
        """What each next token adds to the sum of its text `(B, V)`, from logits `(B, V)` after `ids` `(B, T)`."""
        filters.check_logits(logits)
        if self.repetition_penalty != 1:
            logits = filters.repetition_penalty(logits, ids, self.repetition_penalty)
        log_probs = filters.temperature(logits, self.temperature).log_softmax(dim=-1)
        for change in self.filters:
            log_probs = change(log_probs, ids)
        if self.filters:
            filters.check_logits(log_probs)
        return log_probs

    def score(self, total: float, length: int) -> float:
        """What texts are compared by: `total` log-probability of `length` new tokens."""
        return total / length**self.length_penalty
