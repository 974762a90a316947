"""The objectives of a character encoder: what they ask, what they cost, and what their scores count."""

import math
from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lab.chars import (
    CharacterObjectives,
    Found,
    NextCharacter,
    Weights,
    bottleneck_loss,
    bottleneck_score,
    chance_levels,
    character_batches,
    character_loss,
    character_rows,
    character_scores,
    clm_loss,
    clm_score,
    in_order,
    memory_effect,
    mlm_loss,
    mlm_score,
    passages,
    random_chunks,
    reconstruction_loss,
    reconstruction_score,
    restoration_loss,
    restoration_score,
    running_rows,
    score_table,
    single_rows,
)
from lab.chars.batches import pad_rows
from lab.chars.bottleneck import write_greedily
from lab.chars.corruption import character_ids, mask_characters, remove_characters, special_ids
from lab.chars.memory import _paired, _rows_and_memories
from lab.chars.model import CharEncoder, CharEncoderConfig
from lab.config import from_json, to_json
from lab.data.batch import IGNORE
from lab.decode.search import Sampling, generate
from lab.text import CharTokenizer
from lab.train import TrainConfig, train
from lab.train.draws import seeded_by_batch

LINES = [
    "The cat sat, and ran.",
    "A dog; a mat.",
    "So it is!",
    "and the tree, the cat",
    "On a mat: the dog ran.",
]
TOKENIZER = CharTokenizer.train(LINES)
V = TOKENIZER.vocab_size
PAD, BOS, EOS, MASK = 0, 2, 3, 4
SIZES = {
    "context": 24,
    "width": 8,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "num_heads": 2,
    "feed_forward": 16,
}
BOTTLENECK = {"latents": 4, "latent_width": 4}
CHUNK = 6


def restless(**changed) -> CharEncoder:
    """A model that says something: fresh layers add nothing, so all weights are drawn at random."""
    model = CharEncoder(CharEncoderConfig(V, **SIZES | BOTTLENECK | changed)).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def batch_of(lines=LINES, context=24):
    return pad_rows([row for (row,) in single_rows(TOKENIZER.encode_lines(lines), context)])


def loss_of(objectives=None, seed=0, **more):
    generator = torch.Generator()
    begin = seeded_by_batch(generator, lambda: 0, seed)
    objectives = objectives or CharacterObjectives(chunk=CHUNK)
    return character_loss(objectives, TOKENIZER, generator, begin=begin, **more)


def nats_of(logits, targets) -> float:
    """The sum over targets, one by one."""
    p = logits.log_softmax(-1)
    places = (targets != IGNORE).nonzero().tolist()
    return -sum(p[b, t, targets[b, t]].item() for b, t in places)


# What is asked


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"mask_rate": 0.0}, "mask_rate must be above 0"),
        ({"last_mask_rate": 1.5}, "last_mask_rate must be"),
        ({"space_rate": True}, "space_rate must be"),
        ({"removed": ()}, "removed must be sets of characters"),
        ({"removed": (".", "")}, "removed must be sets of characters"),
        ({"chunk": 0}, "chunk must be a whole number of at least 1, got 0"),
        ({"chunked": 0}, "chunked must be above 0"),
        ({"restored": 2}, "restored must be above 0"),
        ({"predicted": 0}, "predicted must be above 0"),
        ({"memory": -1}, "memory must be"),
        ({"scored_lines": 1.0}, "scored_lines must be"),
    ],
)
def test_objectives_that_cannot_be_are_refused(changed, told):
    with pytest.raises(ValueError, match=told):
        CharacterObjectives(**changed)


def test_weights_that_cannot_be_are_refused():
    for wrong in (-1, math.inf, math.nan, "1", True):
        with pytest.raises(ValueError, match="the weight of clm must be a number of at least 0"):
            Weights(clm=wrong)
    with pytest.raises(ValueError, match="nothing to train"):
        Weights(0, 0, 0, 0, 0)


