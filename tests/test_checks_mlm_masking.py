"""The check of masking passes ours and independent ones, and catches every planted bug."""

import random
from types import SimpleNamespace

import numpy as np
import torch
from test_checks import failing, passing

from lab import checks
from lab.chars import mask_characters

PADDING, SPECIALS, NOTHING, EVERYTHING = "padding", "no other special", "at rate 0", "at rate 1"
TARGETS, REST, LETTERS, SPACES, ITSELF = (
    "targets are",
    "not chosen stays",
    "letters",
    "spaces",
    "each is chosen",
)
ROWS, HIDDEN, OTHERS = "each row", "become <mask>", "10 % are drawn"
DRAWN, ALIKE, SEED = "no special token is drawn", "drawn alike", "the same seed"


def ours(ids, rate, space_rate, vocab_size, seed):
    return mask_characters(
        ids,
        rate=rate,
        space_id=5,
        space_rate=space_rate,
        vocab_size=vocab_size,
        mask_id=4,
        specials=range(5),
        generator=torch.Generator().manual_seed(seed),
    )


def masker(
    *, specials=range(5), labelled=(), low=5, high=0, split=(0.8, 0.9), spaces=None, everywhere=False,
    corrupted=False, seeded=True, again=False, scale=1.0, another=False, ignore=-100, disturb=False,
):  # fmt: skip
    """One token after another with Python's own generator, and everything that a test may break."""

    def mask(ids, rate, space_rate, vocab_size, seed):
        rng = random.Random(seed if seeded else 7)
        state, shown, targets = rng.getstate(), [], []
        for line in ids.tolist():
            if again:
                rng.setstate(state)
            shown.append([])
            targets.append([])
            for token in line:
                p = rate if token != 5 else spaces(rate, space_rate) if spaces else space_rate
                # Always as many draws, so that rows beginning alike are chosen from alike.
                chance, fate, new = rng.random(), rng.random(), rng.randrange(low, vocab_size - high)
                while another and new == token:
                    new = rng.randrange(low, vocab_size)
                chosen = token not in specials and chance < p * scale
                hidden = 4 if fate < split[0] else new if fate < split[1] else token
                now = hidden if chosen else 6 if disturb and token > 6 and chance > 0.99 else token
                shown[-1].append(now)
                asked = chosen or everywhere or token in labelled
                targets[-1].append((now if corrupted else token) if asked else ignore)
        return shown, targets

    return mask


def in_numpy(ids, rate, space_rate, vocab_size, seed):
    """Whole arrays: a chance, a kind and a character drawn for each place."""
    rng = np.random.default_rng(seed)
    chosen = (ids >= 5) & (rng.random(ids.shape) < np.where(ids == 5, space_rate, rate))
    kind = rng.choice(3, size=ids.shape, p=[0.8, 0.1, 0.1])
    shown = np.select([kind == 0, kind == 1], [4, rng.integers(5, vocab_size, ids.shape)], ids)
    return SimpleNamespace(ids=np.where(chosen, shown, ids), targets=np.where(chosen, ids, -100))


test_right_masking_passes = passing(
    checks.mlm_masking, ours, masker(), masker(another=True), numpy=[masker(), in_numpy]
)


def test_right_masking_passes_with_any_seed():
    """The bounds are wide enough: no luck with the seeds that the check asks with."""
    for shift in range(1, 6):
        checks.mlm_masking(
            lambda *args, shift=shift: in_numpy(*args[:-1], args[-1] + 1000 * shift), "numpy"
        ).raise_if_failed()


def clumps(ids, rate, space_rate, vocab_size, seed):
    """A rate for each stretch of ten places instead of each place: right on average."""
    rng = np.random.default_rng(seed)
    masked = in_numpy(ids, rate, space_rate, vocab_size, seed)
    if rate in (0, 1) or ids.shape[1] < 10:
        return masked
    chance = np.repeat(rng.random((len(ids), -(-ids.shape[1] // 10))), 10, axis=1)[:, : ids.shape[1]]
    chosen = (ids >= 5) & (chance < np.where(ids == 5, space_rate, rate))
    shown = in_numpy(ids, 1.0, 1.0, vocab_size, seed).ids
    return np.where(chosen, shown, ids), np.where(chosen, ids, -100)


def one_letter_a_batch(ids, rate, space_rate, vocab_size, seed):
    masked = in_numpy(ids, rate, space_rate, vocab_size, seed)
    drawn = (masked.ids != ids) & (masked.ids != 4)
    return np.where(drawn, np.random.default_rng(seed).integers(5, vocab_size), masked.ids), masked.targets


def without_seed(ids, rate, space_rate, vocab_size, seed):
    return in_numpy(ids, rate, space_rate, vocab_size, None)


test_wrong_masking_is_caught = failing(
    lambda fn: checks.mlm_masking(fn, "numpy"),
    (masker(specials=[0]), [SPECIALS]), (masker(specials=range(1, 5)), [PADDING]),
    (masker(specials=[0, 1, 2, 3]), [SPECIALS]), (masker(labelled=[0]), [PADDING]),
    (masker(labelled=[2, 3]), [SPECIALS]), (masker(low=0), [HIDDEN, DRAWN]), (masker(low=3), [HIDDEN, DRAWN]),
    (masker(low=4), [HIDDEN]), (masker(high=1), [ALIKE]), (masker(high=-1), [DRAWN]),
    (one_letter_a_batch, [ALIKE]),
    (masker(everywhere=True), [PADDING, SPECIALS, NOTHING, LETTERS, SPACES, ITSELF, ROWS, SEED]),
    (masker(split=(1.0, 1.0)), [HIDDEN, OTHERS, ALIKE]), (masker(split=(0.8, 1.0)), [OTHERS, ALIKE]),
    (masker(split=(0.8, 0.8)), [OTHERS, ALIKE]), (masker(split=(0.85, 0.95)), [HIDDEN]),
    (masker(split=(0.1, 0.9)), [HIDDEN, OTHERS, ALIKE]),
    (masker(spaces=lambda rate, space_rate: rate), [SPACES]),
    (masker(spaces=lambda rate, space_rate: rate * space_rate), [SPACES]),
    (masker(spaces=lambda rate, space_rate: 0.0), [EVERYTHING, SPACES]),
    (masker(scale=0.8), [EVERYTHING, LETTERS, SPACES, ITSELF]), (clumps, [ITSELF]),
    (masker(seeded=False), [SEED]), (masker(corrupted=True), [EVERYTHING, TARGETS]),
    (masker(disturb=True), [REST]),
    (without_seed, [SEED], "asked twice"),
)  # fmt: skip
test_what_went_wrong_is_explained = failing(
    checks.mlm_masking,
    (masker(again=True), [ROWS], "the same places in rows 0 and 1"),
    (masker(ignore=0), [PADDING, SPECIALS, NOTHING], "[-100][-100][-100]    [0][0][0]"),
    (masker(specials=[0]), [SPECIALS], "fn(ids=[[1, 1, 1]], rate=1.0, space_rate=1.0, vocab_size=26, seed=0)"),
    (masker(spaces=lambda rate, space_rate: rate), [SPACES], "fn(ids of 100 lines, 150 characters each, rate=0.2"),
    (masker(spaces=lambda rate, space_rate: rate), [SPACES], "spaces chosen, of 2,"),
    only=False,
)  # fmt: skip
