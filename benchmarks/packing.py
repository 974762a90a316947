"""What does attention in a packed row cost as the row holds more documents?

The documents are verses of the King James text as characters, all in one row. Every way gives the same answer,
which is checked. With one dense mask the cost grows with the square of the row's length; with the documents kept
apart it grows with the sum of their squared lengths, so only in proportion to their number. Forward pass
only; the mask is made outside the time that counts. What torch cannot do on this device is listed with its words.

    python benchmarks/packing.py [repeats]
"""

import json
import logging
import math
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

import lab.text as corpora
from lab.bench import Timing, machine, measure_together
from lab.data.masks import documents
from lab.files import write_atomic

NUM_DOCUMENTS = (1, 2, 4, 8, 16, 32)
FITTED_FROM = 4  # fewer documents a row measure the overhead of a call
HEADS, HEAD_WIDTH = 4, 32
BUCKET = 16  # grouped documents are padded to a multiple of this
RESULT = Path(__file__).parent / "results" / "packing.json"

# Shapes: H heads, T tokens of the row, E channels a head, b documents, L their length.


def dense(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """The whole row at once: q, k, v `(H, T, E)` and a mask `(1, 1, T, T)`."""
    return F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask)[0]


def one_by_one(q: Tensor, k: Tensor, v: Tensor, bounds: list[int]) -> Tensor:
    """A causal call for each document."""
    return torch.cat(
        [
            F.scaled_dot_product_attention(*(x[None, :, begin:end] for x in (q, k, v)), is_causal=True)[0]
            for begin, end in pairwise(bounds)
        ],
        dim=1,
    )