def test_weights_and_rate_lie_on_a_line_from_the_first_step_to_the_last():
    first, last = Weights(bottleneck=1.0), Weights(mlm=3.0, bottleneck=0.0)
    asked = CharacterObjectives(first, last, mask_rate=0.4, last_mask_rate=0.2)
    assert asked.weights_at(0.0) == first and asked.weights_at(1.0) == last
    assert asked.weights_at(0.5) == Weights(mlm=2.0, bottleneck=0.5)
    assert asked.mask_rate_at(0.25) == pytest.approx(0.35)
    alike = CharacterObjectives(mask_rate=0.4)
    assert alike.weights_at(0.7) == alike.weights and alike.mask_rate_at(0.7) == 0.4


def test_objectives_come_back_from_json():
    asked = CharacterObjectives(Weights(clm=0.5), Weights(clm=1.0), removed=(".,", " "), space_rate=0.1)
    assert from_json(CharacterObjectives, to_json(asked)) == asked


# Batches


@given(length=st.integers(2, 60), context=st.integers(2, 24))
def test_rows_hold_a_line_once_and_ask_for_the_next_id(length, context):
    ids = list(range(5, 5 + length))
    rows = character_rows(ids, context)
    assert [i for row, _ in rows for i in row] == ids
    assert [t for _, targets in rows for t in targets] == [*ids[1:], IGNORE]
    lengths = [len(row) for row, _ in rows]
    assert max(lengths) <= context and len(rows) == math.ceil(length / context)
    assert max(lengths) - min(lengths) < len(rows) + 1


def test_a_pass_has_every_group_once_and_those_of_like_length_together():
    generator = torch.Generator().manual_seed(0)
    lines = [[BOS, *([5 + n % 9] * n), EOS] for n in range(1, 40)]
    groups = single_rows(lines, context=24)
    stream = character_batches(groups, 60, generator)
    batches, rows = [], 0
    while rows < len(groups):
        batches.append(next(stream))
        rows += len(batches[-1].ids)
    seen = Counter(tuple(row[row != PAD].tolist()) for batch in batches for row in batch.ids)
    assert seen == Counter(tuple(ids) for ((ids, _),) in groups)
    assert all(batch.ids.numel() <= 60 for batch in batches if len(batch.ids) > 1)
    padding = sum(int((batch.ids == PAD).sum()) for batch in batches)
    assert padding < 0.1 * sum(batch.ids.numel() for batch in batches)
    again = character_batches(groups, 60, torch.Generator().manual_seed(0))
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(batches, again, strict=False))
    order = [len(batch.ids[0]) for batch in batches]
    assert order != sorted(order), "the batches come in random order"
    with pytest.raises(ValueError, match="nothing to learn from"):
        next(character_batches([], 60, generator))


def test_running_text_comes_in_groups_that_follow_one_another():
    text = ["a", "b", "c", "d", "e", "f"]
    assert passages(text, ["f", "c", "b", "a", "e"]) == [["a", "b", "c"], ["e", "f"]]
    encoded = [[[BOS, 5 + n, EOS] for n in range(3)], [[BOS, 9, EOS]]]
    groups = running_rows(encoded, context=8, size=2)
    assert [[ids[1] for ids, _ in rows] for rows in groups] == [[5, 6], [6, 7]], "none crosses a passage"
    batch = next(character_batches(groups, 12, torch.Generator().manual_seed(0)))
    assert (batch.ids[1::2, 1] == batch.ids[::2, 1] + 1).all()


def test_scoring_reads_each_row_once_the_shortest_first():
    rows = [row for ids in TOKENIZER.encode_lines(LINES) for row in character_rows(ids, 24)]
    batches = list(in_order(rows, size=2))
    lengths = [int((row != PAD).sum()) for batch in batches for row in batch.ids]
    assert lengths == sorted(len(ids) for ids, _ in rows)


