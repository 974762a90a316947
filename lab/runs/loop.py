"""Train a run, or load it: whichever is needed, and it says which."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from tqdm import tqdm

from lab.files import write_atomic
from lab.runs.checkpoint import Run, resume, save
from lab.runs.code import code_version
from lab.runs.experiment import Experiment, outside_classes, prepare
from lab.runs.folder import ABOUT, CheckpointError, about, newest, read_manifest, where
from lab.runs.lock import interrupt_held, locked
from lab.runs.starting import begin
from lab.runs.table import outcome, told
from lab.train import Report, TrainingState, parallel, train


def training(
    experiment: Experiment,
    folder: str | os.PathLike | None = None,
    *,
    name: str | None = None,
    save_seconds: float = 60.0,
    device: torch.device | str = "cpu",
) -> Iterator[Report]:
    """Train a run one `Report` a step, from where it stands; nothing is left to yield when it is complete.

    It is saved every `save_seconds`, at each best validation, when the loop is left, and at the end, after the held-out
    material was scored. A Ctrl-C waits for the end of the step. Seeds torch's global generator, from which dropout
    draws.

    >>> for report in training(experiment): curve.add(report.tokens, report.loss)  # doctest: +SKIP
    >>> run = get_or_train(experiment)  # doctest: +SKIP

    Raises RunBusy when another process trains it, ValueError when a run of that `name` has other settings, and what
    `Experiment.resolved`, `lab.train.train` and `resume` raise.
    """
    experiment, material = prepare(experiment, folder)
    path = where(experiment, folder, name)
    _close_left(path)
    reports = _locked_steps(experiment, material, path, save_seconds, device)
    _LEFT[path.resolve()] = reports
    return reports


# Loops that may have been left without an end: a notebook keeps the frame of a cell that failed.
_LEFT: WeakValueDictionary[Path, Iterator[Report]] = WeakValueDictionary()


def _close_left(path: Path) -> None:
    """Save and close what an earlier loop of this process left open, so that it does not lock itself out."""
    left = _LEFT.pop(path.resolve(), None)
    if left is not None and not left.gi_running:
        left.close()


def _locked_steps(
    experiment: Experiment, material, path: Path, save_seconds: float, device
) -> Iterator[Report]:
    with locked(path):
        run = _begun(experiment, material, path, device)
        if outcome(run) is None:
            yield from _steps(run, material, path, save_seconds)


def get_or_train(
    experiment: Experiment,
    folder: str | os.PathLike | None = None,
    *,
    name: str | None = None,
    save_seconds: float = 60.0,
    device: torch.device | str = "cpu",
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Run:
    """The run of this experiment: loaded when it was trained by the same code, else trained to its end.

    It says in one sentence which of the two; `progress` shows a bar in a terminal. An interrupted run goes on where it
    was. Another process that trains the same run is waited for. The model comes in evaluation mode; torch's global
    generator is left as it was. Raises what `training` raises, but no RunBusy.
    """
    say = say if parallel.rank() == 0 else lambda _: None
    experiment, material = prepare(experiment, folder)
    path = where(experiment, folder, name)
    _close_left(path)
    with torch.random.fork_rng(devices=[]):
        run = _resumed(path, experiment, device)
        if run is None or outcome(run) is None:
            with locked(path, wait=True, say=say):
                run = _begun(experiment, material, path, device)
                if outcome(run) is None:
                    _finish(run, material, path, save_seconds, progress, say)
                    return run
    date = read_manifest(newest(path))["date"][:10]
    say(f"loaded {path}: trained {date} in {_result(run)}{_other_code(path, experiment)}")
    return run


def _finish(run: Run, material, path: Path, save_seconds: float, progress: bool, say) -> None:
    state, total = run.state, run.experiment.training.steps
    if state.step:
        say(f"continuing {path} from step {state.step} of {total}{_other_code(path, run.experiment)}")
    for line in run.metrics[:1] if not state.step else ():
        say(f"before: {told(line['before'])}{_hidden(material)}")
    hidden = None if progress and parallel.rank() == 0 else True  # None: hidden where there is no terminal
    try:
        with tqdm(total=total, initial=state.step, unit="step", disable=hidden) as bar:
            for report in _steps(run, material, path, save_seconds):
                bar.set_postfix(loss=f"{report.loss:.3f}", refresh=False)
                bar.update()
    except (KeyboardInterrupt, OSError) as error:
        stopped = f"stopped at step {state.step} of {total}; saved: {state.saved_to or 'nothing yet'}"
        again = f"The same call or command {'goes on from there' if state.saved_to else 'begins anew'}"
        if isinstance(error, OSError):
            raise OSError(f"{error}: training {stopped}. {again} when this is mended") from error
        raise KeyboardInterrupt(f"{stopped}. {again}") from None
    run.model.eval()
    say(f"trained {path} in {_result(run)}")


def _begun(experiment: Experiment, material, path: Path, device: torch.device | str) -> Run:
    """The run as it was saved, or a fresh one; the global generator is where dropout needs it."""
    objective, seed = experiment.objective, experiment.seed
    if hasattr(objective, "check"):
        objective.check(experiment, material)
    run = _resumed(path, experiment, device)
    if run is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = objective.build(experiment.model, material)
        first = begin(model, experiment, material) if experiment.start is not None else None
        model.to(device)
        metrics = []
        if first is not None and first.experiment.objective.name == objective.name:
            metrics = [{"step": 0, "before": objective.outcome(model, material)}]
        torch.manual_seed(seed + parallel.rank())
        state = TrainingState(model, experiment.training)
        run = Run(experiment, material.tokenizer, model, state, metrics)
        if parallel.rank() == 0:
            write_atomic(path / ABOUT, json.dumps({"id": run.id, "code": code_version(objective)}) + "\n")
    return run


def _steps(run: Run, material, path: Path, save_seconds: float) -> Iterator[Report]:
    """Train to the end, save on the way, score, save."""
    experiment, state, objective = run.experiment, run.state, run.experiment.objective
    evaluate = partial(objective.evaluate, material=material) if experiment.training.evaluate_every else None
    reports = train(
        run.model, objective.batches(experiment, material), objective.loss, experiment.training,
        state=state, evaluate=evaluate, seed=experiment.seed, material=material,
    )  # fmt: skip
    saved, saved_step, whole = time.monotonic(), state.step, True
    try:
        while True:
            with interrupt_held():
                whole = False
                report = next(reports, None)
                if report is not None:
                    run.metrics.append(_logged(report, material))
                whole = True
            if report is None:
                break
            best = state.validation is not None and state.best_step == state.step
            if best or time.monotonic() - saved >= save_seconds:
                save(path, run)
                saved, saved_step = time.monotonic(), state.step
            yield report
        found = objective.outcome(run.model, material)
    except (GeneratorExit, KeyboardInterrupt):
        # Not in the middle of a step, where weights and state do not belong together.
        if whole and state.step > saved_step:
            save(path, run)
        raise
    run.metrics.append({"step": state.step, "outcome": found})
    save(path, run)


def _logged(report: Report, material) -> dict:
    """One line of the metrics: what was reported, and, of text, the loss in bits a character."""
    line = asdict(report)
    metrics = line.pop("metrics")
    if hasattr(material, "tokens_per_char"):
        line["bits_per_char"] = report.loss * (material.tokens_per_char / math.log(2))
    line |= metrics
    if "bits_per_char" in line:
        line["bits_per_char"] += getattr(material, "hidden_bits_per_char", 0.0)
    return line


def _hidden(material) -> str:
    """What the vocabulary of a start hides of the new text."""
    bits = getattr(material, "hidden_bits_per_char", 0.0)
    paid = f"{bits:.3f} bits a character of the training text are paid for it"
    return f"; its vocabulary hides some characters or words behind <unk>: {paid}" if bits else ""


def _resumed(path: Path, experiment: Experiment, device: torch.device | str) -> Run | None:
    try:
        return resume(path, experiment, outside=outside_classes(experiment), device=device)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}. To go on from the checkpoint before, or anew where there is none, delete {newest(path)}"
        ) from error


def _other_code(path: Path, experiment: Experiment) -> str:
    """A run that goes by a name of its own may be older than the code."""
    if about(path).get("code") in (None, code_version(experiment.objective)):
        return ""
    return "; the code has changed since, and only another name trains it again"


def _result(run: Run) -> str:
    return f"{run.state.seconds:.0f} s, {run.state.step} steps; validation: {told(outcome(run) or {})}"
