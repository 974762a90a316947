"""What was wrong with the run that looked stuck, one flag a cause, and the sizes at which it is rehearsed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

from lab.config import AtLeast, validate

CAUSES = {
    "unit_embeddings": "heads tied to embeddings drawn from N(0, 1)",
    "slow_warmup": "warm-up of 2,000 optimizer steps from a tenth of the learning rate",
    "accumulation": "four micro-batches an optimizer step",
    "early_first_step": "the first optimizer step after one micro-batch",
    "plain_adam": "Adam at 6e-4 for all, in place of Muon and AdamW",
    "coupled_decay": "weight decay added to the clipped gradient",
    "leak": "the decoder attends to the encoder's states of the same text",
    "padding_label": "the last character of a line is asked for a padding id",
    "padding_attended": "padding is attended to",
    "clm_reads_masked": "the decoder reads the masked line",
    "dropout_misses_blocks": "dropout at the embedding only, not in the blocks",
    "post_norm": "norms after the residual sum",
    "absolute_positions": "learned absolute positions in place of rotary ones",
}


def _known(cause: str) -> str:
    if cause not in CAUSES:
        raise ValueError(f"unknown cause {cause!r}: choose from {', '.join(CAUSES)}")
    return cause


@dataclass(frozen=True)
class Faults:
    """Which of the faults a run has; `CAUSES` says what each one is. All on: the recorded run.

    >>> Faults().without("leak").leak, CORRECTED.having("leak").leak
    (False, True)
    """

    unit_embeddings: bool = True
    slow_warmup: bool = True
    accumulation: bool = True
    early_first_step: bool = True
    plain_adam: bool = True
    coupled_decay: bool = True
    leak: bool = True
    padding_label: bool = True
    padding_attended: bool = True
    clm_reads_masked: bool = True
    dropout_misses_blocks: bool = True
    post_norm: bool = True
    absolute_positions: bool = True

    __post_init__ = validate

    def without(self, *causes: str) -> "Faults":
        """The same run with these mended. Raises ValueError for a cause that `CAUSES` does not know."""
        return replace(self, **{_known(cause): False for cause in causes})

    def having(self, *causes: str) -> "Faults":
        """The same run with these faults as well. Raises ValueError for a cause that `CAUSES` does not know."""
        return replace(self, **{_known(cause): True for cause in causes})

    def __iter__(self) -> Iterator[str]:
        """The causes that are on."""
        return (cause for cause in CAUSES if getattr(self, cause))


RECORDED = Faults()
CORRECTED = RECORDED.without(*CAUSES)

# What the recorded run printed, on sentences of an encyclopaedia up to 256 characters long with a vocabulary of 97:
# micro-batch, and the losses of MLM, CLM and reconstruction in nats.
RECORDED_LOG = (
    (50, 15.7121, 4.3169, 2.7255),
    (100, 7.6145, 3.8497, 1.6737),
    (150, 4.6039, 3.5316, 1.2295),
    (200, 3.8798, 3.3949, 0.9909),
    (250, 3.5758, 3.3315, 0.9058),
    (300, 3.3597, 3.2787, 0.7795),
    (350, 3.3269, 3.2313, 0.7187),
    (400, 3.3038, 3.1949, 0.7211),
    (450, 3.1953, 3.1604, 0.7207),
    (500, 3.2366, 3.1598, 0.6942),
    (550, 3.2805, 3.1527, 0.7017),
    (600, 3.2365, 3.1005, 0.6719),
    (650, 3.2320, 3.1072, 0.6872),
    (700, 3.2954, 3.1244, 0.6972),
    (750, 3.3804, 3.1042, 0.6946),
)


def variants() -> dict[str, Faults]:
    """The recorded run, the corrected one, and every change of one flag from either.

    >>> len(variants()), list(variants())[:3]
    (27, ['recorded', 'corrected', 'recorded - unit_embeddings'])
    """
    less = {f"recorded - {cause}": RECORDED.without(cause) for cause in CAUSES}
    more = {f"corrected + {cause}": CORRECTED.having(cause) for cause in CAUSES}
    del more["corrected + early_first_step"]  # with one micro-batch a step no step comes early
    return {"recorded": RECORDED, "corrected": CORRECTED} | less | more


@dataclass(frozen=True)
class Size:
    """How large a rehearsal is. `chars`: lines are cut to so many characters; `steps`: micro-batches.

    `adam_lr` is the recorded run's learning rate, 6e-4 at width 256 over 750 micro-batches; in so many steps Adam moves
    a logit by about rate x width x steps, so smaller and shorter rehearsals need more of it to come as far.
    `matrix_lr` (Muon's) and `other_lr` (AdamW's) are those of the corrected run.
    """

    encoder_layers: int = 2
    decoder_layers: int = 2
    width: int = 64
    num_heads: int = 4
    feed_forward: int = 256
    batch_size: Annotated[int, AtLeast(1)] = 8
    chars: Annotated[int, AtLeast(2)] = 96
    steps: Annotated[int, AtLeast(1)] = 750
    held_out: Annotated[int, AtLeast(1)] = 256
    adam_lr: float = 2.4e-3
    matrix_lr: float = 0.03
    other_lr: float = 6e-3

    __post_init__ = validate


# "standard" and "smoke" are for all variants in a notebook; the last two for one pair of runs each: a leak that is
# found (few places to tell apart), and the wait until attention by position is learned (many).
SIZES = {
    "full": Size(6, 6, 256, 8, 1024, batch_size=64, chars=256, held_out=512, adam_lr=6e-4),
    "small": Size(),
    "standard": Size(1, 1, batch_size=4, chars=48, steps=150, held_out=128, adam_lr=1.8e-2),
    "smoke": Size(1, 1, 32, 2, 64, chars=32, steps=10, held_out=16, adam_lr=1.5e-2),
    "leak": Size(1, 1, batch_size=32, chars=24, steps=400, other_lr=1e-2),
    "wait": Size(steps=350),
}
