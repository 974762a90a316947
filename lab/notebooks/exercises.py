"""Exercises: the reader's code is tried, and whatever it does, the notebook goes on."""

import functools
import html
import inspect
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from IPython.display import display

ATTEMPT_MIME = "application/vnd.lab.attempt+json"
NOT_THEIRS = ("builtins", "functools", "lab", "torch")
STUB = "raise NotImplementedError"


def attempt(check: Callable, mine: object, **options) -> None:
    """Show what `check(mine, **options)` finds, or that `mine` is not written yet; never raise.

    `mine`, a function, a class or an object of one, counts as not written while it raises NotImplementedError, or is a
    function that returns None or `...`. An error in it is shown with its line. The check is any of `lab.checks`, or a
    function of yours that gives something to show whose truth says whether all is well. Only Ctrl-C comes through,
    since it is the way out of a loop without end.

    >>> from lab import checks
    >>> def my_mask(T): return ...
    >>> attempt(checks.causal_mask, my_mask)  # doctest: +SKIP
    `my_mask` is not written yet, or its `return` is missing.
    """
    errors, results = [], []
    try:
        with _watched(mine, errors, results) as watched:
            report = check(watched, **options)
    except (Exception, SystemExit) as error:
        report = None
        errors.append(error)
    if unwritten := _unwritten(mine, errors, results):
        _show(unwritten, passed=None)
        return
    if report is not None:
        drawn = getattr(report, "_repr_html_", None)
        _show(str(report), passed=bool(report), as_html=drawn and drawn())
    if errors:
        _show(_located(errors[0], mine), passed=False)


@contextmanager
def _watched(mine: object, errors: list, results: list) -> Iterator[object]:
    """`mine`, with a note taken of what it raises and returns; the methods of a class are put back afterwards."""

    def watch(function: Callable, results: list) -> Callable:
        @functools.wraps(function)
        def watched(*given, **named):
            try:
                result = function(*given, **named)
            except (Exception, SystemExit) as error:
                errors.append(error)
                raise
            results.append(result)
            return result

        return watched

    if inspect.isfunction(mine):
        yield watch(mine, results)
        return
    home, methods = _home(mine), _methods(mine)
    try:
        for name, method in methods.items():
            setattr(home, name, watch(method, []))  # a method may well return nothing
        yield mine
    finally:
        for name, method in methods.items():
            setattr(home, name, method)


def _home(mine: object) -> type:
    return mine if inspect.isclass(mine) else type(mine)


def _methods(mine: object) -> dict[str, Callable]:
    """The functions of the class, where the reader wrote it."""
    home = _home(mine)
    if home.__module__.partition(".")[0] in NOT_THEIRS:
        return {}
    return {name: value for name, value in vars(home).items() if inspect.isfunction(value)}


def _unwritten(mine: object, errors: list, results: list) -> str | None:
    for error in errors:
        last = traceback.extract_tb(error.__traceback__)[-1]
        # torch raises NotImplementedError as well; a stub has the word in its own line.
        if isinstance(error, NotImplementedError) and "NotImplementedError" in (last.line or STUB):
            return f"`{last.name}` is not written yet."
    if results and (results[0] is None or results[0] is ...):
        return f"`{mine.__name__}` is not written yet, or its `return` is missing."
    return None


def _located(error: BaseException, mine: object) -> str:
    """The error, with the last line of the reader's own that it went through."""
    functions = [mine] if inspect.isfunction(mine) else _methods(mine).values()
    files = {inspect.unwrap(function).__code__.co_filename for function in functions}
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename in files] or frames
    said = traceback.format_exception_only(error)[-1].strip()
    return f"{said}\n  in line {own[-1].lineno} of its cell, in {own[-1].name}: {own[-1].line}"


def _show(text: str, passed: bool | None, as_html: str | None = None) -> None:
    """`passed` is kept in the output for those who ask whether the solutions solve; None: there is no saying."""
    shown = as_html or f"<pre>{html.escape(text)}</pre>"
    display({ATTEMPT_MIME: {"passed": passed}, "text/html": shown, "text/plain": text}, raw=True)
