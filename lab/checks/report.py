"""What a check found: properties that hold, and the smallest example of each that does not."""

import copy
import html
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch

from lab.checks.drawing import Drawing, sentence, shorten

# Middle tones of Okabe and Ito's palette: they read on white and on black.
GOOD, BAD = "#009E73", "#D55E00"
PLAIN = "background:transparent;color:inherit"  # against a notebook's striped tables


class CheckFailed(AssertionError):
    """A check that should have passed did not; the message is its report."""


class Unreadable(ValueError):
    """An answer that cannot be judged; the message says what came instead of what was asked for."""


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
        what += (
            f"<div><code style='{PLAIN}'>{html.escape(p.example.call)}</code></div>{_beside_html(p.example)}"
        )
        what += f"<div><small>{html.escape(p.example.note)}</small></div>" if p.example.note else ""
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


class Case:
    """One question to a reader's function: its arguments by name, in the order in which they are passed.

    >>> print(Case(lengths=torch.tensor([1, 2]), T=3))
    fn(lengths=[1, 2], T=3)
    """

    def __init__(self, called: str = "fn", /, **arguments):
        self.called, self.arguments = called, arguments

    def __getitem__(self, name: str):
        return self.arguments[name]

    def __str__(self) -> str:
        shown = {name: v.tolist() if isinstance(v, torch.Tensor) else v for name, v in self.arguments.items()}
        return shorten(f"{self.called}({', '.join(f'{name}={value!r}' for name, value in shown.items())})")


Answers = list[tuple[Case, object]]


def ask(fn: Callable, cases: Iterable[Case], wanted: str, read: Callable) -> tuple[Property, Answers]:
    """Put every case to `fn`: the property that each answer is what is `wanted`, and those that could be read.

    `read(case, answer)` turns an answer into what the check judges, or raises `Unreadable`. A function that
    raises fails the property; it does not stop the check. It gets copies, so it may write to its arguments.
    """
    answers, example = [], None
    for case in cases:
        try:
            answers.append((case, read(case, fn(*copy.deepcopy(list(case.arguments.values()))))))
        except Exception as error:
            example = example or _interrupted(case, wanted, error)
    return Property(f"the answer is {wanted}", example is None, example), answers


def judge(name: str, answers: Answers, find: Callable) -> Property:
    """The property `name`: `find(case, answer)` gives an `Example` of where it fails, or None."""
    for case, answer in answers:
        try:
            example = find(case, answer)
        except Exception as error:  # `find` may use the reader's object, as the check of a tokenizer does
            example = _interrupted(case, "an answer", error)
        if example is not None:
            return Property(name, False, example)
    return Property(name, bool(answers))


def _interrupted(case: Case, wanted: str, error: Exception) -> Example:
    return Example(str(case), sentence(wanted), sentence(_what_happened(error)))


def _what_happened(error: Exception) -> str:
    if isinstance(error, Unreadable):
        return str(error)
    return "raised " + traceback.format_exception_only(error)[-1].strip()


def as_array(answer: object) -> np.ndarray:
    """What a reader's function returned, NumPy, torch or nested lists, as a NumPy array."""
    if isinstance(answer, torch.Tensor):
        return answer.detach().cpu().numpy()
    if answer is None:
        raise Unreadable("None: does the function return its result?")
    try:
        array = np.array(answer)
    except ValueError:
        raise Unreadable("rows of different lengths") from None
    if array.dtype == object:
        raise Unreadable(f"{type(answer).__name__}, which is not an array of numbers: {answer!r}")
    return array
