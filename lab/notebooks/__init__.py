"""What every notebook uses (`by_profile`, `record`, `expect`, `say`); the runner and its report stand beside."""

from lab.notebooks.claims import ClaimFailed, by_profile, expect, record, say

__all__ = ["ClaimFailed", "by_profile", "expect", "record", "say"]
