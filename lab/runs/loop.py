"""Train a run, or load it: whichever is needed, and it says which."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from tqdm import tqdm

from lab import bundle
from lab.bundle import BundleError, Experiment, Run
from lab.bundle.run_folder import newest
from lab.bundle.step_folder import read_manifest
from lab.files import write_atomic
from lab.runs.code import code_version
from lab.runs.folder import ABOUT, trained_by, where
from lab.runs.lock import interrupt_held, locked
from lab.runs.prepared import Plan, Prepared, prepare
from lab.runs.tables import OUTCOMES, outcome
from lab.runs.tasks import begin_from, task
from lab.train import Step, TrainingState, parallel, train


def training(
    what: Plan | Experiment,
    folder: str | os.PathLike | None = None,
    *,
    name: str | None = None,
    save_seconds: float = 60.0,
    device: torch.device | str = "cpu",
) -> Iterator[Step]:
    """Train a run one `Step` at a time, from where it stands; nothing is left to yield when it is complete.

    It is saved every `save_seconds`, at each best validation, when the loop is left, and at the end, after scoring the
    validation lines. A Ctrl-C waits for the end of the step. `evaluate_every` measures bits a character over 200
    validation lines (the first stage of visual diffusion: the share of words that do not come back). Seeds torch's
    global generator, from which dropout draws.

    >>> for step in training(plan): curve.add(step.tokens, step.loss)  # doctest: +SKIP
    >>> run = get_or_train(plan)  # doctest: +SKIP

    Raises RunBusy when another process trains it, ValueError when a run of that `name` has other settings, and what
    `prepare`, `lab.train.train` and `lab.bundle.resume` raise.
    """
    prepared = prepare(what, folder)
    path = where(prepared.experiment, folder, name)
    _close_left(path)
    steps = _locked_steps(prepared, path, save_seconds, device)
    _LEFT[path.resolve()] = steps
    return steps


# Loops that may have been left without an end: a notebook keeps the frame of a cell that failed.
_LEFT: WeakValueDictionary[Path, Iterator[Step]] = WeakValueDictionary()


def _close_left(path: Path) -> None:
    """Save and close what an earlier loop of this process left open, so that it does not lock itself out."""
    left = _LEFT.pop(path.resolve(), None)
    if left is not None and not left.gi_running:
        left.close()


def _locked_steps(prepared: Prepared, path: Path, save_seconds: float, device) -> Iterator[Step]:
    with locked(path):
        run = _begun(prepared, path, device)
        if outcome(run) is None:
            yield from _steps(run, prepared, path, save_seconds)


def get_or_train(
    what: Plan | Experiment,
    folder: str | os.PathLike | None = None,
    *,
    name: str | None = None,
    save_seconds: float = 60.0,
    device: torch.device | str = "cpu",
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Run:
    """The run of this plan or experiment: loaded when it was trained by the same code, else trained to its end.

    It says in one sentence which of the two; `progress` shows a bar in a terminal. An interrupted run goes on where it
    was. Another process that trains the same run is waited for. The model comes in evaluation mode; torch's global
    generator is left as it was. Raises what `training` raises, but no RunBusy.
    """
    say = say if parallel.rank() == 0 else lambda _: None
    prepared = prepare(what, folder)
    path = where(prepared.experiment, folder, name)
    _close_left(path)
    with torch.random.fork_rng(devices=[]):
        run = _resumed(path, prepared.experiment, device)
        if run is None or outcome(run) is None:
            with locked(path, wait=True, say=say):
                run = _begun(prepared, path, device)
                if outcome(run) is None:
                    _finish(run, prepared, path, save_seconds, progress, say)
                    return run
    say(f"loaded {path}: trained {_date(path)} in {_result(run)}{_other_code(path, run.experiment)}")
    return run


def _finish(run: Run, prepared: Prepared, path: Path, save_seconds: float, progress: bool, say) -> None:
    state, total = run.training_state, run.experiment.training.steps
    if state.step:
        say(f"continuing {path} from step {state.step} of {total}{_other_code(path, run.experiment)}")
    hidden = None if progress and parallel.rank() == 0 else True  # None: hidden where there is no terminal
    try:
        with tqdm(total=total, initial=state.step, unit="step", disable=hidden) as bar:
            for step in _steps(run, prepared, path, save_seconds):
                bar.set_postfix(loss=f"{step.loss:.3f}", refresh=False)
                bar.update()
    except KeyboardInterrupt:
        kept = state.last_bundle or "nothing yet"
        say(
            f"stopped at step {state.step} of {total}; saved: {kept}. The same call or command goes on from there"
        )
        raise
    run.model.eval()
    say(f"trained {path} in {_result(run)}")


def _begun(prepared: Prepared, path: Path, device: torch.device | str) -> Run:
    """The run as it was saved, or a fresh one; the global generator is where dropout needs it."""
    experiment = prepared.experiment
    run = _resumed(path, experiment, device)
    if run is None:
        model = prepared.model()
        begin_from(prepared, model)
        task(prepared, TrainingState(model, experiment.training))  # what cannot be asked for is refused here
        if parallel.rank() == 0:
            write_atomic(path / ABOUT, json.dumps({"code": code_version(experiment.kind)}) + "\n")
        model.to(device)
        torch.manual_seed(experiment.seed + parallel.rank())
        run = Run(experiment, prepared.tokenizer, model, TrainingState(model, experiment.training))
    return run


def _steps(run: Run, prepared: Prepared, path: Path, save_seconds: float) -> Iterator[Step]:
    """Train to the end, save on the way, score, save."""
    state, config = run.training_state, run.experiment.training
    asked = task(prepared, state)
    bits = prepared.tokens_per_char / math.log(2)  # a nat a token in bits a character
    steps = train(
        run.model, prepared.batches(), asked.loss, config, state=state,
        evaluate=asked.evaluate if config.evaluate_every else None,
    )  # fmt: skip
    saved, saved_step, whole = time.monotonic(), state.step, True
    try:
        while True:
            with interrupt_held():
                whole = False
                step = next(steps, None)
                if step is not None:
                    run.metrics.append(asdict(step) | {"bits_per_char": step.loss * bits} | asked.told)
                whole = True
            if step is None:
                break
            best = state.validation is not None and state.best_step == state.step
            if best or time.monotonic() - saved >= save_seconds:
                bundle.save(path, run)
                saved, saved_step = time.monotonic(), state.step
            yield step
        found = asked.outcome(run.model)
    except (GeneratorExit, KeyboardInterrupt):
        # Not in the middle of a step, where weights and state do not belong together.
        if whole and state.step > saved_step:
            bundle.save(path, run)
        raise
    (name,) = [name for name, kind in OUTCOMES.items() if type(found) is kind]
    run.metrics.append({"step": state.step, name: asdict(found)})
    bundle.save(path, run)


def _resumed(path: Path, experiment: Experiment, device: torch.device | str) -> Run | None:
    try:
        return bundle.resume(path, experiment, device=device)
    except BundleError as error:
        raise BundleError(
            f"{error}. To go on from the bundle before, or anew where there is none, delete {newest(path)}"
        ) from error


def _other_code(path: Path, experiment: Experiment) -> str:
    """A run that goes by a name of its own may be older than the code."""
    if trained_by(path) in (None, code_version(experiment.kind)):
        return ""
    return "; the code has changed since, and only another name trains it again"


def _result(run: Run) -> str:
    state, found = run.training_state, outcome(run)
    return f"{state.seconds:.0f} s, {state.step} steps; validation: {found}"


def _date(path: Path) -> str:
    return read_manifest(newest(path))["date"][:10]
