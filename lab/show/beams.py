"""The tree that a beam search grows: every candidate of every step, those that were given up in grey."""

from collections.abc import Sequence
from dataclasses import dataclass

from lab.decode import BeamStep, Candidate
from lab.show.attention import label
from lab.show.clusters import escaped
from lab.show.colours import BLUE, FAINT, GREEN, GREY, INK, PAPER

WIDE, HIGH, ACROSS, DOWN = 104, 34, 148, 42  # pixels: of a box, and from one to the next
ROOT_WIDE, MARGIN = 60, 14
# Fill, edge, width of the edge, dashes, ink: no fate differs by colour alone.
LOOKS = {
    "leading": ("#CFE4F5", BLUE, 2.6, "", INK),
    "alive": ("#E9F3FA", BLUE, 1.2, "", INK),
    "finished": ("#CDEBDF", GREEN, 1.8, "", INK),
    "pruned": ("#F1F2F4", GREY, 1.0, "4 3", "#5B626E"),
}


@dataclass(frozen=True)
class Node:
    """A candidate in the picture: its step from 1, its row from 0, the place of its parent in the list, its fate.

    `fate` is one of `LOOKS`, as things stand at the step that is shown; -1 is the prompt.
    """

    candidate: Candidate
    step: int
    row: int
    parent: int
    fate: str


def beam_tree(steps: Sequence[BeamStep], upto: int | None = None) -> list[Node]:
    """The candidates of the first `upto` steps (all by default), in the order in which they are drawn.

    One that was kept once, but of which no line that is still alive or finished begins, is given up too. Children
    stand in the order of their parents, so that few lines cross. Raises ValueError for a step that was not made.
    """
    upto = len(steps) if upto is None else upto
    if not 1 <= upto <= len(steps):
        raise ValueError(f"the search took {len(steps)} steps, numbered from 1; got {upto}")
    last = steps[upto - 1]
    alive = [one.tokens for one in last.candidates if one.fate == "alive"] if not last.over else []
    finished = [one.tokens for _, one in last.ended]
    leading = finished[0] if last.over or not alive else alive[0]
    fates: dict[tuple[int, ...], str] = {}
    for fate, lines in (("finished", finished), ("alive", alive), ("leading", [leading])):
        fates |= {line[:n]: fate for line in lines for n in range(1, len(line) + 1)}
    nodes: list[Node] = []
    places: dict[tuple[int, ...], int] = {(): -1}
    for number, step in enumerate(steps[:upto], start=1):
        candidates = sorted(step.candidates, key=lambda one: (places[one.tokens[:-1]], -one.total))
        for row, one in enumerate(candidates):
            tokens = one.tokens
            fate = fates.get(tokens, "pruned") if one.fate != "pruned" else "pruned"
            nodes.append(Node(one, number, row, places[tokens[:-1]], fate))
            places[tokens] = len(nodes) - 1
    return nodes


def beam_svg(nodes: Sequence[Node], tokenizer, title: str) -> str:
    """The tree as SVG, with a key at its foot; each box has the token, and the log-probability so far."""
    place, head, foot = _Places(nodes), 30, 24
    edges, boxes = "", ""
    # What is given up is drawn first, and so lies below.
    for node in sorted(nodes, key=lambda node: list(LOOKS).index(node.fate), reverse=True):
        fill, edge, width, dashes, ink = LOOKS[node.fate]
        x, y = place.corner(node)
        (from_x, from_y), (to_x, to_y) = place.edge(node)
        bend = (to_x - from_x) / 2
        dashed = f" stroke-dasharray='{dashes}'" if dashes else ""
        edges += (
            f"<path d='M{from_x:g},{from_y:g}c{bend:g},0 {bend:g},{to_y - from_y:g} {2 * bend:g},{to_y - from_y:g}' "
            f"fill='none' stroke='{edge}' stroke-width='{width}'{dashed}/>"
        )
        name = escaped(label(tokenizer.tokens([node.candidate.token])[0], 11))
        boxes += (
            f"<rect x='{x:g}' y='{y:g}' width='{WIDE}' height='{HIGH}' rx='5' fill='{fill}' stroke='{edge}' "
            f"stroke-width='{width}'{dashed}/><text x='{x + 8:g}' y='{y + 15:g}' fill='{ink}' "
            f"font-family='ui-monospace,monospace'>{name}</text><text x='{x + 8:g}' y='{y + 28:g}' fill='{ink}' "
            f"font-size='11'>{node.candidate.total:.2f}</text>"
        )
    x, y = place.root
    root = (
        f"<rect x='{x:g}' y='{y - HIGH / 2:g}' width='{ROOT_WIDE}' height='{HIGH}' rx='5' fill='{FAINT}'/>"
        f"<text x='{x + ROOT_WIDE / 2:g}' y='{y + 4:g}' text-anchor='middle'>prompt</text>"
    )
    wide, high = max(place.wide, 560), place.high + head + foot
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' role='img' aria-label='{escaped(title)}' "
        f"width='{wide:g}' height='{high:g}' viewBox='0 0 {wide:g} {high:g}' font-family='system-ui,sans-serif' "
        f"font-size='12' fill='{INK}'><rect width='100%' height='100%' fill='{PAPER}'/>{_frame(title, wide, high)}"
        f"<g transform='translate(0 {head})'>{edges}{root}{boxes}</g></svg>"
    )


def _frame(title: str, wide: float, high: float) -> str:
    """The title above a tree, and the key below it."""
    drawn = f"<text x='{MARGIN}' y='22' font-size='15' font-weight='bold'>{escaped(title)}</text>"
    for n, (fate, (fill, edge, width, dashes, _)) in enumerate(LOOKS.items()):
        x = MARGIN + n * (wide - 2 * MARGIN) / len(LOOKS)
        dashed = f" stroke-dasharray='{dashes}'" if dashes else ""
        drawn += (
            f"<rect x='{x:g}' y='{high - 20:g}' width='16' height='10' rx='3' fill='{fill}' stroke='{edge}' "
            f"stroke-width='{width}'{dashed}/><text x='{x + 22:g}' y='{high - 11:g}'>{fate}</text>"
        )
    return drawn


class _Places:
    """Where everything stands, in pixels: a column a step, the prompt at the left."""

    def __init__(self, nodes: Sequence[Node]):
        self.nodes = nodes
        self.rows = [sum(node.step == step for node in nodes) for step in range(1, nodes[-1].step + 1)]
        self.high = 2 * MARGIN + max(self.rows) * DOWN
        self.wide = 2 * MARGIN + ROOT_WIDE + len(self.rows) * ACROSS
        self.root = (MARGIN, self.high / 2)

    def corner(self, node: Node) -> tuple[float, float]:
        first = (self.high - self.rows[node.step - 1] * DOWN) / 2
        return (
            MARGIN + ROOT_WIDE + (node.step - 1) * ACROSS + (ACROSS - WIDE),
            first + node.row * DOWN + (DOWN - HIGH) / 2,
        )

    def edge(self, node: Node) -> tuple[tuple[float, float], tuple[float, float]]:
        """From the right of its parent to its own left."""
        x, y = self.corner(node)
        if node.parent < 0:
            return (self.root[0] + ROOT_WIDE, self.root[1]), (x, y + HIGH / 2)
        from_x, from_y = self.corner(self.nodes[node.parent])
        return (from_x + WIDE, from_y + HIGH / 2), (x, y + HIGH / 2)
