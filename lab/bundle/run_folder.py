"""A run folder holds the bundles of one run: which is the newest, which the best, and which may go."""

import re
import shutil
from pathlib import Path

from lab.bundle.step_folder import BundleError, read_manifest, remove_step

NAME = re.compile(r"step-(\d{8,})(\.replaced)?")


def step_name(step: int) -> str:
    """`step_name(100) == "step-00000100"`: names sort as their numbers do."""
    return f"step-{step:08d}"


def step_of(path: Path) -> int | None:
    """The number in a bundle's name, None where the name is another."""
    match = NAME.fullmatch(path.name)
    return int(match[1]) if match else None


def steps(folder: Path) -> dict[int, Path]:
    """The bundles of a run folder by their number, in rising order.

    One that stepped aside for another of the same number counts only while that other is not there.
    """
    found = {}
    for path in sorted(folder.iterdir(), reverse=True) if folder.is_dir() else ():
        if (step := step_of(path)) is not None and path.is_dir():
            found[step] = path  # "step-1" comes after "step-1.replaced" in this order
    return dict(sorted(found.items()))


def newest(folder: Path) -> Path:
    """The bundle with the highest number, be it intact or not; BundleError when there is none."""
    found = steps(folder)
    if not found:
        raise BundleError(f"there is no bundle in {folder}: expected folders such as {step_name(100)}")
    return found[max(found)]


def best(folder: Path) -> Path:
    """The bundle that was marked the best, last; without marks that with the lowest validation.

    Raises BundleError when nothing was measured, or a manifest cannot be read: that one might be the best.
    """
    newest(folder)
    chosen = best_of({path: read_manifest(path) for path in steps(folder).values()})
    if chosen is None:
        raise BundleError(f"no bundle in {folder} has a validation: load the newest, without best=True")
    return chosen


def best_of(manifests: dict[Path, dict]) -> Path | None:
    """The path of the best bundle of those whose manifests these are, in rising order."""
    if marked := [path for path, manifest in manifests.items() if manifest["best"]]:
        return marked[-1]
    measured = {path: m["validation"] for path, m in manifests.items() if m["validation"] is not None}
    return min(measured, key=measured.get) if measured else None


def prune(folder: Path, keep_last: int, written: Path) -> None:
    """Delete all bundles but the `keep_last` newest, the best, and the one just `written`.

    What cannot be read is left for a person to see.
    """
    manifests = {}
    for path in steps(folder).values():
        try:
            manifests[path] = read_manifest(path)
        except BundleError:
            continue
    kept = {*list(manifests)[-keep_last:], best_of(manifests), written}
    for path in manifests.keys() - kept:
        remove_step(path)


def sweep(folder: Path) -> None:
    """Delete what a killed `save` left: hidden folders, and a replaced bundle whose successor is there."""
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob("step-*.replaced"):
        if path.with_suffix("").exists():
            remove_step(path)
