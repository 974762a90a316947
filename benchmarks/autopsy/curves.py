"""What a rehearsal leaves behind: its losses on the way, and what it is worth at the end."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class HeldOut:
    """Losses on lines held out, in nats a target.

    mlm                     at the characters chosen, be they shown as <mask>, another or themselves
    mlm_accuracy            share of those shown as <mask> that are guessed right
    clm                     at each character after the first
    reconstruction          at every character of the masked line
    reconstruction_visible  at those not chosen
    reconstruction_masked   at those shown as <mask>
    """

    NAMES: ClassVar[tuple[str, ...]] = (
        "mlm", "mlm_accuracy", "clm", "reconstruction", "reconstruction_visible", "reconstruction_masked",
    )  # fmt: skip

    mlm: float
    mlm_accuracy: float
    clm: float
    reconstruction: float
    reconstruction_visible: float
    reconstruction_masked: float


@dataclass(frozen=True)
class Curve:
    """The losses of one run, in nats a target, and the share of the learning rate, at some micro-batches.

    The entry at micro-batch 0 is that of the untrained model; each other one is the mean since the entry before.
    """

    micro_batches: tuple[int, ...]
    mlm: tuple[float, ...]
    clm: tuple[float, ...]
    reconstruction: tuple[float, ...]
    learning_rate: tuple[float, ...]
    held_out: HeldOut
    optimizer_steps: int
    parameters: int
    seconds: float
    seed: int
