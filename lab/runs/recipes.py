"""Plans that were tried and work: where the command line, the benchmarks and a notebook want the same run."""

from typing import Literal, NamedTuple

from lab.runs.prepared import Plan
from lab.speech.augment import SpecAugment
from lab.speech.model import SpeechConfig
from lab.speech.recognition import Recognition
from lab.speech.script import SyntheticConfig
from lab.speech.voices import ACCENTS
from lab.train import TrainConfig

Material = Literal["digits", "easy", "clauses", "folder"]


class _Usual(NamedTuple):
    """What differs between the materials; those that are made are spoken by all training voices."""

    train: int
    held_out: int
    accents: int
    steps: int
    width: int = 144
    encoder_layers: int = 3
    ctc_weight: float = 0.4
    dropout: float = 0.0
    hides_bands: bool = True
    context: int = 96


USUAL = {
    "digits": _Usual(2000, 200, 1, 700, ctc_weight=0.2, dropout=0.1, hides_bands=False),
    "easy": _Usual(24_000, 300, 1, 6000),
    "clauses": _Usual(40_000, 300, 4, 12_000, width=192, encoder_layers=4),
    "folder": _Usual(0, 0, 0, 6000, context=400),
}


def usual_speech(material: Material = "digits", corpus: str = "auto", seed: int = 0) -> Plan:
    """A recogniser for one material of `lab.speech.script`: on one core about a minute, half an hour, an hour.

    Of "folder", recorded speech, `corpus` is the path, laid out as `lab.speech.folders` reads it.

    Small batches, Muon, and bands hidden at random: after 1,500 steps on easy clauses (8,000 utterances, one seed) the
    CTC output had 7.2 % of the characters of held-out voices wrong; 8.0 % with all bands, and 12.0 % with AdamW too.

    >>> usual_speech("easy").training.steps
    6000

    Raises ValueError for another material.
    """
    if material not in USUAL:
        raise ValueError(f"material must be one of {', '.join(USUAL)}; got {material!r}")
    usual = USUAL[material]
    accents, held_out = ACCENTS[: usual.accents], usual.held_out
    spoken = (
        None
        if material == "folder"
        else SyntheticConfig(material, usual.train, held_out, held_out, accents=accents)
    )
    model = SpeechConfig(
        vocab_size=64,
        context=usual.context,
        width=usual.width,
        feed_forward=4 * usual.width,
        encoder_layers=usual.encoder_layers,
        dropout=usual.dropout,
    )
    training = TrainConfig(usual.steps, matrix_lr=0.02, other_lr=3e-3, warmup=150, clip_norm=5.0)
    # No masks over time: they slow the first epochs down.
    bands = SpecAugment(time_masks=0) if usual.hides_bands else None
    objective = Recognition(usual.ctc_weight, material=spoken, augment=bands, augment_after=200)
    return Plan(model, training, corpus, tokenizer="char", seed=seed, objective=objective)
