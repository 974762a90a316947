"""Exercises: the reader's code is tried, and whatever it does, the notebook goes on."""

import functools
import html
import inspect
from collections.abc import Callable

from IPython.display import display

ATTEMPT_MIME = "application/vnd.lab.attempt+json"
STUB = "raise NotImplementedError"


def attempt(check: Callable, mine: object, **options) -> None:
    """Show what `check(mine, **options)` finds, or that `mine` is not written yet; never raise.

    `mine` is a function, a class or an object of one. It counts as not written while it comes to a line with
    `raise NotImplementedError`, and a function also while it returns None or `...`. An error in it is shown with its
    line. The check is any of `lab.checks`, or a function of yours whose answer is shown and is true where all is well.
    Only Ctrl-C comes through, since it is the way out of a loop without end.

    >>> def my_mask(T): raise NotImplementedError
    >>> attempt(checks.causal_mask, my_mask)  # doctest: +SKIP
    my_mask is not written yet.
    """
    from lab.checks.check import (
        own_line,
    )  # with numpy and torch, which a notebook without exercises need not load

    returned = []

    def watched(*given, **named):
        returned.append(mine(*given, **named))
        return returned[-1]

    name = getattr(mine, "__name__", type(mine).__name__)
    passed, drawn = False, None
    try:
        report = check(functools.wraps(mine)(watched) if inspect.isfunction(mine) else mine, **options)
        passed, told, drawn = bool(report), str(report), getattr(report, "_repr_html_", None)
    except (Exception, SystemExit) as error:
        told = f"{type(error).__name__}: {error}\n{own_line(error)}"
    unwritten = ""
    if STUB in told:
        unwritten = f"{name} is not written yet."
    elif not passed and any(value is None or value is ... for value in returned[:1]):
        unwritten = f"{name} is not written yet, or its return is missing."
    if unwritten:
        passed, told, drawn = None, unwritten, None
    shown = drawn() if drawn else f"<pre>{html.escape(told)}</pre>"
    display({ATTEMPT_MIME: {"passed": passed}, "text/html": shown, "text/plain": told}, raw=True)
