"""How fast does a training step run beside other libraries, and how good is a model after so many seconds of it?

- speed: tokens per second of a step (forward, loss, backward, AdamW) of our default architecture, beside a GPT-2 of
  transformers and a Decoder of x-transformers of the same size, in turn. A ratio is the median over turns of the ratio
  within a turn, so that a busy spell hits both.

- quality: KJV, BPE; bits per character of the held-out lines after training for a minute, two and three, the schedule
  planned from the throughput of a short rehearsal.

- long: the same with a larger model, for a quarter of an hour; only with `--only long`.

    python benchmarks/training.py [--quick] [--threads 2] [--only speed|quality|long]
    python benchmarks/training.py --only quality --seconds 60 --validation --mixing attention --layers 2

`--quick` shows in about a minute that everything runs, writes no result and judges no figure. A part that was run
replaces its own result and leaves those of the others; a search among recipes (any other recipe, length, seed or split
than those below) writes nothing.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging
from x_transformers import Decoder, TransformerWrapper

import lab.text
from lab.bench import Timing, machine, measure_together
from lab.data import join_lines, random_windows
from lab.data.batch import Batch
from lab.files import write_atomic
from lab.nn.recurrent import RecurrentConfig, RecurrentLM
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.score import score_lines
from lab.text import BPETokenizer
from lab.train import TrainConfig, next_token_loss, train

RESULT = Path(__file__).parent / "results" / "training.json"


@dataclass(frozen=True)
class Recipe:
    """What is trained on KJV, and how: `mixing` names what brings tokens together, attention or a recurrent cell.

    `feed_forward` 0 is four times the width.
    """

    vocab_size: int = 1000
    mixing: Literal["attention", "elman", "gru", "lstm"] = "lstm"
    context: int = 48
    batch: int = 24
    width: int = 192
    layers: int = 1
    heads: int = 4
    feed_forward: int = 0
    activation: str = "gelu"
    dropout: float = 0.0
    optimizer: str = "muon"
    matrix_lr: float = 0.02
    other_lr: float = 2e-2
    schedule: str = "linear"
    warmup: int = 20
    weight_decay: float = 0.0
    accumulate: int = 1

    def model(self, vocab_size: int) -> DecoderOnlyTransformer | RecurrentLM:
        common = dict(
            vocab_size=vocab_size,
            context=self.context,
            width=self.width,
            num_layers=self.layers,
            feed_forward=self.feed_forward or 4 * self.width,
            dropout=self.dropout,
        )
        if self.mixing != "attention":
            return RecurrentLM(RecurrentConfig(cell=self.mixing, **common))
        config = TransformerConfig(num_heads=self.heads, activation=self.activation, **common)
        return DecoderOnlyTransformer(config)

    def training(self, steps: int) -> TrainConfig:
        return TrainConfig(
            steps,
            matrix_lr=self.matrix_lr,
            other_lr=self.other_lr,
            warmup=self.warmup,
            schedule=self.schedule,
            weight_decay=self.weight_decay,
            accumulate=self.accumulate,
            optimizer=self.optimizer,
        )


@dataclass(frozen=True)
class Settings:
    """What is measured; the flags that begin with `--long.` are the recipe of the long part."""

    only: Literal["speed", "quality", "long"] | None = None
    quick: bool = False
    threads: int = 2
    seconds: tuple[float, ...] = (60.0, 120.0, 180.0)
    long_seconds: float = 900.0
    seed: int = 0
    validation: bool = (
        False  # score the validation lines: a recipe chosen by the test lines is flattered by them
    )
    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = Recipe()
    long: Recipe = Recipe(width=272, layers=2, context=64, batch=24, other_lr=1e-2)


@dataclass(frozen=True)
class Size:
    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class SpeedPlan:
    sizes: tuple[Size, ...] = (Size(192, 2, 4), Size(256, 6, 4))  # 1.3 M and 5.2 M parameters
    shapes: tuple[tuple[int, int], ...] = ((24, 48), (18, 64))  # rows, tokens
    steps: int = 4  # in each turn, so that the side before leaves no trace
    turns: int = 15


QUICK_SPEED = SpeedPlan((Size(96, 1, 2),), ((8, 48),), steps=1, turns=2)
QUICK_SECONDS, QUICK_LINES = 2.0, 1000

SPEED_VOCAB = 1000
AT_LEAST_FASTER = 1.15  # our tokens per second over those of the fastest of the others
AT_MOST_AFTER = {60.0: 1.413}  # seconds -> bits per character
LONG_BELOW, LONG_PARAMETERS = 1.18, 2_800_000
SPARE = 0.95  # of the steps that the rehearsal promises: the machine may be busier later
LATE = 1.05  # a run that took longer than this times its plan does not count as done in that time

# What others reached: cited, not measured here. Seconds -> bits per character.
PEER = "a well-known small GPT trainer, 0.93 M parameters, AdamW, 15,300 tokens/s"
PEER_AFTER = {60.0: 1.693, 120.0: 1.498, 180.0: 1.413}
LONG_PEER, LONG_PEER_AFTER = "the same trainer after 10 minutes", 1.326


@dataclass(frozen=True)
class Figure:
    """One claim and what became of it."""

    claim: str
    expected: float
    measured: float
    met: bool
    remark: str = ""

    def __str__(self) -> str:
        return f"{'met   ' if self.met else 'MISSED'} {self.claim}: {self.measured:.3f}{self.remark}"


# Shapes: B rows, T tokens, V the vocabulary.


def gpt2(size: Size, T: int, attention: str) -> GPT2LMHeadModel:
    """Untied, as ours is: with the same width and layers it then has as many parameters."""
    config = GPT2Config(
        n_embd=size.width,
        n_layer=size.layers,
        n_head=size.heads,
        vocab_size=SPEED_VOCAB,
        n_positions=T,
        tie_word_embeddings=False,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation=attention,
    )
    return GPT2LMHeadModel(config)


def x_transformer(size: Size, T: int) -> TransformerWrapper:
    layers = Decoder(
        dim=size.width,
        depth=size.layers,
        heads=size.heads,
        attn_dim_head=size.width // size.heads,
        attn_flash=True,  # torch's fused attention, as in ours
        rotary_pos_emb=True,
        use_rmsnorm=True,
        verbose=False,
    )
    return TransformerWrapper(num_tokens=SPEED_VOCAB, max_seq_len=T, attn_layers=layers)


def ours(size: Size, T: int) -> DecoderOnlyTransformer:
    config = TransformerConfig(
        vocab_size=SPEED_VOCAB,
        context=T,
        width=size.width,
        num_layers=size.layers,
        num_heads=size.heads,
        feed_forward=4 * size.width,
    )
    return DecoderOnlyTransformer(config)


def models(size: Size, T: int) -> dict[str, tuple[nn.Module, bool]]:
    """The sides, each a model and whether it is to be compiled."""
    return {
        "lab": (ours(size, T), False),
        "transformers, eager attention": (gpt2(size, T, "eager"), False),
        "transformers": (gpt2(size, T, "sdpa"), False),
        "transformers, compiled": (gpt2(size, T, "sdpa"), True),
        "x-transformers": (x_transformer(size, T), False),
        "lab, compiled": (ours(size, T), True),
    }


def training_steps(model: nn.Module, compiled: bool, rows: Tensor, n: int) -> Callable[[], float]:
    """A function that takes n steps on rows `(B, T + 1)` and gives the loss before the last."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    call = torch.compile(model, dynamic=False) if compiled else model
    more = {"use_cache": False} if isinstance(model, GPT2LMHeadModel) else {}

    def steps() -> float:
        for _ in range(n):
            given = call(rows[:, :-1], **more)
            logits = given.logits if more else given  # (B, T, V)
            loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    return steps


