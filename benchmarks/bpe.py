"""How fast does this project's BPE train and encode beside tokenizers, tiktoken and rustbpe?

All run on the King James text in one process, in turn, so that a busy spell of the machine hits all of
them; compare ratios. Encoding starts from a cold cache: every repeat has a tokenizer that has seen nothing.

    python benchmarks/bpe.py [repeats]
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import rustbpe
import tiktoken
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

import lab.text as corpora
from lab.bench import Timing, machine, measure_together
from lab.files import write_atomic
from lab.text import SPECIAL_TOKENS, BPETokenizer, from_json, to_huggingface, to_tiktoken
from lab.text.pretokens import PATTERNS

VOCAB_SIZE = 10_000
RESULT = Path(__file__).parent / "results" / "bpe.json"
# As tiktoken writes it for cl100k_base, which is its fastest form.
TIKTOKEN_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
# What is asked for: the ratio of two medians, and whether it is to be at most or at least the limit.
CLAIMS = (
    ("training time / tokenizers", ("train", "lab", "tokenizers"), "<=", 1.0),
    ("training time / rustbpe", ("train", "lab", "rustbpe"), "<=", 4.0),
    ("encoding speed / tokenizers", ("encode", "tokenizers", "lab"), ">=", 8.0),
    ("encoding speed / tiktoken", ("encode", "tiktoken", "lab"), ">=", 0.5),
)
MEMORY_LIMIT_MB = 400
PEAK_MEMORY = """
import pathlib, psutil, sys
from lab.text import BPETokenizer
with open(sys.argv[1], encoding="utf-8") as file:
    BPETokenizer.train(file.read().splitlines(), int(sys.argv[2]))
status = pathlib.Path("/proc/self/status")
if status.exists():  # getrusage would count what the parent held before this program replaced its copy
    print(next(int(line.split()[1]) / 2**10 for line in status.open(encoding="utf-8") if line.startswith("VmHWM")))
elif sys.platform == "win32":
    print(psutil.Process().memory_info().peak_wset / 2**20)
else:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
"""


def train_tokenizers(lines: list[str]) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(tokenizers.Regex(PATTERNS["gpt4"]), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def measure_training(lines: list[str], repeats: int) -> dict[str, Timing]:
    merges = VOCAB_SIZE - len(SPECIAL_TOKENS) - 256
    return measure_together(
        {
            "lab": lambda: BPETokenizer.train(lines, VOCAB_SIZE),
            "tokenizers": lambda: train_tokenizers(lines),
            "rustbpe": lambda: rustbpe.Tokenizer().train_from_iterator(lines, vocab_size=256 + merges),
        },
        repeats=repeats,
    )


def measure_encoding(tokenizer: BPETokenizer, text: str, repeats: int) -> dict[str, Timing]:
    """Seconds to a list of ids; each repeat makes its tokenizer anew, outside the time that counts."""
    ours, theirs = tokenizer.to_json(), to_huggingface(tokenizer)
    encoding = tiktoken.Encoding(
        "kjv", pat_str=TIKTOKEN_PATTERN, mergeable_ranks=to_tiktoken(tokenizer), special_tokens={}
    )

    def make_theirs():
        fresh = tokenizers.Tokenizer.from_str(theirs)
        return lambda text: fresh.encode(text).ids

    makers = {
        "lab": lambda: from_json(ours).encode,
        "tokenizers": make_theirs,
        "tiktoken": lambda: encoding.encode_ordinary,  # it remembers nothing between calls
    }
    expected = tokenizer.encode(text)
    seconds = {name: [] for name in makers}
    for turn in range(1 + repeats):  # the first warms up
        for name, make in makers.items():
            encode = make()
            start = time.perf_counter()
            ids = encode(text)
            elapsed = time.perf_counter() - start
            assert ids == expected, name
            if turn:
                seconds[name].append(elapsed)
    return {name: Timing(tuple(times)) for name, times in seconds.items()}


def peak_training_memory_mb(text: str) -> float:
    """MiB that a fresh process held at most while it read the text and trained."""
    path = RESULT.parent / "kjv.txt.part"
    write_atomic(path, text)
    try:
        command = [sys.executable, "-c", PEAK_MEMORY, str(path), str(VOCAB_SIZE)]
        return float(subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout)
    finally:
        path.unlink()


def main(repeats: int = 5) -> bool:
    lines = corpora.load("kjv").lines
    text = "\n".join(lines)
    megabytes = len(text.encode()) / 1e6
    timings = {
        "train": measure_training(lines, repeats),
        "encode": measure_encoding(BPETokenizer.train(lines, VOCAB_SIZE), text, repeats),
    }
    memory = peak_training_memory_mb(text)

    print(f"{'task':8} {'library':12} {'median s':>9} {'quartiles s':>17} {'MB/s':>7} {'time / lab':>11}")
    for task, times in timings.items():
        for library, timing in times.items():
            low, high = timing.spread
            print(
                f"{task:8} {library:12} {timing.median:9.3f} {low:8.3f} {high:8.3f} "
                f"{megabytes / timing.median:7.1f} {timing.median / times['lab'].median:11.2f}"
            )
    claims = [
        {
            "claim": f"{name} {sign} {limit}",
            "measured": (ratio := timings[task][top].median / timings[task][bottom].median),
            "met": ratio <= limit if sign == "<=" else ratio >= limit,
        }
        for name, (task, top, bottom), sign, limit in CLAIMS
    ]
    claims.append(
        {
            "claim": f"peak training memory <= {MEMORY_LIMIT_MB} MiB",
            "measured": memory,
            "met": memory <= MEMORY_LIMIT_MB,
        }
    )
    for claim in claims:
        print(f"{'met   ' if claim['met'] else 'MISSED'} {claim['claim']}: {claim['measured']:.2f}")
    result = {
        "question": __doc__.splitlines()[0],
        "machine": machine(),
        "corpus": {"name": "kjv", "bytes": len(text.encode())},
        "vocab_size": VOCAB_SIZE,
        "seconds": {task: {lib: t.seconds for lib, t in times.items()} for task, times in timings.items()},
        "claims": claims,
    }
    write_atomic(RESULT, json.dumps(result, indent=1) + "\n")
    return all(claim["met"] for claim in claims)


if __name__ == "__main__":
    sys.exit(0 if main(*map(int, sys.argv[1:])) else 1)
