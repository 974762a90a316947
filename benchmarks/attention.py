"""What does attention cost here, alone, in a training step and in decoding, beside torch and transformers?

The sides of each part run in one process, in turn, with the same weights, and must first give the same numbers. A ratio
is the median over turns of the ratio within a turn, so that a busy spell hits both. The models are GPT-2s that
transformers makes and lab.nn.interop imports.

    python benchmarks/attention.py [--quick] [--threads 2]

`--quick` shows in a minute that everything runs, and writes no result. On a busy machine more threads than free cores
wait for each other: `--threads 1` keeps the ratios honest.
"""

import json
import math
import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from lab.bench import Timing, machine, measure, measure_together
from lab.data.masks import causal
from lab.decode.search import Sampling, generate
from lab.files import write_atomic
from lab.nn.attention import MultiHeadAttention, attend, attention_weights, settle_mask
from lab.nn.config import TransformerConfig
from lab.nn.interop import from_transformers
from lab.nn.transformer import DecoderOnlyTransformer
from lab.scratch import ScaledDotProductAttention

Side = Callable[[], object]
Times = dict[str, Timing]

HEADS, HEAD_WIDTH = 4, 48
NUMPY_SECONDS, NUMPY_BYTES = 2.0, 1.5e9  # NumPy is left out from the length where a call would need more
VOCAB_SIZE, PROMPT, POSITIONS = 1000, 64, 384  # POSITIONS: room for a prompt and 256 new tokens
RESULT = Path(__file__).parent / "results" / "attention.json"


@dataclass(frozen=True)
class Plan:
    """How much is measured; `seconds` is about what one table row of part a may take.

    NumPy's BLAS takes the threads it likes.
    """

    lengths: tuple[int, ...] = (128, 256, 512, 1024, 2048, 4096)
    memory_lengths: tuple[int, ...] = (512, 2048, 4096)
    sizes: tuple[tuple[int, int, int], ...] = ((128, 4, 4), (384, 5, 6))  # width, layers, heads: 1 M and 10 M
    training: tuple[tuple[int, int], ...] = ((24, 64), (8, 256))  # rows, tokens
    decoding: tuple[int, ...] = (1, 8)  # rows
    new_tokens: int = 256
    seconds: float = 5.0
    repeats: int = 5


QUICK = Plan((128, 256), (256,), ((128, 4, 4),), ((4, 32),), (1, 2), new_tokens=16, seconds=0.2, repeats=2)


@dataclass(frozen=True)
class Claim:
    """In every case of a part, the time of `ours` over that of `theirs` is at most this."""

    part: str
    ours: str
    theirs: str
    at_most: float


CLAIMS = (
    Claim("attention", "lab fused", "torch sdpa", 1.05),
    Claim("attention", "lab fused, mask", "torch sdpa, mask", 1.05),
    Claim("training", "lab", "transformers eager", 1.0),
    Claim("decoding", "lab", "transformers", 0.5),
)

# Measured in turn; the groups one after the other, since NumPy's threads spin on for a while after its call.
GROUPS = (
    ("lab fused", "torch sdpa"),
    ("lab fused, mask", "torch sdpa, mask"),
    ("lab module", "torch module"),
    ("plain torch", "numpy"),
)

# Shapes: B rows, H heads, T tokens, E channels a head, C = H * E channels, V the vocabulary.