@given(seed=st.integers(0, 1000), chunk=st.integers(1, 12))
def test_a_chunk_is_a_piece_of_its_line(seed, chunk):
    ids = batch_of([*LINES, "", "ab"]).ids
    chunks = random_chunks(ids, chunk, torch.Generator().manual_seed(seed), (PAD, BOS, EOS))
    lines = [line for line in [*LINES, "", "ab"] if line]
    assert len(chunks) == len(lines) and chunks.shape[1] == chunk
    for line, row in zip(lines, chunks, strict=True):
        text = TOKENIZER.decode(row.tolist())
        length = min(chunk, len(line))
        assert text in TOKENIZER.decode(TOKENIZER.encode(line)) and len(text) == length
        assert (row[length:] == PAD).all() and (row[:length] != PAD).all()


def test_chunks_begin_anywhere_in_a_line():
    ids = batch_of(["abcdefgh".replace("b", "a")]).ids.repeat(500, 1)
    ids = torch.arange(10).repeat(2000, 1) + 20
    ids[:, 0], ids[:, -1] = BOS, EOS
    starts = random_chunks(ids, 3, torch.Generator().manual_seed(0), (PAD, BOS, EOS))[:, 0].bincount()[21:]
    assert starts.shape == (6,) and starts.min() > 250


# Losses


def test_each_loss_is_the_cross_entropy_of_its_targets_and_padding_costs_nothing():
    model, batch = restless(), batch_of()
    ids = batch.ids
    masked = mask_characters(
        ids,
        rate=0.5,
        vocab_size=V,
        mask_id=MASK,
        specials=range(5),
        generator=torch.Generator().manual_seed(1),
    )
    shorter, labels = remove_characters(ids, character_ids(TOKENIZER, ".,;:!"), pad_id=PAD)
    kept = ids.masked_fill(ids == PAD, IGNORE)
    expected = {
        mlm_loss: ((masked,), nats_of(model(masked.ids).mlm, masked.targets)),
        clm_loss: ((batch,), nats_of(model(ids).clm, batch.targets)),
        reconstruction_loss: ((ids,), nats_of(model(ids).reconstruction, kept)),
        restoration_loss: ((shorter, labels), nats_of(model(shorter).restoration, labels)),
    }
    characters = int((ids != PAD).sum())
    counts = [
        int((masked.targets != IGNORE).sum()),
        batch.num_targets,
        characters,
        int((shorter != PAD).sum()),
    ]
    for (loss, (arguments, nats)), count in zip(expected.items(), counts, strict=True):
        found, asked = loss(model, *arguments)
        assert found.item() == pytest.approx(nats, rel=1e-9) and asked == count, loss.__name__
    together, _ = clm_loss(model, batch)
    alone = sum(clm_loss(model, batch_of([line]))[0].item() for line in LINES)
    assert together.item() == pytest.approx(alone, rel=1e-9)


def test_the_bottleneck_pays_for_each_character_once_given_those_before():
    model = restless()
    chunks = random_chunks(
        batch_of([*LINES, "ab"]).ids, CHUNK, torch.Generator().manual_seed(0), (PAD, BOS, EOS)
    )
    nats, count = bottleneck_loss(model, chunks, BOS)
    alone = 0.0
    for row in chunks:
        row = row[row != PAD][None]
        given = torch.cat([torch.tensor([[BOS]]), row[:, :-1]], dim=1)
        alone += nats_of(model.write(model.compress(row), given), row)
    assert (
        nats.item() == pytest.approx(alone, rel=1e-9) and count == int((chunks != PAD).sum()) == 5 * CHUNK + 2
    )


@pytest.mark.parametrize("name", [name for name, _ in Weights().items()])
def test_the_whole_loss_is_the_weighted_sum_and_one_objective_alone_is_its_own(name):
    model, batch, told = restless(), batch_of(), {}
    weights = Weights(1.0, 0.5, 2.0, 0.25, 3.0)
    asked = CharacterObjectives(weights, chunk=CHUNK)
    nats, count = loss_of(asked, told=told)(model, batch)
    assert count == batch.num_targets and told.keys() == dict(weights.items()).keys()
    weighted = sum(weight * told[each] for each, weight in weights.items())
    assert nats.item() == pytest.approx(weighted * count, rel=1e-9)
    only = Weights(**dict.fromkeys(told, 0.0) | {name: 1.0})
    alone: dict = {}
    nats, count = loss_of(replace(asked, weights=only), told=alone)(model, batch)
    assert list(alone) == [name] and nats.item() == pytest.approx(alone[name] * count, rel=1e-9)
    if name == "clm":
        assert nats.item() == pytest.approx(clm_loss(model, batch)[0].item(), rel=1e-9)


