"""The tree that a beam search grows: every candidate of every step, those that were given up in grey."""

from collections.abc import Sequence
from dataclasses import dataclass

from lab.decode import BeamStep, Candidate


@dataclass(frozen=True)
class Node:
    """A candidate in the picture: its step from 1, its row from 0, the place of its parent in the list, its fate.

    `fate` is "leading", "alive", "finished" or "pruned", as things stand at the step that is shown; -1 is the prompt.
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
