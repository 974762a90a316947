"""What a person can mend is told in a sentence."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def errors_told() -> Iterator[None]:
    """What a person can mend is one message and exit status 2, not a traceback."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
            print(f"lab: {error}", file=sys.stderr)
        sys.exit(2)
