"""`lab sweep`: many runs."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Literal

import tyro

from lab.cli.training import print_table, there, with_flags
from lab.config import shown
from lab.files import printable

OWN = (
    "--workers",
    "--scheduler",
    "--insecure",
    "--file",
    "--dry-run",
    "--device",
    "--folder",
    "--save-seconds",
    "--help",
    "-h",
)


def split(given: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The words that are the command's own, and the flags of the runs with their values.

    >>> split(["--seed", "0", "1", "--workers", "2", "--model.tied"])
    (['--workers', '2'], {'--seed': ['0', '1'], '--model.tied': []})
    """
    own, flags, values = [], {}, None
    for word in given:
        if word.startswith("-") and not word[1:2].isdigit():
            flag, equals, value = word.partition("=")
            values = own if flag.replace("_", "-") in OWN else flags.setdefault(flag, [])
            values += [word] if values is own else [value] if equals else []
        elif values is None:
            raise ValueError(f"{word!r} stands before any flag: write --seed 0 1 2, say")
        else:
            values.append(word)
    return own, flags


def sweep(flags: Mapping[str, Sequence[str]]) -> Callable[..., None]:
    """The command `sweep` over these flags of the runs."""

    def sweep(
        workers: int | None = None,
        scheduler: str | None = None,
        insecure: bool = False,
        file: Path | None = None,
        dry_run: bool = False,
        device: Literal["cpu", "cuda", "mps"] = "cpu",
        folder: Path | None = None,
        save_seconds: float = 60.0,
    ) -> None:
        """Train many runs, one for each combination: lab sweep --model.width 64 128 --seed 0 1 2

        The flags of `lab train` are taken (`lab train --help` explains them), each with as many values as you like; of
        one that switches something on or off they are True and False. What is there already is not trained again, and
        after a Ctrl-C the same command takes up what is missing. Exit status: 0 where all runs came to their end, 1
        where one did not.

        Args:
            workers: processes, which share the cores evenly; one a core if absent; 0: none but this, without dask.
            scheduler: the address of a dask scheduler whose workers do it instead, tls://host:8786; see README.
            insecure: take one without encryption: whoever can reach it may run programs on its workers.
            file: a JSON list of such combinations, [{"model.width": 64, "seed": [0, 1]}, ...]; what the flags say
                holds for each.
            dry_run: only say what is there already, what would be trained, and how long it would take.
            device: what each worker trains on.
            folder: where the runs are; `runs/` of the project if absent.
            save_seconds: how often each is saved on the way.
        """
        from lab import runs

        listed = _objects(file) if file else [{}]
        if twice := [flag for one in listed for flag in one if flag in flags]:
            raise ValueError(
                f"{twice[0]} stands in {file} and among the flags: say in one place what is meant"
            )
        every = [flags | one for one in listed]
        place = {"--folder": [str(folder)]} if folder else {}
        experiments = [experiment for one in every for experiment in _product(one | place)]
        options = {"workers": workers, "scheduler": scheduler, "insecure": insecure}
        options["device"] = (
            there(device, *(one.objective for one in experiments)) if scheduler is None else device
        )
        table = runs.sweep(experiments, folder, **options, save_seconds=save_seconds, dry_run=dry_run)
        if len(table):
            print_table(table)
        for name, state in table["state"].items():
            if state != "done" and not dry_run:
                print(f"{name} {printable(state)}", file=sys.stderr)
        sys.exit(int(not dry_run and any(table["state"] != "done")))

    return sweep


def _product(flags: Mapping[str, Sequence[str]]) -> Iterator:
    """An experiment for each combination of values; what cannot be is said by the parser of `lab train`."""
    choices = [
        [_words(flag, value) for value in values] if values else [[flag]] for flag, values in flags.items()
    ]
    for chosen in product(*choices):
        words = ["train", *(word for pair in chosen for word in pair)]
        command = with_flags(words, lambda experiment, **_: experiment)
        yield tyro.cli(command, prog="lab sweep", args=words[1:])


def _words(flag: str, value: str) -> list[str]:
    """A flag and its value as `lab train` reads them.

    >>> _words("--model.tied", "False")
    ['--model.no-tied']
    """
    place, _, name = flag.rpartition(".")
    off = f"{place}.no-{name}" if place else f"--no-{name.removeprefix('--')}"
    return {"True": [flag], "False": [off]}.get(value, [flag, value])


def _objects(file: Path) -> list[dict[str, list[str]]]:
    """The flags that each object of a JSON list stands for; ValueError for anything else."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from None
    if not (isinstance(found, list) and found and all(isinstance(one, dict) for one in found)):
        raise ValueError(
            f'{file} must hold a list such as [{{"model.width": 64, "seed": [0, 1]}}], got {shown(found)}'
        )
    listed = lambda value: value if isinstance(value, list) else [value]  # noqa: E731
    for one in found:
        if empty := [name for name, value in one.items() if value == []]:
            raise ValueError(f"{file}: {empty[0]} has no values, so there is nothing to train")
    return [{f"--{name}": [str(v) for v in listed(value)] for name, value in one.items()} for one in found]
