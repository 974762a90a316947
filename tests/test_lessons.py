"""What a lesson is made of; its shape is read from its cells, and its claims need what it writes by hand."""

import copy
from base64 import b64decode

import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lab import checks
from lab.notebooks import ClaimFailed, answer, attempt, expect, record, settings, shape, stubs
from lab.notebooks.claims import METRIC_MIME, first_sentence
from lab.notebooks.exercises import ATTEMPT_MIME
from lab.notebooks.publish import complaints, publish, readme_table
from lab.notebooks.report import closing_table, write_report
from lab.notebooks.runner import TEMPLATE, all_notebooks, find_notebooks, run_notebook
from lab.show import figure


@pytest.fixture
def shown(monkeypatch):
    """The bundles that are displayed."""
    bundles = []
    for module in ("claims", "profiles", "exercises"):
        monkeypatch.setattr(f"lab.notebooks.{module}.display", lambda bundle, **_: bundles.append(bundle))
    return bundles


def test_a_claim_is_a_sentence_with_its_number_and_its_bound(shown):
    expect("the loss is {} higher", 0.4123, above=0.3, unit="bits", because="Ten times the spread.")
    assert "the loss is 0.4123 bits higher" in shown[0]["text/plain"] and "0.3" in shown[0]["text/plain"]
    assert "<details>" in shown[0]["text/html"] and "Ten times the spread." in shown[0]["text/html"]
    record("a <b> & {}", 3)
    assert "a &lt;b&gt; &amp; 3" in shown[1]["text/html"] and "<details>" not in shown[1]["text/html"]
    expect("elsewhere {}", 1.0, above=2, claimed=False)
    assert "2" in shown[2]["text/plain"] and not shown[2]["text/plain"].startswith("✓")


@pytest.mark.parametrize("kind", [bool, np.bool_, torch.tensor])
def test_a_fact_is_said_in_words_and_claimed_to_be_true(kind, shown):
    expect("the planted error is found", kind(True))
    assert shown[0]["text/plain"] == "✓ the planted error is found"
    expect("it is not", kind(False), close_to=0)
    with pytest.raises(ClaimFailed, match="the planted error is found"):
        expect("the planted error is found", kind(False))
    assert [bundle[METRIC_MIME]["holds"] for bundle in shown] == [True, True, False]
    with pytest.raises(ValueError, match="says nothing"):
        expect("a number without a bound", 1)


def test_a_claim_that_fails_says_both_numbers_aloud(shown):
    with pytest.raises(ClaimFailed, match=r"0\.21.*0\.3"):
        expect("positions cost {}", 0.21, above=0.3)
    assert "0.21" in shown[0]["text/html"] and "<b>" in shown[0]["text/html"]


@pytest.mark.parametrize(("profile", "steps"), [("smoke", 20), ("standard", 600), ("full", None)])
def test_settings_are_those_of_the_profile_and_the_table_has_all(profile, steps, shown):
    s = settings(profile, steps=(20, 600, None), width=[64, 32], home=True)
    assert vars(s) == {"steps": steps, "width": [64, 32], "home": True}
    assert all(word in shown[0]["text/html"] for word in ("<details>", profile, "600", "[64, 32]", "steps"))


@pytest.mark.parametrize(("profile", "steps"), [("quick", (1, 2, 3)), ("smoke", (1, 2)), ("smoke", ())])
def test_settings_that_are_none_are_refused(profile, steps, shown):
    with pytest.raises(ValueError, match="quick" if profile == "quick" else "steps"):
        settings(profile, steps=steps)


def stub(x, dim):
    raise NotImplementedError("your turn")


def half(x, dim):
    return ... if x.dim() == 1 else x


def breaks(x, dim):
    return x / undefined  # noqa: F821


def leaves(x, dim):
    raise SystemExit


def of_torch(x, dim):
    raise torch_error


torch_error = NotImplementedError("Could not run 'aten::x' with arguments from the 'Meta' backend")


def wrong(x, dim):
    return x


def right(x, dim):
    return x.softmax(dim)


@pytest.mark.parametrize(
    ("mine", "passed", "said"),
    [
        (stub, None, "stub"),
        (half, None, "half"),
        (lambda x, dim: None, None, "<lambda>"),
        (breaks, False, "return x / undefined"),
        (leaves, False, "raise SystemExit"),
        (of_torch, False, "Could not run"),
        (wrong, False, "softmax: failed"),
        (right, True, "softmax: passed"),
        (7, False, "softmax: failed"),
    ],
)
def test_whatever_the_reader_writes_an_attempt_goes_on(mine, passed, said, shown):
    attempt(checks.softmax, mine)
    (bundle,) = shown
    assert bundle[ATTEMPT_MIME]["passed"] is passed and said in bundle["text/plain"]


class Halfway:
    vocab_size = 256

    def encode(self, text):
        return list(text.encode())

    def decode(self, ids):
        raise NotImplementedError


