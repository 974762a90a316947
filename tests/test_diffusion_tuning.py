"""Tuning by reinforcement, on worlds so small that every way from blanks to a line can be counted out."""

import copy
import math
from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusion_toys import config_of, seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lab.data import Batch
from lab.diffusion import Absorbing, Codebook, Denoiser, Judge, LineLengths, Reward, Tuning, denoise
from lab.diffusion.reports import WAYS, compare, text_report, words_head, write
from lab.diffusion.rewards import repeated_share
from lab.diffusion.sampler import Trajectory
from lab.diffusion.tuning import advantages, line_prompt, policy_gradient
from lab.diffusion.visual import VisualDiffusion, VisualDiffusionConfig
from lab.train import Step, TrainConfig, train

quick = settings(max_examples=40, deadline=None, derandomize=True)
BOOK = Codebook(torch.tensor([[0, 0], [0, 1], [1, 0]]), 2)  # three words of the four patterns
NOISE, BLANK = Absorbing(2, schedule="cosine"), 2
SIZES = {
    "width": 8, "num_heads": 2, "feed_forward": 16, "num_layers": 1, "context": 12, "head": "factorised",
    "granularity": "cell",
}  # fmt: skip


def tiny(seed=0, book=BOOK, std=0.5, schedule="cosine", **more):
    """A factorised model in float64 with weights that say something."""
    torch.manual_seed(seed)
    sizes = SIZES | {"grid": book.grid, "num_colours": book.num_colours, "schedule": schedule} | more
    model = Denoiser(config_of(book.vocab_size, **sizes), book).double()
    for p in model.parameters():
        nn.init.normal_(p, std=std)
    return model


def chances(model, before, after, t, s):
    """pi(z_s | z_t) of lines `(B, T, n)`, from the posterior of the noise and nothing else of tuning."""
    p = model.cell_log_marginals(model(before)).exp()
    each = NOISE.posterior(before, p, s, t).gather(-1, after[..., None])[..., 0]
    return each.flatten(1).prod(-1)


def all_paths(steps, tokens=1):
    """Every way from blanks to a line in `steps`: cells `(steps + 1, X, tokens, 2)`. A cell shows at 1 .. steps."""
    cell = [[BLANK] * k + [colour] * (steps + 1 - k) for k in range(1, steps + 1) for colour in (0, 1)]
    ways = torch.tensor(list(product(cell, repeat=2 * tokens)))  # (X, 2 tokens, steps + 1)
    return ways.permute(2, 0, 1).unflatten(-1, (tokens, 2))


def times(steps):
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def path_chances(model, paths):
    moves = zip(pairwise(times(len(paths) - 1)), pairwise(paths), strict=True)
    return torch.stack([chances(model, before, after, t, s) for (t, s), (before, after) in moves]).prod(0)


def test_the_kl_of_paths_is_the_sum_over_their_steps():
    model, other, paths = tiny(0), tiny(1), all_paths(3)
    with torch.no_grad():
        p, q = path_chances(model, paths), path_chances(other, paths)
        assert float(p.sum()) == pytest.approx(1, abs=1e-12)
        exact = float((p * (p / q).log()).sum())
        found = [
            policy_gradient(model, other, Trajectory(paths[:, [n]], None, tuple(times(3).tolist())),
                            torch.zeros(1, 1, dtype=torch.bool), torch.zeros(1), 0.0)
            for n in range(paths.shape[1])
        ]  # fmt: skip
    assert float((p * torch.tensor(found, dtype=torch.float64)).sum()) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("samples", [2, 3])
def test_the_gradient_with_the_leave_one_out_baseline_is_unbiased(samples):
    model, paths = tiny(), all_paths(2)
    worth = torch.tensor([1.0, 0.3, -0.7, 0.2]).double()[paths[-1].flatten(1) @ torch.tensor([2, 1])]
    p = path_chances(model, paths)
    expected = torch.autograd.grad((p * worth).sum(), model.parameters(), allow_unused=True)
    groups = torch.tensor(list(product(range(len(p)), repeat=samples)))  # every group that can be drawn
    weight = p.detach()[groups].prod(1, keepdim=True) * len(groups)
    better = weight * advantages(worth[groups])
    path = Trajectory(paths[:, groups.flatten()], None, tuple(times(2).tolist()))
    no = torch.zeros(groups.numel(), 1, dtype=torch.bool)
    policy_gradient(model, model, path, no, better.flatten(), 0.0)
    scale = 0
    for p, exact in zip(model.parameters(), expected, strict=True):
        if exact is not None:
            torch.testing.assert_close(-p.grad, exact, rtol=1e-9, atol=1e-12)
            scale += float(exact.abs().sum())
    assert scale > 0.01


