"""The denoiser and its heads against Bayes' rule, counted out word by word, and who can see whom."""

from itertools import product

import pytest
import torch
from diffusion_toys import BLANK, config_of, seeded, toy_codebook
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.diffusion import Absorbing, Codebook, Denoiser, DenoiserConfig, Uniform
from lab.diffusion.heads import evidence, leave_one_out, word_log_marginals
from lab.nn import TransformerConfig

quick = settings(max_examples=40, deadline=None, derandomize=True)
V, N = 6, 4
BOOK = toy_codebook(V, N)


def build(seed=0, **settings):
    torch.manual_seed(seed)
    sizes = dict(vocab_size=V, grid=(1, N), width=16, num_heads=2, feed_forward=32, context=12) | settings
    model = Denoiser(config_of(**sizes), BOOK)
    for p in model.parameters():  # what begins as zeros would hide mistakes
        torch.nn.init.normal_(p, std=0.3)
    return model


def noised(B=3, T=5, seed=0, noise="absorbing"):
    generator = seeded(seed)
    cells = BOOK.patterns[torch.randint(V, (B, T), generator=generator)]
    kind = Absorbing() if noise == "absorbing" else Uniform()
    return kind.corrupt(cells, 0.5, generator)


@given(data=st.data())
@quick
def test_evidence_is_the_likelihood_of_what_is_shown(data):
    noise = data.draw(st.sampled_from([Absorbing(), Uniform()]))
    t, word = data.draw(st.floats(0.05, 0.95)), data.draw(st.integers(0, V - 1))
    chance = seeded(data.draw(st.integers(0, 99)))
    shown = noise.corrupt(BOOK.patterns[word].view(1, 1, N), t, chance)[0]
    kernel = noise.cumulative(t)
    likelihood = kernel[BOOK.patterns, shown].prod(-1)  # (V,)
    alpha = None if noise.kind == "absorbing" else noise.alpha(t)[None]
    found = evidence(shown, BOOK.one_hot(torch.float64), alpha)[0]
    torch.testing.assert_close(found.softmax(-1), likelihood / likelihood.sum())


def test_marginals_and_leaving_one_out_are_counted_out():
    alpha, generator = torch.tensor([0.3, 0.8]).double(), seeded(0)
    prior = torch.randn(2, V, generator=generator).double().softmax(-1)
    shown = torch.randint(3, (2, N), generator=generator)
    one_hot = BOOK.one_hot(torch.float64)
    logits = prior.log() + evidence(shown, one_hot, alpha)
    marginals = word_log_marginals(logits, one_hot)
    without = leave_one_out(marginals, shown, alpha).exp()
    for row, j, colour in product(range(2), range(N), range(3)):
        each = Uniform().cumulative(float(1 - alpha[row]))[BOOK.patterns, shown[row]]  # (V, n)
        has, apart = BOOK.patterns[:, j] == colour, torch.arange(N) != j
        for found, cells in ((marginals.exp(), each), (without, each[:, apart])):
            weights = prior[row] * cells.prod(-1)
            share = (weights[has].sum() / weights.sum()).item()
            assert found[row, j, colour].item() == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("head", ["codebook", "factorised"])
@pytest.mark.parametrize("reads", ["cells", "words"])
def test_visible_cells_are_carried_over(head, reads):
    model, cells = build(head=head, reads=reads), noised()
    marginals = model.cell_log_marginals(model(cells)).exp()
    assert marginals.shape == (3, 5, N, 3)
    torch.testing.assert_close(marginals.sum(-1), torch.ones(3, 5, N))
    visible = cells != BLANK
    torch.testing.assert_close(marginals[visible], torch.eye(3)[cells[visible]])


def test_where_no_word_fits_the_nearest_do():
    every = torch.cartesian_prod(*[torch.arange(3)] * N)
    pattern = next(p for p in every if not (p == BOOK.patterns).all(-1).any())
    p = build()(pattern.view(1, 1, N)).softmax(-1)[0, 0]
    distances = (BOOK.patterns != pattern).sum(-1)
    assert torch.equal(p > 0, distances == distances.min()) and torch.isfinite(p).all()


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"head": "factorised"}, {"reads": "words"}, {"neighbours": 2},
        {"noise": "uniform", "time_input": True, "reads": "words"}, {"noise": "uniform", "head": "factorised"},
    ],
)  # fmt: skip
def test_padding_is_not_seen_and_tokens_can_be_picked(settings):
    model = build(**settings).eval()
    cells = noised(2, 6, noise=settings.get("noise", "absorbing"))
    alpha = torch.tensor([0.5, 0.25])
    documents = torch.tensor([[0] * 6, [0] * 4 + [-1] * 2])
    both = model(cells, alpha=alpha, document_ids=documents)
    alone = model(cells[1:, :4], alpha=alpha[1:])
    torch.testing.assert_close(both[1, :4], alone[0])
    torch.testing.assert_close(both[0], model(cells[:1], alpha=alpha[:1])[0])
    where = torch.rand(2, 6, generator=seeded(1)) < 0.5
    picked = model(cells, alpha=alpha, document_ids=documents, where=where)
    torch.testing.assert_close(picked, both[where])


