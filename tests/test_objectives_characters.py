"""The objectives of a character encoder: what they ask, what they cost, and what their scores count."""

import math
from collections import Counter
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lab.chars import (
    CharacterObjectives,
    CharacterScores,
    CharEncoder,
    CharEncoderConfig,
    Weights,
    bottleneck_score,
    chance_levels,
    character_ids,
    mask_characters,
    memory_effect,
    remove_characters,
    score_table,
    special_ids,
    write_greedily,
)
from lab.chars.batches import character_batches, character_rows, running_rows, single_rows
from lab.chars.losses import bottleneck_loss, random_chunks
from lab.chars.memory import _paired
from lab.chars.objective import CharacterText
from lab.chars.scores import Restored, mlm_score, reconstruction_score, restoration_score
from lab.data import IGNORE, pad_pairs
from lab.nn import TransformerConfig
from lab.text import CharTokenizer
from lab.train import Loss, Step, TrainConfig, train

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
STACK = TransformerConfig(V, context=24, width=8, num_layers=1, num_heads=2, feed_forward=16, tied=True)
CONFIG = CharEncoderConfig(STACK, decoder_layers=1, latents=4, latent_width=4)
CHUNK = 6
OBJECTIVE = CharacterObjectives(chunk=CHUNK)


def restless(**changed) -> CharEncoder:
    """A model that says something: fresh layers add nothing, so all weights are drawn at random."""
    model = CharEncoder(replace(CONFIG, **changed)).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def batch_of(lines=LINES, context=24):
    return pad_pairs([row for (row,) in single_rows(TOKENIZER.encode_lines(lines), context)])


def material(objective=OBJECTIVE) -> CharacterText:
    removed = tuple(tuple(character_ids(TOKENIZER, one)) for one in objective.removed)
    return CharacterText(None, None, TOKENIZER, removed)


def loss_of(objective, model, batch, seed=0) -> Loss:
    rng = torch.Generator().manual_seed(seed)
    return objective.loss(model, batch, Step(rng=rng, material=material(objective)))


def nats_of(logits, targets) -> float:
    """The sum over targets, one by one."""
    p = logits.log_softmax(-1)
    places = (targets != IGNORE).nonzero().tolist()
    return -sum(p[b, t, targets[b, t]].item() for b, t in places)


def test_weights_and_rate_lie_on_a_line_from_the_first_step_to_the_last():
    first, last = Weights(bottleneck=1.0), Weights(mlm=3.0, bottleneck=0.0)
    alike = CharacterObjectives(first, mask_rate=0.4)
    asked = replace(alike, last_weights=last, last_mask_rate=0.2)
    half = Weights(mlm=2.0, bottleneck=0.5)
    assert [asked.weights_at(share) for share in (0.0, 0.5, 1.0)] == [first, half, last]
    assert asked.mask_rate_at(0.25) == pytest.approx(0.35)
    assert (alike.weights_at(0.7), alike.mask_rate_at(0.7)) == (first, 0.4)


@given(length=st.integers(2, 60), context=st.integers(2, 24))
def test_rows_hold_a_line_once_and_ask_for_the_next_id(length, context):
    ids = list(range(5, 5 + length))
    rows = character_rows(ids, context)
    assert [i for row, _ in rows for i in row] == ids
    assert [t for _, targets in rows for t in targets] == [*ids[1:], IGNORE]
    lengths = [len(row) for row, _ in rows]
    assert max(lengths) <= context and len(rows) == math.ceil(length / context)
    assert max(lengths) - min(lengths) < len(rows) + 1


def test_a_pass_has_every_group_once_in_random_order():
    lines = [[BOS, *([5 + n % 9] * n), EOS] for n in range(1, 40)]
    groups = single_rows(lines, context=24)
    stream, again = (character_batches(groups, 60, torch.Generator().manual_seed(0)) for _ in range(2))
    batches = []
    while sum(len(batch.ids) for batch in batches) < len(groups):
        batches.append(next(stream))
    seen = Counter(tuple(row[row != PAD].tolist()) for batch in batches for row in batch.ids)
    assert seen == Counter(tuple(ids) for ((ids, _),) in groups)
    assert all(batch.ids.numel() <= 60 for batch in batches if len(batch.ids) > 1)
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(batches, again, strict=False))
    order = [len(batch.ids[0]) for batch in batches]
    assert order != sorted(order)


