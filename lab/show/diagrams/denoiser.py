"""The picture of notebook 07: the denoiser, from the cells of a noised line to a score for every word.

Letters: B lines, T tokens, n cells a token, S states of a cell (K colours, and blank), C channels, V words.
"""

from torch import Tensor

from lab.diffusion import Denoiser, DenoiserConfig
from lab.show.diagrams.render import counted, lines, template
from lab.show.diagrams.shapes import Shapes, watching, written
from lab.show.diagrams.sketch import draw

DESCRIPTION = (
    "Downwards: the cells of each token enter one vector, the vectors of a line pass the blocks, in which every token "
    "sees every other on both sides, and the head gives {answer}. On the right an arrow goes round the network: "
    "what is visible of a token rules out {ruled}, and that is added at the end. Every arrow bears the shape of its "
    "tensor."
)
# What no module returns is seen where the next one reads it.
READ = {"from_cells": "states", "encoder.blocks.0": "stream"}


def denoiser(model: Denoiser, cells: Tensor, alpha: Tensor | None = None) -> str:
    """A denoiser as a sketched SVG: what each token's vector is made of, the blocks, and the head.

    The shapes are those on the way of `cells` `(B, T, n)` through the model, with `alpha` `(B,)` where it needs one.
    Raises ValueError for a model without attention, which is not the one in the picture.
    """
    c = model.config
    if not c.attends:
        raise ValueError("the picture shows a network that attends; in this one each token is by itself")
    by_words = c.head == "codebook"
    description = DESCRIPTION.format(
        answer="a score for every word" if by_words else "a score for every colour of every cell",
        ruled="the words that do not fit" if by_words else "the other colours of that cell",
    )
    blocks = {f"encoder.blocks.{i}": "B T C" for i in range(c.stack.num_layers)}
    letters = {"cells": "B T n", "states": "B T nS", "from_cells": "B T C", "stream": "B T C", **blocks}
    letters |= {"encoder.norm": "B T C", "answer": "B T V" if by_words else "B T n K"}
    B, T, _ = cells.shape
    numbers = {"B": B, "T": T, "n": c.num_cells, "K": c.num_colours, "C": c.stack.width, "V": c.vocab_size}
    numbers["nS"] = c.num_cells * _states(c)
    return draw(_dot(c, written(letters, _shapes(model, cells, alpha), numbers)), description)


def _shapes(model: Denoiser, cells: Tensor, alpha: Tensor | None) -> Shapes:
    shapes = {"cells": tuple(cells.shape)}

    def note(name, args, kwargs, result):
        if name in READ:
            shapes[READ[name]] = tuple(args[0].shape)
        shapes[name] = tuple(result.shape)

    blocks = {f"encoder.blocks.{i}": block for i, block in enumerate(model.encoder.blocks)}
    with watching({"from_cells": model.from_cells, **blocks, "encoder.norm": model.encoder.norm}, note):
        shapes["answer"] = tuple(model(cells, alpha=alpha).shape)
    return shapes


def _dot(c: DenoiserConfig, said: dict[str, str]) -> str:
    stream = f'label=" {said["stream"]} "'
    blocks = counted(c.stack.num_layers, "block") + (", each" if c.stack.num_layers > 1 else "")
    heads, channels = counted(c.stack.num_heads, "head"), c.stack.feed_forward
    result = "a score for every word" if c.head == "codebook" else "a score for every colour of a cell"
    scores = f"{result.removesuffix(' of a cell')}\\nC → {'V' if c.head == 'codebook' else 'n K'}"
    return template(
        "denoiser",
        c=c,
        said=said,
        legend=_legend(c),
        stream=stream,
        blocks=blocks,
        heads=heads,
        channels=channels,
        scores=scores,
        result=result,
        states=_states_named(c),
        added=_added(c, stream),
        evidence=_evidence(c),
    )


def _added(c: DenoiserConfig, stream: str) -> str:
    """DOT for what is added to a token's vector before the first block."""
    parts = {}
    if c.reads == "words":
        parts["words"] = "the words that fit\\ntheir mean embedding, V × C"
    if c.time_input:
        parts["time"] = "how much is left\\nalpha, waves of it, C → C"
    if c.neighbours:
        parts["beside"] = f"neighbours\\n{counted(c.neighbours, 'token')} on either side, channel by channel"
    statements, last = [], "from_cells"
    for name, words in parts.items():
        statements += [
            f'plus_{name} [class=operation shape=circle width=0.4 fixedsize=true label="+"]',
            f'{name} [class=parameters style=filled group=left width=2.6 label="{words}"]',
            f"{{rank=same; {name}; plus_{name}}}",
            f"{last} -> plus_{name} [{stream}]",
            f"{name} -> plus_{name} [weight=1]",
        ]
        last = f"plus_{name}"
    return lines([*statements, f"{last} -> blocks [{stream}]"])


def _evidence(c: DenoiserConfig) -> str:
    if c.head == "factorised":
        return (
            "a visible cell keeps\\nits colour"
            if c.noise == "absorbing"
            else "by alpha: what a cell shows\\nis likely its own"
        )
    return (
        "−∞ for each word that does\\nnot fit what is visible"
        if c.noise == "absorbing"
        else "by alpha: in how many cells\\neach word agrees"
    )


def _states(c: DenoiserConfig) -> int:
    return c.num_colours + (c.noise == "absorbing")


def _states_named(c: DenoiserConfig) -> str:
    blank = ", and blank" if c.noise == "absorbing" else ""
    return f"S = {_states(c)} states: {c.num_colours} colours{blank}"


def _legend(c: DenoiserConfig) -> str:
    return (
        f"B lines, T tokens, n = {c.num_cells} cells a token, C = {c.stack.width:,} channels\\n"
        f"K = {c.num_colours} colours, V = {c.vocab_size:,} words"
    )
