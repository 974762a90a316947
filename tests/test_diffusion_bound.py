"""The bounds, counted out on small worlds of known entropy, and the score of lines beside the autoregressive one."""

import math
from itertools import product

import pytest
import torch
from diffusion_toys import BLANK, ExactDenoiser, config_of, every_noise, seeded
from numpy.polynomial.legendre import leggauss

from lab.data import IGNORE, Batch
from lab.diffusion import (
    Absorbing,
    Codebook,
    Denoiser,
    Diffusion,
    LineLengths,
    Uniform,
    bound,
    diffusion_loss,
)
from lab.diffusion.bound import d3pm_nats, noised_nats, revealed_nats, score_bound, udlm_nats
from lab.diffusion.heads import evidence, leave_one_out
from lab.diffusion.lines import line_batches, line_windows
from lab.diffusion.losses import random_spans
from lab.text import CharTokenizer
from lab.train import TrainConfig, train

NODES, WEIGHTS = (torch.tensor(a) for a in leggauss(60))
NODES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2  # on (0, 1)


def blanked(world: ExactDenoiser) -> list[tuple[int, torch.Tensor, torch.Tensor]]:
    """For every set of blank cells: how many, the lines with these blank `(X, T, n)`, and which."""
    shape = world.x.shape[1:]
    every = torch.tensor(list(product([False, True], repeat=shape.numel()))[1:]).view(-1, *shape)
    return [(int(which.sum()), world.x.masked_fill(which, BLANK), which) for which in every]


def marginal_nats(world: ExactDenoiser, shown, which) -> float:
    """The mean over lines of the summed -log p of their blank cells, each by itself."""
    log_p = world.cell_log_marginals(world(shown)).gather(-1, world.x[..., None])[..., 0]
    return -float(world.p @ (log_p * which).sum((1, 2)))


def joint_nats(world: ExactDenoiser, shown, which) -> float:
    """The same of whole words of which any cell is blank."""
    log_p = world(shown).log_softmax(-1).gather(-1, world.lines[..., None])[..., 0]
    return -float(world.p @ (log_p * which.any(-1)).sum(1))


def test_the_masked_bound_of_exact_conditionals_is_the_entropy():
    world = ExactDenoiser()
    costs = [(k, marginal_nats(world, shown, which)) for k, shown, which in blanked(world)]
    cells = max(k for k, _ in costs)
    # Over the share m of blanks, the integral of m^(k-1) (1-m)^(N-k) is 1 / (k C(N, k)).
    total = sum(nats / (k * math.comb(cells, k)) for k, nats in costs)
    assert total == pytest.approx(world.entropy, abs=1e-14)

    for schedule in ("linear", "cosine", "log-linear"):  # and over time, whatever the schedule
        noise, integral = Absorbing(schedule=schedule), 0.0
        alpha, weight = noise.alpha(NODES), -noise.slope(NODES) / (1 - noise.alpha(NODES))
        for k, nats in costs:
            integral += float(WEIGHTS @ (weight * (1 - alpha) ** k * alpha ** (cells - k))) * nats
        assert integral == pytest.approx(world.entropy, abs=1e-12)


def test_whole_words_under_these_weights_fall_below_the_entropy():
    world = ExactDenoiser(vocab_size=6, num_cells=4, length=1)
    costs = [(k, joint_nats(world, shown, which)) for k, shown, which in blanked(world)]
    cells = max(k for k, _ in costs)
    assert sum(nats / (k * math.comb(cells, k)) for k, nats in costs) < 0.95 * world.entropy


@pytest.mark.parametrize("steps", [1, 4, 64])
def test_the_joint_of_what_a_step_reveals_is_the_entropy_at_any_number_of_steps(steps):
    world, total = ExactDenoiser(vocab_size=6, num_cells=4, length=1), 0.0
    one_hot = world.one_hot.double()
    for k, shown, which in blanked(world):
        logits = world(shown)[:, 0]
        for chosen in range(1, 2**k):
            revealed = torch.zeros(4, dtype=torch.bool)
            revealed[which[0].nonzero()[:, 0]] = torch.tensor([bool(chosen >> bit & 1) for bit in range(k)])
            after = torch.where(revealed, world.x[:, 0], shown[:, 0])
            nats = float(world.p @ revealed_nats(logits, evidence(after, one_hot, None) == 0))
            count = int(revealed.sum())
            for step in range(1, steps + 1):
                t, s = step / steps, (step - 1) / steps  # the share of blanks, with the linear schedule
                chance = t**k * (1 - t) ** (4 - k) * (1 - s / t) ** count * (s / t) ** (k - count)
                total += chance * nats
    assert total == pytest.approx(world.entropy, abs=1e-13)


