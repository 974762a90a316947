"""Where each variant of the stuck run should start and stop, from counts of the characters alone. All in nats.

Letters: V ids, C channels; p `(V,)` the share of each character; r `(V,)` the probability that it is chosen for MLM.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autopsy.faults import Size

# Of the recorded run: optimizer steps, share of the learning rate, micro-batches a step.
WARMUP, START_FACTOR, ACCUMULATE = 2000, 0.1, 4
RECORDED_STEPS = 750  # micro-batches
MASK_RATE, SPACE_RATE, SPLIT = 0.2, 0.05, (0.8, 0.1, 0.1)
WEIGHTS = {"mlm": 1.0, "clm": 1.0, "reconstruction": 0.2}
DROPOUT, WEIGHT_DECAY = 0.2, 1e-2


@dataclass(frozen=True)
class Levels:
    """What the losses can be read against; nats a target unless it says share.

    uniform                  every id equally likely: ln V
    unigram                  the characters' frequencies known, and nothing else: where CLM stops
    bigram                   the character before known too
    mlm_stop                 the frequencies of the characters that MLM chooses, some of them shown: where MLM stops
    reconstruction_stop      the same for reconstruction from the masked line: visible ones copied, the others guessed
    share_chosen             share of the characters that MLM chooses
    mlm_start                first loss with heads tied to N(0, 1) embeddings and places
    clm_start                first loss of a head of its own, as torch draws it
    reconstruction_start     as `mlm_start`: the chosen share of it
    learning_rate_share      of the full learning rate, reached at the end by the recorded warm-up
    optimizer_steps          taken by the recorded run
    """

    uniform: float
    unigram: float
    bigram: float
    mlm_stop: float
    reconstruction_stop: float
    share_chosen: float
    mlm_start: float
    clm_start: float
    reconstruction_start: float
    learning_rate_share: float
    optimizer_steps: int


def levels(tokenizer, lines: Sequence[str], size: Size) -> Levels:
    """The levels for these lines, cut as `size` cuts them.

    Raises ValueError when no line has two characters.
    """
    coded = [ids[: size.chars] for ids in tokenizer.encode_lines(lines, add_special=False) if len(ids) > 1]
    if not coded:
        raise ValueError("no line has two characters: give a corpus with text")
    V, counts = tokenizer.vocab_size, np.zeros(tokenizer.vocab_size)
    pairs = np.zeros((V, V))
    for ids in coded:
        counts += np.bincount(ids, minlength=V)
        np.add.at(pairs, (ids[:-1], ids[1:]), 1)
    p = counts / counts.sum()
    chosen = choice(tokenizer, p)
    shown = frequency_reader(p, chosen, specials=5)
    rates = [recorded_rate_factor(step, size.steps) for step in range(optimizer_steps(size.steps))]
    start = tied_start(size.width, places=True, dropout=DROPOUT)
    replaced = SPLIT[0] + SPLIT[1]
    share = float(chosen @ p)
    return Levels(
        uniform=math.log(V),
        unigram=entropy(pairs.sum(0)),
        bigram=entropy(pairs) - entropy(pairs.sum(1)),
        mlm_stop=shown["mlm"],
        reconstruction_stop=shown["reconstruction"],
        share_chosen=share,
        mlm_start=replaced * start,
        clm_start=math.log(V) + 1 / 6,
        reconstruction_start=share * replaced * start,
        learning_rate_share=rates[-1],
        optimizer_steps=len(rates),
    )


def tied_start(width: int, *, places: bool, dropout: float) -> float:
    """The first loss, about, at a position that shows another id than the one asked for, with heads tied to
    embeddings drawn from N(0, 1).

    The stream starts as the embedding e of the id shown, plus that of its place, each of squared length C. Dropout d
    scales what it keeps by 1/(1 - d): e's share of the stream stays e, its squared length becomes 2 C / (1 - d). A
    norm brings the stream to length sqrt(C), so the id shown is given the logit

        C / sqrt(2 / (1 - d))        without places C sqrt(1 - d)

    and every other id one from N(0, C), the id asked for among them. The first grows as C, the highest of the others
    as sqrt(2 C ln V), so at any but the smallest width the first stands alone and the loss is it less 0.

    >>> tied_start(256, places=False, dropout=0.0), round(tied_start(256, places=True, dropout=0.2), 1)
    (256.0, 161.9)
    """
    return width * math.sqrt((1 - dropout) / (2 if places else 1))


def choice(tokenizer, p: np.ndarray) -> np.ndarray:
    """The probability `(V,)` that MLM chooses a character: lower for the space, as in the recorded run."""
    rates = np.full(len(p), MASK_RATE)
    rates[tokenizer.encode(" ")] = SPACE_RATE
    return rates


def frequency_reader(p: np.ndarray, rates: np.ndarray, *, specials: int) -> dict[str, float]:
    """The losses of the best reader that looks at each position alone, with one answer for MLM and reconstruction.

    That is as far as a model comes that does not attend. `p` `(V,)` shares of the characters, `rates` `(V,)` how
    likely each is chosen; a random replacement is any id from `specials` on. Both heads being tied to the same
    weights, they give one answer a position, so it is the one that is best for the weighted sum of both losses:
    q(original | shown) in proportion to P(shown, original) (chosen / share of chosen + 0.2).

    >>> reader = frequency_reader(np.array([0.0, 0.5, 0.5]), np.full(3, 0.2), specials=1)
    >>> round(reader["masked"] - math.log(2), 6)  # at a <mask>, one of two characters
    0.0
    """
    V = len(p)
    mask, keep = SPLIT[0], SPLIT[2]
    replacement = np.where(np.arange(V) >= specials, 1 / (V - specials), 0.0)
    # [shown, original], the row after the last id being <mask>; the two sum to 1 over all positions.
    chosen = np.zeros((V + 1, V))
    chosen[V] = p * rates * mask
    chosen[:V] = np.outer(replacement, p * rates * SPLIT[1]) + np.diag(p * rates * keep)
    left = np.zeros((V + 1, V))
    left[:V] = np.diag(p * (1 - rates))
    share = chosen.sum()
    wanted = WEIGHTS["mlm"] * chosen / share + WEIGHTS["reconstruction"] * (chosen + left)
    with np.errstate(divide="ignore", invalid="ignore"):
        nats = -np.log(wanted / wanted.sum(1, keepdims=True))
    nats = np.where(wanted > 0, nats, 0.0)
    return {
        "mlm": float((chosen * nats).sum() / share),
        "masked": float((chosen[V] * nats[V]).sum() / chosen[V].sum()),
        "visible": float((left * nats).sum() / left.sum()),
        "reconstruction": float(((chosen + left) * nats).sum()),
    }


def optimizer_steps(steps: int, accumulate: int = ACCUMULATE) -> int:
    """How many optimizer steps `steps` micro-batches come to when the first alone is one already.

    >>> optimizer_steps(750)
    188
    """
    return -(-steps // accumulate)


def recorded_rate_factor(update: int, steps: int) -> float:
    """What the recorded warm-up multiplies the learning rate by at an optimizer step: a tenth at first, 1 at its end.

    It is as long beside the run as it was: 2,000 optimizer steps for 750 micro-batches.

    >>> recorded_rate_factor(0, 750), round(recorded_rate_factor(187, 750), 3)
    (0.1, 0.184)
    """
    progress = update / (WARMUP * steps / RECORDED_STEPS)
    return START_FACTOR + (1 - START_FACTOR) * min(1.0, progress)


def entropy(counts: np.ndarray) -> float:
    """Of the distribution that these counts are in proportion to, in nats.

    >>> round(entropy(np.array([1, 1, 0])) / math.log(2), 6)
    1.0
    """
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())
