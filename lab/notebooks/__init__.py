"""What every notebook uses: figures and claims, what a text must have, evidence; the runner and report stand beside."""

from importlib import import_module

from lab.notebooks.claims import ClaimFailed, by_profile, expect, record, say
from lab.notebooks.needs import DoesNotApply, needs

# What needs torch and pandas is loaded when it is first asked for: a notebook of claims alone starts at once.
_HOMES = {
    "Comparison": "lab.bench",
    "compare": "lab.bench",
    "evidence": "lab.notebooks.conclusions",
    "steps_in": "lab.notebooks.conclusions",
}
__all__ = ["ClaimFailed", "DoesNotApply", "by_profile", "expect", "needs", "record", "say", *_HOMES]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'lab.notebooks' has no attribute {name!r}")
