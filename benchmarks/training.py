"""How fast does a training step run beside other libraries?

Tokens per second of a step (forward, loss, backward, AdamW) of our default architecture, beside a GPT-2 of transformers
and a Decoder of x-transformers of the same size, in turn; in float32, and in bfloat16 (torch's autocast for all sides).
A ratio is the median over turns of the ratio within a turn, so that a busy spell hits both.

    python benchmarks/training.py [--threads 2] [--quick]

`--quick` shows in about a minute that everything runs, writes no result and judges no figure. How good a model becomes
in so many seconds is measured by benchmarks/recipe.py.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging
from x_transformers import Decoder, TransformerWrapper

from lab.bench import Timing, machine, measure_together
from lab.data import Batch
from lab.files import write_atomic
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.train import next_token_loss

RESULT = Path(__file__).parent / "results" / "training.json"
VOCAB = 1000
AT_LEAST_FASTER = (
    1.05  # our tokens per second, the better of eager and compiled, over those of each of the others
)
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Settings:
    """How it is measured."""

    threads: int = os.cpu_count() or 1
    quick: bool = False


@dataclass(frozen=True)
class Size:
    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class Plan:
    sizes: tuple[Size, ...] = (Size(192, 2, 4), Size(256, 6, 4))  # 1.3 M and 5.2 M parameters
    shapes: tuple[tuple[int, int], ...] = ((24, 48), (16, 128))  # rows, tokens
    steps: int = 4  # in each turn, so that the side before leaves no trace
    turns: int = 15


QUICK = Plan((Size(96, 1, 2),), ((8, 48),), steps=1, turns=2)


# Shapes: B rows, T tokens, V the vocabulary.


def gpt2(size: Size, T: int) -> GPT2LMHeadModel:
    """Untied, as ours is: with the same width and layers it then has as many parameters."""
    sizes = {"n_embd": size.width, "n_layer": size.layers, "n_head": size.heads, "n_positions": T}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    special = {"bos_token_id": None, "eos_token_id": None, "tie_word_embeddings": False}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCAB, attn_implementation="sdpa", **sizes, **dropout, **special)
    )


def x_transformer(size: Size, T: int) -> TransformerWrapper:
    parts = {"attn_flash": True, "rotary_pos_emb": True, "use_rmsnorm": True, "verbose": False}  # as in ours
    heads = {"heads": size.heads, "attn_dim_head": size.width // size.heads}
    layers = Decoder(dim=size.width, depth=size.layers, **heads, **parts)
    return TransformerWrapper(num_tokens=VOCAB, max_seq_len=T, attn_layers=layers)


def ours(size: Size, T: int) -> DecoderOnlyTransformer:
    return DecoderOnlyTransformer(
        TransformerConfig(VOCAB, T, size.width, size.layers, size.heads, feed_forward=4 * size.width)
    )


def sides(size: Size, T: int) -> dict[str, tuple[nn.Module, bool]]:
    """Each a model and whether it is to be compiled."""
    return {
        "lab": (ours(size, T), False),
        "lab, compiled": (ours(size, T), True),
        "transformers": (gpt2(size, T), False),
        "transformers, compiled": (gpt2(size, T), True),
        "x-transformers": (x_transformer(size, T), False),
    }


def training_steps(
    model: nn.Module, compiled: bool, rows: Tensor, n: int, precision: torch.dtype
) -> Callable[[], float]:
    """A function that takes n steps on rows `(B, T + 1)` and gives the loss before the last."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    call = torch.compile(model, dynamic=False) if compiled else model
    batch = Batch(rows[:, :-1], rows[:, 1:])

    def loss_of() -> Tensor:
        if isinstance(model, DecoderOnlyTransformer):
            nats, count, *_ = next_token_loss(call, batch)
            return nats / count
        given = (
            call(batch.ids, use_cache=False).logits if isinstance(model, GPT2LMHeadModel) else call(batch.ids)
        )
        return F.cross_entropy(given.flatten(0, 1), batch.targets.flatten())

    def steps() -> float:
        for _ in range(n):
            with torch.autocast("cpu", precision, enabled=precision != torch.float32):
                loss = loss_of()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    return steps


