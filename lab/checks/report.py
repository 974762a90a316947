"""What a check found: properties that hold, and the smallest example of each that does not."""

import html
from dataclasses import dataclass
from itertools import zip_longest

from lab.checks.drawing import Drawing

# Middle tones of Okabe and Ito's palette: they read on white and on black.
GOOD, BAD = "#009E73", "#D55E00"
PLAIN = "background:transparent;color:inherit"  # against a notebook's striped tables


class CheckFailed(AssertionError):
    """A check that should have passed did not; the message is its report."""


@dataclass(frozen=True)
class Example:
    """One call that went wrong: what it should have given and what it gave, drawn."""

    call: str
    expected: Drawing
    actual: Drawing
    note: str = ""


@dataclass(frozen=True)
class Property:
    """One thing that must hold, and the smallest example where it does not.

    Not passed and without an example: it could not be judged, for no answer could be read.
    """

    name: str
    passed: bool
    example: Example | None = None


@dataclass(frozen=True)
class CheckReport:
    """The properties of one idea, judged on one implementation; in a notebook it shows as a table."""

    name: str
    properties: tuple[Property, ...]

    @property
    def passed(self) -> bool:
        """Whether every property holds."""
        return all(p.passed for p in self.properties)

    def __bool__(self) -> bool:
        return self.passed

    def raise_if_failed(self) -> "CheckReport":
        """The report itself where all is well; else `CheckFailed`, with the report as its message."""
        if not self.passed:
            raise CheckFailed(f"\n{self}")
        return self

    @property
    def summary(self) -> str:
        """In one line: how many properties hold."""
        held = sum(p.passed for p in self.properties)
        verdict = "passed" if self.passed else "failed"
        return f"{self.name}: {verdict}, {held} of {len(self.properties)} properties hold"

    def __str__(self) -> str:
        lines = [self.summary]
        for p in self.properties:
            lines.append(f"  {_sign(p)} {p.name}{'' if p.passed or p.example else '  (not judged)'}")
            if p.example:
                lines += [f"      {line}".rstrip() for line in _example_lines(p.example)]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        colour = GOOD if self.passed else BAD
        rows = "".join(_property_html(p) for p in self.properties)
        return (
            "<div style='font:14px/1.5 system-ui,sans-serif;color:inherit'>"
            f"<div style='border-left:4px solid {colour};padding:2px 10px;font-weight:600'>"
            f"{html.escape(self.summary)}</div>"
            f"<table style='{PLAIN};border-collapse:collapse;margin:6px 0'><tbody>{rows}</tbody></table></div>"
        )


def _sign(p: Property) -> str:
    return "✓" if p.passed else "✗" if p.example else "–"


def _example_lines(example: Example) -> list[str]:
    """The call, then expected and actual side by side."""
    left, right = ["expected", *example.expected.lines()], ["actual", *example.actual.lines()]
    width = max(map(len, left)) + 4
    beside = [f"{a.ljust(width)}{b}" for a, b in zip_longest(left, right, fillvalue="")]
    return [example.call, *beside, *([example.note] if example.note else [])]


def _property_html(p: Property) -> str:
    what = html.escape(p.name) + ("" if p.passed or p.example else " <i>(not judged)</i>")
    if p.example:
        call, note = html.escape(p.example.call), html.escape(p.example.note)
        what += f"<div><code style='{PLAIN}'>{call}</code></div>{_beside_html(p.example)}"
        what += f"<div><small>{note}</small></div>" if note else ""
    sign = f"<b style='color:{GOOD if p.passed else BAD}'>{_sign(p)}</b>"
    return f"<tr>{_cell_html(sign)}{_cell_html(what)}</tr>"


def _beside_html(example: Example) -> str:
    cells = [
        _cell_html(f"<small>{label}</small><pre style='{PLAIN};margin:0'>{body}</pre>")
        for label, drawing in (("expected", example.expected), ("actual", example.actual))
        for body in ["\n".join(drawing.lines(html_marks=True))]
    ]
    return f"<table style='{PLAIN};border-collapse:collapse'><tbody><tr>{''.join(cells)}</tr></tbody></table>"


def _cell_html(inner: str) -> str:
    return f"<td style='{PLAIN};text-align:left;vertical-align:top;padding:3px 8px'>{inner}</td>"
