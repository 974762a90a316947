"""What the tests of diagrams share: how a drawing is read, and that a reader can read it."""

import importlib
import re
from collections.abc import Callable
from functools import cache
from itertools import combinations
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.ft2font import FT2Font

from lab.show.diagrams.render import to_svg
from lab.show.diagrams.sketch import NAME_SIZE, NOTE_SIZE, SVG

B, T, PAST = 3, 7, 4
S = PAST + T


def numbers(line: str) -> list[tuple[int, ...]]:
    """The shapes in a line that are written with numbers: `numbers("(B, H, T) = (B, 4, T)") == [(3, 4, 7)]`."""
    known, found = {"B": B, "T": T, "S": S}, []
    for inside in re.findall(r"\(([^()]+)\)", line):
        parts = [part.replace(",", "") for part in re.split(r", |,$", inside) if part]
        if all(part in known or part.isdigit() for part in parts):
            found.append(tuple(known.get(part) or int(part) for part in parts))
    return found


def laid_out(drawing: Callable[[], str]) -> tuple[ElementTree.Element, str]:
    """What is drawn, before and after the sketch."""
    plain = []
    with pytest.MonkeyPatch.context() as patch:
        for module in ("sketch", "visual_tokens"):
            module = importlib.import_module(f"lab.show.diagrams.{module}")
            patch.setattr(module, "to_svg", lambda dot: plain.append(to_svg(dot)) or plain[0])
        svg = drawing()
    return ElementTree.fromstring(plain[0]), svg


def arrows(root: ElementTree.Element) -> dict[str, str]:
    """What each arrow says: {"x->key": "(B, T, C) = (B, T, 192)"}."""
    edges = [g for g in root.iter(f"{SVG}g") if g.get("class").startswith("edge")]
    return {g.findtext(f"{SVG}title"): (g.findtext(f"{SVG}text") or "").strip() for g in edges}


def assert_readable(plain: ElementTree.Element, svg: str) -> None:
    """In a wide font every text fits its box, nothing lies on another, and none reaches past the paper."""
    boxes = taken(plain)
    assert len(boxes) > 9
    for (a, *first), (b, *second) in combinations(boxes, 2):
        beside = first[2] <= second[0] or second[2] <= first[0]
        assert beside or first[3] <= second[1] or second[3] <= first[1], (a, b)
    root = ElementTree.fromstring(svg)
    page_width, page_height = float(root.get("width")), float(root.get("height"))
    assert page_width <= 960
    for group in root.findall(f"{SVG}g"):
        dx, dy = (float(n) for n in re.findall(r"-?[\d.]+", group.get("transform")))
        for text in group.iter(f"{SVG}text"):
            size, x = float(text.get("font-size")), dx + float(text.get("x"))
            length = wide(text.text, size, text.get("font-weight") == "bold")
            left = x - (length / 2 if text.get("text-anchor") == "middle" else 0)
            assert left >= 4 and left + length <= page_width - 4, text.text
            assert size <= dy + float(text.get("y")) <= page_height - 4, text.text


def taken(root: ElementTree.Element) -> list[tuple[str, float, float, float, float]]:
    """Each node, and each text at an arrow: its first line, then left, top, right, bottom."""
    boxes = []
    for group in root.iter(f"{SVG}g"):
        kind, texts = group.get("class").split()[0], group.findall(f"{SVG}text")
        if kind == "node" and texts:
            xs, ys = zip(*points(group), strict=True)
            for i, text in enumerate(texts):
                length = wide(text.text, NOTE_SIZE if i else NAME_SIZE, bold=not i)
                assert length + 3 <= max(xs) - min(xs), text.text
            boxes.append((texts[0].text, min(xs), min(ys), max(xs), max(ys)))
        elif kind == "edge":
            for text in texts:
                words, x, y = text.text.strip(), float(text.get("x")), float(text.get("y"))
                half = wide(words, NOTE_SIZE, bold=False) / 2
                boxes.append((words, x - half, y - 0.8 * NOTE_SIZE, x + half, y + 0.2 * NOTE_SIZE))
    return boxes


def points(node: ElementTree.Element) -> list[tuple[float, float]]:
    ellipse = node.find(f"{SVG}ellipse")
    if ellipse is not None:
        x, y, rx, ry = (float(ellipse.get(name)) for name in ("cx", "cy", "rx", "ry"))
        return [(x - rx, y - ry), (x + rx, y + ry)]
    shape = next(e for e in node if e.get("points") or e.get("d"))
    pairs = re.findall(r"(-?[\d.]+),(-?[\d.]+)", shape.get("points") or shape.get("d"))
    return [(float(x), float(y)) for x, y in pairs]


@cache  # reading the font takes a while
def wide(text: str, size: float, bold: bool) -> float:
    """In DejaVu Sans, which comes with matplotlib and is among the widest fonts that a browser falls back to."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    font = FT2Font(f"{matplotlib.get_data_path()}/fonts/ttf/{name}")
    font.set_size(size, 72)
    font.set_text(text)
    return font.get_width_height()[0] / 64
