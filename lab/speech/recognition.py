"""What a recogniser is trained to do, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch.nn.functional as nnf
from torch import Tensor, nn

from lab.data.batch import IGNORE
from lab.speech.augment import SpecAugment
from lab.speech.batches import SpeechBatch, Utterance
from lab.speech.corpus import SpeechCorpus
from lab.speech.ctc import ctc_loss, frames_needed
from lab.speech.model import SpeechConfig
from lab.speech.script import SyntheticConfig
from lab.speech.text import TextError, encode
from lab.text import Tokenizer


@dataclass(frozen=True)
class Recognition:
    """To write down what is heard: by CTC and by attention at once (Watanabe et al. 2017, eq. 27).

    ctc_weight  the share of CTC in the loss; 1 leaves the decoder out, 0 the CTC output
    frames      padded frames a batch, about
    material    what is spoken; None where the corpus is a folder of speech
    augment     masks over time and bands while training; None for none
    augment_after  the batches before the first of them: in the first epochs they only slow learning down
    scored      utterances that are transcribed for the score at the end; 0 for all
    shortest    train on so many utterances only, the shortest, as one does to see whether a model can learn at all; 0
                for all

    Raises ValueError for a weight outside 0 to 1 and for counts below 0.
    """

    ctc_weight: float = 0.4
    frames: int = 1500
    material: SyntheticConfig | None = field(default_factory=SyntheticConfig)
    augment: SpecAugment | None = None
    augment_after: int = 0
    scored: int = 200
    shortest: int = 0

    def __post_init__(self):
        if not (isinstance(self.ctc_weight, int | float) and 0 <= self.ctc_weight <= 1):
            raise ValueError(f"ctc_weight must be from 0 to 1, got {self.ctc_weight!r}")
        for name, least in {"frames": 1, "augment_after": 0, "scored": 0, "shortest": 0}.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def recognition_loss(ctc_weight: float, told: dict | None = None) -> Callable:
    """The loss, as `lab.train` takes it: `loss(model, batch) -> (summed nats, number of tokens)`.

    ctc_weight * CTC + (1 - ctc_weight) * cross-entropy of the decoder, which also has to say where a transcript ends.
    `told` is given the nats a token of both, of the last batch. Raises ValueError for utterances that CTC cannot
    align.
    """

    def loss(model: nn.Module, batch: SpeechBatch) -> tuple[Tensor, int]:
        heard, logits = model(batch.features, batch.lengths, batch.ids if ctc_weight < 1 else None)
        parts, count = {}, batch.num_targets
        if ctc_weight > 0:
            log_probs = heard.ctc_logits.float().log_softmax(-1)
            parts["ctc"] = ctc_weight, ctc_loss(log_probs, heard.lengths, batch.targets).sum()
        if logits is not None:
            flat, golden = logits.flatten(0, 1), batch.golden.flatten()
            nats = nnf.cross_entropy(flat, golden, ignore_index=IGNORE, reduction="sum")
            parts["attention"] = 1 - ctc_weight, nats
        if told is not None:
            told.update({name: nats.item() / max(1, count) for name, (_, nats) in parts.items()})
        return sum(weight * nats for weight, nats in parts.values()), count

    return loss


def fitting(corpus: SpeechCorpus, tokenizer: Tokenizer, config: SpeechConfig) -> SpeechCorpus:
    """The corpus without what a model of this config cannot read, or cannot learn from; `skipped` counts and names it.

    Left out everywhere: utterances of more frames than it reads, and transcripts with characters that the tokenizer
    does not have. Left out of training: transcripts of more tokens than its context, or than CTC can align.

    Raises ValueError when nothing is left to train on.
    """
    skipped = {reason: list(names) for reason, names in corpus.skipped.items()}
    parts = {}
    for part, utterances in corpus.parts.items():
        parts[part] = []
        for one in utterances:
            reason = _unfit(one, tokenizer, config, part == "train")
            parts[part].append(one) if reason is None else skipped.setdefault(reason, []).append(one.name)
    if not parts["train"]:
        reasons = ", ".join(f"{len(names)} {reason}" for reason, names in skipped.items()) or "there are none"
        raise ValueError(f"no utterance of {corpus.name} can be learned from: {reasons}")
    kept = {part: tuple(utterances) for part, utterances in parts.items()}
    return replace(corpus, **kept, skipped={reason: tuple(names) for reason, names in skipped.items()})


def _unfit(one: Utterance, tokenizer: Tokenizer, config: SpeechConfig, to_learn: bool) -> str | None:
    try:
        tokens = encode(one.text, tokenizer)
    except TextError as error:
        return error.reason
    if len(one) > config.max_frames:
        return f"longer than {config.max_frames} frames"
    if to_learn and len(tokens) >= config.context:
        return f"more than {config.context - 1} tokens"
    if to_learn and frames_needed(tokens) > -(-len(one) // config.reduction):
        return "more tokens than CTC can align with the frames"
    return None


@dataclass(frozen=True)
class Transcribed:
    """How much of what was said was not understood: wrong characters and words over those said, held-out speech.

    ctc        by the CTC output alone, its likeliest path
    attention  by the decoder, greedily; NaN where it was not trained

    >>> print(Transcribed(0.021, 0.08, 0.03, 0.06, 200))
    CER 2.1 %, WER 8.0 % by CTC; CER 3.0 %, WER 6.0 % by attention; 200 utterances
    """

    ctc_cer: float
    ctc_wer: float
    attention_cer: float | None
    attention_wer: float | None
    utterances: int

    def __str__(self) -> str:
        by = {"CTC": (self.ctc_cer, self.ctc_wer), "attention": (self.attention_cer, self.attention_wer)}
        said = [
            f"CER {100 * c:.1f} %, WER {100 * w:.1f} % by {name}"
            for name, (c, w) in by.items()
            if c is not None
        ]
        return f"{'; '.join(said)}; {self.utterances} utterances"
