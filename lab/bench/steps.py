"""One training step, cut where it is measured: data, transfer, forward, backward, optimizer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEP_PARTS = ("data", "transfer", "forward", "backward", "optimizer")
PRECISIONS = ("float32", "bfloat16")
MODES = ("eager", "compiled", "graph")
CAPTURE_WARMUP = 3  # steps outside the graph, so that memory and libraries are settled when it is recorded


class TrainingStep:
    """A step on a batch of ids and targets int64 `(B, T)`, by next-token cross-entropy; no clipping, no schedule.

    precision  "float32", or "bfloat16": autocast of the forward pass, weights and their update in float32
    mode       "eager"; "compiled": forward, loss and backward by `torch.compile`, for one shape; "graph": the
               whole step recorded once as a CUDA graph and replayed, so that the host asks once a step, not once
               an operation. A graph's batches have all the shape of the first, and it needs an optimizer that is
               `capturable=True`

    The device is that of the model's weights.

    >>> model = nn.Sequential(nn.Embedding(5, 5))
    >>> step = TrainingStep(model, torch.optim.AdamW(model.parameters()))
    >>> step(torch.tensor([[1, 2]]), torch.tensor([[2, 3]])).shape
    torch.Size([])

    Raises ValueError for an unknown precision or mode, and for a graph elsewhere than on CUDA.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        precision: str = "float32",
        mode: str = "eager",
    ):
        for name, given, known in (("precision", precision, PRECISIONS), ("mode", mode, MODES)):
            if given not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {given!r}")
        self.model, self.optimizer, self.precision, self.mode = model, optimizer, precision, mode
        self.device = next(model.parameters()).device
        if mode == "graph" and self.device.type != "cuda":
            raise ValueError(f"a CUDA graph needs the model on CUDA, it is on {self.device}: use eager")
        if mode == "graph" and not optimizer.defaults.get("capturable"):
            raise ValueError("a CUDA graph needs an optimizer that was made with capturable=True")
        self._loss = self._next_token_loss
        if mode == "compiled":
            # For one shape: a general one would be slower, and a new batch size would quietly be another program.
            self._loss = torch.compile(self._next_token_loss, dynamic=False)
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Take the step; returns the loss before it, a number on the device, which nobody has waited for."""
        if self.mode == "graph":
            with torch.cuda.device(self.device):  # graphs belong to the current device
                return self._replay(ids, targets)
        loss = self.forward(*self.transfer(ids, targets))
        self.backward(loss)
        self.optimize()
        return loss.detach()

    def transfer(self, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The batch on the device. From pinned memory the host need not wait for the copy."""
        return ids.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """The mean loss in nats; the batch is on the device."""
        return self._loss(ids, targets)

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def optimize(self) -> None:
        """Update the weights and drop the gradients."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _next_token_loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(
            self.device.type,
            torch.bfloat16,
            enabled=self.precision == "bfloat16",
            cache_enabled=self.mode != "graph",  # a cast kept from outside the graph would never be renewed
        ):
            logits = self.model(ids)  # (B, T, V)
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def _replay(self, ids: Tensor, targets: Tensor) -> Tensor:
        if self._graph is None:
            self._capture(ids, targets)
        if ids.shape != self._ids.shape:
            raise ValueError(
                f"this graph was recorded for batches {tuple(self._ids.shape)}, got {tuple(ids.shape)}: make another"
            )
        self._ids.copy_(ids, non_blocking=True)
        self._targets.copy_(targets, non_blocking=True)
        self._graph.replay()
        return self._captured_loss.detach()

    def _capture(self, ids: Tensor, targets: Tensor) -> None:
        """Record the step, as in PyTorch's notes on CUDA graphs, "Whole-network capture"."""
        self._ids, self._targets = (x.to(self.device).clone() for x in (ids, targets))
        aside = torch.cuda.Stream(self.device)
        aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(aside):
            for _ in range(CAPTURE_WARMUP):
                self.backward(self.forward(self._ids, self._targets))
                self.optimize()
        torch.cuda.current_stream(self.device).wait_stream(aside)
        # Gradients are None here, so backward writes fresh ones in the graph's own memory at each replay.
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._captured_loss = self.forward(self._ids, self._targets)
            self.backward(self._captured_loss)
            self.optimizer.step()
