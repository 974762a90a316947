"""What a run is made of: an objective says what a model is trained to do, on what, and how well it does it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Step:
    """What a loss may know of the step it is part of.

    number    optimizer steps taken before this one
    micro     which batch of this step, from 0
    share     number / all steps: how far training has come, in 0 .. 1
    rng       a CPU generator that stands where this batch begins, so that a run that is resumed draws the same noise
    material  what the objective prepared; None in a plain `train`
    """

    number: int = 0
    micro: int = 0
    share: float = 0.0
    rng: torch.Generator = field(default_factory=torch.Generator)
    material: Any = None


class Loss(NamedTuple):
    """The summed nats of some targets, how many there were, and what else there is to say of them.

    A sum and a count, not a mean: batches of unequal size can then be averaged rightly.
    """

    nats: Tensor
    count: int
    metrics: dict[str, float] = {}  # noqa: RUF012  (nobody writes into it)


class Objective(Protocol):
    """A frozen dataclass of settings with these methods; `lab.train.NextToken` is the smallest example.

    Its name in `lab.runs.objectives`, or its class handed over, makes it something that `lab.runs` can train, save,
    resume, load, list and sample. The methods below the line are optional.
    """

    name: ClassVar[str]  # in the table and in the names of runs
    configs: ClassVar[tuple[type, ...]]  # the classes of the configs of models that it trains

    def material(self, experiment) -> Any:
        """What the experiment's data are made into: at least `name`, `sha256`, `tokenizer`; see `TextMaterial`."""

    def fitted(self, config, material) -> Any:
        """The model's config with what the material decides, such as the size of the vocabulary."""

    def build(self, config, material) -> nn.Module:
        """A fresh model; `material` is None where the weights will be loaded."""

    def batches(self, experiment, material) -> Iterable:
        """What it trains on, without end; each call begins the same stream anew. May have a method `skip(n)`."""

    def loss(self, model: nn.Module, batch, step: Step) -> Loss:
        """What the batch costs; random numbers come from `step.rng`."""

    def evaluate(self, model: nn.Module, material) -> float:
        """A measure on held-out material, taken on the way; lower is better."""

    def outcome(self, model: nn.Module, material) -> dict[str, float]:
        """What training came to: columns of the table of runs, and, with a dot in their names, details."""

    # ---- optional ----
    # usual(recipe=None)                    a classmethod: fields of an `Experiment` that were tried, as a dict,
    #                                       `data` as one too; `recipes` names the choices; `lab train` begins with it
    # check(experiment, material)           refuse, by a ValueError, what cannot be trained, before the first step
    # begin(model, first, experiment)       give a fresh model what the run `first` has learned
    # language_model(model)                 the part of it that predicts tokens from left to right
    # generate(model, tokenizer, prompt, sampling, *, generator, max_new_tokens, **options) -> str
    #                                       for models that write in another way
