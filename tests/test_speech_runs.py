"""A run that hears: trained, saved, resumed to the bit, loaded with all it needs, asked from the command line."""

from dataclasses import replace
from itertools import permutations

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
from lab.speech.ctc_beam import NGramScorer
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


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    return runs.get_or_train(experiment(folder, evaluate_every=4), place, progress=False, name="ears"), place


def test_a_run_is_trained_saved_and_loaded_with_all_it_needs(trained):
    run, place = trained
    loaded, found, steps = runs.load(runs.find("ears", place)), runs.outcome(run), runs.steps(run)
    assert {"cer", "wer", "attention.cer", "attention.wer"} <= found.keys()
    assert found["scored.utterances"] == 6 and runs.table(place)["cer"].item() == found["cer"]
    assert {"ctc", "attention", "validation"} <= steps[3].keys() and len(steps) == 8
    assert loaded.model.config.features == SAMPLE_SPEC != FeatureSpec(), "the spec is that of the speech"
    assert loaded.tokenizer.to_json() == character_alphabet().to_json()
    speech = run.experiment.objective.material(run.experiment).speech
    torch.testing.assert_close(loaded.model.mean, torch.tensor(speech.normalizer().mean))
    x, lengths = speech.test[0].features[None].float(), torch.tensor([len(speech.test[0])])
    with torch.no_grad():
        assert torch.equal(loaded.model(x, lengths).encoded.memory, run.model(x, lengths).encoded.memory)


@pytest.mark.filterwarnings("error:Mismatch dtype")
def test_it_learns_as_much_in_bfloat16(folder):
    exact, coarse = (
        runs.first_losses(experiment(folder, precision=kind), 4) for kind in ("float32", "bfloat16")
    )
    assert coarse == pytest.approx(exact, rel=0.03)


def test_an_interrupted_run_goes_on_to_the_bit(folder, trained, tmp_path):
    whole, asked = trained[0], experiment(folder, evaluate_every=4)
    steps = runs.training(asked, tmp_path)
    for _ in range(5):
        next(steps)
    steps.close()
    parts = runs.get_or_train(asked, tmp_path, progress=False)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(parts.model.state_dict()[name], tensor), name
    losses = [[step["loss"] for step in runs.steps(run)] for run in (whole, parts)]
    assert losses[0] == losses[1] and runs.outcome(whole) == runs.outcome(parts)


def test_a_tokenizer_is_learned_from_the_transcripts_of_training(folder):
    model = replace(SIZES, decoder=replace(DECODER, vocab_size=270))
    resolved = replace(experiment(folder), data=runs.Data(str(folder), "bpe"), model=model).resolved()
    material = resolved.objective.material(resolved)
    assert resolved.model.vocab_size == material.tokenizer.vocab_size != 33
    assert material.tokenizer.decode(material.tokenizer.encode("one six")) == "one six"


def test_clauses_of_a_corpus_at_hand_are_resolved_once():
    corpus = Corpus("mine", ("The king said, the king went: said he (the end).",), "all rights")
    objective = Recognition(script=SyntheticConfig("clauses", 2, 1, 1, speaker="whistle"))
    asked = runs.Experiment(SIZES, objective, TrainConfig(steps=1), runs.Data(corpus, "char"))
    resolved, material = asked.resolved(), objective.material(asked)
    assert resolved.resolved() == resolved != asked and material.sha256 == resolved.data.sha256
    assert (material.name, material.licence) == ("mine", "all rights")
    assert len(material.speech.texts.train) == 2


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


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda folder: experiment(folder / "train").resolved(), "nothing to train on"),
        (lambda folder: unheard(experiment(folder), validation=()), "validation"),
        (lambda folder: fitting(SpeechCorpus("toy", SAMPLE_SPEC, ()), character_alphabet(), SIZES), "toy"),
        (lambda folder: usual_speech("verses"), "recipe"),
    ],
)
def test_what_cannot_be_trained_is_refused(folder, call, named):
    with pytest.raises(ValueError, match=named):
        call(folder)


