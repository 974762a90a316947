"""What does writing a text cost with lab.decode, beside transformers' generate on the same weights?

256 new tokens after a prompt of 64, for one text and for sixteen: greedy, by chance, and with four beams. The models
are GPT-2s that transformers makes and lab.nn.interop imports; its cache is on. The sides run in one process, in turn,
and where chance has no part they must first write the same texts. A ratio is the median over turns of the ratio within
a turn, so that a busy spell hits both. Part "growth": one text by lab.decode, token by token, from a prompt of one
token to the end of the window.

    python benchmarks/decoding.py [--quick] [--threads 2]

`--quick` shows in a minute that everything runs, and writes no result. On a busy machine more threads than free cores
wait for each other: `--threads 1` keeps the ratios honest.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
import tyro
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from lab.bench import Timing, machine, measure_together
from lab.decode.beam import n_best
from lab.decode.search import BeamSearch, Sampling, generate, generate_batch
from lab.files import write_atomic
from lab.nn.interop import from_transformers
from lab.nn.transformer import DecoderOnlyTransformer

Times = dict[str, Timing]

VOCAB_SIZE, PROMPT = 1000, 64
TEMPERATURE, BEAMS = 0.8, 4
RESULT = Path(__file__).parent / "results" / "decoding.json"


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    sizes: tuple[tuple[int, int, int], ...] = ((128, 4, 4), (384, 5, 6))  # width, layers, heads: 1 M and 10 M
    rows: tuple[int, ...] = (1, 16)
    new_tokens: int = 256
    repeats: int = 5


QUICK = Plan(((128, 4, 4),), (1, 2), new_tokens=16, repeats=2)


@dataclass(frozen=True)
class Claim:
    """In every case of `part` whose name begins with `size`, transformers takes at least so many times as long."""

    part: str
    size: str
    at_least: float


CLAIMS = (
    Claim("greedy", "1.0 M", 3.0),
    Claim("sampling", "1.0 M", 3.0),
    Claim("beams", "1.0 M", 2.0),
    Claim("greedy", "9.4 M", 1.5),
    Claim("sampling", "9.4 M", 1.5),
    Claim("beams", "9.4 M", 1.5),
)
FLAT = 1.5  # the last quarter of the window may cost so many times what the second does

# Shapes: B rows, T tokens.


def gpt2(width: int, layers: int, heads: int, positions: int) -> GPT2LMHeadModel:
    """A GPT-2 with random weights, the same at every call, that takes no token for the end."""
    torch.manual_seed(0)
    sizes = dict(n_embd=width, n_layer=layers, n_head=heads, vocab_size=VOCAB_SIZE, n_positions=positions)
    config = GPT2Config(**sizes, bos_token_id=None, eos_token_id=None, attn_implementation="sdpa")
    return GPT2LMHeadModel(config).eval()


def ours(model: DecoderOnlyTransformer, prompts: Tensor, n: int, part: str) -> Tensor:
    """The new tokens `(B, n)`."""
    if part == "beams":
        found = n_best(model, prompts, BeamSearch(BEAMS), max_new_tokens=n)
        return torch.tensor([hypotheses[0].tokens for hypotheses in found])
    strategy = Sampling(temperature=0 if part == "greedy" else TEMPERATURE)
    generator = torch.Generator().manual_seed(0)
    steps = generate_batch(model, prompts, strategy, max_new_tokens=n, generator=generator)
    return torch.tensor([[drawn.token for drawn in step] for step in steps]).T


def theirs(model: GPT2LMHeadModel, prompts: Tensor, n: int, part: str) -> Tensor:
    """The new tokens `(B, n)`."""
    ways = {
        "greedy": dict(do_sample=False),
        "sampling": dict(do_sample=True, temperature=TEMPERATURE, top_k=0),
        "beams": dict(do_sample=False, num_beams=BEAMS),
    }
    mask = torch.ones_like(prompts)
    found = model.generate(
        prompts, attention_mask=mask, use_cache=True, min_new_tokens=n, max_new_tokens=n, **ways[part]
    )
    return found[:, prompts.shape[1] :]


def measure_part(part: str, plan: Plan) -> dict[str, Times]:
    cases, n = {}, plan.new_tokens
    for size in plan.sizes:
        model = gpt2(*size, positions=PROMPT + n)
        imported = from_transformers(model)
        for B in plan.rows:
            prompts = torch.randint(VOCAB_SIZE, (B, PROMPT), generator=torch.Generator().manual_seed(1))
            sides: dict[str, Callable[[], Tensor]] = {
                "lab": lambda m=imported, p=prompts: ours(m, p, n, part),
                "transformers": lambda m=model, p=prompts: theirs(m, p, n, part),
            }
            texts = {name: write() for name, write in sides.items()}
            assert texts["lab"].shape == texts["transformers"].shape == (B, n)
            assert part == "sampling" or torch.equal(*texts.values()), f"{part}: the texts differ"
            case = f"{imported.num_parameters / 1e6:.1f} M parameters, {B} rows, {n} tokens"
            cases[case] = show(case, measure_together(sides, repeats=plan.repeats, warmup=0))
    return cases


def measure_growth(plan: Plan) -> dict[str, list[float]]:
    """Seconds a token in each quarter of the window, the median over repeats."""
    quarters = {}
    for size in plan.sizes:
        model = from_transformers(gpt2(*size, positions=PROMPT + plan.new_tokens))
        context = model.config.context
        runs = []
        for _ in range(plan.repeats):
            steps = generate(model, [0], Sampling(temperature=0), max_new_tokens=context, num_alternatives=0)
            clock = [time.perf_counter() for _ in steps]
            seconds = [after - before for before, after in pairwise(clock)]
            part = len(seconds) // 4
            runs.append([median(seconds[q * part : (q + 1) * part]) for q in range(4)])
        case = f"{model.num_parameters / 1e6:.1f} M parameters, window of {context}"
        quarters[case] = [median(run[q] for run in runs) for q in range(4)]
        print(f"  {case}: " + ", ".join(f"{1e3 * s:.3f} ms" for s in quarters[case]), flush=True)
    return quarters


def show(case: str, times: Times) -> Times:
    print(f"  {case}: transformers takes {ratio(times):.2f} times as long", flush=True)
    for name, timing in times.items():
        low, high = (1e3 * s for s in timing.spread)
        print(f"    {name:14} {1e3 * timing.median:10.1f} ms   {low:10.1f} to {high:10.1f}", flush=True)
    return times


def ratio(times: Times) -> float:
    """How many times as long as ours theirs takes."""
    both = zip(times["transformers"].seconds, times["lab"].seconds, strict=True)
    return median(theirs / ours for theirs, ours in both)


def settle(claim: Claim, cases: dict[str, Times]) -> dict[str, object] | None:
    ratios = {case: ratio(times) for case, times in cases.items() if case.startswith(claim.size)}
    if not ratios:
        return None
    worst = min(ratios.values())
    return {
        "claim": f"{claim.part}, {claim.size}: transformers / lab, in every case >= {claim.at_least}",
        "expected": claim.at_least,
        "measured": worst,
        "met": worst >= claim.at_least,
        "ratios": ratios,
    }


def settle_growth(quarters: dict[str, list[float]]) -> dict[str, object]:
    ratios = {case: seconds[3] / seconds[1] for case, seconds in quarters.items()}
    worst = max(ratios.values())
    return {
        "claim": f"growth: a token in the last quarter of the window / in the second, <= {FLAT}",
        "expected": FLAT,
        "measured": worst,
        "met": worst <= FLAT,
        "ratios": ratios,
    }


def main(quick: bool = False, threads: int = 2) -> bool:
    torch.set_num_threads(threads)
    plan = QUICK if quick else Plan()
    logging.set_verbosity_error()
    measured = {}
    for part in ("greedy", "sampling", "beams"):
        print(f"{part}: median and quartiles", flush=True)
        measured[part] = measure_part(part, plan)
    print("growth: a token in each quarter of the window", flush=True)
    quarters = measure_growth(plan)
    claims = [settled for claim in CLAIMS if (settled := settle(claim, measured[claim.part]))]
    claims.append(settle_growth(quarters))
    for claim in claims:
        print(f"{'met   ' if claim['met'] else 'MISSED'} {claim['claim']}: {claim['measured']:.3f}")
    summaries = {
        part: {
            case: {
                name: {"median": t.median, "quartiles": t.spread, "turns": len(t.seconds)}
                for name, t in times.items()
            }
            for case, times in cases.items()
        }
        for part, cases in measured.items()
    }
    result = {
        "question": __doc__.splitlines()[0],
        "machine": machine(),
        "prompt": PROMPT,
        "temperature": TEMPERATURE,
        "beams": BEAMS,
        "seconds": summaries,
        "seconds_a_token_by_quarter": quarters,
        "claims": claims,
    }
    if not quick:
        write_atomic(RESULT, json.dumps(result, indent=1) + "\n")
    return all(claim["met"] for claim in claims)


if __name__ == "__main__":
    sys.exit(0 if tyro.cli(main) else 1)
