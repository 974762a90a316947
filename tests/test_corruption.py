"""Corrupted text: what is chosen, hidden and drawn, by counts; and characters that come back where they stood."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab.chars import character_ids, mask_characters, remove_characters, restore_characters, special_ids
from lab.data import IGNORE
from lab.text import CharTokenizer

PAD, UNK, BOS, EOS, MASK = SPECIALS = range(5)
SPACE, V = 5, 45
SIGMAS = 5  # a bound that an honest draw misses once in two million


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def masked_by(ids, rate=0.2, seed=0, **more):
    more = {"vocab_size": V, "mask_id": MASK, "specials": SPECIALS} | more
    return mask_characters(ids, rate=rate, generator=seeded(seed), **more)


def characters(B=400, T=100, low=SPACE, high=V):
    return torch.randint(low, high, (B, T), generator=seeded(7))


def assert_share(found: int, of: int, p: float):
    """`found` of `of` independent draws is what probability `p` gives."""
    assert abs(found - of * p) <= SIGMAS * math.sqrt(of * p * (1 - p)), f"{found} of {of}, not {p}"


# Masking; that specials are never chosen nor drawn and the rest stays is proven by `checks.mlm_masking`


def test_what_is_drawn_at_a_place_does_not_depend_on_the_text_elsewhere():
    ids, state = characters(4), torch.get_rng_state()
    padded = ids.clone()
    padded[2:] = PAD
    assert torch.equal(masked_by(ids).ids[:2], masked_by(padded).ids[:2])
    assert torch.equal(torch.get_rng_state(), state), "only the generator given is drawn from"


@pytest.mark.parametrize("split", [(0.8, 0.1, 0.1), (0.5, 0.2, 0.3), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_the_chosen_are_split_into_hidden_replaced_and_left(split):
    ids = characters()
    masked = masked_by(ids, 0.6, space_id=SPACE, space_rate=0.6, split=split)
    own = 1 / (V - len(SPECIALS))  # a character drawn may be the one that stood there
    for kind in (ids == SPACE, ids != SPACE):
        kind = kind & (masked.targets != IGNORE)
        total = int(kind.sum())
        assert_share(int((masked.ids == MASK)[kind].sum()), total, split[0])
        assert_share(int((masked.ids == ids)[kind].sum()), total, split[2] + split[1] * own)


def test_specials_need_not_stand_at_the_beginning_and_mask_is_one_of_them():
    masked = masked_by(characters(high=10), 1.0, specials=[5, 9], mask_id=7, vocab_size=10, split=(0, 1, 0))
    changed = masked.targets != IGNORE
    assert set(masked.targets[changed].tolist()) == {6, 8}
    assert set(masked.ids[changed].tolist()) == {0, 1, 2, 3, 4, 6, 8}


def removed_one_by_one(row, removed_ids):
    """The definition: walk along the row and remember what was taken out last."""
    left, labels, waiting = [], [], PAD
    for token in row:
        if token in removed_ids:
            waiting = token
        elif token != PAD:
            left, labels, waiting = [*left, token], [*labels, waiting], PAD
    return left, labels


rows_and_removed = given(
    rows=st.lists(st.lists(st.integers(1, 7), max_size=10), min_size=1, max_size=5),
    removed_ids=st.sets(st.integers(1, 7)),
)


@rows_and_removed
def test_every_row_is_as_if_read_one_character_after_another(rows, removed_ids):
    ids = padded(rows)
    before = ids.clone()
    shorter, labels = remove_characters(ids, removed_ids, pad_id=PAD)
    assert torch.equal(ids, before)
    expected = [removed_one_by_one(row, removed_ids) for row in rows]
    assert torch.equal(shorter, padded([left for left, _ in expected]))
    assert torch.equal(labels, padded([stood for _, stood in expected], IGNORE))
    assert labels.dtype == shorter.dtype == torch.int64


@rows_and_removed
def test_only_what_is_lost_does_not_come_back(rows, removed_ids):
    ids = padded(rows)
    taken = remove_characters(ids, removed_ids, pad_id=PAD)
    back = restore_characters(*taken, pad_id=PAD)
    labelled = ((taken.labels != PAD) & (taken.labels != IGNORE)).sum(1)
    lost = (ids != PAD).sum(1) - (taken.ids != PAD).sum(1) - labelled
    assert torch.equal((back != PAD).sum(1), (ids != PAD).sum(1) - lost)
    for row, restored, missing in zip(rows, back, lost, strict=True):
        if missing == 0:
            assert restored[restored != PAD].tolist() == row
    # What was restored has no runs and nothing at its end: the next time everything comes back.
    again = remove_characters(back, removed_ids, pad_id=PAD)
    assert torch.equal(restore_characters(*again, pad_id=PAD), back)


def test_padding_may_have_any_id_and_a_guess_at_it_says_nothing():
    taken = remove_characters(torch.tensor([[0, 3, 1, 9, 9], [3, 3, 0, 9, 9]]), [3], pad_id=9)
    assert taken.ids.tolist() == [[0, 1], [0, 9]] and taken.labels.tolist() == [[9, 3], [3, IGNORE]]
    guesses = torch.where(taken.labels == IGNORE, 8, taken.labels)
    back = restore_characters(taken.ids, guesses, pad_id=9), restore_characters(*taken, pad_id=9)
    assert torch.equal(*back)


def test_the_ids_that_a_tokenizer_has():
    tokenizer = CharTokenizer(" .a")
    assert special_ids(tokenizer) == (PAD, UNK, BOS, EOS, MASK)
    assert character_ids(tokenizer, " !.") == [5, 6] and character_ids(tokenizer, "") == []


def masking(**given):
    return lambda: masked_by(**{"ids": torch.tensor([[5, 6]])} | given)


REFUSED = [
    *[(masking(ids=torch.tensor([[5, wrong]])), "ids") for wrong in (V, IGNORE)],
    *[(masking(rate=wrong), "rate") for wrong in (1.2, math.nan)],
    (masking(space_id=5, space_rate=-0.1), "space_rate"),
    *[(masking(space_rate=0.1, **at), "space_id") for at in ({}, {"space_id": EOS}, {"space_id": V})],
    *[(masking(split=wrong), "split") for wrong in ((0.8, 0.1), (0.8, 0.1, 0.2), (1.1, -0.1, 0.0))],
    (masking(mask_id=V), "mask_id"),
    *[(masking(specials=wrong), "specials") for wrong in ([0, -1], range(V))],
    (lambda: remove_characters(torch.tensor([[5]]), [5, 0], pad_id=0), "removed_ids"),
    (lambda: restore_characters(torch.tensor([[5]]), torch.tensor([[5, 5]]), pad_id=0), "labels"),
]


@pytest.mark.parametrize(("call", "named"), REFUSED)
def test_what_cannot_be_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def padded(rows, fill=PAD):
    T = max(map(len, rows))
    filled = [[*row, *[fill] * (T - len(row))] for row in rows]
    return torch.tensor(filled, dtype=torch.int64).view(len(rows), T)
