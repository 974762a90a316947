"""What every notebook uses (`needs`, `by_profile`, `record`, `expect`, `say`); the runner and report stand beside."""

from lab.notebooks.claims import ClaimFailed, by_profile, expect, record, say
from lab.notebooks.needs import DoesNotApply, needs

__all__ = ["ClaimFailed", "DoesNotApply", "by_profile", "expect", "needs", "record", "say"]
