import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from lab.data import join_lines, random_windows
from lab.data.batch import IGNORE, Batch
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.train import Loss, TrainConfig, next_token_loss, train
from lab.train.optim import Muon, learning_rate_factor, make_optimizers, orthogonalise, set_learning_rate

CONFIG = TransformerConfig(vocab_size=20, context=8, width=16, num_layers=2, num_heads=2, feed_forward=32)
TEXT = torch.tensor([2, 7, 8, 9, 10, 11, 3] * 40)


def windows(seed: int = 0):
    return random_windows(TEXT, context=8, batch_size=4, generator=torch.Generator().manual_seed(seed))


def trained(steps: int = 100, **settings) -> tuple[DecoderOnlyTransformer, list[float]]:
    torch.manual_seed(0)
    model = DecoderOnlyTransformer(CONFIG)
    config = TrainConfig(steps=steps, warmup=5, **settings)
    return model, [step.loss for step in train(model, windows(), next_token_loss, config)]


def test_training_learns_a_text_that_repeats_itself():
    _, losses = trained()
    assert losses[0] == pytest.approx(math.log(20), rel=1e-5)
    assert losses[-1] < 0.3


def test_the_same_seed_gives_the_same_numbers():
    (one, losses), (other, again) = trained(), trained()
    assert losses == again
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_every_step_is_reported_as_it_happens():
    torch.manual_seed(0)
    steps = train(DecoderOnlyTransformer(CONFIG), windows(), next_token_loss, TrainConfig(steps=4, warmup=2))
    first = next(steps)
    assert (first.step, first.tokens) == (0, 32)
    assert first.learning_rate == pytest.approx(TrainConfig.other_lr / 2)
    assert [step.step for step in steps] == [1, 2, 3]


def test_the_gradient_is_that_of_the_mean_over_targets():
    torch.manual_seed(0)
    model, seen = nn.Linear(3, 3, bias=False), []
    batch = Batch(torch.zeros(1, 4, dtype=torch.int64), torch.tensor([[1, 2, IGNORE, IGNORE]]))

    def loss(model, batch, step):
        return Loss(model.weight.sum() * 5, batch.num_targets)

    for step in train(model, [batch], loss, TrainConfig(steps=1, clip_norm=1e9)):
        seen.append(step.grad_norm)
    assert seen == [pytest.approx(math.sqrt(9 * 2.5**2))]


def test_a_step_of_several_batches_has_the_mean_over_the_targets_of_all():
    few, more = (
        Batch(torch.zeros(1, 4, dtype=torch.int64), torch.tensor([targets]))
        for targets in ([1, IGNORE, IGNORE, IGNORE], [1, 2, 3, IGNORE])
    )
    model = nn.Linear(1, 1, bias=False)

    def loss(model, batch, step):
        return Loss(model.weight.sum() * 5 * batch.num_targets**2, batch.num_targets)

    [report] = train(model, [few, more], loss, TrainConfig(steps=1, accumulate=2, clip_norm=1e9))
    assert report.grad_norm == pytest.approx(5 * (1**2 + 3**2) / (1 + 3))


def test_batches_that_run_out_are_an_error_with_both_numbers():
    with pytest.raises(ValueError, match="ran out after 1 of 3 steps"):
        list(train(DecoderOnlyTransformer(CONFIG), [next(windows())], next_token_loss, TrainConfig(steps=3)))


def test_a_batch_without_targets_is_an_error():
    batch = Batch(torch.full((1, 4), 2), torch.full((1, 4), IGNORE))
    with pytest.raises(ValueError, match="no targets"):
        list(train(DecoderOnlyTransformer(CONFIG), [batch], next_token_loss, TrainConfig(steps=1)))


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched():
    model = DecoderOnlyTransformer(CONFIG)
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(FloatingPointError, match="nan at step 0"):
        list(
            train(
                model,
                windows(),
                lambda m, b, s: Loss(m.output.weight.sum() * math.nan, 1),
                TrainConfig(steps=2),
            )
        )
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_every_parameter_belongs_to_exactly_one_group():
    model = DecoderOnlyTransformer(CONFIG)
    optimizers = make_optimizers(model, matrix_lr=0.1, other_lr=0.01, weight_decay=0.5)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())
    muon = next(optimizer for optimizer in optimizers if isinstance(optimizer, Muon))
    inside = [p for name, p in model.named_parameters() if ".blocks." in name and p.dim() == 2]
    assert {id(p) for p in muon.param_groups[0]["params"]} == {id(p) for p in inside}
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    assert not any(p.dim() < 2 and id(p) in decayed for p in model.parameters())
    set_learning_rate(optimizers, 0.5)
    assert {group["lr"] for group in groups} == {0.05, 0.005}


