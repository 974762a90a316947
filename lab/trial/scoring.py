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
READ_BY_PREFIX = 4  # lines
TOLERANCE = 1e-3  # nats by which rounding may change a log-probability


class NoScore(ValueError):
    """Why there is no score, or none that can be believed."""


def hold_out(corpus: Corpus) -> tuple[list[str], list[str]]:
    """The lines to train and validate on, in the order of the text, and at most `MOST_SCORED` to score.

    Raises CorpusError for a text that cannot be split, or that comes in parts and has none for the test.
    """
    train, validation, test = corpus.splits()
    if not test:
        raise CorpusError(
            f"corpus {corpus.name!r} comes in parts of {corpus.parts} lines, without a test part to score by: give it "
            "one, or a text that is not divided"
        )
    kept = {*train, *validation}  # of a divided text not what looks like a line of its test part
    return [line for line in corpus.lines if line in kept], test[:MOST_SCORED]


def score(run: Run, lines: Sequence[str]) -> float:
    """Bits a character of `lines`: of a language model by probabilities that are made here, of logits.

    An objective whose model does not predict tokens from left to right measures them itself, by its `outcome`.

    Raises NoScore for a model that reads what it is to predict, a tokenizer that tells it for nothing, and a score that
    is no number.
    """
    objective, tokenizer = run.experiment.objective, run.tokenizer
    if hasattr(objective, "language_model"):
        model, encoded = objective.language_model(run.model), tokenizer.encode_lines(lines)
        if len({ids[0] for ids in encoded}) > 1:
            raise NoScore("its lines begin with different tokens, which are given to the model for nothing")
        if reads_ahead(model, encoded[:READ_BY_PREFIX]):
            raise NoScore(
                "it reads what it is to predict: what it says of a token depends on the text after it"
            )
        bits = score_lines(model, tokenizer, lines).bits_per_char
    else:
        material = TextMaterial(Corpus("held out", lines), Splits([], list(lines), []), tokenizer)
        bits = objective.outcome(run.model, material).get("bits_per_char", float("nan"))
    if not 0 < bits < float("inf"):
        raise NoScore(f"its score is no number above 0, but {bits} bits a character")
    return bits


@torch.inference_mode()
def reads_ahead(model: nn.Module, lines: Sequence[Sequence[int]]) -> bool:
    """Whether what the model says after a prefix changes with what follows, or with the other lines of a batch.

    `lines` are token ids. All are read in one batch, as they are to be scored, then each by all its prefixes, and the
    log-probabilities compared; so a model that remembers what it read in an earlier call is found too.
    """
    lines = [list(ids)[: model.config.context] for ids in lines]
    with evaluating(model):
        whole = model(pad(lines)).log_softmax(-1)  # (lines, T, V)
        for ids, expected in zip(lines, whole, strict=True):
            ends = range(len(ids))
            prefixes = pad([ids[: end + 1] for end in ends])
            found = model(prefixes)[ends, ends].log_softmax(-1)  # (T, V)
            if not torch.allclose(found, expected[: len(ids)], rtol=0, atol=TOLERANCE, equal_nan=True):
                return True
    return False
