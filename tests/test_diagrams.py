"""Diagrams: what they say is true, they are drawn the same each time, and their text fits and can be read."""

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from diagram_toys import laid_out, taken

from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.show.colours import TINTS, surprise_colour
from lab.show.diagrams import SKY, bpe, count_parameters, figures, text_to_verse, write_figures
from lab.show.diagrams.bpe import merge_tree
from lab.show.diagrams.palette import INK, NOTE, PALETTE, PAPER, SHEET, contrast
from lab.show.diagrams.render import quoted, to_svg
from lab.show.diagrams.sketch import SVG, labels, sketch
from lab.text import BPETokenizer

FIGURES = Path(__file__).parents[1] / "figures"
CONFIG = TransformerConfig(vocab_size=321, context=40, width=48, num_layers=3, num_heads=4, feed_forward=100)
TWO_NODES = (
    'digraph { label="a title"; a [class=data label="a\\nnote"]; b [shape=box]; a -> b [label="(B, T)"] }'
)


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    return BPETokenizer.train([*SKY, "banana bananas", "a café, cafés: é"], vocab_size=290)


def test_a_sketch_is_the_same_for_the_same_seed_and_can_be_read_aloud():
    svg = to_svg(TWO_NODES)
    assert svg == to_svg(TWO_NODES) and "<!--" not in svg, "the same bytes, without a version"
    assert sketch(svg, "two", seed=1) == sketch(svg, "two", seed=1) != sketch(svg, "two", seed=2)
    drawn = ElementTree.fromstring(sketch(svg, "a leads to b <again>"))
    title, desc, paper = list(drawn)[:3]
    assert (title.text, desc.text) == ("a title", "a leads to b <again>")
    assert drawn.get("role") == "img"
    assert drawn.get("aria-labelledby").split() == [title.get("id"), desc.get("id")]
    assert paper.get("fill") == PAPER and paper.get("fill-opacity") is None
    words = 'say "<&amp;>" \\n and \\ é ␣'
    assert labels(sketch(to_svg(f'digraph {{ a [label="{quoted(words)}"] }}'), "")) == [words]
    assert labels(ElementTree.tostring(drawn, encoding="unicode")) == [
        "a title", "a", "note", "b", "(B, T)", PALETTE["data"].meaning
    ]  # fmt: skip


def test_text_stands_out_on_every_fill():
    grounds = [fill for look in PALETTE.values() for fill in (PAPER, SHEET, look.fill, look.hatch) if fill]
    assert min(contrast(ink, ground) for ink in (INK, NOTE) for ground in grounds) >= 4.5
    assert min(contrast(look.line, PAPER) for look in PALETTE.values()) >= 3  # WCAG 1.4.11: what is not text
    tokens = *TINTS, *map(surprise_colour, (0, 1e-9, 0.01, 0.3, 1))
    assert min(contrast(INK, colour) for colour in tokens) > 4.5
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)  # WebAIM's well-known grey


@pytest.mark.parametrize("name", ["text_to_verse", "bpe", "run", "speech"])
def test_text_fits_its_box_in_a_wide_font(name):
    taken(laid_out(figures()[name])[0])


def test_parameters_shown_are_those_of_the_model():
    model = DecoderOnlyTransformer(CONFIG)
    said = labels(text_to_verse(CONFIG, count_parameters(model)))
    shown = [int(n.replace(",", "")) for n in re.findall(r"([\d,]+) parameters", "\n".join(said))]
    total, output, last_norm, *block, embedding = shown
    assert total == model.num_parameters == sum(count_parameters(model).values())
    assert output + last_norm + CONFIG.num_layers * sum(block) + embedding == total
    assert len(block) == 4 and "blocks, × 3" in said


@pytest.mark.parametrize("word", [" heaven", " bananas", " café", "zq", " ☃"])
def test_picture_of_a_word_ends_in_its_ids(tokenizer, word):
    svg = bpe(tokenizer, word, text=f"so {word.strip()}" if word.startswith(" ") else word)
    texts = list(ElementTree.fromstring(svg).iter(f"{SVG}text"))
    said = [text.text for text in texts]
    ids = [(float(text.get("x")), int(text.text)) for text, below in pairwise(texts) if below.text == "id"]
    assert [i for _, i in sorted(ids)] == tokenizer.encode(word)  # read from the left
    merges = [text for text in said if re.fullmatch(r"merge \d+", text)]
    assert len(merges) == len(merge_tree(tokenizer, word)) - 1
    assert f"{len(tokenizer.merges)} pairs" in said
    for byte in word.encode():
        assert f"{byte:02x}" in said


def test_what_cannot_be_drawn_is_refused(tokenizer):
    parts = count_parameters(DecoderOnlyTransformer(CONFIG)) | {"gate": 3}
    for call, named in [
        (lambda: to_svg("digraph { a -> "), "digraph"),
        (lambda: text_to_verse(CONFIG, parts), "gate"),
        (lambda: bpe(tokenizer, " heaven", text="hell"), "heaven"),
    ]:
        with pytest.raises(ValueError, match=named):
            call()


def test_figures_are_drawn_the_same_each_time_and_whole(tmp_path):
    paths = write_figures(tmp_path)
    assert [path.stem for path in paths] == list(figures()) and sorted(tmp_path.iterdir()) == sorted(paths)
    assert all(path.read_text(encoding="utf-8") == figures()[path.stem]() for path in paths)


@pytest.mark.parametrize("name", figures())
def test_committed_figure_is_up_to_date(name):
    """The texts are compared: positions follow the fonts of the machine that drew it."""
    committed = (FIGURES / f"{name}.svg").read_text(encoding="utf-8")
    assert labels(committed) == labels(figures()[name]()), "run `make figures`"
