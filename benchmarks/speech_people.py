"""Does a recogniser that has only ever heard a synthesiser understand people?

Trained on clauses of KJV that espeak-ng speaks in 42 voices and 4 accents, with the features of the real sample
(LibriSpeech, `hw4_subset` in LAB_MIRROR or data/): 16 kHz, decibels below the loudest place. Then read, by CTC's best
path: synthetic clauses and voices that training did not hear, and the real sample, two readers, all of it.

    python benchmarks/speech_people.py [--steps 4000] [--folder runs] [--threads 1]

Writes benchmarks/results/speech_people.json.
"""

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import tyro

from lab import runs
from lab.bench import machine
from lab.files import write_atomic
from lab.speech import cer, folder_corpus, sample_folder, transcribe, usual_speech, wer
from lab.speech.folders import SAMPLE_SPEC

RESULT = Path(__file__).parent / "results" / "speech_people.json"
CORPUS, UTTERANCES = "kjv", 16_000


@dataclass(frozen=True)
class Settings:
    """How long, where the run is kept, and by how many threads it is trained."""

    steps: int = 4000
    folder: Path | None = None
    threads: int = 1


def experiment(steps: int) -> runs.Experiment:
    small, usual = usual_speech("easy"), usual_speech("clauses", CORPUS)
    script = replace(usual.objective.script, train=UTTERANCES, features=SAMPLE_SPEC)
    return replace(
        usual,
        model=small.model,
        training=replace(usual.training, steps=steps),
        objective=replace(usual.objective, script=script),
    )


def main(settings: Settings) -> bool:
    torch.set_num_threads(settings.threads)
    if (folder := sample_folder()) is None:
        raise SystemExit("no real sample at hand: LAB_MIRROR must name a folder with hw4_subset in it")
    run = runs.get_or_train(experiment(settings.steps), settings.folder, name="speech-for-people")
    people, synthetic = folder_corpus(folder), run.experiment.objective.material(run.experiment).speech
    spoken = {
        "synthesiser, held out": synthetic.test,
        "people, reading": (*people.train, *people.validation),
    }
    rows = {}
    for name, utterances in spoken.items():
        said = [one.text for one in utterances]
        found = transcribe(run.model.eval(), run.tokenizer, [one.features for one in utterances])
        rates = {"CER": cer(said, found), "WER": wer(said, found)}
        rows[name] = {unit: asdict(rate) for unit, rate in rates.items()} | {"utterances": len(utterances)}
        print(f"{name}: CER {rates['CER']}; WER {rates['WER']}\n  {said[-1]}\n  {found[-1]}", flush=True)
    result = {
        "question": __doc__.splitlines()[0],
        "corpus": CORPUS,
        "machine": machine(),
        "rows": rows,
        "steps": run.state.step,
        "training_seconds": run.state.seconds,
        "parameters": run.model.num_parameters,
        "experiment": run.experiment.to_json(),
    }
    write_atomic(RESULT, json.dumps(result, indent=1) + "\n")
    return True


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, description=__doc__)) else 1)
