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
from lab.decode import BeamSearch, Sampling, generate_batch
from lab.decode.strategies import Filter
from lab.nn import KeyValueCache, evaluating
from lab.speech.ctc import greedy
from lab.speech.ctc_beam import Hypothesis, Scorer, prefix_beam
from lab.speech.features import check_features
from lab.speech.model import Encoded, SpeechTransformer
from lab.text import Tokenizer

Method = Literal["ctc", "ctc beam", "attention", "attention beam", "both"]
PADDED_FRAMES = 6000  # that are read at once
LIKELIEST = 40  # tokens of each step that a language model is asked about


@dataclass(frozen=True)
class Reading:
    """How to read a transcript off what was heard.

    method   "ctc", the likeliest path; "ctc beam", the likeliest transcript; "attention", the decoder word for word;
             "attention beam", the decoder with a beam; "both": the finds of the CTC beam, weighed by the decoder too
             (Zhang et al. 2020, U2, section 3.3)
    beam     hypotheses kept
    margin   nats behind the best that a token of a frame may be, in the search by CTC; None for all
    weight   of the language model, where there is one, in any way but "ctc"
    bonus    what each token is worth in the search by CTC
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
    return read_each(model, [encoded], tokenizer, reading, scorer)[0]


def read_each(
    model: SpeechTransformer,
    encoded: Sequence[Encoded],
    tokenizer: Tokenizer,
    reading: Reading,
    scorer: Scorer | None = None,
) -> list[list[int]]:
    """The tokens of each utterance; the decoder writes those of like length side by side."""
    if reading.method.startswith("attention"):
        beam = reading.beam if reading.method.endswith("beam") else 1
        return write(model, encoded, tokenizer, beam, scorer, reading.weight)
    return [_read_by_ctc(model, one, tokenizer, reading, scorer) for one in encoded]


def _read_by_ctc(model, encoded: Encoded, tokenizer, reading: Reading, scorer: Scorer | None) -> list[int]:
    log_probs = encoded.ctc_logits[0].cpu().double().log_softmax(-1)
    if reading.method == "ctc":
        return greedy(log_probs)
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
    heard = listen(model, features)
    return [tokenizer.decode(tokens) for tokens in read_each(model, heard, tokenizer, reading, scorer)]


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

    `encoded` are the utterances that texts are written of with a cache, one text each at first, however many are tried
    of it later; without a cache, all texts are of the first. With an `eos_id`, a text ends there at last when it has
    as many tokens as its utterance has frames: more cannot have been said.
    """

    def __init__(self, model: SpeechTransformer, encoded: Encoded, eos_id: int | None = None):
        super().__init__()
        self.model, self.encoded, self.config, self.eos_id = model, encoded, model.config.decoder, eos_id
        self.longest = encoded.lengths.clamp(max=self.config.context - 1)
        self.training = model.training

    def forward(self, ids: Tensor, *, cache: KeyValueCache | None = None, **_) -> Tensor:
        """ids `(B, U)` -> logits `(B, U, V)`."""
        memory, lengths, ctc_logits = self.encoded
        rows = ids.new_zeros(len(ids)) if cache is None else cache.rows
        if cache is None or not cache.length:  # later its keys and values are in the cache
            memory = memory[rows]
        logits = self.model.decode(ids, Encoded(memory, lengths[rows], ctc_logits), cache=cache)
        if cache is not None and self.eos_id is not None:
            over = self.longest[rows] < cache.length  # of which `<s>` is one
            others = torch.arange(logits.shape[-1], device=ids.device) != self.eos_id
            logits = logits.masked_fill(over[:, None, None] & others, -math.inf)
        return logits

    def new_cache(self, batch: int, device: torch.device | str = "cpu") -> KeyValueCache:
        """An empty cache for the first `batch` utterances."""
        return self.model.new_cache(batch, device)


def write(
    model: SpeechTransformer,
    encoded: Sequence[Encoded],
    tokenizer: Tokenizer,
    beam: int = 1,
    scorer: Scorer | None = None,
    weight: float = 0.0,
) -> list[list[int]]:
    """What the decoder writes of each utterance, by `lab.decode`: greedily, or with a beam; many side by side.

    A text ends at `</s>`, at the model's context, or after as many tokens as there are frames. A `scorer` adds `weight`
    times what a language model says of each token (shallow fusion; Kannan et al. 2018).
    """
    filters = (fusion(scorer, weight),) if scorer is not None and weight else ()
    strategy = BeamSearch(beam, filters=filters) if beam > 1 else Sampling(temperature=0, filters=filters)
    options = {"stop_id": tokenizer.eos_id, "num_alternatives": 0}
    texts: list[list[int]] = [[] for _ in encoded]
    for rows in by_length([int(one.lengths) for one in encoded], size=max(1, PADDED_FRAMES // beam)):
        writer = Writer(model, Encoded.together([encoded[n] for n in rows]), tokenizer.eos_id)
        prompts, options["max_new_tokens"] = [[tokenizer.bos_id]] * len(rows), int(writer.longest.max()) + 1
        for step in generate_batch(writer, prompts, strategy, **options):
            for n, drawn in zip(rows, step, strict=True):
                if drawn is not None and drawn.token != tokenizer.eos_id:
                    texts[n].append(drawn.token)
    return texts


def fusion(scorer: Scorer, weight: float) -> Filter:
    """A filter for `lab.decode`: log P by the decoder + weight * log P by a language model.

    Only the tokens that the decoder finds likeliest are looked at, `LIKELIEST` of them; others cannot come.
    """

    def add(logits: Tensor, ids: Tensor) -> Tensor:
        likeliest = logits.topk(min(LIKELIEST, logits.shape[-1])).indices
        following = scorer([tuple(text[1:]) for text in ids.tolist()])  # without `<s>`
        rows = zip(following, likeliest.tolist(), strict=True)
        said = logits.new_tensor([[log_probs[token] for token in tokens] for log_probs, tokens in rows])
        log_lm = torch.full_like(logits, -math.inf).scatter(-1, likeliest, said)
        return logits.log_softmax(-1) + weight * log_lm

    return add


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
