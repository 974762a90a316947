"""How many words does a recogniser get wrong that one core trained in a quarter of an hour, and in an hour?

Two materials of KJV, spoken by espeak-ng: easy, clauses of the 300 commonest words; clauses, of any words. All figures
are of texts and voices that training did not hear. How much the language model may say is chosen on the validation
part. Trained through lab.runs, so an interrupted run goes on.

    python benchmarks/speech_recognition.py [--folder runs] [--threads 1] [--only easy]

Writes benchmarks/results/speech_recognition.json, unless `--only` leaves one out.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

from lab import corpora, runs
from lab.baselines import KneserNey
from lab.bench import machine
from lab.files import write_atomic
from lab.runs.recipes import usual_speech
from lab.speech.choosing import choose_weight
from lab.speech.fusion import NGramScorer
from lab.speech.score import ErrorRate, cer, wer
from lab.speech.script import texts
from lab.speech.transcribe import Reading, listen, read

RESULT = Path(__file__).parent / "results" / "speech_recognition.json"
CORPUS, ORDER = "kjv", 8
WEIGHTS, BONUSES = (0.3, 0.5, 0.7, 0.9), (0.0, 0.5, 1.0, 1.5)
# material -> figure -> (asked, goal)
ASKED = {
    "easy": {
        "CTC, best path: CER": (0.08, 0.04),
        "attention, greedy: WER": (0.14, 0.07),
        "with language model: WER": (0.08, 0.04),
    },
    "clauses": {"CTC, best path: CER": (0.12, 0.07), "with language model: WER": (0.18, 0.09)},
}


@dataclass(frozen=True)
class Settings:
    """Where the runs are kept, by how many threads they are trained, and whether one material is left out."""

    folder: Path | None = None
    threads: int = 1
    only: Literal["easy", "clauses"] | None = None


def measure(material: str, folder: Path | None) -> dict:
    """Train, choose the weights on validation utterances, and read the test part in all ways."""
    plan = usual_speech(material, CORPUS)
    run = runs.get_or_train(plan, folder, name=f"speech-{material}")
    prepared = runs.prepare(run.experiment)
    model, tokenizer, speech = run.model.eval(), run.tokenizer, prepared.speech
    said = texts(run.experiment.objective.material, corpora.load(CORPUS)).train
    scorer = NGramScorer(KneserNey(said, order=ORDER), tokenizer)
    tried = {}
    for method in ("ctc beam", "both"):
        tried[method] = choose_weight(
            model,
            tokenizer,
            speech.validation,
            scorer,
            Reading(method, beam=16),
            weights=WEIGHTS,
            bonuses=BONUSES,
        )
        print(f"{material}, {method}, validation: {tried[method][0]}", flush=True)
    best = min((found[0] for found in tried.values()), key=lambda one: (one.wer, one.cer)).reading
    ways = {
        "CTC, best path": (Reading("ctc"), None),
        "CTC, beam": (Reading("ctc beam"), None),
        "CTC, beam and language model": (tried["ctc beam"][0].reading, scorer),
        "attention, greedy": (Reading("attention"), None),
        "attention, beam": (Reading("attention beam", beam=8), None),
        "both, and language model": (tried["both"][0].reading, scorer),
        "with language model": (best, scorer),
    }
    heards = listen(model, [one.features for one in speech.test])
    spoken, rates, read_so = [one.text for one in speech.test], {}, {}
    for name, (reading, asked) in ways.items():
        found = [tokenizer.decode(read(model, heard, tokenizer, reading, asked)) for heard in heards]
        rates[name], read_so[name] = {"CER": cer(spoken, found), "WER": wer(spoken, found)}, found
        print(f"{material}, {name}: CER {rates[name]['CER']}; WER {rates[name]['WER']}", flush=True)
    shown = range(0, len(spoken), max(1, len(spoken) // 8))
    return {
        "rates": {name: {unit: asdict(rate) for unit, rate in both.items()} for name, both in rates.items()},
        "claims": claims(material, rates),
        "chosen": {method: asdict(found[0].reading) for method, found in tried.items()},
        "sentences": [
            {"said": spoken[n], **{name: found[n] for name, found in read_so.items()}} for n in shown
        ],
        "language_model": f"Kneser-Ney, {ORDER} characters, {len(said):,} training texts",
        "utterances": {part: len(utterances) for part, utterances in speech.parts.items()},
        "notes": dict(speech.notes),
        "steps": run.training_state.step,
        "training_seconds": run.training_state.seconds,
        "parameters": model.num_parameters,
        "experiment": run.experiment.to_json(),
    }


def claims(material: str, rates: dict[str, dict[str, ErrorRate]]) -> list[dict]:
    """What was asked for, and what came of it."""
    found = []
    for name, (asked, goal) in ASKED[material].items():
        way, unit = name.split(": ")
        value = rates[way][unit].rate
        claim = f"{material}, {name}: at most {asked:.0%}, {goal:.0%} is the goal"
        found.append(
            {
                "claim": claim,
                "measured": value,
                "asked": asked,
                "met": value <= asked,
                "goal_met": value <= goal,
            }
        )
        print(f"{'met   ' if value <= asked else 'MISSED'} {claim}: {100 * value:.1f} %", flush=True)
    return found


def main(settings: Settings) -> bool:
    torch.set_num_threads(settings.threads)
    chosen = [material for material in ASKED if settings.only in (None, material)]
    materials = {material: measure(material, settings.folder) for material in chosen}
    if settings.only is None:
        result = {
            "question": __doc__.splitlines()[0],
            "corpus": CORPUS,
            "machine": machine(),
            "materials": materials,
        }
        write_atomic(RESULT, json.dumps(result, indent=1) + "\n")
    return all(claim["met"] for found in materials.values() for claim in found["claims"])


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, description=__doc__)) else 1)
