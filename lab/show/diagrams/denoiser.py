"""The picture of notebook 07: the denoiser, from the cells of a noised line to a score for every word.

Letters: B lines, T tokens, n cells a token, S states of a cell (K colours, and blank), C channels, V words.
"""

import torch
from torch import Tensor, nn

from lab.diffusion.denoiser import Denoiser, DenoiserConfig
from lab.show.diagrams.render import to_svg
from lab.show.diagrams.shapes import Shapes, _text
from lab.show.diagrams.sketch import sketch

DESCRIPTION = (
    "Downwards: the cells of each token enter one vector, the vectors of a line pass the blocks, in which every token "
    "sees every other on both sides, and the head gives {answer}. On the right an arrow goes round the network: "
    "what is visible of a token rules out {ruled}, and that is added at the end. Every arrow bears the shape of its "
    "tensor."
)


def report_denoiser_shapes(model: Denoiser, cells: Tensor, alpha: Tensor | None = None) -> Shapes:
    """The shape of every tensor on the way of `cells` `(B, T, n)` through the model, by name, in order.

    >>> from lab.diffusion.codebook import Codebook
    >>> config = DenoiserConfig(50, width=8, num_heads=2, feed_forward=16, num_layers=1)
    >>> model = Denoiser(config, Codebook.linear(50))
    >>> report_denoiser_shapes(model, torch.full((2, 3, 25), 3))["states"]
    (2, 3, 100)

    Raises ValueError for a model without attention, which is not the one in the picture.
    """
    if not model.config.attends:
        raise ValueError("the picture shows a network that attends; in this one each token is by itself")
    shapes = {"cells": tuple(cells.shape)}

    def watch(module: nn.Module, name: str):
        def note(module, args, result):
            if name == "from_cells":
                shapes["states"] = tuple(args[0].shape)
            if name == "encoder.blocks.0":
                shapes["stream"] = tuple(args[0].shape)
            shapes[name] = tuple(result.shape)

        return module.register_forward_hook(note)

    blocks = {f"encoder.blocks.{i}": block for i, block in enumerate(model.encoder.blocks)}
    watched = {"from_cells": model.from_cells, **blocks, "encoder.norm": model.encoder.norm}
    with torch.no_grad():
        handles = [watch(module, name) for name, module in watched.items()]
        try:
            shapes["answer"] = tuple(model(cells, alpha=alpha).shape)
        finally:
            for handle in handles:
                handle.remove()
    return shapes


def denoiser(config: DenoiserConfig, shapes: Shapes) -> str:
    """A denoiser as a sketched SVG: what each token's vector is made of, the blocks, and the head.

    `shapes` is what `report_denoiser_shapes` says of a model of this config. Raises ValueError when they are those of
    another one.
    """
    by_words = config.head == "codebook"
    description = DESCRIPTION.format(
        answer="a score for every word" if by_words else "a score for every colour of every cell",
        ruled="the words that do not fit" if by_words else "the other colours of that cell",
    )
    return sketch(to_svg(_dot(config, _written(config, shapes))), description)


def _written(c: DenoiserConfig, shapes: Shapes) -> dict[str, str]:
    """The model's shapes in letters and numbers: `{"states": "(B, T, n · S) = (B, T, 100)"}`."""
    blocks = {f"encoder.blocks.{i}": "B T C" for i in range(c.num_layers)}
    drawn = {"cells": "B T n", "states": "B T nS", "from_cells": "B T C", "stream": "B T C", **blocks}
    drawn |= {"encoder.norm": "B T C", "answer": "B T V" if c.head == "codebook" else "B T n K"}
    if list(shapes) != list(drawn):
        raise ValueError(f"the picture draws {list(drawn)}, in the model there are {list(shapes)}")
    B, T, _ = shapes["cells"]
    numbers = {"B": B, "T": T, "n": c.num_cells, "K": c.num_colours, "C": c.width, "V": c.vocab_size}
    numbers["nS"] = c.num_cells * _states(c)
    for name, letters in drawn.items():
        expected = tuple(numbers[letter] for letter in letters.split())
        if shapes[name] != expected:
            raise ValueError(f"{name} is drawn as ({letters}) = {expected}, the model's is {shapes[name]}")
    return {name: _text(letters.split(), numbers) for name, letters in drawn.items()}


