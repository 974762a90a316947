"""Checkpoints of format 1, made into those of today, so that a run of that time loads, scores and samples.

Its training is not gone on with: the optimizers' memories and the states of the generators stay behind, so `resume`
refuses it. Nothing else knows what such a checkpoint looks like. When nobody has one any more, this file goes, with the
two places that ask for `format == 1`.
"""

import json
from collections.abc import Callable

from safetensors.torch import save

from lab.score import Score

Values = dict


def modern(contents: dict[str, bytes]) -> dict[str, bytes]:
    """The files of a checkpoint of format 1 by name, as those of a checkpoint of format 2.

    Raises KeyError and ValueError for what no run of that time held.
    """
    old = json.loads(contents["experiment.json"])
    kind = old.get("kind", "decoder")
    config, shaped = MODELS[kind]
    objective = dict(old.get("objective") or {"kind": "NextToken"})
    if "material" in objective:  # what is now the name of a method
        objective["script"] = objective.pop("material")
    data = old["data"]
    experiment = {
        "objective": {"name": OBJECTIVES[objective.pop("kind")]} | objective,
        "model": {"kind": config} | shaped(old["model"]),
        "training": old["training"],
        "data": {name: data[name] for name in ("corpus", "tokenizer", "batch_size", "split_seed", "sha256")},
        "seed": old["seed"],
        "start": old.get("start"),
    }
    metrics = [_metric(json.loads(line)) for line in contents["metrics.jsonl"].splitlines()]
    return contents | {
        "experiment.json": json.dumps(experiment).encode(),
        "training.safetensors": save({}),
        "training.json": json.dumps({"state": json.loads(contents["training.json"])["state"]}).encode(),
        "metrics.jsonl": "\n".join(map(json.dumps, metrics)).encode(),
    }


# ---- the experiment -----------------------------------------------------------------------------------------------

OBJECTIVES = {
    "NextToken": "next-token",
    "CharacterObjectives": "characters",
    "Reconstruction": "reconstruction",
    "Diffusion": "diffusion",
    "Tuning": "tuning",
    "Recognition": "recognition",
}


def _composed(field: str, *parts: str, **renamed: str) -> Callable[[Values], Values]:
    """A config that held copies of a transformer's fields, with the transformer's config in `field` instead."""
    names = {part: part for part in parts} | {old: new for new, old in renamed.items()}

    def shaped(old: Values) -> Values:
        inner = {names[name]: value for name, value in old.items() if name in names}
        return {field: inner} | {name: value for name, value in old.items() if name not in names}

    return shaped


SIZES = ("vocab_size", "context", "width", "num_heads", "feed_forward", "dropout")


def _visual(old: Values) -> Values:
    new = _composed("stack", *SIZES, "num_layers", "activation")(old)
    cells, rows = new.pop("num_cells"), new.pop("rows")
    return new | {"grid": [rows, cells // rows]}


MODELS: dict[str, tuple[str, Callable[[Values], Values]]] = {
    "decoder": ("TransformerConfig", dict),
    "recurrent": ("RecurrentConfig", dict),
    "visual-diffusion": ("VisualDiffusionConfig", _visual),
    "char-encoder": (
        "CharEncoderConfig",
        _composed(
            "stack", *SIZES, "positions", "norm", "norm_place", "activation", "bias", "tied",
            num_layers="encoder_layers",
        ),
    ),
    "speech": ("SpeechConfig", _composed("decoder", *SIZES, num_layers="decoder_layers")),
}  # fmt: skip


# ---- what a run came to -------------------------------------------------------------------------------------------


def _metric(line: Values) -> Values:
    for name, columns in OUTCOMES.items():
        if name in line:
            return {"step": line["step"], "outcome": columns(line[name])}
    return line


def _score(old: Values) -> Values:
    return Score(**old).columns()


def _recovered(old: Values) -> Values:
    return {"accuracy": old["right"] / old["words"]} | {f"code.{name}": count for name, count in old.items()}


def _characters(old: Values) -> Values:
    flat = _score(old["clm"])
    for name in ("mlm", "reconstruction", "bottleneck"):
        flat |= {f"{name}.{field}": count for field, count in (old[name] or {}).items()}
    for one in old["restoration"]:
        characters = one.pop("characters")
        flat |= {f"restoration.{characters}.{field}": count for field, count in one.items()}
    return flat


def _transcribed(old: Values) -> Values:
    names = {"ctc_cer": "cer", "ctc_wer": "wer", "attention_cer": "attention.cer", "attention_wer": "attention.wer",
             "utterances": "scored.utterances"}  # fmt: skip
    return {names[name]: value for name, value in old.items() if value is not None}


OUTCOMES = {
    "score": _score,
    "recovered": _recovered,
    "characters": _characters,
    "transcribed": _transcribed,
}
