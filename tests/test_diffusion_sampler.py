"""Samples of a world that is known exactly: as likely as they should be, always words, and prompts untouched."""

import pytest
import torch
from diffusion_toys import BLANK, ExactDenoiser, config_of, every_noise, seeded, toy_codebook

from lab.decode import Sampling
from lab.diffusion import Denoiser, canvas, denoise
from lab.diffusion.sampler import draw

ROWS = 4000


def write(model, line=(-1, -1), rows=ROWS, steps=8, seed=0, **more):
    board = torch.tensor(line).expand(rows, len(line))
    return denoise(model, board, steps=steps, generator=seeded(seed), **more)


def distance(world, ids, given=None):
    """Total variation between the lines that came and how likely they are (among those with what is given)."""
    size, p = world.config.vocab_size, world.p.clone()
    if given is not None:
        p[~given] = 0
    counts = torch.bincount(ids @ size ** torch.arange(ids.shape[1] - 1, -1, -1), minlength=len(p))
    return float((counts / len(ids) - p / p.sum()).abs().sum() / 2)


WAYS = [
    ("absorbing", "token", {}, 60), ("absorbing", "cell", {}, 60), ("absorbing", "token", {"method": "remasking"}, 60),
    ("absorbing", "cell", {"method": "remasking"}, 60), ("absorbing", "cell", {"reveal": "independent"}, 100),
    ("uniform", "cell", {}, 100), ("uniform", "cell", {"reveal": "independent"}, 150),
]  # fmt: skip


@pytest.mark.parametrize("noise, granularity, how, steps", WAYS)
def test_lines_come_as_often_as_they_are_likely(noise, granularity, how, steps):
    world = ExactDenoiser(noise=noise, granularity=granularity)
    ids = write(world, steps=steps, **how).ids
    words = (ids >= 0).all(-1)
    assert words.float().mean() > 0.95
    assert distance(world, ids[words]) < 0.06
    apart = world.p.view(4, 4).sum(1)[:, None] * world.p.view(4, 4).sum(0)
    assert float((apart.flatten() - world.p).abs().sum() / 2) > 0.15, "words drawn apart would be seen"


@every_noise
@pytest.mark.parametrize("line", [(2, -1), (-1, 1)])
def test_what_is_given_stays_and_the_rest_fits_it(noise, granularity, line):
    world = ExactDenoiser(noise=noise, granularity=granularity)
    out = write(world, line, steps=30)
    place = 0 if line[0] >= 0 else 1
    assert (out.ids[:, place] == line[place]).all()
    assert (out.cells[:, :, place] == world.cells(torch.tensor(line[place]))).all(), "never noised on the way"
    assert distance(world, out.ids, world.lines[:, place] == line[place]) < 0.05


