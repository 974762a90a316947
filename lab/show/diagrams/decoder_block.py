"""The picture of notebook 04: one block of a decoder, two layers that each add to the stream."""

from lab.nn.transformer import TransformerConfig
from lab.show.diagrams.render import counted, template
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
    legends = {letters: legend(c, letters) for letters in ("BT", "CF")}
    heads = counted(c.num_heads, "head")
    return template("decoder_block", said=said, legend=legends, heads=heads, curve=curve, norm=norm)
