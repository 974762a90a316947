"""Watch a beam search grow its tree: what each step keeps, what it gives up, and which lines win at the end."""

from torch import nn
from traitlets import Float, Int, Unicode

from lab.decode import BeamSearch, BeamStep, beam_search
from lab.decode.hypotheses import Hypothesis
from lab.show.attention import label
from lab.show.beams import Node, beam_tree
from lab.show.clusters import legible
from lab.show.widgets.base import Widget
from lab.show.widgets.writing import Settings, prompt_ids

MOST_BEAMS, LONGEST = 6, 16


class BeamViewer(Widget):
    """A prompt, how many beams are kept, and a slider over the steps of the search; step 0 is the prompt alone.

    >>> BeamViewer(model, tokenizer, "And God", beams=3)  # doctest: +SKIP

    What cannot be searched is told in place.
    """

    prompt = Unicode(Settings.prompt).tag(sync=True)
    beams = Int(3, min=1).tag(sync=True)
    length = Int(6, min=1, help="of the longest lines, in tokens").tag(sync=True)
    length_penalty = Float(1.0).tag(sync=True)
    step = Int(1000, min=0, help="one behind the last shows the last").tag(sync=True)
    drawn_from = ("prompt", "beams", "length", "length_penalty")

    def __init__(self, model: nn.Module, tokenizer, prompt: str = Settings.prompt, **state):
        self.model, self.tokenizer = model, tokenizer
        super().__init__(prompt=prompt, **state)

    def search(self) -> list[BeamStep]:
        """Every step of the search that the controls ask for. Raises ValueError as `beam_search` does."""
        steps = beam_search(
            self.model,
            [prompt_ids(self.tokenizer, self.prompt)],
            BeamSearch(self.beams, self.length_penalty, num_best=self.beams),
            max_new_tokens=self.length,
            stop_id=self.tokenizer.eos_id,
            cut_prompt=True,
        )
        return [step for (step,) in steps]

    def draw(self) -> dict:
        """All candidates, and for each step what is their fate by then, and which lines have ended, the best first."""
        steps = self.search()
        upto = range(1, len(steps) + 1)
        return {
            "nodes": [self._node(node) for node in beam_tree(steps)],
            "fates": [[node.fate for node in beam_tree(steps, number)] for number in upto],
            "lines": [[self._line(line) for line in step.hypotheses] for step in steps],
            "over": [step.over for step in steps],
            "most": [max(MOST_BEAMS, self.beams), max(LONGEST, self.length)],
        }

    def _node(self, node: Node) -> dict:
        one, (text,) = node.candidate, self.tokenizer.tokens([node.candidate.token])
        place = {"step": node.step, "row": node.row, "parent": node.parent}
        return place | {"label": label(text, 10), "text": label(text, 24), "log_probability": one.log_probability,
                        "total": one.total}  # fmt: skip

    def _line(self, line: Hypothesis) -> list:
        text = legible("".join(self.tokenizer.tokens(list(line.tokens))))
        return [text, line.log_probability, len(line.tokens), line.score]