@pytest.mark.parametrize("shape", [(8, 8), (24, 8), (8, 24)])
def test_an_orthogonalised_matrix_stretches_all_directions_alike(shape):
    matrix = torch.randn(shape, dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalise(matrix, steps=5)
    same_axes = left.T @ result @ right.T
    torch.testing.assert_close(
        same_axes - torch.diag(same_axes.diagonal()), torch.zeros(8, 8, dtype=torch.float64)
    )
    assert same_axes.diagonal().min() > 0.5 and same_axes.diagonal().max() < 1.3
    assert values.max() / values.min() > 1.5, "the matrix was not stretched evenly before"


def test_muon_looks_ahead_of_its_momentum_and_lets_weights_decay():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(3, 3))
    gradients, start = torch.randn(2, 3, 3), weight.detach().clone()
    optimizer = Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.5)
    expected, momentum = start, torch.zeros(3, 3)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        momentum = 0.9 * momentum + 0.1 * gradient
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * orthogonalise(0.1 * gradient + 0.9 * momentum)
    torch.testing.assert_close(weight.detach(), expected)


def test_the_learning_rate_rises_then_falls():
    factors = [learning_rate_factor(step, 100, 10, "cosine") for step in range(100)]
    assert factors.index(max(factors)) in (9, 10)
    assert all(a > b for a, b in pairwise(factors[10:]))
    assert learning_rate_factor(55, 100, 10, "linear") == pytest.approx(0.5)
    assert learning_rate_factor(99, 100, 10, "constant") == 1.0


def test_windows_are_stretches_of_the_text_with_the_next_token_as_target():
    text = torch.arange(100)
    batch = next(random_windows(text, context=7, batch_size=5, generator=torch.Generator().manual_seed(3)))
    assert batch.ids.shape == (5, 7)
    assert torch.equal(batch.ids, batch.ids[:, :1] + torch.arange(7))
    assert torch.equal(batch.targets, batch.ids + 1)


def test_every_place_of_the_text_can_begin_a_window():
    batches = random_windows(
        torch.arange(10), context=7, batch_size=64, generator=torch.Generator().manual_seed(0)
    )
    assert set(next(batches).ids[:, 0].tolist()) == {0, 1, 2}


def test_windows_refuse_a_text_that_is_too_short():
    with pytest.raises(ValueError, match="8"):
        next(random_windows(torch.arange(7), 7, 1, torch.Generator()))
    with pytest.raises(ValueError, match="1"):
        next(random_windows(torch.arange(7), 0, 1, torch.Generator()))


def test_lines_are_joined_in_order():
    assert join_lines([[2, 5, 3], [2, 3]]).tolist() == [2, 5, 3, 2, 3]


def test_a_batch_refuses_ids_and_targets_of_other_shapes():
    with pytest.raises(ValueError, match=r"\(1, 4\) and \(1, 3\)"):
        Batch(torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.int64))


def test_what_a_loss_tells_of_some_batches_is_the_mean_of_those():
    def loss(model, batch, step):
        nats, count, _ = next_token_loss(model, batch)
        return Loss(nats, count, {"always": step.micro} | ({"seldom": 5.0} if step.micro == 1 else {}))

    (report,) = train(DecoderOnlyTransformer(CONFIG), windows(), loss, TrainConfig(steps=1, accumulate=3))
    assert report.metrics == {"always": 1.0, "seldom": 5.0}
