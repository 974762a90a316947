"""The three stages of a visual-token model, each an objective: the code, the denoiser, and its tuning.

code = get_or_train(Experiment(config, Reconstruction(), ...))
denoiser = get_or_train(Experiment(config, Diffusion(), ..., start=...))  # the first run, by name or path
tuned = get_or_train(Experiment(config, Tuning(), ..., start=...))  # the second
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar

import torch

from lab import runs
from lab.config import AtLeast, AtMost, Below, validate
from lab.data import Batch
from lab.diffusion.bound import POINTS, score_bound
from lab.diffusion.codes import collision_report, minimum_distance
from lab.diffusion.denoiser import Denoiser
from lab.diffusion.learned_codes import reconstruction_accuracy, reconstruction_loss, vocabulary_batches
from lab.diffusion.lines import LineLengths, line_batches
from lab.diffusion.losses import Times, Weights, diffusion_loss
from lab.diffusion.rewards import Judge, Reward
from lab.diffusion.sampler import BLANK
from lab.diffusion.tuning import advantages, check_policy, line_prompt, policy_gradient, write_apart
from lab.diffusion.visual import VisualDiffusion, VisualDiffusionConfig
from lab.diffusion.writing import write_line
from lab.nn import TransformerConfig
from lab.score import Score
from lab.train import Loss, NextToken, Step, TextMaterial, TrainConfig, text_material

EVALUATED_LINES = (
    200  # validation lines that are looked at on the way; the score at the end takes `scored_lines`
)


class Stage:
    """What the three share: the model, its text, and that each may begin where another ended."""

    configs: ClassVar = (VisualDiffusionConfig,)
    usual_model: ClassVar[dict] = {}
    usual_training: ClassVar[dict]

    @classmethod
    def usual(cls, recipe: str | None = None) -> dict:
        """What is trained where nothing else is asked for; with "cells" a model whose tuning can follow."""
        stack = TransformerConfig(1024, context=192)
        parts = Tuning.usual_model if recipe == "cells" else cls.usual_model
        sizes = VisualDiffusionConfig(stack, reads="words", neighbours=2, **parts)
        return {
            "model": sizes, "objective": cls(), "training": TrainConfig(**cls.usual_training),
            "data": {"batch_size": 8},
        }  # fmt: skip

    def material(self, experiment) -> TextMaterial:
        return text_material(experiment)

    def fitted(self, config: VisualDiffusionConfig, material: TextMaterial) -> VisualDiffusionConfig:
        stack = replace(config.stack, vocab_size=material.tokenizer.vocab_size)
        return replace(config, stack=stack, longest_line=len(LineLengths.of(material.lines).counts) - 1)

    def build(self, config: VisualDiffusionConfig, material: TextMaterial | None) -> VisualDiffusion:
        model = VisualDiffusion(config)
        if material is not None:
            model.count_lines(material.lines)
        return model

    def begin(self, model: VisualDiffusion, first: runs.Run, experiment) -> None:
        """Take over the code, and from a later stage than the first the denoiser too; ValueError where they differ."""
        model.start_from(first.model, denoiser=not isinstance(first.experiment.objective, Reconstruction))


class Writing(Stage):
    """What the second and the third share: whole lines to train on, the bound as the score, and lines as they write."""

    def __post_init__(self):
        validate(self)
        if self.draws % POINTS:
            raise ValueError(f"draws must be a multiple of {POINTS}, got {self.draws}")

    def batches(self, experiment, material: TextMaterial) -> Iterator[Batch]:
        """Whole lines, those of like length together."""
        context, generator = experiment.model.context, torch.Generator().manual_seed(experiment.seed)
        tokens = experiment.data.batch_size * context
        return line_batches(material.lines, context, tokens, generator, material.tokenizer.pad_id or 0)

    def evaluate(self, model: VisualDiffusion, material: TextMaterial) -> float:
        """At most so many bits a character of some validation lines."""
        lines = material.splits.validation[:EVALUATED_LINES]
        return line_bound(model, material.tokenizer, lines, draws=self.draws).bits_per_char

    def outcome(self, model: VisualDiffusion, material: TextMaterial) -> dict[str, float]:
        lines = material.splits.validation[: self.scored_lines or None]
        return line_bound(model, material.tokenizer, lines, draws=self.draws).columns()

    def generate(self, model: VisualDiffusion, tokenizer, prompt: str = "", sampling=None, **options) -> str:
        """A line that begins with `prompt`; the options are those of `write_line`: suffix, steps, method, length."""
        return write_line(model, tokenizer, prompt=prompt, sampling=sampling, **options).text


@dataclass(frozen=True)
class Reconstruction(Stage):
    """The first stage: every word of the vocabulary must come back from its grid.

    words  of the vocabulary a batch

    A learned code learns, with its decoder; of any other code only the decoder does.
    """

    words: Annotated[int, AtLeast(1)] = 256

    name: ClassVar[str] = "reconstruction"
    usual_training: ClassVar[dict] = {"steps": 300, "other_lr": 0.05, "warmup": 5}
    __post_init__ = validate

    def batches(self, experiment, material: TextMaterial) -> Iterator[Batch]:
        """All words of the vocabulary, in random order."""
        return vocabulary_batches(experiment.model.vocab_size, self.words, seed=experiment.seed)

    def loss(self, model: VisualDiffusion, batch: Batch, step: Step) -> Loss:
        return reconstruction_loss(model.autoencoder, batch, step)

    def evaluate(self, model: VisualDiffusion, material: TextMaterial) -> float:
        """The share of the vocabulary that does not come back."""
        return 1 - reconstruction_accuracy(model.autoencoder)

    def outcome(self, model: VisualDiffusion, material: TextMaterial) -> dict[str, float]:
        """How many words come back, how far apart they are drawn, and how many groups of them share a pattern."""
        patterns, V = model.autoencoder.encoder.patterns(), model.config.vocab_size
        accuracy = reconstruction_accuracy(model.autoencoder)
        apart = minimum_distance(patterns, model.config.num_colours) if V > 1 else model.config.num_cells
        return {
            "accuracy": accuracy,
            "code.words": V,
            "code.right": round(accuracy * V),
            "code.minimum_distance": apart,
            "code.shared": len(collision_report(patterns)),
        }


@dataclass(frozen=True)
class Diffusion(Writing):
    """The second stage: the denoiser learns to write lines.

    weights, times, least, clamp   as `diffusion_loss` has them
    train_codes                    the code and its decoder go on learning; else they are frozen
    scored_lines, draws            the bound at the end is taken over so many validation lines (0 = all), each noised so
                                   many times

    Raises ValueError for what cannot be; the message names the field.
    """

    weights: Weights = "mean"
    times: Times = "uniform"
    least: Annotated[float, AtLeast(0), Below(1)] = 0.05
    clamp: Annotated[float, AtLeast(0), AtMost(1)] = 0.5
    train_codes: bool = False
    scored_lines: Annotated[int, AtLeast(0)] = 200
    draws: Annotated[int, AtLeast(16)] = 16

    name: ClassVar[str] = "diffusion"
    recipes: ClassVar = ("cells",)
    usual_training: ClassVar[dict] = {"steps": 500, "precision": "auto"}

    def check(self, experiment, material: TextMaterial) -> None:
        if experiment.model.code == "learned" and experiment.start is None and not self.train_codes:
            raise ValueError(
                "a learned code comes from a run of the first stage: train one with Reconstruction(), name it as the "
                "start of this one, or let this one learn the code with train_codes=True"
            )

    def loss(self, model: VisualDiffusion, batch: Batch, step: Step) -> Loss:
        """What the denoiser's answers cost; while the code learns, what it costs to tell the words apart is added.

        Each of the two is a mean, and their sum is counted as the former. ValueError when words have come to share a
        pattern.
        """
        if not self.train_codes:
            return self._denoising(model, batch, step)
        with model.learning_code():
            nats, count, _ = self._denoising(model, batch, step)
        code_nats, words, _ = reconstruction_loss(model.autoencoder, Batch(batch.ids, batch.ids))
        return Loss(nats + code_nats * (count / words), count)

    def _denoising(self, model: VisualDiffusion, batch: Batch, step: Step) -> Loss:
        how = {"weights": self.weights, "times": self.times, "least": self.least, "clamp": self.clamp}
        return diffusion_loss(model.denoiser, batch, step.rng, **how)


@dataclass(frozen=True)
class Tuning(Writing):
    """The third stage: the denoiser of an earlier run learns by reinforcement to land on words, and on likely ones.

    prompts                  so many lines of one length a step
    samples                  how often each is written
    denoising_steps          in how many steps
    kl                       the weight of the KL to the denoiser it began as, in nats a token
    anchor                   the weight of the bound on the text, in nats a token
    distance, fluency, repetition   the weights in `Reward`
    judge                    the run of an autoregressive model that says how fluent a line is, by name or path, or ""
    scored_lines, draws      as `Diffusion` has them

    Raises ValueError for what cannot be; the message names the field.
    """

    prompts: Annotated[int, AtLeast(1)] = 8
    samples: Annotated[int, AtLeast(2)] = 8  # each is compared with the others of its prompt
    denoising_steps: Annotated[int, AtLeast(1)] = 8
    kl: Annotated[float, AtLeast(0)] = 0.05
    anchor: Annotated[float, AtLeast(0)] = 0.1
    distance: Annotated[float, AtLeast(0)] = 0.5
    fluency: Annotated[float, AtLeast(0)] = 1.0
    repetition: Annotated[float, AtLeast(0)] = 1.0
    judge: str = ""
    scored_lines: Annotated[int, AtLeast(0)] = 200
    draws: Annotated[int, AtLeast(16)] = 16

    name: ClassVar[str] = "tuning"
    usual_model: ClassVar[dict] = {"head": "factorised", "granularity": "cell"}
    usual_training: ClassVar[dict] = {
        "steps": 60, "other_lr": 3e-4, "warmup": 0, "schedule": "constant", "optimizer": "adamw",
    }  # fmt: skip

    def material(self, experiment) -> "TuningMaterial":
        text = text_material(experiment)
        return TuningMaterial(text.corpus, text.splits, text.tokenizer, self, experiment.start)

    def check(self, experiment, material: "TuningMaterial") -> None:
        if experiment.start is None:
            raise ValueError(
                "tuning needs a start, a run such as `lab train --objective diffusion --recipe cells`"
            )
        if isinstance(material.first.experiment.objective, Reconstruction):
            raise ValueError(f"{experiment.start.run} is of the first stage: its denoiser knows nothing")
        check_policy(experiment.model)
        _ = material.reward  # says what is wrong with the judge

    def loss(self, model: VisualDiffusion, batch: Batch, step: Step) -> Loss:
        """Its value is the bound on the batch in nats, its gradient that of all that counts.

        So the optimizer is that of any run. The metrics say what was written, and the KL to the reference. Dropout
        stays off, so that the policy is the one that wrote.
        """
        denoiser, rng, device = model.denoiser.eval(), step.rng, batch.ids.device
        board = line_prompt(model.lengths, self.prompts, model.config.context, rng)
        board = board.to(device).repeat_interleave(self.samples, dim=0)
        given = board != BLANK
        path = write_apart(denoiser, board, steps=self.denoising_steps, generator=rng)
        rewards = step.material.reward(path.cells[-1], given)
        better = advantages(rewards.total.view(-1, self.samples)).flatten()
        nats, count, _ = diffusion_loss(denoiser, batch, rng, weights="bound", times="informative")
        reference = step.material.reference.to(device)
        # `train` divides all gradients by the count.
        kl = policy_gradient(denoiser, reference, path, given, better * count, self.kl * count)
        metrics = {"kl": kl} | {name: float(part.mean()) for name, part in rewards._asdict().items()}
        return Loss(self.anchor * nats + (1 - self.anchor) * nats.detach(), count, metrics)


@dataclass(frozen=True)
class TuningMaterial(TextMaterial):
    """A text, and what written lines are measured by; the other runs are loaded when they are first asked for."""

    objective: Tuning
    start: runs.Start | None

    @cached_property
    def first(self) -> runs.Run:
        """The run that tuning begins with."""
        return runs.load(self.start.path)

    @property
    def reference(self) -> Denoiser:
        """The frozen denoiser, which the tuned one is held near."""
        return self.first.model.denoiser.requires_grad_(False).eval()

    @cached_property
    def reward(self) -> Reward:
        asked = self.objective
        judge = self._judge(asked.judge) if asked.judge else None
        return Reward(self.first.model.codebook(), judge, asked.distance, asked.fluency, asked.repetition)

    def _judge(self, name: str) -> Judge:
        """The autoregressive model of that run, and what it says of validation lines that it can read at once."""
        run = runs.load(runs.find(name, Path(self.start.path).parents[1]))
        if not isinstance(run.experiment.objective, NextToken) or runs.outcome(run) is None:
            raise ValueError(f"the judge must have learned the next token to its end, got {name!r}")
        if run.tokenizer.to_json() != self.tokenizer.to_json():
            raise ValueError(f"the judge {name!r} has another tokenizer: train it on the same data and ids")
        lines = self.tokenizer.encode_lines(self.splits.validation[:EVALUATED_LINES])
        return Judge.of(run.model, [ids for ids in lines if len(ids) <= run.model.config.context])


def line_bound(
    model: VisualDiffusion, tokenizer, lines: Sequence[str], *, draws: int = 16, seed: int = 0
) -> Score:
    """`score_bound` with the model's own lengths of lines; the same for the same seed."""
    model.refresh()
    generator = torch.Generator().manual_seed(seed)
    return score_bound(model.denoiser, tokenizer, lines, model.lengths, draws=draws, generator=generator)
