"""What all widgets share: how controls are named and laid out, the paper that answers stand on, what went wrong."""

import html
import io
import re
from base64 import b64encode
from collections.abc import Iterable

import ipywidgets as widgets
from matplotlib.figure import Figure

from lab.show.colours import INK, PAPER, VERMILION

SANS = "font:13px/1.6 system-ui,sans-serif"
MONO = "ui-monospace,Menlo,Consolas,monospace"
LETTERS = f"font:15px/1.6 {MONO}"
LABEL_WIDTH, WIDEST = "7rem", "60rem"


def class_name(name: str) -> str:
    """The CSS class of a control, for styles and tests: stable, since it is made of the name in the code.

    >>> class_name("top_p"), class_name("AttentionExplorer"), class_name("T")
    ('lab-top-p', 'lab-attention-explorer', 'lab-t')
    """
    return "lab-" + re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).replace("_", "-").lower()


def named(owner, names: Iterable[str], label_width: str = LABEL_WIDTH) -> None:
    """Give each control `owner.name` the class of its name, and all labels one width."""
    for name in names:
        control = getattr(owner, name)
        control.add_class(class_name(name))
        if hasattr(control, "indent"):  # a box to tick, whose label stands behind it
            control.layout.width, control.layout.margin = "auto", "2px 16px 2px 12px"
        elif hasattr(getattr(control, "style", None), "description_width"):
            control.style.description_width = label_width


def wide() -> widgets.Layout:
    """As wide as the page allows, but no wider than can be read."""
    return widgets.Layout(width="auto", max_width=WIDEST)


def in_row(*controls: widgets.Widget) -> widgets.HBox:
    """Controls beside each other; on a narrow page they go on below."""
    return widgets.HBox(list(controls), layout=widgets.Layout(flex_flow="row wrap", align_items="center"))


def page(*parts: str, style: str = "") -> str:
    """HTML on paper of its own, so that it reads the same in a light and in a dark theme."""
    look = f"background:{PAPER};color:{INK};padding:8px 12px;border-radius:6px;{SANS};{style}"
    return f"<div style='{look}'>{''.join(parts)}</div>"


def alert(message: str) -> str:
    """HTML of what a reader must know, said at once by a screen reader."""
    look = f"border-left:4px solid {VERMILION};padding:2px 8px;white-space:pre-wrap"
    return page(f"<div role='alert' style='{look}'>{html.escape(message)}</div>")


def picture(made: Figure, described: str) -> str:
    """A figure as HTML that needs no file beside it; `described` is for those who do not see it."""
    data = io.BytesIO()
    made.savefig(data, format="svg")
    source = f"data:image/svg+xml;base64,{b64encode(data.getvalue()).decode()}"
    return f"<img alt='{html.escape(described, quote=True)}' src='{source}' style='max-width:100%'>"
