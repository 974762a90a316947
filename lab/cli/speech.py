"""`lab transcribe`: what is said in a sound file."""

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
    best: bool = False,
    folder: Path | None = None,
) -> None:
    """Write down what is said in sound files, with a run of `lab train --objective recognition`.

    Args:
        run: its name, or a part of it that no other has (`lab runs` lists them), or its path.
        sounds: WAV or FLAC files of the rate that the run was trained on.
        method: by CTC, its likeliest path or with a beam; by attention, likewise; or both ways together.
        beam: hypotheses that are kept.
        text: a corpus, by name or path, whose language all ways but "ctc" should prefer.
        weight: how much it should.
        bonus: what each token is worth in the search by CTC, in nats: languages prefer short texts.
        best: the checkpoint of the best validation instead of the newest.
        folder: where the runs are; `runs/` of the project if absent.
    """
    with errors_told():
        from lab.files import printable
        from lab.runs import find, load
        from lab.speech import NGramScorer, Reading, log_mel, read_audio, transcribe

        if not sounds:
            raise ValueError("there is nothing to listen to: name a WAV or FLAC file after the run")
        loaded = load(find(run, folder), best=best)
        if loaded.experiment.objective.name != "recognition":
            raise ValueError(
                f"this run was trained for {loaded.experiment.objective.name}, which hears nothing: "
                "`lab train --objective recognition` trains one that does"
            )
        model, tokenizer = loaded.model, loaded.tokenizer
        scorer = NGramScorer.of_corpus(text, tokenizer) if text else None
        reading = Reading(method, beam=beam, weight=weight if scorer else 0.0, bonus=bonus if scorer else 0.0)
        for path in sounds:
            features = log_mel(read_audio(path), model.config.features)
            (said,) = transcribe(model, tokenizer, [features], reading, scorer)
            print(f"{printable(path.name)}: {said}" if len(sounds) > 1 else said)