def measure(size: Size, shape: tuple[int, int], precision: str, plan: Plan) -> dict:
    """One case, printed and for JSON; a ratio is ours, the better of eager and compiled, over theirs."""
    B, T = shape
    torch.manual_seed(0)
    torch.compiler.reset()  # else the second shape would be compiled for any shape
    models = sides(size, T)
    parameters = {name: sum(p.numel() for p in model.parameters()) for name, (model, _) in models.items()}
    assert all(abs(n / parameters["lab"] - 1) < 0.05 for n in parameters.values()), parameters
    rows = torch.randint(VOCAB, (B, T + 1), generator=torch.Generator().manual_seed(1))
    steps = {
        name: training_steps(*side, rows, plan.steps, PRECISIONS[precision]) for name, side in models.items()
    }
    first, skipped = first_losses(steps)
    times = measure_together({name: steps[name] for name in first}, repeats=plan.turns)
    last = {name: steps[name]() for name in first}
    assert all(last[name] < first[name] for name in first), f"some do not learn: {first}, {last}"
    best = min((name for name in times if name.startswith("lab")), key=lambda name: times[name].median)
    print(f"  {parameters['lab'] / 1e6:.1f} M parameters, {B} x {T}, {precision}: tokens/s; {best} / it")
    found = {"parameters": parameters["lab"], "rows": B, "tokens": T, "precision": precision, "best": best}
    found |= {"sides": {}, "ratios": {}, "skipped": skipped}
    for name, timing in times.items():
        found["sides"][name] = {
            "tokens_per_second": plan.steps * B * T / timing.median,
            "quartiles": [plan.steps * B * T / seconds for seconds in reversed(timing.spread)],
            "turns": len(timing.seconds),
        }
        ratio = ratio_of(timing, times[best])
        if not name.startswith("lab"):
            found["ratios"][name] = ratio
        print(f"    {name:26} {plan.steps * B * T / timing.median:9,.0f}   {ratio:6.3f}", flush=True)
    for name, reason in skipped.items():
        print(f"    {name:26} skipped: {reason}", flush=True)
    return found


def ratio_of(theirs: Timing, ours: Timing) -> float:
    return median(a / b for a, b in zip(theirs.seconds, ours.seconds, strict=True))


def first_losses(steps: dict[str, Callable[[], float]]) -> tuple[dict[str, float], dict[str, str]]:
    """The loss of each side's first call, and why a compiled side is left out."""
    losses, skipped = {}, {}
    for name, fn in steps.items():
        try:
            losses[name] = fn()
        except (
            Exception
        ) as error:  # no C++ compiler, or torch.compile gave up: its errors share no base class
            if "compiled" not in name:
                raise
            skipped[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return losses, skipped


def main(settings: Settings) -> bool:
    logging.set_verbosity_error()
    torch.set_num_threads(settings.threads)
    plan = QUICK if settings.quick else Plan()
    cases = [measure(*case, plan) for case in product(plan.sizes, plan.shapes, PRECISIONS)]
    if settings.quick:
        return True
    least = {
        name: min(case["ratios"][name] for case in cases if name in case["ratios"])
        for name in ("transformers, compiled", "x-transformers")
    }
    for name, ratio in least.items():
        verdict = "met   " if ratio >= AT_LEAST_FASTER else "MISSED"
        print(f"{verdict} over {name}, in every case at least {AT_LEAST_FASTER}: {ratio:.3f}")
    told = {"question": __doc__.splitlines()[0], "machine": machine(), "cases": cases, "least": least}
    write_atomic(RESULT, json.dumps(told, indent=1) + "\n")
    return all(ratio >= AT_LEAST_FASTER for ratio in least.values())


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, description=__doc__)) else 1)