def measure_speed(plan: SpeedPlan) -> tuple[dict, list[Figure]]:
    cases = {}
    for size in plan.sizes:
        for B, T in plan.shapes:
            torch.manual_seed(0)
            torch.compiler.reset()  # else the second shape would be compiled for any shape
            sides = models(size, T)
            parameters = {
                name: sum(p.numel() for p in model.parameters()) for name, (model, _) in sides.items()
            }
            assert all(abs(n / parameters["lab"] - 1) < 0.05 for n in parameters.values()), parameters
            rows = torch.randint(SPEED_VOCAB, (B, T + 1), generator=torch.Generator().manual_seed(1))
            steps = {name: training_steps(*side, rows, plan.steps) for name, side in sides.items()}
            first, skipped = first_losses(steps)
            steps = {name: steps[name] for name in first}
            times = measure_together(steps, repeats=plan.turns)
            last = {name: fn() for name, fn in steps.items()}
            assert all(last[name] < first[name] for name in first), f"some do not learn: {first}, {last}"
            case = f"{parameters['lab'] / 1e6:.1f} M parameters, {B} x {T}"
            cases[case] = show_speed(case, times, parameters, plan.steps * B * T, skipped)
    slowest = min(
        ratio for case in cases.values() for name, ratio in case["ratios"].items() if "lab" not in name
    )
    claim = f"speed: lab / the fastest of the others, in every case >= {AT_LEAST_FASTER}"
    return cases, [Figure(claim, AT_LEAST_FASTER, slowest, slowest >= AT_LEAST_FASTER)]


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


