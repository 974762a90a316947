"""What a character encoder is trained to do, all at once: five objectives, and how much each counts."""

import math
import string
from dataclasses import dataclass, fields

from lab.nn.config import check_whole, is_number


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

    Raises ValueError for a weight that is no number of at least 0, or when all are 0.
    """

    mlm: float = 1.0
    clm: float = 1.0
    reconstruction: float = 0.02
    bottleneck: float = 0.1
    restoration: float = 0.1

    def __post_init__(self):
        for name, value in self.items():
            if not is_number(value) or not 0 <= value < math.inf:
                raise ValueError(f"the weight of {name} must be a number of at least 0, got {value!r}")
        if not any(value for _, value in self.items()):
            raise ValueError("all weights are 0: there is nothing to train")

    def items(self) -> list[tuple[str, float]]:
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


@dataclass(frozen=True)
class CharacterObjectives:
    """The objectives of a character encoder, and how they are asked.

    weights, last_weights      those of the first step and of the last; in between they lie on a straight line (None:
                               the same all along)
    mask_rate, last_mask_rate  how many of the characters are chosen for `mlm`, likewise
    space_rate                 of the spaces; None: as of the other characters
    removed                    which characters `restoration` takes out: one of these sets, drawn anew for each batch
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

    weights: Weights = Weights()
    last_weights: Weights | None = None
    mask_rate: float = 0.3
    last_mask_rate: float | None = None
    space_rate: float | None = None
    removed: tuple[str, ...] = (string.punctuation,)
    chunk: int = 64
    restored: float = 0.25
    chunked: float = 0.5
    predicted: float = 1.0
    memory: int = 0
    scored_lines: int = 400

    def __post_init__(self):
        for name in ("mask_rate", "last_mask_rate", "space_rate", "restored", "chunked", "predicted"):
            value = getattr(self, name)
            if value is None and name in ("last_mask_rate", "space_rate"):
                continue
            if not is_number(value) or not 0 < value <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {value!r}")
        if not self.removed or not all(isinstance(one, str) and one for one in self.removed):
            raise ValueError(
                f"removed must be sets of characters, such as ('.,;', ' '); got {self.removed!r}"
            )
        for name, least in {"chunk": 1, "memory": 0, "scored_lines": 0}.items():
            check_whole(name, getattr(self, name), least)

    def weights_at(self, progress: float) -> Weights:
        """The weights when this share of the steps is taken."""
        last = self.last_weights or self.weights
        if last == self.weights:
            return self.weights
        pairs = zip(self.weights.items(), last.items(), strict=True)
        return Weights(**{name: a + (b - a) * progress for (name, a), (_, b) in pairs})

    def mask_rate_at(self, progress: float) -> float:
        """The rate when this share of the steps is taken."""
        last = self.mask_rate if self.last_mask_rate is None else self.last_mask_rate
        return self.mask_rate + (last - self.mask_rate) * progress
