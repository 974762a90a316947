"""What all widgets rest on: state that Python owns, questions that it answers, one module of two files, a picture."""

import io
import json
from base64 import b64decode
from itertools import count

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image
from traitlets import Int
from widget_toys import tokenizer

from lab.notebooks import publish, stills
from lab.show.widgets import MergeStepper
from lab.show.widgets.base import HERE, Widget, joined, parts


class Halver(Widget):
    """Halves even numbers."""

    number = Int(4).tag(sync=True)
    drawn_from = ("number",)
    drawn = 0

    def draw(self) -> dict:
        self.drawn += 1
        if self.number % 2:
            raise ValueError(f"{self.number} is odd: choose an even number")
        return {"half": self.number // 2}

    def add(self, more: int) -> int:
        return self.number + more

    def refuse(self) -> None:
        raise ValueError("not today")

    def fail(self) -> None:
        raise KeyError("a bug")

    def secret(self) -> str:
        raise AssertionError("no page may call this")

    answering = (add, refuse, fail)


numbers = count()


def asked(widget: Widget, *names: str, **values) -> list:
    """What comes back when the page asks these questions in one message."""
    questions = [{"id": f"q{next(numbers)}", "name": name, "values": values} for name in names]
    widget.set_state({"questions": questions})
    return [widget.answers[one["id"]][0] for one in questions]


def test_what_cannot_be_drawn_is_told_and_the_old_drawing_stays():
    halver = Halver()
    halver.number = 7
    assert halver.drawing == {"half": 2} and halver.problem == "7 is odd: choose an even number"
    halver.number = 6
    assert halver.drawing == {"half": 3} and not halver.problem


def test_a_question_travels_with_the_state_that_it_is_about_and_is_answered_once():
    halver = Halver()
    question = {"id": "a", "name": "add", "values": {"more": 1}}
    halver.set_state({"questions": [question], "number": 8})
    assert halver.answers == {"a": [9]} and halver.drawing == {"half": 4}
    halver.set_state({"number": 10})
    second = {"id": "b", "name": "add", "values": {"more": 2}}
    halver.set_state({"questions": [question, second]})
    assert halver.answers == {"a": [9], "b": [12]}, "what was answered stays"
    halver.set_state({"questions": [second]})
    assert list(halver.answers) == ["b"], "what is no longer asked is forgotten"


@pytest.mark.parametrize(
    ("name", "said"), [("refuse", "not today"), ("fail", "a bug"), ("secret", "secret"), ("close", "close")]
)
def test_what_is_refused_fails_or_may_not_be_asked_is_answered_and_told(name, said):
    halver = Halver()
    assert asked(halver, name) == [None] and said in halver.problem
    assert asked(halver, "add", more=1) == [5] and not halver.problem


def test_the_files_of_a_widget_make_one_module_that_imports_nothing():
    made = [path.stem for path in HERE.glob("*.js") if "export default" in path.read_text("utf-8")]
    assert "merge_stepper" in made and parts("denoising") == ["base", "grids", "denoising"]
    for name in made:
        text = joined(name)
        assert not any(line.startswith("import ") for line in text.splitlines())
        assert text.count("export ") == 1 and "://" not in text.replace("http://www.w3.org/", "")
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "eval(" not in text


def test_what_the_page_gets_is_plain_json():
    stepper = MergeStepper(tokenizer, "the heaven")
    assert json.loads(json.dumps(stepper.drawing)) == stepper.drawing
    assert "a still picture" in stepper._repr_mimebundle_()[0]["text/plain"]


@pytest.mark.skipif(stills.find_chromium() is None, reason=stills.HOW)
def test_publishing_puts_a_picture_in_place_of_a_widget_and_keeps_the_old_one_without_a_browser(
    tmp_path, monkeypatch, capsys
):
    stepper = MergeStepper(tokenizer, "the heaven and the earth", step=3)
    bundle = stepper._repr_mimebundle_()[0]
    cell = new_code_cell("stepper", outputs=[new_output("display_data", bundle)])
    state = {"state": {stepper.model_id: {"state": stepper.get_state()}}}
    state["state"][stepper.model_id]["state"].pop("layout")
    executed = new_notebook(cells=[cell], metadata={"widgets": {stills.WIDGET_STATE: state}})
    source = new_notebook(cells=[new_code_cell("stepper", id=cell.id)])
    for name, notebook in {"executed": executed, "source": source}.items():
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")

    def published() -> dict:
        publish.publish(tmp_path / "source.ipynb", tmp_path / "executed.ipynb")
        return nbformat.read(tmp_path / "source.ipynb", as_version=4).cells[0].outputs[0]

    output = published()
    first, said = output.data, output.metadata[publish.PICTURE]["alt"]
    assert said.startswith("Merge stepper. ") and len(said) > 20
    assert publish.WIDGET_VIEW not in first and first["text/plain"] == repr(stepper)
    picture = Image.open(io.BytesIO(b64decode(first[publish.PICTURE])))
    assert picture.width == 880 and picture.getcolors(100_000) and len(picture.getcolors(100_000)) > 5
    monkeypatch.setenv("CHROMIUM", "/no/such/browser")
    assert published() == output and "old pictures" in capsys.readouterr().out
