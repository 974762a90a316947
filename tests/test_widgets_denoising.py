"""The denoising viewer, without a browser: what is asked for is written, and each stage shows what was there."""

import pytest
import torch
from diffusion_toys import config_of
from widget_toys import loud, tokenizer

from lab.decode.search import Sampling
from lab.diffusion import Codebook, Denoiser, denoise
from lab.show.token_grids import cells_text, read_words
from lab.show.widgets import DenoisingViewer
from lab.show.widgets.denoising import line_to_write, text_at

TEXT = "the heaven _ the * earth"
SIZES = {"context": 24, "width": 16, "num_layers": 1, "num_heads": 2, "feed_forward": 16}


def small(**settings) -> Denoiser:
    torch.manual_seed(0)
    book = Codebook.linear(tokenizer.vocab_size)
    cells = {"grid": book.grid, "num_colours": book.num_colours}
    return loud(Denoiser(config_of(tokenizer.vocab_size, **(SIZES | cells | settings)), book))


model = small()


@pytest.fixture
def viewer() -> DenoisingViewer:
    return DenoisingViewer(model, tokenizer, TEXT, gap=3, steps=6)


def test_the_places_to_write_are_those_of_the_text():
    the, earth = tokenizer.encode("the"), tokenizer.encode(" earth")
    assert line_to_write(tokenizer, "the _ earth *", 3) == [2, *the, -1, *earth, -1, -1, -1, 3]
    assert line_to_write(tokenizer, "__", 3) == [2, -1, -1, 3]
    with pytest.raises(ValueError, match="nothing to write: put _ into the text for one token"):
        line_to_write(tokenizer, "the earth", 3)


def test_write_does_what_the_sampler_does(viewer):
    before = viewer.drawing
    viewer.seed, viewer.temperature, viewer.method, viewer.stage = 4, 0.7, "remasking", 2
    assert viewer.drawing == before, "nothing is written before the button is pressed"
    viewer.write_anew()
    assert viewer.stage == 6, "it is looked at from its end"
    line = line_to_write(tokenizer, "the heaven_ the* earth", 3)
    made = denoise(
        model, torch.tensor(line), steps=6, method="remasking", sampling=Sampling(0.7),
        generator=torch.Generator().manual_seed(4),
    )  # fmt: skip
    assert torch.equal(viewer.written.cells, made.cells[:, 0])
    assert torch.equal(viewer.written.ids, made.ids[0])
    assert viewer.written.given == tuple(i >= 0 for i in line) and viewer.written.times == made.times
    given = torch.tensor(line) >= 0
    assert torch.equal(viewer.written.ids[given], torch.tensor(line)[given]), "what is given stays"


def test_each_stage_shows_its_grids_and_their_text(viewer):
    assert viewer.stage == 6 and len(viewer.drawing["stages"]) == 7, "it starts at the end"
    assert viewer.drawing["given"] == list(viewer.written.given)
    blanks = []
    for number, stage in enumerate(viewer.drawing["stages"]):
        cells = viewer.written.cells[number]
        assert stage["cells"] == cells_text(cells, viewer.codebook)
        assert stage["words"] == read_words(cells, viewer.codebook, tokenizer)
        label = f"after step {number} of 6" if number else "at the start"
        assert stage["label"] == f"{label}, t = {1 - number / 6:.2f}"
        blanks.append(stage["words"].count("_"))
        assert text_at(viewer.written, viewer.codebook, tokenizer, number).count("_") == blanks[-1]
    assert blanks[0] == 4 and blanks[-1] == 0 and blanks == sorted(blanks, reverse=True)
    assert viewer.drawing["stages"][0]["text"] == "the heaven _ the _ _ _ earth"
    text = tokenizer.decode(viewer.written.ids.tolist())
    assert text_at(viewer.written, viewer.codebook, tokenizer, 6) == text.strip()


@pytest.mark.parametrize("moved", [
    {"text": "the * was _"}, {"gap": 7}, {"steps": 3}, {"method": "confidence"}, {"temperature": 0.1}, {"seed": 9},
])  # fmt: skip
def test_every_control_changes_what_is_written(viewer, moved):
    before = viewer.drawing
    viewer.set_state(moved | {"questions": [{"id": "a", "name": "write_anew", "values": {}}]})
    assert viewer.drawing != before and not viewer.problem


@pytest.mark.parametrize(
    ("moved", "message"),
    [
        ({"text": "the earth"}, "there is nothing to write"),
        ({"text": "the \ud800 _"}, "surrogate"),
        ({"gap": 24}, "24 fit in the context of the model"),
        ({"method": "guessing"}, "guessing"),
    ],
)
def test_what_cannot_be_written_is_told_and_leaves_all_as_it_was(viewer, moved, message):
    before = viewer.drawing
    viewer.stage = 3
    viewer.set_state(moved)
    viewer.write_anew()
    assert message in viewer.problem and (viewer.drawing, viewer.stage) == (before, 3)
    viewer.set_state({"text": TEXT, "gap": 3, "method": "ancestral"})
    viewer.write_anew()
    assert not viewer.problem and viewer.drawing == before


def test_uniform_noise_and_factorised_heads():
    viewer = DenoisingViewer(small(noise="uniform"), tokenizer, "the _ earth", steps=4)
    assert viewer.drawing["methods"] == ["ancestral"]
    assert not any("." in cells for stage in viewer.drawing["stages"] for cells in stage["cells"]), "no blank"
    split = small(head="factorised", granularity="cell")
    viewer = DenoisingViewer(split, tokenizer, "the _ earth", steps=4)
    unread = int((viewer.written.ids < 0).sum())
    assert viewer.drawing["stages"][4]["text"].count("_") == unread
