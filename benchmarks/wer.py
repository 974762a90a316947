"""How long does it take to score one transcript, beside jiwer and beside the edit distance as it is read in the lesson?

One pair of texts of so many words, one in five misheard, in one process and in turn, so that a busy spell hits all;
compare ratios. "characters" is the character error rate, "shown" the alignment written out, word by word.

    python benchmarks/wer.py [repeats]

Writes benchmarks/results/wer.json.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import jiwer
import numpy as np

from lab.bench import Timing, machine, measure_together
from lab.files import write_atomic
from lab.speech import cer, show_alignment, wer
from lab.speech.scores import edit_distance

RESULT = Path(__file__).parent / "results" / "wer.json"
WORDS = (400, 4000, 9000)  # a minute or two, a talk, a lecture
KNOWN = 3000  # different words


def lecture(words: int, seed: int = 0) -> tuple[str, str]:
    """What was said, and what was heard: a tenth of the words left out, a tenth of the others replaced."""
    random = np.random.default_rng(seed)
    spoken = np.array(["".join(map(chr, random.integers(97, 123, 1 + n % 9))) for n in range(KNOWN)])
    said = random.choice(spoken, words)
    heard = said[random.random(words) > 0.1]
    replaced = random.random(len(heard)) < 0.1
    heard[replaced] = random.choice(spoken, replaced.sum())
    return " ".join(said), " ".join(heard)


def tasks(said: str, heard: str) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    return {
        "words": lambda: wer([said], [heard]),
        "words, jiwer": lambda: jiwer.process_words(said, heard),
        "words, as read": lambda: edit_distance(said.split(), heard.split()),
        "characters": lambda: cer([said], [heard]),
        "characters, jiwer": lambda: jiwer.process_characters(said, heard),
        "shown": lambda: show_alignment(said, heard),
    }


def same(said: str, heard: str) -> None:
    """All count the same edits."""
    ours, theirs = wer([said], [heard]), jiwer.process_words(said, heard)
    assert (ours.substitutions, ours.deletions, ours.insertions) == (
        theirs.substitutions, theirs.deletions, theirs.insertions,
    )  # fmt: skip
    assert edit_distance(said.split(), heard.split()) == round(ours.rate * ours.length)


def main(repeats: int = 5) -> bool:
    measured: dict[int, dict[str, Timing]] = {}
    print(f"{'words':>6} {'task':18} {'median s':>9} {'quartiles s':>19} {'time / lab':>11}")
    for words in WORDS:
        pair = lecture(words)
        same(*pair)
        measured[words] = times = measure_together(tasks(*pair), repeats=repeats, warmup=0)
        for task, timing in times.items():
            low, high = timing.spread
            ratio = timing.median / times[task.split(",")[0]].median
            print(
                f"{words:6,} {task:18} {timing.median:9.4f} {low:9.4f} {high:9.4f} {ratio:11.2f}", flush=True
            )
    lecture_times = measured[max(WORDS)]
    both = sum(lecture_times[task].median for task in ("words", "characters", "shown"))
    beside = lecture_times["words"].median / lecture_times["words, jiwer"].median
    claims = [
        {
            "claim": f"{max(WORDS):,} words scored both ways and shown, seconds < 1",
            "measured": both,
            "met": both < 1,
        },
        {"claim": "time for words / jiwer's <= 2", "measured": beside, "met": beside <= 2},
    ]
    for claim in claims:
        print(f"{'met   ' if claim['met'] else 'MISSED'} {claim['claim']}: {claim['measured']:.2f}")
    seconds = {
        words: {task: timing.seconds for task, timing in times.items()} for words, times in measured.items()
    }
    result = {"question": __doc__.splitlines()[0], "machine": machine(), "seconds": seconds, "claims": claims}
    write_atomic(RESULT, json.dumps(result, indent=1) + "\n")
    return all(claim["met"] for claim in claims)


if __name__ == "__main__":
    sys.exit(0 if main(*map(int, sys.argv[1:])) else 1)