def attentions(T: int, backward: bool) -> dict[str, Side]:
    """The ways to attend causally over T tokens. A side gives its output and, with `backward`, gradients too."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, dy = torch.randn(4, 1, HEADS, T, HEAD_WIDTH, generator=generator)
    x, dx = torch.randn(2, 1, T, HEADS * HEAD_WIDTH, generator=generator)
    allowed = causal(T)
    settled = settle_mask(allowed, 1, T, T)
    ours, theirs = modules()

    def side(forward: Callable[[], Tensor], inputs: list[Tensor], dy: Tensor) -> Side:
        def run() -> list[Tensor]:
            with torch.set_grad_enabled(backward):
                y = forward()
            return [y.detach(), *(torch.autograd.grad(y, inputs, dy) if backward else ())]

        for leaf in inputs:
            leaf.requires_grad_(backward)
        return run

    def numpy_side() -> list[Tensor]:
        y = in_numpy.forward(*arrays, mask=mask)
        return list(map(torch.from_numpy, [y, *(in_numpy.backward(dy_array) if backward else ())]))

    in_numpy, mask = ScaledDotProductAttention(), allowed.numpy()
    *arrays, dy_array = (t.numpy() for t in (q, k, v, dy))
    functions = {
        "plain torch": lambda: attention_weights(q, k, causal=True) @ v,
        "lab fused": lambda: attend(q, k, v, causal=True),
        "torch sdpa": lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        "lab fused, mask": lambda: attend(q, k, v, settled),
        "torch sdpa, mask": lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=allowed),
    }
    layers = {
        "lab module": lambda: ours(x, causal=True),
        "torch module": lambda: theirs(x, x, x, attn_mask=~allowed, is_causal=True, need_weights=False)[0],
    }
    return (
        {"numpy": numpy_side}
        | {name: side(function, [q, k, v], dy) for name, function in functions.items()}
        | {name: side(layer, [x], dx) for name, layer in layers.items()}
    )


def modules() -> tuple[MultiHeadAttention, nn.MultiheadAttention]:
    """Ours and torch's layer with the same weights, fixed: only the gradient of their input is asked for."""
    C = HEADS * HEAD_WIDTH
    ours = MultiHeadAttention(TransformerConfig(1, width=C, num_heads=HEADS, bias=True)).requires_grad_(False)
    theirs = nn.MultiheadAttention(C, HEADS, batch_first=True).requires_grad_(False)
    for name in ("weight", "bias"):
        parts = [getattr(linear, name) for linear in (ours.query, ours.key, ours.value)]
        getattr(theirs, f"in_proj_{name}").copy_(torch.cat(parts))
        getattr(theirs.out_proj, name).copy_(getattr(ours.output, name))
    return ours, theirs


def agree(sides: dict[str, Side]) -> None:
    """Raises AssertionError unless the functions give the same, and the two layers."""
    given = {name: fn() for name, fn in sides.items()}
    for name, found in given.items():
        expected = given["torch module" if "module" in name else "torch sdpa"]
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


def measure_attention(plan: Plan) -> dict[str, Times]:
    cases, numpy_seconds = {}, {False: 0.0, True: 0.0}
    for T in plan.lengths:
        for backward in (False, True):
            sides = attentions(T, backward)
            if 4 * numpy_seconds[backward] > NUMPY_SECONDS or 6 * weights_bytes(T) > NUMPY_BYTES:
                del sides["numpy"]
            agree(sides)
            case = f"T={T}, forward{' + backward' if backward else ''}"
            cases[case] = show(case, measure_calls(sides, plan))
            numpy_seconds[backward] = cases[case]["numpy"].median if "numpy" in sides else math.inf
    return cases


def weights_bytes(T: int) -> int:
    """Of the attention weights `(H, T, T)` in float32, which the fused ways never hold."""
    return 4 * HEADS * T * T


def measure_calls(sides: dict[str, Side], plan: Plan) -> Times:
    """Seconds a call; short ones are called often in each turn, so that the side before leaves no trace in them."""
    times: Times = {}
    for group in GROUPS:
        once = {name: measure(sides[name], repeats=3).median for name in group if name in sides}
        slowest = max(once.values())
        calls = max(1, math.ceil(plan.seconds / 500 / slowest))
        repeats = min(max(int(plan.seconds / len(GROUPS) / (2 * calls * slowest)), 5), 50)
        loops = {name: lambda fn=sides[name], n=calls: [fn() and None for _ in range(n)] for name in once}
        found = measure_together(loops, repeats=repeats)
        times |= {name: Timing(tuple(s / calls for s in t.seconds)) for name, t in found.items()}
    return times


