"""Random numbers that depend on the number of the batch alone: a resumed run draws what it would have drawn."""

from collections.abc import Callable

import numpy as np
import torch


def seeded_by_batch(
    generator: torch.Generator, batches_taken: Callable[[], int], *seeds: int
) -> Callable[[], None]:
    """A function to be called at each batch: it sets the generator from the seeds and the number of the batch.

    `batches_taken()` counts those before this step, as a training state does; a step may take several.
    """
    before, within = -1, 0

    def begin() -> None:
        nonlocal before, within
        before, within = batches_taken(), within + 1 if batches_taken() == before else 0
        # One seed of several; torch's generator keeps 32 bits.
        mixed = np.random.SeedSequence((*seeds, before, within)).generate_state(1)
        generator.manual_seed(int(mixed[0]))

    return begin
