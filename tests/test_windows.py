import pickle
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, random_split

import lab.text as corpora
from lab.data import POLICIES, LineWindows, flatten, random_windows
from lab.data.batch import IGNORE

LINE_POLICIES = [policy for policy in POLICIES if policy != "continuous"]
PAD = 99
LINES = [[2, 7, 8, 9, 3], [2, 3], [2, 5, 6, 7, 8, 9, 10, 11, 3], [2, 4, 3]]


def brute_force(lines: list[list[int]], context: int, policy: str, stride: int = 1):
    """The pairs as lists, from (input, target) couples written out with their padding and cut everywhere."""

    def cut(couples):
        return [couples[i : i + context] for i in range(len(couples) - context + 1)]

    padding = [(PAD, IGNORE)]
    found = []
    for ids in [list(chain(*lines))] if policy == "continuous" else lines:
        couples = list(pairwise(ids))
        missing = padding * (context - len(couples))
        match policy:
            case "slide":
                found += cut(padding * (context - 1) + couples)
            case "slide_through":
                found += cut(padding * (context - 1) + couples + padding * (context - 1))
            case "full_only":
                found += cut(couples + missing)
            case "short_slides":
                found += cut(missing + couples + missing)
            case "continuous":
                found += cut(couples)[::stride]
    return [tuple(map(list, zip(*window, strict=True))) for window in found]


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
    expected = brute_force(lines, context, policy, stride)
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
    pairs = brute_force(named, context, policy, stride)
    inputs = [i for x, y in pairs for i, target in zip(x, y, strict=True) if target != IGNORE]
    targets = [target for _, y in pairs for target in y if target != IGNORE]
    ledger = LineWindows(lines, context, policy, PAD, stride).ledger()
    assert ledger.inputs.tolist() == np.bincount(inputs, minlength=tokens).tolist()
    assert ledger.targets.tolist() == np.bincount(targets, minlength=tokens).tolist()
    assert ledger.padding == sum(y.count(IGNORE) for _, y in pairs)
    assert ledger.slots == len(pairs) * context == ledger.inputs.sum() + ledger.padding
    assert set(np.flatnonzero(ledger.dropped)) == set(range(tokens)) - {*inputs, *targets}


@pytest.mark.parametrize("length", [2, 4, 5, 6, 12])
def test_a_line_gives_as_many_windows_as_the_policies_promise(length):
    context = 4
    promised = {
        "slide": length - 1,
        "slide_through": length - 1 + context - 1,
        "full_only": max(1, length - context),
        "short_slides": length - context if length > context else context - (length - 1) + 1,
    }
    line = [list(range(length))]
    assert promised == {policy: len(LineWindows(line, context, policy)) for policy in promised}


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
    seen = []
    loader = windows.loader(3, positions="line", mask_fn=lambda line: seen.append(line) or line >= 0)
    for batch in loader:
        real = batch.targets != IGNORE
        assert torch.equal(batch.mask, real) and torch.equal(seen[-1] == -1, ~real)
        expected = [LINES[n][p] for n, p in zip(seen[-1][real], batch.positions[real], strict=True)]
        assert batch.ids[real].tolist() == expected
        assert batch.positions.min() >= 0
    plain = next(iter(windows.loader(3)))
    assert plain.positions is None and plain.mask is None


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


@pytest.mark.parametrize("workers", [0, 2])
def test_torch_splits_and_loads_it(workers):
    windows = LineWindows(LINES, 4, "slide", PAD)
    parts = random_split(windows, [0.6, 0.4], generator=torch.Generator().manual_seed(0))
    rows = []
    for part in parts:
        for x, y in DataLoader(part, batch_size=4, num_workers=workers, shuffle=True):
            assert x.shape == y.shape == (len(x), 4)
            rows += as_lists(zip(x, y, strict=True))
    assert sorted(rows) == sorted(as_lists(windows))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_memory_mapped_file_gives_the_same_windows_here_and_in_another_process(policy, tmp_path):
    ids, offsets = flatten(LINES)
    header = b"header"
    (tmp_path / "ids").write_bytes(header + ids.astype(np.uint16).tobytes())
    mapped = np.memmap(tmp_path / "ids", np.uint16, mode="r", offset=len(header))
    windows = LineWindows.from_flat(mapped, offsets, 4, policy, PAD)
    assert windows.ids is mapped
    expected = brute_force(LINES, 4, policy)
    assert as_lists(windows) == expected
    state = pickle.dumps(windows)
    assert mapped.tobytes() not in state, "the contents travelled too"
    assert as_lists(pickle.loads(state)) == expected
    of_a_part = LineWindows.from_flat(mapped[5:], offsets[1:] - 5, 3, policy, PAD)
    assert as_lists(pickle.loads(pickle.dumps(of_a_part))) == brute_force(LINES[1:], 3, policy)


