"""What does a training step cost on a CPU and on a GPU: by iteration, by sample, against the machine's limit?

    python benchmarks/gpu_vs_cpu.py                        # the GPU where there is one, else the CPU; every part
    python benchmarks/gpu_vs_cpu.py --device cpu --only sweep threads
    python benchmarks/gpu_vs_cpu.py --quick                # two minutes: everything runs, nothing is written

The model is the small one of notebook 00 (`TransformerConfig` defaults, 1,000 tokens), on random ids: the cost does not
depend on what they are. The optimizer is AdamW, fused. Each device has a file of its own under results/, so that
those of a CPU and a GPU lie side by side; a part measured anew on the same machine replaces its own rows only.

A run that would take longer than its budget is extrapolated from its first iterations and says from how many; a case
that does not fit in memory, takes too long or is not to be had on this device has the reason in place of its seconds.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Literal

import torch
import tyro
from torch import Tensor

from lab.bench import (
    Point,
    Result,
    Row,
    Timing,
    TrainingStep,
    copy_ceiling,
    describe_device,
    fit_cost,
    fraction_of_limit,
    is_out_of_memory,
    load_result,
    machine,
    matmul_ceiling,
    measure,
    measure_together,
    memory_needed,
    model_flops_per_token,
    num_parameters,
    operations,
    peak_memory,
    profile_parts,
    resolve_device,
    result_name,
    save_result,
    step_total,
    supports_bfloat16,
    sweep,
    synchronise,
    time_parts,
)
from lab.data import masks, random_windows
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig

RESULTS = Path(__file__).parent / "results"
SMALL = TransformerConfig(vocab_size=1000)
GPT2 = TransformerConfig(
    vocab_size=50304,  # 50,257 rounded up to a multiple of 64, which matrix units like better
    context=1024,
    width=768,
    num_layers=12,
    num_heads=12,
    feed_forward=3072,
    positions="learned",
    norm="layer",
    activation="gelu_tanh",
    bias=True,
    tied=True,
)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# (batch, iterations) -> seconds on an RTX 5070 Ti and on the CPU beside it: the record that is put to the test.
OLD_TABLE = {(50, 5000): (39.7, 131.2), (500, 5000): (57.7, 937.4), (500, 500): (6.04, 109.4)}
Part = Literal[
    "ceilings", "cells", "sweep", "step_parts", "threads", "transfer", "forward_work", "grid", "gpt2"
]
NextBatch = Callable[[], tuple[Tensor, Tensor]]

# Letters: B rows, T tokens, n steps.


@dataclass(frozen=True)
class Settings:
    """What is measured, and where."""

    device: str = "auto"
    only: tuple[Part, ...] = ()  # all parts
    quick: bool = False
    gpt2: bool = False  # the 124 M parameters on a CPU too: one row of 1,024 tokens takes many seconds a step
    threads: int | None = None  # torch's choice


@dataclass(frozen=True)
class Plan:
    """How much of it."""

    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    few_batches: tuple[int, ...] = (1, 8, 64, 512)  # for what is slow to prepare
    cells: tuple[tuple[int, int], ...] = tuple(OLD_TABLE)
    widths: tuple[int, ...] = (64, 192, 384)
    contexts: tuple[int, ...] = (16, 64, 256)
    grid_batches: tuple[int, ...] = (1, 8, 64)
    gpt2_batches: tuple[int, ...] = (4, 16, 64)
    repeats: int = 5
    repeat_seconds: float = 0.25  # a repeat has as many steps as fit in here, and at least one
    cell_seconds: float = 60.0  # a cell that takes longer is extrapolated
    longest_step: float = 12.0
    matmul_sizes: tuple[int, ...] | None = None


QUICK = Plan(
    batches=(1, 4, 16),
    few_batches=(1, 4),
    cells=((8, 500), (16, 5)),
    widths=(64, 192),
    contexts=(16, 64),
    grid_batches=(1, 8),
    gpt2_batches=(1,),
    repeats=2,
    repeat_seconds=0.02,
    cell_seconds=1.0,
    matmul_sizes=(512,),
)


@dataclass(frozen=True)
class Bench:
    """The device and the plan, which every part needs."""

    device: torch.device
    plan: Plan

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def precisions(self) -> list[str]:
        return ["float32", "bfloat16"] if supports_bfloat16(self.device) else ["float32"]

    def new_step(
        self, config: TransformerConfig, precision: str = "float32", mode: str = "eager"
    ) -> TrainingStep:
        torch.manual_seed(0)
        model = DecoderOnlyTransformer(config).to(self.device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True, capturable=mode == "graph")
        torch.compiler.reset()  # compiled programs are for one shape, and after eight of a kind torch gives up
        return TrainingStep(model, optimizer, precision=precision, mode=mode)

    def run(self, step: TrainingStep, next_batch: NextBatch, n: int) -> Callable[[], Tensor]:
        """`n` steps in a row: on a GPU the host asks ahead, as it does in training."""

        def steps() -> Tensor:
            for _ in range(n):
                loss = step(*next_batch())
            return loss

        return steps

    def first_step(self, step: TrainingStep, next_batch: NextBatch) -> tuple[float, int | None, int | None]:
        """Seconds of a step once warm, and the memory that one takes (host, device)."""
        steps = self.run(step, next_batch, 1)
        start = time.perf_counter()
        memory = peak_memory(steps, device=self.device)
        seconds = time.perf_counter() - start
        if seconds <= 2 * self.plan.longest_step:
            seconds = measure(steps, repeats=1, warmup=0, device=self.device).median
        return seconds, memory.host_rise, memory.device_rise

    def steps_a_repeat(self, seconds: float) -> int:
        return max(1, int(self.plan.repeat_seconds / seconds))

    def fitting(self, batches: Iterable[int], config: TransformerConfig, fn: Callable) -> Iterator[Point]:
        """`sweep` over batch sizes. A GPU says when its memory ends; of a host it is reckoned beforehand."""

        def needs(B: int) -> int:
            return 2 * memory_needed(config, B, config.context)  # the rest is for what comes and goes

        host = self.device.type == "cpu"
        return sweep(batches, fn, device=self.device, needs=needs if host else None)

    def too_slow(self, seconds: float, B: int) -> str | None:
        if seconds <= self.plan.longest_step:
            return None
        return f"a step of batch {B} takes {seconds:.1f} s, and {self.plan.longest_step:.0f} s are the limit: left out"


def batches_of(config: TransformerConfig, B: int) -> NextBatch:
    """Windows of a stream of random ids, made as in training; the same ones each time it is asked for."""
    generator = torch.Generator().manual_seed(B)
    stream = torch.randint(config.vocab_size, (200_000,), generator=generator)
    batches = random_windows(stream, config.context, B, generator)

    def next_batch() -> tuple[Tensor, Tensor]:
        batch = next(batches)
        return batch.ids, batch.targets

    return next_batch


def one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"


def new_or_reason(bench: Bench, config: TransformerConfig, precision: str, mode: str, next_batch: NextBatch):
    """A step that works, or None and why this device has none of the kind."""
    if mode == "graph" and not bench.cuda:
        return None, f"a CUDA graph needs CUDA, this is {bench.device}"
    try:
        step = bench.new_step(config, precision, mode)
        step(*next_batch())
    except Exception as error:  # no C++ compiler, or torch.compile gave up: its errors share no base class
        if mode != "compiled" or is_out_of_memory(error):
            raise
        return None, one_line(error)
    return step, None


def measured(
    bench: Bench,
    config: TransformerConfig,
    case: dict,
    notes: Callable[[Timing, tuple], dict],
    most_steps: int | None = None,
) -> Row:
    """One case on a new model, or the reason why not; `notes(timing, (steps, host, device))` are added, of
    which the last two are the rise of memory.

    With `most_steps`, as many of them as the seconds of a cell allow, else some repeats.
    """
    B, precision, mode = case["batch"], case["precision"], case["mode"]

    def timed(B: int) -> Row:
        next_batch = batches_of(config, B)
        step, reason = new_or_reason(bench, config, precision, mode, next_batch)
        if step is None:
            return Row(case, problem=reason)
        seconds, *memory = bench.first_step(step, next_batch)
        if bench.too_slow(seconds, B):
            return Row(case, problem=bench.too_slow(seconds, B))
        n, repeats = bench.steps_a_repeat(seconds), bench.plan.repeats
        if most_steps:
            steps = min(most_steps, max(3, int(bench.plan.cell_seconds / seconds)))
            repeats = min(10, steps)
            n = steps // repeats
        timing = measure(bench.run(step, next_batch, n), repeats=repeats, device=bench.device)
        timing = Timing(per_step(timing, n))
        return Row(case, timing.seconds, notes(timing, (n * repeats, *memory)))

    (point,) = bench.fitting([B], config, timed)
    return point.result or Row(case, problem=point.problem)


# The parts. Each takes the bench and yields rows; `seconds` of a row are those of one step.


def ceilings(bench: Bench) -> Iterator[Row]:
    for precision in bench.precisions:
        found = matmul_ceiling(
            bench.device, DTYPES[precision], sizes=bench.plan.matmul_sizes, repeats=bench.plan.repeats
        )
        notes = {
            "per_second": found.per_second,
            "size": found.size,
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
        }
        yield Row({"operation": "matmul", "precision": precision}, found.timing.seconds, notes)
    found = copy_ceiling(bench.device, repeats=bench.plan.repeats)
    notes = {"per_second": found.per_second, "size": found.size}
    yield Row({"operation": "copy", "precision": "float32"}, found.timing.seconds, notes)


def measured_sweep(bench: Bench) -> Iterator[Row]:
    """Batch size against time: the eager ones in turn, so that a busy spell hits all; others one by one."""
    for precision in bench.precisions:
        yield from eager_sweep(bench, precision)
    for mode, precision, B in product(("compiled", "graph"), bench.precisions, bench.plan.few_batches):
        case = {"batch": B, "precision": precision, "mode": mode}
        yield measured(bench, SMALL, case, lambda _, found, case=case: costs(case, *found[1:]))


def eager_sweep(bench: Bench, precision: str) -> Iterator[Row]:
    step, rows, ready = bench.new_step(SMALL, precision), [], {}
    step(*batches_of(SMALL, 1)())  # so that the moments exist, and memory is that of a later step
    slow = None

    def first(B: int) -> tuple[float, int | None, int | None] | None:
        return None if slow else bench.first_step(step, batches_of(SMALL, B))

    for point in bench.fitting(bench.plan.batches, SMALL, first):
        B, case = point.value, {"batch": point.value, "precision": precision, "mode": "eager"}
        if point.fitted and not slow:
            seconds, *memory = point.result
            slow = bench.too_slow(seconds, B)
        if point.problem or slow:
            rows.append(Row(case, problem=point.problem or slow))
            continue
        rows.append(Row(case, notes=costs(case, *memory)))
        n = bench.steps_a_repeat(seconds)
        ready[B] = n, bench.run(step, batches_of(SMALL, B), n)
    functions = {B: steps for B, (_, steps) in ready.items()}
    timings = measure_together(functions, repeats=bench.plan.repeats, device=bench.device)
    for row in rows:
        B = row.case["batch"]
        yield replace(row, seconds=per_step(timings[B], ready[B][0])) if B in ready else row


def costs(case: dict, host_rise: int | None, device_rise: int | None) -> dict:
    element_bytes = DTYPES[case["precision"]].itemsize
    counted = step_total(operations(SMALL, case["batch"], SMALL.context, element_bytes=element_bytes))
    return {
        "flops": counted.flops,
        "bytes": counted.bytes,
        "host_rise": host_rise,
        "device_rise": device_rise,
    }


def per_step(timing, n: int) -> tuple[float, ...]:
    return tuple(seconds / n for seconds in timing.seconds)


def cells(bench: Bench) -> Iterator[Row]:
    """The cells of the old table. A GPU runs them every way; a CPU the plain one, on as many iterations as it can."""
    ways = [("float32", "eager")]
    if bench.cuda:
        ways = list(product(bench.precisions, ("eager", "compiled", "graph")))
    for (B, iterations), (precision, mode) in product(bench.plan.cells, ways):
        case = {"batch": B, "iterations": iterations, "precision": precision, "mode": mode}

        def notes(timing: Timing, found: tuple, iterations=iterations) -> dict:
            return {
                "measured_iterations": found[0],
                "total_seconds": iterations * mean(timing.seconds),
                "extrapolated": found[0] < iterations,
            }

        yield measured(bench, SMALL, case, notes, most_steps=iterations)


def step_parts(bench: Bench) -> Iterator[Row]:
    for precision, B in product(bench.precisions, bench.plan.few_batches):
        case = {"batch": B, "precision": precision}

        def timed(B: int, precision=precision, case=case) -> list[Row]:
            step, next_batch = bench.new_step(SMALL, precision), batches_of(SMALL, B)
            slow = bench.too_slow(bench.first_step(step, next_batch)[0], B)
            if slow:
                return [Row(case | {"part": "all"}, problem=slow)]
            times = time_parts(step, next_batch, repeats=bench.plan.repeats)
            profiled = profile_parts(step, next_batch)
            return [
                Row(case | {"part": part}, timing.seconds, {"by_profiler": profiled[part]})
                for part, timing in times.items()
            ]

        (point,) = bench.fitting([B], SMALL, timed)
        yield from point.result or [Row(case | {"part": "all"}, problem=point.problem)]


def threads(bench: Bench) -> Iterator[Row]:
    """How the CPU's time falls with its threads; a GPU's host needs one."""
    if bench.device.type != "cpu":
        return
    before = torch.get_num_threads()
    counts = sorted({2**k for k in range(10) if 2**k <= before} | {before})

    def with_threads(count: int, steps: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            torch.set_num_threads(count)
            return steps()

        return run

    for B in bench.plan.few_batches:
        step, next_batch = bench.new_step(SMALL), batches_of(SMALL, B)
        n = bench.steps_a_repeat(bench.first_step(step, next_batch)[0])
        steps = bench.run(step, next_batch, n)
        try:
            timings = measure_together(
                {str(count): with_threads(count, steps) for count in counts}, repeats=bench.plan.repeats
            )
        finally:
            torch.set_num_threads(before)
        for count in counts:
            yield Row({"batch": B, "threads": count}, per_step(timings[str(count)], n))


def transfer(bench: Bench, megabytes: int = 64) -> Iterator[Row]:
    """Host to device, from pinned memory and not; `returns_after` is when the host may go on with other work."""
    if bench.device.type == "cpu":
        return
    if not bench.cuda:
        yield Row({"megabytes": megabytes}, problem=f"pinned memory is for CUDA, this is {bench.device}")
        return
    plain = torch.ones(megabytes * 250_000)
    sources = {False: plain, True: plain.pin_memory()}
    for pinned, non_blocking in product((False, True), (False, True)):

        def copy(source=sources[pinned], non_blocking=non_blocking) -> Tensor:
            return source.to(bench.device, non_blocking=non_blocking)

        timing = measure(copy, repeats=bench.plan.repeats, device=bench.device)
        start = time.perf_counter()
        kept = copy()  # held until it has arrived
        returns_after = time.perf_counter() - start
        synchronise(bench.device)
        case = {"pinned": pinned, "non_blocking": non_blocking, "megabytes": megabytes}
        notes = {"bytes_per_second": kept.nbytes / timing.median, "returns_after": returns_after}
        yield Row(case, timing.seconds, notes)


def forward_work(bench: Bench) -> Iterator[Row]:
    """What a forward pass costs when it builds its mask on the host and moves its ids itself, and when it need not."""
    model = bench.new_step(SMALL).model.eval()
    T = SMALL.context
    for B in bench.plan.few_batches[:-1]:
        ids_here, _ = batches_of(SMALL, B)()
        ids, mask = ids_here.to(bench.device), masks.causal(T, bench.device)

        def mask_anew() -> Tensor:
            return torch.tril(torch.ones(T, T, dtype=torch.bool)).to(bench.device)

        def forward(ids: Callable[[], Tensor], mask: Callable[[], Tensor | None]) -> Callable[[], Tensor]:
            def run() -> Tensor:
                with torch.no_grad():
                    return model(ids(), mask=mask())

            return run

        # Bound as defaults: the loop goes on before they are called.
        ready, moved = (lambda ids=ids: ids), (lambda ids=ids_here: ids.to(bench.device))
        ways = {
            "no_mask": forward(ready, lambda: None),  # the kernel's own causal order
            "outside": forward(ready, lambda mask=mask: mask),
            "to_inside": forward(moved, lambda mask=mask: mask),
            "mask_inside": forward(ready, mask_anew),
            "both_inside": forward(moved, mask_anew),
        }
        timings = measure_together(ways, repeats=3 * bench.plan.repeats, warmup=3, device=bench.device)
        for where, timing in timings.items():
            yield Row({"batch": B, "where": where}, timing.seconds)


def grid(bench: Bench) -> Iterator[Row]:
    """Batch size, width and context together, from which a step's time can be predicted."""
    plan = bench.plan
    for width, context in product(plan.widths, plan.contexts):
        config = TransformerConfig(1000, context=context, width=width, feed_forward=4 * width)
        step = bench.new_step(config)

        def timed(B: int, config=config, step=step):
            next_batch = batches_of(config, B)
            seconds, *_ = bench.first_step(step, next_batch)
            if bench.too_slow(seconds, B):
                return bench.too_slow(seconds, B), None, None
            n = bench.steps_a_repeat(seconds)
            steps = bench.run(step, next_batch, n)
            return None, n, measure(steps, repeats=plan.repeats, device=bench.device)

        for point in bench.fitting(plan.grid_batches, config, timed):
            case = {"batch": point.value, "width": width, "context": context}
            problem, n, timing = point.result or (point.problem, None, None)
            counted = step_total(operations(config, point.value, context))
            notes = {"flops": counted.flops, "bytes": counted.bytes}
            yield Row(case, problem=problem) if problem else Row(case, per_step(timing, n), notes)


