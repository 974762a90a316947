"""What every check has in common: its report, and that no answer of a reader's function breaks it."""

import html
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

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


def blamed(report: checks.CheckReport, failed: list[str] | None, said: str = "", only: bool = True) -> None:
    """These properties failed, in this order (or these among others), each known by a part of its name."""
    names = caught(report)
    found = [next((name for name in names if part in name), None) for part in failed or []]
    assert None not in found and (not only or failed is None or found == names), (failed, names)
    assert said in str(report)


def failing(check, *rows, also=(), only=True, **more):
    """A test of wrong functions: `(fn, the properties that fail, what the report says)`, None where any may fail."""

    @pytest.mark.parametrize("fn, failed, said", [(*row, "")[:3] for row in rows])
    def test(fn, failed, said):
        blamed(check(fn, **more), [*failed, *also] if failed else failed, said, only)

    return test


def passing(check, *torchs, numpy=(), **more):
    """A test of right functions."""

    @pytest.mark.parametrize(
        "fn, given", [*((fn, {}) for fn in torchs), *((fn, {"given": "numpy"}) for fn in numpy)]
    )
    def test(fn, given):
        check(fn, **given, **more).raise_if_failed()

    return test


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


OTHERS = {"Case", "Check", "CheckFailed", "CheckReport", "Example", "Property"}
CHECKS = {name: getattr(checks, name) for name in checks.__all__ if name not in OTHERS}
CHECKS |= {
    "decoder": lambda fn: checks.decoder(fn, vocab_size=9, context=4),
    "leak": lambda fn: checks.leak(fn, vocab_size=9, context=4),
    "output_lengths": lambda fn: checks.output_lengths(fn, lambda x, lengths: x, bands=3),
    "recurrent": lambda fn: checks.recurrent(fn, "lstm"),
    "windows": lambda fn: checks.windows(fn, "slide"),
    "tokenizer": lambda fn: checks.tokenizer(SimpleNamespace(encode=fn, decode=fn, vocab_size=9)),
    "checkpoint_roundtrip": lambda fn: checks.checkpoint_roundtrip(lambda *_: None, fn),
}
NO_ANSWERS = {
    "raises": raises,
    "wants nothing": lambda: None,
    "None": lambda *_: None,
    "text": lambda *_: "abc",
    "dimensions": lambda *_: torch.zeros(2, 3, 4, 5, 6),
    "ragged": lambda *_: [[1.5], [2, 3]],
    "object": lambda *_: object(),
    "a tuple": lambda *_: ([[1.0, 2.0]],),
    "a word for a number": lambda *_: ([0], "much"),
    "four": lambda *_: ([[1.0]], [[1.0]], [[1.0]], [[1.0]]),
}


@pytest.mark.parametrize("fn", NO_ANSWERS.values(), ids=NO_ANSWERS)
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_no_answer_is_a_failed_property_and_never_a_crash(check, fn):
    report = check(fn)
    assert caught(report)[0].startswith("the answer is ")
    if fn is raises:
        assert "KeyError: 'no such <thing>'" in str(report) and "(not judged)" in str(report)
        assert "&lt;thing&gt;" in report._repr_html_() and "<thing>" not in report._repr_html_()


@pytest.mark.parametrize(
    "check, answer, said",
    [
        (checks.causal_mask, lambda T: torch.ones(T, T), "float32"),
        (CHECKS["windows"], lambda lines, c: [(line, line) for line in lines], "x of pair 0"),
        (checks.packing, lambda lines, n: [next_fit(lines, n)[0], [[0]], [[0]], [[0]]], "targets"),
        (checks.attention_backward, lambda q, k, v, mask, g: (q, k[..., None], v), "dk has shape"),
        (CHECKS["decoder"], lambda ids: (ids, None), "a tuple of 2"),
        (CHECKS["recurrent"], lambda x, state, w: (state[0], None), "does the function return"),
        (checks.codebook, lambda V, n, K: (lambda ids: torch.zeros(len(ids), n + 1).long(), len), "(2, 3)"),
        (checks.codebook, lambda V, n, K: (len, 3), "tuple"),
        (checks.mlm_masking, lambda ids, *_: (ids, ids.double()), "targets holds float64"),
        (checks.resume, lambda steps, start=None: ([1.0] * steps, None), "None as the checkpoint"),
    ],
)
def test_what_came_instead_is_said(check, answer, said):
    report = check(answer)
    first = report.properties[0]
    assert not first.passed and said in str(first.example.actual)