def test_ids_are_stored_once_and_small():
    for largest, size in ((255, np.uint8), (256, np.uint16), (65_536, np.int32), (2**31, np.int64)):
        windows = LineWindows([[2, largest, 3]] * 2, 2, "slide")
        assert windows.ids.dtype == size
        assert windows[1][0].tolist() == [2, largest]
    windows = LineWindows([[2, 7, 8, 3]] * 1000, 2, "slide")
    arrays = {id(value): value for value in vars(windows).values() if isinstance(value, np.ndarray)}
    assert sum(array.nbytes for array in arrays.values()) <= windows.ids.nbytes + 16 * 1000 + 8


def test_a_random_window_is_a_window_of_the_joined_lines_and_a_seed_fixes_which():
    text, context = torch.arange(3, 60), 5
    batch = next(random_windows(text, context, 6, torch.Generator().manual_seed(4)))
    starts = torch.randint(len(text) - context, (6, 1), generator=torch.Generator().manual_seed(4))
    assert torch.equal(batch.ids, text[starts + torch.arange(context)])
    assert torch.equal(batch.targets, text[starts + torch.arange(1, context + 1)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": 0}, "context must be a whole number of at least 1, got 0"),
        ({"context": 2.5}, "got 2.5"),
        ({"stride": 0, "policy": "continuous"}, "stride .* at least 1, got 0"),
        ({"stride": 2}, "'slide' has stride 1, got 2"),
        ({"policy": "hop"}, "unknown policy 'hop': use one of"),
        ({"pad_id": -1}, "pad_id .* at least 0, got -1"),
        ({"policy": "continuous", "context": 20}, "need 21 ids, the text has 19"),
        ({"encoded_lines": []}, "no lines"),
        ({"encoded_lines": [[2, 3], []]}, "line 1 is empty"),
        ({"encoded_lines": [[2, 3], [2]]}, "line 1 has 1 id"),
        ({"encoded_lines": [[2, [7, 8], 3]]}, r"line 0 is not a flat list of ids: \[2, \[7"),
        ({"encoded_lines": [[[2, 3], [2, 3]]]}, r"line 0 .* its shape is \(2, 2\)"),
        ({"encoded_lines": [[2, 3], [2, -7, 3]]}, "line 1 holds -7"),
        ({"encoded_lines": [[2, 7.5, 3]]}, "whole numbers, but line 0 holds float64"),
        ({"encoded_lines": [[2, "a", 3]]}, r"whole numbers, but line 0 holds"),
        ({"encoded_lines": [[2, 2**63, 3]]}, "9223372036854775808"),
        ({"encoded_lines": [[2, 2**70, 3]]}, "line 0"),
    ],
)
def test_what_cannot_be_windowed_is_refused_with_its_values(change, message):
    with pytest.raises(ValueError, match=message):
        LineWindows(**{"encoded_lines": LINES, "context": 4, "policy": "slide", "pad_id": 0} | change)


@pytest.mark.parametrize(
    ("ids", "offsets", "message"),
    [
        (np.zeros((2, 2), int), [0, 4], r"shape \(2, 2\)"),
        (np.zeros(4), [0, 4], "float64"),
        (np.array([2, 7, -1, 3]), [0, 4], "-1 stands at place 2"),
        (np.arange(4), [0, 3], r"0 to the number of ids, 4.*got \[0, 3\]"),
        (np.arange(4), [1, 4], r"got \[1, 4\]"),
        (np.arange(4), [0, 3, 2, 4], r"line 1 has -1 id"),
        (np.arange(4), [0, 2, 2, 4], r"line 1 has 0 id"),
    ],
)
def test_flat_ids_and_offsets_must_fit(ids, offsets, message):
    with pytest.raises(ValueError, match=message):
        LineWindows.from_flat(ids, offsets, 2, "slide")


def test_what_a_loader_or_an_index_cannot_be_is_refused():
    windows = LineWindows(LINES, 4, "slide")
    with pytest.raises(IndexError, match="window 15 is out of range: there are 15"):
        windows[15]
    with pytest.raises(IndexError, match="window -1 is out"):
        windows[-16]
    with pytest.raises(ValueError, match=r"positions are one of .* got 'page'"):
        windows.loader(2, positions="page")
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        windows.loader(0)
    with pytest.raises(ValueError, match="needs a generator"):
        windows.loader(2, shuffle=True)


@pytest.mark.parametrize("policy", LINE_POLICIES)
def test_a_ledger_of_real_text_balances_and_reads_well(policy):
    text = corpora.load("grammar").lines[:500]
    lines = [[2, *text.encode(), 3] for text in text]
    ledger = LineWindows(lines, 24, policy).ledger()
    tokens = sum(map(len, lines))
    assert len(ledger.inputs) == tokens and not ledger.dropped.any()
    assert ledger.inputs.sum() == ledger.targets.sum()
    assert f"{tokens:,}" in str(ledger) and policy in str(ledger)
    if policy == "slide_through":
        assert set(ledger.targets) == {0, 24}, "every token but <s> is predicted in every place"