def test_running_text_comes_in_groups_that_follow_one_another():
    encoded = [[[BOS, 5 + n, EOS] for n in range(3)], [[BOS, 9, EOS]]]
    groups = running_rows(encoded, context=8, size=2)
    assert [[ids[1] for ids, _ in rows] for rows in groups] == [[5, 6], [6, 7]], "none crosses a passage"
    batch = next(character_batches(groups, 12, torch.Generator().manual_seed(0)))
    assert (batch.ids[1::2, 1] == batch.ids[::2, 1] + 1).all()


@given(seed=st.integers(0, 1000), chunk=st.integers(1, 12))
def test_a_chunk_is_a_piece_of_its_line(seed, chunk):
    ids = batch_of([*LINES, "", "at"]).ids
    chunks = random_chunks(ids, chunk, torch.Generator().manual_seed(seed), (PAD, BOS, EOS))
    assert chunks.shape == (len(LINES) + 1, chunk)
    for line, row in zip([*LINES, "at"], chunks, strict=True):
        length = min(chunk, len(line))
        assert TOKENIZER.decode(row.tolist()) in line
        assert (row != PAD).tolist() == [True] * length + [False] * (chunk - length)


def test_chunks_begin_anywhere_in_a_line():
    ids = torch.arange(10).repeat(2000, 1) + 20
    ids[:, 0], ids[:, -1] = BOS, EOS
    starts = random_chunks(ids, 3, torch.Generator().manual_seed(0), (PAD, BOS, EOS))[:, 0].bincount()[21:]
    assert starts.shape == (6,) and starts.min() > 250


def test_each_objective_is_the_mean_cross_entropy_of_its_targets_and_padding_costs_nothing():
    model, batch = restless(), batch_of()
    asked = replace(OBJECTIVE, mask_rate=0.5, restored=1.0, weights=Weights(bottleneck=0.0))
    metrics = loss_of(asked, model, batch, seed=3).metrics
    rng = torch.Generator().manual_seed(3)  # the draws as they come: masks, rows
    ids, more = batch.ids, dict(vocab_size=V, mask_id=MASK, specials=special_ids(TOKENIZER), generator=rng)
    masked = mask_characters(ids, rate=0.5, **more)
    few = torch.randperm(5, generator=rng)
    shorter, labels = remove_characters(ids[few], character_ids(TOKENIZER, ".,;:!"), pad_id=PAD)
    seen = ids.masked_fill((ids == PAD) | (masked.targets != IGNORE), IGNORE)
    read = model(masked.ids)
    expected = {
        "mlm": (read.mlm, masked.targets),
        "reconstruction": (read.reconstruction, seen),
        "restoration": (model(shorter).restoration, labels),
        "clm": (model(ids).clm, batch.targets),
    }
    for name, (logits, targets) in expected.items():
        mean = nats_of(logits, targets) / int((targets != IGNORE).sum())
        assert metrics[name] == pytest.approx(mean, rel=1e-9), name
    assert metrics["bits_per_char"] == pytest.approx(metrics["clm"] / math.log(2))


def test_the_bottleneck_pays_for_each_character_once_given_those_before():
    model, ids = restless(), batch_of([*LINES, "ab"]).ids
    chunks = random_chunks(ids, CHUNK, torch.Generator().manual_seed(0), (PAD, BOS, EOS))
    nats, count = bottleneck_loss(model, chunks, BOS)
    alone = 0.0
    for row in chunks:
        row = row[row != PAD][None]
        given = torch.cat([torch.tensor([[BOS]]), row[:, :-1]], dim=1)
        alone += nats_of(model.write(model.compress(row), given), row)
    assert nats.item() == pytest.approx(alone, rel=1e-9)
    assert count == int((chunks != PAD).sum()) == 5 * CHUNK + 2
    nats, count, metrics = loss_of(OBJECTIVE, model, batch_of(["", ""]))
    assert "bottleneck" not in metrics and count == 2 and math.isfinite(nats.item())