def test_what_the_loss_asks_of_the_encoder(monkeypatch):
    """Masked and shortened rows in one pass, chunks in a short one; the decoder reads what was not masked."""
    model, batch = restless(), batch_of()
    read, decoded = [], []
    encode, decode = model.encode, model.decode
    monkeypatch.setattr(model, "encode", lambda ids, **more: read.append(ids) or encode(ids, **more))
    monkeypatch.setattr(model, "decode", lambda ids, **more: decoded.append(ids) or decode(ids, **more))
    asked = CharacterObjectives(chunk=CHUNK, restored=0.4, mask_rate=0.5)
    loss_of(asked)(model, batch)
    assert [tuple(ids.shape) for ids in read] == [(7, 24), (3, CHUNK)]
    assert len(decoded) == 1 and torch.equal(decoded[0], batch.ids)
    masked, shortened = read[0][:5], read[0][5:]
    assert (masked == MASK).any() and ((masked == batch.ids) | (batch.ids > MASK)).all()
    removed = torch.tensor(character_ids(TOKENIZER, asked.removed[0]))
    assert not torch.isin(shortened, removed).any() and not (shortened == MASK).any()
    read.clear()
    loss_of(CharacterObjectives(Weights(0, 1, 0, 0, 0), chunk=CHUNK))(model, batch)
    assert not read


def test_the_decoder_may_read_a_share_of_the_rows_with_what_they_remember(monkeypatch):
    model, batch = restless(memory_slots=1, cross_attention="memory"), batch_of([*LINES, "the last"])
    decoded, decode = [], model.decode
    monkeypatch.setattr(
        model, "decode", lambda ids, **more: decoded.append((ids, more)) or decode(ids, **more)
    )
    weights, told = Weights(mlm=1, clm=1, reconstruction=0, bottleneck=0, restoration=0), {}
    asked = CharacterObjectives(weights, mask_rate=1e-9, predicted=0.5, memory=1)
    loss_of(asked, told=told)(model, batch)
    ((ids, read),) = decoded
    places = [int((batch.ids == row).all(1).nonzero()) for row in ids]
    assert len(places) == len(set(places)) == 3 and read["memory_mask"][:, 0].tolist() == [
        n % 2 for n in places
    ]
    nats = 0.0
    for n in places:
        memory = model(batch.ids[n - 1 : n]).chunk_embedding[:, None] if n % 2 else None
        nats += nats_of(model(batch.ids[n : n + 1], memory=memory).clm, batch.targets[n : n + 1])
    assert told["clm"] == pytest.approx(nats / int((batch.targets[places] != IGNORE).sum()), rel=1e-9)


def test_reconstruction_is_not_asked_where_a_character_was_masked():
    """With everything masked, nothing that is seen is left but the ends of the lines."""
    model, batch, told = restless(), batch_of(), {}
    asked = CharacterObjectives(Weights(0, 0, 1, 0, 0), mask_rate=1.0, restored=1.0, chunk=CHUNK)
    loss_of(asked, told=told)(model, batch)
    generator = torch.Generator()
    seeded_by_batch(generator, lambda: 0, 0)()
    masked = mask_characters(
        batch.ids, rate=1.0, vocab_size=V, mask_id=MASK, specials=special_ids(TOKENIZER), generator=generator
    )
    ends = torch.where((batch.ids == BOS) | (batch.ids == EOS), batch.ids, IGNORE)
    expected = nats_of(model(masked.ids).reconstruction, ends) / int((ends != IGNORE).sum())
    assert told["reconstruction"] == pytest.approx(expected, rel=1e-9)


