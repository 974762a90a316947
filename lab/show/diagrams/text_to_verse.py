"""The picture of notebook 00: how a text becomes a model, and the model a verse."""

from collections import Counter

from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.show.diagrams.render import quoted, template
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
    return template(
        "text_to_verse",
        c=c,
        example=quoted(example),
        learned={part: learned(part) for part in PARTS},
        blocks=blocks,
        total=total,
        share=share,
        heads=heads,
    )
