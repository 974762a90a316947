"""The picture of notebook 04: attention with several heads, from the stream to what is added to it."""

from lab.nn.transformer import TransformerConfig
from lab.show.diagrams.render import counted, template
from lab.show.diagrams.shapes import Shapes, legend, of_picture
from lab.show.diagrams.sketch import draw

DESCRIPTION = (
    "Downwards: three linear maps make queries, keys and values of x, and each is split into heads. {turn}"
    "Keys and values join those of earlier tokens in the cache. Queries times keys, divided by the root of "
    "the head's width, are the scores; a mask takes away what may not be seen, softmax makes weights of them "
    "that sum to one, and the weights average the values. The heads are put side by side again, and the "
    "output weights make of them what is added to the stream. Every arrow bears the shape of its tensor."
)

# The letters of each tensor in the picture, in the order of the report.
DRAWN = {
    "query": "B T HE", "key": "B T GE", "value": "B T GE", "joined": "B T HE", "output": "B T C",
    "x": "B T C", "q": "B H T E", "k": "B G T E", "v": "B G T E",
}  # fmt: skip
TURNED = {"turned_q": "B H T E", "turned_k": "B G T E"}
JOINED = {
    "keys": "B G S E",
    "values": "B G S E",
    "scores": "B H T S",
    "weights": "B H T S",
    "mixed": "B H T E",
}


def attention_layer(config: TransformerConfig, shapes: Shapes) -> str:
    """Multi-head attention as a sketched SVG, each arrow with its tensor's shape in letters and numbers.

    `shapes` is what `report_shapes` says of a model of this config. Raises ValueError when the model's
    attention has other parts than the picture, or other shapes.
    """
    rotary = config.positions == "rotary"
    turn = "Queries and keys are turned to their positions. " if rotary else ""
    drawn = of_picture(config, shapes, "attention", DRAWN | (TURNED if rotary else {}) | JOINED)
    said = {name: f'label=" {text} "' for name, text in drawn.items()}
    return draw(_dot(config, said, rotary), DESCRIPTION.format(turn=turn))


def _dot(c: TransformerConfig, said: dict[str, str], rotary: bool) -> str:
    heads = counted(c.num_heads, "head")
    shared = c.num_heads // c.key_value_heads
    serves = f"\\na head of keys serves {shared} of queries" if shared > 1 else ""
    legends = {letters: legend(c, letters) for letters in ("BTS", "CE", "HG")}
    to_scores = _to_scores(said, rotary)
    return template(
        "attention_layer", said=said, heads=heads, legend=legends, serves=serves, to_scores=to_scores
    )


def _to_scores(said: dict[str, str], rotary: bool) -> str:
    """DOT from the heads of queries and keys to their products, by way of their positions."""
    if not rotary:
        return f"""split_q -> scores [{said["q"]} weight=1]
  split_q -> mask [style=invis]
  split_k -> keep_k [{said["k"]}]"""
    return f"""turn_q [group=q label="rotate\\nby its position"]
  turn_k [group=k label="rotate\\nby its position"]
  {{rank=same; turn_q; turn_k}}
  split_q -> turn_q [{said["q"]}]
  split_k -> turn_k [{said["k"]}]
  turn_q -> scores [{said["turned_q"]} weight=1]
  turn_q -> mask [style=invis]
  turn_k -> keep_k [{said["turned_k"]}]"""
