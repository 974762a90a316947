"""What was wrong with the character encoder that looked stuck, one cause at a time: predicted, then measured.

KJV lines. The recorded run, the corrected one, and every change of one flag from either are trained on the same lines
with the same masks and measured on the same lines held out.

    python benchmarks/char_encoder_autopsy.py [--quick] [--size small|full] [--seeds 0 1 2] [--steps N] [--device cuda]

One JSON row a variant and seed in benchmarks/results/char_encoder_autopsy_SIZE.json, written as soon as it is done; run
again, it goes on with those that are missing. `--quick` shows in a minute that everything runs and writes nothing.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from autopsy import SIZES, Curve, levels, rehearse, table, variants

import lab.text
from lab.bench import machine
from lab.config import from_json, to_json
from lab.files import write_atomic
from lab.text import CharTokenizer

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Settings:
    """What is run. `steps`: micro-batches, by default those of the size; `only`: these variants."""

    size: Literal["small", "full"] = "small"
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int | None = None
    only: tuple[str, ...] = ()
    quick: bool = False
    device: str = "cpu"
    threads: int = 1


def read(path: Path) -> list[dict]:
    """The rows there are."""
    return json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []


def write(path: Path, about: dict, rows: list[dict]) -> None:
    """All rows so far, one a line."""
    head = json.dumps(about, indent=1).removesuffix("\n}")
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    write_atomic(path, f'{head},\n "runs": [\n{lines}\n ]\n}}\n')


def main(settings: Settings) -> None:
    torch.set_num_threads(settings.threads)
    size = SIZES["smoke" if settings.quick else settings.size]
    size = replace(size, steps=settings.steps or size.steps)
    seeds = settings.seeds[:1] if settings.quick else settings.seeds
    chosen = {name: variants()[name] for name in settings.only or variants()}
    corpus = lab.text.load("kjv")
    splits = corpus.splits(seed=0)
    tokenizer = CharTokenizer.train(splits.train)
    lines = splits.train[: size.steps * size.batch_size]  # more would be encoded and not read
    known = levels(tokenizer, splits.train, size)

    about = {
        "question": __doc__.splitlines()[0],
        "corpus": {"name": corpus.name, "sha256": corpus.sha256},
        "levels": asdict(known),
    }
    path = RESULTS / f"char_encoder_autopsy_{settings.size}.json"
    rows = [] if settings.quick else read(path)
    done = {(row["variant"], row["curve"]["seed"]) for row in rows if row["size"] == to_json(size)}
    for seed in seeds:
        for name, faults in chosen.items():
            if (name, seed) in done:
                continue
            curve = rehearse(
                faults, size, lines, tokenizer, seed=seed, held_out=splits.test, device=settings.device
            )
            print(
                f"{name:36} seed {seed}: {curve.seconds:6.1f} s, MLM {curve.held_out.mlm:.3f}, "
                f"CLM {curve.held_out.clm:.3f}, reconstruction {curve.held_out.reconstruction:.3f}",
                flush=True,
            )
            row = {"variant": name, "faults": to_json(faults), "size": to_json(size), "curve": to_json(curve)}
            rows.append(row | {"machine": machine()})
            if not settings.quick:
                write(path, about, rows)

    runs = {
        (row["variant"], row["curve"]["seed"]): from_json(Curve, row["curve"])
        for row in rows
        if row["size"] == to_json(size)
    }
    found = table(runs, known)
    print(found.drop(columns="why").to_string(index=False, float_format="{:.3f}".format))
    if settings.quick:
        print("everything runs; no figure is judged and nothing written: --quick")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
