"""The checks of windows and packing pass what is right, ours and another's, and catch every planted bug."""

from itertools import product

import numpy as np
import pytest
import torch
from test_checks import caught, next_fit

from lab import checks
from lab.data import POLICIES, LineWindows
from lab.data.packing import pack

POLICY_NAMES = sorted(POLICIES)


def windows_in_numpy(lines, context, policy):
    """Another way to the same windows: pad the line, slide over it, throw away what the policy does not want."""
    lines = [np.concatenate(lines)] if policy == "continuous" else [np.array(line) for line in lines]
    pairs = []
    for line in lines:
        inputs, room = len(line) - 1, context - 1
        x = np.pad(line[:-1], context, constant_values=0)
        y = np.pad(line[1:], context, constant_values=-100)
        slid = [np.lib.stride_tricks.sliding_window_view(z, context) for z in (x, y)]
        starts = np.arange(-context, inputs + 1)
        full = (starts >= 0) & (starts <= inputs - context)
        wanted = {
            "slide": (starts >= -room) & (starts + context <= inputs),
            "slide_through": (starts >= -room) & (starts < inputs),
            "full_only": full if inputs >= context else starts == 0,
            "short_slides": full if inputs >= context else (starts <= 0) & (starts >= inputs - context),
            "continuous": full,
        }[policy]
        pairs += [(list(a), b) for a, b in zip(slid[0][wanted], slid[1][wanted], strict=True)]
    return pairs


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_right_windows_pass(policy):
    checks.windows(lambda lines, context: LineWindows(lines, context, policy), policy).raise_if_failed()
    checks.windows(lambda lines, context: windows_in_numpy(lines, context, policy), policy).raise_if_failed()


@pytest.mark.parametrize("policy", POLICY_NAMES)
@pytest.mark.parametrize("other", POLICY_NAMES)
def test_every_policy_is_told_from_every_other(policy, other):
    report = checks.windows(lambda lines, context: windows_in_numpy(lines, context, other), policy)
    assert report.passed == (policy == other)


def shift(z):
    return [*z[1:], z[-1]]


COUNT = "there are as many pairs as the policy makes"
INPUTS = "every x is the window of the policy, in order"
TARGETS = "every y is the token after each of x, and -100 where x is padding"
BROKEN_WINDOWS = {
    "target not shifted": (lambda pairs: [(x, x) for x, _ in pairs], [TARGETS]),
    "target shifted twice": (lambda pairs: [(x, shift(y)) for x, y in pairs], [TARGETS]),
    "padding targets are 0": (lambda pairs: [(x, [max(0, t) for t in y]) for x, y in pairs], [TARGETS]),
    "all targets ignored": (lambda pairs: [(x, [-100 for _ in y]) for x, y in pairs], [TARGETS]),
    "</s> never a target": (
        lambda pairs: [(x, [-100 if t == 3 else t for t in y]) for x, y in pairs],
        [TARGETS],
    ),
    "windows one off": (lambda pairs: [(shift(x), shift(y)) for x, y in pairs], [INPUTS]),
    "last window dropped": (lambda pairs: pairs[:-1], [COUNT]),
    "first window dropped": (lambda pairs: pairs[1:], [COUNT, INPUTS]),
    "a window twice": (lambda pairs: [*pairs, pairs[-1]], [COUNT]),
    "from right to left": (lambda pairs: pairs[::-1], [INPUTS]),
    "every other window": (lambda pairs: pairs[::2], [COUNT, INPUTS]),
}


HAS_NO_PADDING = {("continuous", "padding targets are 0")}


@pytest.mark.parametrize("policy, bug", sorted(set(product(POLICY_NAMES, BROKEN_WINDOWS)) - HAS_NO_PADDING))
def test_wrong_windows_are_caught(policy, bug):
    breaks, failed = BROKEN_WINDOWS[bug]
    report = checks.windows(lambda lines, context: breaks(windows_in_numpy(lines, context, policy)), policy)
    assert set(failed) <= set(caught(report))


