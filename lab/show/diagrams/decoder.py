"""The picture of notebook 04: a whole decoder, and where its cache sits."""

from lab.nn.transformer import TransformerConfig
from lab.show.diagrams.render import to_svg
from lab.show.diagrams.shapes import Shapes, legend, written
from lab.show.diagrams.sketch import sketch

DESCRIPTION = (
    "Downwards: ids are embedded, pass one block after the other, a last norm and the output weights, and come "
    "out as logits, a score for every token of the vocabulary. {places} On the right, beside each block, "
    "stands its part of the cache: the keys and values of all tokens so far, to which the block appends those "
    "of the new tokens. Every arrow bears the shape of its tensor."
)
PLACES = {
    "rotary": "On the left, positions become angles, by which the attention of every block turns queries and keys.",
    "learned": "On the left, positions become learned vectors, which are added to the embeddings.",
    "sinusoidal": "On the left, positions become sines and cosines, which are added to the embeddings.",
    "none": "Nothing tells it of positions.",
}


def decoder(config: TransformerConfig, shapes: Shapes) -> str:
    """A decoder-only transformer as a sketched SVG, each arrow with its tensor's shape in letters and numbers.

    `shapes` is what `report_shapes` says of a model of this config. Raises ValueError when the model has
    other parts than the picture (no last norm, dropout), or other shapes.
    """
    drawn = written(config, shapes, _drawn(config.positions))
    said = {name.removeprefix("model."): text for name, text in drawn.items()}
    return sketch(to_svg(_dot(config, said)), DESCRIPTION.format(places=PLACES[config.positions]))


def _drawn(positions: str) -> dict[str, str]:
    """The letters of each tensor in the picture, in the order of the report."""
    drawn = {
        "ids": "B T",
        "embedding.token": "B T C",
        **({"embedding.place": "T C"} if positions in ("learned", "sinusoidal") else {}),
        "embedding": "B T C",
        **({"decoder.rotary": "1 T E"} if positions == "rotary" else {}),
        "decoder.norm": "B T C",
        "output": "B T V",
        "keys": "B G S E",
        "values": "B G S E",
    }
    return {f"model.{name}": letters for name, letters in drawn.items()}


def _dot(c: TransformerConfig, said: dict[str, str]) -> str:
    tied = "\\nthe embedding again" if c.tied else ""
    stream = f'label=" {said["embedding"]} "'
    shown = [
        "block_1",
        *(["more"] if c.num_layers > 2 else []),
        *([f"block_{c.num_layers}"] if c.num_layers > 1 else []),
    ]
    return f"""
digraph decoder {{
  graph [rankdir=TB newrank=true ranksep=0.34 nodesep=0.5 labelloc=t fontsize=22
         label="A decoder and its cache\\n{legend(c, "BTS")}\\n{legend(c, "CV")}\\n{legend(c, "GE")}\\n\\n"]
  node [shape=box style="rounded,filled" width=2.3 fontsize=14]
  edge [fontsize=13 weight=20]

  // middle: from ids to logits
  node [group=middle shape=box]
  ids       [class=data shape=note style=filled label="ids\\nof the new tokens"]
  embedding [class=parameters style=filled label="embedding\\nV × C"]
  norm      [class=parameters style=filled label="last norm"]
  output    [class=parameters style=filled label="output weights\\nC → V{tied}"]
  logits    [class=output label="logits\\na score for every token"]
  node [class=parameters style=filled]
  {_blocks(shown, c.num_layers)}
  ids -> embedding [label="   {said["ids"]} "]
  {_embedded(c.positions, said, stream)}
  {" -> ".join([*shown, "norm"])} [{stream}]
  norm -> output   [label=" {said["decoder.norm"]} "]
  output -> logits [label=" {said["output"]} "]

  // right: what each block keeps
  node [class=data group=right]
  {_caches(shown, c.num_layers, said)}

  // left: where the tokens stand
  {_places(c.positions, shown, said)}
}}
"""


def _blocks(shown: list[str], num_layers: int) -> str:
    return _lines(
        f'{block} [label="{_title(block, num_layers)}\\nattention, feed-forward"]' for block in shown
    )


def _caches(shown: list[str], num_layers: int, said: dict[str, str]) -> str:
    rooms = f"keys {said['keys']}\\nvalues {said['values']}"
    lines = []
    for block in shown:
        each = ", each" if "blocks" in _title(block, num_layers) else ""
        lines += [
            f'cache_{block} [label="cache of {_title(block, num_layers)}{each}\\n{rooms}"]',
            f'{block} -> cache_{block} [dir=both weight=1 label=" adds T, reads S "]',
            f"{{rank=same; {block}; cache_{block}}}",
        ]
    return _lines(lines)


def _lines(lines) -> str:
    return "\n  ".join(lines)


def _title(block: str, num_layers: int) -> str:
    if block != "more":
        return block.replace("_", " ")
    return "block 2" if num_layers == 3 else f"blocks 2 to {num_layers - 1}"


def _places(positions: str, shown: list[str], said: dict[str, str]) -> str:
    """DOT for the positions, and what is made of them."""
    if positions == "none":
        return ""
    looks = {
        "rotary": 'class=operation style="rounded,filled" label="angles\\ncosines and sines\\n{shape}"',
        "learned": 'class=parameters style=filled label="position vectors\\none for each place"',
        "sinusoidal": 'class=operation style="rounded,filled" label="position vectors\\nsines, cosines"',
    }
    if positions == "rotary":
        told = _turns(shown)
    else:
        told = f'made -> add [weight=1 label=" {said["embedding.place"]} "]'
    return f"""node [group=left]
  places [class=data shape=note style=filled width=2.1 label="positions\\nof the new tokens"]
  made   [{looks[positions].format(shape=said.get("decoder.rotary"))} width=2.1]
  {{rank=same; places -> ids [style=invis]}}
  {{rank=same; made -> embedding [style=invis]}}
  places -> made [label="   (T,) "]
  {told}"""


def _turns(shown: list[str]) -> str:
    """DOT for a dashed line down the left, from which an arrow goes to each block."""
    points = [f"turn_{block}" for block in shown]
    arrows = (f"{{rank=same; turn_{block} -> {block} [style=dashed weight=1]}}" for block in shown)
    return f"""node [class=stream shape=point width=0.06 label=""]
  {" -> ".join(["made", *points])} [style=dashed dir=none]
  node [shape=box width=2.3]
  {_lines(arrows)}"""


def _embedded(positions: str, said: dict[str, str], stream: str) -> str:
    """DOT from the embedding to the first block."""
    if positions not in ("learned", "sinusoidal"):
        return f"embedding -> block_1 [{stream}]"
    return f"""add [class=operation style="rounded,filled" shape=circle width=0.4 fixedsize=true label="+"]
  embedding -> add [label=" {said["embedding.token"]} "]
  add -> block_1 [{stream}]"""
