"""What a row of evidence rests on: the cell that asked for it, the settings, and how such a run begins."""

import ast
import json
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from IPython import get_ipython
from IPython.core.inputtransformer2 import TransformerManager

from lab.files import sha256_bytes
from lab.runs import Experiment, first_losses
from lab.text import Corpus, load

# The probe trains the experiment's own model, on so little that it takes about a second.
LINES, BATCH, STEPS = 400, 4, 5
UTTERANCES = {"train": 24, "validation": 8, "test": 8}  # where speech is made from a script
CLOSE = 1e-4  # of a loss; the rounding of another processor stays below


def cell_hash(source: str) -> str:
    """The hash of a cell as Python reads it, magic commands as calls: comments and layout do not count.

    >>> cell_hash("f( 1 )  # one") == cell_hash("f(1)")
    True
    """
    tree = ast.parse(TransformerManager().transform_cell(source))
    return sha256_bytes(ast.unparse(tree).encode())[:16]


def running_cell() -> str | None:
    """The hash of the cell that runs now, None outside of a notebook."""
    shell = get_ipython()
    return shell and cell_hash(shell.history_manager.input_hist_raw[-1])


def settings_of(experiment: Experiment) -> dict:
    """`Experiment.to_json`, but of a text's path only the file's name, and of a start only whether there is one."""
    settings = replace(experiment, start=None).to_json() | {"start": True if experiment.start else None}
    settings["data"]["corpus"] = Path(settings["data"]["corpus"]).name
    return settings


def key(settings: dict) -> str:
    """One text for the same settings, wherever their text lies; fields that lab has got since have their defaults."""
    settings = settings | {"data": settings["data"] | {"corpus": "", "sha256": None}}
    with suppress(ValueError, LookupError):  # of a class from outside, of a field that lab has no more
        settings = Experiment.from_json(settings | {"start": None}).to_json() | {"start": settings["start"]}
    return json.dumps(settings, sort_keys=True)


def text_of(corpus: str | Corpus) -> Corpus:
    """The text that `Data.corpus` says; CorpusError where it cannot be had."""
    return corpus if isinstance(corpus, Corpus) else load(corpus)


def probe(experiment: Experiment) -> list[float]:
    """The first losses, in nats a target, of this experiment with seed 0 on a little of its text, in small batches.

    A change of the package that moves numbers moves these; one that does not, does not. They are those of float32, in
    which processors agree to more digits. An experiment that starts from
    a run has none, since runs are not committed. Raises what `lab.runs.first_losses` raises.
    """
    if experiment.start is not None:
        return []
    objective, data = experiment.objective, experiment.data
    if getattr(objective, "script", None) is not None:
        objective = replace(objective, script=replace(objective.script, **UTTERANCES))
    data = replace(data, sha256=None, batch_size=min(BATCH, data.batch_size))
    training = replace(experiment.training, compile=False, accumulate=1, precision="float32")
    small = replace(experiment, objective=objective, data=data, training=training, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so little text has fewer words than a vocabulary may hold
        try:
            text = text_of(data.corpus)
            few = replace(data, corpus=Corpus(text.name, text.lines[:LINES]))
            losses = first_losses(replace(small, data=few), STEPS)
        except ValueError:  # it is on no text, such as spoken digits, or needs more of it
            losses = first_losses(small, STEPS)
    return [round(loss, 6) for loss in losses]


def same_probe(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two runs begin alike, to a ten-thousandth of each loss.

    >>> same_probe([6.93, 6.9], [6.93, 6.9001]), same_probe([6.93, 6.9], [6.93, 6.91])
    (True, False)
    """
    return len(one) == len(other) and np.allclose(one, other, rtol=CLOSE, atol=CLOSE)
