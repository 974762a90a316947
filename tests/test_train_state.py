"""Steps made of several batches, evaluation, early stopping, divergence, and training that goes on where it stood."""

import copy
import math
from dataclasses import replace
from functools import partial
from itertools import chain, repeat

import pytest
import torch

from lab.data import random_windows
from lab.data.batch import IGNORE, Batch
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.train import Loss, TrainConfig, TrainingDiverged, TrainingState, next_token_loss, train

CONFIG = TransformerConfig(20, context=8, width=16, num_layers=2, num_heads=2, feed_forward=32, dropout=0.2)
TEXT = torch.randint(5, 20, (400,), generator=torch.Generator().manual_seed(0))


def windows(seed: int = 0):
    return random_windows(TEXT, context=8, batch_size=4, generator=torch.Generator().manual_seed(seed))


def new_model(dtype: torch.dtype = torch.float32, **changes) -> DecoderOnlyTransformer:
    torch.manual_seed(0)
    return DecoderOnlyTransformer(replace(CONFIG, **changes)).to(dtype)


def weights(model) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def uneven(*lengths: int) -> list[Batch]:
    """Batches of one row each with so many targets."""
    batches = []
    for n, length in enumerate(lengths):
        row = TEXT[20 * n : 20 * n + 9]
        targets = row[1:].clone()
        targets[length:] = IGNORE
        batches.append(Batch(row[None, :-1], targets[None]))
    return batches


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_several_batches_a_step_are_one_big_batch_however_uneven(optimizer):
    small = uneven(8, 1, 3, 5, 0, 2)
    big = [
        Batch(torch.cat([b.ids for b in group]), torch.cat([b.targets for b in group]))
        for group in (small[:3], small[3:])
    ]
    results = []
    for batches, accumulate in ((small, 3), (big, 1)):
        model = new_model(dropout=0.0, dtype=torch.float64)
        config = TrainConfig(steps=2, warmup=0, accumulate=accumulate, optimizer=optimizer)
        steps = list(train(model, batches, next_token_loss, config))
        results.append(([s.loss for s in steps], [s.grad_norm for s in steps], weights(model)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-9)
    assert [s.tokens for s in steps] == [12, 7]


def resumed(config: TrainConfig, stop: int, **settings):
    """Training that is left after `stop` steps and taken up by fresh objects, and what it gave."""
    model = new_model()
    state = TrainingState(model, config)
    losses = []
    for step in train(model, windows(), next_token_loss, config, state=state, **settings):
        losses.append(step.loss)
        if state.step == stop:
            break
    kept = {name: t.clone() for name, t in state.tensors().items()}, state.values(), torch.get_rng_state()
    weights_then = copy.deepcopy(model.state_dict())

    torch.manual_seed(99)
    model = DecoderOnlyTransformer(CONFIG)
    model.load_state_dict(weights_then)
    state = TrainingState(model, config)
    state.load(*kept[:2])
    torch.set_rng_state(kept[2])
    steps = train(model, windows(), next_token_loss, config, state=state, **settings)
    return losses + [step.loss for step in steps], weights(model), state


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("stop", [1, 7, 11])
def test_training_taken_up_again_gives_the_very_same_numbers(optimizer, stop):
    config = TrainConfig(steps=12, warmup=3, accumulate=2, optimizer=optimizer, weight_decay=0.1)
    model = new_model()
    losses = [step.loss for step in train(model, windows(), next_token_loss, config)]
    again, weights_again, state = resumed(config, stop)
    assert again == losses
    assert same(weights_again, weights(model))
    assert (state.step, state.batches_taken, state.tokens) == (12, 24, 12 * 2 * 32)


def test_a_stream_that_can_skip_is_asked_to_and_what_is_left_of_one_is_refused():
    class Stream:
        def skip(self, n):
            return [n] * 3

    state = TrainingState(new_model(), TrainConfig(steps=9))
    state.batches_taken = 5
    assert list(state.remaining(Stream())) == [5] * 3
    with pytest.raises(ValueError, match=r"5 batches .* 2"):
        state.remaining([None, None])


def test_evaluation_comes_every_so_often_in_evaluation_mode_without_gradients():
    seen = []

    def evaluate(model):
        seen.append((model.training, torch.is_grad_enabled()))
        return 7.0 - len(seen)

    model, config = new_model(), TrainConfig(steps=7, evaluate_every=3)
    state = TrainingState(model, config)
    steps = list(train(model, windows(), next_token_loss, config, state=state, evaluate=evaluate))
    assert [s.validation for s in steps] == [None, None, 6.0, None, None, 5.0, None]
    assert seen == [(False, False)] * 2
    assert (state.best_validation, state.best_step, state.validation) == (5.0, 6, None)


def test_training_ends_when_the_patience_is_used_up_also_across_a_resume():
    values = iter([5.0, 6.0, 4.0, 4.0, 4.5, 3.0])  # one no better, then the best, then two that are not
    model, config = new_model(), TrainConfig(steps=50, evaluate_every=2, patience=2)
    state, again = TrainingState(model, config), TrainingState(model, config)
    evaluate = lambda model: next(values)  # noqa: E731
    steps = list(train(model, windows(), next_token_loss, config, state=state, evaluate=evaluate))
    assert len(steps) == 10 and steps[-1].validation == 4.5
    assert (state.best_validation, state.best_step, state.evaluations_without_improvement) == (4.0, 6, 2)
    again.load(state.tensors(), state.values())
    more = train(model, windows(), next_token_loss, config, state=again, evaluate=evaluate)
    assert list(more) == [], "a run that had stopped stays stopped"


def test_on_a_plateau_the_rates_halve_as_those_of_torch_also_across_a_resume():
    values = [5.0, 6.0, 5.5, 4.0, 4.1, 4.2, 4.3, 4.4, 4.5, 3.0, 3.1, 3.2]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=1, threshold=0.0, min_lr=0.2
    )
    config = TrainConfig(
        12, warmup=0, schedule="constant", evaluate_every=1, plateau=2, least_rate=0.2, other_lr=1e-3
    )
    model = new_model()
    state = TrainingState(model, config)
    for n, value in enumerate(values):
        again = TrainingState(model, config)
        again.load(state.tensors(), state.values())
        steps = train(model, windows(), next_token_loss, config, state=again, evaluate=lambda _, v=value: v)
        report, state = next(steps), again
        steps.close()
        assert report.learning_rate == pytest.approx(1e-3 * optimizer.param_groups[0]["lr"]), n
        theirs.step(value)
    older = {name: value for name, value in state.values().items() if name not in ("halvings", "loss_scale")}
    again.load(state.tensors(), older)
    assert again.halvings == 0 and again.step == 12, "a checkpoint from before there were any"


