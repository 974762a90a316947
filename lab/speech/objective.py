"""What a recogniser is trained to do: to write down what it hears, by CTC and by attention at once."""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Annotated, ClassVar

from torch import nn

from lab.config import AtLeast, AtMost, validate
from lab.nn import TransformerConfig
from lab.nn.config import Share
from lab.runs import Data, Experiment, Run
from lab.speech.augment import SpecAugment
from lab.speech.batches import SpeechBatch, SpeechStream, Utterance
from lab.speech.choosing import read_all
from lab.speech.corpus import SpeechCorpus
from lab.speech.ctc import BLANK, ctc_loss, frames_needed
from lab.speech.folders import LAYOUT, drawn, folder_corpus
from lab.speech.model import SpeechConfig, SpeechTransformer
from lab.speech.reading import Reading
from lab.speech.script import SyntheticConfig
from lab.speech.synthesis import synthetic
from lab.speech.text import TextError, character_alphabet, encode
from lab.speech.voices import ACCENTS
from lab.text import Corpus, Tokenizer, load
from lab.train import Loss, Step, TrainConfig, config_differences, summed_nats, take_over, trained_tokenizer

EVALUATED_UTTERANCES = 100  # that are transcribed on the way; the score at the end takes more


@dataclass(frozen=True)
class SpeechMaterial:
    """What a recogniser hears: `speech` without what it cannot learn from; `sha256` is that of all of it.

    `name` and `licence` are those of the text that is spoken; its tokenizer is "char", which has letters that
    training may not, or learned from the transcripts of training.
    """

    speech: SpeechCorpus
    tokenizer: Tokenizer
    name: str
    licence: str
    sha256: str


