"""DOT text in, plain SVG out, through the Graphviz that comes with pygraphviz."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


class GraphvizNotFound(RuntimeError):
    """No Graphviz on this machine: neither inside pygraphviz nor as a `dot` command."""


def to_svg(dot_source: str) -> str:
    """Lay out DOT text and draw it as SVG; the same text gives the same bytes.

    >>> "<svg" in to_svg("digraph { text -> ids }")
    True

    What names Graphviz' version or draws its page (prologue, comments) is left out. Raises ValueError for
    text that is not DOT, GraphvizNotFound when there is nothing to render it with.
    """
    dot_source = dot_source.strip() + "\n"
    try:
        svg = _render_bundled(dot_source)
    except ImportError:
        svg = _render_command(dot_source)
    return _stable(svg)


def quoted(words: str) -> str:
    r"""`words` for the inside of a DOT string, so that they are shown as they are.

    What cannot be printed is shown escaped: `quoted("a\tb")` shows as `a\tb`, on one line.
    """
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in words)
    return shown.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')


def _render_bundled(dot_source: str) -> str:
    import pygraphviz

    _settle_fonts()
    try:
        return _draw(pygraphviz, dot_source)
    except pygraphviz.DotError as error:
        raise _not_dot(dot_source, error) from error


def _render_command(dot_source: str) -> str:
    dot = shutil.which("dot")
    if dot is None:
        raise GraphvizNotFound(
            "diagrams are drawn by Graphviz, and there is none here: `pip install 'pygraphviz>=2.0.4'` "
            "brings its own; or install your system's graphviz package, so that `dot` is on the PATH"
        )
    done = subprocess.run([dot, "-Tsvg"], input=dot_source, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise _not_dot(dot_source, done.stderr.strip())
    return done.stdout


def _draw(pygraphviz, dot_source: str) -> str:
    return pygraphviz.AGraph(string=dot_source).draw(format="svg", prog="dot").decode("utf-8")


@cache
def _settle_fonts() -> None:
    """Draw one letter with warnings shut off.

    The bundled fontconfig is older than many systems' font settings and says so, once, on the first text.
    """
    import pygraphviz

    with _quiet():
        _draw(pygraphviz, "graph { a }\n")


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


def _not_dot(dot_source: str, reason) -> ValueError:
    return ValueError(f"Graphviz cannot read this DOT ({reason}); it begins {dot_source[:60]!r}")


def _stable(svg: str) -> str:
    """Drop prologue and comments: they hold the version, and nothing that is drawn."""
    svg = svg[svg.index("<svg") :]
    return re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