def smooth():
    """Nodes and weights over (0, 1) for what has a kink at the ends."""
    nodes, weights = (torch.tensor(a) for a in leggauss(90))
    u, w = (nodes + 1) / 2, weights / 2
    return u**3 * (10 - 15 * u + 6 * u**2), w * 30 * u**2 * (1 - u) ** 2


def all_noised(world: ExactDenoiser, alpha: float):
    """Every noised line, its chance given each line `(X, Z)`, and what the world makes of it, left out and not."""
    states = torch.cartesian_prod(*[torch.arange(3)] * world.x[0].numel()).view(-1, *world.x.shape[1:])
    kernel = Uniform().cumulative(1 - alpha)
    chance = kernel[world.x[:, None], states[None]].prod(-1).prod(-1)  # (X, Z)
    each = torch.full((len(states),), alpha, dtype=torch.float64)
    full = world.cell_log_marginals(world(states, alpha=each))
    without = leave_one_out(full.flatten(0, 1), states.flatten(0, 1), each.repeat_interleave(states.shape[1]))
    return states, chance, full, without.view_as(full)


def expected_nats(world, states, chance, nats_of) -> float:
    """The mean over lines and noise of `nats_of(x, states)` `(Z, T, n)`."""
    return float(sum(world.p[i] * (chance[i] @ nats_of(world.x[i].expand_as(states), states).sum((1, 2)))
                     for i in range(len(world.x))))  # fmt: skip


def test_the_uniform_bound_wants_the_guess_that_leaves_the_cell_out():
    world, totals = ExactDenoiser(noise="uniform"), [0.0, 0.0]
    for alpha, weight in zip(*smooth(), strict=True):
        alpha = alpha.clamp(1e-9, 1 - 1e-9)
        states, chance, full, without = all_noised(world, float(alpha))
        for n, guess in enumerate((without, full)):
            nats_of = lambda x, z, g=guess, a=alpha: udlm_nats(g, x, z, a)  # noqa: E731
            totals[n] += float(weight) * expected_nats(world, states, chance, nats_of)
    left_out, plugged_in = totals
    assert left_out == pytest.approx(world.entropy, abs=1e-7)
    assert plugged_in > world.entropy + 0.3, "E[x | z] counts what the cell shows twice"


def test_discrete_time_falls_towards_the_entropy():
    world, found = ExactDenoiser(noise="uniform"), []
    for steps in (4, 16, 64):
        total = 0.0
        for step in range(1, steps + 1):
            t, s = step / steps, (step - 1) / steps
            states, chance, _, without = all_noised(world, 1 - t)
            nats_of = lambda x, z, g=without, s=s, t=t: d3pm_nats(g, x, z, Uniform(), s, t)  # noqa: E731
            total += expected_nats(world, states, chance, nats_of)
        found.append(total)
    assert found == sorted(found, reverse=True) and found[-1] > world.entropy
    gaps = [total - world.entropy for total in found]
    assert gaps[2] < gaps[1] / 3 < gaps[0] / 9


ESTIMATES = [
    ("absorbing", "codebook", "token"), ("absorbing", "codebook", "cell"), ("absorbing", "factorised", "cell"),
    ("uniform", "codebook", "cell"), ("uniform", "factorised", "cell"),
]  # fmt: skip


@pytest.mark.parametrize("noise, head, granularity", ESTIMATES)
def test_estimates_from_draws_agree_with_the_entropy(noise, head, granularity, monkeypatch):
    for where in ("cell", "uniform"):  # this little world has no idle times, so crowding would only add noise
        monkeypatch.setitem(bound.CROWDED, where, (0.0, 1.0))
    world = ExactDenoiser(noise=noise, head=head, granularity=granularity, schedule="cosine")
    mean, error = estimate(world, None)
    assert mean == pytest.approx(world.entropy, abs=4 * error) and error < 0.06


def estimate(world, steps, count=40_000):
    """The mean of `noised_nats` over lines of the world and times, and its error."""
    ids = world.sample(count, seed=1)
    generator = seeded(2)
    quantile = torch.randperm(count, generator=generator).double().add(0.5) / count
    nats = noised_nats(world, Batch(ids, ids), quantile, steps, generator)
    return float(nats.mean()), float(nats.std() / count**0.5)


