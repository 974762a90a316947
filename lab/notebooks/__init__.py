"""What every notebook uses: figures and claims, what a text must have, evidence; the runner and report stand beside."""

from lab.bench import Comparison, compare
from lab.notebooks.claims import ClaimFailed, by_profile, expect, record, say
from lab.notebooks.evidence import evidence, steps_in
from lab.notebooks.needs import DoesNotApply, needs

__all__ = [
    "ClaimFailed",
    "Comparison",
    "DoesNotApply",
    "by_profile",
    "compare",
    "evidence",
    "expect",
    "needs",
    "record",
    "say",
    "steps_in",
]