@pytest.mark.parametrize("name", asdict(Weights()))
def test_the_whole_loss_is_the_weighted_sum_and_one_objective_alone_is_its_own(name):
    model, batch = restless(), batch_of()
    asked = replace(OBJECTIVE, weights=Weights(1.0, 0.5, 2.0, 0.25, 3.0))
    nats, count, metrics = loss_of(asked, model, batch)
    weighted = sum(weight * metrics[each] for each, weight in asdict(asked.weights).items())
    assert count == batch.num_targets and nats.item() == pytest.approx(weighted * count, rel=1e-9)
    only = Weights(**dict.fromkeys(asdict(Weights()), 0.0) | {name: 1.0})
    nats, count, metrics = loss_of(replace(asked, weights=only), model, batch)
    assert set(metrics) - {"bits_per_char"} == {name}
    assert nats.item() == pytest.approx(metrics[name] * count, rel=1e-9)


def test_the_decoder_may_read_a_share_of_the_rows_with_what_they_remember(monkeypatch):
    model, batch = restless(memory_slots=1, cross_attention="memory"), batch_of([*LINES, "the last"])
    decoded, decode = [], model.decode
    watched = lambda ids, **more: decoded.append((ids, more)) or decode(ids, **more)  # noqa: E731
    monkeypatch.setattr(model, "decode", watched)
    weights = Weights(mlm=1, clm=1, reconstruction=0, bottleneck=0, restoration=0)
    asked = CharacterObjectives(weights, mask_rate=1e-9, predicted=0.5, memory=1)
    metrics = loss_of(asked, model, batch).metrics
    ((ids, read),) = decoded
    places = [int((batch.ids == row).all(1).nonzero()) for row in ids]
    assert len(places) == len(set(places)) == 3
    assert read["memory_mask"][:, 0].tolist() == [n % 2 for n in places]
    nats = 0.0
    for n in places:
        memory = model(batch.ids[n - 1 : n]).chunk_embedding[:, None] if n % 2 else None
        nats += nats_of(model(batch.ids[n : n + 1], memory=memory).clm, batch.targets[n : n + 1])
    assert metrics["clm"] == pytest.approx(nats / int((batch.targets[places] != IGNORE).sum()), rel=1e-9)


def test_sets_of_characters_to_remove_take_turns(monkeypatch):
    model, batch, seen = restless(), batch_of(), []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda ids, **more: seen.append(ids[5:]) or encode(ids, **more))
    asked = replace(OBJECTIVE, weights=Weights(0, 0, 0, 0, 1), removed=(".,;:!", " "), restored=1.0)
    for seed in range(8):
        loss_of(asked, model, batch, seed)
    space, stop = character_ids(TOKENIZER, " .")
    kinds = {(bool((rows == space).any()), bool((rows == stop).any())) for rows in seen}
    assert kinds == {(True, False), (False, True)}


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
    metrics = loss_of(asked, model, batch).metrics
    assert metrics["reconstruction"] == pytest.approx(real_nats / int((real != IGNORE).sum()), rel=1e-9)
    assert metrics["clm"] == pytest.approx(clm_nats / batch.num_targets, rel=1e-9)
    forgetful = loss_of(replace(asked, memory=0), model, batch).metrics
    assert metrics["restoration"] == pytest.approx(forgetful["restoration"], rel=1e-9), "remembers nothing"


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


