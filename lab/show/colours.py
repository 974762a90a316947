"""One set of colours for every plot, token and widget: it survives colour blindness, paper and a dark theme."""

import math

# Okabe and Ito (2008): eight colours that people with any common colour vision tell apart.
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#6B7280",
)  # fmt: skip
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, VERMILION)
INK, PAPER, FAINT = "#1F2430", "#FFFFFF", "#D7DAE0"

# Light tints for neighbouring tokens: dark ink reads on all of them (contrast above 9).
TINTS = ("#CFE4F5", "#FBE3B5", "#CDEBDF", "#F4D9E7", "#F8F3C0", "#E3E5EA")

SURPRISE_BITS = 8.0  # a token with less than one chance in 256 is as orange as it gets


def surprise_colour(probability: float) -> str:
    """From pale blue (expected) to orange (surprising) by -log2 p, as `#rrggbb`; dark ink reads on all of it.

    >>> surprise_colour(1.0), surprise_colour(0.001)
    ('#dcecf7', '#f2a65a')
    """
    bits = SURPRISE_BITS if probability <= 0 else min(SURPRISE_BITS, -math.log2(probability))
    return _blend("#DCECF7", "#F2A65A", max(0.0, bits) / SURPRISE_BITS)


def _blend(start: str, end: str, share: float) -> str:
    channels = zip(bytes.fromhex(start[1:]), bytes.fromhex(end[1:]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in channels)
