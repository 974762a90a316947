"""What is trained, how, and on what: the one record of a run."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from lab.config import Above, AtLeast, AtMost, from_json, from_outside, shown, to_json, validate
from lab.outside import class_name, find_outside, is_outside
from lab.runs.objectives import OBJECTIVES, objective_class, objective_from_json, objective_to_json
from lab.text import NAMES, Corpus, CorpusError
from lab.train import NextToken, TrainConfig


@dataclass(frozen=True)
class Data:
    """The text and how it is cut.

    corpus      a name that `lab corpus` lists, the path of a text, or a `Corpus`
    tokenizer   "bpe", "word", "char", or a class from outside with `train(lines, vocab_size)` and `from_json(text)`;
                it learns from the training lines
    batch_size  rows a batch, over all processes; whole lines in about as many tokens
    split_seed  `Corpus.splits(seed=split_seed)`
    subset      the share of the training lines, or utterances, that is used, drawn by the split's seed; validation and
                test stay whole
    sha256      of the text; None until it is loaded. It decides whether a text is the same, not where it lies
    """

    corpus: str | Corpus = "auto"
    tokenizer: Literal["bpe", "word", "char"] | type = "bpe"
    batch_size: Annotated[int, AtLeast(1)] = 32
    split_seed: Annotated[int, AtLeast(0)] = 0
    sha256: str | None = None
    subset: Annotated[float, Above(0), AtMost(1)] = 1.0

    __post_init__ = validate

    @property
    def name(self) -> str:
        """What the corpus is called, wherever it lies."""
        return self.corpus.name if isinstance(self.corpus, Corpus) else Path(self.corpus).stem


@dataclass(frozen=True)
class Start:
    """The run whose weights another begins with: its name, and the SHA-256 of its weights; `path` is where it lies."""

    run: str
    weights: str
    path: str = field(default="", compare=False)


@dataclass(frozen=True)
class Experiment:
    """A model's config, what it is trained to do, how, and on what.

    `model.vocab_size` is the most ids that the tokenizer may have, until `resolved` puts what it has. `seed` is that of
    the weights, dropout, the order of the batches and the noise; `start` the run, by name or path, with whose weights
    this one begins; its model and its tokenizer are then those of that run, and `model` may be left out.

    >>> from lab.nn import TransformerConfig
    >>> Experiment(TransformerConfig(1024), training=TrainConfig(steps=2000), data=Data("kjv")).objective.name
    'next-token'
    >>> fine_tuned = Experiment(start="kjv-small", data=Data("letters.txt"))

    Raises ValueError for a model that the objective does not train, and for a start where it knows none.
    """

    model: Any = None
    objective: Any = field(default_factory=NextToken)
    training: TrainConfig = field(default_factory=lambda: TrainConfig(steps=500))
    data: Data = field(default_factory=Data)
    seed: Annotated[int, AtLeast(0)] = 0
    start: Start | str | None = None

    def __post_init__(self):
        validate(self)
        if is_outside(cls := type(self.objective)) and self.objective.name in OBJECTIVES:
            raise ValueError(
                f"{class_name(cls)} goes by the name of lab's own {self.objective.name!r}: give the class another, "
                f"such as name = {cls.__name__.lower()!r}"
            )
        left_out = self.model is None and self.start is not None
        if not left_out and not isinstance(self.model, tuple(self.objective.configs)):
            names = " or ".join(config.__name__ for config in self.objective.configs)
            raise ValueError(f"{self.objective.name} trains a {names}, got {shown(self.model)}")
        if self.start is not None and not hasattr(self.objective, "begin"):
            raise ValueError(f"{self.objective.name} starts from no other run, got start={shown(self.start)}")

    @classmethod
    def usual(
        cls,
        objective: str | type | None = None,
        recipe: str | None = None,
        start: str | os.PathLike | None = None,
        folder: str | os.PathLike | None = None,
    ) -> Self:
        """An experiment that was tried and works: what the objective usually trains and how, or one of its `recipes`.

        With the run `start`, looked for in `folder`, what that was trained for, its model and its text, as far as the
        objective trains such models. Without either it is the next token.

        >>> Experiment.usual("next-token", "gru").model.cell
        'gru'

        Raises ValueError for a name that is not known, and a recipe of another kind of model than that of the start.
        """
        if start is not None:
            from lab.runs.starting import like

            return like(start, objective, recipe, folder)
        objective = (
            objective_class(objective or "next-token") if isinstance(objective, str | None) else objective
        )
        if lacks := [
            part for part in ("configs", "build", "batches", "loss") if not hasattr(objective, part)
        ]:
            raise ValueError(f"{class_name(objective)} is no objective: it has no {', '.join(lacks)}")
        recipes = getattr(objective, "recipes", ())
        if recipe is not None and recipe not in recipes:
            raise ValueError(f"recipe must be one of {', '.join(recipes) or 'no names'}; got {recipe!r}")
        own = hasattr(objective, "usual")
        usual = objective.usual(recipe) if own else NextToken.usual() | {"objective": objective()}
        return cls(**usual | {"data": Data(**usual.get("data", {}))})

    def resolved(self, folder: str | os.PathLike | None = None) -> Self:
        """The same with all that the material decides filled in; of a resolved one, itself.

        Raises CorpusError when the text cannot be had or is another by now, and ValueError for what cannot be built.
        """
        return prepare(self, folder)[0]

    def material(self) -> Any:
        """What it is trained on and scored by: of a text its `corpus`, `splits` and `tokenizer`."""
        return prepare(self)[1] if self.start else self.objective.material(self)

    def first(self) -> Any:
        """The run that this one, resolved, starts from.

        Raises CheckpointError when it cannot be loaded, ValueError when it is not trained to its end or has another
        kind of tokenizer.
        """
        from lab.runs.starting import first

        return first(self)

    def to_json(self) -> dict:
        """Plain values, for `json`; what `from_json` reads."""
        data, corpus, tokenizer = self.data, self.data.corpus, self.data.tokenizer
        return {
            "objective": objective_to_json(self.objective),
            "model": {"kind": type(self.model).__name__} | to_json(self.model),
            "training": to_json(self.training),
            "data": {
                "corpus": corpus.name if isinstance(corpus, Corpus) else corpus,
                "tokenizer": tokenizer if isinstance(tokenizer, str) else from_outside(tokenizer),
                "batch_size": data.batch_size,
                "split_seed": data.split_seed,
                "sha256": data.sha256,
                "subset": data.subset,
            },
            "seed": self.seed,
            "start": {"run": self.start.run, "weights": self.start.weights} if self.start else None,
        }

    @classmethod
    def from_json(cls, values: dict, outside: Sequence[type] = ()) -> Self:
        """The experiment that `to_json` wrote; a ValueError names what does not fit, or is missing in `outside`."""
        objective = objective_from_json(values["objective"], outside)
        kind = values["model"]["kind"]
        configs = {config.__name__: config for config in objective.configs}
        if kind not in configs:
            raise ValueError(f"{objective.name} trains a {' or '.join(configs)}, not a {kind}")
        model = {key: value for key, value in values["model"].items() if key != "kind"}
        data = dict(values["data"])
        if isinstance(data["tokenizer"], dict):
            data["tokenizer"] = find_outside(data["tokenizer"], outside)
        return cls(
            from_json(configs[kind], model, outside),
            objective,
            from_json(TrainConfig, values["training"]),
            from_json(Data, data),
            values["seed"],
            None if values["start"] is None else from_json(Start, values["start"]),
        )


def prepare(experiment: Experiment, folder: str | os.PathLike | None = None) -> tuple[Experiment, Any]:
    """The resolved experiment and its material. The run that it starts from is looked for in `folder`."""
    objective, data = experiment.objective, experiment.data
    experiment = replace(experiment, start=_start(experiment.start, folder))
    if experiment.model is None:
        experiment = replace(experiment, model=experiment.first().experiment.model)
    material = objective.material(experiment)
    if data.sha256 not in (None, material.sha256):
        raise CorpusError(
            f"the corpus {data.name!r} has sha256 {material.sha256[:16]}..., the experiment's has "
            f"{data.sha256[:16]}...: the text has changed since; make a new experiment on it"
        )
    corpus = data.corpus
    if isinstance(corpus, str) and data.sha256 is None:
        # "auto" is what it chose; a path means the same from every folder.
        corpus = material.name if corpus in NAMES else str(Path(corpus).resolve())
    model = objective.fitted(experiment.model, material)
    data = replace(data, corpus=corpus, sha256=material.sha256)
    return replace(experiment, model=model, data=data, training=experiment.training.settled()), material


def _start(start: Start | str | None, folder: str | os.PathLike | None) -> Start | None:
    """The checkpoint that is meant, and the hash of its weights."""
    from lab.runs.folder import find, newest, read_manifest

    if start is None:
        return None
    name = start if isinstance(start, str) else start.run
    known = isinstance(start, Start) and os.path.isdir(start.path)
    path = newest(find(start.path if known else name, folder))
    weights = read_manifest(path)["files"]["model.safetensors"]
    if isinstance(start, Start) and start.weights != weights:
        raise ValueError(
            f"cannot start from {path}: it has been trained anew since; name it again as the start"
        )
    return Start(path.parent.name, weights, str(path))


def outside_classes(experiment: Experiment) -> list[type]:
    """The classes that are not lab's in an experiment that is at hand."""
    parts = (experiment.objective, experiment.data.tokenizer, *_settings(experiment.model))
    classes = [part if isinstance(part, type) else type(part) for part in parts]
    return [one for one in classes if is_outside(one)]


