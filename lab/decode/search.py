"""Writing text with a model: one text token by token, or many side by side.

Letters: B rows, T tokens, V the vocabulary.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from lab.decode.beam import n_best
from lab.decode.hypotheses import likeliest
from lab.decode.reading import Model, Reader, in_turn
from lab.decode.strategies import BeamSearch, Generators, Sampling


@dataclass(frozen=True)
class Drawn:
    """One token that was chosen. Probabilities are the model's own, before any filter; those of beams are what counted.

    alternatives  the likeliest `(token id, probability)` pairs at this place, likeliest first
    kept          the probability of all tokens that the filters left to choose from; with beams 1
    score         its log-probability as penalty, temperature and filters left it; None where they had no part in it, or
                  chance had none
    """

    token: int
    log_probability: float
    alternatives: tuple[tuple[int, float], ...] = ()
    kept: float = 1.0
    score: float | None = None

    @property
    def probability(self) -> float:
        return math.exp(self.log_probability)


def generate(
    model: Model,
    ids: Sequence[int] | Tensor,
    strategy: Sampling | BeamSearch | None = None,
    *,
    max_new_tokens: int,
    num_alternatives: int = 5,
    **options,
) -> Iterator[Drawn]:
    """Continue `ids`, yielding each token as it is chosen; ends after `stop_id` or `max_new_tokens`.

    `model` is a transformer, which reads each token once with a cache; a recurrent model; or any function of ids
    `(B, T)` that gives logits `(B, V)` for the next token, see `generate_batch`. `strategy` says how to choose, by
    default from the model's own distribution; a `BeamSearch` yields its best text once that is found. `options` are
    those of `generate_batch`: `generator`, `stop_id`, `cut_prompt`, `cached`. The same generator state gives the same
    text, `cached` or not.

    The text may outgrow the context: when a transformer's cache is full, it starts again from the last half of the
    context. A prompt may not, unless `cut_prompt` says to read its end.

    >>> import torch
    >>> def next_up(ids):  # a model that counts
    ...     return torch.nn.functional.one_hot((ids[:, -1] + 1) % 5, 5) * 9.0
    >>> [step.token for step in generate(next_up, [2], Sampling(temperature=0), max_new_tokens=4)]
    [3, 4, 0, 1]

    Raises ValueError for a prompt without tokens, with unknown ones or longer than the context, for `max_new_tokens`
    below 1, and for logits that are NaN or allow no token.
    """
    options |= dict(max_new_tokens=max_new_tokens, num_alternatives=num_alternatives)
    for (drawn,) in generate_batch(model, [ids], strategy, **options):
        yield drawn


def generate_batch(
    model: Model,
    prompts: Sequence[Sequence[int]] | Tensor,
    strategy: Sampling | BeamSearch | None = None,
    *,
    max_new_tokens: int,
    generator: Generators = None,
    stop_id: int | None = None,
    num_alternatives: int = 0,
    cut_prompt: bool = False,
    cached: bool = True,
) -> Iterator[tuple[Drawn | None, ...]]:
    """Continue several prompts at once: at each step a `Drawn` for each row, None for one that has ended.

    Arguments as those of `generate`. Prompts may differ in length: those of one length are read together (see
    `lab.decode.reading`), so that a row gives what it gives alone. Drawn by chance, that holds where `generator` is a
    sequence of one generator a row; a single one deals its numbers out to all rows that still go on.

    A function that must know whose text a row is takes `rows` besides: a list, for each row the number of its prompt.
    For one that does not, prompts of one length keep their places to the end; the rows of beams do not.
    """
    strategy = strategy or Sampling()
    options = dict(max_new_tokens=max_new_tokens, cut_prompt=cut_prompt, cached=cached)
    if isinstance(strategy, BeamSearch):
        best = n_best(model, prompts, strategy, stop_id=stop_id, num_alternatives=num_alternatives, **options)
        yield from _replay([hypotheses[0].steps for hypotheses in best])
        return
    if not isinstance(strategy, Sampling):
        raise ValueError(f"a strategy is a Sampling or a BeamSearch, got {strategy!r}")
    if isinstance(generator, Sequence) and len(generator) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts need one generator, or one each; got {len(generator)}")

    def begin(reader: Reader):
        return lambda: _choose(reader, strategy, generator, num_alternatives, stop_id)

    yield from in_turn(model, prompts, begin, **options)


def _choose(
    reader: Reader, strategy: Sampling, generator: Generators, num_alternatives: int, stop_id: int | None
) -> Iterable[tuple[int, Drawn]]:
    """One more token for each row of a reader, which goes on with the rows that have not ended."""
    names = reader.names
    chance = [generator[name] for name in names] if isinstance(generator, Sequence) else generator
    tokens, log_probs, kept, scores = strategy.choose(reader.logits(), reader.text, chance)
    ids, chosen = tokens.tolist(), log_probs.gather(-1, tokens[:, None]).flatten().tolist()
    if kept is not None:
        masses = kept.tolist()
    else:
        masses = [math.exp(log_p) for log_p in chosen] if strategy.is_greedy else [1.0] * len(ids)
    others = likeliest(log_probs, num_alternatives)
    reader.append(tokens)
    reader.select([row for row, token in enumerate(ids) if token != stop_id])
    scores = [None] * len(ids) if scores is None else scores.tolist()
    return zip(names, map(Drawn, ids, chosen, others, masses, scores), strict=True)


def _replay(texts: list[tuple]) -> Iterator[tuple[Drawn | None, ...]]:
    """Texts that are known already, step by step: each a sequence of (token, log-probability, alternatives)."""
    for n in range(max(map(len, texts))):
        yield tuple(Drawn(*text[n]) if n < len(text) else None for text in texts)