@every_noise
def test_few_steps_cost_more_than_many(noise, granularity):
    world = ExactDenoiser(noise=noise, granularity=granularity)
    one, three, ten = (estimate(world, steps)[0] for steps in (1, 3, 10))
    assert one > three > ten > world.entropy - 0.1
    if noise == "absorbing":  # one step draws the two words apart from each other, but each of them whole
        marginals = world(torch.full((1, 2, 2), BLANK)).log_softmax(-1)[0]
        alone = sum(-float(marginals[t].exp() @ marginals[t]) for t in range(2))
        assert one == pytest.approx(alone, abs=0.03)


TEXT = ["abcd", "", "dcbaabcd", "a", "bbbbccccddddaaaa" * 3]
LETTERS = CharTokenizer("abcd")


def small(noise="absorbing", context=16, **settings):
    torch.manual_seed(0)
    sizes = {"width": 16, "num_heads": 2, "feed_forward": 32, "context": context} | settings
    return Denoiser(config_of(LETTERS.vocab_size, noise=noise, **sizes), Codebook.random(LETTERS.vocab_size))


def lengths():
    return LineLengths.of(LETTERS.encode_lines(TEXT))


@pytest.mark.parametrize("context, steps", [(4, None), (7, None), (64, None), (7, 3)])
def test_every_token_is_scored_exactly_once(context, steps):
    """A model that knows nothing pays ln V for each token, however the draws fall."""
    model, draws = small(context=context).train(), 200 if steps else 16
    score = score_bound(model, LETTERS, TEXT, lengths(), steps=steps, draws=draws, generator=seeded(0))
    ends = sum(lengths().nats(len(line)) for line in TEXT)
    assert score.chars == score.tokens == sum(len(line) + 1 for line in TEXT) and score.is_bound
    assert model.training, "left in the mode it was in"
    expected = ends + sum(map(len, TEXT)) * math.log(LETTERS.vocab_size)
    assert score.nats == pytest.approx(expected, rel=1e-6 if steps is None else 0.05)
    if steps is None:
        assert score.standard_error == pytest.approx(0, abs=1e-6)


def test_what_is_hidden_is_paid_for_beside_the_bound():
    known = score_bound(
        small(), LETTERS, ["".join(LETTERS.vocabulary[:1]) * 4], lengths(), generator=seeded(0)
    )
    hidden = score_bound(
        small(), LETTERS, ["日月金木"], lengths(), generator=seeded(0)
    )  # four times ln V too
    kinds = len(LETTERS.vocabulary) + 1
    assert hidden.nats - known.nats == pytest.approx(4 * math.log(0x110000 - kinds), rel=1e-6)


@every_noise
def test_the_standard_error_is_the_spread_between_generators(noise, granularity):
    model = small(noise, granularity=granularity)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    ask = lambda seed: score_bound(model, LETTERS, TEXT, lengths(), generator=seeded(seed))  # noqa: E731
    scores = [ask(seed) for seed in range(12)]
    spread = torch.tensor([score.bits_per_char for score in scores]).std()
    assert 0.4 < spread / (sum(score.standard_error for score in scores) / 12) < 2


def test_lengths_are_probabilities_and_the_ends_of_a_line_are_paid_for():
    found = LineLengths((2, 0, 5))
    assert sum(math.exp(-found.nats(n)) for n in range(200)) == pytest.approx(1)
    assert found.nats(2) < found.nats(0) < found.nats(1) <= found.nats(3) < found.nats(4)
    assert LineLengths.of([[2, 9, 9, 3], [2, 3], [2, 9, 9, 3]]).counts == (1, 0, 2)
    generator = seeded(0)
    drawn = [found.draw(generator) for _ in range(300)]
    assert set(drawn) == {0, 1, 2} and drawn.count(2) > drawn.count(0) > drawn.count(1)


def test_batches_hold_each_line_once_a_pass_and_little_padding():
    generator = seeded(0)
    lines = [[2, *range(100 + n, 100 + n + 1 + n % 13), 3] for n in range(120)]
    stream = line_batches(lines, 32, 128, generator)
    seen, tokens = [], 0
    while len(seen) < 240:
        batch = next(stream)
        real = torch.ones_like(batch.ids).bool() if batch.document_ids is None else batch.document_ids == 0
        tokens += batch.ids.numel()
        seen += [tuple(row[keep].tolist()) for row, keep in zip(batch.ids, real, strict=True)]
        assert batch.ids.numel() <= 128 and torch.equal(batch.targets != IGNORE, batch.ids > 3)
    assert sorted(seen[:120]) == sorted(map(tuple, lines)) == sorted(seen[120:])
    assert seen[:120] != seen[120:] and sum(map(len, seen)) > 0.9 * tokens


