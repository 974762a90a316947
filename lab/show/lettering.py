"""Letters in figures: any text is drawn as it is, in fonts that have it, and no longer than there is room."""

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from unicodedata import category

from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, findfont, findSystemFonts, fontManager, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.text import Annotation, Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import Formatter, LogFormatter, ScalarFormatter

from lab.show.clusters import fitted
from lab.show.colours import GREY

BOXES = "Last Resort High-Efficiency"  # matplotlib's own font, of a box for each character there is
# Fonts that say they have a character and draw something else, or nothing.
UNFIT = re.compile(r"cm|STIX(Non|Size)|\.?Last ?Resort|Adobe Blank|Unicode BMP|.*Color Emoji")
UNDER_TICK = (32, 2)  # columns and lines
WIDE, BOLD_WIDE = 0.52, 0.57  # the mean advance of DejaVu Sans, in font sizes

# That such a font has no bold face is no news to the reader of a figure.
logging.getLogger("matplotlib.font_manager").addFilter(lambda told: "find font weight" not in str(told.msg))


class Lettered(Figure):
    """A figure that takes no text for mathematics, looks for fonts that have its letters, and breaks long lines.

    Numbers that matplotlib itself sets beside an axis, such as powers of ten, are as ever. Where no font of the machine
    has a character, a line at the foot says so.
    """

    _note: Text | None = None

    def draw(self, renderer) -> None:
        if lacking := sorted(self._settle()):
            named = ", ".join(f"U+{ord(c):04X}" for c in lacking[:3])
            more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
            high = 0.2 / self.get_figheight()
            self._note = self._note or self.text(0.01, 0.2 * high, "", fontsize=7, color=GREY)
            self._note.set_text(f"no font here has {named}{more}")
            if isinstance(engine := self.get_layout_engine(), ConstrainedLayoutEngine):
                engine.set(rect=(0, high, 1, 1 - high))
        super().draw(renderer)

    def _settle(self) -> set[str]:
        """Let each text be drawn as it is; returns the characters that no font has."""
        rooms, lacking = {}, set()
        for axis in (axis for ax in self.axes for axis in (ax.xaxis, ax.yaxis)):
            grid = axis.axes.get_gridspec()
            beside_tick = max(32, int(6 * self.get_figwidth() / (grid.ncols if grid else 1))), 2
            room = beside_tick if axis.axis_name == "y" else UNDER_TICK
            labels, formatter = axis.get_ticklabels(which="both"), axis.get_major_formatter()
            if isinstance(formatter, ScalarFormatter | LogFormatter):
                rooms |= dict.fromkeys([*labels, axis.offsetText])
            else:
                rooms |= dict.fromkeys(labels, room)
                _make_fitting(formatter, room)
        for text in {text for legend in self.findobj(Legend) for text in legend.findobj(Text)}:
            rooms[text] = min(64, int(8 * self.get_figwidth())), 2  # of a line, about half of the figure
        for text in self.findobj(Text):
            if room := rooms.get(text, self._room(text)):
                text.set_parse_math(False)
                if (words := fitted(text.get_text(), *room)) != text.get_text():
                    text.set_text(words)
                if not words.isascii():
                    lacking |= _find_fonts(text, words)
        return lacking

    def _room(self, text: Text) -> tuple[int, int]:
        """Columns of that text from one edge of its panel to the other, and how many lines leave room for the rest."""
        grid = text.axes.get_gridspec() if text.axes else None
        width, height = self.get_size_inches() / ((grid.ncols, grid.nrows) if grid else 1)
        along, across = (height, width) if text.get_rotation() == 90 else (width, height)
        wide, high = (BOLD_WIDE, 6) if text.get_weight() == "bold" else (WIDE, 3)  # bold are the titles
        along /= 2 if isinstance(text, Annotation) else 1  # it begins anywhere
        return max(8, int(72 * along / (wide * text.get_fontsize()))), min(high, max(1, int(1.4 * across)))


def drawn_width(words: str, look: dict) -> float:
    """Inches that words take in a figure, in fonts that have them; `look` as in `Axes.text`."""
    text = Text(0, 0, words, **look)
    _find_fonts(text, words)
    return text_to_path.get_text_width_height_descent(words, text.get_fontproperties(), False)[0] / 72


def _make_fitting(formatter: Formatter, room: tuple[int, int]) -> None:
    """Labels beside an axis are written anew at each drawing: let them fit as they are written."""
    if "format_ticks" not in vars(formatter):
        plain = formatter.format_ticks
        formatter.format_ticks = lambda values: [fitted(str(text), *room) for text in plain(values)]


def _find_fonts(text: Text, words: str) -> set[str]:
    """Let a text fall back to fonts that have the characters its own lacks; returns those that none has."""
    own = get_font(findfont(text.get_fontproperties()))
    # A mark is drawn by the font of its letter, and what only joins letters by none.
    lacking = {c for c in words if category(c) not in ("Cc", "Cf", "Mn") and not own.get_char_index(ord(c))}
    found = _families(lacking)
    families = [*text.get_fontfamily(), *found.values(), *([BOXES] if lacking - found.keys() else [])]
    if (families := list(dict.fromkeys(families))) != text.get_fontfamily():
        text.set_fontfamily(families)
    return lacking - found.keys()


_FAMILIES: dict[str, str | None] = {}  # character -> the first family of the machine that has it


def _families(characters: set[str]) -> dict[str, str]:
    """The family that has each of the characters, without those that none has; a font is asked only once for each."""
    if new := characters - _FAMILIES.keys():
        for entry in _fonts():
            font = get_font(entry.fname)
            has = {c for c in new if font.get_char_index(ord(c))}
            new -= has
            _FAMILIES.update(dict.fromkeys(has, entry.name))
            if not new:
                break
        _FAMILIES.update(dict.fromkeys(new))
    return {c: _FAMILIES[c] for c in characters if _FAMILIES[c]}


def _fonts() -> Iterator[FontEntry]:
    """The upright fonts that matplotlib knows, the plainest first, then those that came since it looked."""
    plain = ("DejaVu Sans", "Noto Sans")
    known = sorted(fontManager.ttflist, key=lambda one: (not one.name.startswith(plain), one.name))
    for more in (lambda: known), _new_fonts:
        yield from (one for one in more() if one.style == "normal" and not UNFIT.match(one.name))


@cache
def _new_fonts() -> list[FontEntry]:
    known = [*fontManager.ttflist]
    for path in sorted({*findSystemFonts()} - {entry.fname for entry in known}):
        with suppress(Exception):  # whatever is wrong with a font of the machine, it is not used
            fontManager.addfont(path)
    return fontManager.ttflist[len(known) :]
