"""The objectives by name: the one table in which a new one is a line. Each is imported when it is asked for."""

from collections.abc import Sequence
from importlib import import_module

from lab.config import from_json, from_outside, to_json
from lab.outside import find_outside, is_outside

OBJECTIVES = {
    "next-token": "lab.train.next_token:NextToken",
    "characters": "lab.chars.objective:CharacterObjectives",
    "reconstruction": "lab.diffusion.objective:Reconstruction",
    "diffusion": "lab.diffusion.objective:Diffusion",
    "tuning": "lab.diffusion.objective:Tuning",
    "recognition": "lab.speech.objective:Recognition",
}


def objective_class(name: str) -> type:
    """The class of that name; ValueError for one that the table does not have."""
    if name not in OBJECTIVES:
        raise ValueError(
            f"objective must be one of {', '.join(OBJECTIVES)}, or a class of your own; got {name!r}"
        )
    module, _, attribute = OBJECTIVES[name].partition(":")
    return getattr(import_module(module), attribute)


def objective_to_json(objective) -> dict:
    """Its name and settings; of one from outside its class, settings and the hash of its source."""
    if is_outside(type(objective)):
        return from_outside(objective)
    return {"name": objective.name} | to_json(objective)


def objective_from_json(values: dict, outside: Sequence[type] = ()):
    """The objective that `objective_to_json` wrote; one from outside is looked for among the classes `outside`."""
    if "class" in values:
        cls = find_outside(values, outside)
        return from_json(cls, values["settings"], outside)
    settings = {key: value for key, value in values.items() if key != "name"}
    return from_json(objective_class(values.get("name")), settings, outside)