def test_who_always_says_one_character_is_right_as_often_as_it_stands():
    model, lines = restless(), LINES * 60
    space, text = character_ids(TOKENIZER, " ")[0], "".join(lines)

    class Always(nn.Module):
        def forward(self, states):
            return F.one_hot(torch.full(states.shape[:-1], space), V).double() * 50

    model.heads["mlm"] = Always()
    none = mlm_score(model, TOKENIZER, lines, rate=0.0)
    assert none.asked == 0 and math.isnan(none.accuracy) and math.isnan(none.mean_nats)
    score = mlm_score(model, TOKENIZER, lines, rate=0.2)
    assert score.asked == pytest.approx(0.16 * len(text), rel=0.1), "what is shown as <mask> counts"
    assert score.accuracy == pytest.approx(text.count(" ") / len(text), abs=0.03)
    assert score.mean_nats == pytest.approx(50 * (1 - score.accuracy), rel=0.01)
    assert score == mlm_score(model, TOKENIZER, lines, rate=0.2)
    assert score != mlm_score(model, TOKENIZER, lines, rate=0.2, seed=1)


def copyist() -> CharEncoder:
    """A fresh model whose states are its embeddings, and whose head compares with them: it copies."""
    model = CharEncoder(replace(CONFIG, stack=replace(STACK, width=2 * V, num_heads=1, tied=False)))
    for weight in (model.embedding.token.weight, model.heads["reconstruction"].output.weight):
        weight.data.copy_(torch.eye(V, 2 * V))
    return model


def test_a_copyist_gives_every_line_back_and_one_wrong_character_spoils_its_lines():
    model = copyist()
    score = reconstruction_score(model, TOKENIZER, LINES)
    assert score.share == 1 and score.right == score.total == len(LINES)
    assert score.chars == sum(map(len, LINES)), "the ends of a line are no characters"
    model.embedding.token.weight.data[character_ids(TOKENIZER, "!")] = 0
    spoilt = reconstruction_score(model, TOKENIZER, LINES)
    assert spoilt.right == len(LINES) - 1 and spoilt.chars_right == score.chars - 1


def test_chunks_through_the_bottleneck_are_written_free_running():
    model = restless()
    score = bottleneck_score(model, TOKENIZER, LINES, chunk=CHUNK)
    chunks = [line[i : i + CHUNK] for line in LINES for i in range(0, len(line) - CHUNK + 1, CHUNK)]
    encoded = [torch.tensor([TOKENIZER.encode(chunk)]) for chunk in chunks]
    alike = torch.cat([write_greedily(model, model.compress(ids), BOS) == ids for ids in encoded])
    assert (score.right, score.total) == (alike.all(1).sum(), len(chunks))
    assert (score.chars_right, score.chars) == (alike.sum(), CHUNK * len(chunks))
    assert bottleneck_score(model, TOKENIZER, LINES, chunk=CHUNK, most=2).total == 2


def test_restored_characters_are_counted_by_kind():
    model, removed, lines = restless(), ".,;:!", [*LINES, "a mat!., So"]  # of those in a row two are lost
    whole, *alone = restoration_score(model, TOKENIZER, lines, removed)
    text, ids = "".join(lines), character_ids(TOKENIZER, removed)
    assert {found.characters: found.there for found in alone} == {c: text.count(c) for c in removed}
    assert whole.characters == removed and whole.there == sum(map(text.count, removed))
    said = Counter()
    for line in lines:
        shorter, labels = remove_characters(batch_of([line]).ids, ids, pad_id=PAD)
        guesses = model(shorter).restoration.argmax(-1)
        said += Counter(zip(guesses[0].tolist(), labels[0].tolist(), strict=True))
    for found in alone:
        (i,) = TOKENIZER.encode(found.characters)
        assert found.right == said[i, i]
        assert found.said == sum(n for (guess, _), n in said.items() if guess == i)
    assert Restored(".", 0, 0, 0).f1 == Restored(".", 0, 0, 3).precision == Restored(".", 0, 3, 0).recall == 0


