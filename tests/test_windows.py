from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, random_split

from lab.checks.windows import PAD, all_windows
from lab.data import (
    IGNORE,
    POLICIES,
    FlatLines,
    LineWindows,
    Loader,
    by_length,
    flatten,
    pack,
    pad,
    random_windows,
)
from lab.data.loader import CHUNK, in_order, shuffled

LINES = [[2, 7, 8, 9, 3], [2, 3], [2, 5, 6, 7, 8, 9, 10, 11, 3], [2, 4, 3]]


def as_lists(pairs) -> list[tuple[list[int], list[int]]]:
    return [(x.tolist(), y.tolist()) for x, y in pairs]


@st.composite
def cases(draw):
    lines = draw(st.lists(st.lists(st.integers(0, 300), min_size=2, max_size=9), min_size=1, max_size=6))
    policy, context = draw(st.sampled_from(list(POLICIES))), draw(st.integers(1, 11))
    tokens = sum(map(len, lines))
    if policy == "continuous":
        context = min(context, tokens - 1)
    return lines, context, policy, draw(st.integers(1, 4)) if policy == "continuous" else 1


@settings(max_examples=200, deadline=None, derandomize=True)
@given(cases())
def test_every_way_to_ask_gives_the_pairs_of_a_brute_force(case):
    lines, context, policy, stride = case
    expected = all_windows(lines, context, policy)[::stride]
    windows = LineWindows(lines, context, policy, PAD, stride)
    assert len(windows) == len(expected)
    assert as_lists(windows) == expected
    assert as_lists(windows.__getitems__(list(range(len(windows))))) == expected
    batches = list(windows.loader(batch_size=4))
    assert as_lists((x, y) for b in batches for x, y in zip(b.ids, b.targets, strict=True)) == expected
    assert all(b.ids.dtype == b.targets.dtype == torch.int64 for b in batches)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(cases())
def test_the_ledger_counts_what_the_windows_hold(case):
    lines, context, policy, stride = case
    tokens = sum(map(len, lines))
    bounds = np.cumsum([0, *map(len, lines)])
    named = np.split(np.arange(tokens), bounds[1:-1])  # every token has its place in the corpus as its id
    pairs = all_windows(named, context, policy)[::stride]
    inputs = [i for x, y in pairs for i, target in zip(x, y, strict=True) if target != IGNORE]
    targets = [target for _, y in pairs for target in y if target != IGNORE]
    ledger = LineWindows(lines, context, policy, PAD, stride).ledger()
    assert ledger.inputs.tolist() == np.bincount(inputs, minlength=tokens).tolist()
    assert ledger.targets.tolist() == np.bincount(targets, minlength=tokens).tolist()
    assert ledger.padding == sum(y.count(IGNORE) for _, y in pairs)
    assert ledger.slots == len(pairs) * context == ledger.inputs.sum() + ledger.padding
    assert set(np.flatnonzero(ledger.dropped)) == set(range(tokens)) - {*inputs, *targets}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_window_can_be_found_in_its_line(policy):
    windows = LineWindows(LINES, 4, policy, PAD)
    for index, (x, _) in enumerate(windows):
        line, offset = windows.locate(index)
        joined = list(chain(*LINES[line:])) if policy == "continuous" else LINES[line][:-1]
        here = [joined[p] if 0 <= p < len(joined) else PAD for p in range(offset, offset + 4)]
        assert x.tolist() == here
    assert windows.locate(-1) == windows.locate(len(windows) - 1)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_batch_tells_the_line_and_the_place_of_each_token(policy):
    windows = LineWindows(LINES, 4, policy, PAD)
    for batch in windows.loader(3, positions="line", isolate=True):
        lines, real = batch.document_ids, batch.targets != IGNORE
        assert torch.equal(lines == -1, ~real) and batch.positions.min() >= 0
        expected = [LINES[n][p] for n, p in zip(lines[real], batch.positions[real], strict=True)]
        assert batch.ids[real].tolist() == expected
    plain = next(iter(windows.loader(3)))
    assert plain.positions is plain.document_ids is plain.mask is None


