"""A Graphviz drawing, drawn again as if by hand.

The layout is Graphviz'; the pen, the paper, the lettering and the colours are ours. What a node means is its
class in DOT, `class=data`, and its look is the palette's. The first line of a label is its name, the lines
below it are notes.
"""

import re
from collections.abc import Iterator
from random import Random
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from lab.show.clusters import escaped
from lab.show.diagrams import strokes
from lab.show.diagrams.palette import FONT, INK, NOTE, PALETTE, PAPER, PAPER_EDGE, SHEET, SHEET_EDGE, Look
from lab.show.diagrams.render import to_svg

SVG = "{http://www.w3.org/2000/svg}"
EDGE = 20  # paper left around the drawing
NAME_SIZE, NOTE_SIZE, TITLE_SIZE = 15, 13, 22
NAME_HEIGHT, NOTE_HEIGHT = 19, 16.5
LEGEND_HEIGHT = 38


def sketch(svg: str, description: str, seed: int = 7) -> str:
    """Redraw the SVG of `to_svg` with wobbly pen strokes on paper; the same seed gives the same strokes.

    >>> from lab.show.diagrams.render import to_svg
    >>> drawn = sketch(to_svg("digraph { label=path; text [class=data] }"), "One node, called text.")
    >>> "<title id=" in drawn and "text" in drawn
    True

    The graph's label becomes the heading, `description` what a screen reader says. A legend is added
    for the meanings that occur.
    """
    root = ElementTree.fromstring(svg)
    _, _, width, height = (float(n) for n in root.get("viewBox").split())
    graph = root.find(f"{SVG}g")
    shift_x, shift_y = re.search(r"translate\(([-\d.]+)[ ,]+([-\d.]+)\)", graph.get("transform")).groups()
    groups = graph.findall(f"{SVG}g")
    heading = _heading(graph.findall(f"{SVG}text"))
    legend = _legend(groups, width / 2, height + EDGE + 14, seed)
    name = graph.find(f"{SVG}text").text.strip() if heading else "diagram"
    drawing = "".join(line for group in groups for line in _group(group, seed))
    page_width, page_height = width + 2 * EDGE, height + 2 * EDGE + (LEGEND_HEIGHT if legend else 0)
    origin = f"{EDGE + float(shift_x):g} {EDGE + float(shift_y):g}"
    return (
        f'{_opening(name, page_width, page_height)}<title id="{_slug(name)}-title">{escaped(name)}</title>\n'
        f'<desc id="{_slug(name)}-desc">{escaped(description)}</desc>\n'
        f"{_paper(page_width, page_height, seed)}"
        f'<g transform="translate({origin})">\n{heading}{drawing}</g>\n'
        f'<g transform="translate({EDGE} 0)">\n{legend}</g>\n</svg>\n'
    )


def draw(dot: str, description: str) -> str:
    """DOT text as a sketch."""
    return sketch(to_svg(dot), description)


def labels(svg: str) -> list[str]:
    """The texts of a drawing in order, `["text to verse", ...]`: what it says, whatever the fonts' sizes."""
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def _opening(name: str, width: float, height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:100%;height:auto" role="img" '
        f'aria-labelledby="{_slug(name)}-title {_slug(name)}-desc" font-family="{FONT}" '
        f'stroke-linecap="round" stroke-linejoin="round">\n'
    )


def _paper(width: float, height: float, seed: int) -> str:
    sheet = strokes.rounded_box(3, 3, width - 6, height - 6, 16)
    border = strokes.wobble(sheet, Random(f"{seed} paper"))
    return f'<path d="{strokes.outline(sheet)}" fill="{PAPER}"/>\n' + _pen(border, PAPER_EDGE, 1.2)


def _group(group: Element, seed: int) -> Iterator[str]:
    """One node, edge or cluster: its fills and strokes, then its lettering."""
    kind, *classes = group.get("class").split()
    rng = Random(f"{seed} {group.findtext(f'{SVG}title')}")
    look = next((PALETTE[c] for c in classes if c in PALETTE), None) or _plain(group, kind)
    texts, corners = [], []
    for element in group.iter():
        tag = element.tag.removeprefix(SVG)
        if tag == "text":
            texts.append(element)
        elif tag in ("path", "polygon", "polyline", "ellipse") and kind == "edge":
            yield _edge(element, tag, rng)
        elif tag in ("path", "polygon", "polyline", "ellipse"):
            pieces = _pieces(element, tag)
            corners += [piece[0] for piece in pieces]
            filled = tag != "polyline" and element.get("fill") != "none"
            yield from _shape(pieces, look, rng, filled)
    if kind == "node" and texts:
        yield from _node_text(texts, corners)
    elif kind == "cluster":
        left = min(x for x, _ in corners) + 14
        yield from (_letters(t.text, left, float(t.get("y")), NAME_SIZE, True, "start") for t in texts)
    else:
        yield from (_text(t, NOTE_SIZE, bold=False, halo=True) for t in texts)


