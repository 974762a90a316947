"""Runs compared in pairs: the interval is the one that it says it is, and what cannot be compared is refused."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from lab.bench import compare, mean_interval
from lab.show import intervals_figure

numbers = st.floats(-10, 10).map(lambda number: round(number, 3))


def rows_of(a, b, **more) -> pd.DataFrame:
    """Rows of two kinds, "a" and "b", with a value for each of the seeds 0, 1, ..."""
    kinds = ["a"] * len(a) + ["b"] * len(b)
    seeds = [*range(len(a)), *range(len(b))]
    return pd.DataFrame({"kind": kinds, "seed": seeds, "bits_per_char": [*a, *b], **more})


@pytest.mark.parametrize("n", [2, 3, 5, 12])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_interval_is_that_of_the_paired_t_test(n, confidence):
    a, b = np.random.default_rng(n).normal(size=(2, n))
    found = compare(rows_of(a, b), "kind", confidence=confidence)
    low, high = ttest_rel(b, a).confidence_interval(confidence)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert found.difference == pytest.approx(np.mean(b - a)) and len(found.pairs) == n


@pytest.mark.parametrize("n", [3, 5])
def test_the_interval_covers_the_truth_as_often_as_it_says(n):
    generator, hits = np.random.default_rng(n), 0
    for _ in range(2000):
        seeds, noise = generator.normal(scale=3, size=n), generator.normal(size=(2, n))
        a, b = seeds + noise[0], seeds + noise[1] + 0.7
        _, low, high = mean_interval(b - a)  # what `compare` gives, by the test above
        hits += low <= 0.7 <= high
    assert 0.93 <= hits / 2000 <= 0.97


def test_what_has_no_interval_is_refused():
    for bad in ([], [1.0], [1.0, math.nan], [[1.0, 2.0]]):
        with pytest.raises(ValueError):
            mean_interval(bad)
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([1.0, 2.0], confidence=95)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=6), st.randoms())
@settings(max_examples=40, deadline=None)
def test_the_order_of_rows_does_not_matter_and_the_order_of_levels_turns_the_sign(pairs, random):
    rows = rows_of(*zip(*pairs, strict=True))
    order = list(range(len(rows)))
    random.shuffle(order)
    found = compare(rows, "kind")
    assert compare(rows.iloc[order], "kind") == found
    turned = compare(rows, "kind", levels=("b", "a"))
    assert (turned.difference, turned.low, turned.high) == pytest.approx(
        (-found.difference, -found.high, -found.low)
    )


def test_what_is_the_same_has_no_difference_and_an_interval_without_width():
    same = [0.1, 0.7, 0.3]
    found = compare(rows_of(same, same), "kind")
    assert (found.difference, found.low, found.high) == (0, 0, 0) and not found.is_clear
    assert str(found).startswith("no difference")


def test_the_sentence_says_which_is_better_and_by_how_much():
    a, b = [2.0, 2.1, 2.2, 2.3], [1.9, 2.01, 2.1, 2.19]
    better, worse = compare(rows_of(a, b), "kind"), compare(rows_of(b, a), "kind")
    assert str(better) == "better by 0.100 (0.087 to 0.113, 4 seeds)"
    assert str(worse) == str(better).replace("better", "worse")
    assert better.sentence(lower_is_better=False) == str(worse)
    far = compare(rows_of(a, [1.9, 2.4, 2.0, 2.5]), "kind")
    assert str(far) == "no difference that we could measure (-0.33 to 0.43, 4 seeds)"


def test_seeds_that_only_one_side_has_are_named_and_left_out():
    found = compare(rows_of([1, 2, 3, 9], [1.5, 2.4, 3.6]), "kind")
    assert found.left_out == (3,) and list(found.pairs) == [0, 1, 2] and "seed 3" in str(found)
    with pytest.raises(ValueError, match=r"'b': \[0\]"):
        compare(rows_of([1, 2, 3], [2]), "kind")


def test_two_of_several_levels_are_chosen_and_a_missing_one_is_a_level_too():
    seeds = {"seed": [0, 1] * 3, "bits_per_char": [3.0, 3.1, 2.0, 2.3, 1.0, 1.1]}
    rows = pd.DataFrame({"width": [8, 8, 16, 16, None, None], **seeds})
    with pytest.raises(ValueError, match=r"8.*16.*none"):
        compare(rows, "width")
    rows.index = [0] * 6  # as after a concat
    assert compare(rows, "width", levels=(16, None)).difference == pytest.approx(-1.1)
    rows["bits_per_char"] = [3.0, math.nan, *rows["bits_per_char"][2:]]
    for others in (rows, rows[1:]):  # whatever the third level holds
        assert len(compare(others, "width", levels=(16, None)).pairs) == 2
    numbers = compare(pd.DataFrame({"width": [16, 16, 8, 8, 4, 4], **seeds})[:4], "width")
    assert (numbers.a, numbers.b) == (8, 16)
    for levels in ((8, 8), (8, 32), (8,), (4, 8, 16)):
        with pytest.raises(ValueError, match="levels"):
            compare(rows, "width", levels=levels)


def test_what_cannot_be_compared_is_refused_by_name():
    rows = rows_of([1, 2, 3], [2, 3, 4])
    for by, more in (("colour", {}), ("kind", {"value": "wer"}), ("kind", {"pair": "fold"})):
        with pytest.raises(ValueError, match="there is no column"):
            compare(rows, by, **more)
    with pytest.raises(ValueError, match="'b', seed 2"):
        compare(rows_of([1, 2, 3], [2, 3, math.nan]), "kind")
    with pytest.raises(ValueError, match=r"two rows.*'a', seed 1"):
        compare(pd.concat([rows, rows[1:2]]), "kind")


def test_seconds_of_two_machines_are_no_pair_and_scores_are():
    rows = rows_of([1, 2, 3], [2, 3, 4], machine=["x"] * 5 + ["y"])
    rows["seconds"] = rows["tokens_per_second"] = rows["bits_per_char"]
    for value in ("seconds", "tokens_per_second"):
        with pytest.raises(ValueError, match="seed 2"):
            compare(rows, "kind", value=value)
        assert compare(rows[rows["seed"] < 2], "kind", value=value).difference == 1
    assert compare(rows, "kind").difference == 1


def test_the_picture_shows_every_run_and_the_interval_of_each_level_that_has_one():
    rows = pd.concat([rows_of([1, 2, 3.5], [2, 3, math.nan]), rows_of([5], []).assign(kind="c")])
    ax = intervals_figure(rows, "kind", "Three kinds", baselines={"bz2": 6.0}).axes[0]
    points, *_ = ax.lines
    assert sorted(points.get_xdata()) == [1, 2, 2, 3, 3.5, 5]
    (spread,) = (bars for bars in ax.containers if len(bars))
    ends = [segment[:, 0].tolist() for segment in spread[2][0].get_segments()]
    assert ends == [pytest.approx(mean_interval(values)[1:]) for values in ([1, 2, 3.5], [2, 3])]
    with pytest.raises(ValueError, match="nothing"):
        intervals_figure(rows, "nothing", "Three kinds")
    assert "1 without" in ax.get_yticklabels()[1].get_text() and ax.yaxis_inverted()
