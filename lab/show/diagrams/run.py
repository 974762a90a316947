"""The picture of notebook 05: what the next step of a run depends on, which file of a checkpoint holds it, and why."""

from typing import NamedTuple

from lab.show.diagrams.render import template
from lab.show.diagrams.sketch import draw

DESCRIPTION = (
    "Left, downwards: the corpus and the tokenizer make ids, and ids make batches. Right: the model's weights, the "
    "optimizer's memories, the step of the schedule and the random states. The next step, in the middle, needs them "
    "all, and changes what is joined to it by an arrow with two heads; what it measured goes to the metrics. Each "
    "box says which file of a checkpoint holds it, and what would happen without."
)


class Piece(NamedTuple):
    """A part of a run: what it means (a class of the palette), what of it is in which file, what breaks without it."""

    meaning: str
    kept: dict[str, str]
    without: str


PIECES = {
    "corpus": Piece(
        "data", {"experiment.json": "name, SHA-256, split seed"}, "without it: tested on seen text"
    ),
    "tokenizer": Piece("parameters", {"tokenizer.json": "all of it"}, "without it: another vocabulary"),
    "batches": Piece(
        "operation",
        {"experiment.json": "seed, size", "training.json": "position"},
        "without it: batches repeat",
    ),
    "model": Piece(
        "parameters",
        {"experiment.json": "config", "model.safetensors": "weights"},
        "without them: all is forgotten",
    ),
    "optimizer": Piece(
        "operation",
        {"experiment.json": "settings", "training.safetensors": "state"},
        "without it: momentum restarts",
    ),
    "schedule": Piece(
        "operation", {"experiment.json": "shape", "training.json": "step"}, "without it: a second warm-up"
    ),
    "random states": Piece(
        "data",
        {"training.safetensors": "torch's", "training.json": "the rest"},
        "without them: other dropout",
    ),
    "metrics": Piece("output", {"metrics.jsonl": "a line a step"}, "without them: no curve"),
    "manifest": Piece("data", {"manifest.json": "each file's SHA-256"}, "without it: unseen damage"),
}


def run() -> str:
    """What a checkpoint must hold so that a run goes on as if it had never stopped: a sketched SVG.

    `PIECES` says the same as a table. The files are those that `lab.runs.save` writes.
    """
    return draw(template("run", box={name: _box(name) for name in PIECES}), DESCRIPTION)


def _box(name: str) -> str:
    piece = PIECES[name]
    look = {"data": "shape=note style=filled", "parameters": "style=filled"}.get(piece.meaning, "")
    kept = (what + ("\\n" if len(what) > 16 else " ") + f"in {file}" for file, what in piece.kept.items())
    lines = "\\n".join((name, *kept, piece.without))
    return f'"{name}" [class={piece.meaning} {look} label="{lines}"]'
