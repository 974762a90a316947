"""The states of Python's, NumPy's and torch's global generators: so that dropout goes on as it would have."""

import random

import numpy as np
import torch
from torch import Tensor

from lab.train import parallel

STATE = "random/"  # what the names of torch's states begin with, among the other tensors of a checkpoint


def current() -> tuple[dict, dict[str, Tensor]]:
    """The states as they are now: those of Python and NumPy, for JSON, and the tensors of torch."""
    states = {"torch": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        states |= {f"cuda/{n}": state for n, state in enumerate(torch.cuda.get_rng_state_all())}
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    numpy = np.random.get_state(legacy=False)
    numpy["state"]["key"] = numpy["state"]["key"].tolist()
    return {"python": random.getstate(), "numpy": numpy}, {STATE + n: t for n, t in states.items()}


def checked(values: dict, states: dict[str, Tensor]) -> dict:
    """What `current` gave and a file kept, each tried on a generator of its kind: a wrong one would end the process."""
    numpy, (version, words, gauss) = values["numpy"], values["python"]
    numpy["state"]["key"] = np.array(numpy["state"]["key"], dtype=np.uint32)
    if numpy["state"]["key"].shape != (624,) or numpy["state"]["pos"] not in range(625):
        raise ValueError("the state of numpy's generator has another shape")
    states = {name.removeprefix(STATE): state for name, state in states.items()}
    np.random.RandomState().set_state(numpy)
    random.Random().setstate((version, tuple(words), gauss))
    torch.Generator().set_state(states["torch"])
    return {"python": values["python"], "numpy": numpy} | states


def restore(states: dict) -> None:
    """Set the global generators to what `checked` gave."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    for device in range(torch.cuda.device_count()):
        if (state := states.get(f"cuda/{device}")) is not None:
            torch.cuda.set_rng_state(state, device)
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])
    if parallel.rank():  # process 0's were saved; the others must not drop out the same units
        torch.manual_seed(int(torch.randint(1 << 62, ())) + parallel.rank())
