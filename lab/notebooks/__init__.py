"""What every notebook uses: settings, claims, exercises, evidence. The runner, report and checks stand beside."""

from importlib import import_module

from lab.notebooks.claims import ClaimFailed, answer, expect, record, say
from lab.notebooks.exercises import attempt
from lab.notebooks.needs import DoesNotApply, needs
from lab.notebooks.profiles import by_profile, settings

# What needs torch and pandas is loaded when it is first asked for: a notebook of claims alone starts at once.
_HOMES = {
    "Comparison": "lab.bench",
    "compare": "lab.bench",
    "evidence": "lab.notebooks.conclusions",
    "steps_in": "lab.notebooks.conclusions",
}
__all__ = [
    "ClaimFailed",
    "DoesNotApply",
    "answer",
    "attempt",
    "by_profile",
    "expect",
    "needs",
    "record",
    "say",
    "settings",
    *_HOMES,
]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'lab.notebooks' has no attribute {name!r}")
