"""The picture of notebook 04: one block of a decoder, two layers that each add to the stream."""

from lab.nn.transformer import TransformerConfig
from lab.show.diagrams.render import counted
from lab.show.diagrams.shapes import Shapes, legend, of_picture
from lab.show.diagrams.sketch import draw

DESCRIPTION = (
    "Downwards: the stream passes a block on a straight line. Twice a layer beside it reads the stream "
    "through a norm and adds to it what it found: first self-attention, which mixes tokens, then "
    "feed-forward, which widens each token's vector, bends it and narrows it again. Every arrow bears the "
    "shape of its tensor."
)

DRAWN = {
    "self_attention.norm": "B T C",
    "self_attention.attention": "B T C",
    "self_attention": "B T C",
    "feed_forward.norm": "B T C",
    "feed_forward.expand": "B T F",
    "feed_forward.hidden": "B T F",
    "feed_forward.contract": "B T C",
    "feed_forward": "B T C",
}


def decoder_block(config: TransformerConfig, shapes: Shapes) -> str:
    """A pre-norm block as a sketched SVG, each arrow with its tensor's shape in letters and numbers.

    `shapes` is what `report_shapes` says of a model of this config. Raises ValueError when the model's
    blocks have other parts than the picture (a gate, a norm after the layer), or other shapes.
    """
    drawn = of_picture(config, shapes, "block", DRAWN)
    said = {name: f'label=" {text} "' for name, text in drawn.items()}
    return draw(_dot(config, said), DESCRIPTION)


def _dot(c: TransformerConfig, said: dict[str, str]) -> str:
    curve = {"gelu": "GELU", "gelu_tanh": "GELU\\nby its tanh approximation"}.get(c.activation, c.activation)
    norm = {"rms": "RMSNorm", "layer": "LayerNorm"}[c.norm]
    return f"""
digraph decoder_block {{
  graph [rankdir=TB newrank=true ranksep=0.3 nodesep=0.5 labelloc=t fontsize=22
         label="One block of the decoder\\n{legend(c, "BT")}, {legend(c, "CF")}\\n\\n"]
  node [shape=box style="rounded,filled" width=2.5 fontsize=14]
  edge [fontsize=13]

  // left: the stream, which nothing stands in the way of
  node [group=stream]
  before [class=data shape=note style=filled label="stream\\nfrom the block before"]
  after  [class=output label="stream\\nto the next block"]
  node [class=stream shape=point width=0.06 label=""]
  fork_1; fork_2
  node [class=operation shape=circle width=0.4 fixedsize=true label="+"]
  add_1; add_2
  edge [weight=50]
  before -> fork_1 [dir=none {said["self_attention"]}]
  fork_1 -> add_1
  add_1  -> fork_2 [dir=none {said["self_attention"]}]
  fork_2 -> add_2
  add_2  -> after  [{said["feed_forward"]}]

  // right: the layers, which read it and add to it
  edge [weight=10]
  node [group=layers class=parameters shape=box style=filled width=3 fixedsize=false]
  subgraph cluster_attention {{
    label="self-attention layer" labeljust=l style="rounded,filled" fontsize=15 margin=14
    norm_1    [label="norm\\n{norm}"]
    attention [label="self-attention\\n{counted(c.num_heads, "head")}, causal: tokens mix"]
  }}
  subgraph cluster_forward {{
    label="feed-forward layer" labeljust=l style="rounded,filled" fontsize=15 margin=14
    norm_2   [label="norm\\n{norm}"]
    expand   [label="expand\\nC → F, each token alone"]
    curve    [class=operation style="rounded,filled" label="{curve}"]
    contract [label="contract\\nF → C"]
  }}
  attention -> norm_2 [style=invis weight=50]
  norm_1 -> attention [{said["self_attention.norm"]}]
  norm_2 -> expand    [{said["feed_forward.norm"]}]
  expand -> curve     [{said["feed_forward.expand"]}]
  curve  -> contract  [{said["feed_forward.hidden"]}]

  // across
  edge [weight=1]
  {{rank=same; fork_1; norm_1}}
  {{rank=same; add_1; attention}}
  {{rank=same; fork_2; norm_2}}
  {{rank=same; add_2; contract}}
  fork_1 -> norm_1
  attention -> add_1 [constraint=false {said["self_attention.attention"]}]
  fork_2 -> norm_2
  contract -> add_2 [constraint=false {said["feed_forward.contract"]}]
}}
"""