def _plain(group: Element, kind: str) -> Look:
    """The look of what has no meaning of its own: a cluster's sheet, a white box, a dot without text."""
    if kind == "cluster":
        return Look("", SHEET_EDGE, SHEET, None)
    return Look("", INK, INK if group.find(f"{SVG}text") is None else "#ffffff", None)


def _pieces(element: Element, tag: str) -> list[strokes.Piece]:
    if tag == "path":
        return strokes.path(element.get("d"))
    if tag == "ellipse":
        return strokes.ellipse(*(float(element.get(name)) for name in ("cx", "cy", "rx", "ry")))
    return strokes.polygon(element.get("points"))


def _shape(pieces: list[strokes.Piece], look: Look, rng: Random, filled: bool = True) -> Iterator[str]:
    if filled:
        yield f'<path d="{strokes.outline(pieces)}" fill="{look.fill}"/>\n'
        if look.hatch:
            yield _pen(strokes.hachure(pieces, rng), look.hatch, 1.1)
    yield _pen(strokes.wobble(pieces, rng), look.line, 1.3)


def _edge(element: Element, tag: str, rng: Random) -> str:
    if tag == "polygon":  # an arrowhead (left, tip, right): drawn open, with the stem through to the tip
        left, tip, right = (piece[0] for piece in strokes.polygon(element.get("points"))[:3])
        middle = ((left[0] + right[0]) / 2, (left[1] + right[1]) / 2)
        parts = ([strokes.line(left, tip), strokes.line(tip, right)], [strokes.line(middle, tip)])
        return _pen("".join(strokes.wobble(part, rng, 0.7) for part in parts), INK, 1.3)
    dashes = element.get("stroke-dasharray")
    return _pen(strokes.wobble(_pieces(element, tag), rng, 0.8, strokes=1 if dashes else 2), INK, 1.2, dashes)


def _pen(d: str, colour: str, width: float, dashes: str | None = None) -> str:
    dash = ' stroke-dasharray="6,5"' if dashes else ""
    return f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>\n'


def _node_text(texts: list[Element], corners: list[strokes.Point]) -> Iterator[str]:
    """Name and notes, placed about the middle of the node whatever font Graphviz measured with."""
    heights = [NAME_HEIGHT] + [NOTE_HEIGHT] * (len(texts) - 1)
    ys = [y for _, y in corners] or [float(t.get("y")) - 5 for t in texts]
    top = (min(ys) + max(ys)) / 2 - sum(heights) / 2
    for i, text in enumerate(texts):
        yield _text(text, NOTE_SIZE if i else NAME_SIZE, bold=not i, y=top + sum(heights[: i + 1]) - 5)


def _text(text: Element, size: float, bold: bool, y: float | None = None, halo: bool = False) -> str:
    y = float(text.get("y")) if y is None else y
    return _letters(text.text, float(text.get("x")), y, size, bold, text.get("text-anchor"), halo)


def _letters(words: str, x: float, y: float, size: float, bold: bool, anchor: str, halo: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    behind = f' stroke="{PAPER}" stroke-width="4" paint-order="stroke"' if halo else ""
    return (
        f'<text xml:space="preserve" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}" '
        f'fill="{INK if bold else NOTE}"{weight}{behind}>{escaped(words)}</text>\n'
    )


def _heading(texts: list[Element]) -> str:
    return "".join(_text(t, NOTE_SIZE + 1.5 if i else TITLE_SIZE, bold=not i) for i, t in enumerate(texts))


def _legend(groups: list[Element], centre: float, y: float, seed: int) -> str:
    """A swatch and its meaning, in a row, for each class that occurs."""
    used = {word for group in groups for word in group.get("class").split()}
    looks = [look for name, look in PALETTE.items() if name in used]
    widths = [30 + 0.62 * NOTE_SIZE * len(look.meaning) + 26 for look in looks]
    x, drawn = centre - (sum(widths) - 26) / 2, []
    for look, width in zip(looks, widths, strict=True):
        swatch = strokes.rounded_box(x, y, 22, 15, 3)
        drawn += _shape(swatch, look, Random(f"{seed} {look.meaning}"))
        drawn.append(_letters(look.meaning, x + 30, y + 12, NOTE_SIZE, False, "start"))
        x += width
    return "".join(drawn)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
