"""The check of masking passes ours and independent ones, and catches every planted bug."""

import random
from types import SimpleNamespace

import numpy as np
import torch
from test_checks import failing, passing

from lab import checks
from lab.chars import mask_characters

PADDING, SPECIALS, NOTHING, EVERYTHING = "padding", "no other special", "at rate 0", "at rate 1"
TARGETS, REST, ITSELF = "targets are", "not chosen stays", "each is chosen"
LETTERS, SPACES = "letters", "spaces"
ROWS, HIDDEN, OTHERS = "each row", "become <mask>", "10 % are drawn"
DRAWN, ALIKE, SEED = "no special token is drawn", "drawn alike", "the same seed"


def ours(ids, rate, space_rate, vocab_size, seed):
    generator, special = torch.Generator().manual_seed(seed), dict(space_id=5, mask_id=4, specials=range(5))
    return mask_characters(
        ids, rate=rate, space_rate=space_rate, vocab_size=vocab_size, generator=generator, **special
    )


def masker(
    *, specials=range(5), low=5, high=0, split=(0.8, 0.9), spaces=None, everywhere=False,
    corrupted=False, seeded=True, again=False, scale=1.0, ignore=-100, disturb=False,
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
                chosen = token not in specials and chance < p * scale
                hidden = 4 if fate < split[0] else new if fate < split[1] else token
                now = hidden if chosen else 6 if disturb and token > 6 and chance > 0.99 else token
                shown[-1].append(now)
                asked = chosen or everywhere
                targets[-1].append((now if corrupted else token) if asked else ignore)
        return shown, targets

    return mask


def in_numpy(ids, rate, space_rate, vocab_size, seed, stretch=1):
    """Whole arrays: a chance, a kind and a character drawn for each place (or the chance for a stretch of places)."""
    rng = np.random.default_rng(seed)
    chance = rng.random(ids.shape).repeat(stretch, axis=1)[:, : ids.shape[1]]
    chosen = (ids >= 5) & (chance < np.where(ids == 5, space_rate, rate))
    kind = rng.choice(3, size=ids.shape, p=[0.8, 0.1, 0.1])
    shown = np.select([kind == 0, kind == 1], [4, rng.integers(5, vocab_size, ids.shape)], ids)
    return SimpleNamespace(ids=np.where(chosen, shown, ids), targets=np.where(chosen, ids, -100))


test_right_masking_passes = passing(checks.mlm_masking, ours, masker(), numpy=[masker(), in_numpy])


def test_right_masking_passes_with_any_seed():
    """The bounds are wide enough: no luck with the seeds that the check asks with."""
    for shift in range(1, 6):
        other = lambda *args, shift=shift: in_numpy(*args[:-1], args[-1] + 1000 * shift)  # noqa: E731
        checks.mlm_masking(other, "numpy").raise_if_failed()


def one_letter_a_batch(ids, rate, space_rate, vocab_size, seed):
    masked = in_numpy(ids, rate, space_rate, vocab_size, seed)
    drawn = (masked.ids != ids) & (masked.ids != 4)
    return np.where(drawn, np.random.default_rng(seed).integers(5, vocab_size), masked.ids), masked.targets


test_wrong_masking_is_caught = failing(
    lambda fn: checks.mlm_masking(fn, "numpy"),
    (masker(specials=range(1, 5)), [PADDING]),
    (masker(low=0), [HIDDEN, DRAWN]), (masker(low=4), [HIDDEN]), (masker(high=1), [ALIKE]), (masker(high=-1), [DRAWN]),
    (one_letter_a_batch, [ALIKE]),
    (masker(everywhere=True), [PADDING, SPECIALS, NOTHING, LETTERS, SPACES, ITSELF, ROWS, SEED]),
    (masker(split=(0.8, 0.8)), [OTHERS, ALIKE]), (masker(split=(0.1, 0.9)), [HIDDEN, OTHERS, ALIKE]),
    (masker(spaces=lambda rate, space_rate: 0.0), [EVERYTHING, SPACES]),
    (masker(scale=0.8), [EVERYTHING, LETTERS, SPACES, ITSELF]), (lambda *args: in_numpy(*args, stretch=10), [ITSELF]),
    (masker(seeded=False), [SEED]), (masker(corrupted=True), [EVERYTHING, TARGETS]),
    (masker(disturb=True), [REST]),
    (lambda *args: in_numpy(*args[:-1], None), [SEED], "asked twice"),
)  # fmt: skip
test_what_went_wrong_is_explained = failing(
    checks.mlm_masking,
    (masker(again=True), [ROWS], "the same places in rows 0 and 1"),
    (masker(ignore=0), [PADDING, SPECIALS, NOTHING], "[-100][-100][-100]    [0][0][0]"),
    (masker(specials=[0]), [SPECIALS], "fn(ids=[[1, 1, 1]], rate=1.0, space_rate=1.0, vocab_size=26, seed=0)"),
    (masker(spaces=lambda rate, space_rate: rate), [SPACES], "fn(ids of 100 lines, 150 characters each, rate=0.2"),
    only=False,
)  # fmt: skip
