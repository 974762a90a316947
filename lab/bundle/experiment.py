"""What was trained, how, and on what: a record that reads the same in every process."""

from dataclasses import dataclass
from typing import Any, Self

from lab.chars import CharacterObjectives
from lab.chars.model import CharEncoder, CharEncoderConfig
from lab.config import from_json, to_json
from lab.diffusion.stages import Diffusion, Reconstruction, Tuning
from lab.diffusion.visual import VisualDiffusion, VisualDiffusionConfig
from lab.nn.recurrent import RecurrentConfig, RecurrentLM
from lab.nn.transformer import DecoderOnlyTransformer, EncoderOnlyTransformer, TransformerConfig
from lab.speech.model import SpeechConfig, SpeechTransformer
from lab.speech.recognition import Recognition
from lab.train.state import TrainConfig

# Each kind of model that a bundle can hold: its config, and what the config is given to. A new kind is a new line here.
KINDS = {
    "decoder": (TransformerConfig, DecoderOnlyTransformer),
    "encoder": (TransformerConfig, EncoderOnlyTransformer),
    "recurrent": (RecurrentConfig, RecurrentLM),
    "visual-diffusion": (VisualDiffusionConfig, VisualDiffusion),
    "char-encoder": (CharEncoderConfig, CharEncoder),
    "speech": (SpeechConfig, SpeechTransformer),
}


@dataclass(frozen=True)
class NextToken:
    """To predict each token from those before it: `lab.score.next_token_loss`."""


# What a model of each kind can be trained to do. A new objective is a record and a name below, twice.
OBJECTIVES = {
    "visual-diffusion": (Reconstruction, Diffusion, Tuning),
    "char-encoder": (CharacterObjectives,),
    "speech": (Recognition,),
}  # all others: NextToken
Objective = NextToken | Reconstruction | Diffusion | Tuning | CharacterObjectives | Recognition


@dataclass(frozen=True)
class Start:
    """The run whose weights another begins with: its name, and the SHA-256 of its model.safetensors."""

    run: str
    weights: str


@dataclass(frozen=True)
class Data:
    """The text and how it was cut: enough to make the same batches again.

    corpus, sha256      the corpus's name and fingerprint (`Corpus.name`, `Corpus.sha256`)
    split_seed          `Corpus.splits(seed=split_seed)`
    tokenizer           its kind, for reading; the tokenizer itself is in the bundle
    vocab_size          the ids it has
    context             tokens a row
    batch_size          rows a batch, over all processes
    seed                of the order of the batches
    """

    corpus: str
    sha256: str
    split_seed: int
    tokenizer: str
    vocab_size: int
    context: int
    batch_size: int
    seed: int

    def __post_init__(self):
        least = {"split_seed": 0, "vocab_size": 1, "context": 1, "batch_size": 1, "seed": 0}
        for name, smallest in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
                raise ValueError(f"{name} must be a whole number of at least {smallest}, got {value!r}")


@dataclass(frozen=True)
class Experiment:
    """`model`, the config of a model of `kind`; how it is trained, and on what; `seed` of its weights and dropout.

    `objective` is what it is trained to do, `start` the run that it goes on from: both are younger than the format of
    bundles, and what is not said there is the default.

    Raises ValueError for a kind that is not in `KINDS`, a config of another kind, two vocabulary sizes, an
    objective that the kind does not have, or a start for a model that cannot take one.
    """

    model: Any
    training: TrainConfig
    data: Data
    kind: str = "decoder"
    seed: int = 0
    objective: Objective = NextToken()
    start: Start | None = None

    def __post_init__(self):
        config = _config_class(self.kind)
        if not isinstance(self.model, config):
            raise ValueError(
                f"a model of kind {self.kind!r} has a {config.__name__}, got {type(self.model).__name__}"
            )
        if self.model.vocab_size != self.data.vocab_size:
            raise ValueError(
                f"the model has a vocabulary of {self.model.vocab_size}, the data one of {self.data.vocab_size}"
            )
        possible = OBJECTIVES.get(self.kind, (NextToken,))
        if not isinstance(self.objective, possible):
            names = ", ".join(one.__name__ for one in possible)
            raise ValueError(
                f"a model of kind {self.kind!r} is trained for one of {names}; got {self.objective!r}"
            )
        if self.start is not None and not hasattr(KINDS[self.kind][1], "start_from"):
            raise ValueError(f"a model of kind {self.kind!r} starts from no other run, got {self.start!r}")

    def to_json(self) -> dict:
        """Plain values, for `json`."""
        return to_json(self)

    @classmethod
    def from_json(cls, values: dict) -> Self:
        """The experiment that `to_json` wrote; a ValueError names the key that does not fit."""
        kind = values.get("kind", "decoder") if isinstance(values, dict) else "decoder"
        model = from_json(_config_class(kind), values.get("model"))
        return from_json(cls, {**values, "model": model})


def differences(a: Experiment, b: Experiment) -> list[str]:
    """The fields in which two experiments differ, with both values; none when they are equal.

    >>> differences(experiment, replace(experiment, seed=1))  # doctest: +SKIP
    ['seed: 0 -> 1']
    """
    one, other = _flat(a.to_json()), _flat(b.to_json())
    absent = "(absent)"
    return [
        f"{key}: {one.get(key, absent)} -> {other.get(key, absent)}"
        for key in dict.fromkeys([*one, *other])
        if one.get(key, absent) != other.get(key, absent)
    ]


def _flat(values: dict, place: str = "") -> dict:
    flat = {}
    for key, value in values.items():
        flat |= _flat(value, f"{place}{key}.") if isinstance(value, dict) else {place + key: value}
    return flat


def _config_class(kind) -> type:
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"unknown kind of model {kind!r}: expected one of {sorted(KINDS)}")
    return KINDS[kind][0]