WORLD = {"tokenizer": LETTERS, "lines": TEXT, "lengths": lengths()}
REFUSED = [
    (lambda: score_bound(small(), **WORLD | {"lines": []}), "lines"),
    (lambda: score_bound(small(), **WORLD, draws=12), "draws"),
    (lambda: LineLengths.of([]), "lines"),
    (lambda: line_windows([2, 7, 3], 1), "context"),
    (lambda: next(line_batches([[2, 7, 3]], 32, 31, torch.Generator())), "tokens"),
    (lambda: next(line_batches([[2, 3]], 32, 64, torch.Generator())), "nothing to predict"),
    (lambda: Diffusion(draws=18), "draws"),
]


@pytest.mark.parametrize("call, named", REFUSED)
def test_what_cannot_be_scored_or_trained_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()


@every_noise
@pytest.mark.parametrize("head", ["codebook", "factorised"])
@pytest.mark.parametrize("weights", ["mean", "bound"])
@pytest.mark.parametrize("times", ["uniform", "informative"])
def test_losses_have_gradients_and_the_bound_as_their_mean(noise, head, granularity, weights, times):
    world = ExactDenoiser(noise=noise, head=head, granularity=granularity)
    ids = world.sample(20_000)
    how = dict(weights=weights, times=times, least=1e-3, clamp=0)
    chance = seeded(0)
    nats, count, _ = diffusion_loss(world, Batch(ids, ids), chance, **how)
    if weights == "bound":
        assert count == ids.numel()
        if (head, granularity) != ("factorised", "token"):  # which prices cells one by one
            off = 0.2 if noise == "uniform" else 0.06
            assert float(nats) / 20_000 == pytest.approx(world.entropy, rel=off)
    real = small(noise, head=head, granularity=granularity)
    text = Batch(torch.randint(4, 9, (4, 10)), torch.randint(4, 9, (4, 10)))
    nats, count, _ = diffusion_loss(real, text, chance, **how)
    nats.backward()
    assert 0 < count <= 40 and torch.isfinite(nats) and nats > 0
    assert all(torch.isfinite(p.grad).all() for p in real.parameters() if p.grad is not None)


def test_what_is_given_is_neither_noised_nor_asked():
    seen = []

    class Spy(Denoiser):
        def forward(self, cells, *, where, **more):
            seen.append((cells, where))
            return super().forward(cells, where=where, **more)

    model = Spy(config_of(9, width=8, num_heads=1, feed_forward=8), Codebook.random(9))
    ids = torch.randint(4, 9, (64, 12), generator=seeded(0))
    targets = ids.clone()
    targets[:, 0] = targets[:, 7] = IGNORE
    diffusion_loss(model, Batch(ids, targets), seeded(0))
    cells, where = seen[0]
    blank = (cells == BLANK).any(-1)
    assert torch.equal(blank, where) and not where[:, [0, 7]].any() and 0.2 < where.float().mean() < 0.6
    assert torch.equal(cells[~blank], model.cells(ids)[~blank])


def test_spans_are_whole_and_in_half_of_the_lines():
    spans = random_spans(2000, 10, 0.5, seeded(0))
    assert 0.35 < spans.any(-1).float().mean() < 0.55
    starts = (spans & ~torch.nn.functional.pad(spans, (1, 0))[:, :-1]).sum(-1)
    assert starts.max() == 1 and spans.float().mean(0).min() > 0.02
    assert not random_spans(10, 5, 0.0).any()


def chain(generator, rows=32, T=12):
    """Lines in which each token is the one before plus one, modulo 5: all equally likely, each certain from any."""
    while True:
        ids = 4 + (torch.randint(5, (rows, 1), generator=generator) + torch.arange(T)) % 5
        yield Batch(ids, ids)


@pytest.mark.parametrize("attends", [True, False])
def test_without_attention_across_tokens_it_stops_at_the_unigram_entropy(attends):
    torch.manual_seed(0)
    config = config_of(9, width=32, num_heads=2, feed_forward=64, neighbours=int(attends), attends=attends)
    model = Denoiser(config, Codebook.random(9))
    batches = chain(seeded(0))
    loss = lambda model, batch, step: diffusion_loss(model, batch, step.rng, clamp=0)  # noqa: E731
    steps = [report.loss for report in train(model, batches, loss, TrainConfig(80, other_lr=2e-2))]
    last = sum(steps[-20:]) / 20
    if attends:
        assert last < 0.6 * math.log(5)
    else:
        assert last == pytest.approx(math.log(5), abs=0.03)
