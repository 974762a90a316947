"""How to train, and everything that a step of training changes besides the weights."""

from dataclasses import dataclass, replace
from itertools import islice
from typing import Annotated, Literal, Self

import torch
from torch import Tensor, nn

from lab.config import Above, AtLeast, AtMost, annotations, from_json, to_json, validate
from lab.machine import fast_bfloat16
from lab.train.optim import Muon, learning_rate_factor, make_optimizers

Count = Annotated[int, AtLeast(0)]
Rate = Annotated[float, Above(0)]
LATER = {"halvings", "loss_scale"}  # values that older checkpoints lack


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    steps           optimizer steps
    matrix_lr       the learning rate of Muon, for the matrices inside the blocks
    other_lr        that of AdamW, for everything else
    warmup          steps over which the learning rates rise
    schedule        how they fall afterwards; "constant": not at all
    restarts        how often they rise again at once and fall anew, in equal parts of the steps after the warm-up
    least_rate      the share of them that is left at the end of a fall
    plateau         evaluations in a row without a new best after which they are halved; 0: they are not
    rates           factors for parameters by name, such as (("embedding.*", 0.1), ("*.blocks.0.*", 0)): the first
                    pattern that fits counts, * is any text, and what has the factor 0 does not learn
    weight_decay    the share of a weight that a step at learning rate 1 takes away
    clip_norm       the longest that a gradient may be; a longer one is shortened
    accumulate      batches a step: the gradient is the mean over all their targets
    optimizer       "muon", with AdamW for the rest, or "adamw" for everything at `other_lr`
    evaluate_every  steps from one evaluation to the next; 0: none
    patience        evaluations without a new best after which training ends; 0: it does not
    precision       "bfloat16" computes in bfloat16 where that is safe (autocast); the weights stay as they are. So does
                    "float16", on a GPU alone, with losses scaled so that gradients are not rounded to 0. "auto" is
                    bfloat16 where the machine multiplies it itself, else float32; see `settled`
    compile         torch.compile fuses the model's operations

    Raises ValueError for what cannot be; the message names the field.
    """

    steps: Annotated[int, AtLeast(1)]
    matrix_lr: Rate = 0.03
    other_lr: Rate = 6e-3
    warmup: Count = 20
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    restarts: Count = 0
    least_rate: Annotated[float, AtLeast(0), AtMost(1)] = 0.0
    plateau: Count = 0
    rates: tuple[tuple[str, Annotated[float, AtLeast(0)]], ...] = ()
    weight_decay: Annotated[float, AtLeast(0)] = 0.0
    clip_norm: Rate = 1.0
    accumulate: Annotated[int, AtLeast(1)] = 1
    optimizer: Literal["muon", "adamw"] = "muon"
    evaluate_every: Count = 0
    patience: Count = 0
    precision: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    compile: bool = False

    def __post_init__(self):
        validate(self)
        for name in ("patience", "plateau"):
            if getattr(self, name) and not self.evaluate_every:
                raise ValueError(f"{name} {getattr(self, name)} counts evaluations, but evaluate_every is 0")

    def settled(self) -> Self:
        """The same with the precision that "auto" means on this machine."""
        if self.precision != "auto":
            return self
        return replace(self, precision="bfloat16" if fast_bfloat16() else "float32")


@dataclass
class Progress:
    """How far training has come.

    step                           optimizer steps taken
    batches_taken                  batches used up, so where the stream of batches stands
    tokens, seconds                targets seen, and time spent
    validation                     what was measured after this very step; None when nothing was
    best_validation, best_step     the lowest so far, and the number of steps taken then; None before the first
    evaluations_without_improvement
    halvings                       how often a plateau halved the learning rates
    loss_scale                     what losses are multiplied by in float16
    """

    step: Count = 0
    batches_taken: Count = 0
    tokens: Count = 0
    best_step: Count | None = None
    evaluations_without_improvement: Count = 0
    seconds: Annotated[float, AtLeast(0)] = 0.0
    validation: float | None = None
    best_validation: float | None = None
    halvings: Count = 0
    loss_scale: Rate = 256.0


class TrainingState(Progress):
    """Where training stands: the optimizers' memories and some counts. With the weights it decides all that follows.

    After each `Report` that `train` yields, it belongs to the weights as they are then. `saved_to` is the folder last
    saved to (`lab.runs` sets it), for messages.
    """

    def __init__(self, model: nn.Module, config: TrainConfig):
        super().__init__()
        self.model, self.config = model, (config := config.settled())
        self.optimizers = make_optimizers(
            model,
            matrix_lr=config.matrix_lr,
            other_lr=config.other_lr,
            weight_decay=config.weight_decay,
            muon=config.optimizer == "muon",
            computed_in=torch.bfloat16 if config.precision == "bfloat16" else torch.float32,
            rates=config.rates,
        )
        self.saved_to: str | None = None

    @property
    def stopped(self) -> bool:
        """Whether training is over: all steps taken, or the patience used up."""
        tired = 0 < self.config.patience <= self.evaluations_without_improvement
        return tired or self.step >= self.config.steps

    def record(self, validation: float) -> None:
        """Note what was measured after this step; lower is better."""
        self.validation = validation
        if self.best_validation is None or validation < self.best_validation:
            self.best_validation, self.best_step = validation, self.step
            self.evaluations_without_improvement = 0
        else:
            self.evaluations_without_improvement += 1
            if self.config.plateau and self.evaluations_without_improvement % self.config.plateau == 0:
                self.halvings += 1

    @property
    def rate_factor(self) -> float:
        """What the base learning rates are multiplied by in the next step."""
        c = self.config
        fall = {"restarts": c.restarts, "least": c.least_rate, "halvings": self.halvings}
        return learning_rate_factor(self.step, c.steps, c.warmup, c.schedule, **fall)

    def remaining(self, batches):
        """An iterator over `batches`, the stream made anew, without those that were taken already.

        A stream with a method `skip(n)`, which returns it without its first n batches, is asked to.

        Raises ValueError when there are not so many.
        """
        taken = self.batches_taken
        if taken and hasattr(batches, "skip"):
            return iter(batches.skip(taken))
        batches = iter(batches)
        if (found := sum(1 for _ in islice(batches, taken))) < taken:
            raise ValueError(
                f"{taken} batches were taken, but this stream has {found}: make it anew, from its seed"
            )
        return batches

    def tensors(self) -> dict[str, Tensor]:
        """The optimizers' memories, `"parameter name/what"` -> tensor, which the next step changes."""
        names = {p: name for name, p in self.model.named_parameters()}
        memories = ((names[p], memory) for o in self.optimizers for p, memory in o.state.items())
        return {f"{name}/{what}": tensor for name, memory in memories for what, tensor in memory.items()}

    def values(self) -> dict[str, int | float | None]:
        """The counts and measures, for JSON."""
        return {name: getattr(self, name) for name in annotations(Progress)}

    def load(self, tensors: dict[str, Tensor], values: dict) -> None:
        """Take over what `tensors()` and `values()` of another state gave, for a model of the same shape.

        Raises ValueError for names, shapes or numbers that do not fit, and then changes nothing.
        """
        if missing := self.values().keys() - values.keys() - LATER:
            raise ValueError(f"these values are missing: {sorted(missing)}")
        values = to_json(from_json(Progress, values))
        memories = self._memories(tensors)
        for optimizer, memory in zip(self.optimizers, memories, strict=True):
            optimizer.state.clear()
            optimizer.state.update(memory)
        for name, value in values.items():
            setattr(self, name, value)

    def _memories(self, tensors: dict[str, Tensor]) -> list[dict[Tensor, dict[str, Tensor]]]:
        """`tensors` dealt out to the optimizers and their parameters; one that never had a gradient has none."""
        parameters = dict(self.model.named_parameters())
        kept_by = {p: n for n, o in enumerate(self.optimizers) for g in o.param_groups for p in g["params"]}
        memories = [{} for _ in self.optimizers]
        for place, tensor in tensors.items():
            name, _, what = place.rpartition("/")
            p = parameters.get(name)
            if p not in kept_by or tensor.shape != (() if what == "step" else p.shape):
                raise ValueError(f"{place} is no memory of these weights: its shape is {tuple(tensor.shape)}")
            # AdamW counts its steps on the CPU.
            copied = tensor.clone() if what == "step" else tensor.to(p.device, p.dtype, copy=True)
            memories[kept_by[p]].setdefault(p, {})[what] = copied
        for optimizer, memory in zip(self.optimizers, memories, strict=True):
            kinds = {"momentum"} if isinstance(optimizer, Muon) else {"step", "exp_avg", "exp_avg_sq"}
            if wrong := [p for p, kept in memory.items() if kept.keys() != kinds]:
                names = [name for name, p in parameters.items() if p is wrong[0]]
                raise ValueError(
                    f"{names[0]} has {sorted(memory[wrong[0]])}, this optimizer keeps {sorted(kinds)}"
                )
        return memories
