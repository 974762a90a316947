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


class Masker:
    """One token after another with Python's own generator, and everything that a test may break."""

    def __init__(
        self, *, specials=range(5), labelled=(), low=5, high=0, split=(0.8, 0.9), spaces=None, everywhere=False,
        corrupted=False, seeded=True, again=False, rate=1.0, another=False, ignore=-100, disturb=False,
    ):  # fmt: skip
        self.specials, self.labelled, self.low, self.high, self.split = specials, labelled, low, high, split
        self.spaces, self.everywhere, self.corrupted, self.seeded = spaces, everywhere, corrupted, seeded
        self.again, self.rate, self.another, self.ignore, self.disturb = again, rate, another, ignore, disturb

    def __call__(self, ids, rate, space_rate, vocab_size, seed):
        rng = random.Random(seed if self.seeded else 7)
        state, shown, targets = rng.getstate(), [], []
        for line in ids.tolist():
            if self.again:
                rng.setstate(state)
            shown.append([])
            targets.append([])
            for token in line:
                p = space_rate if token == 5 else rate
                if token == 5 and self.spaces is not None:
                    p = self.spaces(rate, space_rate)
                # Always as many draws, so that rows beginning alike are chosen from alike.
                chance, fate, new = (
                    rng.random(),
                    rng.random(),
                    rng.randrange(self.low, vocab_size - self.high),
                )
                while self.another and new == token:
                    new = rng.randrange(self.low, vocab_size)
                chosen = token not in self.specials and chance < p * self.rate
                hidden = 4 if fate < self.split[0] else new if fate < self.split[1] else token
                asked = chosen or self.everywhere or token in self.labelled
                now = hidden if chosen else 6 if self.disturb and token > 6 and chance > 0.99 else token
                shown[-1].append(now)
                targets[-1].append((now if self.corrupted else token) if asked else self.ignore)
        return shown, targets


def in_numpy(ids, rate, space_rate, vocab_size, seed):
    """Whole arrays: a chance, a kind and a character drawn for each place."""
    rng = np.random.default_rng(seed)
    chosen = (ids >= 5) & (rng.random(ids.shape) < np.where(ids == 5, space_rate, rate))
    kind = rng.choice(3, size=ids.shape, p=[0.8, 0.1, 0.1])
    shown = np.select([kind == 0, kind == 1], [4, rng.integers(5, vocab_size, ids.shape)], ids)
    return SimpleNamespace(ids=np.where(chosen, shown, ids), targets=np.where(chosen, ids, -100))


test_right_masking_passes = passing(
    checks.mlm_masking, ours, Masker(), Masker(another=True), numpy=[Masker(), in_numpy]
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
    lambda fn: checks.mlm_masking(fn, "torch" if isinstance(fn, Masker) else "numpy"),
    (Masker(specials=[0]), [SPECIALS]), (Masker(specials=range(1, 5)), [PADDING]),
    (Masker(specials=[0, 1, 2, 3]), [SPECIALS]), (Masker(labelled=[0]), [PADDING]),
    (Masker(labelled=[2, 3]), [SPECIALS]), (Masker(low=0), [HIDDEN, DRAWN]), (Masker(low=3), [HIDDEN, DRAWN]),
    (Masker(low=4), [HIDDEN]), (Masker(high=1), [ALIKE]), (Masker(high=-1), [DRAWN]),
    (one_letter_a_batch, [ALIKE]),
    (Masker(everywhere=True), [PADDING, SPECIALS, NOTHING, LETTERS, SPACES, ITSELF, ROWS, SEED]),
    (Masker(split=(1.0, 1.0)), [HIDDEN, OTHERS, ALIKE]), (Masker(split=(0.8, 1.0)), [OTHERS, ALIKE]),
    (Masker(split=(0.8, 0.8)), [OTHERS, ALIKE]), (Masker(split=(0.85, 0.95)), [HIDDEN]),
    (Masker(split=(0.1, 0.9)), [HIDDEN, OTHERS, ALIKE]),
    (Masker(spaces=lambda rate, space_rate: rate), [SPACES]),
    (Masker(spaces=lambda rate, space_rate: rate * space_rate), [SPACES]),
    (Masker(spaces=lambda rate, space_rate: 0.0), [EVERYTHING, SPACES]),
    (Masker(rate=0.8), [EVERYTHING, LETTERS, SPACES, ITSELF]), (clumps, [ITSELF]),
    (Masker(seeded=False), [SEED]), (Masker(corrupted=True), [EVERYTHING, TARGETS]),
    (Masker(disturb=True), [REST]),
    (without_seed, [SEED], "asked twice"),
)  # fmt: skip
test_what_went_wrong_is_explained = failing(
    checks.mlm_masking,
    (Masker(again=True), [ROWS], "the same places in rows 0 and 1"),
    (Masker(ignore=0), [PADDING, SPECIALS, NOTHING], "[-100][-100][-100]    [0][0][0]"),
    (Masker(specials=[0]), [SPECIALS], "fn(ids=[[1, 1, 1]], rate=1.0, space_rate=1.0, vocab_size=26, seed=0)"),
    (Masker(spaces=lambda rate, space_rate: rate), [SPACES], "fn(ids of 100 lines, 150 characters each, rate=0.2"),
    (Masker(spaces=lambda rate, space_rate: rate), [SPACES], "spaces chosen, of 2,"),
    only=False,
)  # fmt: skip
