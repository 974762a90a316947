"""How much a language model should say, chosen on speech that is not reported on; all ways to read, compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from lab.speech.batches import Utterance
from lab.speech.corpus import SpeechCorpus
from lab.speech.fusion import Scorer
from lab.speech.model import Heard, SpeechTransformer
from lab.speech.score import ErrorRate, cer, wer
from lab.speech.transcribe import Reading, listen, read
from lab.text import Tokenizer

WEIGHTS = (0.0, 0.3, 0.6, 0.9)
BONUSES = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Tried:
    """A way of reading, and the share of wrong characters and words it came to."""

    reading: Reading
    cer: float
    wer: float


@dataclass(frozen=True)
class Read:
    """What one way of reading made of utterances: the transcripts, and how many characters and words are wrong."""

    reading: Reading
    texts: tuple[str, ...]
    cer: ErrorRate
    wer: ErrorRate


def choose_weight(
    model: SpeechTransformer,
    tokenizer: Tokenizer,
    utterances: Sequence[Utterance],
    scorer: Scorer,
    reading: Reading | None = None,
    *,
    weights: Sequence[float] = WEIGHTS,
    bonuses: Sequence[float] = BONUSES,
) -> list[Tried]:
    """Every weight of the language model with every bonus a token, the one with the fewest wrong words first.

    `utterances` are of the validation part: what was chosen on the test part says nothing about other speech.
    `reading` says the rest; by default the search by CTC with a beam of 12.

    >>> best, *others = choose_weight(model, tokenizer, corpus.validation[:50], scorer)  # doctest: +SKIP
    """
    heards, said = listen(model, [one.features for one in utterances]), [one.text for one in utterances]
    return _chosen(model, tokenizer, heards, said, scorer, reading or Reading("ctc beam"), weights, bonuses)


def compare(
    model: SpeechTransformer,
    tokenizer: Tokenizer,
    speech: SpeechCorpus,
    scorer: Scorer,
    *,
    beam: int = 12,
    weights: Sequence[float] = WEIGHTS,
    bonuses: Sequence[float] = BONUSES,
) -> dict[str, Read]:
    """The test part of `speech` read in all ways; what the language model may say is chosen on the validation part.

    The last, "with language model", is the better of the two ways that have one, on the validation part.

    >>> compare(model, tokenizer, corpus, scorer)["attention, greedy"].wer.rate  # doctest: +SKIP
    """
    heards = listen(model, [one.features for one in speech.validation])
    said = [one.text for one in speech.validation]
    by_ctc, by_both = (
        _chosen(model, tokenizer, heards, said, scorer, Reading(method, beam), weights, bonuses)[0]
        for method in ("ctc beam", "both")
    )
    ways = {
        "CTC, best path": (Reading("ctc"), None),
        "CTC, beam": (Reading("ctc beam", beam), None),
        "CTC, beam and language model": (by_ctc.reading, scorer),
        "attention, greedy": (Reading("attention"), None),
        "attention, beam": (Reading("attention beam", beam), None),
        "both, and language model": (by_both.reading, scorer),
    }
    heards = listen(model, [one.features for one in speech.test])
    said, found = [one.text for one in speech.test], {}
    for name, (reading, asked) in ways.items():
        texts = _transcripts(model, tokenizer, heards, reading, asked)
        found[name] = Read(reading, tuple(texts), cer(said, texts), wer(said, texts))
    better = min(by_ctc, by_both, key=lambda one: (one.wer, one.cer))
    name = "CTC, beam and language model" if better is by_ctc else "both, and language model"
    return found | {"with language model": found[name]}


def _chosen(
    model, tokenizer, heards: Sequence[Heard], said: list[str], scorer, reading, weights, bonuses
) -> list[Tried]:
    found = []
    for weight, bonus in product(weights, bonuses):
        tried = replace(reading, weight=weight, bonus=bonus)
        texts = _transcripts(model, tokenizer, heards, tried, scorer)
        found.append(Tried(tried, cer(said, texts, resamples=0).rate, wer(said, texts, resamples=0).rate))
    return sorted(found, key=lambda one: (one.wer, one.cer))


def _transcripts(model, tokenizer, heards: Sequence[Heard], reading, scorer) -> list[str]:
    return [tokenizer.decode(read(model, heard, tokenizer, reading, scorer)) for heard in heards]
