"""The picture of notebook 04: a whole decoder, and where its cache sits."""

from lab.nn.transformer import TransformerConfig
from lab.show.diagrams.render import lines, some_of, template
from lab.show.diagrams.shapes import Shapes, legend, of_picture
from lab.show.diagrams.sketch import draw

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
    said = of_picture(config, shapes, "model", _drawn(config.positions))
    return draw(_dot(config, said), DESCRIPTION.format(places=PLACES[config.positions]))


def _drawn(positions: str) -> dict[str, str]:
    """The letters of each tensor in the picture, in the order of the report."""
    return {
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


def _dot(c: TransformerConfig, said: dict[str, str]) -> str:
    tied = "\\nthe embedding again" if c.tied else ""
    stream = f'label=" {said["embedding"]} "'
    shown = some_of("block", c.num_layers)
    blocks = lines(f'{block} [label="{title}\\nattention, feed-forward"]' for block, title in shown.items())
    return template(
        "decoder",
        said=said,
        legend={letters: legend(c, letters) for letters in ("BTS", "CV", "GE")},
        tied=tied,
        stream=stream,
        blocks=blocks,
        way=" -> ".join([*shown, "norm"]),
        embedded=_embedded(c.positions, said, stream),
        caches=_caches(shown, said),
        places=_places(c.positions, list(shown), said),
    )


def _caches(shown: dict[str, str], said: dict[str, str]) -> str:
    rooms = f"keys {said['keys']}\\nvalues {said['values']}"
    statements = []
    for block, title in shown.items():
        each = ", each" if "blocks" in title else ""
        statements += [
            f'cache_{block} [label="cache of {title}{each}\\n{rooms}"]',
            f'{block} -> cache_{block} [dir=both weight=1 label=" adds T, reads S "]',
            f"{{rank=same; {block}; cache_{block}}}",
        ]
    return lines(statements)


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
  {lines(arrows)}"""


def _embedded(positions: str, said: dict[str, str], stream: str) -> str:
    """DOT from the embedding to the first block."""
    if positions not in ("learned", "sinusoidal"):
        return f"embedding -> block_1 [{stream}]"
    return f"""add [class=operation style="rounded,filled" shape=circle width=0.4 fixedsize=true label="+"]
  embedding -> add [label=" {said["embedding.token"]} "]
  add -> block_1 [{stream}]"""