@dataclass(frozen=True)
class Recognition:
    """To write down what is heard: by CTC and by attention at once (Watanabe et al. 2017, eq. 27).

    ctc_weight  the share of CTC in the loss; 1 leaves the decoder out, 0 the CTC output
    frames      padded frames a batch, about
    script      of the speech to be made; None where the corpus is a folder of recorded speech
    augment     masks over time and bands while training; None for none
    augment_after  the batches before the first of them: in the first epochs they only slow learning down
    scored      utterances that are transcribed for the score at the end; 0 for all
    label_smoothing  the share of a target's probability that training spreads over the vocabulary, in the decoder
    shortest    train on so many utterances only, the shortest, as one does to see whether a model can learn at all; 0
                for all
    """

    name: ClassVar[str] = "recognition"
    configs: ClassVar = (SpeechConfig,)
    recipes: ClassVar = ("digits", "easy", "clauses", "folder")

    ctc_weight: Annotated[float, AtLeast(0), AtMost(1)] = 0.4
    frames: Annotated[int, AtLeast(1)] = 1500
    script: SyntheticConfig | None = field(default_factory=SyntheticConfig)
    augment: SpecAugment | None = None
    augment_after: Annotated[int, AtLeast(0)] = 0
    scored: Annotated[int, AtLeast(0)] = 200
    shortest: Annotated[int, AtLeast(0)] = 0
    label_smoothing: Share = 0.0

    __post_init__ = validate

    @classmethod
    def usual(cls, recipe: str | None = None) -> dict:
        """A recogniser of digits (on one core a minute), easy clauses (half an hour), clauses (an hour), or a folder.

        Small batches, Muon, and bands hidden at random: after 1,500 steps on easy clauses (8,000 utterances, one seed)
        the CTC output had 7.2 % of the characters of held-out voices wrong; 8.0 % with all bands, and 12.0 % with
        AdamW too.

        >>> Recognition.usual("easy")["training"].steps
        6000
        """
        small = TransformerConfig(64, context=96, width=144, num_layers=1, feed_forward=576)
        large = replace(small, width=192, feed_forward=768)
        later = partial(cls, augment_after=200)
        bands = partial(
            later, augment=SpecAugment(time_masks=0)
        )  # masks over time slow the first epochs down
        digits = SyntheticConfig("digits", 2000, 200, 200)
        easy = SyntheticConfig("easy", 24_000, 300, 300)
        clauses = SyntheticConfig("clauses", 40_000, 300, 300, ACCENTS)
        usual = {
            "digits": (SpeechConfig(replace(small, dropout=0.1)), later(0.2, script=digits), 700),
            "easy": (SpeechConfig(small), bands(script=easy), 6000),
            "clauses": (SpeechConfig(large, encoder_layers=4), bands(script=clauses), 12_000),
            "folder": (SpeechConfig(replace(small, context=400)), bands(script=None), 6000),
        }
        if (recipe := recipe or "digits") not in usual:
            raise ValueError(f"recipe must be one of {', '.join(usual)}; got {recipe!r}")
        model, objective, steps = usual[recipe]
        training = TrainConfig(steps, matrix_lr=0.02, other_lr=3e-3, warmup=150, clip_norm=5.0)
        data = {"tokenizer": "char"}
        return {"model": model, "objective": objective, "training": training, "data": data}

    def material(self, experiment: Experiment) -> SpeechMaterial:
        """The speech, made or found. Raises what `load`, `synthetic`, `folder_corpus` and `fitting` raise."""
        data, config = experiment.data, experiment.model
        speech, name, licence = _speech(self.script, data.corpus, data.subset, data.split_seed)
        if experiment.start is not None:
            tokenizer = experiment.first().tokenizer
        elif data.tokenizer == "char":
            tokenizer = character_alphabet()
        else:
            tokenizer = trained_tokenizer(data.tokenizer, speech.texts.train, config.vocab_size)
        kept = fitting(speech, tokenizer, config)
        if self.shortest:
            kept = replace(kept, train=sorted(kept.train, key=len)[: self.shortest])
        if self.script is None:
            print(kept)  # other people's files: how much of them is used, and why not the rest
        return SpeechMaterial(kept, tokenizer, name, licence, speech.sha256)

    def fitted(self, config: SpeechConfig, material: SpeechMaterial) -> SpeechConfig:
        decoder = replace(config.decoder, vocab_size=material.tokenizer.vocab_size)
        return replace(config, decoder=decoder, features=material.speech.spec)

    def check(self, experiment: Experiment, material: SpeechMaterial) -> None:
        tokenizer = material.tokenizer
        if not material.speech.validation:
            raise ValueError(f"{material.speech.name} has no validation part to measure by; {LAYOUT}")
        if tokenizer.pad_id != BLANK or None in (tokenizer.bos_id, tokenizer.eos_id):
            raise ValueError("the tokenizer must have <s>, </s>, and <pad> as token 0, the blank of CTC")

    def build(self, config: SpeechConfig, material: SpeechMaterial | None) -> SpeechTransformer:
        model = SpeechTransformer(config)
        if material is not None and config.normalize == "global":
            model.normalize_by(material.speech.normalizer())
        return model

    def begin(self, model: SpeechTransformer, first: Run, experiment: Experiment) -> None:
        """Take over all weights of a recogniser; of a language model of the decoder's config those that the two share.

        Then the encoder begins fresh, and how the decoder attends to it. Raises ValueError for any other model.
        """
        if isinstance(first.model, SpeechTransformer):
            take_over(model, first.model)
        else:
            take_over_decoder(model, first.model)

    def batches(self, experiment: Experiment, material: SpeechMaterial) -> SpeechStream:
        """Utterances of like length together."""
        return SpeechStream(
            material.speech.train, material.tokenizer, self.frames, experiment.seed, self.augment, self.augment_after
        )  # fmt: skip

    def loss(self, model: nn.Module, batch: SpeechBatch, step: Step | None = None) -> Loss:
        """ctc_weight * CTC + (1 - ctc_weight) * cross-entropy of the decoder, which also says where a transcript ends.

        The metrics are the nats a token of both. Raises ValueError for utterances that CTC cannot align.
        """
        encoded, logits = model(batch.features, batch.lengths, batch.ids if self.ctc_weight < 1 else None)
        parts, count = {}, batch.num_targets
        if self.ctc_weight > 0:
            log_probs = encoded.ctc_logits.float().log_softmax(-1)
            parts["ctc"] = self.ctc_weight, ctc_loss(log_probs, encoded.lengths, batch.targets).sum()
        if logits is not None:
            nats = summed_nats(logits, batch.golden, self.label_smoothing)
            parts["attention"] = 1 - self.ctc_weight, nats
        metrics = {name: nats.item() / max(1, count) for name, (_, nats) in parts.items()}
        return Loss(sum(weight * nats for weight, nats in parts.values()), count, metrics)

    def evaluate(self, model: nn.Module, material: SpeechMaterial) -> float:
        """The share of wrong characters of some validation utterances, by CTC's best path."""
        few = material.speech.validation[:EVALUATED_UTTERANCES]
        return read_all(model, material.tokenizer, few, [Reading("ctc")])[0].cer.rate

    def outcome(self, model: nn.Module, material: SpeechMaterial) -> dict[str, float]:
        """Wrong characters and words over those said in validation utterances: by CTC, and by attention, greedily."""
        spoken = material.speech.validation[: self.scored or None]
        methods = ("ctc", "attention") if self.ctc_weight < 1 else ("ctc",)
        ctc, *others = read_all(model, material.tokenizer, spoken, map(Reading, methods))
        found = {"cer": ctc.cer.rate, "wer": ctc.wer.rate, "scored.utterances": len(spoken)}
        for one in others:
            found |= {"attention.cer": one.cer.rate, "attention.wer": one.wer.rate}
        return found


