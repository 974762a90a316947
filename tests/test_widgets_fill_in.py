"""The fill-in widget: what is hidden is guessed, what is stripped is put back, and every control does something."""

import pytest
import torch
from test_widgets_base import asked
from widget_toys import loud

from lab.chars import CharEncoder, CharEncoderConfig, guess, put_back
from lab.nn import TransformerConfig
from lab.show.widgets.fill_in import FillIn
from lab.text import CharTokenizer

LINE = "and God said, Let there be light."
TOKENIZER = CharTokenizer.train([LINE])


@pytest.fixture
def model() -> CharEncoder:
    stack = TransformerConfig(TOKENIZER.vocab_size, context=64, width=16, num_heads=2, feed_forward=32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return loud(CharEncoder(CharEncoderConfig(stack))).eval()


def test_guesses_are_the_models_with_all_holes_hidden_at_once(model):
    places = {4, 14}
    ids = torch.tensor([[TOKENIZER.bos_id, *TOKENIZER.encode(LINE), TOKENIZER.eos_id]])
    ids[0, [place + 1 for place in places]] = TOKENIZER.mask_id
    logits = model(ids).mlm[0, 1:].detach()
    logits[:, :5] = -torch.inf
    for one in guess(model, TOKENIZER, LINE, places, alternatives=3):
        share = logits[one.place].double().softmax(-1)
        assert one.truth == LINE[one.place]
        assert one.likeliest[0][0] == TOKENIZER.decode([int(share.argmax())])
        assert one.likeliest[0][1] == pytest.approx(float(share.max()), rel=1e-4)
        assert len(one.likeliest) == 3


def test_a_right_model_restores_the_line(model):
    """A head that knows each removed character from the one after it puts every one back."""

    class Knows(torch.nn.Module):
        config = model.config

        def __init__(self):
            super().__init__()
            self.anchor = torch.nn.Parameter(torch.zeros(1))

        def forward(self, ids, heads):
            said = torch.zeros(*ids.shape, TOKENIZER.vocab_size)
            said[..., TOKENIZER.pad_id] = 1.0
            comma, stop = TOKENIZER.encode(",.")
            text = ids[0].tolist()
            (capital,) = TOKENIZER.encode("L")
            said[0, text.index(capital) - 1, comma] = 9.0  # the comma stood before that space
            said[0, text.index(TOKENIZER.eos_id), stop] = 9.0
            return type("Said", (), {"restoration": said})

    without, restored = put_back(Knows(), TOKENIZER, LINE, ",.")
    assert without == LINE.replace(",", "").replace(".", "")
    assert "".join(character for character, _ in restored) == LINE
    assert [character for character, p in restored if p is not None] == [",", "."]


def test_every_control_moves_something(model):
    widget = FillIn(model, TOKENIZER, LINE)
    assert widget.hidden == [] and "".join(widget.drawing["characters"]).replace("␣", " ") == LINE
    assert widget.drawing["guesses"] == []
    widget.hidden = [4]
    (one,), (told,) = guess(model, TOKENIZER, LINE, {4}), widget.drawing["guesses"]
    assert (told["place"], told["truth"], told["right"]) == (4, "G", one.right)
    assert [p for _, p in told["likeliest"]] == [p for _, p in one.likeliest]
    asked(widget, "hide_some")
    first = widget.hidden
    assert len(set(first)) == round(0.2 * len(LINE)) and first == sorted(first)
    asked(widget, "hide_some")
    assert widget.hidden != first, "others each time"
    assert widget.drawing["stripped"] == LINE.replace(",", "").replace(".", "")
    widget.removed = "spaces"
    assert widget.drawing["stripped"] == LINE.replace(" ", "")
    _, restored = put_back(model, TOKENIZER, LINE, " ")
    assert [tuple(pair) for pair in widget.drawing["restored"]] == restored
    widget.hidden = [1, 20]
    widget.line = "light"
    assert [one["place"] for one in widget.drawing["guesses"]] == [1], "the line has no place 20 now"
    widget.line = LINE
    assert [one["place"] for one in widget.drawing["guesses"]] == [1, 20]


def test_what_cannot_be_read_is_told_and_can_be_mended(model):
    widget = FillIn(model, TOKENIZER, LINE, hide=(3,))
    before = widget.drawing
    for change in ({"line": "a" * 80}, {"line": ""}, {"removed": "vowels"}):
        widget.set_state(change)
        assert ("1 to 62 characters" in widget.problem) == ("line" in change) and widget.problem
        assert widget.drawing == before
        widget.set_state({"line": LINE, "removed": "punctuation"})
        assert not widget.problem and widget.drawing == before
    assert asked(FillIn(model, TOKENIZER, ""), "hide_some") == [None]
    with pytest.raises(ValueError, match="places"):
        guess(model, TOKENIZER, LINE, {40})