@pytest.mark.parametrize("accumulate, call", [(1, 3), (2, 6), (2, 7)])
def test_a_loss_that_is_not_finite_names_step_batch_rates_and_checkpoint(accumulate, call):
    def loss(model, batch, step):
        nats, count, _ = next_token_loss(model, batch)
        return Loss(nats * math.nan if step.number * accumulate + step.micro == call else nats, count)

    model, config = new_model(), TrainConfig(steps=9, warmup=6, accumulate=accumulate)
    state, batches = TrainingState(model, config), list(zip(range(20), windows(), strict=False))
    steps = train(model, (b for _, b in batches), loss, config, state=state)
    for _ in range(3):
        next(steps)
    before, kept = weights(model), state.values()
    state.saved_to = "runs/x/step-00000002"
    with pytest.raises(TrainingDiverged) as error:
        next(steps)
    ids = batches[call][1].ids[0].tolist()
    for said in ("step 3", str(ids), "matrix_lr was 0.02 (of 0.03)", "0.004 (of 0.006)", "step-00000002"):
        assert said in str(error.value)
    assert same(before, weights(model)) and state.values() == kept
    assert all(p.grad is None for p in model.parameters())


def test_a_gradient_or_validation_that_is_not_finite_stops_before_the_weights_are_touched():
    model = new_model()
    before = weights(model)

    def loss(model, batch, step):
        nats, count, _ = next_token_loss(model, batch)
        infinite_slope = (model.embedding.token.weight.sum() * 0).sqrt()
        return Loss(nats + infinite_slope, count)

    with pytest.raises(TrainingDiverged, match=r"norm of the gradient is nan at step 0.*none saved"):
        list(train(model, windows(), loss, TrainConfig(steps=2)))
    assert same(before, weights(model))
    config = TrainConfig(steps=2, evaluate_every=1)
    with pytest.raises(TrainingDiverged, match="validation is inf at step 1"):
        list(train(model, windows(), next_token_loss, config, evaluate=lambda model: math.inf))


def test_what_an_interrupted_step_left_does_not_count():
    def interrupted(model, batch, step):
        if step.micro == 1:
            raise KeyboardInterrupt
        return next_token_loss(model, batch)

    model, config, norms = new_model(), TrainConfig(steps=1, accumulate=2), []
    with pytest.raises(KeyboardInterrupt):
        next(train(model, windows(), interrupted, config))
    assert any(p.grad is not None for p in model.parameters())
    for each in (model, new_model()):
        torch.manual_seed(1)
        norms.append(next(train(each, windows(), next_token_loss, config)).grad_norm)
    assert norms[0] == norms[1]


@pytest.mark.parametrize(
    "field, value",
    [
        *[("steps", value) for value in (0, True, 1.5)],
        *[("warmup", -1), ("accumulate", 0), ("accumulate", 1.5), ("evaluate_every", -1), ("patience", 2)],
        *[("other_lr", value) for value in (0, "1", math.nan, -1)],
        *[("matrix_lr", math.inf), ("clip_norm", -1), ("weight_decay", -0.1), ("weight_decay", math.nan)],
        *[("optimizer", "sgd"), ("precision", "float64"), ("schedule", "sideways"), ("compile", 1)],
        *[("plateau", 2), ("least_rate", 1.5), ("rates", (("a", -1),))],
    ],
)
def test_a_config_names_the_field_that_cannot_be(field, value):
    with pytest.raises(ValueError, match=field):
        TrainConfig(**{"steps": 5} | {field: value})