def take_over_decoder(model: SpeechTransformer, language_model: nn.Module) -> None:
    """Give the decoder what a language model of its config knows of the transcripts' language."""
    if differ := list(config_differences(getattr(language_model, "config", None), model.config.decoder)):
        raise ValueError(f"the decoder begins as the language model that it starts from; {', '.join(differ)}")
    for part in ("embedding", "decoder", "output"):
        getattr(model, part).load_state_dict(getattr(language_model, part).state_dict(), strict=False)


def usual_speech(recipe: str = "digits", corpus: str | Corpus = "auto", seed: int = 0) -> Experiment:
    """`Recognition.usual` on a corpus; of "folder", recorded speech, that is the path, as `folder_corpus` reads it.

    >>> usual_speech("easy").training.steps
    6000
    """
    usual = Recognition.usual(recipe)
    corpus = "auto" if recipe == "digits" else corpus
    return Experiment(**usual | {"data": Data(corpus, **usual["data"])}, seed=seed)


def fitting(corpus: SpeechCorpus, tokenizer: Tokenizer, config: SpeechConfig) -> SpeechCorpus:
    """The corpus without what a model of this config cannot read, or cannot learn from; `skipped` counts and names it.

    Left out everywhere: utterances of more frames than it reads, and transcripts with characters that the tokenizer
    does not have. Left out of training: transcripts of more tokens than its context, or than CTC can align.

    Raises ValueError when nothing is left to train on.
    """
    skipped = defaultdict(list, {reason: list(names) for reason, names in corpus.skipped.items()})
    parts = {part: [] for part in corpus.parts}
    for part, utterances in corpus.parts.items():
        for one in utterances:
            reason = _unfit(one, tokenizer, config, part == "train")
            parts[part].append(one) if reason is None else skipped[reason].append(one.name)
    if not parts["train"]:
        reasons = ", ".join(f"{len(names)} {reason}" for reason, names in skipped.items()) or "there are none"
        raise ValueError(f"no utterance of {corpus.name} can be learned from: {reasons}")
    return replace(corpus, **parts, skipped=dict(skipped))


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


@lru_cache(maxsize=2)  # several runs on one corpus are the rule
def _speech(
    script: SyntheticConfig | None, corpus: str | Corpus, subset: float, seed: int
) -> tuple[SpeechCorpus, str, str]:
    """The speech, a share of it for training, and the name and licence of what is spoken."""
    if script is None:
        return folder_corpus(corpus, subset=subset, seed=seed), str(corpus), "that of the speech"
    name, licence, text = "digits", "none", None
    if script.material != "digits":
        text = corpus if isinstance(corpus, Corpus) else load(corpus)
        name, licence = text.name, text.licence
    elif corpus not in ("auto", "digits"):
        raise ValueError(f"digits are said without a text, got the corpus {corpus!r}: use another recipe")
    speech = synthetic(script, text)
    return replace(speech, train=drawn(speech.train, subset, seed)), name, licence