def _dot(c: DenoiserConfig, said: dict[str, str]) -> str:
    stream = f'label=" {said["stream"]} "'
    blocks = "1 block" if c.num_layers == 1 else f"{c.num_layers} blocks, each"
    heads = "1 head" if c.num_heads == 1 else f"{c.num_heads} heads"
    scores = (
        "a score for every word\\nC → V" if c.head == "codebook" else "a score for every colour\\nC → n K"
    )
    result = "a score for every word" if c.head == "codebook" else "a score for every colour of a cell"
    return f"""
digraph denoiser {{
  graph [rankdir=TB newrank=true ranksep=0.32 nodesep=0.55 labelloc=t fontsize=22
         label="The denoiser\\n{_legend(c)}\\n\\n"]
  node [shape=box style="rounded,filled" width=3.1 fontsize=14]
  edge [fontsize=13 weight=20]

  // middle: down through the network
  node [group=middle]
  cells      [class=data shape=note style=filled label="cells\\nof a noised line"]
  states     [class=operation label="one-hot\\n{_states_named(c)}"]
  from_cells [class=parameters style=filled label="cells to a vector\\nn · S → C, each token alone"]
  node [class=parameters style=filled]
  blocks     [label="{blocks}\\nattention to both sides, {heads}\\nfeed-forward, {c.feed_forward:,} channels" height=1]
  norm       [label="last norm"]
  scores     [label="{scores}"]
  add        [class=operation style="rounded,filled" shape=circle width=0.4 fixedsize=true label="+"]
  answer     [class=output style="rounded,filled" label="logits\\n{result}"]
  {_added(c, stream)}
  cells -> states      [label="   {said["cells"]} "]
  states -> from_cells [label=" {said["states"]} "]
  blocks -> norm       [{stream}]
  norm -> scores       [label=" {said["encoder.norm"]} "]
  scores -> add        [label=" {said["answer"]} "]
  add -> answer        [label=" {said["answer"]} "]

  // right: what the cells say by themselves
  evidence [class=operation style="rounded,filled" group=right label="evidence\\n{_evidence(c)}"]
  {{rank=same; scores; evidence}}
  cells:e -> evidence:n [weight=1 label=" {said["cells"]} "]
  evidence:s -> add:e   [weight=1 label=" {said["answer"]} "]
}}
"""


def _added(c: DenoiserConfig, stream: str) -> str:
    """DOT for what is added to a token's vector before the first block."""
    parts = {}
    if c.reads == "words":
        parts["words"] = "the words that fit\\ntheir mean embedding, V × C"
    if c.time_input:
        parts["time"] = "how much is left\\nalpha, waves of it, C → C"
    if c.neighbours:
        side = f"{c.neighbours} {'token' if c.neighbours == 1 else 'tokens'} on either side"
        parts["beside"] = f"neighbours\\n{side}, channel by channel"
    lines, last = [], "from_cells"
    for name, words in parts.items():
        lines += [
            f'plus_{name} [class=operation shape=circle width=0.4 fixedsize=true label="+"]',
            f'{name} [class=parameters style=filled group=left width=2.6 label="{words}"]',
            f"{{rank=same; {name}; plus_{name}}}",
            f"{last} -> plus_{name} [{stream}]",
            f"{name} -> plus_{name} [weight=1]",
        ]
        last = f"plus_{name}"
    return "\n  ".join([*lines, f"{last} -> blocks [{stream}]"])


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
        f"B lines, T tokens, n = {c.num_cells} cells a token, C = {c.width:,} channels\\n"
        f"K = {c.num_colours} colours, V = {c.vocab_size:,} words"
    )
