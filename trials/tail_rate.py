"""Schedules that end at zero: is it better that a tenth of the learning rates is left at the end?"""

from dataclasses import replace


def idea(baseline):
    return replace(baseline, training=replace(baseline.training, least_rate=0.1))