def measure_memory(plan: Plan) -> dict[str, dict[str, float]]:
    """MiB of resident memory that one call adds at its peak, each measured in a process of its own."""
    if not Path("/proc/self/clear_refs").exists():
        return {}
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # what a tensor held goes back to the system at once
    tasks = [
        (T, b, n, torch.get_num_threads())
        for T in plan.memory_lengths
        for b in (False, True)
        for n in attentions(1, b)
    ]
    with multiprocessing.get_context("forkserver").Pool(1, maxtasksperchild=1) as pool:
        peaks = pool.starmap(peak_memory, tasks, chunksize=1)
    cases: dict[str, dict[str, float]] = {}
    for (T, backward, name, _), peak in zip(tasks, peaks, strict=True):
        case = f"T={T}, forward{' + backward' if backward else ''}"
        cases.setdefault(case, {"computed: the weights": weights_bytes(T) / 2**20})[name] = peak
    return cases


def peak_memory(T: int, backward: bool, name: str, threads: int) -> float:
    """The peak is the system's own figure (VmHWM), set back before the call: torch's and NumPy's memory alike."""
    torch.set_num_threads(threads)
    attentions(32, backward)[name]()  # what the libraries keep for themselves
    side = attentions(T, backward)[name]
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = peak_resident()
    side()
    return peak_resident() - before


def peak_resident() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 2**10 for line in status if line.startswith("VmHWM"))


def gpt2(width: int, layers: int, heads: int, attention: str) -> GPT2LMHeadModel:
    """A GPT-2 with random weights, the same at every call."""
    torch.manual_seed(0)
    sizes = dict(n_embd=width, n_layer=layers, n_head=heads, vocab_size=VOCAB_SIZE, n_positions=POSITIONS)
    no_dropout = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    config = GPT2Config(
        **sizes, **no_dropout, bos_token_id=None, eos_token_id=None, attn_implementation=attention
    )
    return GPT2LMHeadModel(config)