def show_speed(
    case: str, times: dict[str, Timing], parameters: dict[str, int], tokens: int, skipped: dict[str, str]
) -> dict:
    """One case, printed and for JSON; `tokens` are those of one turn, a ratio is ours over theirs."""
    print(f"  {case}: tokens/s, median and quartiles; lab / it")
    sides, ratios = {}, {}
    for name, timing in times.items():
        low, high = (tokens / seconds for seconds in reversed(timing.spread))
        middle = tokens / timing.median
        ratio = median(b / a for a, b in zip(times["lab"].seconds, timing.seconds, strict=True))
        sides[name] = {
            "tokens_per_second": middle,
            "quartiles": (low, high),
            "turns": len(timing.seconds),
            "parameters": parameters[name],
        }
        if name != "lab":
            ratios[name] = ratio
        print(f"    {name:30} {middle:9,.0f}   {low:9,.0f} to {high:9,.0f}   {ratio:6.3f}", flush=True)
    for name, reason in skipped.items():
        print(f"    {name:30} skipped: {reason}", flush=True)
    return {"sides": sides, "ratios": ratios, "skipped": skipped}


class Trial:
    """KJV, ready for training by one recipe."""

    def __init__(self, recipe: Recipe, settings: Settings):
        self.recipe, self.seed = recipe, settings.seed
        self.corpus = lab.text.load("kjv")
        splits = self.corpus.splits(seed=0)
        lines = splits.train[:QUICK_LINES] if settings.quick else splits.train
        held_out = splits.validation if settings.validation else splits.test
        self.held_out = held_out[: QUICK_LINES // 10] if settings.quick else held_out
        self.tokenizer = BPETokenizer.train(lines, recipe.vocab_size)
        self.stream = join_lines(self.tokenizer.encode_lines(lines))

    def new_model(self) -> DecoderOnlyTransformer | RecurrentLM:
        torch.manual_seed(self.seed)
        return self.recipe.model(self.tokenizer.vocab_size)

    def batches(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.seed)
        return random_windows(self.stream, self.recipe.context, self.recipe.batch, generator)

    def steps_per_second(self, steps: int = 40, unsteady: int = 10) -> float:
        """Of a short run on a throw-away model, without its first few steps."""
        run = list(train(self.new_model(), self.batches(), next_token_loss, self.recipe.training(steps)))
        return (steps - unsteady) / (run[-1].seconds - run[unsteady - 1].seconds)

    def run(self, seconds: float) -> dict:
        """Train by a schedule planned for so many seconds, then score the held-out lines."""
        steps = max(1, int(SPARE * seconds * self.steps_per_second()))
        model = self.new_model()
        *_, last = train(model, self.batches(), next_token_loss, self.recipe.training(steps))
        score = score_lines(model, self.tokenizer, self.held_out)
        return {
            "planned_seconds": seconds,
            "seconds": last.seconds,
            "steps": steps,
            "tokens_per_second": last.tokens_per_second,
            "parameters": model.num_parameters,
            "bits_per_char": score.bits_per_char,
        }


def show_run(run: dict, peer: float | None) -> None:
    beside = "" if peer is None else f"   (peer {peer})"
    print(
        f"  {run['planned_seconds']:5.0f} s planned, {run['seconds']:6.1f} s taken, {run['steps']:6,} steps, "
        f"{run['tokens_per_second']:7,.0f} tokens/s, {run['parameters'] / 1e6:.2f} M parameters: "
        f"{run['bits_per_char']:.3f} bits per character{beside}",
        flush=True,
    )


def judge(name: str, run: dict, most: float, *, strictly: bool = False) -> Figure:
    """Whether the run reached `most` bits per character in the time it had."""
    bits, in_time = run["bits_per_char"], run["seconds"] <= LATE * run["planned_seconds"]
    reached = bits < most if strictly else bits <= most
    claim = (
        f"{name}: bits per character after {run['planned_seconds']:.0f} s {'<' if strictly else '<='} {most}"
    )
    remark = "" if in_time else f", but it took {run['seconds']:.1f} s: the machine was busy, run it again"
    return Figure(claim, most, bits, reached and in_time, remark)


def measure_quality(settings: Settings) -> tuple[dict, list[Figure]]:
    trial, runs = Trial(settings.recipe, settings), []
    print(f"  peer: {PEER}")
    for seconds in settings.seconds:
        runs.append(trial.run(seconds))
        show_run(runs[-1], PEER_AFTER.get(seconds))
    figures = [
        judge("quality", run, AT_MOST_AFTER[run["planned_seconds"]])
        for run in runs
        if run["planned_seconds"] in AT_MOST_AFTER
    ]
    peer = {"what": PEER, "bits_per_char_after_seconds": PEER_AFTER}
    return described(trial, runs) | {"peer": peer}, figures


def measure_long(settings: Settings) -> tuple[dict, list[Figure]]:
    trial = Trial(settings.long, settings)
    if not settings.quick and trial.new_model().num_parameters < LONG_PARAMETERS:
        raise ValueError(
            f"the long part is for {LONG_PARAMETERS:,} parameters or more, this recipe makes "
            f"{trial.new_model().num_parameters:,}: set --long.width or --long.layers higher"
        )
    run = trial.run(settings.long_seconds)
    show_run(run, None)
    print(f"  peer, {LONG_PEER}: {LONG_PEER_AFTER}")
    peer = {"what": f"{PEER}: {LONG_PEER}", "bits_per_char": LONG_PEER_AFTER}
    return described(trial, [run]) | {"peer": peer}, [judge("long", run, LONG_BELOW, strictly=True)]


def described(trial: Trial, runs: list[dict]) -> dict:
    return {
        "recipe": asdict(trial.recipe),
        "seed": trial.seed,
        "corpus": {"name": trial.corpus.name, "sha256": trial.corpus.sha256},
        "held_out_lines": len(trial.held_out),
        "runs": runs,
    }


def is_search(settings: Settings) -> bool:
    """Whether something else is trained than what this file stands for."""
    return settings != replace(Settings(), only=settings.only, quick=settings.quick, threads=settings.threads)


def record(measured: dict[str, dict]) -> None:
    """Put the parts that were measured into the result file; each says on which machine and day."""
    parts = json.loads(RESULT.read_text("utf-8"))["parts"] if RESULT.exists() else {}
    parts |= {name: {"machine": machine(), **part} for name, part in measured.items()}
    result = {"question": __doc__.splitlines()[0], "machine": machine(), "parts": parts}
    write_atomic(RESULT, json.dumps(result, indent=1) + "\n")


def main(settings: Settings) -> bool:
    """Whether all figures were met."""
    torch.set_num_threads(settings.threads)
    logging.set_verbosity_error()
    if settings.quick:
        settings = replace(settings, seconds=(QUICK_SECONDS,), long_seconds=QUICK_SECONDS)
    plan = QUICK_SPEED if settings.quick else SpeedPlan()
    parts = {
        "speed": lambda: measure_speed(plan),
        "quality": lambda: measure_quality(settings),
        "long": lambda: measure_long(settings),
    }
    names = [settings.only] if settings.only else ["speed", "quality"]
    measured, figures = {}, []
    for name in names:
        print(f"{name}, {settings.threads} threads", flush=True)
        found, judged = parts[name]()
        measured[name] = {"found": found, "figures": [asdict(figure) for figure in judged]}
        figures += judged
    if settings.quick:
        print("everything runs; no figure is judged and nothing written: --quick")
        return True
    for figure in figures:
        print(figure)
    if is_search(settings):
        print("nothing written: these are not the settings that benchmarks/training.py stands for")
    else:
        record(measured)
    return all(figure.met for figure in figures)


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, description=__doc__)) else 1)