def gpt2(bench: Bench, peaks: dict[str, float], config: TransformerConfig = GPT2) -> Iterator[Row]:
    """GPT-2's smallest size at growing batch sizes, until memory ends; the fastest row is the best throughput.

    Utilisation is against the largest matrix product measured here in the same precision, not a maker's figure.
    """
    for precision, mode in product(bench.precisions, ("eager", "compiled")):
        for B in bench.plan.gpt2_batches:
            case = {"batch": B, "precision": precision, "mode": mode}

            def notes(timing: Timing, _: tuple, B=B, precision=precision) -> dict:
                rate = B * config.context / timing.median
                flops = model_flops_per_token(config, config.context)
                return {
                    "tokens_per_second": rate,
                    "model_flops_utilisation": rate * flops / peaks[precision],
                    "parameters": num_parameters(config),
                }

            row = measured(bench, config, case, notes)
            yield row
            if row.problem:
                break  # no larger one will do


def measured_parts(bench: Bench, wanted: tuple[str, ...], with_gpt2: bool) -> Iterator[tuple[str, list[Row]]]:
    """Each part as soon as it is measured; the ceilings always, since others are judged by them."""
    found = collected("ceilings", ceilings(bench))
    peaks = {
        row.case["precision"]: row.notes["per_second"] for row in found if row.case["operation"] == "matmul"
    }
    yield "ceilings", found
    others = {
        "cells": cells,
        "sweep": measured_sweep,
        "step_parts": step_parts,
        "threads": threads,
        "transfer": transfer,
        "forward_work": forward_work,
        "grid": grid,
    }
    for name, part in others.items():
        if name in wanted:
            yield name, collected(name, part(bench))
    if "gpt2" not in wanted:
        return
    if bench.device.type == "cpu" and not with_gpt2:
        reason = "124 M parameters take very long on a CPU: ask for them with --gpt2"
        row = Row({"batch": 1, "precision": "float32", "mode": "eager"}, problem=reason)
        yield "gpt2", collected("gpt2", iter([row]))
    else:
        yield "gpt2", collected("gpt2", gpt2(bench, peaks))


