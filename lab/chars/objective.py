"""What a character encoder is trained to do, all at once: five objectives, and how much each counts."""

import math
import string
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.chars.batches import character_batches, line_batches, passages, running_rows, single_rows
from lab.chars.config import CharEncoderConfig
from lab.chars.corruption import character_ids, mask_characters, remove_characters, vocabulary_of
from lab.chars.losses import (
    Memory,
    Nats,
    bottleneck_loss,
    clm_loss,
    encode_remembering,
    head_loss,
    random_chunks,
)
from lab.chars.model import CharEncoder, NextCharacter
from lab.chars.scores import (
    CharacterScores,
    bottleneck_score,
    mlm_score,
    reconstruction_score,
    restoration_score,
)
from lab.config import Above, AtLeast, AtMost, shown, validate
from lab.data import IGNORE, Batch
from lab.nn import TransformerConfig
from lab.score import score_lines
from lab.train import Loss, Step, TextMaterial, TrainConfig, parallel, text_material

EVALUATED_LINES = 200  # validation lines that are looked at on the way; the scores at the end take more

Weight = Annotated[float, AtLeast(0)]
Share = Annotated[float, Above(0), AtMost(1)]


@dataclass(frozen=True)
class Weights:
    """What the mean nats of each objective count in the loss; an objective of weight 0 costs no time.

    mlm             the characters that were masked, from both sides
    clm             each character from those before it
    reconstruction  each character that the encoder sees, from its own state
    bottleneck      a chunk of text, from its latent vectors alone
    restoration     what was taken out before each character that is left

    The last three are soon learned. At weight 1 they hold `mlm` back, which needs the same encoder and takes longest;
    their own heads lose nothing by a small weight, since the optimizers do not care for the size of a gradient.

    Raises ValueError for a weight below 0, or when all are 0.
    """

    mlm: Weight = 1.0
    clm: Weight = 1.0
    reconstruction: Weight = 0.02
    bottleneck: Weight = 0.1
    restoration: Weight = 0.1

    def __post_init__(self):
        validate(self)
        if not any(asdict(self).values()):
            raise ValueError("all weights are 0: there is nothing to train")


