"""What ways of reading make of speech whose words are known; how much a language model should say in them.

How much it should is chosen on speech that is not reported on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from lab.speech.batches import Utterance
from lab.speech.corpus import SpeechCorpus
from lab.speech.ctc_beam import Scorer
from lab.speech.model import SpeechTransformer
from lab.speech.reading import Reading, listen, read_each
from lab.speech.scores import ErrorRate, cer, wer
from lab.text import Tokenizer

WEIGHTS = (0.0, 0.3, 0.6, 0.9)
BONUSES = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Read:
    """What one way of reading made of utterances: the transcripts, and how many characters and words are wrong."""

    reading: Reading
    texts: tuple[str, ...]
    cer: ErrorRate
    wer: ErrorRate


def read_all(
    model: SpeechTransformer,
    tokenizer: Tokenizer,
    utterances: Sequence[Utterance],
    readings: Iterable[Reading],
    scorer: Scorer | None = None,
    *,
    resamples: int = 0,
) -> list[Read]:
    """Utterances read in several ways; with `resamples` the error rates get their intervals."""
    encoded = listen(model, [one.features for one in utterances])
    said = [one.text for one in utterances]
    found = []
    for reading in readings:
        texts = tuple(map(tokenizer.decode, read_each(model, encoded, tokenizer, reading, scorer)))
        rates = (rate(said, texts, resamples=resamples) for rate in (cer, wer))
        found.append(Read(reading, texts, *rates))
    return found


def choose_weight(
    model: SpeechTransformer,
    tokenizer: Tokenizer,
    utterances: Sequence[Utterance],
    scorer: Scorer,
    reading: Reading = Reading("ctc beam"),  # noqa: B008  (frozen)
    *,
    weights: Sequence[float] = WEIGHTS,
    bonuses: Sequence[float] = BONUSES,
) -> list[Read]:
    """Every weight of the language model with every bonus a token, the one with the fewest wrong words first.

    `utterances` are of the validation part: what was chosen on the test part says nothing about other speech.
    `reading` says the rest.

    >>> best, *others = choose_weight(model, tokenizer, corpus.validation[:50], scorer)  # doctest: +SKIP
    """
    readings = [replace(reading, weight=weight, bonus=bonus) for weight, bonus in product(weights, bonuses)]
    return sorted(read_all(model, tokenizer, utterances, readings, scorer), key=_wrong)


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
    ways = {
        "CTC, best path": Reading("ctc"),
        "CTC, beam": Reading("ctc beam", beam),
        "CTC, beam and language model": Reading("ctc beam", beam),
        "attention, greedy": Reading("attention"),
        "attention, beam": Reading("attention beam", beam),
        "both, and language model": Reading("both", beam),
    }
    with_model = [name for name in ways if name.endswith("language model")]
    search = {"weights": weights, "bonuses": bonuses}
    chosen = {
        name: choose_weight(model, tokenizer, speech.validation, scorer, ways[name], **search)[0]
        for name in with_model
    }
    ways |= {name: one.reading for name, one in chosen.items()}
    on_test = read_all(model, tokenizer, speech.test, ways.values(), scorer, resamples=1000)
    found = dict(zip(ways, on_test, strict=True))
    return found | {"with language model": found[min(with_model, key=lambda name: _wrong(chosen[name]))]}


def _wrong(one: Read) -> tuple[float, float]:
    return one.wer.rate, one.cer.rate
