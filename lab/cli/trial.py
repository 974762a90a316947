"""`lab trial`: is an idea better than what there is?"""

from pathlib import Path

import tyro

from lab.cli.project import ROOT


def trial(
    idea: tyro.conf.Positional[Path],
    corpus: str | None = None,
    minutes: float = 30.0,
    keep: bool = False,
    workers: int | None = None,
    folder: Path | None = None,
) -> None:
    """Try an idea against its baseline: in pairs of seeds, for equal tokens, equal seconds and equal parameters.

    The file defines idea(baseline), and baseline() where the usual model is not what the idea has to beat; both return
    an Experiment. Ctrl-C saves, and the same command goes on. trials/ holds examples.

    Args:
        idea: the Python file.
        corpus: the text, by name or path; the baseline's own if absent.
        minutes: how long it may take; 5 are a first look.
        keep: add a row to TRIALS.md.
        workers: processes of one thread each, as many as there are cores if absent; 0: all in this process.
        folder: where the runs are; `runs/` of the project if absent.
    """
    from lab import trial as referee

    found = referee.trial(idea, corpus, minutes=minutes, workers=workers, folder=folder)
    print(f"\n{found}\n\npage: {referee.write_page(found, ROOT / 'build' / 'trials')}")
    if keep:
        print(f"kept in {referee.keep(found, ROOT / 'TRIALS.md')}")
