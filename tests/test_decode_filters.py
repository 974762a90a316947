import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.decode import Sampling
from lab.decode.filters import min_p, repetition_penalty, temperature, top_k, top_p

LOGITS = torch.tensor([0.3, 2.0, -1.0, 2.0, 0.0], dtype=torch.float64)
some_logits = st.lists(st.floats(-20, 20), min_size=1, max_size=30)


def kept(logits: torch.Tensor) -> list[int]:
    return logits.isfinite().nonzero().flatten().tolist()


def test_filters_that_should_change_nothing_change_nothing():
    ids = torch.tensor([1, 2, 2])
    for filtered in (
        temperature(LOGITS, 1), top_k(LOGITS, 5), top_k(LOGITS, 99), top_p(LOGITS, 1.0), min_p(LOGITS, 0),
        repetition_penalty(LOGITS, ids, 1), Sampling().logits(LOGITS), Sampling().logits(LOGITS, ids),
    ):  # fmt: skip
        assert torch.equal(filtered, LOGITS)


def test_the_edges_of_top_k_and_top_p():
    assert kept(top_k(LOGITS, 1)) == [1], "of equals the first"
    assert kept(top_p(torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log(), 0.5)) == [0]


def test_filters_are_applied_in_the_stated_order():
    logits, ids = torch.linspace(-3, 4, 12, dtype=torch.float64), torch.tensor([11, 3, 10])
    penalised = repetition_penalty(logits, ids, 1.7)
    by_hand = min_p(top_p(top_k(temperature(penalised, 2.5), 9), 0.8), 0.5)
    assert torch.equal(Sampling(2.5, 9, 0.8, 0.5, 1.7).logits(logits, ids), by_hand)
    for other in (
        top_p(top_k(temperature(penalised, 2.5), 9), 0.8),
        repetition_penalty(min_p(top_p(top_k(temperature(logits, 2.5), 9), 0.8), 0.5), ids, 1.7),
        temperature(min_p(top_p(top_k(penalised, 9), 0.8), 0.5), 2.5),
        top_p(min_p(top_k(temperature(penalised, 2.5), 9), 0.5), 0.8),
    ):
        assert not torch.equal(other, by_hand), "each part and its place must show"


def test_filters_from_outside_come_last_and_greedy_decoding_asks_them_too():
    logits, ids, seen = torch.linspace(-3, 4, 12, dtype=torch.float64), torch.tensor([11, 3, 10]), []

    def without_the_last(logits, ids):
        seen.append((logits, ids))
        return logits.scatter(-1, ids[..., -1:], -math.inf)

    sampling = Sampling(2.5, 9, 0.8, 0.1, 1.7, filters=(without_the_last, lambda logits, ids: logits - 1))
    built_in = Sampling(2.5, 9, 0.8, 0.1, 1.7).logits(logits, ids)
    assert torch.equal(sampling.logits(logits, ids), built_in.scatter(-1, ids[-1:], -math.inf) - 1)
    assert torch.equal(seen[0][0], built_in) and seen[0][1] is ids
    greedy = Sampling(0, filters=(without_the_last,))
    assert kept(greedy.logits(logits, torch.tensor([11]))) == [10] and greedy.is_greedy
    tokens, *_ = greedy.choose(logits.expand(2, -1), torch.tensor([[11], [3]]))
    assert tokens.tolist() == [10, 11]
    assert sampling.removes and Sampling(filters=(without_the_last,)).removes


