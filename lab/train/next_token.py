"""Predicting the next token: the loss, and the objective that language models are trained for."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.config import validate
from lab.data import IGNORE, Batch, random_windows
from lab.nn import DecoderOnlyTransformer, RecurrentConfig, RecurrentLM, TransformerConfig
from lab.nn.config import Share
from lab.score import score_lines
from lab.train.cross_entropy import CrossEntropy
from lab.train.material import TextMaterial, text_material
from lab.train.objective import Loss, Step
from lab.train.starting import take_over
from lab.train.state import TrainConfig

CELLS = ("lstm", "gru", "elman")
SMALL = {"num_heads": 2}
MIDDLE = {"context": 128, "width": 256, "num_layers": 4, "feed_forward": 1024, "dropout": 0.1}
LARGE = MIDDLE | {"width": 384, "num_heads": 6, "feed_forward": 1536, "dropout": 0.2}
EVALUATED_LINES = 200  # validation lines that are looked at on the way; the score at the end takes all


def summed_nats(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The cross-entropy of `targets` `(...)` by `logits` `(..., V)`, summed over those that are not `IGNORE`.

    With `label_smoothing` the gradient is that of targets that have this share of their probability spread evenly over
    the vocabulary (Szegedy et al. 2016, section 7); what is said is the plain cross-entropy still, so that losses with
    and without it can be compared.
    """
    logits, targets = logits.flatten(0, -2), targets.flatten()
    if not label_smoothing:
        return CrossEntropy.apply(logits, targets)
    options = {"ignore_index": IGNORE, "reduction": "sum", "label_smoothing": label_smoothing}
    smoothed = F.cross_entropy(logits, targets, **options)
    return CrossEntropy.apply(logits.detach(), targets) + smoothed - smoothed.detach()


def next_token_loss(
    model: nn.Module, batch: Batch, step: Step | None = None, *, label_smoothing: float = 0.0
) -> Loss:
    """The cross-entropy of the targets in nats, summed, and how many there are; smoothing as in `summed_nats`."""
    facts = {"mask": batch.mask, "document_ids": batch.document_ids, "positions": batch.positions}
    logits = model(batch.ids, **{name: fact for name, fact in facts.items() if fact is not None})  # (B, T, V)
    return Loss(summed_nats(logits, batch.targets, label_smoothing), batch.num_targets)


@dataclass(frozen=True)
class NextToken:
    """Each token from those before it, in windows at random places of the training text.

    whole_lines      a window whose place is within reach of the start of its line begins there, see `random_windows`
    label_smoothing  the share of a target's probability that training spreads over the vocabulary
    """

    name: ClassVar[str] = "next-token"
    configs: ClassVar = (TransformerConfig, RecurrentConfig)
    recipes: ClassVar = ("quarter", "hour", *CELLS)

    whole_lines: bool = field(default=False, kw_only=True)
    label_smoothing: Share = field(default=0.0, kw_only=True)  # subclasses have fields of their own first

    __post_init__ = validate

    @classmethod
    def usual(cls, recipe: str | None = None) -> dict:
        """A small transformer and the settings with which it learned fast on two cores; 500 steps, and it can spell.

        That takes about half a minute of two cores that multiply bfloat16 themselves, some minutes of others. "quarter"
        and "hour" are larger, and their steps fill about so much of an hour there. "lstm", "gru" and "elman" are small
        recurrent models.
        """
        if recipe in CELLS:
            return {
                "model": RecurrentConfig(1024, cell=recipe),
                "objective": cls(),
                "training": TrainConfig(steps=500, precision="auto"),
            }
        sizes, steps, rows = {
            None: (SMALL, 500, 32),
            "quarter": (MIDDLE, 5900, 16),
            "hour": (LARGE, 12_000, 16),
        }[recipe]
        training = TrainConfig(steps, matrix_lr=0.02, other_lr=0.01, precision="auto")
        return {
            "model": TransformerConfig(2048, tied=True, **sizes),
            "objective": cls(whole_lines=True),
            "training": training,
            "data": {"batch_size": rows},
        }

    def material(self, experiment) -> TextMaterial:
        """The text, cut by the tokenizer of the run that it starts from, where it starts from one."""
        if experiment.start is None:
            return text_material(experiment)
        has, asked = experiment.first().tokenizer, experiment.model.vocab_size
        if asked < has.vocab_size and experiment.data.tokenizer != "char":
            raise ValueError(
                f"the run that it starts from has a vocabulary of {has.vocab_size}, got at most {asked} "
                f"(model.vocab_size): leave that out"
            )
        return text_material(experiment, has)

    def fitted(self, config, material: TextMaterial):
        return replace(config, vocab_size=material.tokenizer.vocab_size)

    def build(self, config, material: TextMaterial | None) -> nn.Module:
        return RecurrentLM(config) if isinstance(config, RecurrentConfig) else DecoderOnlyTransformer(config)

    def batches(self, experiment, material: TextMaterial) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(experiment.seed)
        starts, bos = None, material.tokenizer.bos_id
        if self.whole_lines and bos is not None:
            starts = (material.ids == bos).nonzero().flatten()
        return random_windows(
            material.ids, experiment.model.context, experiment.data.batch_size, generator, starts
        )

    def begin(self, model: nn.Module, first, experiment) -> None:
        """Take over all weights; ValueError where the two models differ in more than dropout."""
        take_over(model, first.model)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        return next_token_loss(model, batch, label_smoothing=self.label_smoothing)

    def evaluate(self, model: nn.Module, material: TextMaterial) -> float:
        """Bits a character of some validation lines."""
        lines = material.splits.validation[:EVALUATED_LINES]
        return score_lines(model, material.tokenizer, lines).bits_per_char

    def outcome(self, model: nn.Module, material: TextMaterial) -> dict[str, float]:
        return score_lines(model, material.tokenizer, material.splits.validation).columns()

    def language_model(self, model: nn.Module) -> nn.Module:
        return model
