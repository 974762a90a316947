"""The faults of the stuck run: each flag does what it says and nothing else, and the levels are what a count gives."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from autopsy import (
    CAUSES,
    CORRECTED,
    RECORDED,
    Curve,
    Faults,
    Size,
    levels,
    rehearse,
    run,
    variants,
    written_clm,
)
from autopsy.levels import frequency_reader, tied_start
from autopsy.losses import batch_losses, masked, measure, padded
from autopsy.rehearsal import make_model, make_optimizers_for, rate_factor, update
from torch import nn

from lab.chars import mask_characters
from lab.chars.model import CharEncoding
from lab.config import from_json, to_json
from lab.data import IGNORE
from lab.text import CharTokenizer

LINES = [
    "in the beginning was the word",
    "and the word was with it",
    "the same was there",
    "all things were made",
]
TOKENIZER = CharTokenizer.train(LINES)
TINY = Size(1, 1, 32, 2, 64, batch_size=2, chars=24, steps=10, held_out=4, adam_lr=7.5e-3)


def woken(model: nn.Module) -> nn.Module:
    """Fresh layers add nothing: with random weights everything that can be read is read."""
    for p in model.parameters():
        nn.init.normal_(p, std=0.2)
    return model.eval()


def test_variants_change_one_flag():
    for name, faults in variants().items():
        base, _, cause = name.partition(" ")
        if cause:
            start = {"recorded": RECORDED, "corrected": CORRECTED}[base]
            changed = {cause for cause in CAUSES if getattr(faults, cause) != getattr(start, cause)}
            assert changed == {cause[2:]}
    assert list(RECORDED) == list(CAUSES) and list(CORRECTED) == []
    with pytest.raises(ValueError, match="leek"):
        RECORDED.without("leek")


def test_the_frequency_reader_is_as_good_as_a_count_of_what_the_masking_shows():
    rng, V = np.random.default_rng(0), 9
    p = np.r_[np.zeros(5), 0.4, 0.3, 0.2, 0.1]
    ids = torch.tensor(rng.choice(V, (200, 2000), p=p))
    shown = mask_characters(
        ids, rate=0.2, space_id=5, space_rate=0.05, vocab_size=V, mask_id=4, specials=range(5),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    chosen = shown.targets != IGNORE
    cells = chosen.long(), shown.ids, ids
    counts = torch.zeros(2, V, V).index_put(cells, torch.tensor(1.0), accumulate=True)
    weighted = counts[1] / counts[1].sum() + 0.2 * counts.sum(0) / counts.sum()
    nats = -(weighted / weighted.sum(1, keepdim=True)).log()
    reader = frequency_reader(p, np.r_[np.full(5, 0.2), 0.05, 0.2, 0.2, 0.2], specials=5)

    nats[~nats.isfinite()] = 0.0

    def mean(part, rows=slice(None)):
        return ((part[rows] * nats[rows]).sum() / part[rows].sum()).item()

    assert reader["mlm"] == pytest.approx(mean(counts[1]), rel=0.01)
    assert reader["masked"] == pytest.approx(mean(counts[1], rows=[4]), rel=0.01)
    assert reader["visible"] == pytest.approx(mean(counts[0]), rel=0.05)
    assert reader["reconstruction"] == pytest.approx(mean(counts.sum(0)), rel=0.03)
    rates = [0.05 if char == " " else 0.2 for line in LINES for char in line[: TINY.chars]]
    assert levels(TOKENIZER, LINES, TINY).share_chosen == pytest.approx(np.mean(rates))
    known = levels(CharTokenizer.train(["abc "]), ["abcabcabcabcabc"] * 3, replace(TINY, steps=750))
    assert (known.uniform, known.unigram) == pytest.approx((math.log(9), math.log(3)), rel=0.01)
    assert known.bigram == pytest.approx(0.0, abs=1e-9) and known.optimizer_steps == 188


@pytest.mark.parametrize("places", [True, False])
def test_the_first_loss_with_unit_embeddings_is_the_estimate(places):
    faults = RECORDED if places else RECORDED.without("absolute_positions", "post_norm")
    size, losses = replace(TINY, width=128), []
    rows = padded(TOKENIZER, LINES * 10, size.chars)
    for seed in range(8):
        torch.manual_seed(seed)
        model = make_model(faults, size, TOKENIZER)
        corrupted = masked(rows, TOKENIZER, torch.Generator().manual_seed(seed))
        losses.append([x.item() for x in batch_losses(model, faults, corrupted, rows, TOKENIZER).values()])
    mlm, clm, reconstruction = torch.tensor(losses).mean(0).tolist()
    assert mlm == pytest.approx(0.9 * tied_start(128, places=places, dropout=0.2), rel=0.12)
    share = (corrupted.targets != IGNORE).sum() / (rows != 0).sum()
    assert reconstruction == pytest.approx(share.item() * mlm, rel=0.1)
    assert clm == pytest.approx(math.log(TOKENIZER.vocab_size) + 1 / 6, abs=0.15)


class Recorder:
    """In the place of a model: notes what it is given, and finds all ids but padding equally likely."""

    def __call__(self, ids, *, causal_ids, mask, heads):
        self.ids, self.causal_ids, self.mask = ids, causal_ids, mask
        logits = torch.zeros(*ids.shape, TOKENIZER.vocab_size)
        logits[..., 0] = 50.0
        return CharEncoding(logits, logits, None, logits, None, None)


def fed(faults: Faults):
    rows, model = padded(TOKENIZER, LINES, 24), Recorder()
    corrupted = masked(rows, TOKENIZER, torch.Generator().manual_seed(0))
    return rows, corrupted, model, batch_losses(model, faults, corrupted, rows, TOKENIZER)


def test_what_the_faults_feed():
    rows, corrupted, model, losses = fed(CORRECTED)
    assert torch.equal(model.ids, corrupted.ids) and torch.equal(model.causal_ids, rows)
    assert torch.equal(model.mask, rows != 0) and (rows == 0).any()
    assert losses["clm"].item() == pytest.approx(50.0)  # no label is padding
    _, _, model, losses = fed(CORRECTED.having("padding_label"))
    real = (rows != 0).sum().item()
    assert losses["clm"].item() == pytest.approx(50 * (real - len(rows)) / real)
    assert torch.equal(fed(CORRECTED.having("clm_reads_masked"))[2].causal_ids, corrupted.ids)
    assert fed(CORRECTED.having("padding_attended"))[2].mask.all()


def test_what_the_faults_build():
    def built(faults):
        model = make_model(faults, TINY, TOKENIZER)
        blocks = nn.ModuleList([model.encoder, model.decoder]).modules()
        return model, {module.p for module in blocks if isinstance(module, nn.Dropout)}

    model, dropouts = built(CORRECTED)
    assert dropouts == {0.2} and model.config.cross_attention == "none"
    assert (model.config.stack.positions, model.config.stack.norm_place) == ("rotary", "pre")
    model, dropouts = built(CORRECTED.having("dropout_misses_blocks"))
    assert dropouts == {0.0} and model.embedding.dropout.p == 0.2
    model, _ = built(RECORDED)
    assert (model.config.stack.positions, model.config.stack.norm_place) == ("learned", "post")
    assert model.embedding.token.weight.std().item() == pytest.approx(1.0, rel=0.1)
    assert model.heads["mlm"].output.weight is model.embedding.token.weight
    assert model.heads["clm"].output.weight is not model.embedding.token.weight


@pytest.mark.parametrize("leak", [True, False])
def test_only_the_leaky_decoder_knows_the_next_character_and_cannot_write_without(leak):
    faults = CORRECTED.having("leak") if leak else CORRECTED
    model = woken(make_model(faults, TINY, TOKENIZER))
    ids = padded(TOKENIZER, [line[:18] for line in LINES], 24)
    changed = ids.clone()
    changed[:, 10] = ids[:, 10] % (TOKENIZER.vocab_size - 5) + 5
    assert (ids != changed).any(1).all()
    before, after = (model(x, heads=("clm",)).clm[:, :10] for x in (ids, changed))
    assert torch.allclose(before, after) is not leak
    forced = measure(model, faults, ids, TOKENIZER).clm
    assert (written_clm(model, ids) == pytest.approx(forced, rel=1e-4)) is not leak


def test_coupled_decay_moves_what_has_no_gradient_worth_speaking_of():
    adam = CORRECTED.having("plain_adam")
    for faults, moved in ((adam.having("coupled_decay"), -1), (adam, 1 - 0.01)):
        model = nn.Linear(3, 3, bias=False)
        nn.init.ones_(model.weight)
        model.weight.grad = torch.full((3, 3), -1e-4)  # up, but a hundred times weaker than the decay
        update(model, make_optimizers_for(faults, TINY, model), 1.0, faults)
        assert model.weight.mean().item() - 1 == pytest.approx(moved * TINY.adam_lr, rel=0.01)


def test_learning_rates_and_optimizer_steps():
    found = [rate_factor(RECORDED, *step) for step in ((0, 750), (187, 750), (9, 40))]
    assert found == pytest.approx([0.1, 0.184, rate_factor(RECORDED, 180, 800)], rel=0.02)
    mended = [rate_factor(RECORDED.without("slow_warmup"), step, 750) for step in range(188)]
    assert max(mended) == 1.0 and mended[-1] < 0.02 and np.argmax(mended) < 10
    steps = {(): 3, ("early_first_step",): 2, ("accumulation",): 10, tuple(RECORDED): 10}
    for mended, expected in steps.items():
        faults = RECORDED.without(*mended)
        assert rehearse(faults, TINY, LINES, TOKENIZER, held_out=LINES).optimizer_steps == expected


def test_a_rehearsal_is_decided_by_its_seed_and_leaves_the_global_state_alone():
    def rehearsed(seed, every=3):
        return rehearse(RECORDED, TINY, LINES, TOKENIZER, 6, seed, held_out=LINES, every=every)

    before = torch.random.get_rng_state()
    model, curve = run(RECORDED, TINY, LINES, TOKENIZER, 6, 3, held_out=LINES, every=3)
    assert torch.equal(before, torch.random.get_rng_state())
    again, other, fine = rehearsed(3), rehearsed(4), rehearsed(3, every=1)
    assert replace(again, seconds=0) == replace(curve, seconds=0) != replace(other, seconds=0)
    assert curve.micro_batches == (0, 3, 6) and curve.parameters == model.num_parameters
    assert from_json(Curve, to_json(curve)) == curve
    assert np.mean(fine.mlm[1:4]) == pytest.approx(curve.mlm[1])
    assert fine.mlm[0] == fine.mlm[1] == curve.mlm[0]
