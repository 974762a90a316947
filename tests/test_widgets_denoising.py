"""The denoising viewer, without a browser: what is asked for is written, and each stage shows what was there."""

import html

import pytest
import torch
from diffusion_toys import config_of
from widget_toys import loud, text_of, tokenizer

from lab.decode.search import Sampling
from lab.diffusion import Codebook, Denoiser, denoise
from lab.show.token_grids import read_words
from lab.show.widgets import DenoisingViewer
from lab.show.widgets.denoising import line_to_write, render, text_at

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


def shown(viewer) -> str:
    return html.unescape(text_of(viewer.view.value))


def test_the_places_to_write_are_those_of_the_text():
    the, earth = tokenizer.encode("the"), tokenizer.encode(" earth")
    assert line_to_write(tokenizer, "the_ earth*", 3) == [2, *the, -1, *earth, -1, -1, -1, 3]
    assert line_to_write(tokenizer, "__", 3) == [2, -1, -1, 3]
    with pytest.raises(ValueError, match="nothing to write: put _ into the text for one token"):
        line_to_write(tokenizer, "the earth", 3)


def test_write_does_what_the_sampler_does(viewer):
    viewer.seed.value, viewer.temperature.value, viewer.method.value = 4, 0.7, "remasking"
    viewer.button.click()
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
    assert viewer.stage.value == viewer.stage.max == 6, "it starts at the end"
    seen = set()
    for stage in range(7):
        viewer.stage.value = stage
        assert viewer.view.value == render(viewer.written, viewer.codebook, tokenizer, stage)
        words = read_words(viewer.written.cells[stage], viewer.codebook, tokenizer)
        label = f"after step {stage} of 6" if stage else "at the start"
        assert f"{label}, t = {1 - stage / 6:.2f}" in shown(viewer)
        for word in words:
            assert word in shown(viewer)
        blanks = words.count("_")
        assert text_at(viewer.written, viewer.codebook, tokenizer, stage).count("_") == blanks
        seen.add(blanks)
    assert max(seen) == 4 and min(seen) == 0
    assert text_at(viewer.written, viewer.codebook, tokenizer, 0) == "the heaven _ the _ _ _ earth"
    text = tokenizer.decode(viewer.written.ids.tolist())
    assert text_at(viewer.written, viewer.codebook, tokenizer, 6) == text.strip()


def test_uniform_noise_and_factorised_heads():
    viewer = DenoisingViewer(small(noise="uniform"), tokenizer, "the _ earth", steps=4)
    assert viewer.method.options == ("ancestral",) and "<svg" in viewer.view.value
    assert (viewer.written.cells < 3).all(), "there is no blank"
    split = small(head="factorised", granularity="cell")
    viewer = DenoisingViewer(split, tokenizer, "the _ earth", steps=4)
    unread, read = int((viewer.written.ids < 0).sum()), text_at(viewer.written, viewer.codebook, tokenizer, 4)
    assert "<svg" in viewer.view.value and read.count("_") == unread
