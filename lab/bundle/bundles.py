"""Save a run, load it anywhere, go on with it."""

import os
from pathlib import Path

import torch

from lab.bundle.contents import Run, pack, restore_random, unpack
from lab.bundle.experiment import Experiment, differences
from lab.bundle.run_folder import best as best_bundle
from lab.bundle.run_folder import newest, prune, step_name, step_of, steps, sweep
from lab.bundle.step_folder import MANIFEST, BundleError, read_step, write_step
from lab.train import parallel


def save(folder: str | os.PathLike, run: Run, keep_last: int = 2, best: bool = False) -> Path:
    """Write `run` as it is now to `folder/step-00000100` (after 100 steps), then delete what is no longer kept.

    Kept are the `keep_last` newest and the best: that with the lowest `Step.validation` measured at a saved step, or
    the last that was saved with `best=True`. Whenever the program is killed or the disk fills up, the bundle before
    is intact. Saving the same step again replaces it. Of several processes only process 0 writes. To go back to an
    earlier bundle and train on from there in another way, save to another folder: `load` takes the highest step.

    Raises BundleError when the run cannot make a bundle that loads (weights that are not finite, a tokenizer of another
    size), and OSError when the disk refuses; nothing is changed then.
    """
    if keep_last < 1:
        raise ValueError(f"keep_last must be at least 1, got {keep_last}")
    folder, state = Path(folder), run.training_state
    path = folder / step_name(state.step)
    if parallel.rank() == 0:
        contents = pack(run)
        sweep(folder)
        write_step(folder, path.name, contents, step=state.step, validation=state.validation, best=best)
        prune(folder, keep_last, written=path)
    state.last_bundle = str(path)
    return path


def load(
    path: str | os.PathLike,
    *,
    best: bool = False,
    restore_random: bool = False,
    device: torch.device | str = "cpu",
) -> Run:
    """The run at `path`: a run folder, then its newest bundle (or the `best`), or the folder of one bundle.

    Needs nothing else: not the corpus, not the script, not the folder it was written in. The model is in evaluation
    mode. With `restore_random` the global generators go back to where they were; otherwise they are left alone.

    Raises BundleError when anything about the bundle is not as it was written. No other bundle is taken instead; the
    message names the newest intact one before it.
    """
    path = Path(path)
    if (path / MANIFEST).exists() or step_of(path) is not None:
        if best:
            raise ValueError(f"best=True chooses from a run folder, but {path} is one bundle")
    else:
        path = best_bundle(path) if best else newest(path)
    try:
        run = _read(path, device)
    except BundleError as error:
        raise BundleError(f"{error}. {_advice(path)}") from error
    if restore_random:
        _restore(run)
    return run


def resume(
    folder: str | os.PathLike, experiment: Experiment, *, device: torch.device | str = "cpu"
) -> Run | None:
    """The run to go on with: the newest bundle of `folder`, the global generators restored; None when there is none.

    Raises ValueError when that run is of another experiment, with the fields that differ, and BundleError like `load`.
    """
    if not steps(Path(folder)):
        return None
    run = load(folder, device=device)
    if changed := differences(run.experiment, experiment):
        raise ValueError(
            f"{folder} holds a run of another experiment; saved -> asked for: {'; '.join(changed)}. Train into "
            f"another folder, or with the saved settings"
        )
    _restore(run)
    return run


_restore = restore_random  # `load` has an argument of that name


def _read(path: Path, device: torch.device | str) -> Run:
    manifest, contents = read_step(path)
    run = unpack(contents, path, device)
    claimed = {manifest["step"], run.training_state.step, step_of(path)} - {None}
    if len(claimed) > 1:
        raise BundleError(
            f"{path} says it is of the steps {sorted(claimed)}: files or folders were exchanged"
        )
    return run


def _advice(damaged: Path) -> str:
    """What to load instead."""
    before = [path for step, path in steps(damaged.parent).items() if step < (step_of(damaged) or 0)]
    for path in reversed(before):
        try:
            _read(path, "cpu")
        except BundleError:
            continue
        return f"The newest intact bundle before it: load({str(path)!r})"
    return "There is no intact bundle before it"
