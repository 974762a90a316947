"""A run without what only training on needs, a fifth as large: how trained models are given away."""

import json
import os
from pathlib import Path

from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from lab.files import write_atomic
from lab.runs.checkpoint import Run, packed
from lab.runs.folder import ABOUT, checkpoint_name, checkpoints
from lab.runs.manifest import CheckpointError, to_json_bytes, write

KEPT_METRICS = 200  # steps, evenly spaced, and the last


def save_light(folder: str | os.PathLike, run: Run) -> Path:
    """Write `run` to a new run folder with its weights rounded to float16, and no memories of optimizers.

    `load` computes with it in float32, `start` goes on from its weights, but it is not trained on as the same run. Of
    the metrics about 200 steps are kept.

    Raises CheckpointError when the folder holds a run, or a weight is beyond what float16 holds (65,504).
    """
    folder, step = Path(folder), run.state.step
    if checkpoints(folder):
        raise CheckpointError(f"{folder} holds a run already: give another folder")
    contents = packed(run)
    weights = tensors_from_bytes(contents["model.safetensors"])
    halves = {name: t.half() if t.is_floating_point() else t for name, t in weights.items()}
    if large := [name for name, t in halves.items() if not t.isfinite().all()]:
        raise CheckpointError(f"{large[0]} holds numbers beyond 65,504, the most that float16 can say")
    apart = -(-len(run.metrics) // KEPT_METRICS) or 1
    kept = [line for n, line in enumerate(run.metrics, 1) if n % apart == 0 or n == len(run.metrics)]
    contents |= {
        "model.safetensors": tensors_to_bytes(halves),
        "training.safetensors": tensors_to_bytes({}),
        "training.json": to_json_bytes({"state": run.state.values()}),
        "metrics.jsonl": "".join(json.dumps(line, allow_nan=False) + "\n" for line in kept).encode(),
    }
    about = {"run": run.id, "step": step, "validation": run.state.validation, "light": True}
    path = folder / checkpoint_name(step)
    write(path, contents, about)
    write_atomic(folder / ABOUT, json.dumps({"id": run.id}) + "\n")
    return path
