"""Diagrams of attention, as a reader sees them: no text on another, none beside the page, always the same."""

import re
from functools import cache
from itertools import combinations
from xml.etree import ElementTree

import pytest
import test_diagrams
from test_diagrams_attention import CONFIGS, DIAGRAMS, draw, laid_out, report

from lab.nn.transformer import TransformerConfig
from lab.show.diagrams import attention_backward, attention_layer, figures
from lab.show.diagrams.sketch import NAME_SIZE, NOTE_SIZE, SVG, labels

wide = cache(test_diagrams.wide)  # reading the font takes a while


def drawings(config: TransformerConfig) -> list[tuple[ElementTree.Element, str]]:
    return [draw(attention_backward, None), *(draw(diagram, config) for diagram in DIAGRAMS.values())]


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_overlaps_nor_leaves_the_page_in_a_wide_font(name):
    for plain, svg in drawings(CONFIGS[name]):
        assert_none_overlap(taken(plain))
        root = ElementTree.fromstring(svg)
        assert float(root.get("width")) <= 960
        assert_on_the_page(root)


@pytest.mark.parametrize("name", ["text_to_verse", "bpe", "run", "speech"])
def test_text_fits_its_box_in_a_wide_font(name):
    taken(laid_out(figures()[name])[0])


def assert_none_overlap(boxes) -> None:
    assert len(boxes) > 9
    for (a, *first), (b, *second) in combinations(boxes, 2):
        beside = first[2] <= second[0] or second[2] <= first[0]
        assert beside or first[3] <= second[1] or second[3] <= first[1], (a, b)


def taken(root: ElementTree.Element) -> list[tuple[str, float, float, float, float]]:
    """Each node, and each text at an arrow: its first line, then left, top, right, bottom."""
    boxes = []
    for group in root.iter(f"{SVG}g"):
        kind, texts = group.get("class").split()[0], group.findall(f"{SVG}text")
        if kind == "node" and texts:
            widths = [wide(t.text, NOTE_SIZE if i else NAME_SIZE, bold=not i) for i, t in enumerate(texts)]
            assert max(widths) + 3 <= test_diagrams.box_width(group), texts[0].text
            xs, ys = zip(*points(group), strict=True)
            boxes.append((texts[0].text, min(xs), min(ys), max(xs), max(ys)))
        elif kind == "edge":
            boxes += [around(text, NOTE_SIZE) for text in texts]
    return boxes


def around(text: ElementTree.Element, size: float) -> tuple[str, float, float, float, float]:
    """The text and its box: left, top, right, bottom."""
    words, x, y = text.text.strip(), float(text.get("x")), float(text.get("y"))
    half = wide(words, size, bold=False) / 2
    return words, x - half, y - 0.8 * size, x + half, y + 0.2 * size


def points(node: ElementTree.Element) -> list[tuple[float, float]]:
    ellipse = node.find(f"{SVG}ellipse")
    if ellipse is not None:
        x, y, rx, ry = (float(ellipse.get(name)) for name in ("cx", "cy", "rx", "ry"))
        return [(x - rx, y - ry), (x + rx, y + ry)]
    shape = next(e for e in node if e.get("points") or e.get("d"))
    return [
        (float(x), float(y))
        for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", shape.get("points") or shape.get("d"))
    ]


def assert_on_the_page(root):
    """No text of a drawing, measured in a wide font, reaches past its paper."""
    page_width, page_height = float(root.get("width")), float(root.get("height"))
    for group in root.findall(f"{SVG}g"):
        dx, dy = (float(n) for n in re.findall(r"-?[\d.]+", group.get("transform")))
        for text in group.iter(f"{SVG}text"):
            size, x = float(text.get("font-size")), dx + float(text.get("x"))
            length = wide(text.text, size, text.get("font-weight") == "bold")
            left = x - (length / 2 if text.get("text-anchor") == "middle" else 0)
            assert left >= 4 and left + length <= page_width - 4, text.text
            assert size <= dy + float(text.get("y")) <= page_height - 4, text.text


def test_drawn_the_same_each_time_and_described():
    config = CONFIGS["grouped keys"]
    for diagram in DIAGRAMS.values():
        svg = draw(diagram, config)[1]
        assert svg == diagram(config, report(config)[1])
        title, description, *_ = ElementTree.fromstring(svg)
        assert title.text in labels(svg) and "shape of its tensor" in description.text
    for name, turned in {"grouped keys": True, "learned positions": False}.items():
        assert ("turned to their positions" in draw(attention_layer, CONFIGS[name])[1]) == turned
