"""What all widgets share: how controls are named and laid out, the paper that answers stand on, what went wrong."""

import asyncio
import io
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import fields

import ipywidgets as widgets
from matplotlib.figure import Figure

from lab.show.clusters import escaped
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


class Debounced:
    """Calls `fn` once, `seconds` after the last time it was asked to: a slider that is dragged asks for one redraw.

    Without a running event loop (a plain script, a test) there is nothing to wait in: `fn` runs at once.
    """

    def __init__(self, fn: Callable[[], None], seconds: float = 0.15):
        self.fn, self.seconds = fn, seconds
        self._waiting: asyncio.TimerHandle | None = None

    def __call__(self, *_) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.fn()
            return
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = loop.call_later(self.seconds, self.fn)


class Controls(widgets.VBox):
    """Controls by name: `self.top_p` has the class `lab-top-p`."""

    def named(self, *names: str, label_width: str = LABEL_WIDTH) -> None:
        """Give each control `self.name` the class of its name, and all labels one width."""
        for name in names:
            control = getattr(self, name)
            control.add_class(class_name(name))
            if hasattr(control, "indent"):  # a box to tick, whose label stands behind it
                control.layout.width, control.layout.margin = "auto", "2px 16px 2px 12px"
            elif hasattr(getattr(control, "style", None), "description_width"):
                control.style.description_width = label_width

    def watch(self, names: Iterable[str], fn: Callable[[], None], seconds: float = 0.15) -> None:
        """Call `fn` when the hand is still after one of these controls was moved."""
        moved = Debounced(fn, seconds)
        for name in names:
            getattr(self, name).observe(moved, "value")

    def held(self, cls: type):
        """The dataclass of this class whose fields are what the controls of their names hold."""
        return cls(**{field.name: getattr(self, field.name).value for field in fields(cls)})


class Explorer(Controls):
    """A widget: controls, and a `view` in which what cannot be shown is told in its place.

    On a page it has the class `lab-widget` and that of its own name, such as `lab-attention-explorer`; where nothing
    runs it says what it is in a sentence.
    """

    problem = ""

    def __init__(self, children: Iterable[widgets.Widget]):
        super().__init__(list(children))
        self.add_class("lab-widget")
        self.add_class(class_name(type(self).__name__))

    def __repr__(self) -> str:
        return f"[{type(self).__name__}: controls that need a running notebook; a still picture stands beside it]"

    def drawn(self) -> str:
        """HTML of what the controls ask for. Raises ValueError where it cannot be."""
        raise NotImplementedError

    def redraw(self, work: Callable[[], None] | None = None) -> None:
        """Show what the controls ask for, after some work where there is any.

        Work that fails leaves all as it was; why it failed stands in the view until other work is done.
        """
        if work is not None:
            self.problem = refusal(work)
        if self.problem:
            self.view.value = alert(self.problem)
        elif why := refusal(lambda: setattr(self.view, "value", self.drawn())):
            self.view.value = alert(why)


def refusal(work: Callable[[], object]) -> str:
    """Do some work; returns why it could not be done, or nothing."""
    try:
        work()
    except ValueError as error:
        return str(error)
    return ""


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
    return page(f"<div role='alert' style='{look}'>{escaped(message)}</div>")


def embedded(made: Figure, described: str) -> str:
    """A figure as HTML that needs no file beside it; `described` is for those who do not see it."""
    data = io.BytesIO()
    made.savefig(data, format="svg")
    source = f"data:image/svg+xml;base64,{b64encode(data.getvalue()).decode()}"
    return f"<img alt='{escaped(described)}' src='{source}' style='max-width:100%'>"
