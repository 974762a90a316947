"""The geometry of a line drawn by hand.

A shape is a list of pieces, each a cubic curve of four points; a straight line is one too. A pen stroke
along it starts and ends a little off, sways between, and is drawn twice: the manner of rough.js
(Shihn, roughjs.com).
"""

import math
import re
from itertools import pairwise
from random import Random

Point = tuple[float, float]
Piece = tuple[Point, Point, Point, Point]

CIRCLE = 0.5523  # the handle length with which four cubic curves make a circle of radius 1


def line(a: Point, b: Point) -> Piece:
    """The straight piece from `a` to `b`."""
    return a, _between(a, b, 1 / 3), _between(a, b, 2 / 3), b


def polygon(points: str) -> list[Piece]:
    """The pieces of an SVG `points` list: `len(polygon("0,0 3,0 3,2")) == 2` (it does not close itself)."""
    corners = [(float(x), float(y)) for x, y in (pair.split(",") for pair in points.split())]
    return [line(a, b) for a, b in pairwise(corners) if math.dist(a, b) > 0.01]


def ellipse(cx: float, cy: float, rx: float, ry: float) -> list[Piece]:
    """Four quarter turns around a centre."""
    turns = [(1, 0), (0, 1), (-1, 0), (0, -1)]

    def at(u: float, v: float) -> Point:
        return cx + rx * u, cy + ry * v

    pieces = []
    for (a, b), (c, d) in pairwise([*turns, turns[0]]):
        handles = at(a + CIRCLE * c, b + CIRCLE * d), at(c + CIRCLE * a, d + CIRCLE * b)
        pieces.append((at(a, b), *handles, at(c, d)))
    return pieces


def rounded_box(x: float, y: float, width: float, height: float, radius: float) -> list[Piece]:
    """A box whose corners are quarter turns, clockwise from the top left."""
    r, right, bottom, h = radius, x + width, y + height, radius * (1 - CIRCLE)
    return [
        line((x + r, y), (right - r, y)),
        ((right - r, y), (right - h, y), (right, y + h), (right, y + r)),
        line((right, y + r), (right, bottom - r)),
        ((right, bottom - r), (right, bottom - h), (right - h, bottom), (right - r, bottom)),
        line((right - r, bottom), (x + r, bottom)),
        ((x + r, bottom), (x + h, bottom), (x, bottom - h), (x, bottom - r)),
        line((x, bottom - r), (x, y + r)),
        ((x, y + r), (x, y + h), (x + h, y), (x + r, y)),
    ]


def path(d: str) -> list[Piece]:
    """The pieces of an SVG path as Graphviz writes it: absolute M, then C, one subpath.

    >>> len(path("M0,0C1,0 2,0 3,0 4,0 5,1 5,2"))
    2
    """
    if not re.fullmatch(r"M[^MC]+C[^MC]+", d.strip()):
        raise ValueError(f"a path of one M and one C was expected, got {d[:60]!r}")
    numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", d)]
    points = list(zip(numbers[::2], numbers[1::2], strict=True))
    return [tuple(points[i : i + 4]) for i in range(0, len(points) - 1, 3)]


def wobble(pieces: list[Piece], rng: Random, roughness: float = 1.0, strokes: int = 2) -> str:
    """The pieces as `strokes` pen strokes, each a little beside the truth: an SVG path's `d`."""
    drawn = []
    for _ in range(strokes):
        drawn.append(_move(_near(pieces[0][0], rng, 0.8 * roughness)))
        for a, b, c, d in pieces:
            length = math.dist(a, d)
            slack = roughness * min(1.0, 0.2 + length / 90)
            sway = roughness * min(1.6, length / 90)
            ends = (_near(b, rng, sway), _near(c, rng, sway), _near(d, rng, slack))
            drawn.append("C" + " ".join(_show(p) for p in ends))
    return "".join(drawn)


def outline(pieces: list[Piece]) -> str:
    """The pieces as they are, closed, to be filled."""
    curves = ("C" + " ".join(_show(p) for p in piece[1:]) for piece in pieces)
    return _move(pieces[0][0]) + "".join(curves) + "Z"


def hachure(pieces: list[Piece], rng: Random, gap: float = 7.0) -> str:
    """Slanted lines, about `gap` apart, that fill the closed shape; an SVG path's `d`."""
    corners = [_along(piece, step / 8) for piece in pieces for step in range(8)]
    # A line x + y = s meets the border where x + y - s changes sign.
    sums = [x + y for x, y in corners]
    drawn, s = [], min(sums) + gap / 2
    while s < max(sums):
        hits = []
        for a, b in pairwise([*corners, corners[0]]):
            before, after = a[0] + a[1] - s, b[0] + b[1] - s
            if (before < 0) != (after < 0):
                hits.append(_between(a, b, before / (before - after)))
        hits.sort()
        for a, b in zip(hits[::2], hits[1::2], strict=False):
            if math.dist(a, b) > 3:
                drawn.append(wobble([line(_between(a, b, 0.03), _between(a, b, 0.97))], rng, 0.5, strokes=1))
        s += gap * rng.uniform(1.2, 1.6)
    return "".join(drawn)


def _near(p: Point, rng: Random, distance: float) -> Point:
    return p[0] + rng.uniform(-distance, distance), p[1] + rng.uniform(-distance, distance)


def _between(a: Point, b: Point, share: float) -> Point:
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])


def _along(piece: Piece, t: float) -> Point:
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    return tuple(sum(w * p[axis] for w, p in zip(weights, piece, strict=True)) for axis in (0, 1))


def _move(p: Point) -> str:
    return "M" + _show(p)


def _show(p: Point) -> str:
    return f"{p[0]:.1f},{p[1]:.1f}"