def training_step(model: nn.Module, logits: Callable[[Tensor], Tensor], rows: Tensor) -> Callable[[], float]:
    """Forward, loss, backward and update on rows `(B, T + 1)`; gives the loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> float:
        loss = F.cross_entropy(logits(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def measure_training(plan: Plan) -> dict[str, Times]:
    cases = {}
    for size in plan.sizes:
        for B, T in plan.training:
            rows = torch.randint(VOCAB_SIZE, (B, T + 1), generator=torch.Generator().manual_seed(1))
            eager, sdpa = gpt2(*size, "eager"), gpt2(*size, "sdpa")
            ours = from_transformers(eager)
            steps = {
                "lab": training_step(ours, ours, rows),
                "transformers eager": training_step(
                    eager, lambda x, m=eager: m(x, use_cache=False).logits, rows
                ),
                "transformers sdpa": training_step(
                    sdpa, lambda x, m=sdpa: m(x, use_cache=False).logits, rows
                ),
            }
            for _ in range(2):  # before and after the first update
                losses = {name: step() for name, step in steps.items()}
                assert max(losses.values()) - min(losses.values()) < 1e-4, losses
            case = f"{ours.num_parameters / 1e6:.1f} M parameters, {B} x {T}"
            cases[case] = show(case, measure_together(steps, repeats=plan.repeats))
    return cases


@torch.inference_mode()
def greedy(model: DecoderOnlyTransformer, prompt: Tensor, new_tokens: int) -> Tensor:
    """The prompt `(B, T)` with the likeliest token added, again and again; each token is read once."""
    cache = model.new_cache(prompt.shape[0])
    tokens = [prompt]
    for _ in range(new_tokens):
        logits = model(tokens[-1], cache=cache)[:, -1]  # (B, V)
        tokens.append(logits.argmax(dim=-1, keepdim=True))
    return torch.cat(tokens, dim=1)


def measure_decoding(plan: Plan) -> dict[str, Times]:
    cases, n = {}, plan.new_tokens
    for size in plan.sizes:
        theirs = gpt2(*size, "sdpa").eval()
        ours = from_transformers(theirs)
        for B in plan.decoding:
            prompt = torch.randint(VOCAB_SIZE, (B, PROMPT), generator=torch.Generator().manual_seed(1))
            sides = decoders(ours, theirs, prompt, n)
            texts = {name: fn() for name, fn in sides.items()}
            for name, text in texts.items():
                assert torch.equal(text, texts["transformers"]), f"{name} writes another text"
            case = f"{ours.num_parameters / 1e6:.1f} M parameters, {B} rows, {n} tokens"
            cases[case] = show(case, measure_together(sides, repeats=plan.repeats, warmup=0))
    return cases


def decoders(
    ours: DecoderOnlyTransformer, theirs: GPT2LMHeadModel, prompt: Tensor, n: int
) -> dict[str, Side]:
    def with_transformers() -> Tensor:
        return theirs.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            use_cache=True,
            min_new_tokens=n,
            max_new_tokens=n,
        )

    def with_probabilities() -> Tensor:
        drawn = generate(ours, prompt[0].tolist(), max_new_tokens=n, strategy=Sampling(temperature=0))
        return torch.cat([prompt, torch.tensor([[d.token for d in drawn]])], dim=1)

    sides = {"lab": lambda: greedy(ours, prompt, n), "transformers": with_transformers}
    return sides if len(prompt) > 1 else sides | {"lab.decode.generate": with_probabilities}


def show(case: str, times: Times) -> Times:
    print(f"  {case}", flush=True)
    for name, timing in times.items():
        low, high = (1e3 * s for s in timing.spread)
        print(f"    {name:20} {1e3 * timing.median:10.3f} ms   {low:10.3f} to {high:10.3f}", flush=True)
    return times


def ratio(times: Times, top: str, bottom: str) -> float:
    return median(a / b for a, b in zip(times[top].seconds, times[bottom].seconds, strict=True))


def settle(claim: Claim, cases: dict[str, Times]) -> dict[str, object]:
    ratios = {case: ratio(times, claim.ours, claim.theirs) for case, times in cases.items()}
    worst = max(ratios.values())
    return {
        "claim": f"{claim.part}: {claim.ours} / {claim.theirs}, in every case <= {claim.at_most}",
        "expected": claim.at_most,
        "measured": worst,
        "met": worst <= claim.at_most,
        "ratios": ratios,
    }


def main(quick: bool = False, threads: int = 2) -> bool:
    torch.set_num_threads(threads)
    plan = QUICK if quick else Plan()
    logging.set_verbosity_error()
    parts = {"attention": measure_attention, "training": measure_training, "decoding": measure_decoding}
    measured = {}
    for name, part in parts.items():
        print(f"{name}: median and quartiles", flush=True)
        measured[name] = part(plan)
    memory = measure_memory(plan)
    print("memory: MiB that one call adds at its peak")
    for case, peaks in memory.items():
        print(f"  {case}:", ", ".join(f"{name} {peak:.1f}" for name, peak in peaks.items()))
    claims = [settle(claim, measured[claim.part]) for claim in CLAIMS]
    for claim in claims:
        print(f"{'met   ' if claim['met'] else 'MISSED'} {claim['claim']}: {claim['measured']:.3f}")
    summaries = {
        part: {
            case: {
                n: {"median": t.median, "quartiles": t.spread, "turns": len(t.seconds)}
                for n, t in times.items()
            }
            for case, times in cases.items()
        }
        for part, cases in measured.items()
    }
    result = {
        "question": __doc__.splitlines()[0],
        "machine": machine(),
        "heads": HEADS,
        "head_width": HEAD_WIDTH,
        "seconds": summaries,
        "peak_memory_mib": memory,
        "claims": claims,
    }
    text = json.dumps(result, indent=1) + "\n"
    if not quick:
        write_atomic(RESULT, text)
    return all(claim["met"] for claim in claims)


if __name__ == "__main__":
    sys.exit(0 if tyro.cli(main) else 1)