def influence(model, T=7):
    """Does changing token s change what is said of token t? bool (t, s)."""
    cells, changed = torch.full((1, T, N), BLANK), []
    for s in range(T):
        other = cells.clone()
        other[0, s] = BOOK.patterns[3]
        changed.append((model(other) - model(cells))[0].abs().amax(-1) > 1e-6)
    return torch.stack(changed, dim=1)


def test_who_sees_whom():
    assert influence(build().eval()).all()
    assert torch.equal(influence(build(attends=False, num_layers=3).eval()), torch.eye(7).bool())
    model, places = build(neighbours=2).eval(), torch.arange(7)
    for block in model.encoder.blocks:
        torch.nn.init.zeros_(block.self_attention.attention.output.weight)
    assert torch.equal(influence(model), (places[:, None] - places).abs() <= 2), "neighbours alone"


def test_reading_words_gives_a_visible_word_its_own_embedding():
    model = build(reads="words")
    torch.nn.init.zeros_(model.from_cells.weight)
    words = model.from_word.weight
    cells = BOOK.patterns[torch.tensor([[4, 1]])].clone()
    torch.testing.assert_close(model.embed(cells)[0], words[[4, 1]])
    cells[0, 0, 1:] = BLANK
    cells[0, 1] = BLANK
    fits = BOOK.patterns[:, 0] == cells[0, 0, 0]
    assert 1 < fits.sum() < V
    found = model.embed(cells)[0]
    torch.testing.assert_close(found[0], words[fits].mean(0))
    assert not found[1].any(), "nothing visible says nothing"
    uniform = build(reads="words", noise="uniform")
    torch.nn.init.zeros_(uniform.from_cells.weight)
    torch.nn.init.zeros_(uniform.given)
    shown, alpha = BOOK.patterns[2].view(1, 1, N), torch.tensor([0.5])
    weights = Uniform().cumulative(0.5)[BOOK.patterns, shown[0]].prod(-1).float()
    expected = weights / weights.sum() @ uniform.from_word.weight
    torch.testing.assert_close(uniform.embed(shown, alpha)[0, 0], expected)
    own = uniform.embed(shown, alpha, torch.tensor([[True]]))[0, 0]
    torch.testing.assert_close(own, uniform.from_word.weight[2])


def test_ids_are_found_again_also_on_grids_too_large_for_one_number():
    large = Codebook.random(50, grid=(9, 9), num_colours=3)
    model = Denoiser(config_of(50, grid=(9, 9), width=8, num_heads=1, feed_forward=8), large)
    assert model.ids(large.patterns).tolist() == list(range(50))
    assert model.ids((large.patterns + 1) % 3).tolist() == [-1] * 50
    model = build()
    model.set_codebook(Codebook(BOOK.patterns.flip(0), 3))
    assert torch.equal(model.cells(torch.arange(V)), BOOK.patterns.flip(0))
    assert model.ids(BOOK.patterns).tolist() == list(range(V))[::-1]
    assert model.ids(torch.full((2, N), BLANK)).tolist() == [-1, -1]


def test_at_first_all_words_are_equally_likely_and_patterns_are_no_weights():
    model = Denoiser(config_of(V, grid=(1, N), width=16, num_heads=2, feed_forward=32), BOOK)
    p = model(torch.full((1, 3, N), BLANK)).softmax(-1)
    torch.testing.assert_close(p, torch.full_like(p, 1 / V))
    assert not {"patterns", "one_hot", "keys"} & set(model.state_dict())


WRONG = {"grid": (0, 4), "width": 15, "positions": "learned", "tied": True}
REFUSED = [
    (lambda: DenoiserConfig(TransformerConfig(V), noise="uniform"), "granularity"),
    *[(lambda name=name: build(**{name: WRONG[name]}), name) for name in WRONG],
    (lambda: build(neighbours=1, attends=False), "attends"),
    (lambda: build(vocab_size=7), "7 words"),
    (lambda: build(grid=(1, 5)), "5 cells"),
    (lambda: build()(torch.zeros(2, 3, 5).long()), "cells"),
    (lambda: build()(torch.zeros(1, 13, N).long()), "context"),
]


@pytest.mark.parametrize("call, named", REFUSED)
def test_what_cannot_be_built_or_read_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()
