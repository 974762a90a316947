"""Choosing how much a language model should say, on speech that is not reported on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from lab.speech.batches import Utterance
from lab.speech.fusion import Scorer
from lab.speech.model import SpeechTransformer
from lab.speech.score import cer, wer
from lab.speech.transcribe import Reading, listen, read
from lab.tokenize import Tokenizer


@dataclass(frozen=True)
class Tried:
    """A way of reading, and the share of wrong characters and words it came to."""

    reading: Reading
    cer: float
    wer: float


def choose_weight(
    model: SpeechTransformer,
    tokenizer: Tokenizer,
    utterances: Sequence[Utterance],
    scorer: Scorer,
    reading: Reading | None = None,
    *,
    weights: Sequence[float] = (0.0, 0.3, 0.6, 0.9),
    bonuses: Sequence[float] = (0.0, 0.5, 1.0),
) -> list[Tried]:
    """Every weight of the language model with every bonus a token, the one with the fewest wrong words first.

    `utterances` are of the validation part: what was chosen on the test part says nothing about other speech.
    `reading` says the rest; by default the search by CTC with a beam of 12.

    >>> best, *others = choose_weight(model, tokenizer, corpus.validation[:50], scorer)  # doctest: +SKIP
    """
    reading = reading or Reading("ctc beam")
    heards, said = listen(model, [one.features for one in utterances]), [one.text for one in utterances]
    found = []
    for weight, bonus in product(weights, bonuses):
        tried = replace(reading, weight=weight, bonus=bonus)
        texts = [tokenizer.decode(read(model, heard, tokenizer, tried, scorer)) for heard in heards]
        found.append(Tried(tried, cer(said, texts, resamples=0).rate, wer(said, texts, resamples=0).rate))
    return sorted(found, key=lambda one: (one.wer, one.cer))