def test_a_loss_knows_the_step_and_draws_the_same_noise_after_a_resume():
    config, seen = TrainConfig(steps=4, accumulate=2), []

    def loss(model, batch, step):
        noise = torch.rand(1, generator=step.rng).item()
        seen.append((step.number, step.micro, step.share, noise, step.material))
        return next_token_loss(model, batch)._replace(metrics={"noise": noise})

    model = new_model()
    state = TrainingState(model, config)
    reports = list(train(model, windows(), loss, config, state=state, seed=3, material="text"))
    assert [s[:3] for s in seen] == [(n, m, n / 4) for n in range(4) for m in range(2)]
    assert len({s[3] for s in seen}) == 8 and {s[4] for s in seen} == {"text"}
    assert reports[1].metrics == {"noise": pytest.approx((seen[2][3] + seen[3][3]) / 2)}
    whole, seen[:] = list(seen), []
    state.load(state.tensors(), state.values() | {"step": 2, "batches_taken": 4})
    list(train(model, windows(), loss, config, state=state, seed=3, material="text"))
    assert seen == whole[4:]
    assert next(train(new_model(), windows(), loss, config, seed=4)).metrics != reports[0].metrics


def test_state_model_config_and_evaluation_must_belong_together():
    model, config = new_model(), TrainConfig(steps=5)
    state = TrainingState(model, config)
    cases = [
        ((new_model(), config), {}, "belongs to another model"),
        ((model, TrainConfig(steps=6)), {}, "made for another config"),
        ((model, config), {"evaluate": lambda model: 0.0}, "go together"),
    ]
    for (other, other_config), settings, said in cases:
        with pytest.raises(ValueError, match=said):
            next(train(other, windows(), next_token_loss, other_config, state=state, **settings))


def test_a_state_goes_on_under_a_changed_config():
    model, config, longer = new_model(), TrainConfig(steps=3), TrainConfig(steps=5, other_lr=1e-4)
    state, new = TrainingState(model, config), TrainingState(model, longer)
    list(train(model, windows(), next_token_loss, config, state=state))
    new.load(state.tensors(), state.values())
    steps = list(train(model, windows(), next_token_loss, longer, state=new))
    assert [s.step for s in steps] == [3, 4] and steps[0].learning_rate < 1e-4


def damaged(tensors, values):
    name = "embedding.token.weight/exp_avg"
    yield tensors | {"nobody/momentum": torch.zeros(2)}, values, "nobody/momentum"
    yield {k: v for k, v in tensors.items() if k != name}, values, "embedding.token.weight"
    yield tensors | {name: tensors[name][:1]}, values, name
    yield tensors, values | {"step": None}, "step"
    yield tensors, values | {"tokens": 1.5}, "tokens"
    yield tensors, values | {"seconds": math.nan}, "seconds"
    yield tensors, values | {"more": 1}, "more"


def test_a_state_refuses_what_does_not_fit_and_stays_as_it_was():
    model, config = new_model(), TrainConfig(steps=2)
    state = TrainingState(model, config)
    list(train(model, windows(), next_token_loss, config, state=state))
    for tensors, values, said in damaged(dict(state.tensors()), state.values()):
        new = TrainingState(model, config)
        with pytest.raises(ValueError, match=said):
            new.load(tensors, values)
        assert not new.tensors() and new.step == 0
    with pytest.raises(ValueError, match="exp_avg"):
        TrainingState(model, TrainConfig(steps=2, optimizer="adamw")).load(state.tensors(), state.values())


def test_bfloat16_computes_coarsely_and_keeps_the_weights_as_they_are():
    losses = {}
    for precision in ("float32", "bfloat16"):
        seen, model = set(), new_model(dropout=0.0)

        def loss(model, batch, step, seen=seen):
            found = next_token_loss(model, batch)
            seen.add((model(batch.ids).dtype, found.nats.dtype))
            return found

        config = TrainConfig(steps=20, warmup=2, precision=precision)
        batches = chain.from_iterable(repeat(uneven(8, 8)))
        losses[precision] = [step.loss for step in train(model, batches, loss, config)]
        assert seen == {(getattr(torch, precision), torch.float32)}
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert losses["float32"] != losses["bfloat16"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.1)
    assert losses["bfloat16"][-1] < 0.9 * losses["bfloat16"][0]


@pytest.mark.slow
def test_a_compiled_model_gives_the_same_losses(monkeypatch):
    # All but the machine code, which takes most of the time.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    losses = []
    for compiled in (False, True):
        model = new_model(dropout=0.0, num_layers=1)
        config = TrainConfig(steps=4, warmup=1, compile=compiled)
        losses.append([step.loss for step in train(model, windows(), next_token_loss, config)])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
