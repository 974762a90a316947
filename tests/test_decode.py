import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab.decode.filters import filter_logits, temperature, top_k, top_p
from lab.decode.search import Sampling, generate
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig

LOGITS = torch.tensor([0.3, 2.0, -1.0, 2.0, 0.0], dtype=torch.float64)
CONFIG = TransformerConfig(vocab_size=12, context=16, width=16, num_heads=2, feed_forward=16)


@pytest.fixture
def model() -> DecoderOnlyTransformer:
    model = DecoderOnlyTransformer(CONFIG)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kept(logits: torch.Tensor) -> list[int]:
    return logits.isfinite().nonzero().flatten().tolist()


def test_filters_that_should_change_nothing_change_nothing():
    for filtered in (temperature(LOGITS, 1), top_k(LOGITS, 5), top_k(LOGITS, 99), top_p(LOGITS, 1.0)):
        assert torch.equal(filtered, LOGITS)


def test_temperature_zero_is_greedy_and_the_smaller_id_wins_a_tie():
    assert kept(temperature(LOGITS, 0)) == [1]


def test_top_k_keeps_k_in_any_leading_shape():
    assert kept(top_k(LOGITS, 3)) == [0, 1, 3]
    assert (top_k(torch.randn(2, 3, 7), 4).isfinite().sum(-1) == 4).all()


@given(
    st.lists(st.floats(-20, 20), min_size=1, max_size=30),
    st.floats(1e-6, 1, exclude_min=False),
)
def test_top_p_keeps_the_fewest_tokens_that_reach_p(values, p):
    logits = torch.tensor(values, dtype=torch.float64)
    probabilities = logits.softmax(-1)
    survivors = probabilities[top_p(logits, p).isfinite()]
    assert len(survivors) >= 1
    assert survivors.sum() >= p - 1e-9
    assert len(survivors) == 1 or survivors.sum() - survivors.min() < p + 1e-9, "one fewer would have done"
    assert (
        survivors.min() >= probabilities[~top_p(logits, p).isfinite()].max().item()
        if len(survivors) < len(logits)
        else True
    )


def test_filters_are_applied_in_the_stated_order():
    by_hand = top_p(top_k(temperature(LOGITS, 2.0), 4), 0.6)
    assert torch.equal(filter_logits(LOGITS, temperature_=2.0, k=4, p=0.6), by_hand)


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (temperature, -0.1),
        (temperature, math.nan),
        (top_k, 0),
        (top_p, 0.0),
        (top_p, 1.01),
        (top_p, math.nan),
    ],
)
def test_settings_out_of_range_are_refused_with_the_value(function, value):
    with pytest.raises(ValueError, match=str(value)):
        function(LOGITS, value)


def test_broken_logits_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        filter_logits(torch.tensor([0.0, math.nan]))
    with pytest.raises(ValueError, match="no token is left"):
        filter_logits(torch.full((2, 3), -math.inf))


def test_tokens_are_drawn_as_often_as_the_filtered_distribution_says(model):
    sampling = Sampling(temperature=0.9, top_k=6, top_p=0.95)
    generator, draws = seeded(1), 3000
    counts = torch.zeros(CONFIG.vocab_size, dtype=torch.float64)
    for _ in range(draws):
        counts[
            next(generate(model, [2, 7], max_new_tokens=1, sampling=sampling, generator=generator)).token
        ] += 1
    with torch.no_grad():
        expected = sampling.logits(model(torch.tensor([[2, 7]]))[0, -1].double()).softmax(-1) * draws
    possible = expected > 0
    assert counts[~possible].sum() == 0
    chi_squared = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    assert chi_squared < 20.5  # 99.9 % quantile for 5 degrees of freedom


def test_the_same_seed_gives_the_same_text(model):
    one, two, other = (
        [step.token for step in generate(model, [2], max_new_tokens=30, generator=seeded(seed))]
        for seed in (5, 5, 6)
    )
    assert one == two != other


def test_the_cache_changes_no_probability(model):
    steps = list(generate(model, [2, 7, 8], max_new_tokens=12, generator=seeded()))
    written = [2, 7, 8] + [step.token for step in steps]
    with torch.no_grad():
        probabilities = model(torch.tensor([written]))[0].double().softmax(-1)
    for place, step in enumerate(steps, start=2):
        assert step.probability == pytest.approx(probabilities[place, step.token].item(), abs=1e-6)
        assert step.alternatives[0][1] == pytest.approx(probabilities[place].max().item(), abs=1e-6)


def test_the_text_may_outgrow_the_context(model):
    steps = list(generate(model, [2] + [7] * 30, max_new_tokens=50, generator=seeded()))
    assert len(steps) == 50


def test_past_the_context_the_model_reads_the_last_half_of_it(model):
    steps = list(generate(model, [2], max_new_tokens=17, generator=seeded(3)))
    text = [2] + [step.token for step in steps]
    with torch.no_grad():
        expected = model(torch.tensor([text[16 - 7 : 17]]))[0, -1].double().softmax(-1)
    assert steps[16].probability == pytest.approx(expected[steps[16].token].item(), abs=1e-6)


def test_writing_ends_with_the_stop_token(model):
    model.output.weight.data[3] += (
        model.decoder.norm.weight.data * 0 + 100 * model.output.weight.data[3].sign()
    )
    steps = list(generate(model, [2], max_new_tokens=400, generator=seeded(), stop_id=3))
    assert steps[-1].token == 3 and all(step.token != 3 for step in steps[:-1])


def test_a_loop_left_early_leaves_gradients_and_training_mode_alone(model):
    model.train()
    for _ in generate(model, [2], max_new_tokens=5):
        break
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    steps = generate(model, [2], max_new_tokens=5)
    next(steps)
    steps.close()
    assert model.training


def test_bad_requests_are_refused(model):
    with pytest.raises(ValueError, match="no tokens"):
        next(generate(model, [], max_new_tokens=1))
    with pytest.raises(ValueError, match="got 0"):
        next(generate(model, [2], max_new_tokens=0))
    with pytest.raises(ValueError, match="top-k"):
        next(generate(model, [2], max_new_tokens=1, sampling=Sampling(top_k=0)))
