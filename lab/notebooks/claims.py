"""Figures that a notebook records, and claims that it makes and checks in front of the reader."""

import math
from typing import TypeVar

from IPython.display import Markdown, display

METRIC_MIME = "application/vnd.lab.metric+json"
PROFILES = ("smoke", "standard", "full")

T = TypeVar("T")


class ClaimFailed(AssertionError):
    """A claim of the notebook does not hold; the message has both numbers."""


def by_profile(profile: str, *, smoke: T, standard: T, full: T) -> T:
    """The value for this profile: how long to train, how much to measure.

    >>> by_profile("smoke", smoke=20, standard=600, full=6000)
    20
    """
    values = {"smoke": smoke, "standard": standard, "full": full}
    if profile not in values:
        raise ValueError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}")
    return values[profile]


def record(name: str, value: float, unit: str = "", *, headline: bool = False) -> None:
    """Show a measured figure and keep it in the cell's output, where the report finds it.

    `headline` marks the one figure that README's table shows for this notebook.

    Raises ValueError for what is not one number.
    """
    _show(name, _one_number(name, value), unit, None, True, headline)


def expect(
    name: str,
    value: float,
    *,
    below: float | None = None,
    above: float | None = None,
    close_to: float | None = None,
    rel: float = 1e-6,
    unit: str = "",
    headline: bool = False,
    claimed: bool = True,
) -> None:
    """Record a figure and fail the notebook when what is claimed of it does not hold.

    `below` and `above` are strict bounds, either or both; `close_to` allows a relative difference of
    `rel` (of the larger magnitude). `True` and `False` count as 1 and 0, so a fact is `expect(name, fact, close_to=1)`.
    A claim about one text is `claimed=text.name == "kjv"`: on another the figure stands there, with what is claimed
    elsewhere, and fails nothing.

    Raises ClaimFailed, and ValueError for what is not one number and for bounds that say nothing or cannot be met.

    >>> expect("bits per character", 1.5, below=2.0)  # doctest: +SKIP
    claim   bits per character: 1.5, expected below 2   holds
    """
    value = float(_one_number(name, value))
    bounds = [bound for bound in (above, below, close_to) if bound is not None]
    if not bounds:
        raise ValueError(f"claim {name!r} says nothing: give below, above or close_to (or use record)")
    empty = above is not None and below is not None and above >= below
    if empty or not all(map(math.isfinite, bounds)) or not 0 <= rel < 1:
        raise ValueError(
            f"claim {name!r} has bounds that nothing, or anything, meets: above={above}, below={below}, "
            f"close_to={close_to}, rel={rel}; give finite ones, above less than below, and rel in [0, 1)"
        )
    wanted, holds = [], not math.isnan(value)
    if above is not None:
        wanted.append(f"above {_number(above)}")
        holds = holds and value > above
    if below is not None:
        wanted.append(f"below {_number(below)}")
        holds = holds and value < below
    if close_to is not None:
        wanted.append(f"{_number(close_to)}" + (f" within {rel:g} of it" if rel > 1e-6 else ""))
        holds = holds and math.isclose(value, close_to, rel_tol=rel, abs_tol=rel if close_to == 0 else 0.0)
    claim = " and ".join(wanted)
    holds = bool(holds or not claimed)  # numpy compares to a bool of its own, which JSON does not know
    _show(name, value, unit, claim, holds, headline, claimed)
    if not holds:
        raise ClaimFailed(f"{name}: measured {value!r}{_unit(unit)}, expected {claim}")


def say(text: str) -> None:
    """Show a sentence (Markdown) whose numbers were put in by the code that measured them."""
    display(Markdown(text))


def _one_number(name: str, value: float) -> float:
    """`value` as an int or a float: a tensor or array of one element is one number too."""
    try:
        return int(value) if isinstance(value, int) else float(value)
    except (TypeError, ValueError, RuntimeError):
        shape = getattr(value, "shape", None)
        given = type(value).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")
        raise ValueError(f"figure {name!r} is to be one number, got a {given}") from None


def _show(
    name: str, value: float, unit: str, claim: str | None, holds: bool, headline: bool, claimed: bool = True
) -> None:
    metric = {
        "name": name,
        "value": value if math.isfinite(value) else str(value),  # JSON has no nan and no infinity
        "unit": unit,
        "claim": claim,
        "holds": holds,
        "headline": headline,
    }
    if not claimed:
        metric["claimed"] = False
    line = f"{name}: {_number(value)}{_unit(unit)}"
    if claim is None:
        text = f"figure  {line}"
    elif not claimed:
        text = f"figure  {line}, elsewhere expected {claim}"
    else:
        text = f"claim   {line}, expected {claim}   {'holds' if holds else 'DOES NOT HOLD'}"
    display({METRIC_MIME: metric, "text/plain": text}, raw=True)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    if isinstance(value, bool) or float(value).is_integer():
        return f"{int(value):,}" if abs(value) < 1e15 else f"{value:.4g}"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""
