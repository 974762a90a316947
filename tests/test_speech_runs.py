"""A run that hears: trained, saved, resumed to the bit, loaded with all it needs, asked from the command line."""

import doctest
from dataclasses import replace

import numpy as np
import pytest
import torch

from lab import bundle, runs
from lab.cli import speech as commands
from lab.runs import Plan, recipes
from lab.runs.recipes import usual_speech
from lab.runs.spoken import spoken
from lab.speech.augment import SpecAugment
from lab.speech.batches import Utterance
from lab.speech.corpus import SpeechCorpus
from lab.speech.features import FeatureSpec, log_mel
from lab.speech.folders import SAMPLE_SPEC
from lab.speech.model import SpeechConfig
from lab.speech.recognition import Recognition, Transcribed, fitting
from lab.speech.text import character_alphabet
from lab.train import TrainConfig

WORDS = ("one", "two", "six")
SIZES = SpeechConfig(
    64, context=16, width=16, num_heads=2, feed_forward=24, channels=2, kernel=3, reduction=2
)


def picture(text: str, random: np.random.Generator) -> np.ndarray:
    """Features `(F, T)` in which each letter is a tone, four frames long."""
    x = random.normal(-60, 2, (SAMPLE_SPEC.bands, 4 * len(text) + 2)).astype(np.float32)
    for n, char in enumerate(text):
        x[3 * (ord(char) % 26), 4 * n : 4 * n + 3] = 0
    return x


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Speech as `lab.speech.folders` reads it, made of a few words."""
    root, random = tmp_path_factory.mktemp("speech"), np.random.default_rng(0)
    for part, count in (("train", 30), ("dev", 6), ("test", 3)):
        for kind in ("fbank", "text"):
            (root / part / kind).mkdir(parents=True)
        for n in range(count):
            text = " ".join(random.choice(WORDS, size=random.integers(1, 4)))
            np.save(root / part / "fbank" / f"{part}{n}.npy", picture(text, random))
            np.save(root / part / "text" / f"{part}{n}.npy", np.array(text.upper()))
    return root


def plan(folder, **training) -> Plan:
    config = TrainConfig(**dict(steps=8, other_lr=3e-3, warmup=2, optimizer="adamw") | training)
    objective = Recognition(material=None, frames=150, augment=SpecAugment(time_width=3), augment_after=3)
    return Plan(replace(SIZES, dropout=0.1), config, str(folder), "char", objective=objective)


def test_a_run_is_trained_saved_and_loaded_with_all_it_needs(folder, tmp_path):
    run = runs.get_or_train(plan(folder, evaluate_every=4), tmp_path, progress=False)
    assert run.experiment.kind == "speech" and isinstance(runs.outcome(run), Transcribed)
    loaded = bundle.load(runs.where(run.experiment, tmp_path))
    assert loaded.model.config.features == SAMPLE_SPEC != FeatureSpec(), "the spec is that of the speech"
    _, speech = spoken(run.experiment.objective, str(folder))
    torch.testing.assert_close(loaded.model.mean, torch.tensor(speech.normalizer().mean))
    assert loaded.tokenizer.to_json() == character_alphabet().to_json()
    x, lengths = speech.test[0].features[None].float(), torch.tensor([len(speech.test[0])])
    with torch.no_grad():
        assert torch.equal(loaded.model(x, lengths).heard.memory, run.model(x, lengths).heard.memory)
    steps = runs.steps(run)
    assert {"ctc", "attention", "validation"} <= steps[3].keys() and len(steps) == 8
    table = runs.table(tmp_path)
    assert table["cer"].item() == runs.outcome(run).ctc_cer and np.isnan(table["bits_per_char"].item())
    assert runs.get_or_train(run.experiment, tmp_path, progress=False).training_state.step == 8, "loaded"


def test_an_interrupted_run_goes_on_to_the_bit(folder, tmp_path):
    whole = runs.get_or_train(plan(folder), tmp_path / "whole", progress=False)
    steps = runs.training(plan(folder), tmp_path / "parts")
    for _ in range(5):
        next(steps)
    steps.close()
    parts = runs.get_or_train(plan(folder), tmp_path / "parts", progress=False)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(parts.model.state_dict()[name], tensor), name
    losses = [[step["loss"] for step in runs.steps(run)] for run in (whole, parts)]
    assert losses[0] == losses[1]
    assert runs.outcome(whole) == runs.outcome(parts)


def test_learning_shows(folder, tmp_path):
    longer = plan(folder, steps=60, other_lr=5e-3)
    run = runs.get_or_train(replace(longer, model=SIZES), tmp_path, progress=False)
    first, *_, last = (step["ctc"] for step in runs.steps(run))
    assert last < 0.6 * first


def test_what_cannot_be_learned_is_left_out_and_named():
    def one(name, frames, text):
        return Utterance(name, torch.zeros(frames, 80), text)

    train = (one("good", 40, "ab"), one("short", 8, "hello"), one("odd", 40, "a1"), one("long", 99, "a" * 20))
    corpus = SpeechCorpus("toy", FeatureSpec(), train, (one("heard", 8, "hello"), one("huge", 500, "a")))
    kept = fitting(corpus, character_alphabet(), replace(SIZES, max_frames=200, features=FeatureSpec()))
    assert [u.name for u in kept.train] == ["good"]
    assert [u.name for u in kept.validation] == ["heard"], "it may be hard, but it was said"
    assert kept.skipped == {
        "more tokens than CTC can align with the frames": ("short",),
        "unknown characters": ("odd",),
        "more than 15 tokens": ("long",),
        "longer than 200 frames": ("huge",),
    }
    with pytest.raises(ValueError, match="no utterance of toy can be learned from: 1 more tokens than CTC"):
        fitting(replace(corpus, train=train[1:2]), character_alphabet(), SIZES)


def test_a_few_of_the_shortest_may_be_learned_by_heart(folder):
    whole = plan(folder)
    prepared = runs.prepare(replace(whole, objective=replace(whole.objective, shortest=3)))
    lengths = [len(one) for one in prepared.speech.train]
    assert len(lengths) == 3 and lengths == sorted(map(len, runs.prepare(whole).speech.train))[:3]
    assert len(prepared.speech.validation) == 6 and prepared.experiment != runs.prepare(whole).experiment
    with pytest.raises(ValueError, match="shortest must be a whole number of at least 0, got -1"):
        Recognition(shortest=-1)


def test_another_folder_is_another_run(folder, tmp_path):
    corpus, speech = spoken(Recognition(material=None), str(folder))
    assert len(corpus.lines) == 39 and len(speech.train) == 30
    prepared = runs.prepare(plan(folder))
    assert prepared.experiment.data.sha256 == corpus.sha256
    (folder / "test" / "text" / "test0.npy").rename(folder / "test" / "text" / "gone.npy")
    try:
        spoken.__globals__["_spoken"].cache_clear()
        with pytest.raises(ValueError, match=r"has sha256 .* the experiment's has"):
            runs.prepare(prepared.experiment)
    finally:
        (folder / "test" / "text" / "gone.npy").rename(folder / "test" / "text" / "test0.npy")
        spoken.__globals__["_spoken"].cache_clear()


def test_a_sound_file_is_transcribed_from_the_command_line(folder, tmp_path, capsys):
    from lab.speech.audio import Audio, read_audio, write_wav
    from lab.speech.transcribe import Reading, transcribe

    run = runs.get_or_train(plan(folder), tmp_path, progress=False, name="ears")
    samples = torch.sin(torch.arange(16_000) * 0.3) * 0.5
    path = write_wav(tmp_path / "tone.wav", Audio(samples, 16_000))
    commands.transcribe("ears", (path,), method="both", folder=tmp_path, text=None)
    features = log_mel(read_audio(path), run.model.config.features)
    (expected,) = transcribe(run.model, run.tokenizer, [features], Reading("both"))
    assert capsys.readouterr().out.splitlines()[-1] == expected
    (tmp_path / "lines.txt").write_text("one two\nsix two\ntwo one\n" * 5)
    commands.transcribe("ears", (path, path), folder=tmp_path, text=str(tmp_path / "lines.txt"))
    assert [line[:9] for line in capsys.readouterr().out.splitlines()] == ["tone.wav:"] * 2
    wrong = write_wav(tmp_path / "slow.wav", Audio(samples, 8_000))
    with pytest.raises(SystemExit):
        commands.transcribe("ears", (wrong,), folder=tmp_path)
    assert "8" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        commands.transcribe("ears", (), folder=tmp_path)
    assert "nothing to listen to" in capsys.readouterr().err


def test_bad_plans_are_refused(folder, tmp_path):
    with pytest.raises(
        ValueError, match="a SpeechConfig and a Recognition go together, got SpeechConfig and NextToken"
    ):
        runs.prepare(replace(plan(folder), objective=bundle.NextToken()))
    with pytest.raises(ValueError, match="has nothing to train on"):
        runs.prepare(plan(tmp_path))


def test_the_usual_plans_are_those_of_the_recipe():
    for material, steps in (("digits", 700), ("easy", 6000), ("clauses", 12_000)):
        usual = usual_speech(material, "kjv", seed=3)
        assert usual.objective.material.material == material and usual.training.steps == steps
        assert (usual.model.kernel, usual.training.optimizer) == (15, "muon")
        assert usual.objective.ctc_weight == (0.2 if material == "digits" else 0.4)
        assert (usual.objective.augment is None) == (material == "digits")
        assert (usual.corpus, usual.seed) == ("kjv", 3)
    assert len(usual.objective.material.accents) == 4
    recorded = usual_speech("folder", "a/folder")
    assert recorded.objective.material is None and recorded.corpus == "a/folder"
    with pytest.raises(ValueError, match="digits, easy, clauses, folder; got 'verses'"):
        usual_speech("verses")
    assert doctest.testmod(recipes).failed == 0