def group(bounds: list[int]) -> list[tuple[Tensor, Tensor]]:
    """Documents of like length together: for each group where their tokens stand in the row, and which are real.

    Both `(b, L)`. Past a document's end its last token is repeated: causally nothing real sees the repetition.
    """
    groups = defaultdict(list)
    for begin, end in pairwise(bounds):
        groups[-(-(end - begin) // BUCKET) * BUCKET].append((begin, end))
    found = []
    for length, ends in groups.items():
        begin, end = torch.tensor(ends).T[:, :, None]
        places = begin + torch.arange(length)
        found.append((torch.minimum(places, end - 1), places < end))
    return found


def grouped(q: Tensor, k: Tensor, v: Tensor, groups: list[tuple[Tensor, Tensor]]) -> Tensor:
    """A causal call for each group of documents of like length."""
    mixed = torch.empty_like(q)
    for places, real in groups:
        rows = (x[:, places].transpose(0, 1) for x in (q, k, v))  # (b, H, L, E)
        found = F.scaled_dot_product_attention(*rows, is_causal=True)
        mixed[:, places[real]] = found.transpose(0, 1)[:, real]
    return mixed


def nested(q: Tensor, k: Tensor, v: Tensor, bounds: list[int], is_causal: bool) -> Tensor:
    """torch's nested tensors in their jagged layout, the kind that is developed further."""
    offsets = torch.tensor(bounds, device=q.device)
    jagged = (
        torch.nested.nested_tensor_from_jagged(x.transpose(0, 1).contiguous(), offsets).transpose(1, 2)
        for x in (q, k, v)
    )
    return (
        F.scaled_dot_product_attention(*jagged, is_causal=is_causal).transpose(1, 2).values().transpose(0, 1)
    )


def variable_length(q: Tensor, k: Tensor, v: Tensor, bounds: list[int]) -> Tensor:
    """torch's variable-length attention (FlashAttention)."""
    offsets = torch.tensor(bounds, dtype=torch.int32, device=q.device)
    longest = max(end - begin for begin, end in pairwise(bounds))
    rows = (x.transpose(0, 1).contiguous() for x in (q, k, v))
    return varlen_attn(*rows, offsets, offsets, longest, longest, window_size=(-1, 0)).transpose(0, 1)


def ways(bounds: list[int]) -> dict[str, Callable[[], Tensor]]:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, HEADS, bounds[-1], HEAD_WIDTH, generator=generator)
    document_ids = torch.cat([torch.full((e - b,), n) for n, (b, e) in enumerate(pairwise(bounds))])
    mask, groups = documents(document_ids[None]), group(bounds)
    return {
        "dense mask": lambda: dense(q, k, v, mask),
        "one by one": lambda: one_by_one(q, k, v, bounds),
        "grouped by length": lambda: grouped(q, k, v, groups),
        "torch nested, causal": lambda: nested(q, k, v, bounds, is_causal=True),
        "torch nested, not causal": lambda: nested(q, k, v, bounds, is_causal=False),
        "torch varlen_attn": lambda: variable_length(q, k, v, bounds),
    }


def what_works(bounds: list[int]) -> tuple[set[str], dict[str, str]]:
    """The ways that run on this device and agree with the dense mask, and why the others do not run."""
    working, refused = set(), {}
    every = ways(bounds)
    expected = every["dense mask"]()
    for name, attend in every.items():
        try:
            found = attend()
        except (RuntimeError, NotImplementedError) as error:
            refused[name] = str(error).split(". ")[0].splitlines()[0]
            continue
        if "not causal" not in name:  # sees the future too: twice the work, measured for its growth alone
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        working.add(name)
    return working, refused


def growth(timings: dict[int, Timing], amount: dict[int, int]) -> float:
    """The slope of log time over log amount: 1 means in proportion, 2 means with the square."""
    fitted = [n for n in timings if n >= FITTED_FROM]
    return float(
        np.polyfit(np.log([amount[n] for n in fitted]), np.log([timings[n].median for n in fitted]), 1)[0]
    )


@torch.no_grad()
def main(repeats: int = 7) -> bool:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*nested tensors.*")
    for name in (
        "torch.nested._internal.sdpa",
        "torch.fx._symbolic_trace",
    ):  # what is refused is listed below
        logging.getLogger(name).setLevel(logging.ERROR)
    lengths = [len(line) + 2 for line in corpora.load("kjv").lines[: max(NUM_DOCUMENTS)]]
    rows = {n: [0, *accumulate(lengths[:n])] for n in NUM_DOCUMENTS}
    squares = {n: sum(length**2 for length in lengths[:n]) for n in NUM_DOCUMENTS}
    squared_sum = {n: bounds[-1] ** 2 for n, bounds in rows.items()}
    working, refused = what_works(rows[4])

    timings = defaultdict(dict)
    print(
        f"{'documents':>9} {'tokens':>7} {'sum of squares':>15}", *(f"{way:>24}" for way in sorted(working))
    )
    for n, bounds in rows.items():
        measured = {name: attend for name, attend in ways(bounds).items() if name in working}
        for name, timing in measure_together(measured, repeats=repeats).items():
            timings[name][n] = timing
        milliseconds = (f"{1e3 * timings[name][n].median:21.2f} ms" for name in sorted(working))
        print(f"{n:9} {bounds[-1]:7,} {squares[n]:15,}", *milliseconds)
    for name, reason in refused.items():
        print(f"not on this device: {name}: {reason}")

    # Over the same rows the squared sum grows about twice as steeply as the sum of squares.
    few, many = FITTED_FROM, max(NUM_DOCUMENTS)
    steeper = math.log(squared_sum[many] / squared_sum[few]) / math.log(squares[many] / squares[few])
    slopes = {name: growth(times, squares) for name, times in timings.items()}
    limit = (1 + steeper) / 2
    claims = [
        {
            "claim": f"{name}: time grows with the sum of squared lengths, slope 1, at most {limit:.2f}",
            "measured": slopes[name],
            "met": slopes[name] <= limit,
        }
        for name in ("one by one", "grouped by length")
    ]
    claims.append(
        {
            "claim": f"dense mask: time grows with the squared sum, slope {steeper:.2f}, at least {limit:.2f}",
            "measured": slopes["dense mask"],
            "met": slopes["dense mask"] >= limit,
        }
    )
    for claim in claims:
        print(f"{'met   ' if claim['met'] else 'MISSED'} {claim['claim']}: {claim['measured']:.2f}")
    result = {
        "question": __doc__.splitlines()[0],
        "machine": machine(),
        "corpus": {"name": "kjv", "lengths": lengths},
        "heads": HEADS,
        "head_width": HEAD_WIDTH,
        "sum_of_squares": squares,
        "squared_sum": squared_sum,
        "seconds": {name: {n: t.seconds for n, t in times.items()} for name, times in timings.items()},
        "not_on_this_device": refused,
        "growth_over_sum_of_squares": slopes,
        "claims": claims,
    }
    write_atomic(RESULT, json.dumps(result, indent=1) + "\n")
    return all(claim["met"] for claim in claims)


if __name__ == "__main__":
    sys.exit(0 if main(*map(int, sys.argv[1:])) else 1)
