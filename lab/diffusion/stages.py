"""The stages of training a visual-token model, each a record and a loss: the code, the denoiser, and its tuning.

`lab.runs` makes a run of each: `Plan(config, training, corpus, objective=Reconstruction())`, then a
`Plan(..., objective=Diffusion(), start=...)` that begins with what the first has learned.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor

from lab.data.batch import Batch
from lab.diffusion.bound import POINTS, score_bound
from lab.diffusion.codes import collision_report, minimum_distance
from lab.diffusion.denoiser import Denoiser
from lab.diffusion.learned_codes import (
    annealed_reconstruction_loss,
    reconstruction_accuracy,
    reconstruction_loss,
)
from lab.diffusion.losses import diffusion_loss
from lab.diffusion.rewards import Judge, Reward
from lab.diffusion.sampler import BLANK
from lab.diffusion.tuning import (
    TuningConfig,
    advantages,
    check_policy,
    line_prompts,
    policy_gradient,
    write_apart,
)
from lab.diffusion.visual import VisualDiffusion, VisualDiffusionConfig, straight_through
from lab.nn.config import check_whole
from lab.score import Score
from lab.train.draws import seeded_by_batch

Loss = Callable[[VisualDiffusion, Batch], tuple[Tensor, int]]


@dataclass(frozen=True)
class Reconstruction:
    """The first stage: every word of the vocabulary must come back from its grid; `words` of them a batch.

    A learned code learns, with its decoder; of any other code only the decoder does.
    """

    words: int = 256

    def __post_init__(self):
        check_whole("words", self.words, 1)


@dataclass(frozen=True)
class Diffusion:
    """The second stage: the denoiser learns to write lines.

    weights, times, least, clamp   as `lab.diffusion.losses.diffusion_loss` has them
    train_codes                    the code and its decoder go on learning (see `learning_code`); else they are frozen
    scored_lines, draws            the bound at the end is taken over so many validation lines (0 = all), each noised so
                                   many times

    Raises ValueError for what cannot be; the message names the field.
    """

    weights: str = "mean"
    times: str = "uniform"
    least: float = 0.05
    clamp: float = 0.5
    train_codes: bool = False
    scored_lines: int = 200
    draws: int = 16

    def __post_init__(self):
        diffusion_loss(VisualDiffusionConfig(2).make_noise(), torch.Generator(), **self.loss_settings())
        if not isinstance(self.train_codes, bool):
            raise ValueError(f"train_codes must be True or False, got {self.train_codes!r}")
        check_whole("scored_lines", self.scored_lines, 0)
        check_whole("draws", self.draws, 16)
        if self.draws % POINTS:
            raise ValueError(f"draws must be a multiple of {POINTS}, got {self.draws}")

    def loss_settings(self) -> dict:
        """The arguments of `diffusion_loss`, but for the granularity, which is the model's."""
        return {"weights": self.weights, "times": self.times, "least": self.least, "clamp": self.clamp}


@dataclass(frozen=True)
class Tuning:
    """The third stage: the denoiser of an earlier run learns to land on words (see `lab.diffusion.tuning`).

    prompts                  so many lines of one length a step, each written `samples` times in `denoising_steps`
    kl, anchor, distance, fluency, repetition   the weights, as `TuningConfig` has them
    judge                    the run of an autoregressive model that says how fluent a line is, by name or path, or ""
    scored_lines, draws      as `Diffusion` has them

    Raises ValueError for what cannot be; the message names the field.
    """

    prompts: int = 8
    samples: int = 8
    denoising_steps: int = 8
    kl: float = 0.05
    anchor: float = 0.1
    distance: float = 0.5
    fluency: float = 1.0
    repetition: float = 1.0
    judge: str = ""
    scored_lines: int = 200
    draws: int = 16

    def __post_init__(self):
        check_whole("prompts", self.prompts, 1)
        shared = {field.name for field in fields(TuningConfig)} & {field.name for field in fields(self)}
        TuningConfig(**{name: getattr(self, name) for name in shared})
        Diffusion(scored_lines=self.scored_lines, draws=self.draws)


@dataclass(frozen=True)
class Recovered:
    """What the first stage came to: of `words` words, `right` come back from their hard grids.

    `minimum_distance` is that between two words in cells, `shared` how many groups of words share a pattern.
    """

    words: int
    right: int
    minimum_distance: int
    shared: int

    @property
    def accuracy(self) -> float:
        return self.right / self.words

    def __str__(self) -> str:
        apart = (
            f"{self.shared} patterns are shared"
            if self.shared
            else f"{self.minimum_distance} cells apart at least"
        )
        return f"{self.right:,} of {self.words:,} words come back from their grids, {apart}"


def reconstruction_stage(step: Callable[[], int], steps: int) -> Loss:
    """The loss of the first stage; `step()` says how many of `steps` are taken, for the temperature."""
    loss = annealed_reconstruction_loss(step, steps)
    return lambda model, batch: loss(model.autoencoder, batch)