def test_an_unknown_policy_is_named():
    with pytest.raises(ValueError, match=r"unknown policy 'slid'; expected one of \['continuous'"):
        checks.windows(lambda lines, context: [], "slid")


@pytest.mark.parametrize("strategy", ["in_order", "best_fit"])
def test_right_packing_passes(strategy):
    checks.packing(lambda lines, length: pack(lines, length, strategy=strategy)).raise_if_failed()
    generator = torch.Generator().manual_seed(1)
    checks.packing(lambda lines, length: pack(lines, length, strategy, generator=generator)).raise_if_failed()


def test_another_packer_passes():
    checks.packing(next_fit).raise_if_failed()
    checks.packing(
        lambda lines, length: [part.tolist() for part in next_fit(lines, length)]
    ).raise_if_failed()


def changed(change):
    """`next_fit`, with one of its four arrays spoilt by `change(ids, targets, document_ids, positions)`."""

    def spoilt(lines, row_length):
        arrays = [array.copy() for array in next_fit(lines, row_length)]
        change(*arrays)
        return arrays

    return spoilt


def crossing_targets(ids, targets, documents, positions):
    targets[:, :-1] = np.where(documents[:, 1:] >= 0, ids[:, 1:], -100)


def positions_run_on(ids, targets, documents, positions):
    positions[:] = np.arange(ids.shape[1])


def positions_from_one(ids, targets, documents, positions):
    positions += 1


def padding_predicted(ids, targets, documents, positions):
    targets[documents < 0] = 0


def padding_is_a_document(ids, targets, documents, positions):
    documents[documents < 0] = 99


def padding_is_another_id(ids, targets, documents, positions):
    ids[documents < 0] = 9


def one_number_for_all(ids, targets, documents, positions):
    documents[documents >= 0] = 0


def a_number_a_token(ids, targets, documents, positions):
    documents[documents >= 0] = np.arange((documents >= 0).sum())


def targets_are_inputs(ids, targets, documents, positions):
    targets[:] = np.where(documents >= 0, ids, -100)


def end_is_predicted(ids, targets, documents, positions):
    targets[ids == 3] = 2


DOCUMENTS, NEXT = "every document is there once and whole", "every target is the next token of its document"
NUMBER, COUNTS = "each document has its own number in its row", "positions count from 0 in each document"
PAD_MARKS = "padding is id 0, target -100, document -1"


@pytest.mark.parametrize(
    "fn, failed",
    [
        (lambda lines, length: next_fit(lines[: max(1, len(lines) - 1)], length), [DOCUMENTS]),
        (lambda lines, length: next_fit([*lines, lines[0]], length), [DOCUMENTS]),
        (lambda lines, length: next_fit([line[:-1] for line in lines], length), [DOCUMENTS]),
        (lambda lines, length: next_fit([line[1:] for line in lines], length), [DOCUMENTS]),
        (lambda lines, length: next_fit([[2, *line[-2:0:-1], 3] for line in lines], length), [DOCUMENTS]),
        (changed(crossing_targets), [NEXT]),
        (changed(targets_are_inputs), [NEXT]),
        (changed(end_is_predicted), [NEXT]),
        (changed(positions_run_on), [COUNTS]),
        (changed(positions_from_one), [COUNTS]),
        (changed(padding_predicted), [PAD_MARKS]),
        (changed(padding_is_a_document), [PAD_MARKS]),
        (changed(padding_is_another_id), [PAD_MARKS]),
        (changed(one_number_for_all), [NUMBER]),
        (changed(a_number_a_token), [NUMBER]),
    ],
)
def test_wrong_packing_is_caught(fn, failed):
    names = [name.removesuffix(", -100 at its end") for name in caught(checks.packing(fn))]
    assert set(failed) <= set(names)
    if failed != [DOCUMENTS]:
        assert names == failed
