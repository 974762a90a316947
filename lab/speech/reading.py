"""From features to text: by CTC, by attention, by both, with a language model or without.

Letters: T frames, F bands, S frames that the encoder makes of them, U tokens of a text, V tokens there are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from lab.config import Above, AtLeast, AtMost, validate
from lab.data import IGNORE, by_length, pad
from lab.decode import BeamSearch, Sampling, generate
from lab.nn import KeyValueCache, evaluating
from lab.speech.ctc import greedy
from lab.speech.ctc_beam import Hypothesis, Scorer, prefix_beam
from lab.speech.features import check_features
from lab.speech.model import Encoded, SpeechTransformer
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
def listen(
    model: SpeechTransformer, features: Sequence[Tensor], frames: int = PADDED_FRAMES
) -> list[Encoded]:
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
            encoded = model.encode(padded, lengths.to(device))
            found |= {n: encoded.row(row) for row, n in enumerate(rows)}
    return [found[n] for n in range(len(features))]


def read(
    model: SpeechTransformer,
    encoded: Encoded,
    tokenizer: Tokenizer,
    reading: Reading,
    scorer: Scorer | None = None,
) -> list[int]:
    """The tokens of one utterance, without `<s>` and `</s>`."""
    log_probs = encoded.ctc_logits[0].cpu().double().log_softmax(-1)
    if reading.method == "ctc":
        return greedy(log_probs)
    if reading.method.startswith("attention"):
        return write(model, encoded, tokenizer, beam=reading.beam if reading.method.endswith("beam") else 1)
    weight = reading.weight if scorer else 0.0
    found = prefix_beam(
        log_probs, beam=reading.beam, margin=reading.margin, scorer=scorer, weight=weight, bonus=reading.bonus
    )
    if reading.method == "both":
        found = rescored(model, encoded, tokenizer, found, reading.attention_weight)
    return list(found[0].tokens)


def transcribe(
    model: SpeechTransformer,
    tokenizer: Tokenizer,
    features: Sequence[Tensor],
    reading: Reading = Reading(),
    scorer: Scorer | None = None,
) -> list[str]:
    """The text of each utterance `(T, F)`."""
    return [tokenizer.decode(read(model, one, tokenizer, reading, scorer)) for one in listen(model, features)]


def rescored(
    model: SpeechTransformer,
    encoded: Encoded,
    tokenizer: Tokenizer,
    found: Sequence[Hypothesis],
    attention_weight: float,
) -> list[Hypothesis]:
    """The hypotheses of a CTC search, ordered anew: `attention_weight` of what CTC said is what the decoder says."""
    if not attention_weight:  # else a text too long for the decoder would get 0 * -inf
        return list(found)
    by_attention = attention_log_probs(model, encoded, tokenizer, [one.tokens for one in found])
    changed = [
        replace(one, score=one.score + attention_weight * (log_attention - one.log_ctc))
        for one, log_attention in zip(found, by_attention, strict=True)
    ]
    return sorted(changed, key=lambda one: (-one.score, one.tokens))


class Writer(nn.Module):
    """The decoder together with what it attends to: a language model, with which `lab.decode` can write.

    `encoded` is one utterance; however many texts are tried at once, all are of it.
    """

    def __init__(self, model: SpeechTransformer, encoded: Encoded):
        super().__init__()
        self.model, self.encoded, self.config = model, encoded, model.config.decoder
        self.training = model.training

    def forward(self, ids: Tensor, *, cache: KeyValueCache | None = None, **_) -> Tensor:
        """ids `(B, U)` -> logits `(B, U, V)`."""
        rows = Encoded(*(part.expand(len(ids), *part.shape[1:]) for part in self.encoded))
        return self.model.decode(ids, rows, cache=cache)

    def new_cache(self, batch: int, device: torch.device | str = "cpu") -> KeyValueCache:
        """An empty cache for `batch` texts."""
        return self.model.new_cache(batch, device)


def write(model: SpeechTransformer, encoded: Encoded, tokenizer: Tokenizer, beam: int = 1) -> list[int]:
    """What the decoder writes of one utterance, by `lab.decode`: greedily, or with a beam.

    It ends at `</s>`, at the model's context, or after as many tokens as there are frames: more cannot have been said.
    """
    longest = min(model.config.context - 1, int(encoded.lengths[0]))
    strategy = BeamSearch(width=beam) if beam > 1 else Sampling(temperature=0)
    options = {"max_new_tokens": longest, "stop_id": tokenizer.eos_id, "num_alternatives": 0}
    drawn = generate(Writer(model, encoded), [tokenizer.bos_id], strategy, **options)
    return [step.token for step in drawn if step.token != tokenizer.eos_id]


@torch.no_grad()
def attention_log_probs(
    model: SpeechTransformer, encoded: Encoded, tokenizer: Tokenizer, texts: Sequence[Sequence[int]]
) -> list[float]:
    """log P(text, `</s>` | audio) of each text by the decoder, all in one batch.

    Of a text that does not fit in the decoder's context it is -inf.
    """
    U = min(max(map(len, texts)) + 1, model.config.decoder.context)
    ids = pad([[tokenizer.bos_id, *text][:U] for text in texts], tokenizer.pad_id or 0)
    golden = pad([[*text, tokenizer.eos_id][:U] for text in texts], IGNORE)
    logits = Writer(model, encoded)(ids.to(encoded.memory.device)).double().cpu()
    nats = nnf.cross_entropy(logits.transpose(1, 2), golden, ignore_index=IGNORE, reduction="none").sum(1)
    return [-math.inf if len(text) >= U else -found for text, found in zip(texts, nats.tolist(), strict=True)]
