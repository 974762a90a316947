"""The script of synthetic speech: how much of what is said by whom, and the texts dealt into three parts."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np

from lab.config import AtLeast, validate
from lab.speech import espeak, materials
from lab.speech.features import FeatureSpec
from lab.text import Corpus, Splits

DIGIT_ROWS = 20_000  # of which as many are held out as are asked for


@dataclass(frozen=True)
class SyntheticConfig:
    """What is said, how often and how.

    material                 "digits": 2 to 5 digit words; "easy": clauses of at most 6 of the corpus's 300 commonest
                             words; "clauses": any of 2 to 8 words
    train, validation, test  utterances of each part
    accents                  of English, as espeak-ng names them; `lab.speech.voices.ACCENTS` are four
    speeds                   words a minute, from and to
    seed                     of who says what
    features                 what becomes of the sound
    speaker                  "espeak"; or "whistle", a stand-in for a machine without it, which knows no accents
                             and speeds
    """

    material: Literal["digits", "easy", "clauses"] = "digits"
    train: Annotated[int, AtLeast(1)] = 2000
    validation: Annotated[int, AtLeast(1)] = 200
    test: Annotated[int, AtLeast(1)] = 200
    accents: tuple[str, ...] = ("en-us",)
    speeds: tuple[int, int] = (150, 200)
    seed: Annotated[int, AtLeast(0)] = 0
    features: FeatureSpec = field(default_factory=FeatureSpec)
    speaker: Literal["espeak", "whistle"] = "espeak"

    def __post_init__(self):
        validate(self)
        if not self.accents:
            raise ValueError("accents must name at least one, such as 'en-us'; got none")
        low, high = espeak.SPEEDS
        if not low <= self.speeds[0] <= self.speeds[1] <= high:
            raise ValueError(f"speeds must be words a minute, {low} to {high}, got {self.speeds}")


def texts(config: SyntheticConfig, corpus: Corpus | None = None) -> Splits:
    """All texts of the material, dealt at random: as many held out as the config asks for, the others for training.

    No text is in two parts. A language model may read all of `train`, spoken or not, and nothing else of the corpus.

    Raises ValueError where a material other than digits has no corpus, or too few texts to train on something.
    """
    if config.material == "digits":
        found = materials.digits(DIGIT_ROWS, config.seed)
    elif corpus is None:
        raise ValueError(
            f"the material {config.material!r} is taken from a text: pass corpus=lab.text.load(...)"
        )
    else:
        found = getattr(materials, config.material)(corpus)
    held_out = config.validation + config.test
    if len(found) <= held_out:
        raise ValueError(
            f"{corpus.name if corpus else 'digits'} has {len(found):,} texts of the material {config.material!r}, but "
            f"{held_out:,} are to be held out: ask for fewer, or give a longer text"
        )
    dealt = [found[i] for i in np.random.default_rng((config.seed, 1)).permutation(len(found))]
    return Splits(dealt[held_out:], dealt[: config.validation], dealt[config.validation : held_out])
