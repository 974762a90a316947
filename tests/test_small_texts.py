"""Every objective on texts of which there is little: it trains, or says what the text lacks before the first step."""

from dataclasses import replace

import pytest
from run_toys import quiet

from lab import runs
from lab.chars import CharacterScores, CharEncoderConfig
from lab.diffusion import VisualDiffusionConfig
from lab.nn import TransformerConfig
from lab.runs import Experiment
from lab.text import Corpus

TEXTS = {
    "three short lines": ["ab c.", "b, ca", "cab"],
    "three letters": ["a", "b", "c"],
    "a letter a line": [chr(97 + i) for i in range(26)],
    "one letter": ["a" * n for n in range(1, 9)],
    "punctuation": [".", "..", "...", "!?", "?!!"],
    "Chinese": [
        "天地玄黃宇宙洪荒",
        "日月盈昃辰宿列張",
        "寒來暑往秋收冬藏",
        "閏餘成歲律呂調陽",
        "雲騰致雨露結為霜",
    ],
}
STACK = TransformerConfig(300, context=8, width=8, num_layers=1, num_heads=2, feed_forward=8)
MODELS = {
    "next-token": replace(STACK, context=4),
    "characters": CharEncoderConfig(replace(STACK, context=64), decoder_layers=1, latents=4, latent_width=2),
    "reconstruction": VisualDiffusionConfig(replace(STACK, context=32)),
    "diffusion": VisualDiffusionConfig(replace(STACK, context=32)),
}
LACKS = {("next-token", "three letters"): "need 5 ids, the text has 3"}  # the line that is left for training


@pytest.mark.filterwarnings("ignore:training stopped", "ignore:restoration is left out")
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("objective", MODELS)
def test_it_trains_or_says_what_the_text_lacks(objective, text, tmp_path):
    usual = Experiment.usual(objective)
    training = replace(usual.training, steps=2, warmup=1, evaluate_every=1)
    data = replace(usual.data, corpus=Corpus(text, TEXTS[text]), batch_size=8)
    experiment = replace(usual, model=MODELS[objective], training=training, data=data)
    if lacks := LACKS.get((objective, text)):
        with pytest.raises(ValueError, match=lacks):
            quiet(experiment, tmp_path)
        assert not list(tmp_path.glob("*/step-*"))
        return
    run = quiet(experiment, tmp_path)
    assert run.state.step == 2 and runs.table(tmp_path)["state"].tolist() == ["done"]
    assert str(runs.load(runs.run_folders(tmp_path)[0]).experiment.data.corpus) == text


@pytest.mark.parametrize("objective", ["characters", "reconstruction"])
def test_it_learns_as_much_in_bfloat16(objective):
    usual = Experiment.usual(objective)
    data = replace(usual.data, corpus=Corpus("letters", TEXTS["a letter a line"]), batch_size=8)
    asked = [
        replace(usual, model=MODELS[objective], data=data, training=replace(usual.training, precision=kind))
        for kind in ("float32", "bfloat16")
    ]
    exact, coarse = (runs.first_losses(one, 4) for one in asked)
    assert coarse == pytest.approx(exact, rel=0.03)


def test_restoration_is_left_out_where_there_is_nothing_to_restore(tmp_path):
    usual = Experiment.usual("characters")
    data = replace(usual.data, corpus=Corpus("Chinese", TEXTS["Chinese"]), batch_size=4)
    experiment = replace(
        usual, model=MODELS["characters"], training=replace(usual.training, steps=2), data=data
    )
    with pytest.warns(UserWarning, match="restoration is left out: the text 'Chinese' has none of"):
        run = quiet(experiment, tmp_path)
    assert {"mlm", "clm", "reconstruction"} <= runs.steps(run)[-1].keys() - {"restoration"}
    assert "restoration" not in runs.steps(run)[-1]
    scores = CharacterScores.from_outcome(runs.outcome(run))
    assert scores.restoration == () and "restoration" not in str(scores)
    both = replace(experiment, objective=replace(usual.objective, removed=("#", "天地")))
    assert "restoration" in runs.steps(quiet(both, tmp_path))[-1], "of two sets one is known"
