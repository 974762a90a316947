"""Measuring: times that can be believed, the least they could be, and what they were measured on.

`timing` and `memory` measure, `steps` and `profiles` cut a training step into its parts, `counts` and `ceilings` say
what the least time would be, `fit` finds a law in many times, `sweeps` go on where memory ends, `comparison` says how
far runs in pairs differ, `devices` and `lab.machine` say where all this happened, and `results` keeps it for a later
reader.
"""

from importlib import import_module

# Each public name and the module that holds it, which is loaded when the name is first asked for.
_HOMES = {
    "ceilings": "copy_ceiling floor_seconds fraction_of_limit matmul_ceiling",
    "comparison": "Comparison compare mean_interval",
    "counts": "Operation memory_needed model_flops_per_token num_parameters operations step_total totals",
    "devices": "device_name free_memory resolve_device supports_bfloat16 synchronise",
    "fit": "LinearFit fit_cost fit_linear",
    "memory": "peak_memory",
    "profiles": "profile_operators profile_parts time_parts",
    "results": "Result Row describe_device load_result machine_label result_name save_result",
    "step_times": "StepTimes",
    "steps": "STEP_PARTS TrainingStep",
    "sweeps": "Point is_out_of_memory sweep",
    "timing": "Timing measure measure_together",
}
_MODULES = {name: f"lab.bench.{module}" for module, names in _HOMES.items() for name in names.split()}
_MODULES["machine"] = "lab.machine"
__all__ = sorted(_MODULES)


def __getattr__(name: str):
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'lab.bench' has no attribute {name!r}")