def test_shuffling_takes_every_window_once_anew_each_pass_and_the_same_for_a_seed():
    windows = LineWindows(LINES, 4, "slide_through", PAD)

    def passes():
        loader = windows.loader(4, shuffle=True, generator=torch.Generator().manual_seed(3))
        return [[row for b in loader for row in as_lists(zip(b.ids, b.targets, strict=True))] for _ in "ab"]

    first, second = passes()
    assert sorted(first) == sorted(second) == sorted(as_lists(windows))
    assert first != second
    assert passes() == [first, second]


def test_the_last_batch_is_what_is_left_or_dropped():
    windows = LineWindows(LINES, 4, "slide", PAD)  # 15 windows
    assert [len(b.ids) for b in windows.loader(4)] == [4, 4, 4, 3]
    assert [len(b.ids) for b in windows.loader(4, drop_last=True)] == [4, 4, 4]
    assert (len(windows.loader(4)), len(windows.loader(4, drop_last=True))) == (4, 3)


def test_torch_splits_and_loads_it():
    windows = LineWindows(LINES, 4, "slide", PAD)
    rows = []
    for part in random_split(windows, [0.6, 0.4], generator=torch.Generator().manual_seed(0)):
        for x, y in DataLoader(part, batch_size=4, num_workers=1, shuffle=True):
            rows += as_lists(zip(x, y, strict=True))
    assert sorted(rows) == sorted(as_lists(windows))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_memory_mapped_file_gives_the_same_windows(policy, tmp_path):
    ids, offsets = flatten(LINES)
    (tmp_path / "ids").write_bytes(ids.astype(np.uint16).tobytes())
    mapped = np.memmap(tmp_path / "ids", np.uint16, mode="r")
    windows = LineWindows(FlatLines(mapped, offsets), 4, policy, PAD)
    assert np.shares_memory(windows.ids, mapped)
    assert as_lists(windows) == all_windows(LINES, 4, policy)


def test_ids_are_stored_once_and_small():
    for largest, size in ((255, np.uint8), (256, np.uint16), (65_536, np.uint32), (2**32, np.uint64)):
        windows = LineWindows([[2, largest, 3]] * 2, 2, "slide")
        assert windows.ids.dtype == size
        assert windows[1][0].tolist() == [2, largest]
    windows = LineWindows([[2, 7, 8, 3]] * 1000, 2, "slide")
    assert windows.nbytes <= windows.ids.nbytes + 16 * 1000 + 8


def test_a_random_window_is_a_window_of_the_joined_lines_and_a_seed_fixes_which():
    text, context = torch.arange(3, 60), 5
    batch = next(random_windows(text, context, 6, torch.Generator().manual_seed(4)))
    starts = torch.randint(len(text) - context, (6, 1), generator=torch.Generator().manual_seed(4))
    assert torch.equal(batch.ids, text[starts + torch.arange(context)])
    assert torch.equal(batch.targets, text[starts + torch.arange(1, context + 1)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 6), st.integers(0, 99))
def test_a_window_within_reach_of_the_start_of_its_line_begins_there(lengths, context, seed):
    starts = torch.tensor([0, *lengths[:-1]]).cumsum(0)
    text = torch.arange(sum(lengths) + context)  # each token says where it stands
    batch, drawn = (
        next(random_windows(text, context, 50, torch.Generator().manual_seed(seed), given))
        for given in (starts, None)
    )
    for begun, place in zip(batch.ids[:, 0].tolist(), drawn.ids[:, 0].tolist(), strict=True):
        line = max(start for start in starts.tolist() if start <= place)
        assert begun == (line if place - line < context else place)
    assert torch.equal(batch.targets, batch.ids + 1)


def of(lines, context=4, policy="slide", **settings):
    return lambda: LineWindows(lines, context, policy, **settings)


