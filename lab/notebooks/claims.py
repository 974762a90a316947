"""Figures that a notebook records, claims that it makes and checks in front of the reader, and its answer."""

import html
import io
import math
import re
from base64 import b64encode

from IPython.display import Markdown, display

METRIC_MIME = "application/vnd.lab.metric+json"
ANSWER_MIME = "application/vnd.lab.answer+json"


class ClaimFailed(AssertionError):
    """A claim of the notebook does not hold; the message has both numbers."""

    def _render_traceback_(self) -> list[str]:
        """What Jupyter shows of it: how `expect` raises is of no interest."""
        return [str(self)]


def record(name: str, value: float, unit: str = "", *, headline: bool = False) -> None:
    """Show a measured figure and keep it in the cell's output, where the report finds it.

    `headline` marks the one figure that README's table shows for a notebook without an answer.

    >>> record("training takes {}", 213.4, "s")  # doctest: +SKIP
    · training takes 213.4 s

    Raises ValueError for what is not one number.
    """
    _show(
        {"name": name, "unit": unit, "claim": None, "holds": True, "headline": headline},
        _one_number(name, value),
    )


def expect(
    name: str,
    value: float,
    *,
    below: float | None = None,
    above: float | None = None,
    close_to: float | None = None,
    rel: float = 1e-6,
    unit: str = "",
    because: str = "",
    headline: bool = False,
    claimed: bool = True,
) -> None:
    """Make a claim: record a figure, and fail the notebook when what is claimed of it does not hold.

    `name` is the sentence of the claim, with `{}` where the figure and its unit stand (else they follow a colon).
    `below` and `above` are strict bounds, either or both; `close_to` allows a relative difference of `rel` (of the
    larger magnitude). A fact that is true or false needs no bound: it is claimed to be true. `because` says why the
    bound is what it is; it is folded into the line.

    A claim about one text is `claimed=text.name == "kjv"`: on another the figure stands there, with what is claimed
    elsewhere, and fails nothing.

    Raises ClaimFailed, and ValueError for what is not one number and for bounds that say nothing or cannot be met.

    >>> expect("without positions the loss is {} higher", 0.41, above=0.3, unit="bits a character")  # doctest: +SKIP
    ✓ without positions the loss is 0.41 bits a character higher (claimed: more than 0.3)
    >>> expect("the planted error is found", True)  # doctest: +SKIP
    ✓ the planted error is found
    """
    fact = str(getattr(value, "dtype", type(value).__name__)).endswith("bool")
    value = float(_one_number(name, value))
    if fact and above is below is close_to is None:
        close_to = 1
    bounds = [bound for bound in (above, below, close_to) if bound is not None]
    if not bounds:
        raise ValueError(f"claim {name!r} says nothing: give below, above or close_to (or use record)")
    empty = above is not None and below is not None and above >= below
    if empty or not all(map(math.isfinite, bounds)) or not 0 <= rel < 1:
        raise ValueError(
            f"claim {name!r} has bounds that nothing, or anything, meets: above={above}, below={below}, "
            f"close_to={close_to}, rel={rel}; give finite ones, above less than below, and rel in [0, 1)"
        )
    holds = (
        not math.isnan(value)
        and (above is None or value > above)
        and (below is None or value < below)
        and (close_to is None or math.isclose(value, close_to, rel_tol=rel, abs_tol=0 if close_to else rel))
    )
    metric = {"name": name, "unit": unit, "claim": _claim(above, below, close_to, rel), "headline": headline}
    if fact and close_to is not None:
        metric |= {"claim": "it is so", "fact": True}
    if not claimed:
        metric["claimed"] = False
    metric["holds"] = bool(
        holds or not claimed
    )  # numpy compares to a bool of its own, which JSON does not know
    _show(metric, value, because)
    if not metric["holds"]:
        raise ClaimFailed(told(metric | {"value": value}))


def say(text: str) -> None:
    """Show a sentence (Markdown) whose numbers were put in by the code that measured them."""
    display(Markdown(text))


