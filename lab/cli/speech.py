"""`lab transcribe`: what is said in a sound file."""

from itertools import chain
from pathlib import Path
from typing import Literal

import tyro

from lab.cli.errors import errors_told

Method = Literal["ctc", "ctc beam", "attention", "attention beam", "both"]


def transcribe(
    run: tyro.conf.Positional[str],
    sounds: tyro.conf.Positional[tuple[Path, ...]],
    method: Method = "ctc beam",
    beam: int = 12,
    text: str | None = None,
    weight: float = 0.5,
    bonus: float = 0.5,
    csv: Path | None = None,
    capitals: bool = False,
    best: bool = False,
    folder: Path | None = None,
) -> None:
    """Write down what is said in sound files, with a run of `lab train --objective recognition`.

    Args:
        run: its name, or a part of it that no other has (`lab runs` lists them), or its path.
        sounds: WAV or FLAC files of the rate that the run was trained on, filter banks (.npy), or folders of either.
        method: by CTC, its likeliest path or with a beam; by attention, likewise; or both ways together.
        beam: hypotheses that are kept.
        text: a corpus, by name or path, whose language all ways but "ctc" should prefer.
        weight: how much it should.
        bonus: what each token is worth in the search by CTC, in nats: languages prefer short texts.
        csv: a file to write all of it into: `id`, which counts from 0 in the order of the names, and `transcription`.
        capitals: write in capitals, as LibriSpeech's transcripts are.
        best: the checkpoint of the best validation instead of the newest.
        folder: where the runs are; `runs/` of the project if absent.
    """
    with errors_told():
        import pandas as pd

        from lab.files import printable, write_atomic
        from lab.runs import find, load
        from lab.speech import NGramScorer, Reading, transcribe
        from lab.speech.folders import sounds_at

        loaded = load(find(run, folder), best=best)
        if loaded.experiment.objective.name != "recognition":
            raise ValueError(
                f"this run was trained for {loaded.experiment.objective.name}, which hears nothing: "
                "`lab train --objective recognition` trains one that does"
            )
        model, tokenizer = loaded.model, loaded.tokenizer
        scorer = NGramScorer.of_corpus(text, tokenizer) if text else None
        reading = Reading(method, beam=beam, weight=weight if scorer else 0.0, bonus=bonus if scorer else 0.0)
        texts, alone = [], len(sounds) == 1 and not sounds[0].is_dir()
        for name, features in chain.from_iterable(sounds_at(path, model.config.features) for path in sounds):
            (said,) = transcribe(model, tokenizer, [features], reading, scorer)
            texts.append(said.upper() if capitals else said)
            print(texts[-1] if alone else f"{printable(name)}: {texts[-1]}")
        if not texts:
            raise ValueError(
                "there is nothing to listen to: name a WAV or FLAC file after the run, or a folder of them"
            )
        if csv is not None:
            write_atomic(csv, pd.DataFrame({"transcription": texts}).to_csv(index_label="id"))
