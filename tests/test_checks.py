"""What every check has in common: its report, and that no answer of a reader's function breaks it."""

import html

import numpy as np
import pytest
import torch

from lab import checks
from lab.checks.drawing import Cell, Drawing, tables
from lab.data import masks


def caught(report: checks.CheckReport) -> list[str]:
    """The names of the properties that failed, each with an example; the report can be shown."""
    assert not report.passed and not report
    failed = [p for p in report.properties if not p.passed]
    assert any(p.example for p in failed), "a failed report shows at least one example"
    text, page = str(report), report._repr_html_()
    for p in failed:
        assert p.name in text and html.escape(p.name) in page
        assert not p.example or (p.example.call in text and html.escape(p.example.call) in page)
    return [p.name for p in failed]


def next_fit(lines, row_length):
    """Another packer: one token after another, a new row where a document does not fit."""
    rows = []
    for number, line in enumerate(lines):
        if not rows or len(rows[-1]) + len(line) > row_length:
            rows.append([])
        targets = [*line[1:], -100]
        rows[-1] += [(*both, 10 * number, n) for n, both in enumerate(zip(line, targets, strict=True))]
    empty = (0, -100, -1, 0)
    cells = np.array([row + [empty] * (row_length - len(row)) for row in rows])  # (rows, row_length, 4)
    return tuple(np.moveaxis(cells, -1, 0))


def raises(*_):
    raise KeyError("no such <thing>")


ALL_CHECKS = {
    "causal": checks.causal_mask,
    "padding": checks.padding_mask,
    "document": checks.document_mask,
    "windows": lambda fn: checks.windows(fn, "slide"),
    "packing": checks.packing,
    "bpe": checks.bpe_train,
}


@pytest.mark.parametrize("check", ALL_CHECKS.values(), ids=ALL_CHECKS)
@pytest.mark.parametrize(
    "fn, said",
    [
        (raises, "raised KeyError: 'no such <thing>'"),
        (lambda: None, "raised TypeError: "),
        (lambda *_: None, ""),
        (lambda *_: "abc", ""),
        (lambda *_: torch.zeros(2, 3, 4, 5, dtype=torch.bool), ""),
        (lambda *_: [[1.5], [2, 3]], ""),
        (lambda *_: object(), ""),
        (lambda *_: ([[1.0]], [[1.0]], [[1.0]], [[1.0]]), ""),
    ],
)
def test_no_answer_is_a_failed_property_and_never_a_crash(check, fn, said):
    report = check(fn)
    names = caught(report)
    assert names[0].startswith("the answer is ") and said in str(report)
    if fn is raises:
        assert "(not judged)" in str(report) and "&lt;thing&gt;" in report._repr_html_()
        assert "<thing>" not in report._repr_html_()


def test_wrong_shapes_and_types_are_named():
    assert "float32 values such as 1.0; expected booleans" in str(
        checks.causal_mask(lambda T: torch.ones(T, T))
    )
    assert "shape (1, 1, 1); expected (1, 1)" in str(checks.causal_mask(lambda T: masks.causal(T)[None]))
    assert "None: does the function return" in str(checks.causal_mask(lambda T: None))
    assert "shape (1,); expected (1, 1)" in str(checks.padding_mask(lambda lengths, T: lengths > 0))
    off = checks.windows(lambda lines, c: [(line, line) for line in lines], "slide")
    assert "x of pair 0 has shape (2,); expected (1,)" in str(off)
    assert "targets of shape" in str(
        checks.packing(lambda lines, n: [next_fit(lines, n)[0], [[0]], [[0]], [[0]]])
    )
    for check in (checks.causal_mask, checks.padding_mask, checks.document_mask):
        with pytest.raises(ValueError, match="unknown convention 'True'"):
            check(masks.causal, convention="True")


def test_a_function_may_write_to_what_it_is_given():
    def takes_apart(lines, row_length):
        packed = next_fit(lines, row_length)
        for line in lines:
            line.clear()
        return packed

    checks.packing(takes_apart).raise_if_failed()


def test_a_report_is_true_where_it_passed():
    good, bad = checks.causal_mask(masks.causal), checks.causal_mask(lambda T: ~masks.causal(T))
    assert good and good.raise_if_failed() is good and repr(good) == str(good)
    assert str(good).startswith("causal_mask: passed, 4 of 4 properties hold\n  ✓ ")
    assert not bad
    with pytest.raises(checks.CheckFailed, match="causal_mask: failed, 1 of 4") as error:
        bad.raise_if_failed()
    assert isinstance(error.value, AssertionError)
    with pytest.raises(AttributeError):
        good.name = "another"


def test_html_is_escaped_and_has_no_colours_of_paper():
    page = (
        checks.bpe_train(lambda lines, n: [(n, n)])._repr_html_()
        + checks.causal_mask(lambda T: masks.sliding(T, 2))._repr_html_()
    )
    assert page.count("<table") == page.count("</table>") and "<script" not in page
    assert "color:inherit" in page and "background:transparent" in page
    assert "white" not in page and "black" not in page
    report = checks.CheckReport("a<b", (checks.Property("x & y", True),))
    assert "a&lt;b" in report._repr_html_() and "x &amp; y" in report._repr_html_()


def test_long_answers_are_shown_around_the_difference():
    expected = [[n] for n in range(1000)]
    actual = [[n if n != 700 else -1] for n in range(1000)]
    left, right = (str(drawing) for drawing in tables(expected, actual))
    assert "[ -1]" in right and "[700]" in left and left.count("\n") < 20
    assert "(nothing)" in str(tables([], [[1]])[0])
    huge = checks.bpe_train(lambda lines, n: [(5, 5)] * 1_000)
    assert len(str(huge)) < 20_000 and len(huge._repr_html_()) < 60_000
    assert str(Drawing(((Cell("a"), Cell("10", True)), (Cell("bcd"),)))) == "   a [10]\n bcd"


def test_additive_masks_are_told_to_be_no_booleans():
    additive = lambda T: masks.to_additive(masks.causal(T))  # noqa: E731
    assert "expected booleans" in str(checks.causal_mask(additive))
    checks.causal_mask(lambda T: masks.from_additive(additive(T))).raise_if_failed()
