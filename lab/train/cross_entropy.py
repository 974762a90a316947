"""The cross-entropy and its gradient in one pass over the logits, a few rows at a time."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lab.data import IGNORE

AT_ONCE = 2**18  # logits: so few stay in a processor's cache from the exponentials to the gradient


class CrossEntropy(torch.autograd.Function):
    """The cross-entropy in nats of `targets` `(N,)` by `logits` `(N, V)`, summed over those that are not `IGNORE`.

    What `F.cross_entropy(logits, targets, reduction="sum")` says, computed in float32 or better. The gradient of a
    row is `softmax(logits) - one_hot(target)`; it is there as soon as the exponentials are, so it is written down at
    once, in the precision of the logits (of float16 in float32, since a loss that is scaled must be able to lift what
    float16 would round to 0). torch makes three tables of float32 as large as the logits instead, which of
    a small model takes a good part of a step. (For GPUs: Hsu et al. 2024, Liger Kernel.)

    >>> CrossEntropy.apply(torch.zeros(3, 4), torch.tensor([0, 3, IGNORE]))  # 2 ln 4
    tensor(2.7726)
    """

    @staticmethod
    def forward(ctx, logits: Tensor, targets: Tensor) -> Tensor:
        computed_in = torch.promote_types(logits.dtype, torch.float32)
        nats = logits.new_zeros((), dtype=computed_in)
        kept_in = computed_in if logits.dtype == torch.float16 else logits.dtype
        gradient = torch.empty_like(logits, dtype=kept_in) if ctx.needs_input_grad[0] else logits[:0]
        rows = max(1, AT_ONCE // max(1, logits.shape[-1]))
        for i in range(0, len(logits), rows):
            here = slice(i, i + rows)
            target, counted = targets[here, None], (targets[here, None] != IGNORE).to(computed_in)
            target = target.masked_fill(target == IGNORE, 0)
            x = logits[here].to(computed_in, copy=True)
            right, highest = x.gather(1, target), x.amax(1, keepdim=True)
            x.sub_(highest).exp_()
            total = x.sum(1, keepdim=True)
            nats += ((total.log() + highest - right) * counted).sum()
            if len(gradient):
                gradient[here] = x.mul_(counted / total).scatter_add_(1, target, -counted)
        ctx.save_for_backward(gradient)
        ctx.given_in = logits.dtype
        return nats

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream).to(ctx.given_in), None
