"""Codes and the codebook: no two words alike, damaged patterns read back, and nothing moves when it grows."""

import hashlib
import math
from itertools import combinations, product

import pytest
import torch
from diffusion_toys import seeded
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.diffusion import Autoencoder, Codebook, codes
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

MAKERS = [Codebook.random, Codebook.linear]
sizes = st.tuples(
    st.integers(1, 60), st.integers(1, 5), st.integers(2, 5), st.sampled_from([2, 3, 5])
).filter(lambda s: s[0] <= s[3] ** (s[1] * s[2]))


def plain_distances(patterns):
    return [sum(a != b for a, b in zip(p, q, strict=True)) for p, q in combinations(patterns.tolist(), 2)]


@pytest.mark.parametrize("make", MAKERS)
@settings(max_examples=25, deadline=None)
@given(size=sizes)
def test_distances_of_codebooks_of_any_size_agree_with_the_definition(make, size):
    """That words come back, and are the nearest, is what `checks.codebook` asks of ours."""
    V, rows, columns, K = size
    book = make(V, grid=(rows, columns), num_colours=K)
    cells = torch.randint(K + 1, (5, rows * columns), generator=seeded(V))
    plain = [
        [sum(a not in (b, K) for a, b in zip(row, word, strict=True)) for word in book.patterns.tolist()]
        for row in cells.tolist()
    ]
    assert book.distances(cells).tolist() == plain
    assert book.nearest(cells).distances.tolist() == [min(row) for row in plain]
    if V > 1:
        distances = plain_distances(book.patterns)
        assert book.minimum_distance() == min(distances)
        counts = [distances.count(d) for d in range(rows * columns + 1)]
        assert book.distance_distribution().tolist() == counts
        assert book.statistics().mean_distance == pytest.approx(sum(distances) / len(distances))


def test_linear_codes_have_the_distances_that_are_said():
    for k, distance in enumerate((18, 18, 17, 16, 13, 13, 13, 12), start=1):
        patterns = codes.linear_patterns(3**k, 25, 3)
        assert (patterns[1:] != 0).sum(1).min() == distance, "in a space, distances are weights"
    assert Codebook.linear(1000).minimum_distance() == 13
    assert (codes.linear_patterns(256, 16, 2)[1:] != 0).sum(1).min() >= 2, "found by search"
    stats = Codebook.linear(3**5).statistics()
    assert (stats.minimum_distance, stats.corrects_wrong, stats.corrects_missing) == (13, 6, 12)
    assert stats.cell_entropy == pytest.approx(math.log2(3), abs=1e-12), "every cell of a whole code is even"


def test_a_random_code_is_the_same_everywhere():
    """Other digits on some machine or after some update would lose every saved run."""
    patterns = Codebook.random(1000).patterns
    assert "".join(map(str, patterns[0].tolist())) == "0000022102212012022012011"
    digest = hashlib.sha256(bytes(patterns.flatten().tolist())).hexdigest()
    assert digest == "fde256c8c3badb5f263db7fe9dd3e2dff6872969c91a87207989849d21e27462"
    state = torch.get_rng_state()
    Codebook.random(10)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("make", MAKERS)
def test_what_the_distance_promises_is_kept(make):
    book = make(500)
    d, order = book.minimum_distance(), torch.rand(500, 25).argsort(-1)
    half = (d - 1) // 2
    for count, damaged, distance in ((half, (book.patterns + 1) % 3, half), (d - 1, book.blank, 0)):
        read, distances = book.nearest(torch.where(order < count, damaged, book.patterns))
        assert torch.equal(read, torch.arange(500)) and (distances == distance).all()


def test_decoding_in_chunks_changes_nothing(monkeypatch):
    book = Codebook.random(300)
    cells = torch.randint(0, 3, (7, 5, 25), generator=seeded(0))
    whole, pairs = book.nearest(cells), book.distance_distribution()
    monkeypatch.setattr(codes, "PAIRS_AT_ONCE", 1000)
    in_parts = book.nearest(cells)
    assert torch.equal(whole.ids, in_parts.ids) and torch.equal(whole.distances, in_parts.distances)
    assert torch.equal(pairs, book.distance_distribution())
    assert whole.ids.shape == (7, 5) and book.decode(cells[:0]).shape == (0, 5)


def test_decoding_counts_exactly_under_autocast():
    book = Codebook.random(50, grid=(20, 20), num_colours=2)
    with torch.autocast("cpu", torch.bfloat16):
        wrong = book.patterns.clone()
        wrong[:, 7] = 1 - wrong[:, 7]
        read, distances = book.nearest(wrong)
        assert torch.equal(read, torch.arange(50)) and (distances == 1).all()


@pytest.mark.parametrize("make", MAKERS)
def test_growing_moves_no_word(make):
    book = make(150)
    grown = book.grow(1200)
    assert torch.equal(grown.patterns[:150], book.patterns)
    assert grown == make(1200) and grown.grow(1200) == grown, "as if it had been made at once"


def test_a_given_codebook_grows_into_unused_patterns():
    given = Codebook(torch.tensor(list(product(range(2), repeat=4)))[::2], 2)
    assert given.grid == (2, 2)
    grown = given.grow(16)
    assert torch.equal(grown.patterns[:8], given.patterns)
    assert sorted(map(tuple, grown.patterns.tolist())) == list(product(range(2), repeat=4))
    for size in (15, 17):
        with pytest.raises(ValueError, match=str(size)):
            grown.grow(size)


