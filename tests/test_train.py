import copy
import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import lab.train.cross_entropy
from lab.data import join_lines, random_windows
from lab.data.batch import IGNORE, Batch
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.runs import Data, Experiment
from lab.train import (
    Loss,
    NextToken,
    Report,
    TrainConfig,
    TrainingState,
    next_token_loss,
    summed_nats,
    train,
    trained_tokenizer,
)
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


@pytest.mark.parametrize("least", [0.0, 0.1])
def test_warm_restarts_are_those_of_torch(least):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=30, eta_min=2.0 * least)
    for step in range(90):
        ours = 2.0 * learning_rate_factor(step, 90, 0, "cosine", restarts=2, least=least)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12), step
        optimizer.step()
        theirs.step()


def test_parameters_learn_at_the_rate_of_their_names():
    settings = dict(matrix_lr=0.1, other_lr=0.01, weight_decay=0.5)
    rates = [("embedding.*", 0.0), ("*.blocks.1.*", 0.5), ("*.blocks.*", 2.0)]
    model = DecoderOnlyTransformer(CONFIG)
    groups = [g for o in make_optimizers(model, rates=rates, **settings) for g in o.param_groups]
    found = {p: (group["base_lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    named = dict(model.named_parameters())
    assert not named["embedding.token.weight"].requires_grad and named["embedding.token.weight"] not in found
    block = "decoder.blocks.{}.feed_forward.{}.weight"
    assert found[named[block.format(0, "expand")]] == (0.2, 0.5)
    assert found[named[block.format(1, "expand")]] == (0.05, 0.5)
    assert found[named[block.format(1, "norm")]] == (0.005, 0.0)
    assert found[named["output.weight"]] == (0.01, 0.5)


def test_what_does_not_learn_stays_and_the_clip_does_not_see_it():
    torch.manual_seed(0)
    model = DecoderOnlyTransformer(CONFIG)
    for p in model.parameters():
        nn.init.normal_(p, std=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    frozen, plain = (("output.*", 0.0), ("embedding.*", 0.0)), copy.deepcopy(model)
    [report] = train(model, windows(), next_token_loss, TrainConfig(steps=1, warmup=0, rates=frozen))
    assert all(torch.equal(p, before[name]) == (not p.requires_grad) for name, p in model.named_parameters())
    [whole] = train(plain, windows(), next_token_loss, TrainConfig(steps=1, warmup=0))
    assert report.loss == whole.loss and report.grad_norm < whole.grad_norm


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 9), st.integers(2, 7), st.integers(1, 60), st.integers(0, 999))
def test_cross_entropy_and_its_gradient_are_those_of_torch(N, V, at_once, seed):
    dice = torch.Generator().manual_seed(seed)
    logits = torch.randn(N, V, dtype=torch.float64, generator=dice).mul_(30).requires_grad_()
    targets = torch.randint(V + 1, (N,), generator=dice)
    targets[targets == V] = IGNORE
    theirs = nn.functional.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            lab.train.cross_entropy, "AT_ONCE", at_once
        )  # so few logits that there are several parts
        ours = summed_nats(logits, targets)
        coarse = summed_nats(logits.bfloat16(), targets)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    grads = (torch.autograd.grad(3 * nats, logits)[0] for nats in (ours, theirs))
    torch.testing.assert_close(*grads, rtol=0, atol=1e-12)
    assert coarse.dtype == torch.float32, "summed in float32"
    assert coarse.item() == pytest.approx(theirs.item(), rel=0.02, abs=0.3 * max(N, 1))


def test_a_scaled_loss_lifts_gradients_that_float16_would_round_to_nothing():
    logits = torch.tensor([[0.0, -18.0]], dtype=torch.float16, requires_grad=True)
    (2.0**16 * summed_nats(logits, torch.tensor([0]))).backward()
    assert logits.grad[0, 1].item() == pytest.approx(2**16 * math.exp(-18), rel=0.01)


def test_steps_are_made_orthogonal_in_bfloat16_as_well():
    matrix = torch.randn(24, 40, generator=torch.Generator().manual_seed(0))
    exact, coarse = orthogonalise(matrix), orthogonalise(matrix.bfloat16())
    assert coarse.dtype == torch.bfloat16
    torch.testing.assert_close(coarse.float(), exact, rtol=0, atol=0.03)


@pytest.mark.parametrize(("fast", "meant"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_the_precision_that_the_machine_computes_fast_in(fast, meant, monkeypatch):
    monkeypatch.setattr("lab.train.state.fast_bfloat16", lambda: fast)
    auto, said = (trained(windows(), steps=3, precision=kind) for kind in ("auto", meant))
    assert [step.loss for step in auto] == [step.loss for step in said]
    asked = Experiment(CONFIG, training=TrainConfig(steps=3, precision="auto"), data=Data("grammar", "char"))
    assert asked.resolved().training.precision == meant


def test_smoothed_labels_are_those_of_torch_and_losses_stay_comparable():
    logits = torch.randn(2, 5, 9, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(9, (2, 5))
    targets[1, 3:] = IGNORE
    options = dict(ignore_index=IGNORE, reduction="sum")
    theirs = nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), label_smoothing=0.3, **options
    )
    ours = summed_nats(logits, targets, 0.3)
    same = partial(torch.testing.assert_close, rtol=0, atol=1e-12)
    same(*(torch.autograd.grad(nats, logits)[0] for nats in (ours, theirs)))
    same(ours, nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), **options))
    model, [batch] = DecoderOnlyTransformer(CONFIG), [next(windows())]
    nn.init.normal_(model.output.weight)
    grads = []
    for smoothing in (0.0, 0.2):
        loss = NextToken(label_smoothing=smoothing).loss(model, batch, None)
        grads.append(torch.autograd.grad(loss.nats, model.output.weight)[0])
    assert not torch.equal(*grads)


def test_float16_halves_its_scale_where_a_gradient_is_too_large_and_takes_no_step(monkeypatch):
    monkeypatch.setattr("lab.train.loop.NO_FLOAT16", ())  # as if this were a GPU
    model = DecoderOnlyTransformer(CONFIG)
    config = TrainConfig(steps=60, warmup=5, precision="float16")
    state = TrainingState(model, config)
    state.loss_scale, before = 2.0**20, [p.detach().clone() for p in model.parameters()]
    reports = train(model, windows(), next_token_loss, config, state=state)
    assert next(reports).grad_norm == 0 and state.loss_scale == 2.0**19
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    *_, last = reports
    assert last.loss < 1.5 and 1 < state.loss_scale < 2.0**18
    plain, first = (trained(windows(), steps=1, precision=kind)[0] for kind in ("float32", "float16"))
    assert first.grad_norm == pytest.approx(plain.grad_norm, rel=0.01), "not that of the scaled loss"


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
    (lambda: trained(windows(), steps=3, precision="float16"), "bfloat16"),
    (lambda: trained(windows(), steps=3, rates=(("embeding.*", 0.5),)), "embeding.*decoder.blocks.0"),
    (lambda: trained(windows(), steps=3, rates=(("*", 0.0),)), "nothing that learns"),
    (lambda: NextToken(label_smoothing=1.0), "label_smoothing"),
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
