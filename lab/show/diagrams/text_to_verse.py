"""The picture of notebook 00: how a text becomes a model, and the model a verse."""

from collections import Counter

from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.show.diagrams.render import quoted
from lab.show.diagrams.sketch import draw

# The parts a parameter can belong to. Those of a block are counted over all blocks.
BLOCK_PARTS = ("self_attention_norm", "self_attention", "feed_forward_norm", "feed_forward")
PARTS = ("embedding", *BLOCK_PARTS, "norm", "output")

DESCRIPTION = (
    "Left, downwards: text becomes ids, ids are cut into windows. Middle, upwards: the ids are embedded and "
    "pass through the transformer's blocks, where attention and then a feed-forward layer add what they "
    "found to the stream, then through a norm and the output weights. Right, downwards: an id is drawn from "
    "the logits and goes back in; the ids are decoded to text. In training the logits go to the loss instead."
)


def count_parameters(model: DecoderOnlyTransformer) -> dict[str, int]:
    """The number of parameters in each part of the model; they add up to all it has.

    >>> tiny = TransformerConfig(vocab_size=10, width=8, num_heads=2, feed_forward=16, num_layers=1)
    >>> count_parameters(DecoderOnlyTransformer(tiny))["embedding"]
    80
    """
    counts = Counter()
    for name, parameter in model.named_parameters():
        counts[_part(name.split("."))] += parameter.numel()
    return dict(counts)


def _part(path: list[str]) -> str:
    """Which part of the picture a parameter belongs to: `decoder.blocks.0.feed_forward.norm.weight` and so on."""
    if path[0] != "decoder":
        return path[0]
    if path[1] != "blocks":
        return path[1]
    layer, inside = path[3:5]
    return f"{layer}_norm" if inside == "norm" else layer


def text_to_verse(
    config: TransformerConfig, parameter_counts: dict[str, int], example: str = "In the beginning"
) -> str:
    """The whole path from text to verse as a sketched SVG, with this model's dimensions and parameter counts.

    `parameter_counts` is what `count_parameters` gives, `example` the text that the path starts with.
    Raises ValueError when the model has other parts than the picture, whose numbers would not add up.
    """
    if set(parameter_counts) != set(PARTS):
        raise ValueError(f"the picture shows {sorted(PARTS)}, the model has {sorted(parameter_counts)}")
    return draw(_dot(config, parameter_counts, example), DESCRIPTION)


def _dot(c: TransformerConfig, counts: dict[str, int], example: str) -> str:
    def learned(part: str) -> str:
        copies = c.num_layers if part in BLOCK_PARTS else 1
        return f"{counts[part] // copies:,} parameters"

    blocks = "block" if c.num_layers == 1 else "blocks"
    total, in_blocks = sum(counts.values()), sum(counts[part] for part in BLOCK_PARTS)
    share = f"{in_blocks:,} of them in {c.num_layers} {blocks}"
    heads = f"{c.num_heads} heads of {c.width // c.num_heads}"
    return f"""
digraph text_to_verse {{
  graph [rankdir=TB newrank=true ranksep=0.32 nodesep=0.45 labelloc=t fontsize=22
         label="From text to verse\\n{total:,} parameters, {share}\\n\\n"]
  node [shape=box style="rounded,filled" width=2.95 fontsize=14]
  edge [fontsize=13 weight=10]

  // left, downwards: words become numbers
  node [group=left]
  text    [class=data      shape=note label="text\\n“{quoted(example)} …”"]
  encode  [class=operation label="tokenise\\ninto {c.vocab_size:,} kinds of token"]
  ids     [class=data      shape=note label="ids\\nwhole numbers below {c.vocab_size:,}"]
  cut     [class=operation label="cut into windows\\nof {c.context} ids"]
  batch   [class=data      shape=note label="batch\\nB windows, T = {c.context} ids each"]
  text -> encode -> ids -> cut -> batch

  // middle, upwards: the model
  node [group=middle class=parameters style=filled]
  output    [label="output weights\\n{c.width} × {c.vocab_size:,}\\n{learned("output")}"]
  norm      [label="last norm\\n{learned("norm")}"]
  subgraph cluster_block {{
    label="{blocks}, × {c.num_layers}" labeljust=l style="rounded,filled" fontsize=15 margin=14
    forward   [label="feed-forward\\n{c.width} → {c.feed_forward} → {c.width}\\n{learned("feed_forward")}"]
    norm_2    [label="norm\\n{learned("feed_forward_norm")}"]
    attention [label="attention\\n{heads}, causal, rotary\\n{learned("self_attention")}"]
    norm_1    [label="norm\\n{learned("self_attention_norm")}"]
    node [class=operation style="rounded,filled" label="+" shape=circle width=0.4 fixedsize=true]
    add_2; add_1
    node [class=stream shape=point width=0.06 label=""]
    stream_2; stream_1
  }}
  embedding [label="embedding\\n{c.vocab_size:,} × {c.width}\\n{learned("embedding")}"]
  output -> norm -> add_2 -> forward -> norm_2 [dir=back]
  norm_2 -> stream_2 [dir=back]
  stream_2 -> add_1 [dir=none]
  add_1 -> attention -> norm_1 -> stream_1 [dir=back]
  stream_1 -> embedding [dir=none label=" (B, T, {c.width})"]
  add_1 -> stream_1 [dir=back weight=0]
  add_2 -> stream_2 [dir=back weight=0]

  // right, downwards: numbers become words
  node [group=right class=output style="rounded,filled"]
  loss    [class=operation label="loss\\ncross-entropy, in training"]
  logits  [label="logits\\na score for every token"]
  draw    [class=operation label="draw\\ntemperature, top-k, top-p"]
  next    [label="next id\\nkept, and read in its turn"]
  decode  [class=operation label="decode"]
  verse   [shape=note label="a new verse"]
  loss -> logits [dir=back]
  logits -> draw -> next -> decode -> verse

  // the same row: from column to column
  {{rank=same; text; output; logits}}
  {{rank=same; batch; embedding; verse}}
  {{rank=same; encode; add_2; draw}}
  {{rank=same; ids; norm_2; next}}
  {{rank=same; cut; attention; decode}}
  batch -> embedding [label="(B, T)"]
  output -> logits [label="(B, T, {c.vocab_size:,})"]
  next:w -> embedding:e [constraint=false weight=0 style=dashed]
}}
"""
