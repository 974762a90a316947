"""From what a person chooses to all that training needs: text, splits, tokenizer, the stream of batches."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from lab.bundle import KINDS, Data, Experiment, NextToken, Start
from lab.bundle.experiment import Objective
from lab.bundle.run_folder import newest, step_of
from lab.bundle.step_folder import read_manifest
from lab.chars import CharacterObjectives, character_batches, passages, running_rows, single_rows
from lab.chars.model import CharEncoderConfig
from lab.data import join_lines, random_windows
from lab.data.batch import Batch
from lab.diffusion.learned_codes import vocabulary_batches
from lab.diffusion.lines import LineLengths, line_batches
from lab.diffusion.stages import Diffusion, Reconstruction, Tuning
from lab.diffusion.visual import VisualDiffusionConfig
from lab.nn.recurrent import RecurrentConfig
from lab.nn.transformer import TransformerConfig
from lab.runs.folder import default_folder, find
from lab.runs.spoken import spoken, tokenizer_of, transcripts
from lab.speech.batches import SpeechBatch, SpeechStream
from lab.speech.corpus import SpeechCorpus
from lab.speech.model import SpeechConfig
from lab.speech.recognition import Recognition, fitting
from lab.text import NAMES, TOKENIZERS, Corpus, CorpusError, Splits, Tokenizer, load
from lab.train import TrainConfig

VOCABULARY_SETTING = {"bpe": "vocab_size", "word": "max_vocab", "char": None}


@dataclass(frozen=True)
class Plan:
    """What a person chooses; `prepare` works out the rest, and gives the `Experiment`."""

    model: (
        TransformerConfig | RecurrentConfig | VisualDiffusionConfig | CharEncoderConfig | SpeechConfig
    )  # its vocab_size: the most ids the tokenizer may have ("char" takes all)
    training: TrainConfig
    corpus: str = "auto"  # a name that `lab corpus` lists, or a path
    tokenizer: Literal["bpe", "word", "char"] = "bpe"  # learns from the training lines
    batch_size: int = (
        32  # rows of model.context tokens a batch, over all processes; whole lines in about this many
    )
    split_seed: int = 0  # of the lines for training, validation and test
    seed: int = 0  # of the weights, dropout, the order of the batches, and the noise
    objective: Objective = field(
        default_factory=NextToken
    )  # what it is trained to do; of visual diffusion a stage
    start: str | None = None  # the run, by name or path, with whose weights this one begins


@dataclass(frozen=True)
class Prepared:
    """All that training needs. `splits` are lines of text; `experiment` says how they came about.

    `start` is the bundle, or the run, with whose weights it begins, where the experiment has one; `folder` where other
    runs are looked for.
    """

    experiment: Experiment
    corpus: Corpus
    splits: Splits
    tokenizer: Tokenizer
    start: Path | None = None
    folder: str | os.PathLike | None = None
    speech: SpeechCorpus | None = None  # whose transcripts the splits are, where the objective is to hear

    @cached_property
    def lines(self) -> list[list[int]]:
        """The ids of the training lines, each between `<s>` and `</s>`."""
        return self.tokenizer.encode_lines(self.splits.train)

    @cached_property
    def ids(self) -> Tensor:
        """The training lines joined: int64 `(N,)`."""
        return join_lines(self.lines)

    @property
    def tokens_per_char(self) -> float:
        """By which bits a token become bits a character, over the training lines; each line's newline counts."""
        return len(self.ids) / sum(len(line) + 1 for line in self.splits.train)

    def batches(self) -> Iterable[Batch | SpeechBatch]:
        """What the objective trains on, without end; each call begins the same stream anew."""
        return BATCHES[type(self.experiment.objective)](self)

    def model(self) -> nn.Module:
        """A fresh model; its weights depend on the experiment's seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.experiment.seed)
            model = KINDS[self.experiment.kind][1](self.experiment.model)
        if self.experiment.kind == "visual-diffusion":
            model.count_lines(self.lines)
        if self.experiment.kind == "speech" and self.experiment.model.normalize == "global":
            model.normalize_by(self.speech.normalizer())
        return model


def _windows(prepared: Prepared) -> Iterator[Batch]:
    """Windows at random places of the training text."""
    data = prepared.experiment.data
    generator = torch.Generator().manual_seed(data.seed)
    return random_windows(prepared.ids, data.context, data.batch_size, generator)


def _words(prepared: Prepared) -> Iterator[Batch]:
    """All words of the vocabulary, in random order."""
    experiment = prepared.experiment
    return vocabulary_batches(
        experiment.model.vocab_size, experiment.objective.words, seed=experiment.data.seed
    )


def _whole_lines(prepared: Prepared) -> Iterator[Batch]:
    """Whole lines, those of like length together."""
    data = prepared.experiment.data
    generator = torch.Generator().manual_seed(data.seed)
    tokens = data.batch_size * data.context
    return line_batches(prepared.lines, data.context, tokens, generator, prepared.tokenizer.pad_id or 0)


def _characters(prepared: Prepared) -> Iterator[Batch]:
    """Lines of characters, those of like length together; with a memory, groups of lines that follow one another."""
    data, memory = prepared.experiment.data, prepared.experiment.objective.memory
    if memory:
        text = passages(prepared.corpus.lines, prepared.splits.train)
        encoded = (prepared.tokenizer.encode_lines(passage) for passage in text)
        groups = running_rows(encoded, data.context, memory + 1)
    else:
        groups = single_rows(prepared.lines, data.context)
    generator = torch.Generator().manual_seed(data.seed)
    return character_batches(
        groups, data.batch_size * data.context, generator, prepared.experiment.model.pad_id
    )


def _utterances(prepared: Prepared) -> SpeechStream:
    """Utterances of like length together, masked if the objective says so."""
    objective, data = prepared.experiment.objective, prepared.experiment.data
    return SpeechStream(
        prepared.speech.train, prepared.tokenizer, objective.frames, data.seed,
        augment=objective.augment, augment_after=objective.augment_after,
    )  # fmt: skip


BATCHES = {
    NextToken: _windows,
    Reconstruction: _words,
    Diffusion: _whole_lines,
    Tuning: _whole_lines,
    CharacterObjectives: _characters,
    Recognition: _utterances,
}


def prepare(what: Plan | Experiment, folder: str | os.PathLike | None = None) -> Prepared:
    """Load the corpus, split it, train the tokenizer on the training lines.

    The same plan or experiment gives the same, bit for bit. The run that a plan starts from is looked for in `folder`.
    Raises CorpusError when the text cannot be had, is not the one of the experiment, or is too short to split; and
    ValueError for what cannot be built from it.
    """
    plan = what if isinstance(what, Plan) else _plan(what)
    if plan.tokenizer not in TOKENIZERS:
        raise ValueError(f"tokenizer must be one of {', '.join(TOKENIZERS)}; got {plan.tokenizer!r}")
    heard = isinstance(plan.objective, Recognition)
    if heard != isinstance(plan.model, SpeechConfig):
        raise ValueError(
            f"a SpeechConfig and a Recognition go together, got {type(plan.model).__name__} and {plan.objective!r}"
        )
    if heard:
        corpus, speech = spoken(plan.objective, plan.corpus)
    else:
        corpus = _named(plan.corpus) if plan.corpus in NAMES and plan.corpus != "auto" else load(plan.corpus)
    if isinstance(what, Experiment) and corpus.sha256 != what.data.sha256:
        raise CorpusError(
            f"the corpus {plan.corpus!r} has sha256 {corpus.sha256[:16]}..., the experiment's has "
            f"{what.data.sha256[:16]}...: the text has changed since; plan a new experiment on it"
        )
    if heard:
        tokenizer = tokenizer_of(speech, plan.tokenizer, **_vocabulary(plan.tokenizer, plan.model.vocab_size))
        plan = replace(plan, model=replace(plan.model, features=speech.spec))
        speech = fitting(speech, tokenizer, plan.model)
        if shortest := plan.objective.shortest:
            speech = replace(speech, train=tuple(sorted(speech.train, key=len)[:shortest]))
        splits = transcripts(speech)
    else:
        speech, splits = None, corpus.splits(seed=plan.split_seed)
        tokenizer = _tokenizer(corpus, plan.split_seed, plan.tokenizer, plan.model.vocab_size)
    if isinstance(what, Experiment):
        experiment, start = what, what.start and Path(folder or default_folder()) / what.start.run
    else:
        start, record = _start(plan.start, folder)
        experiment = _experiment(plan, corpus, splits, tokenizer, record)
    if tokenizer.vocab_size != experiment.data.vocab_size:
        raise ValueError(
            f"a tokenizer of kind {plan.tokenizer!r} has {tokenizer.vocab_size} ids for this text, the experiment says "
            f"{experiment.data.vocab_size}: start from a Plan, which leaves that number to the text"
        )
    return Prepared(experiment, corpus, splits, tokenizer, start, folder, speech)


def kind_of(config) -> str:
    """What `lab.bundle.KINDS` calls a model with this config.

    Raises ValueError for a config that none of its kinds has.
    """
    for kind, (config_class, _) in KINDS.items():
        if type(config) is config_class:
            return kind
    raise ValueError(
        f"no kind of model in lab.bundle.KINDS ({', '.join(KINDS)}) has a {type(config).__name__}"
    )


def _start(name: str | None, folder: str | os.PathLike | None) -> tuple[Path | None, Start | None]:
    """The bundle that is meant, and what an experiment says of it."""
    if name is None:
        return None, None
    path = find(name, folder)
    path = path if step_of(path) is not None else newest(path)
    return path, Start(path.parent.name, read_manifest(path)["files"]["model.safetensors"]["sha256"])


def _experiment(
    plan: Plan, corpus: Corpus, splits: Splits, tokenizer: Tokenizer, start: Start | None
) -> Experiment:
    # The name of somebody's own text does not say where it lies.
    at = corpus.name if plan.corpus in NAMES else str(Path(plan.corpus).resolve())
    data = Data(
        corpus=at,
        sha256=corpus.sha256,
        split_seed=plan.split_seed,
        tokenizer=plan.tokenizer,
        vocab_size=tokenizer.vocab_size,
        context=plan.model.context,
        batch_size=plan.batch_size,
        seed=plan.seed,
    )
    model = replace(plan.model, vocab_size=tokenizer.vocab_size)
    if isinstance(model, VisualDiffusionConfig):
        lengths = LineLengths.of(tokenizer.encode_lines(splits.train))
        model = replace(model, longest_line=len(lengths.counts) - 1)
    return Experiment(model, plan.training, data, kind_of(plan.model), plan.seed, plan.objective, start)


def _plan(experiment: Experiment) -> Plan:
    """The plan that makes this experiment's corpus and tokenizer again."""
    data = experiment.data
    return Plan(
        experiment.model, experiment.training, data.corpus, data.tokenizer, split_seed=data.split_seed,
        objective=experiment.objective,
    )  # fmt: skip


@lru_cache(maxsize=4)
def _named(name: str) -> Corpus:
    return load(name)


@lru_cache(maxsize=8)  # several runs on one text are the rule
def _tokenizer(corpus: Corpus, split_seed: int, kind: str, vocab_size: int) -> Tokenizer:
    return TOKENIZERS[kind].train(corpus.splits(seed=split_seed).train, **_vocabulary(kind, vocab_size))


def _vocabulary(kind: str, vocab_size: int) -> dict[str, int]:
    """How a tokenizer of that kind is told how many ids it may have."""
    setting = VOCABULARY_SETTING[kind]
    return {} if setting is None else {setting: vocab_size}