def diffusion_stage(
    stage: Diffusion, config: VisualDiffusionConfig, batches_taken: Callable[[], int], *seeds: int
) -> Loss:
    """The loss of the second stage, whose noise depends on `seeds` and on the number of the batch alone.

    `batches_taken()` counts those before this step, as a training state does; so a run that is resumed draws what it
    would have drawn.
    """
    generator = torch.Generator()
    begin = seeded_by_batch(generator, batches_taken, *seeds)
    loss = diffusion_loss(
        config.make_noise(), generator, granularity=config.granularity, **stage.loss_settings()
    )

    def noised(model: VisualDiffusion, batch: Batch) -> tuple[Tensor, int]:
        begin()
        return learning_code(model, batch, loss) if stage.train_codes else loss(model.denoiser, batch)

    return noised


def tuning_stage(
    stage: Tuning,
    model: VisualDiffusion,
    reference: Denoiser,
    judge: Judge | None,
    batches_taken: Callable[[], int],
    told: dict,
    *seeds: int,
) -> Loss:
    """The loss of the third stage: its value is the bound on the batch in nats, its gradient that of all that counts.

    So the optimizer is that of any run. What was written, and the KL to the `reference` (nats a token), is left in
    `told`. Dropout stays off, so that the policy is the one that wrote. Seeds as in `diffusion_stage`.

    Raises ValueError for a denoiser that does not draw its cells one by one.
    """
    check_policy(model.denoiser, model.noise)
    if model.config.granularity != "cell":
        raise ValueError(
            f"tuning reveals single cells: granularity must be 'cell', got {model.config.granularity!r}"
        )
    generator = torch.Generator()
    begin = seeded_by_batch(generator, batches_taken, *seeds)
    reference = reference.requires_grad_(False).eval()
    reward = Reward(model.codebook(), judge, stage.distance, stage.fluency, stage.repetition)
    nelbo = diffusion_loss(model.noise, generator, granularity="cell", weights="bound", times="informative")

    def tuned(model: VisualDiffusion, batch: Batch) -> tuple[Tensor, int]:
        begin()
        denoiser, noise = model.denoiser.eval(), model.noise
        board = next(line_prompts(model.lengths, stage.prompts, model.config.context, generator))
        board = board.to(batch.ids.device).repeat_interleave(stage.samples, dim=0)
        given = board != BLANK
        path = write_apart(denoiser, noise, board, steps=stage.denoising_steps, generator=generator)
        rewards = reward(path.cells[-1], given)
        better = advantages(rewards.total.view(-1, stage.samples)).flatten()
        nats, count = nelbo(denoiser, batch)
        # `train` divides all gradients by the count.
        kl = policy_gradient(denoiser, reference, noise, path, given, better * count, stage.kl * count)
        told.update({"kl": kl} | {name: float(part.mean()) for name, part in asdict(rewards).items()})
        return stage.anchor * nats + (1 - stage.anchor) * nats.detach(), count

    return tuned


def learning_code(model: VisualDiffusion, batch: Batch, loss: Callable) -> tuple[Tensor, int]:
    """The denoiser's `loss`, with a gradient for the code too, and the loss of reconstructing the words of the batch.

    The gradient goes straight through the visible cells; the reconstruction keeps the words apart. Each is a mean, and
    the sum is counted as the former.

    Raises ValueError when words have come to share a pattern.
    """
    model.refresh()
    encoder = model.autoencoder.encoder
    if not torch.equal(encoder.patterns(), model.denoiser.patterns):
        model.codebook()  # says which
    if model.config.code == "learned":
        model.denoiser.code = straight_through(
            encoder.logits(torch.arange(model.config.vocab_size, device=batch.ids.device))
        )
    try:
        nats, count = loss(model.denoiser, batch)
    finally:
        model.denoiser.code = None
    code_nats, words = reconstruction_loss(model.autoencoder, Batch(batch.ids, batch.ids))
    return nats + code_nats * (count / words), count


def recovered(model: VisualDiffusion) -> Recovered:
    """How many words come back, and how far apart they are drawn."""
    patterns, V = model.autoencoder.encoder.patterns(), model.config.vocab_size
    right = round(reconstruction_accuracy(model.autoencoder) * V)
    apart = minimum_distance(patterns, model.config.num_colours) if V > 1 else model.config.num_cells
    return Recovered(V, right, apart, len(collision_report(patterns)))


def line_bound(
    model: VisualDiffusion, tokenizer, lines: list[str], *, draws: int = 16, seed: int = 0
) -> Score:
    """`score_bound` with the model's own noise, granularity and lengths; the same for the same seed."""
    model.refresh()
    return score_bound(
        model.denoiser,
        tokenizer,
        lines,
        model.noise,
        model.lengths,
        granularity=model.config.granularity,
        draws=draws,
        generator=torch.Generator().manual_seed(seed),
    )
