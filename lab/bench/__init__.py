"""Measuring: times that can be believed, the least they could be, and what they were measured on.

`timing` and `memory` measure, `steps` and `profiles` cut a training step into its parts, `counts` and `ceilings` say
what the least time would be, `fit` finds a law in many times, `sweeps` go on where memory ends, `devices` and
`environment` say where all this happened, and `results` keeps it for a later reader.
"""

from lab.bench.ceilings import Ceiling, copy_ceiling, floor_seconds, fraction_of_limit, matmul_ceiling
from lab.bench.counts import (
    Operation,
    memory_needed,
    model_flops_per_token,
    num_parameters,
    operations,
    step_total,
    totals,
)
from lab.bench.devices import (
    available_devices,
    device_name,
    free_memory,
    resolve_device,
    supports_bfloat16,
    synchronise,
)
from lab.bench.environment import machine, machine_label
from lab.bench.fit import LinearFit, fit_cost, fit_linear
from lab.bench.memory import PeakMemory, peak_memory
from lab.bench.profiles import profile_operators, profile_parts, time_parts
from lab.bench.results import (
    Comparison,
    Result,
    Row,
    compare,
    describe_device,
    load_result,
    result_name,
    save_result,
)
from lab.bench.steps import MODES, STEP_PARTS, TrainingStep
from lab.bench.sweeps import Point, is_out_of_memory, sweep
from lab.bench.timing import Timing, measure, measure_together

__all__ = [
    "MODES",
    "STEP_PARTS",
    "Ceiling",
    "Comparison",
    "LinearFit",
    "Operation",
    "PeakMemory",
    "Point",
    "Result",
    "Row",
    "Timing",
    "TrainingStep",
    "available_devices",
    "compare",
    "copy_ceiling",
    "describe_device",
    "device_name",
    "fit_cost",
    "fit_linear",
    "floor_seconds",
    "fraction_of_limit",
    "free_memory",
    "is_out_of_memory",
    "load_result",
    "machine",
    "machine_label",
    "matmul_ceiling",
    "measure",
    "measure_together",
    "memory_needed",
    "model_flops_per_token",
    "num_parameters",
    "operations",
    "peak_memory",
    "profile_operators",
    "profile_parts",
    "resolve_device",
    "result_name",
    "save_result",
    "step_total",
    "supports_bfloat16",
    "sweep",
    "synchronise",
    "time_parts",
    "totals",
]
