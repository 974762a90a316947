"""Scores on lines that nothing which trains has received, and what would make such a score a lie."""

from collections.abc import Sequence

import torch
from torch import nn

from lab.data import pad
from lab.nn import evaluating
from lab.runs import Run
from lab.score import score_lines
from lab.text import Corpus, CorpusError, Splits
from lab.train import TextMaterial

MOST_SCORED = 1000  # lines: more would take the time of a run
READ_AHEAD, TOLERANCE = 4, 1e-3  # lines that are read by prefix; nats by which rounding may change a log-probability


class Lie(ValueError):
    """A score that cannot be believed, and why."""


def held_out(corpus: Corpus) -> tuple[list[str], list[str]]:
    """The lines to train and validate on, in the order of the text, and at most `MOST_SCORED` to score.

    No line looks like one of the other list. Raises CorpusError for a text with too few lines.
    """
    test = corpus.splits().test
    apart = set(test)
    kept = [line for line in corpus.lines if line not in apart]
    if len(set(kept)) < 3:
        raise CorpusError(
            f"the text {corpus.name!r} has too few lines to hold some out: a trial needs four that differ at least"
        )
    return kept, test[:MOST_SCORED]


def score(run: Run, lines: Sequence[str]) -> float:
    """Bits a character of `lines`, which the referee makes into probabilities itself.

    Of an objective whose model does not predict tokens from left to right the score is its own, by `outcome`.

    Raises Lie for a model that reads what it is to predict, a tokenizer that tells it for nothing, and a score that is
    no number.
    """
    objective = run.experiment.objective
    if hasattr(objective, "language_model"):
        model = objective.language_model(run.model)
        _check_tokens(run.tokenizer, lines)
        if reads_ahead(model, run.tokenizer.encode_lines(lines[:READ_AHEAD])):
            raise Lie("it reads what it is to predict: what it says of a token depends on the text after it")
        return _number(score_lines(model, run.tokenizer, lines).bits_per_char)
    material = TextMaterial(Corpus("held out", lines), Splits([], list(lines), []), run.tokenizer)
    return _number(objective.outcome(run.model, material).get("bits_per_char"))


@torch.inference_mode()
def reads_ahead(model: nn.Module, lines: Sequence[Sequence[int]]) -> bool:
    """Whether the log-probabilities after a prefix change with what follows it, or with the other lines of a batch.

    `lines` are token ids. All are read in one batch, as they are when they are scored; then each by all its prefixes.
    So a model that remembers what it read in another call is found too.
    """
    lines = [list(ids)[: model.config.context] for ids in lines]
    with evaluating(model):
        whole = model(pad(lines)).log_softmax(-1)  # (lines, T, V)
        for ids, expected in zip(lines, whole, strict=True):
            prefixes = pad([ids[:end] for end in range(1, len(ids) + 1)])
            each = torch.arange(len(ids))
            found = model(prefixes)[each, each].log_softmax(-1)  # (T, V)
            if not torch.allclose(found, expected[: len(ids)], rtol=0, atol=TOLERANCE):
                return True
    return False


def is_own_score(run: Run) -> bool:
    """Whether its score is one that the objective gives itself."""
    return not hasattr(run.experiment.objective, "language_model")


def _check_tokens(tokenizer, lines: Sequence[str]) -> None:
    """The first token of a line is given to the model: it must be the same for all."""
    if len({ids[0] for ids in tokenizer.encode_lines(lines)}) > 1:
        raise Lie("its lines begin with different tokens, which a score does not pay for")


def _number(bits: float | None) -> float:
    if bits is None:
        raise Lie("its objective measures no bits_per_char")
    if not 0 < bits < float("inf"):
        raise Lie(f"its score is no number above 0: {bits} bits a character")
    return float(bits)
