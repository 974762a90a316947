"""Measurements as a JSON file that a later reader can trust, and compare with another."""

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from lab.bench.devices import device_name
from lab.bench.timing import Timing
from lab.files import write_atomic
from lab.machine import machine

FORMAT = 1
Value = str | int | float | bool | None


@dataclass(frozen=True)
class Row:
    """One case and the seconds of one step (or operation) in each repeat; none where `problem` says why.

    case     what tells this row from others, such as {"batch": 50, "precision": "float32"}
    notes    figures that belong to it, such as {"flops": 10**9}
    """

    case: dict[str, Value]
    seconds: tuple[float, ...] = ()
    notes: dict[str, Value] = field(default_factory=dict)
    problem: str | None = None

    @property
    def timing(self) -> Timing:
        if not self.seconds:
            raise ValueError(f"{self.case} was not measured: {self.problem}")
        return Timing(self.seconds)


@dataclass(frozen=True)
class Result:
    """All that was measured on one device; `parts` are named tables."""

    question: str
    device: dict[str, str]
    parts: dict[str, tuple[Row, ...]]
    machine: dict[str, object] = field(default_factory=machine)

    def select(self, part: str, **case: Value) -> list[Row]:
        """The rows of a part that have these values in their case, measured or not."""
        if part not in self.parts:
            raise ValueError(f"no part {part!r}: there are {', '.join(self.parts)}")
        return [row for row in self.parts[part] if row.case.items() >= case.items()]

    @property
    def label(self) -> str:
        """The device, its machine and the day, for the caption of a figure."""
        return f"{self.device['kind']}: {machine_label(self.machine)}"


def machine_label(machine: dict[str, object]) -> str:
    """One line for the caption of a figure: the processors and the day.

    >>> machine_label({"cpu": "Some CPU", "cores": 8, "threads": 4, "gpu": None, "date": "2025-01-31"})
    'Some CPU (4 threads of 8 cores), 2025-01-31'
    """
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] != 1)}"
    cpu = f"{machine['cpu']} ({threads} of {machine['cores']} cores)"
    return ", ".join(str(part) for part in (machine.get("gpu"), cpu, machine["date"]) if part)


def describe_device(device: torch.device | str) -> dict[str, str]:
    """Its kind and name, as results say on what they were measured."""
    return {"kind": torch.device(device).type, "name": device_name(device)}


def result_name(device: torch.device | str) -> str:
    """Kind and name in letters, digits and hyphens, so that results of several devices can lie side by side."""
    described = describe_device(device)
    name = re.sub(r"\((r|tm|c)\)", "", described["name"].lower())
    return "-".join([described["kind"], *re.findall(r"[a-z0-9]+", name)])


def save_result(path: str | os.PathLike, result: Result) -> Path:
    """Write the file whole or not at all."""
    text = json.dumps({"format": FORMAT, **asdict(result)}, indent=1, allow_nan=False)
    return write_atomic(path, _short_lists(text) + "\n")


def load_result(path: str | os.PathLike) -> Result:
    """Read what `save_result` wrote. Raises ValueError, naming the file, for anything else."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        written_as = values.pop("format")
        if written_as != FORMAT:
            raise ValueError(f"format {written_as}, this reader knows {FORMAT}: measure again")
        parts = {name: tuple(map(_row, rows)) for name, rows in values["parts"].items()}
        result = Result(**values | {"parts": parts, "machine": values["machine"]})
        _ = result.label  # for whose kind, processor and day no caption can do without
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no result file: {error!r}") from error
    return result


def _row(values: dict) -> Row:
    row = Row(**values | {"seconds": tuple(values["seconds"])})
    if not all(seconds > 0 for seconds in row.seconds) or bool(row.seconds) == bool(row.problem):
        raise ValueError(f"a row has either seconds above 0 or a problem, got {values}")
    return row


def _short_lists(text: str) -> str:
    """Lists of plain numbers on one line: twenty repeats are not twenty lines."""
    return re.sub(r"\[[-+.,\deE\s]*\]", lambda found: " ".join(found[0].split()), text)