def test_a_class_is_tried_too_and_a_check_of_ones_own(shown):
    attempt(checks.tokenizer, Halfway())
    attempt(lambda mine: mine(2) == 5, lambda x: 2 * x + 1)
    attempt(lambda mine: 1 / 0, wrong)
    attempt(checks.causal_mask, lambda T: torch.ones(T, T).triu(1).bool(), convention="blocked")
    assert [bundle[ATTEMPT_MIME]["passed"] for bundle in shown] == [None, True, False, True]


def lesson(folder, *, edit=lambda cells: None, name="00_made"):
    """The template in a file of its own, its cells edited."""
    notebook = nbformat.read(TEMPLATE, as_version=4)
    edit(notebook.cells)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def tagged(cells, tag):
    return next(n for n, cell in enumerate(cells) if tag in cell.metadata.get("tags", []))


def with_source(tag, change):
    def edit(cells):
        cell = cells[tagged(cells, tag)]
        cell.source = change(cell.source)

    return edit


def without(tag):
    return lambda cells: cells.pop(tagged(cells, tag))


def added(*new, after="by-hand"):
    def edit(cells):
        place = tagged(cells, after) + 1
        cells[place:place] = [
            nbformat.from_dict({**copy.deepcopy(cell), "id": f"new-{n}"}) for n, cell in enumerate(new)
        ]

    return edit


def code(source, *tags, outputs=()):
    data = [new_output("display_data", kinds) for kinds in outputs]
    return new_code_cell(source, metadata={"tags": list(tags)}, outputs=data)


PNG, SAID, TABLE = {"image/png": "x"}, {"text/markdown": "It falls."}, {"text/html": '<table border="1">'}
WIDGET = {"text/plain": f"[Sampler: {shape.WIDGET}]"}
HEADING, PROSE = new_markdown_cell("## 7. On"), new_markdown_cell("Look at the left.")

# The cell that is complained of, and what is done to the template.
FAULTS = {
    "no question": (1, with_source("answer", str), lambda cells: cells[0].update(source="# A title\n\nA statement.")),
    "no answer": (2, without("answer"),),
    "no parameters": (3, without("parameters"),),
    "settings twice": (7, added(code("s = settings(profile, steps=3)")),),
    "answer early": (21, added(code('answer("No.")')),),
    "sections in another order": (26, added(new_markdown_cell("## More"), after="check"),),
    "profile word": (7, added(code('steps = 3 if mode == "smoke" else 4')),),
    "by_profile": (7, added(code("steps = by_profile(profile=profile, smoke=1, standard=2, full=3)")),),
    "the profile asked": (7, added(code("steps = 3 if profile else 4")),),
    "the text asked": (7, added(code('if text.name != "kjv":\n    pass')),),
    "a long cell": (7, added(code("x = 1\n" * 26)),),
    "two models": (8, added(code("x = 1\n" * 60, "model"), code("x = 1\n" * 26, "model")),),
    "too much code": (37, added(*[code("x = 1\n" * 25)] * 12),),
    "too many cells": (55, added(*[PROSE] * 30),),
    "a figure that nobody reads": (7, added(code("f", outputs=[PNG]), HEADING),),
    "a table that nobody reads": (7, added(code("t", outputs=[SAID, TABLE]), code("x = 1")),),
    "a widget without its picture": (7, added(code("w", outputs=[WIDGET]), PROSE),),
    "nothing by hand": (1, with_source("by-hand", str), lambda cells: cells[tagged(cells, "by-hand")].metadata.clear()),
    "by hand with lab": (6, with_source("by-hand", lambda source: source + "\nchecks.softmax"),),
    "by hand imports lab": (6, with_source("by-hand", lambda source: "import lab.nn\n" + source + "\nlab.nn"),),
    "by hand without a function": (6, with_source("by-hand", lambda source: "x = 1"),),
    "a check that is none": (24, with_source("check", lambda source: source + "\nx = 1"),),
    "an attempt elsewhere": (7, added(code("attempt(checks.softmax, with_temperature)")),),
    "an exercise without a check": (23, without("check"),),
    "no solution": (23, lambda cells: cells[tagged(cells, "check") + 1].update(source="Try."),),
    "the notebook rests on the exercise": (7, added(code("x = my_softmax(logits, 0)")),),
}  # fmt: skip

SOUND = {
    "as it is": (),
    "evidence is handed the profile": (added(code('rows = evidence("00.x", e, profile=profile)')),),
    "one model": (added(code("x = 1\n" * 60, "model")),),
    "figures that are read": (added(code("f", outputs=[PNG, SAID]), code("t", outputs=[TABLE]), PROSE),),
    "a figure read in the next cell": (added(code("f", outputs=[PNG]), code("say()", outputs=[SAID])),),
    "a widget with its picture": (added(code("w", outputs=[WIDGET | PNG]), HEADING),),
    "magic": (added(code("%time x = 1")),),
}


def edited(folder, edits):
    return lesson(folder, edit=lambda cells: [edit(cells) for edit in edits])


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.replace(" ", "_"))
def test_what_is_out_of_shape_is_said_with_its_cell(fault, tmp_path):
    cell, *edits = FAULTS[fault]
    found = shape.complaints(edited(tmp_path, edits))
    assert any(one.startswith(f"00_made.ipynb, cell {cell}: ") for one in found), found


