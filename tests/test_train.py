import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from lab.data import join_lines, random_windows
from lab.data.batch import IGNORE, Batch
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.train import Loss, Report, TrainConfig, next_token_loss, train, trained_tokenizer
from lab.train.optim import Muon, learning_rate_factor, make_optimizers, orthogonalise, set_learning_rate

CONFIG = TransformerConfig(vocab_size=20, context=8, width=16, num_layers=2, num_heads=2, feed_forward=32)
TEXT = torch.tensor([2, 7, 8, 9, 10, 11, 3] * 40)


def windows(seed: int = 0):
    return random_windows(TEXT, context=8, batch_size=4, generator=torch.Generator().manual_seed(seed))


def trained(batches, loss=next_token_loss, **settings) -> list[Report]:
    torch.manual_seed(0)
    return list(train(DecoderOnlyTransformer(CONFIG), batches, loss, TrainConfig(**settings)))


def test_training_learns_a_text_that_repeats_itself():
    reports = trained(windows(), steps=100, warmup=5)
    assert reports[0].loss == pytest.approx(math.log(20), rel=1e-5) and reports[-1].loss < 0.3
    assert [report.step for report in reports] == list(range(100)) and reports[0].tokens == 32
    assert reports[0].learning_rate == pytest.approx(TrainConfig.other_lr / 5)
    assert [report.loss for report in trained(windows(), steps=100, warmup=5)] == [r.loss for r in reports]


@pytest.mark.parametrize("targets", [[[1, 2, IGNORE]], [[1, IGNORE, IGNORE], [1, 2, 3]]])
def test_the_gradient_is_that_of_the_mean_over_the_targets_of_all_batches(targets):
    batches = [Batch(torch.zeros(1, 3, dtype=torch.int64), torch.tensor([each])) for each in targets]
    model, counts = nn.Linear(1, 1, bias=False), [batch.num_targets for batch in batches]
    loss = lambda model, batch, step: Loss(model.weight.sum() * 5 * batch.num_targets**2, batch.num_targets)  # noqa: E731
    [report] = train(model, batches, loss, TrainConfig(steps=1, accumulate=len(batches), clip_norm=1e9))
    assert report.grad_norm == pytest.approx(5 * sum(n**2 for n in counts) / sum(counts))


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
    torch.testing.assert_close(same_axes, torch.diag(same_axes.diagonal()))
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
    batch = next(random_windows(torch.arange(10), 7, 64, torch.Generator().manual_seed(3)))
    assert batch.ids.shape == (64, 7)
    assert set(batch.ids[:, 0].tolist()) == {0, 1, 2}, "every place can begin one"
    assert torch.equal(batch.ids, batch.ids[:, :1] + torch.arange(7))
    assert torch.equal(batch.targets, batch.ids + 1)
    assert join_lines([[2, 5, 3], [2, 3]]).tolist() == [2, 5, 3, 2, 3]


REFUSED = [
    (lambda: trained([next(windows())], steps=3), "ran out after 1 of 3 steps"),
    (lambda: trained([next(windows())] * 3, steps=3, accumulate=2), "ran out after 1 of 3 steps"),
    (lambda: trained([], steps=3), "ran out after 0 of 3 steps"),
    (lambda: trained([Batch(torch.full((1, 4), 2), torch.full((1, 4), IGNORE))], steps=1), "no targets"),
    (lambda: trained(windows(), steps=5, evaluate_every=2), "evaluate_every"),
    (lambda: trained(windows(), lambda *_: torch.ones(()), steps=1), r"lab\.train\.Loss.* Tensor"),
    (lambda: trained(windows(), lambda *_: None, steps=1), r"lab\.train\.Loss.* NoneType"),
    (lambda: trained_tokenizer(int, ["a"], 9), "int lacks train"),
    (
        lambda: trained_tokenizer(type("Own", (), {"train": len, "encode": len}), ["a"], 9),
        "Own lacks encode_lines",
    ),
    (lambda: next(random_windows(torch.arange(7), 7, 1, torch.Generator())), "8"),
    (lambda: next(random_windows(torch.arange(7), 0, 1, torch.Generator())), "1"),
    (lambda: Batch(torch.zeros(1, 4), torch.zeros(1, 3)), "ids and targets"),
]


@pytest.mark.parametrize(("call", "named"), REFUSED)
def test_what_cannot_be_trained_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_what_a_loss_tells_of_some_batches_is_the_mean_of_those():
    def loss(model, batch, step):
        told = {"always": step.micro} | ({"seldom": 5.0} if step.micro == 1 else {})
        return next_token_loss(model, batch)._replace(metrics=told)

    (report,) = trained(windows(), loss, steps=1, accumulate=3)
    assert report.metrics == {"always": 1.0, "seldom": 5.0}
