"""Measurements as a JSON file that a later reader can trust, and compare with another."""

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from lab.bench.devices import device_name
from lab.bench.environment import machine, machine_label
from lab.bench.timing import Timing
from lab.files import write_atomic

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


@dataclass(frozen=True)
class Comparison:
    """The same case in two results."""

    part: str
    case: dict[str, Value]
    first: Timing
    second: Timing

    @property
    def ratio(self) -> float:
        """How many times as long the first took."""
        return self.first.median / self.second.median


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
    """Read what `save_result` wrote.

    Raises ValueError, naming the file and the place in it, for anything else.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    wanted = {"format": int, "question": str, "device": dict, "parts": dict, "machine": dict}
    _check(path, "the file", values, wanted)
    if values["format"] != FORMAT:
        raise ValueError(f"{path} has format {values['format']}, this reader knows {FORMAT}: measure again")
    _check(path, "device", values["device"], {"kind": str, "name": str})
    for key in ("cpu", "cores", "threads", "torch", "date"):
        if key not in values["machine"]:
            raise ValueError(f"{path}: machine does not say its {key}")
    parts = {name: tuple(_rows(path, name, rows)) for name, rows in values["parts"].items()}
    return Result(values["question"], values["device"], parts, values["machine"])


def compare(first: Result, second: Result) -> list[Comparison]:
    """The cases that both measured, in the order of the first."""
    found = []
    for part, rows in first.parts.items():
        others = [row for row in second.parts.get(part, ()) if row.seconds]
        for row in rows:
            same = [other for other in others if other.case == row.case]
            if row.seconds and same:
                found.append(Comparison(part, row.case, row.timing, same[0].timing))
    return found


def _rows(path, part: str, rows):
    if not isinstance(rows, list):
        raise ValueError(f"{path}: part {part!r} must be a list of rows, got {type(rows).__name__}")
    for number, row in enumerate(rows):
        place = f"row {number} of part {part!r}"
        _check(path, place, row, {"case": dict, "seconds": list, "notes": dict, "problem": (str, type(None))})
        times = row["seconds"]
        if not all(isinstance(s, int | float) and not isinstance(s, bool) and s > 0 for s in times):
            raise ValueError(f"{path}: {place}: seconds must be numbers above 0, got {times}")
        if bool(times) == bool(row["problem"]):
            raise ValueError(f"{path}: {place}: a row has either seconds or a problem")
        yield Row(row["case"], tuple(times), row["notes"], row["problem"])


def _check(path, place: str, value, wanted: dict) -> None:
    """Raises ValueError unless `value` is a dict with these keys and no others, of these types."""
    if not isinstance(value, dict) or value.keys() != wanted.keys():
        got = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"{path}: {place} must have the keys {sorted(wanted)}, got {got}")
    for key, kind in wanted.items():
        if not isinstance(value[key], kind) or isinstance(value[key], bool):
            raise ValueError(f"{path}: {place}: {key} is of the wrong type, {type(value[key]).__name__}")


def _short_lists(text: str) -> str:
    """Lists of plain numbers on one line: twenty repeats are not twenty lines."""
    return re.sub(r"\[[-+.,\deE\s]*\]", lambda found: " ".join(found[0].split()), text)