def answer(text: str, picture: object = None) -> None:
    """Show the answer to the notebook's title: Markdown whose numbers were put in by the code that measured them.

    One a notebook, in "What we found": `lab publish` copies it to the cell tagged `answer` under the title, together
    with `picture`, the matplotlib figure that shows it; its first sentence stands in README's table and in the closing
    lines of `lab run`.

    >>> answer(f"Yes: {12} of {13} do. The last one is too short.")  # doctest: +SKIP
    Answer. Yes: 12 of 13 do. The last one is too short.
    """
    found = {"text": text}
    if picture is not None:
        picture.savefig(made := io.BytesIO(), format="png", bbox_inches="tight")
        found["picture"] = b64encode(made.getvalue()).decode()
    display({ANSWER_MIME: found, "text/markdown": boxed(text), "text/plain": f"Answer. {text}"}, raw=True)


def boxed(text: str) -> str:
    """The answer as it stands under the title, a quotation in Markdown."""
    return "\n".join(f"> {line}".rstrip() for line in f"**Answer.** {text.strip()}".splitlines())


def first_sentence(text: str) -> str:
    """The beginning of a text in Markdown, up to where its first sentence ends.

    >>> first_sentence("It costs **0.41 bits** a character. More than we thought.")
    'It costs **0.41 bits** a character.'
    """
    text = " ".join(text.split())
    return re.split(r"(?<=[.!?])(?<!e\.g\.|i\.e\.)\s+(?=[^a-z])", text, maxsplit=1)[0]


def sentence(metric: dict) -> str:
    """A figure or a claim in words, as the notebook shows it.

    >>> sentence({"name": "the loss falls by {}", "value": 0.41, "unit": "bits"})
    'the loss falls by 0.41 bits'
    """
    if metric.get("fact"):
        return metric["name"]
    figure = f"{number(metric['value'])} {metric['unit']}".rstrip()
    return metric["name"].replace("{}", figure) if "{}" in metric["name"] else f"{metric['name']}: {figure}"


def told(metric: dict) -> str:
    """A figure or a claim in one line: what was measured, what was claimed, and, loudly, where that does not hold."""
    said, claim = sentence(metric), metric["claim"]
    if claim is None:
        return f"· {said}"
    if not metric.get("claimed", True):
        return f"· {said} (not claimed of this text; elsewhere: {claim})"
    if metric.get("fact"):
        return f"✓ {said}" if metric["holds"] else f"✗ THIS CLAIM FAILED: {said}. It is not so."
    return (
        f"✓ {said} (claimed: {claim})"
        if metric["holds"]
        else f"✗ THIS CLAIM FAILED: {said}, claimed: {claim}"
    )


def number(value: float) -> str:
    """A number as a reader wants it: four digits that count, thousands apart.

    >>> number(0.41237), number(12345.6), number(3.0), number(float("nan"))
    ('0.4124', '12,346', '3', 'nan')
    """
    if not math.isfinite(value):
        return str(value)
    if float(value).is_integer():
        return f"{int(value):,}" if abs(value) < 1e15 else f"{value:.4g}"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _one_number(name: str, value: float) -> float:
    """`value` as an int or a float: a tensor or array of one element is one number too."""
    try:
        return int(value) if isinstance(value, int) else float(value)
    except (TypeError, ValueError, RuntimeError):
        shape = getattr(value, "shape", None)
        given = type(value).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")
        raise ValueError(f"figure {name!r} is to be one number, got a {given}") from None


def _claim(above: float | None, below: float | None, close_to: float | None, rel: float) -> str:
    said = []
    if above is not None and below is not None:
        said.append(f"between {number(above)} and {number(below)}")
    elif above is not None:
        said.append(f"more than {number(above)}")
    elif below is not None:
        said.append(f"less than {number(below)}")
    if close_to is not None:
        loose = f", to within {rel:g}" + (" of it" if close_to else "")
        said.append(f"{number(close_to)}{loose if rel > 1e-6 else ''}")
    return " and ".join(said)


def _show(metric: dict, value: float, because: str = "") -> None:
    line = told(metric | {"value": value})
    rounded = math.isfinite(value) and float(number(value).replace(",", "")) != value
    exact = f"Measured: {value!r} {metric['unit']}".rstrip() + ". " if rounded else ""
    said = f"<small>{html.escape(line)}</small>" if metric["holds"] else f"<b>{html.escape(line)}</b>"
    if folded := html.escape(exact + because).strip():
        said = f"<details><summary>{said}</summary><small>{folded}</small></details>"
    kept = value if math.isfinite(value) else str(value)  # JSON has no nan and no infinity
    bundle = {"text/html": f"<div>{said}</div>", "text/plain": line}
    display({METRIC_MIME: metric | {"value": kept}} | bundle, raw=True)