@pytest.mark.parametrize("method", ["ancestral", "confidence", "remasking"])
@pytest.mark.parametrize("granularity", ["token", "cell"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_with_the_joint_reveal_every_grid_is_a_word(method, granularity, steps):
    world = ExactDenoiser(granularity=granularity)
    out = write(world, rows=500, steps=steps, method=method)
    assert (out.ids >= 0).all() and torch.equal(world.cells(out.ids), out.cells[-1])
    assert out.cells.shape == (steps + 1, 500, 2, 2) and (out.cells[0] == BLANK).all()
    assert out.times[0] == 1 and out.times[-1] == 0 and len(out.times) == steps + 1
    seen = (out.cells != BLANK).all(-1)
    if method != "remasking":
        assert (seen[1:] >= seen[:-1]).all(), "what is visible stays"
    if granularity == "token":
        assert torch.equal(seen, (out.cells != BLANK).any(-1)), "tokens are revealed whole"


@pytest.mark.parametrize("granularity", ["token", "cell"])
@pytest.mark.parametrize("method", ["ancestral", "remasking"])
def test_as_much_is_visible_at_each_time_as_the_schedule_says(method, granularity):
    out = write(ExactDenoiser(granularity=granularity), steps=6, method=method, remask=0.8)
    visible = (out.cells != BLANK).double().mean((1, 2, 3))
    torch.testing.assert_close(visible, 1 - torch.tensor(out.times).double(), rtol=0, atol=0.03)


def test_cells_drawn_apart_may_make_no_word_and_more_steps_help():
    world = ExactDenoiser(vocab_size=6, num_cells=4, length=1, granularity="cell")
    ids = [write(world, [-1], steps=steps, reveal="independent").ids for steps in (1, 4, 32)]
    one, four, many = (float((drawn >= 0).float().mean()) for drawn in ids)
    assert one < 0.7 < many and one < four < many < 1
    assert (write(world, [-1], steps=1).ids >= 0).all()


def test_confidence_reveals_the_surest_first_as_many_as_the_schedule_says():
    out = denoise(small(), torch.full((3, 10), -1), steps=5, method="confidence", generator=seeded())
    assert (out.cells != BLANK).all(-1).sum(-1).tolist() == [[n] * 3 for n in (0, 2, 4, 6, 8, 10)]

    class Sure(ExactDenoiser):
        def forward(self, cells, *, where=None, **_):
            logits = torch.zeros(*cells.shape[:2], 4)
            logits[:, 1] = torch.tensor([9.0, 0, 0, 0])
            return logits[where]

    out = write(Sure(), rows=200, steps=2, method="confidence")
    assert (out.cells[1] != BLANK).all(-1).float().mean(0).tolist() == [0, 1]


def test_remasking_blanks_whole_tokens_again_but_none_that_are_given():
    out = write(ExactDenoiser(), (1, -1), rows=2000, steps=10, method="remasking", remask=1.0)
    seen = (out.cells != BLANK).all(-1)
    assert (seen[:-1, :, 1] & ~seen[1:, :, 1]).any() and seen[:, :, 0].all() and seen[-1].all()
    never = write(ExactDenoiser(), (1, -1), rows=2000, steps=10, method="remasking", remask=0.0)
    assert ((never.cells[1:] == BLANK) <= (never.cells[:-1] == BLANK)).all()


def small(**settings):
    torch.manual_seed(0)
    config = config_of(6, grid=(1, 4), width=16, num_heads=2, feed_forward=32, context=12, **settings)
    return Denoiser(config, toy_codebook(6, 4))


def test_temperature_and_top_p_are_those_of_decoding():
    world = ExactDenoiser()
    sure = write(world, rows=50, steps=4, sampling=Sampling(temperature=0), method="confidence").ids
    assert (sure == sure[0]).all()
    marginals = world(torch.full((1, 2, 2), BLANK)).softmax(-1)[0]
    one = write(world, rows=2000, steps=1, sampling=Sampling(top_p=0.6)).ids
    for place in range(2):
        p = marginals[place].sort(descending=True)
        kept = p.indices[: int((p.values.cumsum(0) < 0.6).sum()) + 1]
        assert set(one[:, place].tolist()) == set(kept.tolist())


def test_the_same_seed_gives_the_same_lines_and_the_model_keeps_its_mode():
    model = small().train()
    first, same, other = (write(model, [-1] * 6, rows=5, steps=3, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.cells, same.cells) and not torch.equal(first.ids, other.ids) and model.training


def test_a_canvas_holds_a_prompt_at_either_end_or_all_of_a_line():
    out = denoise(small(), canvas(4, prefix=[2, 4, 5, 3]), steps=2)
    assert out.ids.tolist() == [[2, 4, 5, 3]] and (out.cells == out.cells[0]).all()
    assert canvas(6, prefix=[7], suffix=[8, 9]).tolist() == [7, -1, -1, -1, 8, 9]
    with pytest.raises(ValueError, match="length 3"):
        canvas(3, prefix=[1, 2], suffix=[3, 4])


def test_draws_are_as_likely_as_they_should_be_also_the_rare_ones():
    p = torch.tensor([0.9, 0.0999, 0.0001, 0.0]).double()
    drawn = torch.bincount(draw(p.log().expand(400_000, 4), seeded()), minlength=4)
    assert drawn[3] == 0 and 15 < drawn[2] < 80
    assert drawn[1] / 400_000 == pytest.approx(0.0999, abs=0.003)


REFUSED = [
    ({"steps": 0}, "steps"), ({"method": "greedy"}, "method"), 
    ({"reveal": "all"}, "reveal"), ({"remask": 2}, "remask"),
    ({"canvas": torch.full((13,), -1)}, "context"), ({"canvas": torch.tensor([6, -1])}, "canvas"),
    ({"canvas": torch.tensor([-2, -1])}, "canvas"),
    ({"model": small(noise="uniform"), "method": "confidence"}, "method"),
    ({"model": small(head="factorised"), "reveal": "joint"}, "reveal"),
]  # fmt: skip


@pytest.mark.parametrize("change, named", REFUSED)
def test_what_cannot_be_written_is_refused(change, named):
    asked = {"model": small(), "canvas": torch.tensor([-1, -1]), "steps": 2} | change
    with pytest.raises(ValueError, match=named):
        denoise(**asked)
