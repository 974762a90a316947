"""What each change of one flag should do, said in numbers before it is run, and what it did."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from autopsy.curves import Curve
from autopsy.levels import Levels

QUANTITIES: dict[str, Callable[[Curve], float]] = {
    "MLM at the start": lambda curve: curve.mlm[0],
    "CLM at the start": lambda curve: curve.clm[0],
    "reconstruction at the start": lambda curve: curve.reconstruction[0],
    "MLM": lambda curve: curve.held_out.mlm,
    "CLM": lambda curve: curve.held_out.clm,
    "reconstruction": lambda curve: curve.held_out.reconstruction,
}


@dataclass(frozen=True)
class Prediction:
    """`quantity` of `variant` lies from `low` to `high`, in nats; with `beside`, its difference to that of that run."""

    variant: str
    quantity: str
    low: float
    high: float
    why: str
    beside: str | None = None


def predictions(levels: Levels) -> list[Prediction]:
    """What follows from the levels and from the wiring alone, for each of `variants()`."""
    inf, v = float("inf"), levels
    near = 0.15  # nats: one seed's noise at these sizes, and the little that is learned beside frequencies

    def about(variant, quantity, level, why, rel=0.0, margin=near):
        return Prediction(variant, quantity, level - margin - rel * level, level + margin + rel * level, why)

    def changes(variant, quantity, low, high, why):
        return Prediction(variant, quantity, low, high, why, beside=variant.split(" ")[0])

    def same(variant, quantity, why):
        return changes(variant, quantity, -near, near, why)

    return [
        about("recorded", "MLM at the start", v.mlm_start, "the shown id's own embedding wins by C nats", rel=0.2),
        about("recorded", "CLM at the start", v.clm_start, "a head as torch draws it: ln V + 1/6"),
        about("recorded", "reconstruction at the start", v.reconstruction_start, "the share chosen of MLM's", rel=0.3),
        about("recorded", "MLM", v.mlm_stop, "frequencies of the characters chosen, nothing else", margin=0.5),
        about("recorded", "CLM", v.unigram, "frequencies, nothing else", margin=0.3),
        about("recorded", "reconstruction", v.reconstruction_stop, "the visible copied, the rest guessed", margin=0.3),
        about("recorded - unit_embeddings", "MLM at the start", v.uniform, "all ids equally likely"),
        changes("recorded - slow_warmup", "CLM", -inf, -near, "five times the learning rate"),
        changes("recorded - accumulation", "CLM", -inf, -near, "four times the optimizer steps"),
        same("recorded - early_first_step", "CLM", "one step of 188, at a tenth of the rate"),
        changes("recorded - plain_adam", "CLM", -inf, -near, "Muon moves matrices as far as they need"),
        changes("recorded - coupled_decay", "CLM", -inf, 0.0, "decay outweighs the clipped gradient of most weights"),
        same("recorded - leak", "CLM", "nothing leaks until attention has learned where to look"),
        same("recorded - padding_label", "CLM", "one label a line, and it counts among the frequencies"),
        same("recorded - padding_attended", "MLM", "who attends evenly reads a little padding"),
        same("recorded - clm_reads_masked", "CLM", "frequencies need no input"),
        same("recorded - dropout_misses_blocks", "CLM", "nothing is learned yet that could be overfitted"),
        same("recorded - post_norm", "MLM", "the plateau is one of frequencies"),
        same("recorded - absolute_positions", "MLM", "attention has not begun to matter"),
        Prediction("corrected", "CLM", 0.0, v.bigram + near, "the character before is read at once"),
        Prediction("corrected", "MLM", 0.0, v.mlm_stop, "rotary heads find the neighbours"),
        about("corrected + unit_embeddings", "MLM at the start", v.mlm_start * 2**0.5,
              "as recorded, but no places to share with", rel=0.2),
        changes("corrected + slow_warmup", "CLM", 0.0, inf, "a sixth of the learning rate"),
        changes("corrected + accumulation", "CLM", 0.0, inf, "a quarter of the optimizer steps"),
        changes("corrected + plain_adam", "CLM", 0.0, inf, "Adam is the slower optimizer"),
        changes("corrected + coupled_decay", "CLM", 0.0, inf, "decay outweighs the clipped gradient"),
        changes("corrected + leak", "CLM", -inf, near, "nothing leaks until attention finds the place; then to 0"),
        same("corrected + padding_label", "CLM", "one label a line"),
        same("corrected + padding_attended", "MLM", "padding is told from text by its embedding"),
        changes("corrected + clm_reads_masked", "CLM", 0.0, inf, "one character in six is hidden from the past"),
        changes("corrected + dropout_misses_blocks", "CLM", -inf, 0.0, "dropout slows a first epoch"),
        same("corrected + post_norm", "CLM", "a few layers: depth is what post-norm suffers from"),
        changes("corrected + absolute_positions", "MLM", 0.0, inf, "attention by position must first be learned"),
    ]  # fmt: skip


def table(runs: Mapping[tuple[str, int], Curve], levels: Levels) -> pd.DataFrame:
    """Predicted beside measured, a row a prediction: of the mean over seeds, with their spread (max - min).

    `runs`: (variant, seed) -> what `rehearse` gave. A variant that was not run has no row; neither has a difference
    to a run that was not run with the same seed.
    """
    rows = []
    for p in predictions(levels):
        value = QUANTITIES[p.quantity]
        seeds = [seed for variant, seed in runs if variant == p.variant]
        if p.beside:
            seeds = [seed for seed in seeds if (p.beside, seed) in runs]
        if not seeds:
            continue
        found = [value(runs[p.variant, s]) - (value(runs[p.beside, s]) if p.beside else 0.0) for s in seeds]
        mean = sum(found) / len(found)
        rows.append(
            {
                "change": p.variant,
                "quantity": p.quantity + (f" less that of {p.beside}" if p.beside else ""),
                "predicted from": p.low,
                "to": p.high,
                "measured": mean,
                "spread": max(found) - min(found),
                "seeds": len(found),
                "as predicted": p.low <= mean <= p.high,
                "why": p.why,
            }
        )
    return pd.DataFrame(rows)
