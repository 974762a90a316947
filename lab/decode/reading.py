"""What has been read of several texts, and the logits of their next tokens: alike for every kind of model.

Letters: R rows, T tokens, V the vocabulary.

Rows of one `Reader` are equally long, so they need no padding and no mask, and reach the end of the context together.
Texts of unequal length are given to readers of their own, one for each length: a text then reads the same, to the last
rounding of a matrix product, beside others and alone, whatever model reads it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from inspect import signature
from operator import index
from typing import TypeVar

import torch
from torch import Tensor, nn

from lab.data.flat import check_whole
from lab.machine import check_memory
from lab.nn import evaluating
from lab.nn.step import make_step

Model = nn.Module | Callable[[Tensor], Tensor]
Step = TypeVar("Step")


class Reader:
    """Texts `ids` `(R, T)`, to which tokens are added one a row; `names[r]` tells whose text row r is.

    A model with a cache reads each token once. When that is full it starts again from the last half of its context, so
    texts may grow without end; a recurrent model's state is never full. Without a `cache` all of that context is read
    for each token; a function `ids (R, T) -> logits (R, V)` always reads all of the text. `make_readers` makes them.
    """

    def __init__(
        self, model: Model, ids: Tensor, names: Sequence[int], *, room: int, context: float, new_cache, step
    ):
        self.model, self.names, self.length = model, list(names), ids.shape[1]
        self.begun, self.tells_rows = self.names, not is_language_model(model) and _has_rows(model)
        check_memory(f"{len(ids):,} x {room:,} tokens", 8 * len(ids) * (self.length + room), "ask for fewer")
        self.ids = torch.cat([ids, ids.new_zeros(len(ids), room)], dim=1)  # with room for what follows
        self.device = next(model.parameters()).device if is_language_model(model) else ids.device
        self.context, self.new_cache, self.step = context, new_cache, step
        self.cache = new_cache(len(ids)) if new_cache else None
        self.start = self.read = 0  # where the context begins, and how far the cache has read

    @property
    def text(self) -> Tensor:
        """The texts so far `(R, T)`."""
        return self.ids[:, : self.length]

    def logits(self) -> Tensor:
        """Those of the next token of each row, `(R, V)` in float32 or float64 on the CPU."""
        if self.length - self.start > self.context:
            self.start = self.read = self.length - max(1, self.context // 2)
            if self.cache is not None:
                self.cache = self.new_cache(len(self.ids))
        logits = self._read()
        return (logits if logits.dtype == torch.float64 else logits.float()).cpu()

    def _read(self) -> Tensor:
        if self.cache is None:
            ids = self.ids[:, self.start : self.length].to(self.device)
            return self.model(ids)[:, -1] if is_language_model(self.model) else self._ask(ids)
        unread = slice(self.read, self.length)
        self.read = self.length
        if self.step is not None and unread.stop - unread.start == 1:
            return self.step(self.ids[:, unread.start].to(self.device), self.cache)
        return self.model(self.ids[:, unread].to(self.device), cache=self.cache)[:, -1]

    def _ask(self, ids: Tensor) -> Tensor:
        """What a function says of ids `(R, T)`: with `rows` it is told whose they are, without it each keeps its place.

        In the place of a text that has ended stands a copy of another.
        """
        if self.tells_rows:
            return _scores(partial(self.model, rows=list(self.names)), ids)
        places = [self.begun.index(name) for name in self.names]
        if len(places) == len(self.begun) or len(set(places)) < len(places):  # all are there, or beams
            return _scores(self.model, ids)
        whole = ids[:1].repeat(len(self.begun), 1).index_copy(0, torch.tensor(places), ids)
        return _scores(self.model, whole)[places]

    def append(self, tokens: Tensor) -> None:
        """One token a row, `(R,)`."""
        self.ids[:, self.length] = tokens
        self.length += 1

    def select(self, rows: list[int]) -> None:
        """Go on with these rows, of which any may occur more than once; each takes its cache or state along."""
        if rows == list(range(len(rows))) and len(rows) == self.ids.shape[0]:
            return
        self.names = [self.names[row] for row in rows]
        if rows and self.cache is not None:
            self._select_cache(rows)
        self.ids = self.ids[rows]

    def _select_cache(self, rows: list[int]) -> None:
        """Where as many rows go on, those that change are overwritten in place, from the first token that differs."""
        moves = [(source, target) for target, source in enumerate(rows) if source != target]
        if len(rows) != self.ids.shape[0] or not hasattr(self.cache, "copy_rows"):
            self.cache = self.cache.select(torch.tensor(rows, device=self.device))
            return
        sources, targets = torch.tensor(moves).T
        text = self.ids[:, self.start : self.read]
        differs = (text[sources] != text[targets]).any(dim=0)
        first = int(differs.int().argmax()) if differs.any() else text.shape[1]
        self.cache.copy_rows(sources.to(self.device), targets.to(self.device), first)


def make_readers(
    model: Model,
    prompts: Sequence[Sequence[int]] | Tensor,
    *,
    max_new_tokens: int,
    cut_prompt: bool = False,
    cached: bool = True,
) -> list[Reader]:
    """A reader for each length of prompt that there is; a row's name is its prompt's number.

    Raises ValueError for no prompts, a prompt without tokens, ids that the model does not know, and a prompt longer
    than its context, unless `cut_prompt` says to read the last `context` tokens.
    """
    check_whole(1, max_new_tokens=max_new_tokens)
    if not is_language_model(model) and not callable(model):
        raise ValueError(
            f"expected a model with new_cache, or a function of ids (B, T) that gives logits (B, V); got {model!r}"
        )
    vocab_size = context = math.inf
    new_cache = step = None
    if is_language_model(model):
        new_cache = partial(model.new_cache, device=next(model.parameters()).device)
        vocab_size, context = model.config.vocab_size, new_cache(1).max_length
        step = make_step(model) if cached else None
    groups: dict[int, list[tuple[int, list[int]]]] = {}
    for name, prompt in enumerate(prompts):
        ids = _checked(prompt, vocab_size)
        if len(ids) > context:
            if not cut_prompt:
                raise ValueError(
                    f"a prompt of {len(ids)} tokens is longer than the model's context of {context}: give less, or "
                    f"cut_prompt=True to go on from its last {context}"
                )
            ids = ids[-context:]
        groups.setdefault(len(ids), []).append((name, ids))
    if not groups:
        raise ValueError("no prompts were given")
    settings = dict(room=max_new_tokens, context=context, new_cache=new_cache if cached else None, step=step)
    pairs = [zip(*rows, strict=True) for rows in groups.values()]
    return [Reader(model, torch.tensor(texts), names, **settings) for names, texts in pairs]


def in_turn(
    model: Model,
    prompts: Sequence[Sequence[int]] | Tensor,
    begin: Callable[[Reader], Callable[[], Iterable[tuple[int, Step]]]],
    *,
    max_new_tokens: int,
    **options,
) -> Iterator[tuple[Step | None, ...]]:
    """Write on each prompt: at every step what became of it, None where its writing is over.

    `begin(reader)` gives a function that takes one step of that reader's rows, and says of which prompts; a reader
    without rows is done with. `options` as those of `make_readers`.
    """
    readers = make_readers(model, prompts, max_new_tokens=max_new_tokens, **options)
    num_prompts = sum(len(reader.names) for reader in readers)
    going = [(reader, begin(reader)) for reader in readers]
    with evaluating(model) if isinstance(model, nn.Module) else nullcontext():
        for _ in range(max_new_tokens):
            steps: list[Step | None] = [None] * num_prompts
            for _, advance in going:
                with torch.inference_mode():  # which must not stay on while the caller holds the generator
                    for name, step in advance():
                        steps[name] = step
            yield tuple(steps)
            going = [(reader, advance) for reader, advance in going if reader.names]
            if not going:
                return


def is_language_model(model: object) -> bool:
    """Whether it reads with a cache of its own, and knows its vocabulary."""
    return isinstance(model, nn.Module) and hasattr(model, "new_cache") and hasattr(model, "config")


def _has_rows(score_fn: Callable) -> bool:
    with suppress(TypeError, ValueError):  # some that are not written in Python do not say
        return "rows" in signature(score_fn).parameters
    return False


def _scores(score_fn: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
    logits = score_fn(ids)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(ids):
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(
            f"for ids {tuple(ids.shape)} the function must give logits ({len(ids)}, V), got {given}"
        )
    return logits


def _checked(prompt: Sequence[int] | Tensor, vocab_size: float) -> list[int]:
    try:
        ids = [index(i) for i in (prompt.tolist() if isinstance(prompt, Tensor) else prompt)]
    except TypeError:
        raise ValueError(f"a prompt is a sequence of token ids, whole numbers; got {prompt!r}") from None
    if not ids:
        raise ValueError("the prompt has no tokens: start from at least <s>")
    if unknown := [i for i in ids if not 0 <= i < vocab_size]:
        raise ValueError(f"unknown token id {unknown[0]}: ids are from 0 to {vocab_size - 1}")
    return ids
