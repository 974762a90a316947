"""Learned codes: hard patterns with gradients, every word back from its pattern, and collisions reported."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.diffusion import Autoencoder, Codebook
from lab.diffusion.codes import collision_report
from lab.diffusion.learned_codes import (
    LearnableEncoder,
    reconstruction_accuracy,
    reconstruction_loss,
    straight_through_gumbel,
    temperature_at,
    vocabulary_batches,
)
from lab.train import Step, TrainConfig, train

KINDS = ["learned", "random", "linear"]


def trained(vocab_size, code, steps=80, size=256, **sizes):
    torch.manual_seed(0)
    model = Autoencoder(vocab_size, code=code, **sizes)
    settings = TrainConfig(steps=steps, other_lr=0.05, warmup=5)
    reports = train(model, vocabulary_batches(vocab_size, size), reconstruction_loss, settings)
    return model, [report.loss for report in reports]


@pytest.mark.parametrize("code", KINDS)
@pytest.mark.parametrize("vocab_size", [192])
def test_the_whole_vocabulary_comes_back_from_hard_patterns(code, vocab_size):
    model, losses = trained(vocab_size, code)
    assert reconstruction_accuracy(model) == 1.0
    book = model.codebook()
    cells = book.encode(torch.arange(vocab_size))
    assert torch.equal(model.decoder(cells).argmax(-1), torch.arange(vocab_size)), "of a codebook's cells too"
    assert losses[0] == pytest.approx(math.log(vocab_size), abs=0.3) and losses[-1] < 0.5


def test_a_code_with_little_room_is_learned_without_collisions():
    """40 words on 81 patterns: random ones collide, so the encoder has to move."""
    assert collision_report(Autoencoder(40, grid=(2, 2)).encoder.patterns()), "before training some collide"
    model, _ = trained(40, "learned", steps=400, size=40, grid=(2, 2))
    assert not collision_report(model.encoder.patterns()) and reconstruction_accuracy(model) == 1.0


def test_the_decoder_mends_damaged_patterns():
    model, _ = trained(192, "linear")
    book = model.codebook()
    missing = torch.rand(192, 25).argsort(-1) < 8
    cells = book.patterns.masked_fill(missing, book.blank)
    assert (model.decoder(cells).argmax(-1) == torch.arange(192)).float().mean() > 0.98


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(2, 6), st.floats(0.05, 10), st.integers(0, 1000))
def test_straight_through_gumbel_is_one_hot_with_the_relaxed_gradient(rows, K, temperature, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, K, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(rows, K, generator=generator, dtype=torch.float64)
    noise = generator.get_state()
    drawn = straight_through_gumbel(logits, temperature, generator)
    assert ((drawn == 0) | (drawn == 1)).all() and (drawn.sum(-1) == 1).all()
    (gradient,) = torch.autograd.grad((drawn * weights).sum(), logits)
    generator.set_state(noise)
    gumbel = -torch.empty_like(logits).exponential_(generator=generator).log()
    (relaxed,) = torch.autograd.grad((((logits + gumbel) / temperature).softmax(-1) * weights).sum(), logits)
    torch.testing.assert_close(gradient, relaxed)


def test_the_encoder_draws_in_training_and_is_certain_in_use():
    encoder, ids = LearnableEncoder(40), torch.arange(40)
    assert not torch.equal(encoder(ids), encoder(ids))
    encoder.eval()
    assert torch.equal(encoder(ids).argmax(-1), encoder.patterns())
    assert set(encoder(ids).unique().tolist()) == {0.0, 1.0}


def test_a_learned_code_with_collisions_is_no_codebook():
    model = Autoencoder(6)
    encoder = model.encoder
    encoder.table.weight.data[4] = encoder.table.weight.data[1]
    encoder.table.weight.data[5] = encoder.table.weight.data[0]
    assert collision_report(encoder.patterns()) == [[0, 5], [1, 4]]
    with pytest.raises(ValueError, match=r"\[0, 5\], \[1, 4\] share a pattern"):
        model.codebook()


def test_every_id_comes_once_before_any_comes_again():
    batches = vocabulary_batches(10, size=4)
    ids = torch.cat([next(batches).ids[0] for _ in range(5)])
    assert sorted(ids[:10].tolist()) == sorted(ids[10:].tolist()) == list(range(10))
    assert next(vocabulary_batches(3, size=8)).ids.shape == (1, 8)
    same = [next(vocabulary_batches(50, seed=seed)).ids.tolist() for seed in (1, 1, 2)]
    assert same[0] == same[1] != same[2]


def test_the_temperature_falls_with_the_steps_by_the_same_factor(monkeypatch):
    temperatures = [temperature_at(Step(number, share=number / 9)) for number in range(9)]
    assert temperatures[0] == 2.0 and temperatures[-1] == 1.0 and temperature_at(Step()) == 2.0
    ratios = [b / a for a, b in pairwise(temperatures)]
    assert ratios == pytest.approx([ratios[0]] * 8)
    seen, model = [], Autoencoder(20)
    forward = model.encoder.forward
    monkeypatch.setattr(
        model.encoder, "forward", lambda ids, warm: (seen.append(warm), forward(ids, warm))[1]
    )
    list(train(model, vocabulary_batches(20, 20), reconstruction_loss, TrainConfig(steps=9, accumulate=2)))
    assert seen == [temperature for temperature in temperatures for _ in range(2)]


def test_a_code_is_made_of_its_settings():
    model = Autoencoder(70, grid=(3, 4), num_colours=5, code="random", seed=3)
    assert model.codebook() == Codebook.random(70, grid=(3, 4), num_colours=5, seed=3)
    for call in (lambda: Autoencoder(99, grid=(2, 2)), lambda: LearnableEncoder(9, num_colours=1)):
        with pytest.raises(ValueError, match=r"patterns|num_colours"):
            call()
