"""A run that hears: trained, saved, resumed to the bit, loaded with all it needs, asked from the command line."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lab import runs
from lab.cli import speech as commands
from lab.nn import TransformerConfig
from lab.speech.audio import Audio, read_audio, wav_bytes
from lab.speech.augment import SpecAugment
from lab.speech.batches import Utterance
from lab.speech.corpus import SpeechCorpus
from lab.speech.features import FeatureSpec, log_mel
from lab.speech.folders import SAMPLE_SPEC
from lab.speech.model import SpeechConfig
from lab.speech.objective import Recognition, _speech, fitting, usual_speech
from lab.speech.reading import Reading, transcribe
from lab.speech.script import SyntheticConfig
from lab.speech.text import character_alphabet
from lab.text import Corpus
from lab.train import TrainConfig

WORDS = ("one", "two", "six")
DECODER = TransformerConfig(64, context=16, width=16, num_layers=1, num_heads=2, feed_forward=24, dropout=0.1)
SIZES = SpeechConfig(DECODER, channels=2, kernel=3, reduction=2)


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


def experiment(folder, **training) -> runs.Experiment:
    config = TrainConfig(**dict(steps=8, other_lr=3e-3, warmup=2, optimizer="adamw") | training)
    objective = Recognition(script=None, frames=150, augment=SpecAugment(time_width=3), augment_after=3)
    return runs.Experiment(SIZES, objective, config, runs.Data(str(folder), "char"))


def test_a_run_is_trained_saved_and_loaded_with_all_it_needs(folder, tmp_path):
    run = runs.get_or_train(experiment(folder, evaluate_every=4), tmp_path, progress=False)
    found = runs.outcome(run)
    assert {"cer", "wer", "attention.cer", "attention.wer"} <= found.keys() and found[
        "scored.utterances"
    ] == 6
    loaded = runs.load(runs.where(run.experiment, tmp_path))
    assert loaded.model.config.features == SAMPLE_SPEC != FeatureSpec(), "the spec is that of the speech"
    speech = run.experiment.objective.material(run.experiment).speech
    torch.testing.assert_close(loaded.model.mean, torch.tensor(speech.normalizer().mean))
    assert loaded.tokenizer.to_json() == character_alphabet().to_json()
    x, lengths = speech.test[0].features[None].float(), torch.tensor([len(speech.test[0])])
    with torch.no_grad():
        assert torch.equal(loaded.model(x, lengths).encoded.memory, run.model(x, lengths).encoded.memory)
    steps = runs.steps(run)
    assert {"ctc", "attention", "validation"} <= steps[3].keys() and len(steps) == 8
    table = runs.table(tmp_path)
    assert table["cer"].item() == found["cer"] and np.isnan(table["bits_per_char"].item())
    assert runs.get_or_train(run.experiment, tmp_path, progress=False).state.step == 8, "loaded"


def test_an_interrupted_run_goes_on_to_the_bit(folder, tmp_path):
    whole = runs.get_or_train(experiment(folder), tmp_path / "whole", progress=False)
    steps = runs.training(experiment(folder), tmp_path / "parts")
    for _ in range(5):
        next(steps)
    steps.close()
    parts = runs.get_or_train(experiment(folder), tmp_path / "parts", progress=False)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(parts.model.state_dict()[name], tensor), name
    losses = [[step["loss"] for step in runs.steps(run)] for run in (whole, parts)]
    assert losses[0] == losses[1]
    assert runs.outcome(whole) == runs.outcome(parts)


@pytest.mark.parametrize("tokenizer", ["word", "bpe"])
def test_a_tokenizer_is_learned_from_the_transcripts_of_training(folder, tokenizer):
    asked = replace(experiment(folder), data=runs.Data(str(folder), tokenizer))
    asked = replace(asked, model=replace(SIZES, decoder=replace(DECODER, vocab_size=270)))
    resolved = asked.resolved()
    material = resolved.objective.material(resolved)
    assert resolved.model.vocab_size == material.tokenizer.vocab_size != 33
    assert material.tokenizer.decode(material.tokenizer.encode("one six")) == "one six"


def test_of_resolved_experiments_nothing_more_is_resolved(folder):
    whistled = Recognition(script=SyntheticConfig("digits", 4, 2, 2, speaker="whistle"))
    for asked in (experiment(folder), replace(usual_speech("digits"), objective=whistled)):
        resolved = asked.resolved()
        assert resolved.resolved() == resolved != asked
        assert resolved.objective.material(resolved).sha256 == resolved.data.sha256


def test_clauses_may_be_taken_from_a_corpus_at_hand():
    corpus = Corpus("mine", ("The king said, the king went: said he (the end).",), "all rights")
    objective = Recognition(script=SyntheticConfig("clauses", 2, 1, 1, speaker="whistle"))
    asked = runs.Experiment(SIZES, objective, TrainConfig(steps=1), runs.Data(corpus, "char"))
    material = objective.material(asked)
    assert (material.name, material.licence) == ("mine", "all rights") and len(
        material.speech.texts.train
    ) == 2


def test_what_cannot_be_learned_is_left_out_and_named():
    def one(name, frames, text):
        return Utterance(name, torch.zeros(frames, 80), text)

    train = (one("good", 40, "ab"), one("short", 8, "hello"), one("odd", 40, "a1"), one("long", 99, "a" * 20))
    corpus = SpeechCorpus("toy", FeatureSpec(), train, (one("heard", 8, "hello"), one("huge", 500, "a")))
    kept = fitting(corpus, character_alphabet(), replace(SIZES, max_frames=200, features=FeatureSpec()))
    assert [u.name for u in kept.train] == ["good"]
    assert [u.name for u in kept.validation] == ["heard"], "it may be hard, but it was said"
    assert kept.skipped == {
        "more tokens than CTC can align with the frames": ["short"],
        "unknown characters": ["odd"],
        "more than 15 tokens": ["long"],
        "longer than 200 frames": ["huge"],
    }
    with pytest.raises(ValueError, match="no utterance of toy can be learned from: 1 more tokens than CTC"):
        fitting(replace(corpus, train=train[1:2]), character_alphabet(), SIZES)


def test_a_few_of_the_shortest_may_be_learned_by_heart(folder):
    whole = experiment(folder)
    few = replace(whole, objective=replace(whole.objective, shortest=3))
    some, every = (one.objective.material(one).speech for one in (few, whole))
    assert [len(one) for one in some.train] == sorted(map(len, every.train))[:3] and len(some.validation) == 6


def test_another_folder_is_another_run(folder):
    resolved = experiment(folder).resolved()
    material = resolved.objective.material(resolved)
    assert len(material.speech.train) == 30 and material.sha256 == resolved.data.sha256
    there, gone = (folder / "test" / "text" / f"{name}.npy" for name in ("test0", "gone"))
    there.rename(gone)
    try:
        _speech.cache_clear()
        with pytest.raises(ValueError, match="sha256"):
            resolved.resolved()
    finally:
        gone.rename(there)
        _speech.cache_clear()


def test_a_sound_file_is_transcribed_from_the_command_line(folder, tmp_path, capsys):
    run = runs.get_or_train(experiment(folder), tmp_path, progress=False, name="ears")
    samples = torch.sin(torch.arange(16_000) * 0.3) * 0.5
    path, wrong = tmp_path / "tone.wav", tmp_path / "slow.wav"
    path.write_bytes(wav_bytes(Audio(samples, 16_000)))
    wrong.write_bytes(wav_bytes(Audio(samples, 8_000)))
    commands.transcribe("ears", (path,), method="both", folder=tmp_path, text=None)
    features = log_mel(read_audio(path), run.model.config.features)
    (expected,) = transcribe(run.model, run.tokenizer, [features], Reading("both"))
    assert capsys.readouterr().out.splitlines()[-1] == expected
    (tmp_path / "lines.txt").write_text("one two\nsix two\ntwo one\n" * 5)
    commands.transcribe("ears", (path, path), folder=tmp_path, text=str(tmp_path / "lines.txt"))
    assert [line[:9] for line in capsys.readouterr().out.splitlines()] == ["tone.wav:"] * 2
    with pytest.raises(SystemExit):
        commands.transcribe("ears", (wrong,), folder=tmp_path)
    assert "8" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        commands.transcribe("ears", (), folder=tmp_path)
    assert "nothing to listen to" in capsys.readouterr().err


def test_what_cannot_be_trained_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="nothing to train on"):
        experiment(tmp_path).resolved()
    asked = experiment(folder)
    material = asked.objective.material(asked)
    deaf = replace(material, speech=replace(material.speech, validation=()))
    with pytest.raises(ValueError, match="validation"):
        asked.objective.check(asked, deaf)


@pytest.mark.parametrize(
    "recipe, steps", [("digits", 700), ("easy", 6000), ("clauses", 12_000), ("folder", 6000)]
)
def test_the_usual_experiments_are_those_of_the_recipe(recipe, steps):
    usual = usual_speech(recipe, "kjv", seed=3)
    assert (usual.data.corpus, usual.seed, usual.training.steps) == ("kjv", 3, steps)
    script = usual.objective.script
    assert script is None if recipe == "folder" else script.material == recipe
    assert (usual.objective.augment is None) == (usual.objective.ctc_weight == 0.2) == (recipe == "digits")


def test_a_recipe_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="recipe"):
        usual_speech("verses")
