"""A step in parts is the same step, and its parts are all of its time."""

import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab.bench import STEP_PARTS, TrainingStep, profile_operators, profile_parts, time_parts
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig

CONFIG = TransformerConfig(vocab_size=20, context=8, width=16, num_layers=1, num_heads=2, feed_forward=32)


def new_model() -> nn.Module:
    torch.manual_seed(0)
    return DecoderOnlyTransformer(CONFIG)


def new_step(**options) -> TrainingStep:
    model = new_model()
    return TrainingStep(model, torch.optim.AdamW(model.parameters(), lr=1e-2), **options)


def batches():
    generator = torch.Generator().manual_seed(0)
    while True:
        ids = torch.randint(20, (4, 9), generator=generator)
        yield ids[:, :-1], ids[:, 1:]


def test_steps_and_their_parts_are_plain_training():
    step, parted, model, made = new_step(), new_step(), new_model(), batches()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(5):
        ids, targets = next(made)
        loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found = step(ids, targets)
        assert found == loss.detach() and not found.requires_grad
    again = batches()
    time_parts(parted, lambda: next(again), repeats=3, warmup=2)
    for timed in (step, parted):
        assert all(map(torch.equal, timed.model.parameters(), model.parameters()))


def test_what_cannot_be_is_refused():
    for option, bad in [("precision", "fp16"), ("mode", "fast"), ("mode", "graph")]:
        with pytest.raises(ValueError, match=option if bad != "graph" else "CUDA"):
            new_step(**{option: bad})


@pytest.mark.parametrize("way", [time_parts, profile_parts])
def test_time_is_found_where_it_is_spent(way):
    made = batches()
    found = way(new_step(), lambda: time.sleep(0.05) or next(made))
    assert tuple(found) == STEP_PARTS
    seconds = {part: value if isinstance(value, float) else value.median for part, value in found.items()}
    assert seconds["data"] >= 0.05
    assert min(seconds.values()) > 0 and max(seconds.values()) == seconds["data"], "a tiny step is quick"


def test_operators_are_listed_by_their_own_time():
    x = torch.ones(300, 300)
    found = profile_operators(lambda: [x @ x for _ in range(7)], top=3)
    assert found[0][0] == "aten::mm" and found[0][1] == 7
    assert [seconds for _, _, seconds in found] == sorted((s for _, _, s in found), reverse=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_graph_is_the_same_training():
    steps = {}
    for mode in ("eager", "graph"):
        model = new_model().to("cuda")
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True, capturable=mode == "graph")
        steps[mode] = TrainingStep(model, optimizer, mode=mode)
    made = batches()
    first = next(made)
    for _ in range(3):  # what the graph takes before it is recorded
        steps["eager"](*first)
    for batch in [first, next(made), next(made)]:
        eager, graph = (step(*batch).item() for step in steps.values())
        assert graph == pytest.approx(eager, rel=1e-4)
    with pytest.raises(ValueError, match="recorded for batches"):
        steps["graph"](*(x[:2] for x in first))
    with pytest.raises(ValueError, match="has no parts"):
        time_parts(steps["graph"], lambda: first)
