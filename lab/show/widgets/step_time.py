"""Choose batch size, width and context: what a step should take by a fitted law, and what was measured nearby."""

from collections.abc import Mapping, Sequence

from traitlets import Enum, Unicode, validate

from lab.bench import Row, StepTimes
from lab.bench.step_times import SIZES, SMALL
from lab.nn.transformer import TransformerConfig
from lab.show.clusters import legible
from lab.show.widgets.base import Widget

BATCHES = [2**n for n in range(11)]
WIDTHS = [16, 32, 64, 96, 128, 192, 256, 384, 512, 768]
CONTEXTS = BATCHES[2:]


def law_json(times: StepTimes) -> dict:
    """What the law says of all sizes that can be chosen, and what was measured, as JSON.

    `law[w][c][b]` is `[seconds, least, most, nearest]`: of width w, context c and batch size b, in their order above,
    the prediction, its interval and the place in `rows` of the nearest measurement. A row is `[batch, width, context,
    seconds, first quartile, third quartile, what the law says there]`.
    """

    def said(*sizes: int) -> list[float]:
        seconds, interval = times.predict(*sizes)
        return [seconds, *interval, times.rows.index(times.nearest(*sizes))]

    def seen(row: Row) -> list[float]:
        sizes = [row.case[name] for name in SIZES]
        return [*sizes, row.timing.median, *row.timing.spread, times.predict(*sizes)[0]]

    return {
        "law": [[[said(b, w, c) for b in BATCHES] for c in CONTEXTS] for w in WIDTHS],
        "rows": [seen(row) for row in times.rows],
        "measured": [times.measured(name) for name in SIZES],
    }


class StepTimeExplorer(Widget):
    """Sliders over batch size, width and context: the predicted time of a training step beside the measured one.

    `measured` has rows of `lab.bench` for each device, such as `load_result(path).select("grid")`.

    >>> StepTimeExplorer({"this CPU": rows}, batch=64)  # doctest: +SKIP

    Raises ValueError without rows, for a device without any, and as `StepTimes.fit` does.
    """

    device = Unicode().tag(sync=True)
    batch = Enum(BATCHES, 8).tag(sync=True)
    width = Enum(WIDTHS, 192).tag(sync=True)
    context = Enum(CONTEXTS, 64).tag(sync=True)

    def __init__(self, measured: Mapping[str, Sequence[Row]], config: TransformerConfig = SMALL, **state):
        if not measured:
            raise ValueError("there is nothing to predict from: give the measured rows of a device")
        self.times = {name: StepTimes.fit(rows, config) for name, rows in measured.items()}
        super().__init__(**{"device": next(iter(self.times))} | state)

    @validate("device")
    def _known(self, proposal: dict) -> str:
        if proposal["value"] not in self.times:
            raise ValueError(f"there is no device {proposal['value']!r}; there are: {', '.join(self.times)}")
        return proposal["value"]

    def draw(self) -> dict:
        """The laws of all devices at all sizes: the page looks up what its controls ask for."""
        devices = [
            {"key": name, "name": legible(name)} | law_json(times) for name, times in self.times.items()
        ]
        return {"devices": devices, "sizes": dict(zip(SIZES, (BATCHES, WIDTHS, CONTEXTS), strict=True))}