def unheard(asked, **parts):
    material = asked.objective.material(asked)
    asked.objective.check(asked, replace(material, speech=replace(material.speech, **parts)))


def test_a_few_of_the_shortest_may_be_learned_by_heart(folder):
    whole = experiment(folder)
    few = replace(whole, objective=replace(whole.objective, shortest=3))
    some, every = (one.objective.material(one).speech for one in (few, whole))
    assert [len(one) for one in some.train] == sorted(map(len, every.train))[:3] and len(some.validation) == 6


def test_another_folder_is_another_run(folder):
    resolved = experiment(folder).resolved()
    assert resolved.resolved() == resolved and resolved.data.sha256
    there, gone = (folder / "test" / "text" / f"{name}.npy" for name in ("test0", "gone"))
    there.rename(gone)
    try:
        _speech.cache_clear()
        with pytest.raises(ValueError, match="sha256"):
            resolved.resolved()
    finally:
        gone.rename(there)
        _speech.cache_clear()


def test_a_subset_is_of_what_is_for_training_and_another_run(folder):
    whole = experiment(folder)
    half, other = (replace(whole, data=replace(whole.data, subset=0.5, split_seed=seed)) for seed in (0, 1))
    names = lambda one: [u.name for u in one.objective.material(one).speech.train]  # noqa: E731
    assert len(names(half)) == 15 and set(names(half)) < set(names(whole)) and names(half) != names(other)
    speech = half.objective.material(half).speech
    assert (len(speech.validation), len(speech.test)) == (
        6,
        3,
    ) and half.resolved().resolved() == half.resolved()
    digits = Recognition(script=SyntheticConfig("digits", 8, 1, 1, speaker="whistle"))
    long = replace(SIZES, decoder=replace(DECODER, context=64))
    said = replace(whole, objective=digits, data=runs.Data("auto", "char", subset=0.25), model=long)
    assert len(digits.material(said).speech.train) == 2 and len(digits.material(said).speech.test) == 1


