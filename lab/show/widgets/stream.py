"""Work that shows itself while it goes on, and hears the next click."""

import asyncio
import time
from collections.abc import Callable, Iterator

BREATH = 0.005  # seconds between two steps, in which the kernel hears what was clicked


class Stream:
    """Runs an iterator beside the kernel's other work; `show` is called after some of its steps, and at the end.

    In a notebook each step waits for its turn in the event loop. Without a loop (a plain script, a test) all of it
    runs at once. `show` is told whether there is more to come.
    """

    def __init__(self, show: Callable[[bool], None], seconds: float = 0.1):
        self.show, self.seconds = show, seconds
        self.task: asyncio.Task | None = None
        self._steps: Iterator = iter(())

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()

    def start(self, steps: Iterator) -> None:
        """Begin, in place of what is still running."""
        self.stop()
        self._steps = steps
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            for _ in steps:
                pass
            self.show(False)
            return
        self.task = loop.create_task(self._run(steps))

    def stop(self) -> None:
        """End it after the step that it has taken; what was written stays."""
        if self.running:
            self.task.cancel()
            self.task = None
            if hasattr(self._steps, "close"):
                self._steps.close()  # now, and not when the loop comes round to it: what it holds is free at once
            self.show(False)

    async def _run(self, steps: Iterator) -> None:
        shown = 0.0
        for _ in steps:
            # Drawing costs more than a step, so not each step is drawn.
            if time.monotonic() - shown >= self.seconds:
                self.show(True)
                shown = time.monotonic()
            await asyncio.sleep(BREATH)
        self.task = None
        self.show(False)