def test_a_loss_draws_by_the_number_of_its_batch_alone():
    model, batch, taken = restless(), batch_of(), 0
    generator = torch.Generator()
    begin = seeded_by_batch(generator, lambda: taken, 7)
    loss = character_loss(CharacterObjectives(chunk=CHUNK), TOKENIZER, generator, begin=begin)
    first, second = loss(model, batch)[0].item(), loss(model, batch)[0].item()
    taken = 2
    third = loss(model, batch)[0].item()
    assert len({first, second, third}) == 3, "of one step each batch draws anew, and so does the next step"
    generator.manual_seed(99)
    taken = 0
    assert loss(model, batch)[0].item() == first


def test_sets_of_characters_to_remove_take_turns():
    model, batch = restless(), batch_of()
    seen = []
    model.encode_before = model.encode
    model.encode = lambda ids, **more: seen.append(ids[len(batch.ids) :]) or model.encode_before(ids, **more)
    asked = CharacterObjectives(Weights(0, 0, 0, 0, 1), removed=(".,;:!", " "), restored=1.0, chunk=CHUNK)
    for seed in range(8):
        loss_of(asked, seed=seed)(model, batch)
    space, stop = character_ids(TOKENIZER, " ")[0], character_ids(TOKENIZER, ".")[0]
    kinds = {(bool((rows == space).any()), bool((rows == stop).any())) for rows in seen}
    assert kinds == {(True, False), (False, True)}
    with pytest.raises(ValueError, match="the vocabulary has no character"):
        loss_of(replace(asked, removed=("#",)))
    loss_of(replace(asked, removed=("#",), weights=Weights(restoration=0)))


def test_batches_without_a_character_cost_nothing_for_the_bottleneck():
    told: dict = {}
    nats, count = loss_of(told=told)(restless(), batch_of(["", ""]))
    assert "bottleneck" not in told and count == 2 and math.isfinite(nats.item())


# Memory


def test_the_last_row_of_a_group_remembers_those_before_it():
    model, real_nats, clm_nats = restless(memory_slots=2, cross_attention="memory"), 0.0, 0.0
    batch = batch_of([*LINES, "the last"])  # two groups of three
    real = batch.ids.masked_fill(batch.ids == PAD, IGNORE)
    for group in (slice(0, 3), slice(3, 6)):
        ids, kept, targets = batch.ids[group], real[group], batch.targets[group]
        first = model(ids[:2])
        last = model(ids[2:], memory=first.chunk_embedding[None])
        assert not torch.allclose(last.clm, model(ids[2:]).clm)
        real_nats += nats_of(first.reconstruction, kept[:2]) + nats_of(last.reconstruction, kept[2:])
        clm_nats += nats_of(first.clm, targets[:2]) + nats_of(last.clm, targets[2:])
    weights = Weights(mlm=0, clm=1, reconstruction=1, bottleneck=0, restoration=1)
    asked = CharacterObjectives(weights, mask_rate=1e-9, restored=1.0, memory=2, chunk=CHUNK)
    told: dict = {}
    loss_of(asked, told=told)(model, batch)
    assert told["reconstruction"] == pytest.approx(real_nats / int((real != IGNORE).sum()), rel=1e-9)
    assert told["clm"] == pytest.approx(clm_nats / batch.num_targets, rel=1e-9)
    forgetful: dict = {}
    loss_of(replace(asked, memory=0), told=forgetful)(model, batch)
    assert told["restoration"] == pytest.approx(forgetful["restoration"], rel=1e-9), "these remember nothing"
    with pytest.raises(ValueError, match="rows come in groups of 3, got 5 rows"):
        loss_of(asked)(model, batch_of())


def test_what_a_row_remembers_are_the_rows_right_before_it():
    pairs = _rows_and_memories(TOKENIZER, LINES, {LINES[1]}, context=12, memory=1)
    rows = [[row for row, _ in character_rows(ids, 12)] for ids in TOKENIZER.encode_lines(LINES[:2])]
    assert [len(pieces) for pieces in rows] == [2, 2]
    assert [(row[0], [before[0] for before in memory]) for row, memory in pairs] == [
        (rows[1][0], [rows[0][1]]),
        (rows[1][1], [rows[1][0]]),
    ]


