"""Corrupted text: what is chosen, hidden and drawn, by counts; and characters that come back where they stood."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.chars import (
    character_ids,
    mask_characters,
    remove_characters,
    restore_characters,
    special_ids,
)
from lab.data import IGNORE
from lab.text import CharTokenizer

PAD, UNK, BOS, EOS, MASK = SPECIALS = range(5)
SPACE, V = 5, 45
SIGMAS = 5  # a bound that an honest draw misses once in two million

whole_numbers = st.integers(0, 2**32)
rows_of = lambda low, high: st.integers(1, 12).flatmap(  # noqa: E731
    lambda T: st.lists(st.lists(st.integers(low, high), min_size=T, max_size=T), min_size=1, max_size=5)
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def masked_by(ids, rate=0.2, seed=0, **more):
    more = {"vocab_size": V, "mask_id": MASK, "specials": SPECIALS} | more
    return mask_characters(ids, rate=rate, generator=seeded(seed), **more)


def characters(B=400, T=100, low=SPACE, high=V):
    return torch.randint(low, high, (B, T), generator=seeded(7))


def assert_share(found: int, of: int, p: float):
    """`found` of `of` independent draws is what probability `p` gives."""
    assert abs(found - of * p) <= SIGMAS * math.sqrt(of * p * (1 - p)), (
        f"{found} of {of} = {found / of}, not {p}"
    )


# Masking: what always holds


@settings(max_examples=150, deadline=None)
@given(
    rows=rows_of(0, 11),
    rate=st.floats(0, 1),
    space_rate=st.none() | st.floats(0, 1),
    cut=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=whole_numbers,
)
def test_what_is_chosen_is_asked_for_and_the_rest_is_as_it_was(rows, rate, space_rate, cut, seed):
    ids = torch.tensor(rows)
    before, (a, b) = ids.clone(), sorted(cut)
    masked = masked_by(
        ids, rate, seed, vocab_size=12, space_id=SPACE, space_rate=space_rate, split=(a, b - a, 1 - b)
    )
    assert torch.equal(ids, before), "the text given is not written to"
    assert masked.ids.shape == masked.targets.shape == ids.shape
    assert masked.ids.dtype == masked.targets.dtype == torch.int64
    chosen = masked.targets != IGNORE
    assert torch.equal(masked.targets[chosen], ids[chosen])
    assert torch.equal(masked.ids[~chosen], ids[~chosen])
    assert not (chosen & (ids <= MASK)).any(), "a special token is never chosen"
    assert (masked.ids[chosen] >= MASK).all() and (masked.ids[chosen] < 12).all(), "nor drawn, but for <mask>"


def test_only_the_generator_given_is_drawn_from():
    before = torch.get_rng_state()
    generator = seeded()
    first, second = (
        mask_characters(
            characters(4), rate=0.5, vocab_size=V, mask_id=MASK, specials=SPECIALS, generator=generator
        )
        for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first.ids, second.ids)


def test_what_is_drawn_at_a_place_does_not_depend_on_the_text_elsewhere():
    ids = characters(4)
    padded = ids.clone()
    padded[2:] = PAD
    assert torch.equal(masked_by(ids).ids[:2], masked_by(padded).ids[:2])


def test_mask_id_is_special_whether_it_is_said_or_not():
    masked = masked_by(characters(low=MASK), 1.0, specials=[PAD], split=(0, 1, 0))
    assert (masked.ids == MASK).sum() == (characters(low=MASK) == MASK).sum()


# Masking: how often, by count


@pytest.mark.parametrize("split", [(0.8, 0.1, 0.1), (0.5, 0.2, 0.3), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_the_chosen_are_split_into_hidden_replaced_and_left(split):
    ids = characters()
    masked = masked_by(ids, 0.6, space_id=SPACE, space_rate=0.6, split=split)
    chosen, own = (
        masked.targets != IGNORE,
        1 / (V - len(SPECIALS)),
    )  # a character drawn may be the one that stood there
    for kind in (ids == SPACE, ids != SPACE):
        kind = kind & chosen
        total = int(kind.sum())
        assert_share(int((masked.ids == MASK)[kind].sum()), total, split[0])
        same = (masked.ids == ids)[kind]
        assert_share(int(same.sum()), total, split[2] + split[1] * own)


def test_specials_need_not_stand_at_the_beginning():
    masked = masked_by(characters(high=10), 1.0, specials=[5, 9], mask_id=7, vocab_size=10, split=(0, 1, 0))
    changed = masked.targets != IGNORE
    assert set(masked.targets[changed].tolist()) == {6, 8}
    assert set(masked.ids[changed].tolist()) == {0, 1, 2, 3, 4, 6, 8}


# Masking: what is refused


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"ids": torch.tensor([[5, 45]])}, "ids"),
        ({"ids": torch.tensor([[5, IGNORE]])}, "ids"),
        ({"rate": 1.2}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"space_id": 5, "space_rate": -0.1}, "space_rate"),
        ({"space_rate": 0.1}, "space_id"),
        ({"space_rate": 0.1, "space_id": EOS}, "space_id"),
        ({"space_rate": 0.1, "space_id": V}, "space_id"),
        ({"split": (0.8, 0.1)}, "split"),
        ({"split": (0.8, 0.1, 0.2)}, "split"),
        ({"split": (1.1, -0.1, 0.0)}, "split"),
        ({"mask_id": V}, "mask_id"),
        ({"specials": [0, -1]}, "specials"),
        ({"specials": range(V)}, "specials"),
    ],
)
def test_masking_that_cannot_be_is_refused(given, name):
    with pytest.raises(ValueError, match=name):
        masked_by(**{"ids": torch.tensor([[5, 6]])} | given)


# Taking characters out


def removed_one_by_one(row, removed_ids):
    """The definition: walk along the row and remember what was taken out last."""
    left, labels, waiting = [], [], PAD
    for token in row:
        if token in removed_ids:
            waiting = token
        elif token != PAD:
            left, labels, waiting = [*left, token], [*labels, waiting], PAD
    return left, labels


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(1, 7), max_size=10), min_size=1, max_size=5),
    removed_ids=st.sets(st.integers(1, 7)),
)
def test_every_row_is_as_if_read_one_character_after_another(rows, removed_ids):
    ids = padded(rows)
    before = ids.clone()
    shorter, labels = remove_characters(ids, removed_ids, pad_id=PAD)
    assert torch.equal(ids, before)
    expected = [removed_one_by_one(row, removed_ids) for row in rows]
    assert torch.equal(shorter, padded([left for left, _ in expected]))
    assert torch.equal(labels, padded([stood for _, stood in expected], IGNORE))
    assert labels.dtype == shorter.dtype == torch.int64


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(
        st.lists(st.lists(st.integers(5, 9), min_size=1, max_size=4), max_size=5), min_size=1, max_size=5
    ),
    removed=st.integers(10, 12),
)
def test_what_stood_alone_before_a_character_comes_back(words, removed):
    """Lines of words with one removed character between two of them, each ended by `</s>`."""
    lines = []
    for line in words:
        ids = [BOS]
        for number, word in enumerate(line):
            ids += [*word, 10 + (removed + number) % 3]
        lines.append([*ids, EOS])
    ids = padded(lines)
    taken = remove_characters(ids, [10, 11, 12], pad_id=PAD)
    assert not torch.isin(taken.ids, torch.tensor([10, 11, 12])).any()
    assert torch.equal(restore_characters(*taken, pad_id=PAD), ids)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(1, 7), max_size=10), min_size=1, max_size=5),
    removed_ids=st.sets(st.integers(1, 7)),
)
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


def test_guessed_labels_may_say_anything_at_padding():
    ids, guesses = torch.tensor([[5, 6, 0]]), torch.tensor([[9, IGNORE, 8]])
    assert restore_characters(ids, guesses, pad_id=PAD).tolist() == [[9, 5, 6]]


def test_padding_may_have_any_id():
    ids = torch.tensor([[0, 3, 1, 9, 9]])
    taken = remove_characters(ids, [3], pad_id=9)
    assert taken.ids.tolist() == [[0, 1]] and taken.labels.tolist() == [[9, 3]]
    assert restore_characters(*taken, pad_id=9).tolist() == [[0, 3, 1]]


def test_rows_of_which_nothing_is_left():
    taken = remove_characters(torch.tensor([[9, 9], [9, 5]]), [9], pad_id=PAD)
    assert taken.ids.tolist() == [[0], [5]] and taken.labels.tolist() == [[IGNORE], [9]]
    for ids in (torch.tensor([[9, 0], [0, 0]]), torch.zeros(0, 4, dtype=torch.int64)):
        taken = remove_characters(ids, [9], pad_id=PAD)
        assert taken.ids.shape == taken.labels.shape == (len(ids), 0)
        assert restore_characters(*taken, pad_id=PAD).shape == (len(ids), 0)


def test_the_ids_that_a_tokenizer_has():
    tokenizer = CharTokenizer(" .a")
    assert special_ids(tokenizer) == (PAD, UNK, BOS, EOS, MASK)
    assert character_ids(tokenizer, " !.") == [5, 6] and character_ids(tokenizer, "") == []


def test_rows_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="removed_ids"):
        remove_characters(torch.tensor([[5]]), [5, 0], pad_id=0)
    with pytest.raises(ValueError, match="labels"):
        restore_characters(torch.tensor([[5]]), torch.tensor([[5, 5]]), pad_id=0)


def padded(rows, fill=PAD):
    T = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (T - len(row))] for row in rows], dtype=torch.int64).view(
        len(rows), T
    )