def collected(name: str, rows: Iterator[Row]) -> list[Row]:
    """All rows, printed as they come."""
    print(name, flush=True)
    found = []
    for row in rows:
        case = ", ".join(f"{key} {value}" for key, value in row.case.items())
        notes = ", ".join(f"{key} {show(value)}" for key, value in row.notes.items())
        text = f"{row.timing}   {notes}" if row.seconds else f"not measured: {row.problem}"
        print(f"  {case:60} {text}", flush=True)
        found.append(row)
    return found


def show(value) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def summary(parts: dict[str, tuple[Row, ...]]) -> Iterator[str]:
    """The law of the eager float32 sweep, and how near its largest batch comes to the machine's limit."""
    rows = [
        row
        for row in parts.get("sweep", ())
        if row.seconds and row.case["mode"] == "eager" and row.case["precision"] == "float32"
    ]
    if len(rows) >= 3:
        fit = fit_cost([row.case["batch"] for row in rows], [row.timing.median for row in rows])
        for name, seconds in fit.coefficients.items():
            low, high = fit.intervals[name]
            yield f"{name}: {1e3 * seconds:.4g} ms ({1e3 * low:.4g} to {1e3 * high:.4g})"
        yield f"measured / fitted - 1: {', '.join(f'{r:+.0%}' for r in fit.residuals)}"
        rate = {row.case["operation"]: row.notes["per_second"] for row in reversed(parts["ceilings"])}
        last = rows[-1]
        found = operations(SMALL, last.case["batch"], SMALL.context)
        limit = fraction_of_limit(found, last.timing.median, rate["matmul"], rate["copy"])
        yield f"batch {last.case['batch']}: {limit:.0%} of the machine's limit"


def record(device: torch.device, parts: dict[str, tuple[Row, ...]]) -> Path:
    """Put these parts into the device's file; those of another machine or version are not mixed with them."""
    path = RESULTS / f"gpu_vs_cpu-{result_name(device)}.json"
    here = machine()
    if path.exists():
        before = load_result(path)
        if all(before.machine.get(key) == here[key] for key in ("cpu", "cores", "threads", "gpu", "torch")):
            parts = before.parts | parts
    return save_result(path, Result(__doc__.splitlines()[0], describe_device(device), parts, here))


def main(settings: Settings) -> None:
    try:
        device = resolve_device(settings.device)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    if settings.threads:
        torch.set_num_threads(settings.threads)
    bench, parts = Bench(device, QUICK if settings.quick else Plan()), {}
    wanted = settings.only or Part.__args__
    for name, rows in measured_parts(bench, wanted, settings.gpt2):
        parts[name] = tuple(rows)
        if not settings.quick:
            record(device, parts)  # at once: an interrupted run keeps what it has
    print("\n".join(summary(parts)))
    if settings.quick:
        print("everything runs; nothing is written: --quick")
    else:
        print(f"written: benchmarks/results/gpu_vs_cpu-{result_name(device)}.json")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