def test_the_effect_of_memory_is_the_difference_of_the_same_lines():
    model = restless(memory_slots=1, cross_attention="memory")
    effect = memory_effect(model, TOKENIZER, LINES, [LINES[2], LINES[4], LINES[0]], rate=0.5)
    assert effect.clm.rows == 2, "before the first line there is none"
    without = with_memory = 0.0
    for n in (2, 4):
        batch, before = batch_of([LINES[n]]), batch_of([LINES[n - 1]]).ids
        without += nats_of(model(batch.ids).clm, batch.targets)
        memory = model(before).chunk_embedding[:, None]
        with_memory += nats_of(model(batch.ids, memory=memory).clm, batch.targets)
    chars = len(LINES[2]) + len(LINES[4]) + 2
    assert effect.clm.chars == chars
    assert effect.clm.without == pytest.approx(without / chars, rel=1e-9)
    assert effect.clm.with_memory == pytest.approx(with_memory / chars, rel=1e-9)
    assert effect.mlm.error > 0 and effect.mlm.saved == effect.mlm.without - effect.mlm.with_memory
    deaf = memory_effect(restless(memory_slots=1), TOKENIZER, LINES, LINES)
    assert deaf.clm is None and deaf.mlm.rows == 4
    fresh = CharEncoder(CharEncoderConfig(V, **SIZES, memory_slots=1))
    nothing = memory_effect(fresh, TOKENIZER, LINES, LINES).mlm
    assert nothing.saved == pytest.approx(0, abs=1e-9) and nothing.error == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="follows 1 others"):
        memory_effect(model, TOKENIZER, LINES, LINES[:1])


def test_the_error_of_a_saving_is_what_drawing_the_rows_anew_gives():
    g = torch.Generator().manual_seed(0)
    chars = torch.randint(20, 200, (400,), generator=g).double()
    without = chars * (2 + 0.3 * torch.randn(400, generator=g).double())
    saved = chars * (0.5 + 0.05 * torch.randn(400, generator=g).double())
    found = _paired([torch.stack([without, without - saved, chars], dim=1)])
    drawn = torch.randint(400, (4000, 400), generator=g)
    bootstrap = (saved[drawn].sum(1) / chars[drawn].sum(1)).std().item()
    assert found.saved == pytest.approx((saved.sum() / chars.sum()).item())
    assert found.error == pytest.approx(bootstrap, rel=0.05)


# Scores


def test_bits_a_character_are_those_of_each_line_alone():
    model = restless(context=10)
    short = ["and a", "mat", ""]
    score = clm_score(model, TOKENIZER, short)
    nats = 0.0
    for ids in TOKENIZER.encode_lines(short):
        p = model.decode(torch.tensor([ids])).log_softmax(-1)
        nats -= sum(p[0, t, b].item() for t, (_, b) in enumerate(pairwise(ids)))
    assert score.nats == pytest.approx(nats, rel=1e-9)
    assert score.chars == score.tokens == sum(map(len, short)) + len(short)
    assert score.bits_per_char == pytest.approx(nats / score.chars / math.log(2), rel=1e-9)
    assert clm_score(model, TOKENIZER, LINES).tokens == sum(map(len, LINES)) + len(LINES), "also longer lines"


def test_the_masked_score_counts_what_is_shown_as_mask():
    model = restless()
    score = mlm_score(model, TOKENIZER, LINES * 20, rate=0.2)
    chars = 20 * sum(map(len, LINES))
    assert score.asked == pytest.approx(0.16 * chars, rel=0.2)
    assert 0 <= score.accuracy <= 1 and score == mlm_score(model, TOKENIZER, LINES * 20, rate=0.2)
    assert score != mlm_score(model, TOKENIZER, LINES * 20, rate=0.2, seed=1)
    with pytest.raises(ValueError, match="no character of these 1 lines was masked"):
        mlm_score(model, TOKENIZER, ["a"], rate=0.0)