@pytest.mark.parametrize(
    "call, exception, about",
    [
        (of(LINES, context=2.5), ValueError, "context"),
        (of(LINES, stride=2), ValueError, "stride"),
        (of(LINES, policy="hop"), ValueError, "policy"),
        (of(LINES, 20, "continuous"), ValueError, "context"),
        (of([[2, 3], [2]]), ValueError, "line 1"),
        (of([[2, 3], [2, -7, 3]]), ValueError, "line 1"),
        (of([[2, 2**70, 3]]), ValueError, "line 0"),
        (of(FlatLines(np.array([2, 7, -1, 3]), [0, 4])), ValueError, "-1"),
        (of(FlatLines(np.arange(4), [0, 3, 2, 4])), ValueError, "line 1"),
        (lambda: LineWindows(LINES, 4, "slide")[-16], IndexError, "-1"),
        (lambda: LineWindows(LINES, 4, "slide").loader(2, positions="page"), ValueError, "positions"),
        (lambda: LineWindows(LINES, 4, "slide").loader(0), ValueError, "batch_size"),
        (lambda: LineWindows(LINES, 4, "slide").loader(2, shuffle=True), ValueError, "generator"),
        # Passes of no batch, one after the other, never end.
        (lambda: LineWindows(LINES, 4, "slide").loader(10**4, drop_last=True), ValueError, "drop_last"),
        (lambda: pack(LINES, 8).loader(10**4, drop_last=True), ValueError, "drop_last"),
        (lambda: Loader(None, 0, 4), ValueError, "0 rows"),
        (
            lambda: next(random_windows(torch.arange(99), 8, 2, None, torch.tensor([3, 9]))),
            ValueError,
            r"\[3, 9\]",
        ),
        (
            lambda: next(random_windows(torch.arange(99), 8, 10**12, None)),
            ValueError,
            "1,000,000,000,000 windows",
        ),
    ],
)
def test_refusals(call, exception, about):
    with pytest.raises(exception, match=about):
        call()


@pytest.mark.parametrize("length", [0, 1, 1000, CHUNK, CHUNK + 1, 2 * CHUNK + 1])
def test_every_number_comes_once(length):
    chunks = list(shuffled(length, torch.Generator().manual_seed(length)))
    assert all(len(chunk) <= CHUNK and chunk.dtype == np.int64 for chunk in chunks)
    assert np.array_equal(np.sort(np.concatenate(chunks)), np.arange(length))
    assert np.array_equal(np.concatenate([[], *in_order(length)]), np.arange(length))


def test_a_long_order_looks_random():
    length, cells = 200_000, 20
    drawn = (shuffled(length, torch.Generator().manual_seed(seed)) for seed in range(3))
    orders = [np.concatenate(list(chunks)) for chunks in drawn]
    assert not np.array_equal(orders[0], orders[1])
    expected = length / cells**2
    for order in orders:
        place = np.arange(length) * cells // length
        follows = np.roll(order, 1) * cells // length
        for one in (place, follows):  # a number tells nothing of where it stands, nor of what comes next
            counts = np.bincount(one * cells + order * cells // length, minlength=cells**2)
            chi_squared = ((counts - expected) ** 2 / expected).sum()
            assert abs(chi_squared - cells**2) < 6 * np.sqrt(2 * cells**2), chi_squared


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 60))
def test_rows_of_like_length_come_together(lengths, size):
    batches = by_length(lengths, size=size)
    order = list(chain(*batches))
    assert order == sorted(range(len(lengths)), key=lengths.__getitem__)
    for batch, after in zip(batches, [*batches[1:], None], strict=True):
        places = len(batch) * lengths[batch[-1]]
        assert places <= size or len(batch) == 1
        assert after is None or (len(batch) + 1) * lengths[after[0]] > size, "one more would have fitted"
    assert list(chain(*by_length(lengths, rows=3))) == order


def test_rows_are_padded_to_the_longest():
    assert pad([[2, 7, 3], [2], []], 9).tolist() == [[2, 7, 3], [2, 9, 9], [9, 9, 9]]
    frames = pad([torch.ones(2, 4), torch.ones(3, 4)])
    assert frames.shape == (2, 3, 4) and frames.dtype == torch.float32 and frames.sum() == 20