@pytest.mark.parametrize("name, value", [
    ("temperature", -0.1), ("temperature", math.nan), ("top_k", 0), ("top_k", 2.5), ("top_p", 0.0), ("min_p", -1),
    ("repetition_penalty", 0), ("repetition_penalty", 1e-300), ("repetition_penalty", 1e300), ("filters", (3,)),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Sampling(**{name: value})


@pytest.mark.parametrize("change, value", [
    (temperature, -0.1), (temperature, math.nan), (top_k, 0), (top_p, 1.01), (top_p, math.nan), (min_p, 1.1),
    (lambda logits, value: repetition_penalty(logits, torch.tensor([0]), value), 1e-300),
])  # fmt: skip
def test_values_that_make_no_sense_are_refused(change, value):
    with pytest.raises(ValueError, match=str(value)):
        change(LOGITS, value)


@given(some_logits, st.floats(0, 1))
def test_min_p_keeps_what_is_not_too_far_below_the_likeliest(values, p):
    logits = torch.tensor(values, dtype=torch.float64)
    probabilities, filtered = logits.softmax(-1), min_p(logits, p)
    for probability, survives in zip(probabilities, filtered.isfinite(), strict=True):
        ratio = (probability / probabilities.max()).item()
        assert survives or ratio < p + 1e-12
        assert not survives or ratio >= p - 1e-12
    assert filtered[probabilities.argmax()].isfinite()


def test_the_repetition_penalty_takes_rows():
    rows = repetition_penalty(LOGITS.expand(2, 5), torch.tensor([[0, 0], [1, 4]]), 2.0)
    assert rows.tolist() == [[0.15, 2.0, -1.0, 2.0, 0.0], [0.3, 1.0, -1.0, 2.0, 0.0]]


def test_min_p_keeps_what_is_just_likely_enough():
    assert torch.equal(min_p(torch.zeros(3), 1.0), torch.zeros(3))
    assert min_p(torch.tensor([1.0, 0.0, 1.0]), 1.0).isinf().tolist() == [False, True, False]


TINY, HUGE = 5e-324, 1.7e308
numbers = st.sampled_from([-HUGE, -3e38, -math.inf, -1e13, -2.0, 0.0, 1e-45, 1.0, 1.0 + 1e-6, 3.0, 1e13])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    rows=st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=3),
    temperature=st.sampled_from([0, TINY, 1e-300, 1e-45, 1e-38, 1e-9, 1e-4, 0.5, 1, 100, 1e38, 1e300, HUGE]),
    top_p=st.sampled_from([TINY, 1e-300, 1e-38, 1e-9, 0.5, 1 - 1e-16, 1]),
    min_p=st.sampled_from([0, TINY, 1e-300, 0.5, 1 - 1e-16, 1]),
    top_k=st.sampled_from([None, 1, 3, 10**30]),
    repetition_penalty=st.sampled_from([1e-6, 0.5, 1, 2, 1e6]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_at_every_extreme_an_id_is_drawn_that_there_is(rows, dtype, **values):
    logits = torch.tensor(rows, dtype=torch.float64).to(dtype)
    if not (logits.amax(-1) >= -1e20).all():
        logits[:, 0] = 0.0  # a row of which nothing is left is refused: see test_decode.py
    sampling, ids = Sampling(**values), torch.tensor([[0, 1]] * len(rows))
    filtered = sampling.logits(logits, ids)
    probabilities = filtered.softmax(-1)
    assert probabilities.isfinite().all() and torch.allclose(
        probabilities.sum(-1), probabilities.new_ones(())
    )
    for seed in range(3):
        tokens, log_probs, kept, scores = sampling.choose(logits, ids, torch.Generator().manual_seed(seed))
        chosen = filtered.gather(-1, tokens[:, None])
        assert (
            ((tokens >= 0) & (tokens < 4)).all()
            and (chosen > -math.inf).all()
            and not log_probs.isnan().any()
        )
        assert kept is None or ((kept >= 0) & (kept <= 1 + 1e-6)).all()
        left = filtered.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
        assert scores is None or torch.allclose(scores, left, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [TINY, 1e-300, 1e-45, 1e-38, 1e-12])
def test_a_temperature_near_zero_is_greedy(value):
    assert Sampling(value).logits(LOGITS).softmax(-1).tolist() == pytest.approx([0, 0.5, 0, 0.5, 0])


def test_a_filter_needs_no_hash():
    class Unhashable(list):
        def __call__(self, logits, ids):
            return logits.index_fill(-1, torch.tensor([0]), -torch.inf)

    asked = Sampling(temperature=0.7, top_k=2, filters=(Unhashable(),))
    assert asked.logits(torch.tensor([3.0, 2.0, 1.0])).isinf().tolist() == [True, False, True]