def test_features_without_transcripts_are_transcribed_to_a_table(folder, trained, tmp_path, capsys):
    run, place = trained
    (tmp_path / "fbank").mkdir()
    for n in (1, 0, 2):
        (tmp_path / "fbank" / f"{n}.npy").write_bytes(
            (folder / "test" / "fbank" / f"test{n}.npy").read_bytes()
        )
    (tmp_path / "fbank" / "._0.npy").write_bytes(b"\0\5")
    commands.transcribe("ears", (tmp_path,), "ctc", folder=place, csv=tmp_path / "said.csv", capitals=True)
    printed = capsys.readouterr().out.splitlines()
    speech = run.experiment.objective.material(run.experiment).speech
    texts = transcribe(run.model, run.tokenizer, [one.features for one in speech.test], Reading("ctc"))
    rows = (tmp_path / "said.csv").read_text().splitlines()
    assert [row.strip('"') for row in rows] == [
        "id,transcription",
        *(f"{n},{t.upper()}" for n, t in enumerate(texts)),
    ]
    assert printed == [f"{n}.npy: {text.upper()}" for n, text in enumerate(texts)]
    np.save(tmp_path / "fbank" / "3.npy", np.zeros((5, 80), np.float32))
    for wrong, named in ((tmp_path, "3.npy must hold"), (tmp_path / "empty", "nothing to listen to")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(SystemExit):
            commands.transcribe("ears", (wrong,), folder=place, csv=tmp_path / "none.csv")
        assert named in capsys.readouterr().err and not (tmp_path / "none.csv").exists()


def test_a_language_model_of_a_corpus_in_parts_has_read_what_is_for_training_only(tmp_path):
    for part, line in (("train", "ab ab ab"), ("dev", "zz zz zz"), ("test", "qq qq qq")):
        (tmp_path / part / "text").mkdir(parents=True)
        np.save(tmp_path / part / "text" / "1.npy", np.array(line.upper()))
    scorer = NGramScorer.of_corpus(str(tmp_path), character_alphabet())
    assert {chr(kind) for kind in scorer.model.kinds} == {"a", "b", " ", "\n"}


def test_a_sound_file_is_transcribed_from_the_command_line(trained, tmp_path, capsys):
    run, place = trained
    samples = torch.sin(torch.arange(16_000) * 0.3) * 0.5
    path, wrong = tmp_path / "tone.wav", tmp_path / "slow.wav"
    path.write_bytes(wav_bytes(Audio(samples, 16_000)))
    wrong.write_bytes(wav_bytes(Audio(samples, 8_000)))
    commands.transcribe("ears", (path,), method="both", folder=place, text=None)
    features = log_mel(read_audio(path), run.model.config.features)
    (expected,) = transcribe(run.model, run.tokenizer, [features], Reading("both"))
    assert capsys.readouterr().out.splitlines()[-1] == expected
    (tmp_path / "lines.txt").write_text("one two\nsix two\ntwo one\n" * 5)
    red = path.rename(tmp_path / "\u202etone.wav")
    commands.transcribe("ears", (red, red), folder=place, text=str(tmp_path / "lines.txt"))
    assert [line[:15] for line in capsys.readouterr().out.splitlines()] == [r"\u202etone.wav:"] * 2
    (tmp_path / "empty.wav").write_bytes(b"")
    long = tmp_path / "long.wav"
    long.write_bytes(wav_bytes(Audio(samples.repeat(90), 16_000)))
    cases = {
        (wrong,): "slow.wav has 8,000", (): "nothing to listen to", (tmp_path,): str(tmp_path), (long,): "max_frames",
        **{(tmp_path / name,): name for name in ("missing.wav", "lines.txt", "empty.wav")},
    }  # fmt: skip
    for files, named in cases.items():
        with pytest.raises(SystemExit) as refused:
            commands.transcribe("ears", files, folder=place)
        said = capsys.readouterr()
        assert refused.value.code == 2 and named in said.err and not said.out


def test_a_recogniser_goes_on_from_one_that_was_trained(folder, trained):
    first, place = trained
    asked = replace(experiment(folder), model=None, start="ears", seed=5)
    run = runs.get_or_train(asked, place, progress=False, name="later")
    assert run.metrics[0]["before"] == runs.outcome(first) and run.model.config == first.model.config
    wider = replace(asked, model=replace(SIZES, channels=3))
    with pytest.raises(ValueError, match="channels: 2 -> 3"):
        runs.get_or_train(wider, place, progress=False)


def test_a_decoder_that_begins_as_a_language_model_writes_like_it_until_it_listens(folder, tmp_path):
    lines = [" ".join(words) for words in permutations((*WORDS, "five", "zero", "nine"), 3)]
    data = runs.Data(Corpus("words", lines, "none"), "char")
    sizes = replace(DECODER, dropout=0.0)
    written = runs.Experiment(sizes, training=TrainConfig(60, warmup=2), data=data)
    first = runs.get_or_train(written, tmp_path, progress=False, name="words").model.eval()
    asked = replace(experiment(folder), start="words").resolved(tmp_path)
    objective, material = asked.objective, asked.material()
    assert material.tokenizer.to_json() == runs.load(tmp_path / "words").tokenizer.to_json()
    torch.manual_seed(0)
    model = objective.build(asked.model, material)
    objective.begin(model, asked.first(), asked)
    batch = next(iter(objective.batches(asked, material)))
    with torch.no_grad():
        assert torch.equal(model.eval()(batch.features, batch.lengths, batch.ids).logits, first(batch.ids))
    run = runs.get_or_train(
        replace(asked, training=replace(asked.training, steps=2)), tmp_path, progress=False
    )
    assert run.metrics[0].keys() != {"step", "before"}, "a language model was no recogniser before"
    for changed, named in (({"feed_forward": 8}, "feed_forward: 24 -> 8"), ({"num_layers": 2}, "num_layers")):
        other = replace(asked, model=replace(SIZES, decoder=replace(DECODER, **changed)))
        with pytest.raises(ValueError, match=named):
            runs.get_or_train(other, tmp_path, progress=False)
