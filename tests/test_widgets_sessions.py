"""What the sampler writes, as files; and runs that it lets write, one or several side by side."""

import json
import shutil

import pytest
from test_widgets_sampler import new_sampler, press, seen, tokens
from widget_toys import model, tokenizer

from lab import runs
from lab.nn.recurrent import RecurrentConfig
from lab.nn.transformer import TransformerConfig
from lab.runs import Data, Experiment
from lab.show.widgets import Sampler
from lab.show.widgets.sampler import draw
from lab.show.widgets.voices import GIVEN, Voices
from lab.train import TrainConfig


@pytest.fixture
def sampler() -> Sampler:
    return new_sampler()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs: a decoder and a recurrent model."""
    base = tmp_path_factory.mktemp("runs")
    text = base / "text.txt"
    text.write_text("".join(f"line {n} of text\n" for n in range(40)))
    training = TrainConfig(steps=2, warmup=1, other_lr=0.1)
    decoder = TransformerConfig(40, context=16, width=8, num_layers=1, num_heads=2, feed_forward=8)
    recurrent = RecurrentConfig(40, context=16, width=8, num_layers=1, cell="gru")
    for name, config in {"decoder": decoder, "gru": recurrent}.items():
        plan = Experiment(config, training=training, data=Data(str(text), "char", batch_size=4))
        runs.get_or_train(plan, base / "runs", name=name, progress=False, say=lambda _: None)
    return base / "runs"


def test_a_session_is_saved_and_goes_on_as_it_would_have(sampler, tmp_path):
    sampler.path = str(tmp_path / "deep" / "s.json")
    press(sampler, "generate")
    sampler.token = 3
    press(sampler, "choose", voice=GIVEN, place=2, token=sampler.drawing["chosen"]["others"][0][0])
    press(sampler, "save_as_named")
    assert list(tmp_path.rglob("*.*")) == [tmp_path / "deep" / "s.json"]
    other = Sampler(model, tokenizer)
    other.path = sampler.path
    press(other, "load")
    assert not other.problem and other.settings == sampler.settings
    for name in ("drawn", "by_hand", "text"):
        assert getattr(other.drafts[GIVEN], name) == getattr(sampler.drafts[GIVEN], name)
    assert seen(other) == seen(sampler)
    for one in (sampler, other):
        press(one, "go_on")
    assert tokens(other) == tokens(sampler) and len(tokens(other)) == 3 + 25 + 25


def test_a_file_that_is_no_session_changes_nothing(sampler, tmp_path):
    press(sampler, "generate")
    before, path = list(tokens(sampler)), tmp_path / "s.json"
    good = json.loads(sampler.save(path).read_text())

    def damaged(**text) -> dict:
        return good | {"texts": [good["texts"][0] | text]}

    bad = {
        "expected a lab-sampler-session": [],
        "version 9": good | {"version": 9},
        "more": good | {"more": 1},
        "another tokenizer": damaged(tokenizer="0"),
        "holds tokens [9999]": damaged(drawn=[{"token": 9999, "log_probability": -1.0}]),
        "but choices at": damaged(by_hand=[99]),
        "random state": damaged(random_state="AAAA"),
        "there is no model": damaged(name="gone"),
    }
    sampler.path = str(path)
    for message, written in [*bad.items(), ("cannot be read", None)]:
        path.write_text("{" if written is None else json.dumps(written))
        press(sampler, "load")
        assert message in sampler.problem, sampler.problem
        assert tokens(sampler) == before
    sampler.path = str(tmp_path / "none.json")
    press(sampler, "load")
    assert "none.json cannot be read" in sampler.problem


def test_runs_are_chosen_and_write_side_by_side(folder):
    sampler = Sampler(runs=folder, prompt="line ", seed=1)
    sampler.length = 12
    assert sampler.drawing["names"] == ["decoder", "gru"] and sampler.models == ["decoder"]
    assert "gru" not in sampler.voices.drafts, "a run is loaded when it is chosen"
    sampler.models = ["decoder", "gru"]
    press(sampler, "generate")
    assert len(sampler.texts) == 2 and all(len(seen(sampler, name)) for name in ("decoder", "gru"))
    loaded = runs.open_runs(folder)
    for name, run in loaded.items():
        expected = [step.token for step in draw(run.model, run.tokenizer, sampler.settings)]
        assert tokens(sampler, name) == expected
        assert any(bars["heading"].startswith(f"{name}. Next token") for bars in sampler.drawing["next"])
    decoder = list(tokens(sampler, "decoder"))
    sampler.voice, sampler.token = "gru", 1
    assert sampler.drawing["heads"] == ["off"], "a recurrent model has no attention"
    press(sampler, "choose", voice="gru", place=0, token=sampler.drawing["chosen"]["others"][0][0])
    assert tokens(sampler, "decoder") == decoder and sampler.drafts["gru"].by_hand == {0}
    sampler.models = []
    press(sampler, "generate")
    assert "choose a model first" in sampler.problem and sampler.texts == []


def test_runs_that_cannot_write_are_told_in_place(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "copy")
    (copied / "gru" / "step-00000002" / "model.safetensors").write_bytes(b"rubbish")
    sampler = Sampler(runs=copied)
    sampler.models = ["gru"]
    assert "gru" in sampler.problem
    sampler.models = ["decoder"]
    press(sampler, "generate")
    assert sampler.problem == "" and tokens(sampler, "decoder")
    assert "no runs in" in Sampler(runs=tmp_path / "none").problem
    with pytest.raises(ValueError, match="there is no model 'x' here; there are: decoder, gru"):
        Voices(None, None, folder).draft("x")
