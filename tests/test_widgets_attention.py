"""The attention explorer and its still pictures, without a browser: what is shown is what the model gives."""

import html
import re

import pytest
import torch
from widget_toys import tiny, tokenizer

from lab.show.attention import attention_html
from lab.show.widgets import AttentionExplorer
from lab.show.widgets.attention_explorer import chosen, read

SENTENCE = "the heaven and the earth"
model = tiny(tokenizer.vocab_size, context=24, num_heads=4)


@pytest.fixture
def explorer() -> AttentionExplorer:
    return AttentionExplorer(model, tokenizer, SENTENCE)


def standing(picture: str) -> str:
    """The part of the picture that stands there when nothing is pointed at."""
    (part,) = re.findall(r"<g class='shown' pointer-events='none'>(.*?)</g></g>", picture, flags=re.DOTALL)
    return html.unescape(part)


def shares(picture: str) -> list[str]:
    """The shares written beside the bars."""
    return re.findall(r">(\d+\.\d%)<", standing(picture))


def planted() -> list[torch.Tensor]:
    """Maps in which, in layer 1, head 1, token 3 gives 0.75 to token 1; all else is even."""
    maps = [torch.full((1, 2, 5, 5), 0.2) for _ in range(2)]
    maps[1][0, 1, 3] = torch.tensor([0.05, 0.75, 0.15, 0.05, 0.0])
    return maps


def test_the_weights_shown_are_those_of_the_model(explorer):
    ids = torch.tensor([[tokenizer.bos_id, *tokenizer.encode(SENTENCE)]])
    maps = [layer.detach() for layer in model.attention_maps(ids)]
    explorer.layer.value, explorer.head.value, explorer.query.value = 1, 2, 4
    assert torch.allclose(chosen(explorer.reading, explorer.state), maps[1][0, 2])
    row = maps[1][0, 2, 4]
    drawn = sorted((f"{float(share):.1%}" for share in row if share >= 0.01), key=lambda s: float(s[:-1]))
    assert shares(explorer.view.value) == drawn
    best = int(row.argmax())
    name = tokenizer.tokens(ids[0].tolist())[best].replace(" ", "␣")
    assert f"(token 4) attends most to “{name}” ({best})" in standing(explorer.view.value)
    explorer.mean.value = True
    assert torch.allclose(chosen(explorer.reading, explorer.state), maps[1][0].mean(0))


def test_the_strongest_keys_of_a_planted_pattern_are_named():
    explorer = AttentionExplorer.from_maps(planted(), ["In", "the", "be", "gin", "\n"])
    explorer.layer.value, explorer.head.value, explorer.query.value = 1, 1, 3
    expected = "“gin” (token 3) attends most to “the” (1) 75.0%, “be” (2) 15.0%, “In” (0) 5.0%"
    heard = re.findall(r"role='img' aria-label='(.*?)'", explorer.view.value)
    assert expected in standing(explorer.view.value) and html.unescape(heard[3]) == expected
    assert shares(explorer.view.value) == ["5.0%", "5.0%", "15.0%", "75.0%"], "the widest line last"


def test_every_token_can_be_pointed_at_and_reached_by_key_and_its_text_is_escaped():
    picture = attention_html(planted()[1][0, 1], ["<script>", "a&b'\"", "\n", " x", ""], 3)
    assert picture.count("class='query' tabindex='0'") == picture.count("<g class='shown'") == 5
    assert picture.count("display='none'") == 4, "without a style sheet, too, one token's lines stand there"
    assert ".query:hover .shown" in picture and ".query:focus .shown" in picture
    assert "<script" not in picture and "http" not in picture.replace("http://www.w3.org/2000/svg", "")
    assert " id=" not in picture, "two pictures on a page cannot meet"
    for seen in ("&lt;script&gt;", "a&amp;b&#x27;&quot;", "⏎", "␣x", "∅"):
        assert f">{seen}</text>" in picture


def test_dropout_is_off_while_reading_and_on_again_after():
    model = tiny(tokenizer.vocab_size, dropout=0.5).train()
    first, second = (read(model, tokenizer, SENTENCE).maps[1] for _ in range(2))
    assert torch.equal(first, second) and model.training


@pytest.mark.parametrize(
    "maps",
    [
        [],
        [torch.full((2, 1, 3, 3), 1 / 3)],
        [torch.full((1, 4, 4), 0.25)],
        [torch.full((1, 3, 3), 1 / 3), torch.full((1, 3, 3), 1.0)],
        [torch.tensor([[[1.5, -0.5, 0], [0, 1, 0], [0, 0, 1]]])],
        [torch.full((1, 3, 3), torch.nan)],
    ],
)
def test_maps_that_are_none_are_refused(maps):
    with pytest.raises(ValueError, match=r"maps|layer"):
        AttentionExplorer.from_maps(maps, ["a", "b", "c"])
