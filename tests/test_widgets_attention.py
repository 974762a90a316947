"""The attention explorer: what is shown is what the model gives."""

import pytest
import torch
from plain_page import HOSTILE, NAMES, NASTY, PlainPage, plain_page
from widget_toys import characters, tiny, tokenizer

from lab.notebooks.stills import HOW, find_chromium
from lab.show.attention import label
from lab.show.widgets import AttentionExplorer
from lab.show.widgets.attention_explorer import read
from lab.text import CharTokenizer

SENTENCE = "the heaven and the earth"
model = tiny(tokenizer.vocab_size, context=24, num_heads=4)


@pytest.fixture
def explorer() -> AttentionExplorer:
    return AttentionExplorer(model, tokenizer, SENTENCE)


def planted() -> list[torch.Tensor]:
    """Maps in which, in layer 1, head 1, token 3 gives 0.75 to token 1; all else is even."""
    maps = [torch.full((1, 2, 5, 5), 0.2) for _ in range(2)]
    maps[1][0, 1, 3] = torch.tensor([0.05, 0.75, 0.15, 0.05, 0.0])
    return maps


def test_the_shares_are_those_of_the_model(explorer):
    for sentence in (SENTENCE, "the earth"):
        explorer.sentence = sentence
        ids = torch.tensor([[tokenizer.bos_id, *tokenizer.encode(sentence)]])
        maps = torch.cat(model.attention_maps(ids)).detach()
        assert torch.allclose(torch.tensor(explorer.drawing["maps"]) / 1e4, maps, atol=1e-4)
        assert explorer.drawing["tokens"] == [label(text, 10) for text in tokenizer.tokens(ids[0].tolist())]
        assert not explorer.drawing["notice"]
    by_letters = AttentionExplorer(tiny(characters.vocab_size), characters, "QZ a")
    assert "2 of 5 tokens" in by_letters.drawing["notice"]


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("", "type a sentence"),
        ("qx" * 20, "41 tokens with <s>, but 24 fit in the context"),
        ("\ud800", "surrogate"),
    ],
)
def test_a_sentence_that_cannot_be_read_is_told_and_the_last_one_stays(explorer, sentence, said):
    drawn = explorer.drawing
    explorer.sentence = sentence
    assert said in explorer.problem and explorer.drawing == drawn
    explorer.sentence = "form"
    assert not explorer.problem and explorer.drawing != drawn


def test_given_maps_need_no_model_and_are_shown_as_they_are():
    explorer = AttentionExplorer.from_maps(planted(), ["In", "the", "be", "gin", "\n"], layer=1, head=1)
    assert explorer.drawing["maps"][1][1][3] == [500, 7500, 1500, 500, 0]
    assert explorer.drawing["tokens"] == ["In", "the", "be", "gin", "⏎"]


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


# In a browser


@pytest.fixture(scope="module")
def browser():
    with plain_page() as opened:
        yield opened


@pytest.fixture
def page(browser) -> PlainPage:
    yield browser
    errors, browser.errors[:] = list(browser.errors), []
    assert errors == []


def shares(page: PlainPage) -> list[str]:
    """The shares written beside the bars, from the least to the most."""
    return [text for text in page.find(".lab-attention text").all_text_contents() if text.endswith("%")]


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason=HOW)
class TestInABrowser:
    def test_the_strongest_keys_of_a_planted_pattern_are_named(self, page):
        explorer = AttentionExplorer.from_maps(planted(), ["In", "the", "be", "gin", "\n"])
        page.show(explorer, 400, dark=True)
        assert page.find(".lab-sentence").count() == 0
        page.find(".lab-layer input").press("End")
        page.find(".lab-head input").press("End")
        page.find(".lab-query input").press("ArrowLeft")
        assert page.until(lambda: (explorer.layer, explorer.head, explorer.query) == (1, 1, 3))
        expected = "“gin” (token 3) attends most to “the” (1) 75.0%, “be” (2) 15.0%, “In” (0) 5.0%"
        assert expected in page.text("[role=status]")
        assert shares(page) == ["5.0%", "5.0%", "15.0%", "75.0%"], "the widest line last"
        page.find(".lab-mean input").press("Space")
        assert page.until(lambda: explorer.mean and page.find(".lab-head input").is_disabled())
        assert "“the” (1) 47.5%" in page.text("[role=status]"), "the other head is even"
        assert page.too_wide() == [] and page.unlabelled() == []

    def test_a_token_is_pointed_at_and_clicked(self, page, explorer):
        page.show(explorer)
        last = len(explorer.drawing["tokens"]) - 1
        assert len(shares(page)) == last + 1 and f"(token {last})" in page.text("[role=status]")
        page.find("g.lab-query").nth(1).hover()
        assert len(shares(page)) == 2, "it looks at itself and what was before"
        page.page.mouse.move(1, 1)
        assert len(shares(page)) == last + 1
        page.find("g.lab-query").nth(2).click()
        assert page.until(lambda: explorer.query == 2) and "(token 2)" in page.text("[role=status]")
        page.find(".lab-sentence input").fill("the earth Q")
        assert page.until(lambda: page.find("g.lab-query").count() == len(explorer.read().tokens))
        page.find(".lab-sentence input").fill("")
        assert page.until(lambda: "type a sentence" in page.text("[role=alert]"))

    @pytest.mark.parametrize("text", NASTY, ids=NAMES)
    def test_any_text_is_text_and_fits(self, page, text):
        known = CharTokenizer.train([text or "a"])
        page.show(AttentionExplorer(tiny(known.vocab_size, context=64), known, text[:40]), 400)
        words = [text[:12] or HOSTILE, HOSTILE * 9, "", "\n"]
        maps = [torch.full((1, 4, 4), 0.25)]
        assert page.too_wide() == [] and page.unlabelled() == []
        page.show(AttentionExplorer.from_maps(maps, words), 400)
        assert page.too_wide() == [] and page.find("img").count() == 0
