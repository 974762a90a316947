"""What every widget is made of: state that Python owns, and one ES module that draws it.

A widget `x` is two files. `x.py` holds a `Widget`: its controls as traits, `draw`, which makes of them the JSON that is
to be seen, and the questions that only Python can answer. `x.js` beside it draws that JSON and makes the controls:

    class Doubler(Widget):                                       # doubler.py
        number = Int(1).tag(sync=True)                           # a control; Python and the page both hold its value
        drawn_from = ("number",)                                 # `draw` is called again when one of these changes
        def draw(self): return {"double": 2 * self.number}       # plain JSON; a ValueError is told on the page
        def halve(self, of): return of / 2                       # answers a question; a ValueError is told likewise
        answering = (halve,)                                     # all that a page can ask for

    import { ask, button, element, follow, panel, slider } from "./base.js";         // doubler.js
    function render({ model, el }) {
      const view = element("p");
      follow(model, ["drawing"], () => view.replaceChildren(`${model.get("drawing").double}`));
      const halve = button("Halve", async () => { view.textContent = await ask(model, "halve", { of: 3 }); });
      panel(el, model, "Doubler", slider(model, "number", "number", { max: 9 }), halve, view);
    }
    export default { render };

`model` needs `get`, `set`, `save_changes` and `on("change:name", fn)` and no more, so that a page without a kernel can
supply one. Questions and answers are traits too: they travel in one message with the state that they are about, so a
button never overtakes what was typed before it. Work that takes long is done in pieces, a piece a question (as the
sampler's `more`): it needs no thread beside the reader's own training, stops when the page stops asking, and ends with
the page. Text becomes text nodes only, never markup; Python makes it legible first (`lab.show.tokens.visible`).

anywidget takes one module as text, and pages opened from disk can import nothing. So `joined` puts what `x.js` imports,
`base.js` and perhaps `chart.js`, in front of it, and drops the lines that import and export between them: no address,
no build step, and each file stays a module that an editor understands. Colours and layout are in `base.css`, and in the
`.css` of each other part that has one.
"""

import re
from collections.abc import Callable
from pathlib import Path

import anywidget
from traitlets import Dict, List, Unicode

HERE = Path(__file__).parent


IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+)\.js";\n', re.MULTILINE)


def parts(name: str) -> list[str]:
    """The parts of a widget's module, each behind those that it imports: `parts("mask_explorer")[0] == "base"`."""
    imported = IMPORT.findall((HERE / f"{name}.js").read_text("utf-8"))
    return list(dict.fromkeys([*(part for one in imported for part in parts(one)), name]))


def joined(name: str) -> str:
    """The one ES module of a widget: all its parts, without what they import and export between them."""
    texts = [IMPORT.sub("", (HERE / f"{part}.js").read_text("utf-8")) for part in parts(name)]
    return re.sub(r"^export (?!default)", "", "".join(texts), flags=re.MULTILINE)


def styles(name: str) -> str:
    """The CSS of a widget: that of each part that has any."""
    paths = [HERE / f"{part}.css" for part in parts(name)]
    return "".join(path.read_text("utf-8") for path in paths if path.is_file())


class Widget(anywidget.AnyWidget):
    """Controls as traits, `draw`, which makes of them what is seen, and answers to what the page asks.

    A subclass has its JavaScript beside its own module, as the module's docstring says.
    """

    drawing = Dict(help="what is to be seen, as plain JSON").tag(sync=True)
    problem = Unicode(help="why something cannot be shown or done; stands on the page").tag(sync=True)
    questions = List(help="asked by the page, the unanswered among them").tag(sync=True)
    answers = Dict(help="to the last questions, by their ids").tag(sync=True)

    drawn_from: tuple[str, ...] = ()  # none: it is drawn when it is made, and when something calls `redraw`
    answering: tuple[Callable, ...] = ()
    _asked = False  # whether a page waits for the answer to a question

    def __init_subclass__(cls, **options) -> None:
        super().__init_subclass__(**options)
        name = cls.__module__.rpartition(".")[2]
        # anywidget makes a class of each instance, which has them already.
        if "_esm" not in vars(cls) and (HERE / f"{name}.js").is_file():
            cls._esm, cls._css = joined(name), styles(name)

    def __init__(self, **state):
        super().__init__(**state)
        if self.drawn_from:  # `observe` would take an empty list for all names
            self.observe(lambda _: self.redraw(), list(self.drawn_from))
        self.observe(lambda change: self._answer(change["new"]), "questions")
        self.redraw()

    def __repr__(self) -> str:
        return f"[{type(self).__name__}: controls that need a running notebook; a still picture stands beside it]"

    def draw(self) -> dict:
        """What is to be seen, as plain JSON. Raises ValueError where what the controls hold makes no sense."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw what the controls ask for; where that cannot be, say why, and leave what was there."""
        drawing, problem = self.drawing, ""
        try:
            drawing = self.draw()
        except ValueError as error:
            problem = str(error)
        with self.hold_sync():  # one message, so that nothing flickers
            self.drawing, self.problem = drawing, problem

    def _answer(self, questions: list[dict]) -> None:
        """Answer those that are new, `{"id": "a-1", "name": "halve", "values": {"of": 3}}`, in order."""
        answers = {one["id"]: self.answers.get(one["id"]) for one in questions}
        for one in questions:
            if answers[one["id"]] is None:
                answers[one["id"]] = [self._answer_one(one["name"], one["values"])]
        self.answers = answers

    def _answer_one(self, name: str, values: dict):
        """The answer, or None where it was refused."""
        self.problem, self._asked = "", True
        try:
            known = {answer.__name__: answer for answer in self.answering}
            if name not in known:
                raise ValueError(f"{type(self).__name__} cannot answer {name!r}: it knows {', '.join(known)}")
            return known[name](self, **values)
        except Exception as error:  # the page waits for an answer, whatever happened
            self.problem = str(error) or type(error).__name__
            if not isinstance(error, ValueError):
                self.log.exception("the question %r failed", name)
            return None
        finally:
            self._asked = False