@dataclass(frozen=True)
class CharacterText(TextMaterial):
    """Lines of characters, and what the objectives look up in their vocabulary.

    `removed` holds the ids of each set of characters that is taken out, those left out that the text has none of;
    `seed` is the run's.
    """

    removed: tuple[tuple[int, ...], ...]
    seed: int = 0

    @cached_property
    def vocabulary(self) -> dict:
        return vocabulary_of(self.tokenizer)

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids around a line, which are no part of its text."""
        return self.tokenizer.pad_id, self.tokenizer.bos_id, self.tokenizer.eos_id


@dataclass(frozen=True)
class CharacterObjectives:
    """The objectives of a character encoder, and how they are asked.

    weights, last_weights      those of the first step and of the last; in between they lie on a straight line (None:
                               the same all along)
    mask_rate, last_mask_rate  how many of the characters are chosen for `mlm`, likewise
    space_rate                 of the spaces; None: as of the other characters
    removed                    which characters `restoration` takes out: one of these sets, drawn anew for each batch;
                               those that the text has none of are passed over
    chunk                      characters that go through the bottleneck at once
    restored, chunked, predicted
                               the shares of the rows that are restored, that give a chunk, that the decoder predicts
    memory                     so many lines of running text before a line are its memory (0: lines in any order)
    scored_lines               validation lines that are scored at the end (0: all)

    >>> ends = CharacterObjectives(Weights(bottleneck=1.0), Weights(bottleneck=0.0))
    >>> ends.weights_at(0.25).bottleneck
    0.75

    Raises ValueError for what cannot be; the message names the field.
    """

    name: ClassVar[str] = "characters"
    configs: ClassVar = (CharEncoderConfig,)

    weights: Weights = Weights()
    last_weights: Weights | None = None
    mask_rate: Share = 0.3
    last_mask_rate: Share | None = None
    space_rate: Share | None = None
    removed: tuple[str, ...] = (string.punctuation,)
    chunk: Annotated[int, AtLeast(1)] = 64
    restored: Share = 0.25
    chunked: Share = 0.5
    predicted: Share = 1.0
    memory: Annotated[int, AtLeast(0)] = 0
    scored_lines: Annotated[int, AtLeast(0)] = 400

    def __post_init__(self):
        validate(self)
        if not self.removed or not all(self.removed):
            raise ValueError(
                f"removed must be sets of characters, such as ('.,;', ' '); got {self.removed!r}"
            )

    @classmethod
    def usual(cls, recipe: str | None = None) -> dict:
        """Three layers and two, a bottleneck of 512 numbers: a few minutes of one core."""
        stack = TransformerConfig(1024, context=256, num_layers=3)
        return {
            "model": CharEncoderConfig(stack, latents=32, latent_width=16),
            "objective": cls(),
            "training": TrainConfig(steps=500, precision="auto"),
            "data": {"tokenizer": "char", "batch_size": 12},
        }

    def weights_at(self, share: float) -> Weights:
        """The weights when this share of the steps is taken."""
        if self.last_weights in (None, self.weights):
            return self.weights
        first, last = asdict(self.weights), asdict(self.last_weights)
        return Weights(**{name: a + (last[name] - a) * share for name, a in first.items()})

    def mask_rate_at(self, share: float) -> float:
        """The rate when this share of the steps is taken."""
        last = self.mask_rate if self.last_mask_rate is None else self.last_mask_rate
        return self.mask_rate + (last - self.mask_rate) * share

    def material(self, experiment) -> CharacterText:
        text = text_material(experiment)
        removed = (tuple(character_ids(text.tokenizer, characters)) for characters in self.removed)
        return CharacterText(
            text.corpus, text.splits, text.tokenizer, tuple(filter(None, removed)), experiment.seed
        )

    def check(self, experiment, material: CharacterText) -> None:
        """Raises ValueError where the model, the tokenizer or the processes do not fit the objectives."""
        config, kind = experiment.model, experiment.data.tokenizer
        asked = (self.weights_at(0.0), self.weights_at(1.0))
        if kind in ("bpe", "word"):
            raise ValueError(f'a character encoder reads characters: tokenizer must be "char", got {kind!r}')
        if any(weights.bottleneck for weights in asked) and not config.latents:
            raise ValueError(
                "this model has no bottleneck: set latents and latent_width, or the weight of bottleneck to 0"
            )
        if any(weights.restoration for weights in asked) and not material.removed:
            lacks = f"the text {material.name!r} has none of the characters {shown(self.removed)}"
            if any(sum(asdict(weights).values()) == weights.restoration for weights in asked):
                raise ValueError(f"{lacks}, and nothing else is to be learned: give others as `removed`")
            warnings.warn(f"restoration is left out: {lacks}; give others as `removed`", stacklevel=2)
        if self.chunk > config.context:
            raise ValueError(
                f"a chunk of {self.chunk} characters does not fit in a context of {config.context}"
            )
        if self.memory > config.memory_slots:
            raise ValueError(
                f"a memory of {self.memory} lines, but the model has memory_slots={config.memory_slots}"
            )
        if self.memory and parallel.world_size() > 1:
            raise ValueError(
                f"lines with a memory must stay together: train in one process, not {parallel.world_size()}"
            )

    def fitted(self, config: CharEncoderConfig, material: CharacterText) -> CharEncoderConfig:
        return replace(config, stack=replace(config.stack, vocab_size=material.tokenizer.vocab_size))

    def build(self, config: CharEncoderConfig, material: CharacterText | None) -> CharEncoder:
        return CharEncoder(config)

    def batches(self, experiment, material: CharacterText) -> Iterator[Batch]:
        """Lines of like length together; with a memory, groups of lines that follow one another."""
        context = experiment.model.context
        if self.memory:
            text = passages(material.corpus.lines, material.splits.train)
            encoded = (material.tokenizer.encode_lines(passage) for passage in text)
            groups = running_rows(encoded, context, self.memory + 1)
        else:
            groups = single_rows(material.lines, context)
        generator = torch.Generator().manual_seed(experiment.seed)
        chars = experiment.data.batch_size * context
        return character_batches(groups, chars, generator, experiment.model.pad_id)

    def loss(self, model: CharEncoder, batch: Batch, step: Step) -> Loss:
        """The weighted sum of the mean nats of all objectives, times the batch's targets; the means are the metrics.

        The encoder reads the rows once, masked, with shortened rows among them, and some short chunks; the decoder
        reads the rows as they are. What the encoder sees and was not masked is what `reconstruction` asks for.
        """
        weights, text = self.weights_at(step.share), step.material
        if not text.removed:
            weights = replace(weights, restoration=0.0)
        losses, memory = {}, None
        if weights.mlm or weights.reconstruction or weights.restoration:
            losses, memory = self._encoder_losses(model, batch.ids, weights, step)
        if weights.clm:
            losses["clm"] = clm_loss(model, *self._predicted(batch, memory, step))
        if weights.bottleneck:
            rows = batch.ids[_some(self.chunked, batch.ids, step)]
            chunks = random_chunks(rows, self.chunk, step.rng, text.ends)
            if chunks.numel():  # not all lines of the batch are empty
                losses["bottleneck"] = bottleneck_loss(model, chunks, text.tokenizer.bos_id)
        means = {name: nats / max(1, count) for name, (nats, count) in losses.items()}
        total = sum(weight * means[name] for name, weight in asdict(weights).items() if name in means)
        metrics = {name: mean.item() for name, mean in means.items()}
        if "clm" in metrics:
            metrics["bits_per_char"] = metrics["clm"] / math.log(2)
        return Loss(total * batch.num_targets, batch.num_targets, metrics)

    @torch.no_grad()
    def evaluate(self, model: CharEncoder, material: CharacterText) -> float:
        """The loss a target of some validation lines, with the last weights and without a memory."""
        alone = replace(self, memory=0, weights=self.weights_at(1.0), last_weights=None)
        step = Step(rng=torch.Generator().manual_seed(material.seed), material=material)
        lines = material.splits.validation[:EVALUATED_LINES]
        losses = [alone.loss(model, batch, step) for batch in line_batches(model, material.tokenizer, lines)]
        return sum(loss.nats.item() for loss in losses) / sum(loss.count for loss in losses)

    def outcome(self, model: CharEncoder, material: CharacterText) -> dict[str, float]:
        return self.scores(model, material.tokenizer, material.splits.validation).to_outcome()

    def scores(
        self, model: CharEncoder, tokenizer, lines: Sequence[str], *, seed: int = 0
    ) -> CharacterScores:
        """All that can be measured of the first `scored_lines` lines; masked at rate 0.2, whatever was trained.

        Raises what the single scores raise.
        """
        lines = lines[: self.scored_lines or None]
        squeezed = model.config.latents and any(len(line) >= self.chunk for line in lines)
        known = [characters for characters in self.removed if character_ids(tokenizer, characters)]
        return CharacterScores(
            mlm=mlm_score(model, tokenizer, lines, seed=seed),
            clm=score_lines(NextCharacter(model), tokenizer, lines),
            reconstruction=reconstruction_score(model, tokenizer, lines),
            bottleneck=bottleneck_score(model, tokenizer, lines, chunk=self.chunk) if squeezed else None,
            restoration=tuple(
                kind
                for characters in known
                for kind in restoration_score(model, tokenizer, lines, characters)
            ),
        )

    def language_model(self, model: CharEncoder) -> nn.Module:
        return NextCharacter(model)

    def _encoder_losses(
        self, model: CharEncoder, ids: Tensor, weights: Weights, step: Step
    ) -> tuple[dict[str, Nats], Memory | None]:
        """What the encoder's heads pay, and what its rows remember."""
        text, pad_id, (B, T) = step.material, model.config.pad_id, ids.shape
        masked = mask_characters(
            ids,
            rate=self.mask_rate_at(step.share),
            space_rate=self.space_rate,
            generator=step.rng,
            **text.vocabulary,
        )
        few = _some(self.restored, ids, step)
        rows = masked.ids
        if weights.restoration:
            which = int(torch.randint(len(text.removed), (1,), generator=step.rng))
            shorter = remove_characters(ids[few], text.removed[which], pad_id=pad_id)
            left = shorter.ids.shape[1]
            rows = torch.cat([rows, F.pad(shorter.ids, (0, T - left), value=pad_id)])
        states, memory = encode_remembering(model, rows, B, self.memory)
        losses = {}
        if weights.mlm:
            losses["mlm"] = head_loss(model.heads["mlm"], states[:B], masked.targets)
        if weights.reconstruction:
            seen = ids.masked_fill((masked.targets != IGNORE) | (ids == pad_id), IGNORE)
            losses["reconstruction"] = head_loss(model.heads["reconstruction"], states[few], seen[few])
        if weights.restoration:
            losses["restoration"] = head_loss(model.heads["restoration"], states[B:, :left], shorter.labels)
        return losses, memory

    def _predicted(self, batch: Batch, memory: Memory | None, step: Step) -> tuple[Batch, Memory | None]:
        """The rows that the decoder predicts, and what they remember."""
        if self.predicted == 1:
            return batch, memory
        rows = _some(self.predicted, batch.ids, step)
        return batch.rows(rows), memory and Memory(*(part[rows] for part in memory))


def _some(share: float, ids: Tensor, step: Step) -> Tensor:
    """Which rows of `ids` `(B, T)` make a share of them, at random, at least one."""
    B = len(ids)
    return torch.randperm(B, generator=step.rng)[: math.ceil(share * B)].to(ids.device)
