"""One bundle as a folder of bytes: written whole or not at all, and read only if every byte is as it was written."""

import json
import os
import shutil
import stat
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from uuid import uuid4

import lab
from lab.files import sha256_bytes
from lab.machine import machine

FORMAT = 1
MANIFEST = "manifest.json"
FILES = (
    "experiment.json",
    "tokenizer.json",
    "model.safetensors",
    "training.safetensors",
    "training.json",
    "metrics.jsonl",
)
MANIFEST_KEYS = {"format", "step", "validation", "best", "written_by", "date", "files", "digest"}


class BundleError(ValueError):
    """A bundle that is damaged, incomplete or cannot be read here; the message names the file and what to do."""


def write_step(
    folder: Path, name: str, contents: dict[str, bytes], *, step: int, validation: float | None, best: bool
) -> Path:
    """Write `contents` and a manifest as `folder/name`: whole, or, when anything goes wrong on the way, not at all.

    Built in a hidden folder beside, flushed to disk, then renamed. A bundle that already has the name steps aside
    first, under a name by which it is still found, so that at every moment one of the two is there.
    """
    assert contents.keys() == set(FILES)
    files = {key: {"bytes": len(data), "sha256": sha256_bytes(data)} for key, data in contents.items()}
    manifest = {
        "format": FORMAT,
        "step": step,
        "validation": validation,
        "best": best,
        "written_by": _written_by(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": files,
    }
    manifest["digest"] = _digest(manifest)
    folder.mkdir(parents=True, exist_ok=True)
    beside, final, aside = (
        folder / f".{name}.{uuid4().hex[:8]}.part",
        folder / name,
        folder / f"{name}.replaced",
    )
    try:
        beside.mkdir()
        for key, data in {**contents, MANIFEST: _manifest_bytes(manifest)}.items():
            with open(beside / key, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(beside)
        if final.exists():
            remove_step(aside)
            final.rename(aside)
        beside.rename(final)
        sync_folder(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    remove_step(aside)
    return final


def read_step(path: Path) -> tuple[dict, dict[str, bytes]]:
    """The manifest and the bytes of every file of the bundle at `path`, each verified; BundleError otherwise."""
    manifest = read_manifest(path)
    found, expected = set(os.listdir(path)), {*FILES, MANIFEST}
    if missing := sorted(expected - found):
        raise BundleError(f"{path / missing[0]} is missing: copy the whole folder again")
    if extra := sorted(found - expected):
        raise BundleError(f"{path / extra[0]} does not belong to the bundle: move it elsewhere")
    return manifest, {name: _read_verified(path / name, manifest["files"][name]) for name in FILES}


def read_manifest(path: Path) -> dict:
    """The manifest of the bundle at `path`, itself verified, without a look at the other files."""
    place = path / MANIFEST
    raw = read_regular(place)
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise BundleError(f"{place} is damaged: it is not the manifest of a bundle")
    if manifest["format"] > FORMAT:
        raise BundleError(
            f"{place} has format {manifest['format']}, this code reads up to {FORMAT}: it was written by a newer "
            f"lab, which can load it"
        )
    # Compared as bytes, so that not even a space can differ.
    keys_fit = manifest.keys() == MANIFEST_KEYS
    if not keys_fit or manifest["digest"] != _digest(manifest) or raw != _manifest_bytes(manifest):
        raise BundleError(f"{place} is damaged: it does not match its own digest")
    listed = manifest["files"]
    if not isinstance(listed, dict) or listed.keys() != set(FILES):
        raise BundleError(f"{place} lists {list(listed)}, a bundle has exactly the files {list(FILES)}")
    for entry in listed.values():
        if not isinstance(entry, dict) or entry.keys() != {"bytes", "sha256"}:
            raise BundleError(f"{place} says {entry!r} of a file, expected its bytes and sha256")
    number_or_none = isinstance(manifest["validation"], int | float | None)
    if not (isinstance(manifest["step"], int) and number_or_none and isinstance(manifest["best"], bool)):
        raise BundleError(f"{place} holds a step, validation or best of another type than a bundle's")
    return manifest


def read_regular(place: Path) -> bytes:
    """The bytes of a plain file; a link could show other bytes tomorrow, so it is refused like a missing file."""
    try:
        mode = os.lstat(place).st_mode
        if not stat.S_ISREG(mode):
            raise BundleError(f"{place} is a link or no file at all: put the file itself there")
        return place.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{place} is missing: copy the whole folder again") from None
    except OSError as error:
        raise BundleError(f"{place} cannot be read ({error})") from error


def remove_step(path: Path) -> None:
    """Delete a bundle: first it is hidden, so that a half-deleted one is never taken for a bundle."""
    if path.exists():
        hidden = path.with_name(f".{path.name}.{uuid4().hex[:8]}.removed")
        path.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to disk: without it a new name may be forgotten in a power cut."""
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_verified(place: Path, listed: dict) -> bytes:
    data = read_regular(place)
    if len(data) != listed["bytes"]:
        raise BundleError(
            f"{place} is damaged: it has {len(data)} bytes of {listed['bytes']}; copy the folder again"
        )
    if sha256_bytes(data) != listed["sha256"]:
        raise BundleError(f"{place} is damaged: its SHA-256 is not the manifest's; copy the folder again")
    return data


def _manifest_bytes(manifest: dict) -> bytes:
    return (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()


def _digest(manifest: dict) -> str:
    return sha256_bytes(_manifest_bytes({k: v for k, v in manifest.items() if k != "digest"}))


@cache
def _written_by() -> dict:
    about = machine()
    return {"lab": lab.__version__} | {key: about[key] for key in ("torch", "python", "commit")}
