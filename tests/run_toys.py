"""What the tests of runs share: a text of few words, training that says nothing, and the bits of what was trained."""

import multiprocessing
import sys

import torch

from lab import runs

# Where a process can be forked without harm, it need not import torch once more.
PROCESSES = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


def made_text(folder, name: str, words: str, lengths: tuple[int, int], lines: int) -> str:
    """The path of a file of random lines with `lengths` of so many words, each end included."""
    words, generator = words.split(), torch.Generator().manual_seed(1)
    counts = torch.randint(lengths[0], lengths[1] + 1, (lines,), generator=generator).tolist()
    drawn = [torch.randint(len(words), (n,), generator=generator).tolist() for n in counts]
    path = folder / name
    path.write_text("\n".join(" ".join(words[i] for i in line) for line in drawn))
    return str(path)


def quiet(experiment, folder, **more) -> runs.Run:
    return runs.get_or_train(experiment, folder, progress=False, say=lambda _: None, **more)


def told(experiment, folder, **more) -> list[str]:
    """What training, or loading, says."""
    said = []
    runs.get_or_train(experiment, folder, progress=False, say=said.append, **more)
    return said


def weights(run: runs.Run) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])
