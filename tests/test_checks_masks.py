"""The checks of masks pass what is right, ours and another's, and catch every planted bug."""

import numpy as np
import pytest
import torch
from test_checks import failing

from lab import checks
from lab.data import masks

SELF, PAST, FUTURE, REAL = "sees itself", "came before it", "comes after it", "every real"
OTHERS, PADDING = "another document", "padding"


def padding_in_loops(lengths, T):
    return [[key < length for key in range(T)] for length in lengths.tolist()]


def same_document(ids):
    return ids[:, :, None] == ids[:, None, :]


def padding_sees_itself(document_ids):
    return masks.documents(document_ids) | torch.eye(document_ids.shape[1], dtype=torch.bool)


@pytest.mark.parametrize(
    "check, fn",
    [
        (checks.causal_mask, masks.causal),
        (checks.causal_mask, lambda T: [[key <= query for key in range(T)] for query in range(T)]),
        (checks.padding_mask, masks.padding),
        (checks.padding_mask, padding_in_loops),
        (checks.padding_mask, lambda lengths, T: np.arange(T) < lengths.numpy()[:, None, None]),
        (checks.document_mask, masks.documents),
        (checks.document_mask, lambda ids: (same_document(ids) & (ids >= 0)[:, None]).tril().tolist()),
        (checks.document_mask, padding_sees_itself),
    ],
)
def test_right_masks_pass_in_either_convention(check, fn):
    check(fn).raise_if_failed()
    inverted = lambda *args: torch.as_tensor(np.asarray(fn(*args))).logical_not()  # noqa: E731
    check(inverted, convention="blocked").raise_if_failed()
    assert not check(fn, convention="blocked") and not check(inverted)


test_wrong_causal_masks_are_caught = failing(
    checks.causal_mask,
    (lambda T: torch.ones(T, T).tril(-1).bool(), [SELF]), (lambda T: torch.ones(T, T).triu().bool(), [PAST, FUTURE]),
    (lambda T: masks.sliding(T, 4), [PAST]), (lambda T: masks.prefix(T, min(T, 2)), [FUTURE]),
)  # fmt: skip
test_wrong_padding_masks_are_caught = failing(
    checks.padding_mask,
    (lambda lengths, T: torch.arange(T) <= lengths[:, None], [PADDING]),
    (lambda lengths, T: torch.arange(T) < lengths[:, None] - 1, [REAL]),
    (lambda lengths, T: torch.arange(T) >= T - lengths[:, None], [REAL, PADDING]),  # padding on the left
    (lambda lengths, T: (torch.arange(T) < lengths.max()).expand(len(lengths), T), [PADDING]),
)
test_wrong_document_masks_are_caught = failing(
    checks.document_mask,
    (lambda ids: same_document(ids) & (ids >= 0)[:, None], [FUTURE]),
    (lambda ids: masks.causal(ids.shape[1]).expand(len(ids), -1, -1), [OTHERS, PADDING]),
    (lambda ids: same_document(ids).tril(-1), [SELF]), (lambda ids: same_document(ids).triu(), [PAST, FUTURE]),
    (lambda ids: (same_document(ids) | (ids == -1)[:, None]).tril(), [PADDING]),
    (lambda ids: (ids[:, None, :] <= ids[:, :, None]).tril(), None),
    (lambda ids: masks.combine(masks.documents(ids), masks.sliding(ids.shape[1], 3)), [PAST]),
)  # fmt: skip


def test_the_smallest_failing_example_is_shown_with_its_difference():
    report = checks.causal_mask(lambda T: torch.ones(T, T).tril(2).bool())
    (wrong,) = [p.example for p in report.properties if p.example]
    assert wrong.call == "fn(T=2)"
    assert str(wrong.expected) == " ■  ·\n ■  ■" and str(wrong.actual) == " ■ [■]\n ■  ■"
    assert "is the other convention meant?" in str(checks.causal_mask(lambda T: ~masks.causal(T)))


def test_what_padding_looks_at_is_left_blank():
    report = checks.document_mask(lambda ids: masks.causal(ids.shape[1]).expand(len(ids), -1, -1))
    assert "fn(document_ids=[[0, 1]]), row 0" in str(report)
    padding = report.properties[-1].example
    assert padding.call == "fn(document_ids=[[-1, 0, 0]]), row 0"
    assert padding.actual.lines() == ["", "[■] ■  ·", "[■] ■  ■"]
