"""The files of a checkpoint, and the manifest with the SHA-256 of each: written whole or not at all, read verified."""

import hashlib
import json
import os
import platform
import shutil
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psutil
import torch

import lab
from lab.files import path_named, put_in_place, sha256_bytes, sync_folder

FORMAT = 2
MANIFEST = "manifest.json"
FILES = ("experiment.json", "tokenizer.json", "model.safetensors", "training.safetensors", "training.json",
         "metrics.jsonl")  # fmt: skip
# What stands in a manifest.
KINDS = {"format": int, "step": int, "files": dict, "date": str, "validation": float | int | None}
LARGEST_JSON = 2**26  # bytes


class CheckpointError(ValueError):
    """A checkpoint that is damaged, incomplete or cannot be read here; the message names the file and what to do."""


def write(path: Path, contents: dict[str, bytes], about_it: dict) -> None:
    """The files and a manifest as the folder `path`: whole, or, when anything goes wrong on the way, not at all."""
    manifest = {
        "format": FORMAT,
        **about_it,
        "written_by": {
            "lab": lab.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {name: sha256_bytes(data) for name, data in contents.items()},
    }
    manifest["digest"] = manifest_digest(manifest)
    put(path, {**contents, MANIFEST: to_json_bytes(manifest)})


def put(path: Path, files: Mapping[str, bytes]) -> None:
    """The files as the folder `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clear(path.parent)
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        beside.mkdir()
        for name, data in files.items():
            with open(beside / name, "wb") as file, path_named(path / name):
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        with path_named(path):
            sync_folder(beside)
            put_in_place(beside, path)
            sync_folder(path.parent)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def clear(run_folder: Path) -> None:
    """Remove what a process that was killed had half written into a run, or half removed."""
    for left in run_folder.glob(".*"):
        if left.suffix not in (".part", ".removed"):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Delete a checkpoint: first it is hidden, so that a half-deleted one is never taken for one."""
    hidden = path.with_name(f".{path.name}.{uuid4().hex[:8]}.removed")
    put_in_place(path, hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def read_manifest(path: Path) -> dict:
    """The manifest of the checkpoint at `path`, itself verified, without a look at the other files."""
    place = path / MANIFEST
    data = read_file(place)
    try:
        manifest = from_json_bytes(data)
        intact = manifest["digest"] == manifest_digest(manifest)
        intact = intact and all(isinstance(manifest[name], kind) for name, kind in KINDS.items())
        if intact and manifest["format"] == 1:  # of which each file's entry held its size too
            manifest["files"] = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    except (ValueError, TypeError, LookupError, RecursionError):
        intact = False
    if not intact:
        raise CheckpointError(f"{place} is damaged: it does not match its own digest; copy the folder again")
    return manifest


def read_file(place: Path) -> bytes:
    """The bytes of a file of a run; CheckpointError for a link, a pipe, and what no memory could hold."""
    try:
        about_it = place.lstat()
        room = LARGEST_JSON if place.suffix == ".json" else psutil.virtual_memory().available
        if not stat.S_ISREG(about_it.st_mode) or about_it.st_size > room:
            raise CheckpointError(f"{place} must be a file, and no link, of at most {room:,} bytes")
        return place.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{place} cannot be read ({error}): copy the whole folder again") from error


def verified(place: Path, sha256: str | None) -> bytes:
    """The bytes of a file of a run; CheckpointError where they are not those of the manifest."""
    data = read_file(place)
    if sha256_bytes(data) != sha256:
        raise CheckpointError(f"{place} is damaged: its SHA-256 is not the manifest's; copy the folder again")
    return data


def from_json_bytes(data: bytes):
    """What JSON says; ValueError where it is none, and for NaN and infinity, which no run holds."""

    def refused(name: str):
        raise ValueError(f"it holds {name}, which is no number")

    return json.loads(data, parse_constant=refused)


def manifest_digest(manifest: dict) -> str:
    """The SHA-256 of everything else that a manifest says."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256((json.dumps(rest, indent=1, sort_keys=True) + "\n").encode()).hexdigest()


def to_json_bytes(values: dict) -> bytes:
    """JSON as it is written into a run."""
    return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()