@pytest.mark.parametrize(
    "check, more, said",
    [
        *((check, {"convention": "True"}, "convention") for check in (
            checks.causal_mask, checks.padding_mask, checks.document_mask, checks.attention,
            checks.attention_backward, checks.multi_head_attention,
        )),
        *((check, {"given": "jax"}, "given") for check in (
            checks.softmax, checks.attention, checks.attention_backward, checks.multi_head_attention, checks.top_k,
            checks.bound, checks.posterior, checks.ctc,
        )),
        *((check, {"kind": "masked"}, "kind") for check in (checks.transition, checks.posterior, checks.bound)),
        (checks.recurrent, {"kind": "rnn"}, "kind"),
        (checks.recurrent, {"kind": "gru", "given": "jax"}, "given"),
        (checks.windows, {"policy": "slid"}, "policy"),
        (checks.decoder, {"vocab_size": 1, "context": 4}, "vocab_size"),
        (checks.decoder, {"vocab_size": 9, "context": 4, "given": "jax"}, "given"),
        (checks.leak, {"vocab_size": 9, "context": 1}, "context"),
        (checks.leak, {"vocab_size": 9, "context": 4, "predicts": "last"}, "predicts"),
        (checks.leak, {"vocab_size": 9, "context": 4, "given": "numpy", "embedding": nn.Embedding(9, 2)}, "given"),
    ],
)  # fmt: skip
def test_unknown_words_and_sizes_are_refused(check, more, said):
    with pytest.raises(ValueError, match=said):
        check(raises, **more)


@pytest.mark.parametrize("name", ["softmax", "attention", "multi_head_attention", "decoder", "mlm_masking"])
def test_what_is_given_is_torch_or_numpy(name):
    more = {"vocab_size": 9, "context": 4} if name == "decoder" else {}
    for given, kind in (("torch", torch.Tensor), ("numpy", np.ndarray)):
        seen = []
        getattr(checks, name)(lambda *args, seen=seen: seen.append(args), given=given, **more)
        assert {type(args[0]) for args in seen} == {kind}


def test_a_function_may_write_to_what_it_is_given():
    def takes_apart(lines, row_length):
        packed = next_fit(lines, row_length)
        for line in lines:
            line.clear()
        return packed

    checks.packing(takes_apart).raise_if_failed()


def test_a_check_of_ones_own():
    def read(case, answer):
        return np.float64(answer)

    cases = [checks.Case(x=x) for x in (0, 2, 3)]
    check = checks.Check(
        "square", lambda x: 2 * x, "a number", read, cases, right=lambda case: case["x"] ** 2
    )
    mistakes = lambda case: [("as if halved", case["x"] / 2), ("as if doubled", 2 * case["x"])]  # noqa: E731
    assert not check.expect("x times x", mistakes=mistakes)
    assert check.expect("of two", of=cases[:2]) and not check.expect("of none", of=())
    assert not check.judge("another", lambda case, answer: [None, *check.properties[1:2]], [checks.Case(x=1)])
    assert [p.passed for p in check.report.properties] == [True, False, True, False, False]
    example = check.report.properties[1].example
    assert (example.call, example.note) == ("fn(x=3)", "as if doubled")
    assert str(check.ask(cases[1].but(x=5))) == "10.0"


def test_a_report_is_true_where_it_passed():
    good, bad = checks.causal_mask(masks.causal), checks.causal_mask(lambda T: ~masks.causal(T))
    assert good and good.raise_if_failed() is good and repr(good) == str(good) and not bad
    assert "4 of 4" in str(good) and str(good).count("✓") == 4
    with pytest.raises(checks.CheckFailed, match="1 of 4") as error:
        bad.raise_if_failed()
    assert isinstance(error.value, AssertionError)


def test_long_answers_are_shown_around_the_difference():
    expected = [[n] for n in range(1000)]
    actual = [[n if n != 700 else -1] for n in range(1000)]
    left, right = (str(drawing) for drawing in tables(expected, actual))
    assert "[ -1]" in right and "[700]" in left and left.count("\n") < 20
    assert "(nothing)" in str(tables([], [[1]])[0])
    huge = checks.bpe_train(lambda lines, n: [(5, 5)] * 1_000)
    assert len(str(huge)) < 20_000 and len(huge._repr_html_()) < 60_000
    assert str(Drawing(((Cell("a"), Cell("10", True)), (Cell("bcd"),)))) == "   a [10]\n bcd"
