"""Writing text with a model, one token at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lab.decode.filters import filter_logits


@dataclass(frozen=True)
class Sampling:
    """How to draw the next token: temperature 0 is greedy, `top_k` None and `top_p` 1 remove nothing."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def logits(self, logits: Tensor) -> Tensor:
        return filter_logits(logits, temperature_=self.temperature, k=self.top_k, p=self.top_p)


@dataclass(frozen=True)
class Drawn:
    """One token that was drawn. Probabilities are the model's own, before any filter.

    `alternatives` holds the likeliest `(token id, probability)` pairs at this place, likeliest first.
    """

    token: int
    probability: float
    alternatives: tuple[tuple[int, float], ...]


def generate(
    model: nn.Module,
    ids: Sequence[int],
    *,
    max_new_tokens: int,
    sampling: Sampling | None = None,
    generator: torch.Generator | None = None,
    stop_id: int | None = None,
    num_alternatives: int = 5,
) -> Iterator[Drawn]:
    """Continue `ids`, yielding each token as it is drawn; ends after `stop_id` or `max_new_tokens`.

    The model reads each token once, with a cache. When that is full it starts again from the last half of the
    context, so the text may grow without end (a recurrent model's state is never full). The same generator
    state gives the same text.

    >>> text = [drawn.token for drawn in generate(model, [2], max_new_tokens=20)]  # doctest: +SKIP

    Raises ValueError when `ids` is empty, or `max_new_tokens` below 1.
    """
    if len(ids) < 1:
        raise ValueError("the prompt has no tokens: start from at least <s>")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    sampling = sampling or Sampling()
    text, context = list(ids), model.config.context
    device = next(model.parameters()).device
    unread, cache = text[-context:], model.new_cache(1, device)
    was_training = model.training
    model.eval()
    try:
        for _ in range(max_new_tokens):
            if cache.length + len(unread) > cache.max_length:
                unread, cache = text[-max(1, context // 2) :], model.new_cache(1, device)
            # inference_mode must not stay on while the caller holds the generator
            with torch.inference_mode():
                logits = (
                    model(torch.tensor([unread], device=device), cache=cache)[0, -1].double().cpu()
                )  # (V,)
                probabilities = logits.softmax(dim=-1)
                allowed = sampling.logits(logits).softmax(dim=-1)
                token = int(torch.multinomial(allowed, 1, generator=generator))
                best = probabilities.topk(min(num_alternatives, len(probabilities)))
            alternatives = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
            yield Drawn(token, float(probabilities[token]), alternatives)
            if token == stop_id:
                return
            text.append(token)
            unread = [token]
    finally:
        model.train(was_training)
