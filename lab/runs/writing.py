"""What a trained run writes: from left to right where it holds a language model, else as its objective does it."""

from collections.abc import Iterable, Iterator

import torch

from lab.decode.search import BeamSearch, Sampling
from lab.decode.search import generate as decode
from lab.runs.checkpoint import Run


def generate(
    run: Run,
    prompt: str = "",
    strategy: Sampling | BeamSearch | None = None,
    *,
    max_new_tokens: int = 100,
    generator: torch.Generator | None = None,
    cut_prompt: bool = False,
    **options,
) -> Iterator[str]:
    """The text after `prompt`, in pieces as they come; `options` are those of an objective that writes otherwise.

    Raises ValueError for a run that does not write, and for options that it does not know.
    """
    objective, tokenizer = run.experiment.objective, run.tokenizer
    strategy = strategy or Sampling()
    if hasattr(objective, "generate"):
        if isinstance(strategy, BeamSearch):
            raise ValueError(f"{objective.name} writes all of a line at once: it takes no beams")
        yield objective.generate(
            run.model,
            tokenizer,
            prompt,
            strategy,
            generator=generator,
            max_new_tokens=max_new_tokens,
            **options,
        )
        return
    if not hasattr(objective, "language_model"):
        raise ValueError(f"this run was trained for {objective.name}, which does not write from a prompt")
    if options:
        raise ValueError(f"{objective.name} writes from left to right: it takes no {', '.join(options)}")
    drawn = decode(
        objective.language_model(run.model),
        [*([] if tokenizer.bos_id is None else [tokenizer.bos_id]), *tokenizer.encode(prompt)],
        strategy,
        max_new_tokens=max_new_tokens,
        generator=generator,
        stop_id=tokenizer.eos_id,
        cut_prompt=cut_prompt,
    )
    yield prompt
    yield from pieces(tokenizer, (step.token for step in drawn))


def pieces(tokenizer, tokens: Iterable[int]) -> Iterator[str]:
    """The text of `tokens` as they come; a character that is made of several tokens comes whole."""
    ids, shown, text = [], 0, ""
    for token in tokens:
        text = tokenizer.decode([*ids, token])
        ids.append(token)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            yield text[shown:]
            shown = len(text)
    yield text[shown:]
