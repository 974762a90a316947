"""Noise beside what the checks ask of it: Bayes' rule, schedules, and how often cells are lost."""

from typing import get_args

import pytest
import torch
from diffusion_toys import seeded

from lab.diffusion.noise import Absorbing, Schedule, Uniform

SCHEDULES = get_args(Schedule)


@pytest.mark.parametrize("kind", [Uniform, Absorbing])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_posterior_of_a_known_colour_is_bayes_rule_to_1e_15(kind, schedule):
    noise, s, t = kind(3, schedule), 0.375, 0.75
    for x in range(3):
        for z in [z for z in range(noise.num_states) if kind is Uniform or z in (x, 3)]:
            joint = noise.cumulative(s)[x] * noise.transition(s, t)[:, z]
            found = noise.posterior(torch.tensor(z), torch.eye(3)[x], s, t)
            torch.testing.assert_close(found, joint / joint.sum(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", [Uniform, Absorbing])
def test_all_is_batched(kind):
    noise = kind(3)
    s, t = torch.tensor([0.1, 0.4, 0.0]), torch.tensor([0.5, 0.9, 1.0])
    z, x = torch.tensor([0, 2, 1]), torch.tensor([[0.5, 0.25, 0.25], [0, 0, 1], [0.1, 0.8, 0.1]])
    together = noise.posterior(z, x, s, t)
    for row in range(3):
        assert torch.equal(noise.transition(s, t)[row], noise.transition(s[row], t[row]))
        assert torch.equal(together[row], noise.posterior(z[row], x[row], s[row], t[row]))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_go_from_all_to_nothing_and_know_their_slope_and_inverse(schedule):
    noise, t = Uniform(schedule=schedule), torch.linspace(0, 1, 101, dtype=torch.float64)
    alpha = noise.alpha(t)
    assert alpha[0] == 1 and alpha[-1] == 0 and (alpha.diff() < 0).all()
    torch.testing.assert_close(noise.time(alpha), t, rtol=0, atol=1e-9)
    inner, h = t[1:-1], 1e-6
    differences = (noise.alpha(inner + h) - noise.alpha(inner - h)) / (2 * h)
    torch.testing.assert_close(noise.slope(inner), differences, rtol=0, atol=1e-8)


def test_corrupted_cells_are_as_frequent_as_the_kernel_says():
    cells = torch.randint(3, (400, 20, 5), generator=seeded(0))
    t, generator = torch.linspace(0.0, 1, 400), seeded(1)
    for noise in (Uniform(), Absorbing()):
        shown = noise.corrupt(cells, t, generator)
        counts = torch.zeros(3, noise.num_states).index_put_((cells, shown), torch.ones(()), accumulate=True)
        expected = noise.cumulative(t.double()).mean(0)[:3]
        shares = counts.double() / counts.sum(-1, keepdim=True)
        torch.testing.assert_close(shares, expected, rtol=0, atol=0.02)
        again, same = (noise.corrupt(cells, t, seeded(5)) for _ in range(2))
        assert torch.equal(again, same)


def test_whole_tokens_turn_blank_and_given_ones_never():
    cells, keep = torch.zeros(50, 8, 4, dtype=torch.long), torch.zeros(50, 8, dtype=torch.bool)
    keep[:, 2] = True
    shown = Absorbing().corrupt(cells, 0.5, seeded(0), granularity="token", keep=keep)
    blank = shown == 3
    assert torch.equal(blank.any(-1), blank.all(-1)) and not blank[:, 2].any()
    assert 0.4 < blank[~keep].float().mean() < 0.6
    lines = Absorbing().corrupt(cells, torch.tensor([0.0] * 49 + [1.0]), granularity="token")
    assert not (lines[:49] == 3).any() and (lines[49] == 3).all(), "each line at its own time"
    assert torch.equal(Uniform().corrupt(cells, 1.0, keep=keep)[:, 2], cells[:, 2])


REFUSED = [
    (lambda: Uniform(1), "num_colours"),
    (lambda: Uniform().alpha(1.5), "time"),
    (lambda: Uniform().transition(0.5, 0.25), "time"),
    (lambda: Uniform().corrupt(torch.zeros(1, 1, 1).long(), 0.5, granularity="token"), "granularity"),
    (lambda: Absorbing().posterior(torch.tensor(3), torch.ones(3) / 3, 0.0, 0.0), "blank at time 0"),
]


@pytest.mark.parametrize("call, named", REFUSED)
def test_what_cannot_be_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()