def test_a_codebook_is_not_changed_from_outside():
    patterns = torch.tensor([[0, 1], [1, 0]])
    book = Codebook(patterns, 2)
    patterns[0] = 1
    assert book.patterns.tolist() == [[0, 1], [1, 0]] and book.to("cpu") == book
    assert book != Codebook(book.patterns, 3) and book != Codebook(book.patterns, 2, grid=(2, 1))


# Learned

KINDS = ["learned", "random", "linear"]


def trained(vocab_size, code, steps=80, size=256, **sizes):
    torch.manual_seed(0)
    model = Autoencoder(vocab_size, code=code, **sizes)
    settings = TrainConfig(steps=steps, other_lr=0.05, warmup=5)
    reports = train(model, vocabulary_batches(vocab_size, size), reconstruction_loss, settings)
    return model, [report.loss for report in reports]


@pytest.mark.parametrize("code", KINDS)
def test_the_whole_vocabulary_comes_back_from_hard_patterns(code):
    model, losses = trained(192, code)
    assert losses[0] == pytest.approx(math.log(192), abs=0.3) and losses[-1] < 0.5
    assert reconstruction_accuracy(model) == 1.0
    book, missing, ids = model.codebook(), torch.rand(192, 25).argsort(-1) < 8, torch.arange(192)
    assert torch.equal(model.decoder(book.encode(ids)).argmax(-1), ids), "of a codebook's cells too"
    damaged = model.decoder(book.patterns.masked_fill(missing, book.blank)).argmax(-1)
    assert (damaged == ids).float().mean() > (0.98 if code == "linear" else 0.8)


def test_a_code_with_little_room_is_learned_without_collisions():
    """40 words on 81 patterns: random ones collide, so the encoder has to move."""
    assert collision_report(Autoencoder(40, grid=(2, 2)).encoder.patterns()), "before training some collide"
    model, _ = trained(40, "learned", steps=400, size=40, grid=(2, 2))
    assert not collision_report(model.encoder.patterns()) and reconstruction_accuracy(model) == 1.0


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(2, 6), st.floats(0.05, 10), st.integers(0, 1000))
def test_straight_through_gumbel_is_one_hot_with_the_relaxed_gradient(rows, K, temperature, seed):
    generator = seeded(seed)
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


def test_every_id_comes_once_before_any_comes_again():
    batches = vocabulary_batches(10, size=4)
    ids = torch.cat([next(batches).ids[0] for _ in range(5)])
    assert sorted(ids[:10].tolist()) == sorted(ids[10:].tolist()) == list(range(10))
    assert next(vocabulary_batches(3, size=8)).ids.shape == (1, 8)
    same = [next(vocabulary_batches(50, seed=seed)).ids.tolist() for seed in (1, 1, 2)]
    assert same[0] == same[1] != same[2]


def test_the_temperature_falls_with_the_steps_by_the_same_factor(monkeypatch):
    temperatures = [temperature_at(Step(number, share=number / 9)) for number in range(9)]
    assert temperatures == pytest.approx([2 ** (1 - number / 8) for number in range(9)])
    seen, model = [], Autoencoder(20)
    forward = model.encoder.forward
    spy = lambda ids, warm: (seen.append(warm), forward(ids, warm))[1]  # noqa: E731
    monkeypatch.setattr(model.encoder, "forward", spy)
    list(train(model, vocabulary_batches(20, 20), reconstruction_loss, TrainConfig(steps=9, accumulate=2)))
    assert seen == [temperature for temperature in temperatures for _ in range(2)]


def test_a_code_is_made_of_its_settings():
    given = {"grid": (3, 4), "num_colours": 5, "seed": 3}
    assert Autoencoder(70, code="random", **given).codebook() == Codebook.random(70, **given)


NINE = Codebook.random(9)
REFUSED = [
    (lambda: Codebook.random(17, grid=(2, 2), num_colours=2), "17 tokens"),
    (lambda: Codebook.linear(82, grid=(2, 2)), "82 tokens"),
    (lambda: Codebook.random(2, num_colours=300), "num_colours"),
    (lambda: Codebook.random(0), "vocab_size"),
    (lambda: Autoencoder(99, grid=(2, 2)), "patterns"),
    (lambda: LearnableEncoder(9, num_colours=1), "num_colours"),
    (lambda: Codebook.linear(2, grid=(0, 5)), "cells"),
    (lambda: Codebook.linear(9, num_colours=4), "prime"),
    (lambda: Codebook(torch.tensor([[0, 1], [2, 2], [0, 1]]), 3), r"\[0, 2\] share a pattern"),
    (lambda: Codebook(torch.tensor([[0, 3]]), 3), "colours"),
    (lambda: Codebook(torch.zeros(25).long(), 3), "patterns"),
    (lambda: Codebook(torch.zeros(1, 25).long(), 3, grid=(5, 4)), "grid"),
    (lambda: NINE.encode(torch.tensor([9])), "ids"),
    (lambda: NINE.decode(torch.zeros(2, 24).long()), "cells"),
    (lambda: NINE.decode(torch.full((25,), 4)), "cells"),
    (lambda: NINE.require_vocab_size(10), "vocabulary"),
    (lambda: Codebook.random(1).minimum_distance(), "two patterns"),
]


@pytest.mark.parametrize("call, named", REFUSED)
def test_what_cannot_be_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()
