"""How long to train and how much to measure: every number that depends on the profile or the text, in one table."""

import html
from types import SimpleNamespace
from typing import TypeVar

from IPython.display import display

PROFILES = ("smoke", "standard", "full")

T = TypeVar("T")


def by_profile(profile: str, *, smoke: T, standard: T, full: T) -> T:
    """The value for this profile: how long to train, how much to measure.

    >>> by_profile("smoke", smoke=20, standard=600, full=6000)
    20
    """
    values = {"smoke": smoke, "standard": standard, "full": full}
    if profile not in values:
        raise ValueError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}")
    return values[profile]


def settings(profile: str, **values) -> SimpleNamespace:
    """The values at this profile, by attribute; a folded table shows those of all three.

    A tuple is one value for each profile: smoke, standard, full. Anything else, a list too, is for all of them. What
    depends on the text is said here as well, as a value like any other: `home=text.name == "kjv"`, and then
    `expect(..., claimed=s.home)`.

    >>> s = settings("smoke", steps=(20, 600, 6000), width=64)  # doctest: +SKIP
    sizes at profile smoke: steps 20, width 64
    >>> s.steps, s.width  # doctest: +SKIP
    (20, 64)

    Raises ValueError for an unknown profile and for a tuple of other than three values.
    """
    three = {name: value if isinstance(value, tuple) else (value,) * 3 for name, value in values.items()}
    for name, value in three.items():
        if len(value) != len(PROFILES):
            raise ValueError(
                f"setting {name!r} has {len(value)} values: give one for each of {', '.join(PROFILES)}, "
                f"or a list, which is one value for all of them"
            )
    chosen = {
        name: by_profile(profile, **dict(zip(PROFILES, value, strict=True))) for name, value in three.items()
    }
    plain = ", ".join(f"{name} {_shown(value)}" for name, value in chosen.items())
    bundle = {"text/html": _table(profile, three), "text/plain": f"sizes at profile {profile}: {plain}"}
    display(bundle, raw=True)
    return SimpleNamespace(**chosen)


def _table(profile: str, three: dict[str, tuple]) -> str:
    head = "".join(f"<th>{one} (this run)</th>" if one == profile else f"<th>{one}</th>" for one in PROFILES)
    rows = [
        f"<tr><td>{html.escape(name)}</td>{''.join(f'<td>{html.escape(_shown(value))}</td>' for value in values)}</tr>"
        for name, values in three.items()
    ]
    return (
        f"<details><summary>Sizes at profile <b>{profile}</b></summary>"
        f"<table><tr><th>setting</th>{head}</tr>{''.join(rows)}</table></details>"
    )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}"
    return "no limit" if value is None else str(value)
