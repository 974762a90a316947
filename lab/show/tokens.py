"""Tokens as coloured text, by matplotlib."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from lab.show.clusters import advance, fitted, legible, one_line, parts, shortened
from lab.show.colours import GREY, INK, PAPER, TINTS, surprise_colour
from lab.show.lettering import Lettered, drawn_width


@dataclass(frozen=True)
class Token:
    """One token to show: its text, its background, and what a reader sees who points at it."""

    text: str
    colour: str
    details: tuple[str, ...] = ()


def in_turn(texts: Sequence[str]) -> list[Token]:
    """Tokens in colours that change from one to the next, so that the boundaries show."""
    return [Token(text, TINTS[i % len(TINTS)]) for i, text in enumerate(texts)]


def by_probability(
    texts: Sequence[str], probabilities: Sequence[float], details: Sequence[tuple[str, ...]] | None = None
) -> list[Token]:
    """Tokens coloured by how much they surprised the model: pale blue expected, orange not."""
    details = details or [(f"p = {p:.3f}",) for p in probabilities]
    return [
        Token(text, surprise_colour(p), lines)
        for text, p, lines in zip(texts, probabilities, details, strict=True)
    ]


def visible(text: str) -> str:
    """A token's text with line breaks, tabs and what cannot be printed made visible; an empty token becomes a mark."""
    return legible(text).replace("\n", "⏎\n").replace("\t", "⇥\t") or "∅"


def tokens_figure(rows: dict[str, Sequence[Token]], title: str, *, columns: int = 88) -> Figure:
    """A still picture of tokens, one labelled paragraph a row, broken after `columns` letters.

    Spaces are drawn as a raised dot, since a picture has no text to select.
    """
    char, line = 0.092, 0.215  # inches: the advance and the height of DejaVu Sans Mono at 11 points
    look = {"fontsize": 11, "family": "DejaVu Sans Mono", "color": INK, "va": "center"}
    placed, y = [], 0.0
    for label, tokens in rows.items():
        placed.append((0, y, shortened(one_line(label, " "), columns), None, 0))
        y, x = y + 1.1, 0
        for token in tokens:
            for part in parts(one_line(token.text, "·") or "∅", columns):
                # Letters of another font may be wider.
                wide = advance(part) if part.isascii() else max(advance(part), drawn_width(part, look) / char)
                if x and x + wide > columns:
                    x, y = 0, y + 1.35
                placed.append((x, y, part, token.colour, wide))
                x += wide
        y += 1.9
    width = columns * char + 0.4
    heading = fitted(title, int(10 * width))
    head = 0.2 * heading.count("\n")  # its first line is counted below
    height = y * line + 0.5 + head
    figure = plt.figure(figsize=(width, height), facecolor=PAPER, FigureClass=Lettered)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    axes.text(0.2, 0.22 + head / 2, heading, fontsize=12, weight="bold", color=INK, va="center")
    for x, y, text, colour, wide in placed:
        left, top = 0.2 + x * char, 0.62 + head + y * line
        if colour is None:
            axes.text(left, top, text, fontsize=9.5, color=GREY, va="center")
            continue
        size = wide * char - 0.012, 0.23
        axes.add_patch(plt.Rectangle((left, top - 0.115), *size, facecolor=colour, edgecolor="none"))
        axes.text(left, top, text, **look)
    plt.close(figure)
    return figure
