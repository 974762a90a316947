"""A run on disk, whole: experiment, tokenizer, weights, training state and metrics, verified and resumable.

    run folder/
        step-00000100/           one checkpoint; nothing else is needed to load it
            manifest.json        format, versions, date; the SHA-256 of every other file, and its own
            experiment.json      what was trained, how, on what
            tokenizer.json
            model.safetensors
            training.safetensors the optimizers' memories, the state of torch's generators
            training.json        counts, best validation, the states of the other generators
            metrics.jsonl        one line a step
        step-00000200/

Nothing is ever unpickled.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import torch
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import nn

from lab.files import write_atomic
from lab.runs import folder as run_folder
from lab.runs import generators
from lab.runs.experiment import Experiment, differences
from lab.runs.folder import ABOUT, about, checkpoints
from lab.runs.manifest import (
    FILES,
    FORMAT,
    CheckpointError,
    from_json_bytes,
    read_manifest,
    remove,
    to_json_bytes,
    verified,
    write,
)
from lab.runs.weights import load_weights, no_larger_than, own_tensors
from lab.score import Score
from lab.text import Tokenizer, tokenizer_from_json
from lab.train import TrainingState, parallel


@dataclass
class Run:
    """All of a run: what was asked, what came of it, and what training needs to go on.

    `metrics` is a list of dicts, one a step. `random` holds the states of the global random generators when the run was
    saved; None in a run that was never saved. `id` tells it from every other run, also of the same experiment.
    """

    experiment: Experiment
    tokenizer: Tokenizer
    model: nn.Module
    state: TrainingState
    metrics: list[dict] = field(default_factory=list)
    random: dict | None = None
    id: str = field(default_factory=lambda: uuid4().hex)


def save(folder: str | os.PathLike, run: Run, keep_last: int = 2) -> Path:
    """Write `run` as it is now to `folder/step-00000100` (after 100 steps), then delete what is no longer kept.

    Kept are the `keep_last` newest and the best: that with the lowest validation measured at a saved step. Whenever the
    program is killed or the disk fills up, the checkpoint before is intact: a new one is built in a hidden folder
    beside, flushed to disk, then renamed. Of several processes only process 0 writes.

    Raises CheckpointError when the run cannot make a checkpoint that loads (weights that are not finite, a tokenizer of
    another size) or the folder holds another run, and OSError when the disk refuses; nothing is changed then.
    """
    if keep_last < 1:
        raise ValueError(f"keep_last must be at least 1, got {keep_last}")
    folder, state = Path(folder), run.state
    before = [path for path in checkpoints(folder) if run_folder.number_of(path)[0] == state.step]
    again = run_folder.number_of(before[-1])[1] + 1 if before else 0
    path = folder / run_folder.checkpoint_name(state.step, again)
    if parallel.rank() == 0:
        contents = packed(run)
        known = about(folder)
        if checkpoints(folder) and known.get("id", run.id) != run.id:
            raise CheckpointError(f"{folder} holds another run: save this one to another folder")
        if known.get("id") != run.id:
            write_atomic(folder / ABOUT, json.dumps(known | {"id": run.id}) + "\n")
        write(path, contents, {"run": run.id, "step": state.step, "validation": state.validation})
        for old in run_folder.superseded(folder, keep_last, written=path):
            remove(old)
    state.saved_to = str(path)
    return path


def load(
    path: str | os.PathLike,
    *,
    best: bool = False,
    outside: Sequence[type] = (),
    device: torch.device | str = "cpu",
) -> Run:
    """The run at `path`: a run folder, then its newest checkpoint (or the `best`), or the folder of one checkpoint.

    A run of `runs/` may go by its name, as `find` finds it.

    Needs nothing else: not the corpus, not the folder it was written in. Only what is not part of lab, an objective of
    your own or a kind of position, is asked for in `outside`, as classes: nothing that a file names is ever imported.
    The model is in evaluation mode, and the global random generators are left alone (see `restore_random`).

    Raises CheckpointError when anything is not as it was written. No other checkpoint is taken instead; the message
    names the newest intact one before it.
    """
    path = Path(path)
    if path.parent == Path() and not path.exists():
        path = run_folder.find(path)
    if best and run_folder.is_checkpoint(path):
        raise ValueError(f"best=True chooses from a run folder, but {path} is one checkpoint")
    path = run_folder.best(path) if best else run_folder.newest(path)
    try:
        return _read(path, outside, device)
    except CheckpointError as error:
        raise CheckpointError(f"{error}. {_advice(path, outside)}") from error


def resume(
    folder: str | os.PathLike,
    experiment: Experiment,
    *,
    outside: Sequence[type] = (),
    device: torch.device | str = "cpu",
) -> Run | None:
    """The run to go on with: the newest checkpoint, the global generators restored; None when there is none.

    Raises ValueError when that run is of another experiment, with the fields that differ, and CheckpointError like
    `load`, also for a checkpoint of an older format, which can be loaded but not continued.
    """
    if not checkpoints(Path(folder)):
        return None
    run = load(folder, outside=outside, device=device)
    if changed := differences(run.experiment, experiment):
        raise ValueError(
            f"{folder} holds a run of another experiment; saved -> asked for: {'; '.join(changed)}. Train into "
            f"another folder, or with the saved settings"
        )
    if run.random is not None:
        restore_random(run)
    elif not run.state.stopped:
        raise CheckpointError(
            f"{folder} was written by an older lab, after {run.state.step} steps: it can be loaded, but not trained "
            f"on; train it anew in another folder"
        )
    return run


def restore_random(run: Run) -> None:
    """Set the global generators to what they were when `run` was saved, so that dropout goes on as it would have.

    Raises ValueError for a run that was never saved.
    """
    if run.random is None:
        raise ValueError(
            "this run holds no random states: it was never saved, or by a lab too old to go on with it"
        )
    generators.restore(run.random)


def packed(run: Run) -> dict[str, bytes]:
    """The bytes of every file but the manifest; CheckpointError when the parts of the run do not belong together."""
    experiment, state = run.experiment, run.state
    if state.model is not run.model or state.config != experiment.training:
        raise CheckpointError("the training state belongs to another model or another training config")
    if getattr(run.model, "config", experiment.model) != experiment.model:
        raise CheckpointError("the model is not the one that the experiment describes: its config differs")
    _check_vocabulary(run.tokenizer, experiment)
    on_cpu = lambda tensors: {name: t.detach().cpu().contiguous() for name, t in tensors.items()}  # noqa: E731
    weights, memories = on_cpu(own_tensors(run.model)), on_cpu(state.tensors())
    for name, tensor in (weights | memories).items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} holds numbers that are not finite: the run diverged")
    values, states = generators.current()
    try:
        return {
            "experiment.json": to_json_bytes(experiment.to_json()),
            "tokenizer.json": run.tokenizer.to_json().encode(),
            "model.safetensors": tensors_to_bytes(weights),
            "training.safetensors": tensors_to_bytes(memories | states),
            "training.json": to_json_bytes({"state": state.values()} | values),
            "metrics.jsonl": "".join(json.dumps(m, allow_nan=False) + "\n" for m in run.metrics).encode(),
        }
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the run cannot be written as JSON: {error}") from error


def _read(path: Path, outside: Sequence[type], device: torch.device | str) -> Run:
    """The run of one checkpoint, every byte of which is verified. What else lies in the folder is passed over."""
    manifest = read_manifest(path)
    if manifest["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has format {manifest['format']}, this code reads up to {FORMAT}: a newer lab wrote it"
        )
    if about(path.parent).get("id", manifest.get("run")) != manifest.get("run"):
        raise CheckpointError(
            f"{path} belongs to another run than the folder it lies in: folders were exchanged"
        )
    if (named := run_folder.number_of(path)) and named[0] != manifest["step"]:
        raise CheckpointError(f"{path} is of step {manifest['step']}: folders were exchanged")
    contents = {name: verified(path / name, manifest["files"].get(name)) for name in FILES}
    if manifest["format"] == 1:
        from lab.runs.format1 import modern

        with _naming(path):
            contents = modern(contents)
    with _naming(path / "experiment.json"):
        experiment = Experiment.from_json(from_json_bytes(contents["experiment.json"]), outside)
    with _naming(path / "tokenizer.json"):
        tokenizer = _tokenizer(experiment, contents["tokenizer.json"].decode())
    with _naming(path / "model.safetensors"):
        weights = tensors_from_bytes(contents["model.safetensors"])
        if manifest.get("light"):
            weights = {name: t.float() if t.is_floating_point() else t for name, t in weights.items()}
        # Initial weights draw random numbers.
        with torch.random.fork_rng(devices=[]), no_larger_than(weights):
            model = experiment.objective.build(experiment.model, None)
        load_weights(model, weights)
        model = model.to(device).eval()
    with _naming(path / "training.json"):
        training = from_json_bytes(contents["training.json"])
        tensors = tensors_from_bytes(contents["training.safetensors"])
        state = TrainingState(model, experiment.training)
        states = {name: tensors.pop(name) for name in list(tensors) if name.startswith(generators.STATE)}
        state.load(tensors, training["state"])
        state.saved_to = str(path)
        most = state.step * experiment.training.accumulate  # a state of one's own loop may count no batches
        if state.step != manifest["step"] or state.batches_taken > most or state.tokens >= 2**63:
            raise ValueError(f"{state.step} steps and {state.batches_taken} batches are not what was trained")
        random = generators.checked(training, states) if "numpy" in training else None
    with _naming(path / "metrics.jsonl"):
        metrics = [from_json_bytes(line) for line in contents["metrics.jsonl"].splitlines()]
        _check_metrics(metrics)
    return Run(experiment, tokenizer, model, state, metrics, random, manifest.get("run") or uuid4().hex)


def _check_metrics(metrics: list[dict]) -> None:
    """Raise ValueError, or what Python says, for metrics that no table could show."""
    for line in metrics:
        numbers = [line[name] for name in ("loss", "bits_per_char") if name in line]
        numbers += (found := line.get("outcome", {})).values()
        if wrong := [n for n in numbers if not isinstance(n, int | float) or not math.isfinite(n)]:
            raise ValueError(f"expected a number, got {str(wrong[0])[:40]!r}")
        str(Score.of_columns(found))


def _tokenizer(experiment: Experiment, text: str) -> Tokenizer:
    kind = experiment.data.tokenizer
    tokenizer = tokenizer_from_json(text) if isinstance(kind, str) else kind.from_json(text)
    _check_vocabulary(tokenizer, experiment)
    return tokenizer


def _check_vocabulary(tokenizer: Tokenizer, experiment: Experiment) -> None:
    if tokenizer.vocab_size != experiment.model.vocab_size:
        raise CheckpointError(
            f"the tokenizer has {tokenizer.vocab_size} ids, the model {experiment.model.vocab_size}: they do not "
            f"belong together"
        )


def _advice(damaged: Path, outside: Sequence[type]) -> str:
    """What to load instead."""
    number = run_folder.number_of(damaged)
    before = [path for path in checkpoints(damaged.parent) if number and run_folder.number_of(path) < number]
    for path in reversed(before):
        try:
            _read(path, outside, "cpu")
        except CheckpointError:
            continue
        return f"The newest intact checkpoint before it is {path}"
    return "There is no intact checkpoint before it"


@contextmanager
def _naming(place: Path) -> Iterator[None]:
    """Whatever is wrong with a file's contents becomes a CheckpointError that names the file."""
    try:
        yield
    except Exception as error:
        about_it = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else f"{error!s:.600}"
        raise CheckpointError(
            f"{place} does not hold what a checkpoint of this experiment should: {about_it}"
        ) from error
