"""How fast are batches of sliding windows beside the plain way, and how much memory do they hold?

The plain way is a torch Dataset that slices one window at a time, in a DataLoader with its default collation.
Both walk the King James text as characters in shuffled order, in one process, in turn; compare ratios.

    python benchmarks/windows.py [repeats]
"""

import json
import sys
import tracemalloc
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

import lab.text as corpora
from lab.bench import Timing, machine, measure_together
from lab.data import POLICIES, LineWindows, join_lines
from lab.data.batch import IGNORE
from lab.files import write_atomic
from lab.text import CharTokenizer

CONTEXT, BATCH_SIZE, BATCHES = 256, 64, 32  # a repeat is this many batches
SPEED_LIMIT, SPEED_GOAL = 8, 20
RESULT = Path(__file__).parent / "results" / "windows.json"


class PlainWindows(Dataset):
    """One window at a time: find the line, slice, pad. Ids are int64 already, which spares a conversion."""

    def __init__(self, lines: list[list[int]], policy: str):
        self.policy, self.stream = policy, join_lines(lines)
        lines = [self.stream] if policy == "continuous" else list(map(torch.tensor, lines))
        self.lines, self.first, self.until = lines, [], [0]
        for line in lines:
            first, last = POLICIES[policy](len(line) - 1, CONTEXT)
            self.first.append(int(first))
            self.until.append(self.until[-1] + int(last - first) + 1)

    def __len__(self) -> int:
        return self.until[-1]

    def __getitem__(self, index: int):
        n = bisect_right(self.until, index) - 1
        line, start = self.lines[n], self.first[n] + index - self.until[n]
        begin, end = max(start, 0), min(start + CONTEXT, len(line) - 1)
        x, y = line[begin:end], line[begin + 1 : end + 1]
        if end - begin == CONTEXT:
            return x, y
        pad = (begin - start, start + CONTEXT - end)
        return F.pad(x, pad), F.pad(y, pad, value=IGNORE)


def ways(lines: list[list[int]], policy: str) -> dict[str, Iterator]:
    """Endless enough batches of the same windows, three ways."""
    windows, generator = LineWindows(lines, CONTEXT, policy), torch.Generator().manual_seed(0)
    plain = PlainWindows(lines, policy)
    for index in range(0, len(windows), len(windows) // 50):  # the same work is compared
        assert all(map(torch.equal, windows[index], plain[index])), (policy, index)
    return {
        "plain DataLoader": iter(DataLoader(plain, BATCH_SIZE, shuffle=True, generator=generator)),
        "DataLoader of LineWindows": iter(DataLoader(windows, BATCH_SIZE, shuffle=True, generator=generator)),
        "LineWindows.loader": iter(windows.loader(BATCH_SIZE, shuffle=True, generator=generator)),
    }


def measure_speed(lines: list[list[int]], policy: str, repeats: int) -> dict[str, Timing]:
    """Seconds for `BATCHES` batches; drawing the order falls into the first, which does not count."""

    def walk(batches: Iterator):
        return lambda: sum(1 for _ in islice(batches, BATCHES))

    walks = {name: walk(batches) for name, batches in ways(lines, policy).items()}
    return measure_together(walks, repeats=repeats)


def measure_memory(lines: list[list[int]]) -> dict[str, float]:
    """Bytes that stay allocated for the windows, and at most while ten batches are made."""
    tracemalloc.start()
    windows = LineWindows(lines, CONTEXT, "slide_through")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    for _ in islice(windows.loader(BATCH_SIZE, shuffle=True, generator=torch.Generator().manual_seed(0)), 10):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "held": held,
        "peak_while_batching": peak,
        "limit": 1.2 * windows.ids.nbytes + 16 * (len(windows.offsets) - 1),
        "ids": windows.ids.nbytes,
        "every_window_stored": len(windows) * CONTEXT * 2 * 8,
    }


def main(repeats: int = 9) -> bool:
    torch.set_num_threads(1)
    text = corpora.load("kjv").lines
    lines = CharTokenizer.train(text).encode_lines(text)
    memory = measure_memory(lines)
    timings = {policy: measure_speed(lines, policy, repeats) for policy in POLICIES}

    print(f"{'policy':14} {'way':26} {'ms a batch':>10} {'quartiles':>15} {'times faster':>13}")
    ratios = {}
    for policy, times in timings.items():
        plain = times["plain DataLoader"].median
        ratios[policy] = plain / times["LineWindows.loader"].median
        for way, timing in times.items():
            low, high = (1e3 * seconds / BATCHES for seconds in timing.spread)
            print(
                f"{policy:14} {way:26} {1e3 * timing.median / BATCHES:10.3f} {low:7.3f} {high:7.3f} "
                f"{plain / timing.median:13.1f}"
            )
    print("MB:", {name: round(value / 1e6, 2) for name, value in memory.items()})
    claims = [
        {
            "claim": f"{policy}: at least {SPEED_LIMIT} times the plain way, {SPEED_GOAL} is the goal",
            "measured": ratio,
            "met": ratio >= SPEED_LIMIT,
            "goal_met": ratio >= SPEED_GOAL,
        }
        for policy, ratio in ratios.items()
    ]
    claims.append(
        {
            "claim": "bytes held: at most 1.2 times the ids and 16 a line",
            "measured": memory["held"],
            "met": memory["held"] <= memory["limit"],
        }
    )
    for claim in claims:
        print(f"{'met   ' if claim['met'] else 'MISSED'} {claim['claim']}: {claim['measured']:,.1f}")
    result = {
        "question": __doc__.splitlines()[0],
        "machine": machine(),
        "corpus": {"name": "kjv", "lines": len(lines), "tokens": sum(map(len, lines))},
        "context": CONTEXT,
        "batch_size": BATCH_SIZE,
        "batches_a_repeat": BATCHES,
        "seconds": {p: {way: t.seconds for way, t in times.items()} for p, times in timings.items()},
        "bytes": memory,
        "claims": claims,
    }
    write_atomic(RESULT, json.dumps(result, indent=1) + "\n")
    return all(claim["met"] for claim in claims)


if __name__ == "__main__":
    sys.exit(0 if main(*map(int, sys.argv[1:])) else 1)