def test_scores_stand_beside_chance_in_one_table_and_make_a_flat_outcome():
    asked = replace(OBJECTIVE, removed=(".,;:!", " "), scored_lines=0)
    scores = asked.scores(CharEncoder(CONFIG), TOKENIZER, LINES * 10)
    levels, text = chance_levels(TOKENIZER, LINES), "".join(LINES)
    for found, counted in ((levels.unigram, text), (levels.unigram_end, text + "\n" * 5)):
        shares = [n / len(counted) for n in Counter(counted).values()]
        assert found == pytest.approx(-sum(p * math.log(p) for p in shares))
    assert (levels.commonest, levels.share) == (" ", text.count(" ") / len(text))
    rows = {(row["objective"], row["measure"]): row for row in score_table(scores, levels)}
    assert rows["mlm", "nats at <mask>"]["score"] == pytest.approx(levels.uniform, rel=1e-6), "a fresh model"
    assert rows["clm", "bits a character"]["score"] == pytest.approx(math.log2(V), rel=1e-6)
    assert rows["clm", "bits a character"]["uniform"] == pytest.approx(math.log2(V))
    assert ("restoration", "F1 of ' '") in rows and ("bottleneck", "chunks exactly") in rows
    for found in (scores, asked.scores(restless(latents=0, latent_width=0), TOKENIZER, LINES)):
        outcome = found.to_outcome()
        assert outcome["bits_per_char"] == found.clm.bits_per_char
        assert all(isinstance(value, int | float) for value in outcome.values())
        assert CharacterScores.from_outcome(outcome) == found


REFUSED = [
    *[(partial(replace, OBJECTIVE, **{name: 0}), name) for name in ("mask_rate", "chunk", "predicted")],
    (lambda: replace(OBJECTIVE, last_mask_rate=1.5), "last_mask_rate"),
    (lambda: replace(OBJECTIVE, space_rate=True), "space_rate"),
    *[(partial(replace, OBJECTIVE, removed=wrong), "removed") for wrong in ((), (".", ""))],
    (lambda: replace(OBJECTIVE, memory=-1), "memory"),
    *[(partial(Weights, clm=wrong), "clm") for wrong in (-1, math.inf)],
    (lambda: Weights(0, 0, 0, 0, 0), "weights"),
    (lambda: next(character_batches([], 60, torch.Generator())), "line"),
    (lambda: loss_of(replace(OBJECTIVE, memory=2), restless(memory_slots=2), batch_of()), "groups of 3"),
    (lambda: memory_effect(restless(memory_slots=1), TOKENIZER, LINES, LINES[:1]), "lines"),
    (lambda: mlm_score(restless(), TOKENIZER, []), None),
    (lambda: mlm_score(restless(), TOKENIZER, ["a"], rate=1.5), "rate"),
    (lambda: bottleneck_score(restless(), TOKENIZER, LINES, chunk=99), "chunk"),
    (lambda: bottleneck_score(restless(latents=0, latent_width=0), TOKENIZER, LINES), "latents"),
    (lambda: restoration_score(restless(), TOKENIZER, LINES, "#"), "#"),
    (lambda: chance_levels(TOKENIZER, [""]), None),
]


@pytest.mark.parametrize(("call", "named"), REFUSED)
def test_what_cannot_be_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_all_objectives_are_learned_together():
    stack = replace(STACK, width=32, feed_forward=64, tied=False)
    model = CharEncoder(replace(CONFIG, stack=stack))
    groups = single_rows(TOKENIZER.encode_lines(LINES), 24)
    asked = replace(OBJECTIVE, restored=1.0, chunked=1.0)
    batches = character_batches(groups, 200, torch.Generator().manual_seed(0))
    reports = list(train(model, batches, asked.loss, TrainConfig(steps=100), material=material()))
    first, last = reports[0].metrics, reports[-1].metrics
    assert all(first[name] == pytest.approx(math.log(V), rel=1e-5) for name in asdict(Weights()))
    share = {name: last[name] / first[name] for name in asdict(Weights())}
    assert share.pop("mlm") < 0.95 and max(share.values()) < 0.6, "what was masked takes longest"
    scores = asked.scores(model, TOKENIZER, LINES)
    assert all(exact.chars_right > 0.6 * exact.chars for exact in (scores.reconstruction, scores.bottleneck))
    assert scores.restoration[0].f1 > 0.5 and scores.clm.bits_per_char < 2.5