def test_who_always_says_one_character_is_right_as_often_as_it_stands():
    model = restless(tied=False)
    space = character_ids(TOKENIZER, " ")[0]

    class Always(nn.Module):
        def forward(self, states):
            return F.one_hot(torch.full(states.shape[:-1], space), V).double() * 50

    model.heads["mlm"] = Always()
    lines = LINES * 60
    share = Counter("".join(lines))[" "] / len("".join(lines))
    score = mlm_score(model, TOKENIZER, lines)
    assert score.accuracy == pytest.approx(share, abs=0.03)
    assert score.mean_nats == pytest.approx(50 * (1 - score.accuracy), rel=0.01)


def copyist(**changed) -> CharEncoder:
    """A fresh model whose states are its embeddings, and whose head compares with them: it copies."""
    model = CharEncoder(
        CharEncoderConfig(V, **SIZES | {"width": 2 * V, "num_heads": 1, **changed}, tied=False)
    )
    with torch.no_grad():
        model.embedding.token.weight.copy_(torch.eye(V, 2 * V))
        model.heads["reconstruction"].output.weight.copy_(torch.eye(V, 2 * V))
    return model


def test_a_copyist_gives_every_line_back_and_one_wrong_character_spoils_its_lines():
    model = copyist()
    score = reconstruction_score(model, TOKENIZER, LINES)
    assert score.share == 1 and score.right == score.total == len(LINES)
    assert score.chars == sum(map(len, LINES)), "the ends of a line are no characters"
    with torch.no_grad():
        model.embedding.token.weight[character_ids(TOKENIZER, "!")[0]].zero_()
    spoilt = reconstruction_score(model, TOKENIZER, LINES)
    assert spoilt.right == len(LINES) - 1 and spoilt.chars_right == score.chars - 1


def test_chunks_through_the_bottleneck_are_written_free_running():
    model = restless()
    score = bottleneck_score(model, TOKENIZER, LINES, chunk=CHUNK)
    chunks = [line[i : i + CHUNK] for line in LINES for i in range(0, len(line) - CHUNK + 1, CHUNK)]
    right = chars_right = 0
    for chunk in chunks:
        ids = torch.tensor([TOKENIZER.encode(chunk)])
        written = write_greedily(model, model.compress(ids), BOS)
        chars_right += int((written == ids).sum())
        right += torch.equal(written, ids)
    assert (score.right, score.total) == (right, len(chunks))
    assert (score.chars_right, score.chars) == (chars_right, CHUNK * len(chunks))
    assert bottleneck_score(model, TOKENIZER, LINES, chunk=CHUNK, most=2).total == 2
    with pytest.raises(ValueError, match="no line has 99 characters"):
        bottleneck_score(model, TOKENIZER, LINES, chunk=99)
    with pytest.raises(ValueError, match="no bottleneck"):
        bottleneck_score(restless(latents=0, latent_width=0), TOKENIZER, LINES)


def test_restored_characters_are_counted_by_kind():
    model, removed, lines = restless(), ".,;:!", [*LINES, "a mat!., So"]  # of those in a row two are lost
    whole, *alone = restoration_score(model, TOKENIZER, lines, removed)
    text = "".join(lines)
    assert {found.characters: found.there for found in alone} == {c: text.count(c) for c in removed}
    assert whole.characters == removed and whole.there == sum(map(text.count, removed))
    right, said = Counter(), Counter()
    for line in lines:
        shorter, labels = remove_characters(
            batch_of([line]).ids, character_ids(TOKENIZER, removed), pad_id=PAD
        )
        for guess, label in zip(
            model(shorter).restoration.argmax(-1)[0].tolist(), labels[0].tolist(), strict=True
        ):
            said[guess] += 1
            right[guess] += guess == label
    for found in alone:
        (i,) = TOKENIZER.encode(found.characters)
        assert (found.said, found.right) == (said[i], right[i])
    with pytest.raises(ValueError, match="none of the characters '#'"):
        restoration_score(model, TOKENIZER, LINES, "#")


