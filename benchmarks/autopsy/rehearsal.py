"""The stuck run again, with the faults one asks for: one model, one loop, everything else the same.

Letters: B rows, T characters, V the vocabulary.
"""

import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from autopsy.curves import Curve
from autopsy.faults import Faults, Size
from autopsy.levels import (
    ACCUMULATE,
    DROPOUT,
    WEIGHT_DECAY,
    WEIGHTS,
    optimizer_steps,
    recorded_rate_factor,
)
from autopsy.losses import OBJECTIVES, batch_losses, masked, measure, padded, trimmed
from lab.chars import CharEncoder, CharEncoderConfig
from lab.nn import TransformerConfig
from lab.train.optim import learning_rate_factor, make_optimizers, set_learning_rate


def rehearse(
    faults: Faults,
    size: Size,
    lines: Sequence[str],
    tokenizer,
    steps: int | None = None,
    seed: int = 0,
    *,
    held_out: Sequence[str],
    every: int | None = None,
    device: torch.device | str = "cpu",
) -> Curve:
    """Train with `faults` for `steps` micro-batches (None: `size.steps`) and measure on the lines held out.

    A seed decides the weights, and the order of the lines and the masks, these alike for all variants; the lines held
    out are corrupted in the same way whatever the seed. The curve holds a mean of every `every` micro-batches (None: 15
    of them), and first what the untrained model says of the first micro-batch. `lines` need be no more than are read:
    `steps * batch_size`.

    Raises ValueError when there are fewer lines than a batch holds, or none to measure on.
    """
    return run(faults, size, lines, tokenizer, steps, seed, held_out=held_out, every=every, device=device)[1]


def run(
    faults: Faults, size: Size, lines, tokenizer, steps=None, seed=0, *, held_out, every=None, device="cpu"
) -> tuple[CharEncoder, Curve]:
    """As `rehearse`, and the trained model too."""
    steps = size.steps if steps is None else steps
    every = every or max(1, steps // 15)
    rows = padded(tokenizer, lines, size.chars)
    kept = padded(tokenizer, held_out, size.chars)[: size.held_out]
    if len(rows) < size.batch_size or len(kept) == 0:
        raise ValueError(
            f"{len(rows)} lines of two characters or more to train on and {len(kept)} to measure on: "
            f"expected at least a batch of {size.batch_size}, and one"
        )
    accumulate = ACCUMULATE if faults.accumulation else 1
    first = 1 if faults.early_first_step else accumulate  # micro-batches before the first optimizer step
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make_model(faults, size, tokenizer).to(device).train()
        optimizers = make_optimizers_for(faults, size, model)
        generator = torch.Generator().manual_seed(seed)
        log, since, updates, start = [], torch.zeros(len(OBJECTIVES)), 0, time.perf_counter()
        for taken, batch in enumerate(shuffled(rows, size.batch_size, steps, generator), start=1):
            ids = batch.to(device)
            losses = batch_losses(model, faults, masked(ids, tokenizer, generator), ids, tokenizer)
            sum(WEIGHTS[name] * nats / accumulate for name, nats in losses.items()).backward()
            since += torch.tensor([losses[name].item() for name in OBJECTIVES])
            rate = rate_factor(faults, updates, steps)
            if taken == 1:
                log.append((0, *since.tolist(), rate))
            if taken >= first and (taken - first) % accumulate == 0:
                update(model, optimizers, rate, faults)
                updates += 1
            if taken % every == 0 or taken == steps:
                log.append((taken, *(since / (taken - log[-1][0])).tolist(), rate))
                since.zero_()
        seconds = time.perf_counter() - start
        measured = measure(model, faults, kept.to(device), tokenizer)
    columns = (tuple(column) for column in zip(*log, strict=True))
    return model, Curve(*columns, measured, updates, model.num_parameters, seconds, seed)


def shuffled(rows: Tensor, batch_size: int, batches: int, generator: torch.Generator) -> Iterator[Tensor]:
    """So many batches `(B, T)` of `rows` `(N, T)`, each pass over them in a new order, trimmed of common padding."""
    left = rows[:0]
    for _ in range(batches):
        while len(left) < batch_size:
            left = torch.cat([left, rows[torch.randperm(len(rows), generator=generator)]])
        yield trimmed(left[:batch_size])
        left = left[batch_size:]


def make_model(faults: Faults, size: Size, tokenizer) -> CharEncoder:
    """The character encoder with the faults that are built in."""
    stack = TransformerConfig(
        tokenizer.vocab_size,
        context=size.chars,
        width=size.width,
        num_layers=size.encoder_layers,
        num_heads=size.num_heads,
        feed_forward=size.feed_forward,
        positions="learned" if faults.absolute_positions else "rotary",
        norm_place="post" if faults.post_norm else "pre",
        tied=True,
        dropout=DROPOUT,
    )
    config = CharEncoderConfig(
        stack,
        pad_id=tokenizer.pad_id,
        decoder_layers=size.decoder_layers,
        cross_attention="states" if faults.leak else "none",
        head_maps=not faults.unit_embeddings,
    )
    model = CharEncoder(config)
    if faults.unit_embeddings:
        nn.init.normal_(model.embedding.token.weight)
        if faults.absolute_positions:
            nn.init.normal_(model.embedding.place.weight)
        # Only the encoder's heads were tied; that of CLM was as torch makes it.
        model.heads["clm"].output = nn.Linear(size.width, tokenizer.vocab_size)
    if faults.dropout_misses_blocks:
        for stack in (model.encoder, model.decoder):
            for module in stack.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
    return model


def make_optimizers_for(faults: Faults, size: Size, model: nn.Module) -> list[torch.optim.Optimizer]:
    """Adam as recorded, or the project's Muon and AdamW; weight decay apart from the gradient, or none here."""
    decay = 0.0 if faults.coupled_decay else WEIGHT_DECAY
    if not faults.plain_adam:
        return make_optimizers(model, matrix_lr=size.matrix_lr, other_lr=size.other_lr, weight_decay=decay)
    adam = torch.optim.AdamW(model.parameters(), lr=size.adam_lr, betas=(0.9, 0.98), weight_decay=decay)
    adam.param_groups[0]["base_lr"] = size.adam_lr
    return [adam]


def rate_factor(faults: Faults, update: int, steps: int) -> float:
    """What the learning rates are multiplied by at an optimizer step."""
    if faults.slow_warmup:
        return recorded_rate_factor(update, steps)
    updates = optimizer_steps(steps, ACCUMULATE if faults.accumulation else 1)
    return learning_rate_factor(update, updates, warmup=max(1, updates // 20))


def update(model: nn.Module, optimizers, rate: float, faults: Faults) -> None:
    """One optimizer step with the gradient gathered so far."""
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    if faults.coupled_decay:  # after clipping, so that it does not shrink with the rest
        with torch.no_grad():
            for p in model.parameters():
                if p.grad is not None:
                    p.grad.add_(p, alpha=WEIGHT_DECAY)
    set_learning_rate(optimizers, rate)
    for optimizer in optimizers:
        optimizer.step()
    model.zero_grad()