@given(P=st.integers(1, 4), S=st.integers(2, 6), seed=st.integers(0, 99))
@quick
def test_advantages_leave_out_ones_own_reward(P, S, seed):
    rewards = torch.randn(P, S, generator=seeded(seed)).double()
    rows = rewards.tolist()
    expected = [[r - sum(row[:i] + row[i + 1 :]) / (S - 1) for i, r in enumerate(row)] for row in rows]
    torch.testing.assert_close(advantages(rewards), torch.tensor(expected).double())


WORDS = Codebook.linear(6, grid=(1, 4), num_colours=3)  # of 81 patterns


def world(seed=0, std=0.1, length=5, **more) -> VisualDiffusion:
    """A model that draws the cells of `WORDS` one by one, on lines of one length."""
    torch.manual_seed(seed)
    sizes = SIZES | {"grid": (1, 4), "longest_line": length} | more
    model = VisualDiffusion(config_of(6, VisualDiffusionConfig, **sizes))
    for p in model.denoiser.parameters():
        nn.init.normal_(p, std=std)
    model.line_lengths[length] = 1
    return model


def frozen(model: VisualDiffusion, **weights) -> SimpleNamespace:
    """What a step of tuning is measured by: the model as it is now."""
    reference = copy.deepcopy(model.denoiser).eval().requires_grad_(False)
    return SimpleNamespace(reference=reference, reward=Reward(model.codebook(), **weights))


