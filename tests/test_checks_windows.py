"""The checks of windows and packing pass what is right, ours and another's, and catch every planted bug."""

from itertools import product

import numpy as np
import pytest
import torch
from test_checks import blamed, failing, next_fit

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


COUNT, INPUTS, TARGETS = "as many pairs", "every x", "every y"
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
    blamed(report, failed, only=False)


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


def spoilt(field, value, *, where=lambda ids, documents: documents >= 0):
    """Sets one of the four arrays, in the places that are chosen, to a value, or to what a function makes of it."""

    def change(ids, targets, documents, positions):
        array = {"ids": ids, "targets": targets, "documents": documents, "positions": positions}[field]
        places = where(ids, documents)
        array[places] = (value(ids, array) if callable(value) else np.full(array.shape, value))[places]

    return changed(change)


def padding(ids, documents):
    return documents < 0


DOCUMENTS, NEXT, NUMBER, COUNTS, PAD_MARKS = (
    "there once", "every target", "its own number", "positions count", "padding is",
)  # fmt: skip


test_documents_that_are_not_there_once_and_whole_are_caught = failing(
    checks.packing,
    (lambda lines, length: next_fit(lines[: max(1, len(lines) - 1)], length), [DOCUMENTS]),
    (lambda lines, length: next_fit([*lines, lines[0]], length), [DOCUMENTS]),
    (lambda lines, length: next_fit([line[:-1] for line in lines], length), [DOCUMENTS]),
    (lambda lines, length: next_fit([line[1:] for line in lines], length), [DOCUMENTS]),
    (lambda lines, length: next_fit([[2, *line[-2:0:-1], 3] for line in lines], length), [DOCUMENTS]),
    only=False,
)
test_wrong_packing_is_caught = failing(
    checks.packing,
    (changed(crossing_targets), [NEXT]),
    (spoilt("targets", lambda ids, _: ids), [NEXT]),
    (spoilt("targets", 2, where=lambda ids, documents: ids == 3), [NEXT]),
    (spoilt("positions", lambda ids, _: np.broadcast_to(np.arange(ids.shape[1]), ids.shape)), [COUNTS]),
    (spoilt("positions", lambda ids, positions: positions + 1), [COUNTS]),
    (spoilt("targets", 0, where=padding), [PAD_MARKS]),
    (spoilt("documents", 99, where=padding), [PAD_MARKS]),
    (spoilt("ids", 9, where=padding), [PAD_MARKS]),
    (spoilt("documents", 0), [NUMBER]),
    (spoilt("documents", lambda ids, _: np.arange(ids.size).reshape(ids.shape)), [NUMBER]),
)
