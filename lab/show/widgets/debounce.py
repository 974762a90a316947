"""Waiting until the hand is still: a slider that is being dragged asks for one redraw, not for fifty."""

import asyncio
from collections.abc import Callable


class Debounced:
    """Calls `fn` once, `seconds` after the last time it was asked to.

    Without a running event loop (a plain script, a test) there is nothing to wait in: `fn` runs at once.
    """

    def __init__(self, fn: Callable[[], None], seconds: float = 0.15):
        self.fn, self.seconds = fn, seconds
        self._waiting: asyncio.TimerHandle | None = None

    def __call__(self, *_) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.fn()
            return
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = loop.call_later(self.seconds, self.fn)