def batches(rows=4, T=6):
    ids = torch.tensor([[0, 1] * (T // 2)] * rows)
    while True:
        yield Batch(ids, ids)


def test_a_step_has_the_gradient_of_all_that_is_asked_for():
    model, other, noise = world(std=0.5).double(), world(1, std=0.5).double(), Absorbing()
    objective = Tuning(prompts=2, samples=4, denoising_steps=3, kl=0.3, anchor=0.0, repetition=0.5)
    material = frozen(other, repetition=0.5)
    start, reference = copy.deepcopy(model.denoiser), material.reference
    chance = seeded(5)
    board = line_prompt(model.lengths, 2, 12, chance).repeat_interleave(4, dim=0)
    path = denoise(start, board, steps=3, reveal="independent", generator=chance)
    rewards = Reward(WORDS, repetition=0.5)(path.cells[-1].clone(), board != -1)
    better = advantages(rewards.total.view(2, 4)).flatten()
    gain, kl, tokens = 0.0, 0.0, int((board == -1).sum())
    for (t, s), (before, after) in zip(pairwise(path.times), pairwise(path.cells.clone()), strict=True):
        p, q = (m.cell_log_marginals(m(before)).exp() for m in (start, reference))
        share = float((noise.alpha(s) - noise.alpha(t)) / (1 - noise.alpha(t)))
        for b, i, j in (before == noise.blank).nonzero().tolist():
            kl = kl + share * (p[b, i, j] * (p[b, i, j] / q[b, i, j]).log()).sum() / tokens
            if after[b, i, j] != noise.blank:
                gain = gain + better[b] * p[b, i, j, after[b, i, j]].log() / 8
    (0.3 * kl - gain).backward()
    loss = objective.loss(model, next(batches()), Step(rng=seeded(5), material=material))
    loss.nats.backward()
    for name, p in start.named_parameters():
        found = model.denoiser.get_parameter(name).grad / loss.count
        torch.testing.assert_close(found, p.grad, rtol=1e-8, atol=1e-11)
    assert loss.metrics["kl"] == pytest.approx(kl.item())
    for name in ("total", "hit_rate", "distance", "fluency", "repetition"):
        assert loss.metrics[name] == pytest.approx(float(getattr(rewards, name).mean()))


def tuned(steps=40, **more):
    """Reports of tuning, and the tuned model."""
    model = world()
    given = {"prompts": 4, "denoising_steps": 4, "anchor": 0.0, "kl": 0.001} | more
    config = TrainConfig(steps, optimizer="adamw", other_lr=0.05, schedule="constant", warmup=0)
    reports = train(model, batches(), Tuning(**given).loss, config, material=frozen(model))
    return list(reports), model.denoiser


def test_the_anchor_alone_trains_on_the_text():
    reports, _ = tuned(denoising_steps=1, samples=2, kl=0, anchor=1, distance=0)
    bounds = [report.loss for report in reports]
    assert np.mean(bounds[-10:]) < np.mean(bounds[:10]) - 0.2


def test_a_few_steps_raise_the_hit_rate_and_move_away_from_the_frozen_model():
    reports, _ = tuned()
    hits, kls = ([report.metrics[name] for report in reports] for name in ("hit_rate", "kl"))
    assert np.mean(hits[:5]) < 0.25 and np.mean(hits[-5:]) > np.mean(hits[:5]) + 0.4
    held, _ = tuned(20, kl=30.0)
    assert kls[0] == 0 and held[-1].metrics["kl"] < 0.1 * kls[-1], "a large weight holds it where it was"


def test_dropout_stays_off_so_that_the_policy_is_the_one_that_wrote():
    model = world(dropout=0.5).train()
    step = Step(rng=seeded(), material=frozen(model))
    assert Tuning(prompts=2, samples=2).loss(model, next(batches()), step).metrics["kl"] == 0


class Pairs(nn.Module):
    """A language model that looks one token back."""

    def __init__(self, vocab_size=6, context=4):
        super().__init__()
        self.config = SimpleNamespace(context=context)
        self.table = nn.Parameter(torch.randn(vocab_size, vocab_size, generator=seeded(3)))

    def forward(self, ids):
        assert ids.shape[1] <= self.config.context
        return self.table[ids]

    def log_p(self, before, after):
        return self.table[before].double().log_softmax(-1)[after].item()


LINES = [[2, *[(7 * i * j + i) % 6 for j in range(i)], 3] for i in range(1, 12)]


def test_a_judge_clips_at_what_data_have():
    model = Pairs()
    means = [np.mean([model.log_p(a, b) for a, b in pairwise(ids[:-1])]) for ids in LINES]
    judge = Judge.of(model, LINES)
    assert [judge.low, judge.high] == pytest.approx(np.percentile(means, [5, 95]).tolist())
    ids = torch.tensor([[2, 4, 5, 0, 3], [0, 1, 1, 1, 1]])
    written = torch.tensor([[False, True, False, True, False], [True, False, False, False, False]])
    expected = [(model.log_p(2, 4) + model.log_p(5, 0)) / 2, 0]
    assert judge.log_probability(ids, written).tolist() == pytest.approx(expected)
    with pytest.raises(ValueError, match="no lines to judge by"):
        Judge.of(model, [[2, 3]])


def test_the_parts_of_a_reward_by_hand():
    book = Codebook(torch.tensor([[0, 0, 0, 0], [0, 1, 1, 1], [1, 1, 0, 0], [2, 2, 2, 2]]), 3)  # 2 apart
    off_by_one, swapped = [0, 1, 1, 2], [2, 2, 2, 0]  # nearest words 1 and 3
    word = book.patterns.tolist()
    cells = torch.tensor([[word[0], off_by_one, word[3], word[2]], [word[0], swapped, word[0], word[3]]])
    given, model = torch.tensor([[True, False, False, False]] * 2), Pairs(4)
    said = [np.mean([model.log_p(*pair) for pair in pairwise(ids)]) for ids in ((0, 1, 3, 2), (0, 3, 0, 3))]
    judge = Judge(model, min(said) - 1, min(said) + 0.01)  # above the lower one, below the other
    found = Reward(book, judge, distance=0.5, fluency=2.0, repetition=3.0)(cells, given)
    fluency = torch.tensor(said).clamp(max=min(said) + 0.01)
    assert found.hit_rate.tolist() == pytest.approx([2 / 3, 2 / 3])
    assert found.distance.tolist() == pytest.approx([1 / 6, 1 / 6])
    assert found.fluency.tolist() == pytest.approx(fluency.tolist())
    assert found.repetition.tolist() == pytest.approx([0, 1 / 3])
    expected = 2 / 3 - 1 / 12 + 2 * fluency - torch.tensor([0, 1])
    assert found.total.tolist() == pytest.approx(expected.tolist())
    assert Reward(book, fluency=2.0)(cells, given).fluency.tolist() == [0, 0]
    with pytest.raises(ValueError, match="everything is given"):
        Reward(book)(cells, torch.ones(2, 4, dtype=torch.bool))


@given(ids=st.lists(st.integers(0, 2), max_size=12), n=st.integers(1, 4))
@quick
def test_repeated_share_counts_what_came_before(ids, n):
    seen, again, total = [], 0, 0
    for start in range(len(ids) - n + 1):
        gram, total = ids[start : start + n], total + 1
        again += gram in seen
        seen.append(gram)
    assert repeated_share(ids, n) == pytest.approx(again / total if total else 0)


def test_a_prompt_is_a_line_with_both_ends_and_places_between():
    chance = seeded()
    boards = [line_prompt(LineLengths((5, 1, 7, 0, 9)), 3, 5, chance) for _ in range(40)]
    assert {board.shape for board in boards} == {(3, 3), (3, 4), (3, 5)}
    for board in boards:
        assert (board[:, 0] == 2).all() and (board[:, -1] == 3).all() and (board[:, 1:-1] == -1).all()


def test_a_text_report_equals_plain_loops():
    judge = Judge(Pairs(), -9.0, 0.0)
    report, texts = text_report(LINES, judge), [ids[1:-1] for ids in LINES]
    tokens = [token for text in texts for token in text]
    shares = [tokens.count(token) / len(tokens) for token in set(tokens)]
    assert report.unigram_entropy == pytest.approx(-sum(p * math.log2(p) for p in shares))
    nats = -sum(judge.model.log_p(a, b) for ids in LINES for a, b in pairwise(ids[:-1]))
    assert report.tokens == len(tokens) and report.nats_per_token == pytest.approx(nats / len(tokens))
    pairs = [pair for text in texts for pair in pairwise(text)]
    assert report.distinct_2 == pytest.approx(len(set(pairs)) / len(pairs))
    grams = [[tuple(text[i : i + 4]) for i in range(len(text) - 3)] for text in texts]
    again = sum(gram in those[:i] for those in grams for i, gram in enumerate(those))
    assert report.repeated_4 == pytest.approx(again / sum(map(len, grams))) and again
    short = text_report([[2, 5, 3]])
    assert (short.unigram_entropy, short.distinct_2, short.repeated_4) == (0, 0, 0)
    assert math.isnan(text_report([[2, 3]], judge).nats_per_token), "nothing was written"


def test_words_are_as_likely_as_their_cells_together_and_the_model_stays_as_it_was():
    model = tiny(0, WORDS)
    words = words_head(model)
    shown = torch.tensor([[[3, 3, 3, 3], [int(WORDS.patterns[4, 0]), 3, 3, 3], WORDS.patterns[2].tolist()]])
    p, found = model.cell_log_marginals(model(shown)).exp()[0], words(shown).softmax(-1)[0]
    products = p[:, range(4), WORDS.patterns].prod(-1)  # (T, V)
    torch.testing.assert_close(found, products / products.sum(-1, keepdim=True), rtol=0, atol=1e-12)
    assert ((found[1] > 0) == (WORDS.patterns[:, 0] == shown[0, 1, 0])).all(), "others do not fit what shows"
    assert model.config.head == "factorised" and model(shown).shape == (1, 3, 4, 3)
    assert {id(p) for p in words.parameters()} == {id(p) for p in model.parameters()}


def test_ways_of_writing_with_the_same_model():
    model, reward = tiny(0, WORDS, std=0.1), Reward(WORDS)
    boards = [torch.tensor([[2, -1, -1, -1, 3]] * 60), torch.tensor([[2, -1, 1, 3]] * 60)]

    def written(boards, way, **more):
        asked = {"model": model, "prompts": boards, "way": way, "steps": 2, "reward": reward} | more
        return write(**asked, generator=seeded())

    ways = ("independent", "joint", "projected", "best of 8")
    apart, joint, mended, best = (written(boards, way) for way in ways)
    path = denoise(model, boards[0], steps=2, reveal="independent", generator=seeded())
    assert apart.lines[:60] == [[i for i in row if i >= 0] for row in path.ids.tolist()]
    assert mended.lines[:60] == WORDS.decode(path.cells[-1].clone()).tolist()
    assert mended.hit_rate == joint.hit_rate == 1 > apart.hit_rate
    assert mended.distance == joint.distance == 0 < apart.distance and best.reward > apart.reward + 0.2
    assert all(line[0] == 2 and line[-1] == 3 for way in (apart, joint, mended, best) for line in way.lines)
    assert {len(line) for line in joint.lines} == {4, 5}
    many = boards[0][:1].repeat_interleave(8, dim=0)
    path = denoise(model, many, steps=2, reveal="independent", generator=seeded())
    most = reward(path.cells[-1].clone(), many != -1).total.max()
    assert written([boards[0][:1]], "best of 8").reward == pytest.approx(float(most))
    whole = tiny(0, WORDS, head="codebook")
    for wrong, named in (({"way": "greedy"}, "way"), ({"steps": 0}, "steps"), ({"model": whole}, "head")):
        with pytest.raises(ValueError, match=named):
            written(boards, **{"way": "joint"} | wrong)


def test_a_comparison_has_a_row_for_each_and_one_for_the_data():
    models = {"before": tiny(0, WORDS), "after": tiny(1, WORDS)}
    boards, reward = [torch.tensor([[2, -1, -1, 3]] * 10)], Reward(WORDS, Judge.of(Pairs(), LINES))
    data, *rows = compare(models, boards, reward, steps=(1, 4), data=[LINES[2]] * 30)
    assert (data["model"], data["tokens"]) == ("data", 21), "of lines of three tokens, as many as make up 20"
    every = list(product(models, WAYS, (1, 4)))
    assert [(row["model"], row["way"], row["steps"]) for row in rows] == every
    for row in rows:
        assert row["passes"] == row["steps"] * (8 if row["way"] == "best of 8" else 1)
        assert row["tokens"] == 20 or row["way"] in ("independent", "best of 8")
    assert {"nats_per_token", "repeated_4"} <= data.keys() < rows[0].keys()
