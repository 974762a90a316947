"""DOT text in, plain SVG out, through the Graphviz that comes with pygraphviz."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from lab.show.clusters import legible, shortened

LONGEST = 80  # columns of a text in a diagram


def to_svg(dot_source: str) -> str:
    """Lay out DOT text and draw it as SVG; the same text gives the same bytes.

    >>> "<svg" in to_svg("digraph { text -> ids }")
    True

    What names Graphviz' version or draws its page (prologue, comments) is left out. Raises ValueError for
    text that is not DOT.
    """
    import pygraphviz

    dot_source = dot_source.strip() + "\n"
    _settle_fonts()
    try:
        svg = _render(dot_source)
    except pygraphviz.DotError as error:
        raise ValueError(f"Graphviz cannot read this DOT ({error}); it begins {dot_source[:60]!r}") from error
    return re.sub(r"<!--.*?-->\n?", "", svg[svg.index("<svg") :], flags=re.DOTALL)


def template(name: str, **values: object) -> str:
    """The DOT text in `name`.dot, beside this module, with the values put in where it says «name», as in `format`."""
    text = (Path(__file__).parent / f"{name}.dot").read_text(encoding="utf-8")
    return re.sub("«(.+?)»", lambda found: f"{{{found[1]}}}".format(**values), text)


def quoted(words: str) -> str:
    r"""`words` for the inside of a DOT string, so that they are shown as they are.

    What cannot be printed is shown escaped: `quoted("a\tb")` shows as `a\tb`, on one line. Of a long text the beginning
    is shown.
    """
    shown = re.sub(r"[\n\t\r]", lambda found: repr(found[0])[1:-1], legible(shortened(words, LONGEST)))
    return shown.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')


def counted(number: int, noun: str) -> str:
    """`counted(1, "block") == "1 block"`, `counted(4, "block") == "4 blocks"`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def lines(statements: Iterable[str]) -> str:
    """DOT statements below each other."""
    return "\n  ".join(statements)


def some_of(kind: str, count: int) -> dict[str, str]:
    """The first of `count` layers of a kind, all between as one, and the last: their names in DOT, and what to say.

    >>> some_of("block", 4)
    {'block_1': 'block 1', 'more': 'blocks 2 to 3', 'block_4': 'block 4'}
    """
    between = f"{kind} 2" if count == 3 else f"{kind}s 2 to {count - 1}"
    return (
        {f"{kind}_1": f"{kind} 1"}
        | ({"more": between} if count > 2 else {})
        | {f"{kind}_{count}": f"{kind} {count}"}
    )


def _render(dot_source: str) -> str:
    import pygraphviz

    return pygraphviz.AGraph(string=dot_source).draw(format="svg", prog="dot").decode("utf-8")


@cache
def _settle_fonts() -> None:
    """Draw one letter with warnings shut off.

    The bundled fontconfig is older than many systems' font settings and says so, once, on the first text.
    """
    with _quiet():
        _render("graph { a }\n")


@contextmanager
def _quiet() -> Iterator[None]:
    """Point file descriptor 2 at nothing: C libraries write there without asking Python."""
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(nowhere)
        os.close(before)
