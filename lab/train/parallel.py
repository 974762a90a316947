"""Several processes that train one model: each reads its rows of every batch, and the gradients are summed.

What torch's DistributedDataParallel does, in plain sight: after the backward pass one `all_reduce` sums all
gradients, so that every process takes the same step. The same script runs alone or under torchrun:

    torchrun --nproc-per-node 2 train_it.py

    device = start()
    model.to(device)           # made from the same seed everywhere; `train` shares process 0's weights anyway
    for step in train(model, batches, loss, config):   # every process makes the same whole batches
        ...
    stop()

Dropout draws from each process's own generator: `torch.manual_seed(seed + rank())` makes them differ.
"""

import os
import time
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def start(kind: str | None = None) -> torch.device:
    """Join the other processes if torchrun started this one, and say on which device to work.

    That is of the `kind` asked for, "cpu", "cuda" or "mps"; if none is, CUDA where there is a GPU of it, else the CPU.
    gloo joins processes on CPUs, nccl those on GPUs. Alone this only chooses the device.

    Raises ValueError for several processes on Apple's GPU, which no library joins.
    """
    kind = kind or ("cuda" if torch.cuda.is_available() else "cpu")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if "WORLD_SIZE" in os.environ and not dist.is_initialized():
        if kind == "mps":
            raise ValueError("several processes train on CPUs or on GPUs of CUDA, got mps: say --device cpu")
        dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    if kind == "cuda":
        torch.cuda.set_device(local)
        return torch.device("cuda", local)
    return torch.device(kind)


def stop() -> None:
    """Leave the other processes; nothing happens where there are none."""
    if _started():
        dist.destroy_process_group()
        # A thread of gloo's may still let go of the last tensors that it added up, for which it needs Python: where
        # Python ends meanwhile, it aborts the process, about one time in twenty on two cores.
        time.sleep(0.1)


def rank() -> int:
    """The number of this process, 0 when it is alone. Only process 0 writes files."""
    return dist.get_rank() if _started() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _started() else 1


def shard(batch):
    """This process's rows of a batch: every `world_size()`-th, from its `rank()` on; perhaps none of a small batch."""
    if world_size() == 1:
        return batch
    return batch.rows(slice(rank(), None, world_size()))


def total(*numbers: float) -> list[float]:
    """Each number summed over the processes, in float64."""
    if world_size() == 1:
        return list(numbers)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    summed = torch.tensor(numbers, dtype=torch.float64, device=device)
    dist.all_reduce(summed)
    return summed.tolist()


@torch.no_grad()
def sum_gradients(parameters: Sequence[Tensor], count: float) -> None:
    """Make each `grad` the sum over the processes divided by `count`, the targets of all of them.

    A parameter that has no gradient anywhere keeps none, so that the optimizers leave it alone.
    """
    if world_size() == 1:
        for p in parameters:
            if p.grad is not None:
                p.grad.div_(count)
        return
    pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    present = torch.tensor([p.grad is not None for p in parameters]).to(pieces[0])
    flat = torch.cat([present, *(piece.flatten() for piece in pieces)])
    dist.all_reduce(flat)
    present, *summed = flat.split([len(pieces), *(piece.numel() for piece in pieces)])
    for p, piece, n in zip(parameters, summed, present.tolist(), strict=True):
        p.grad = (piece / count).view_as(p).to(p.dtype) if n else None


@torch.no_grad()
def share_weights(parameters: Sequence[Tensor]) -> None:
    """Give every process the weights of process 0."""
    if world_size() > 1:
        for p in parameters:
            dist.broadcast(p, src=0)


def _started() -> bool:
    return dist.is_available() and dist.is_initialized()
