"""The picture of notebook 01: how byte-pair encoding puts one word together."""

from itertools import pairwise
from typing import NamedTuple

from lab.show.diagrams.render import counted, lines, quoted
from lab.show.diagrams.sketch import draw
from lab.text import BPETokenizer
from lab.text.pretokens import splitter

DESCRIPTION = (
    "Downwards: a text is split into pre-tokens, one of them becomes bytes, and the merges of the table that "
    "fit, earliest first, join neighbours into longer tokens. On the left are the merges, "
    "in the middle the tree that they build, on the right the word after each merge, at the end its ids."
)


class Node(NamedTuple):
    """A token at its place in the tree: its name in DOT, its id, its bytes, the names of those it was joined from."""

    name: str
    id: int
    token: bytes
    joined: tuple[str, ...] = ()


class Step(NamedTuple):
    """One merge, used wherever it fits: its place in the table, from 1, and the word's tokens afterwards."""

    merge: int
    word: list[Node]


def merge_tree(tokenizer: BPETokenizer, word: str) -> list[Step]:
    """The word as bytes (merge 0), then after each merge that is used on it, as `tokenizer.steps` says.

    >>> tokenizer = BPETokenizer.train(["aaab aaab"], vocab_size=262)
    >>> [[node.token for node in step.word] for step in merge_tree(tokenizer, "aaab")]
    [[b'a', b'a', b'a', b'b'], [b'aa', b'a', b'b']]
    """
    (_, ids), *later = tokenizer.steps(word)
    steps = [Step(0, [Node(f"byte_{i}", id, tokenizer.token_bytes(id)) for i, id in enumerate(ids)])]
    for merge, ids in later:
        before, nodes, i = steps[-1].word, [], 0
        for id in ids:
            if id == before[i].id:
                nodes.append(before[i])
                i += 1
            else:  # two were joined here
                joined = before[i].name, before[i + 1].name
                nodes.append(Node(f"merged_{merge}_{i}", id, tokenizer.token_bytes(id), joined))
                i += 2
        steps.append(Step(merge, nodes))
    return steps


def bpe(tokenizer: BPETokenizer, word: str = " heaven", text: str = "the heaven and the earth") -> str:
    """How `word`, one of the pre-tokens of `text`, becomes ids by this tokenizer's merges: a sketched SVG.

    Raises ValueError when `text` does not split so that `word` is a pre-token of it.
    """
    pre_tokens = splitter(tokenizer.pattern)(text)
    if word not in pre_tokens:
        raise ValueError(f"{word!r} is not a pre-token of {text!r}, which splits into {pre_tokens}")
    return draw(_dot(tokenizer, word, text, pre_tokens), DESCRIPTION)


def _dot(tokenizer: BPETokenizer, word: str, text: str, pre_tokens: list[str]) -> str:
    first, *steps = merge_tree(tokenizer, word)
    last = steps[-1].word if steps else first.word
    title = f"Byte-pair encoding of “{_show(word.encode())}”"
    fitting = f"{len(steps)} of the table's {len(tokenizer.merges):,} merges fit the word"
    return f"""
digraph bpe {{
  graph [rankdir=TB newrank=true ranksep=0.28 nodesep=0.18 labelloc=t fontsize=22
         label="{title}\\n{fitting}; the one learned first goes first\\n\\n"]
  node [shape=box style=filled width=0.72 fontsize=16]
  edge [fontsize=13]

  // a text, its pre-tokens, the bytes of one of them
  text  [class=data shape=note label="text\\n“{quoted(text)}”"]
  split [class=operation style="rounded,filled" label="split\\nmerges never cross a cut"]
  {lines(_cut(i, cut, cut == word) for i, cut in enumerate(pre_tokens))}
  bytes [class=operation style="rounded,filled" label="as bytes\\nUTF-8, written in hex"]
  {lines(_byte(node) for node in first.word)}
  text -> split
  {lines(f"split -> cut_{i}" for i in range(len(pre_tokens)))}
  cut_{pre_tokens.index(word)} -> bytes [weight=5]
  {lines(f"bytes -> {node.name}" for node in first.word)}
  table [class=parameters width=1.7 group=left label="merge table\\n{len(tokenizer.merges):,} pairs"]
  {_word(first)}
  {_row(["table", *(node.name for node in first.word), "word_0"])}

  // left: the merges that fit; middle: what they join; right: the word so far
  {lines(_step(tokenizer, before, after) for before, after in pairwise([first, *steps]))}
  {_chain(["table", *(f"merge_{step.merge}" for step in steps)])}
  {_chain(f"word_{step.merge}" for step in [first, *steps])}

  // the ids
  {lines(_id(node) for node in last)}
  {_row(f"id_{node.name}" for node in last)}
}}
"""


def _cut(i: int, cut: str, chosen: bool) -> str:
    label = _show(cut.encode()) + ("\\nthis one" if chosen else "")
    return f'cut_{i} [class=data label="{label}"]'


def _byte(node: Node) -> str:
    return f'{node.name} [class=data label="{_show(node.token)}\\n{node.token.hex()}"]'


def _step(tokenizer: BPETokenizer, before: Step, after: Step) -> str:
    """One merge: its row in the table, the tokens that it makes, the word that results."""
    merge, made = after.merge, [node for node in after.word if node not in before.word]
    left, right = (_show(tokenizer.token_bytes(i)) for i in tokenizer.merges[merge - 1])
    statements = [
        f'merge_{merge} [class=parameters label="{left} + {right}\\nmerge {merge:,}" width=1.7 group=left]',
        _word(after),
        *(f'{node.name} [class=data label="{_show(node.token)}"]' for node in made),
        *(f"{part} -> {node.name} [weight=3]" for node in made for part in node.joined),
        _row([f"merge_{merge}", *(node.name for node in made), f"word_{merge}"]),
        f"merge_{merge} -> {made[0].name} [style=dashed constraint=false]",
    ]
    return lines(statements)


def _id(node: Node) -> str:
    return f'id_{node.name} [class=output label="{node.id:,}\\nid"]  {node.name} -> id_{node.name}'


def _word(step: Step) -> str:
    cuts, note = "   ".join(_show(node.token) for node in step.word), counted(len(step.word), "token")
    return f'word_{step.merge} [class=data width=2.8 group=right label="{cuts}\\n{note}"]'


def _row(names) -> str:
    """DOT that puts nodes side by side, in this order."""
    return f"{{rank=same; {_chain(names, weight=1)}}}"


def _chain(names, weight: int = 20) -> str:
    """DOT that keeps nodes in order without showing an arrow."""
    return "; ".join(f"{a} -> {b} [style=invis weight={weight}]" for a, b in pairwise(names))


def _show(token: bytes) -> str:
    """Bytes as one reads them, ready for a DOT string: a space as ␣, what is no whole character in hex.

    >>> _show(b" he"), _show(bytes([0xE2, 0x96]))
    ('␣he', 'e2 96')
    """
    try:
        shown = token.decode()
    except UnicodeDecodeError:
        return token.hex(" ")
    return quoted(shown.replace(" ", "␣"))