def _settings(config) -> Iterator:
    """The values of a config's fields, and of the configs that it is composed of."""
    for value in vars(config).values() if config is not None else ():
        yield value
        if is_dataclass(value):
            yield from _settings(value)


def differences(a: Experiment, b: Experiment) -> list[str]:
    """The fields in which two experiments differ, with both values; none when they are equal.

    Where a text lies does not count when it is the same.

    >>> differences(experiment, replace(experiment, seed=1))  # doctest: +SKIP
    ['seed: 0 -> 1']
    """
    one, other = flat(a.to_json()), flat(b.to_json())
    if one["data.sha256"] == other["data.sha256"]:
        one["data.corpus"] = other["data.corpus"]
    absent = "(absent)"
    return [
        f"{key}: {one.get(key, absent)} -> {other.get(key, absent)}"
        for key in dict.fromkeys([*one, *other])
        if one.get(key, absent) != other.get(key, absent)
    ]


def flat(values: dict, place: str = "") -> dict:
    """Nested dicts as one, with dots in the names.

    >>> flat({"model": {"width": 8}, "seed": 0})
    {'model.width': 8, 'seed': 0}
    """
    found = {}
    for key, value in values.items():
        found |= flat(value, f"{place}{key}.") if isinstance(value, dict) else {place + key: value}
    return found
