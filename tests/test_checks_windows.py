"""The checks of windows and packing pass what is right, ours and another's, and catch every planted bug."""

from itertools import product

import numpy as np
import pytest
import torch
from test_checks import blamed, failing, next_fit, passing

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
    "padding targets are 0": (lambda pairs: [(x, [max(0, t) for t in y]) for x, y in pairs], [TARGETS]),
    "windows one off": (lambda pairs: [(shift(x), shift(y)) for x, y in pairs], [INPUTS]),
    "first window dropped": (lambda pairs: pairs[1:], [COUNT, INPUTS]),
    "from right to left": (lambda pairs: pairs[::-1], [INPUTS]),
}
HAS_NO_PADDING = {("continuous", "padding targets are 0")}


@pytest.mark.parametrize("policy, bug", sorted(set(product(POLICY_NAMES, BROKEN_WINDOWS)) - HAS_NO_PADDING))
def test_wrong_windows_are_caught(policy, bug):
    breaks, failed = BROKEN_WINDOWS[bug]
    report = checks.windows(lambda lines, context: breaks(windows_in_numpy(lines, context, policy)), policy)
    blamed(report, failed, only=False)


test_right_packing_passes = passing(
    checks.packing,
    pack,
    lambda *args: pack(*args, strategy="best_fit", generator=torch.Generator().manual_seed(1)),
    lambda *args: [part.tolist() for part in next_fit(*args)],
)


def spoilt(field, value, *, where=lambda ids, documents: documents >= 0):
    """`next_fit`, with one of its four arrays set, in some places, to a value or to what one makes of the ids."""

    def fn(lines, row_length):
        arrays = ids, _, documents, _ = [array.copy() for array in next_fit(lines, row_length)]
        array = arrays[["ids", "targets", "documents", "positions"].index(field)]
        places = where(ids, documents)
        array[places] = np.broadcast_to(value(ids) if callable(value) else value, array.shape)[places]
        return arrays

    return fn


def padding(ids, documents):
    return documents < 0


def ends(ids, documents):
    return ids == 3


DOCUMENTS, NEXT, NUMBER = "there once", "every target", "its own number"
COUNTS, PAD_MARKS = "positions count", "padding is"
test_documents_that_are_not_there_once_and_whole_are_caught = failing(
    checks.packing,
    (lambda lines, length: next_fit(lines[: max(1, len(lines) - 1)], length), [DOCUMENTS]),
    (lambda lines, length: next_fit([line[1:] for line in lines], length), [DOCUMENTS]),
    (lambda lines, length: next_fit([[2, *line[-2:0:-1], 3] for line in lines], length), [DOCUMENTS]),
    only=False,
)
test_wrong_packing_is_caught = failing(
    checks.packing,
    (spoilt("targets", lambda ids: np.roll(ids, -1, 1), where=ends), [NEXT]),  # into the next document
    (spoilt("positions", lambda ids: np.arange(ids.shape[1])), [COUNTS]),
    (spoilt("targets", 0, where=padding), [PAD_MARKS]),
    (spoilt("documents", 99, where=padding), [PAD_MARKS]),
    (spoilt("ids", 9, where=padding), [PAD_MARKS]),
    (spoilt("documents", 0), [NUMBER]),
    (spoilt("documents", lambda ids: np.arange(ids.size).reshape(ids.shape)), [NUMBER]),
)
