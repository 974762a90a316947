"""One meaning, one colour: what the parts of every diagram look like.

The hues are Okabe and Ito's, told apart with every common kind of colour vision ("Color Universal Design",
2008), mixed with white for fills and with black for lines, so that dark text stands out on every fill.
"""

from typing import NamedTuple

FONT = "'Comic Neue','Comic Sans MS','Segoe Print','Chalkboard SE',sans-serif"

INK = "#22272e"  # text, and the lines that join things
NOTE = "#38404a"  # the smaller text below a name
PAPER = "#fdfaf2"  # opaque, so that a diagram reads on a dark page as on a light one
PAPER_EDGE = "#cfc7b4"
SHEET = "#f4efe2"  # under the nodes of a cluster
SHEET_EDGE = "#8a8578"


class Look(NamedTuple):
    """How parts of one meaning are drawn; `hatch` None means a flat fill."""

    meaning: str
    line: str
    fill: str
    hatch: str | None


def mix(colour: str, other: str, share: float) -> str:
    """`share` of `colour`, the rest of `other`: `mix("#000000", "#ffffff", 0.5) == "#808080"`."""
    pairs = zip(bytes.fromhex(colour[1:]), bytes.fromhex(other[1:]), strict=True)
    return "#" + bytes(round(share * a + (1 - share) * b) for a, b in pairs).hex()


def _look(meaning: str, hue: str, hatched: bool = False) -> Look:
    line, fill = mix(hue, "#000000", 0.7), mix(hue, "#ffffff", 0.24)
    return Look(meaning, line, fill, mix(hue, "#ffffff", 0.5) if hatched else None)


# The class of a node in DOT (`class=data`) -> its look.
PALETTE = {
    "data": _look("data", "#56b4e9"),
    "parameters": _look("learned", "#e69f00", hatched=True),
    "operation": _look("computed, nothing learned", "#009e73"),
    "output": _look("what comes out", "#cc79a7"),
}


def contrast(a: str, b: str) -> float:
    """The contrast of two colours, 1 to 21 (WCAG 2.2, 1.4.3): `contrast("#000000", "#ffffff") == 21.0`."""
    lighter, darker = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    def linear(channel: int) -> float:
        c = channel / 255
        return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(channel) for channel in bytes.fromhex(colour[1:]))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
