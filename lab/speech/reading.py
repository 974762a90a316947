"""From features to text: by CTC, by attention, by both, with a language model or without.

Letters: T frames, F bands, U tokens, V tokens there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from lab.config import Above, AtLeast, AtMost, validate
from lab.data import by_length, pad
from lab.nn import evaluating
from lab.speech.ctc import greedy
from lab.speech.ctc_beam import Hypothesis, prefix_beam
from lab.speech.features import check_features
from lab.speech.fusion import Scorer
from lab.speech.model import Heard, SpeechTransformer
from lab.speech.writing import attention_log_probs, write
from lab.text import Tokenizer

Method = Literal["ctc", "ctc beam", "attention", "attention beam", "both"]
PADDED_FRAMES = 6000  # that are read at once


@dataclass(frozen=True)
class Reading:
    """How to read a transcript off what was heard.

    method   "ctc", the likeliest path; "ctc beam", the likeliest transcript; "attention", the decoder word for word;
             "attention beam", the decoder with a beam; "both": the finds of the CTC beam, weighed by the decoder too
             (Zhang et al. 2020, U2, section 3.3)
    beam     hypotheses kept
    margin   nats behind the best that a token of a frame may be, in the search by CTC; None for all
    weight   of the language model, where there is one, and `bonus` of each token, in the search by CTC
    attention_weight  of the decoder in "both"; CTC has the rest
    """

    method: Method = "ctc"
    beam: Annotated[int, AtLeast(1)] = 12
    margin: Annotated[float, Above(0)] | None = 10.0
    weight: Annotated[float, AtLeast(0)] = 0.0
    bonus: float = 0.0
    attention_weight: Annotated[float, AtLeast(0), AtMost(1)] = 0.5

    __post_init__ = validate


@torch.no_grad()
def listen(model: SpeechTransformer, features: Sequence[Tensor], frames: int = PADDED_FRAMES) -> list[Heard]:
    """What the encoder makes of each utterance `(T, F)`; those of like length are read together.

    The model is left in the mode it was in. Raises FeatureError for features that are not those of its spec.
    """
    for one in features:
        check_features(one, model.config.features)
    device, dtype, found = model.mean.device, model.mean.dtype, {}
    with evaluating(model):
        for rows in by_length([len(x) for x in features], size=frames):
            lengths = torch.tensor([len(features[n]) for n in rows])
            padded = pad([features[n].float() for n in rows]).to(device, dtype)
            heard = model.encode(padded, lengths.to(device))
            found |= {n: heard.row(row) for row, n in enumerate(rows)}
    return [found[n] for n in range(len(features))]


def read(
    model: SpeechTransformer,
    heard: Heard,
    tokenizer: Tokenizer,
    reading: Reading,
    scorer: Scorer | None = None,
) -> list[int]:
    """The tokens of one utterance, without `<s>` and `</s>`."""
    log_probs = heard.ctc_logits[0].cpu().double().log_softmax(-1)
    if reading.method == "ctc":
        return greedy(log_probs)
    if reading.method.startswith("attention"):
        return write(model, heard, tokenizer, beam=reading.beam if reading.method.endswith("beam") else 1)
    weight = reading.weight if scorer else 0.0
    found = prefix_beam(
        log_probs, beam=reading.beam, margin=reading.margin, scorer=scorer, weight=weight, bonus=reading.bonus
    )
    if reading.method == "both":
        found = rescored(model, heard, tokenizer, found, reading.attention_weight)
    return list(found[0].tokens)


def transcribe(
    model: SpeechTransformer,
    tokenizer: Tokenizer,
    features: Sequence[Tensor],
    reading: Reading = Reading(),
    scorer: Scorer | None = None,
) -> list[str]:
    """The text of each utterance `(T, F)`."""
    heards = listen(model, features)
    return [tokenizer.decode(read(model, heard, tokenizer, reading, scorer)) for heard in heards]


def rescored(
    model: SpeechTransformer,
    heard: Heard,
    tokenizer: Tokenizer,
    found: Sequence[Hypothesis],
    attention_weight: float,
) -> list[Hypothesis]:
    """The hypotheses of a CTC search, ordered anew: `attention_weight` of what CTC said is what the decoder says."""
    by_attention = attention_log_probs(model, heard, tokenizer, [one.tokens for one in found])
    changed = [
        replace(one, score=one.score + attention_weight * (log_attention - one.log_ctc))
        for one, log_attention in zip(found, by_attention, strict=True)
    ]
    return sorted(changed, key=lambda one: (-one.score, one.tokens))
