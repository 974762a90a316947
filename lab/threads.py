"""How threads wait for each other: torch's are told before it is imported."""

import os

SPINS = 600


def spin_shortly() -> None:
    """Let a thread that waits for the others give its core away soon, unless the environment says how it shall wait.

    On Linux torch brings GNU's OpenMP, whose threads spin for about a millisecond while they wait. Beside another
    busy program they so keep the core from the very thread that they wait for, and training on all cores is several
    times slower than on one. A short spin costs little where nothing else runs; what it costs and brings
    `benchmarks/neighbour.py` measures. One thread while another program is busy, and all of them afterwards, would be
    faster still, but sums of floats depend on the number of threads: no run could be repeated to the bit.

    The library reads its settings as it is loaded: call this before torch is imported. Processes that are started
    afterwards, kernels too, inherit them. The libraries of macOS and Windows ignore them.

    >>> spin_shortly()
    >>> import torch
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
