"""The flags of a command, and what the help says of those that are fields of a config."""

import inspect
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, is_dataclass

PARAGRAPH = "\n\n"
LINE = re.compile(
    r"(?: {4}(?=\w+: ))?((?:\w+, )*\w+):?(?: +|$)(.*)"
)  # `name  text`, and what `explain` makes of it


def each_flag_once(given: Sequence[str]) -> None:
    """Raise ValueError for a flag that is given twice; what follows `--` is another program's."""
    ours = given[: given.index("--")] if "--" in given else given
    flags = [re.match(r"(?:--[a-z][\w.-]*)?", word)[0].replace("_", "-") for word in ours]
    if twice := [flag for flag, times in Counter(filter(None, flags)).items() if times > 1]:
        raise ValueError(f"{twice[0]} is given more than once: say which of its values is meant")


def explain(*configs) -> None:
    """Have the help say of each field what the docstring of its class says in a table, of configs in configs too.

    The help is tyro's, which reads tables of another form: in this process the classes get docstrings of that.
    """
    for config in configs:
        explain(*filter(is_dataclass, vars(config).values()))
        cls = type(config)
        told = "".join(f"\n    {name}: {text}" for name, text in explained(cls).items())
        cls.__doc__ = f"{inspect.cleandoc(cls.__doc__ or '').split(PARAGRAPH)[0]}{PARAGRAPH}Attributes:{told}"


def explained(cls: type) -> dict[str, str]:
    """What the docstrings of a dataclass, and of those that it inherits from, say of its fields: a line each.

    >>> from lab.runs import Data
    >>> explained(Data)["split_seed"]
    '`Corpus.splits(seed=split_seed)`'
    """
    names, found = {field.name for field in fields(cls)}, {}
    for base in reversed(cls.__mro__):
        current = []
        for line in inspect.cleandoc(base.__doc__ or "").splitlines():
            first = LINE.match(line)
            if first and names.issuperset(first[1].split(", ")):
                current = first[1].split(", ")
                found |= dict.fromkeys(current, first[2])
            elif line.startswith(" ") and current:
                found |= {name: f"{found[name]} {line.strip()}".strip() for name in current}
            else:
                current = []
    return found