@pytest.mark.parametrize("sound", SOUND, ids=lambda sound: sound.replace(" ", "_"))
def test_what_is_in_shape_is_left_alone(sound, tmp_path):
    assert shape.complaints(edited(tmp_path, SOUND[sound])) == []


def test_only_lessons_have_a_shape(tmp_path):
    nbformat.write(new_notebook(cells=[code("x = 1")]), tmp_path / "00_old.ipynb")
    assert shape.complaints(tmp_path / "00_old.ipynb") == shape.remarks(tmp_path / "00_old.ipynb") == []


@pytest.mark.parametrize("path", [TEMPLATE, *all_notebooks()], ids=lambda path: path.stem)
def test_committed_lessons_have_the_shape(path):
    assert shape.complaints(path) == []


def test_the_template_is_published_and_no_lesson_of_the_series():
    assert complaints(TEMPLATE) == []
    assert TEMPLATE not in all_notebooks() and find_notebooks(("template",)) == [TEMPLATE]


def test_the_answer_stands_under_the_title_in_the_table_and_in_the_closing_line(tmp_path):
    path, picture = lesson(tmp_path), tmp_path / "pictures" / "00_made.png"
    notebook = nbformat.read(path, as_version=4)
    wanted = 'answer(f"No | it costs **{1.5} bits**. So much.", figure("t", "x", "y")[0])'
    setup = "from lab.notebooks import answer, expect\nfrom lab.show import figure\nexpect('so', True)"
    notebook.cells = [notebook.cells[0], notebook.cells[1], notebook.cells[2], code(setup), code(wanted)]
    nbformat.write(notebook, path)
    run = run_notebook(path, tmp_path / "build", {}, progress=False)
    assert run.passed and run.answer == "No | it costs **1.5 bits**. So much."
    assert "No | it costs 1.5 bits." in closing_table([run]) and "So much" not in closing_table([run])
    assert "No | it costs 1.5 bits." in write_report([run], tmp_path / "report", "").read_text()

    publish(path, run.output)
    published = nbformat.read(path, as_version=4)
    assert "it costs **1.5 bits**. So much." in published.cells[1].source
    assert "pictures/00_made.png" in published.cells[1].source and picture.read_bytes()[:4] == b"\x89PNG"
    assert complaints(path) == [] and r"| No \| it costs **1.5 bits**. |" in readme_table([path])
    published.cells[1].source = published.cells[1].source.replace("1.5", "2.5")
    nbformat.write(published, path)
    assert len(complaints(path)) == 1


def test_an_answer_keeps_its_picture(shown):
    answer("Yes.", figure("t", "x", "y")[0])
    assert b64decode(next(iter(shown[0].values()))["picture"])[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("It is 0.41. More.", "It is 0.41."),
        ("It is\n0.41 bits (e.g. here). **More**.", "It is 0.41 bits (e.g. here)."),
        ("Does it? Yes.", "Does it?"),
        ("No end", "No end"),
    ],
)
def test_the_first_sentence(text, first):
    assert first_sentence(text) == first


def test_zeros_in_place_of_what_is_computed():
    class Layer(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x)

    logits = stubs.zeroed(Layer)(3, 2)(torch.ones(1, 3))
    assert torch.equal(logits, torch.zeros(1, 2)) and logits.requires_grad
    many = {"a": [1.5, "b"], "c": (np.ones(2), True, None), "d": torch.ones(2).bool()}
    many = stubs.zeroed(lambda: many_of(many))()
    assert many["a"] == [0.0, ""] and many["c"][1:] == (False, None)
    assert not many["c"][0].any() and many["d"].dtype == torch.bool and not many["d"].any()
    assert list(stubs.zeroed(iter([1, 2]))) == [0, 0]


def many_of(many):
    return many


@pytest.mark.slow
def test_the_template_runs_and_its_claims_need_what_it_writes_by_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = run_notebook(TEMPLATE, tmp_path, {"profile": "smoke", "corpus": "grammar"}, progress=False)
    assert run.passed and run.answer, run.error
    assert stubs.complaints([TEMPLATE, *all_notebooks()[:0]], say=lambda _: None) == []


@pytest.mark.slow
def test_a_lesson_that_does_without_its_algorithm_and_a_solution_that_solves_nothing_are_found(tmp_path):
    def edit(cells):
        by_hand, check = tagged(cells, "by-hand"), tagged(cells, "check")
        setup = code("from lab import checks\nfrom lab.notebooks import attempt, expect\nimport torch")
        claim = code("with_temperature(torch.ones(2), 1.0)\nexpect('two is {}', 2, above=1)")
        cells[check + 1].source = cells[check + 1].source.replace("powers / powers", "powers + powers")
        cells[:] = [
            cells[tagged(cells, "parameters")],
            setup,
            cells[by_hand],
            claim,
            *cells[check - 1 : check + 2],
        ]

    without_algorithm, unsolved = stubs.complaints([lesson(tmp_path, edit=edit)], say=lambda _: None)
    assert "with_temperature" in without_algorithm and "0 of 1" in unsolved
