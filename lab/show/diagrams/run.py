"""The picture of notebook 05: what the next step of a run depends on, which file of a bundle holds it, and why."""

from typing import NamedTuple

from lab.show.diagrams.sketch import draw

DESCRIPTION = (
    "Left, downwards: the corpus and the tokenizer make ids, and ids make batches. Right: the model's weights, the "
    "optimizer's memories, the step of the schedule and the random states. The next step, in the middle, needs them "
    "all, and changes what is joined to it by an arrow with two heads; what it measured goes to the metrics. Each "
    "box says which file of a bundle holds it, and what would happen without."
)
SUBTITLE = "and which file of its bundle holds it\\nan arrow with two heads: the step reads it and changes it"


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
        "data", {"training.safetensors": "most", "training.json": "the rest"}, "without them: other dropout"
    ),
    "metrics": Piece("output", {"metrics.jsonl": "a line a step"}, "without them: no curve"),
    "manifest": Piece("data", {"manifest.json": "each file's SHA-256"}, "without it: unseen damage"),
}


def run() -> str:
    """What a bundle must hold so that a run goes on as if it had never stopped: a sketched SVG.

    `PIECES` says the same as a table. The files are those that `lab.runs.save` writes.
    """
    return draw(_dot(), DESCRIPTION)


def _dot() -> str:
    return f"""
digraph run {{
  graph [rankdir=TB newrank=true compound=true ranksep=0.5 nodesep=0.72 labelloc=t fontsize=22
         label="What the next step of a run needs\\n{SUBTITLE}\\n\\n"]
  node [shape=box style="rounded,filled" fontsize=14 height=1.15]
  edge [fontsize=13 weight=20]

  // left: from text to batches
  node [group=left width=3.35]
  {_box("corpus", "shape=note style=filled")}
  {_box("tokenizer", "style=filled")}
  ids [class=operation label="ids\\nin no file: made anew\\nfrom corpus and tokenizer"]
  {_box("batches")}
  corpus -> tokenizer -> ids -> batches

  // right: what the step changes
  node [group=right]
  subgraph cluster_changed {{
    label="changed by every step" labeljust=l style="rounded,filled" fontsize=15 margin=14
    {_box("model", "style=filled")}
    {_box("optimizer")}
    {_box("schedule")}
    {_box("random states", "shape=note style=filled")}
  }}
  model -> optimizer -> schedule -> "random states" [style=invis]

  // middle: the step
  node [group=middle width=3.05]
  {_box("manifest", "shape=note style=filled")}
  step [class=operation label="next step\\nas if nothing\\nhad stopped"]
  {_box("metrics")}
  metrics -> step [dir=back]

  // the same row
  {{rank=same; corpus -> manifest -> model [style=invis]}}
  {{rank=same; tokenizer; optimizer}}
  {{rank=same; ids -> metrics -> schedule [style=invis]}}
  {{rank=same; batches -> step [dir=both]}}
  {{rank=same; step -> "random states" [dir=both lhead=cluster_changed]}}

  corpus:e -> ids:e [weight=1 constraint=false]
}}
"""


def _box(name: str, look: str = "") -> str:
    piece = PIECES[name]
    kept = (what + ("\\n" if len(what) > 16 else " ") + f"in {file}" for file, what in piece.kept.items())
    lines = "\\n".join((name, *kept, piece.without))
    return f'"{name}" [class={piece.meaning} {look} label="{lines}"]'