def test_precision_recall_and_their_mean():
    found = Found(".", right=3, said=4, there=6)
    assert (found.precision, found.recall) == (0.75, 0.5) and found.f1 == pytest.approx(0.6)
    assert Found(".", 0, 0, 0).f1 == Found(".", 0, 0, 3).precision == Found(".", 0, 3, 0).recall == 0


def test_scores_stand_beside_chance_in_one_table():
    fresh = CharEncoder(CharEncoderConfig(V, **SIZES | BOTTLENECK))
    asked = CharacterObjectives(chunk=CHUNK, removed=(".,;:!", " "))
    scores = character_scores(fresh, TOKENIZER, LINES * 10, asked)
    assert from_json(type(scores), to_json(scores)) == scores
    levels = chance_levels(TOKENIZER, LINES)
    shares = [n / len("".join(LINES)) for n in Counter("".join(LINES)).values()]
    assert levels.unigram == pytest.approx(-sum(p * math.log(p) for p in shares))
    ended = [n / len("".join(LINES) + "\n" * 5) for n in Counter("".join(LINES) + "\n" * 5).values()]
    assert levels.unigram_end == pytest.approx(-sum(p * math.log(p) for p in ended))
    assert levels.commonest == " " and levels.share == pytest.approx(max(shares))
    rows = {(row["objective"], row["measure"]): row for row in score_table(scores, levels)}
    assert rows["mlm", "nats at <mask>"]["score"] == pytest.approx(levels.uniform, rel=1e-6), "a fresh model"
    assert rows["clm", "bits a character"]["score"] == pytest.approx(math.log2(V), rel=1e-6)
    assert rows["clm", "bits a character"]["uniform"] == pytest.approx(math.log2(V))
    assert ("restoration", "F1 of ' '") in rows and ("bottleneck", "chunks exactly") in rows
    without = CharEncoder(CharEncoderConfig(V, **SIZES))
    assert character_scores(without, TOKENIZER, LINES, asked).bottleneck is None
    with pytest.raises(ValueError, match="no character in these lines"):
        chance_levels(TOKENIZER, [""])


def test_scores_leave_the_mode_of_the_model_and_refuse_no_lines():
    for training in (True, False):
        model = restless(dropout=0.5).train(training)
        character_scores(model, TOKENIZER, LINES, CharacterObjectives(chunk=CHUNK))
        assert model.training is training
    with pytest.raises(ValueError, match="no lines to score"):
        mlm_score(model, TOKENIZER, [])


def test_the_decoder_alone_writes_with_a_cache():
    model = restless()
    drawn = generate(NextCharacter(model), [BOS], max_new_tokens=8, strategy=Sampling(0.0))
    text = [BOS]
    for token in islice(drawn, 8):
        assert token.token == int(model.decode(torch.tensor([text]))[0, -1].argmax())
        text.append(token.token)


def test_all_objectives_are_learned_together():
    torch.manual_seed(0)
    sizes = SIZES | BOTTLENECK | {"width": 32, "num_heads": 2, "feed_forward": 64}
    model = CharEncoder(CharEncoderConfig(V, **sizes, tied=False))
    groups, told, first = single_rows(TOKENIZER.encode_lines(LINES), 24), {}, {}
    asked = CharacterObjectives(chunk=CHUNK, restored=1.0, chunked=1.0)
    loss = character_loss(asked, TOKENIZER, torch.Generator().manual_seed(0), told=told)
    batches = character_batches(groups, 200, torch.Generator().manual_seed(0))
    for step in train(model, batches, loss, TrainConfig(steps=100)):
        if step.step == 0:
            first = dict(told)
            assert all(nats == pytest.approx(math.log(V), rel=1e-5) for nats in first.values()), first
    share = {name: told[name] / first[name] for name in first}
    assert share.pop("mlm") < 0.95 and max(share.values()) < 0.6, "what was masked takes longest"
    scores = character_scores(model, TOKENIZER, LINES, asked)
    for exact in (scores.reconstruction, scores.bottleneck):
        assert exact.chars_right > 0.6 * exact.chars
    assert scores.restoration[0].f1 > 0.5 and scores.clm.bits_per_char < 2.5
    assert "restoration F1" in str(scores)
