"""Runs that begin with the weights of another: fine-tuning, on text of one's own."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from run_toys import made_text, quiet, told, weights

from lab import runs
from lab.nn import RecurrentConfig, TransformerConfig
from lab.runs import Data, Experiment
from lab.score import score_lines
from lab.speech import SpeechConfig
from lab.train import TrainConfig, config_differences

SIZES = TransformerConfig(40, context=8, width=8, num_layers=1, num_heads=2, feed_forward=8)
TRAINING = TrainConfig(steps=30, warmup=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of runs with one, "cats", and beside it the texts of two kinds of animals."""
    place = tmp_path_factory.mktemp("starting")
    cats = made_text(place, "cats.txt", "the cat sat ran on under a mat", (3, 9), 60)
    made_text(place, "dogs.txt", "the dog dug ran on under a bed", (3, 9), 60)
    made_text(place, "goats.txt", "the goat ate ran on under 9 beds!", (3, 9), 60)
    quiet(Experiment(SIZES, training=TRAINING, data=Data(cats, "char", 4)), place, name="cats")
    return place


def on(place, text: str, start="cats", **changed) -> Experiment:
    data = Data(str(place / f"{text}.txt"), "char", batch_size=4)
    return replace(Experiment(start=start, training=TRAINING, data=data), **changed)


def test_it_goes_on_from_the_weights_the_model_and_the_tokenizer_of_the_start(place, tmp_path):
    first, asked = runs.load(place / "cats"), on(place, "dogs")
    losses = runs.first_losses(asked, 3, place)
    run = quiet(asked, place)
    assert run.experiment.model == first.experiment.model and run.experiment.start.run == "cats"
    assert run.tokenizer.to_json() == first.tokenizer.to_json()
    material = run.experiment.material()
    batch = next(run.experiment.objective.batches(run.experiment, material))
    with torch.no_grad():
        nats, count, _ = run.experiment.objective.loss(first.model, batch, None)
    assert runs.steps(run)[0]["loss"] == pytest.approx(nats.item() / count)
    assert losses == [step["loss"] for step in runs.steps(run)[:3]]
    assert told(asked, place)[0].startswith("loaded") and not torch.equal(weights(first), weights(run))


def test_what_the_start_knew_before_is_told_and_kept(place):
    first, asked = runs.load(place / "cats"), on(place, "dogs", seed=1)
    said = told(asked, place)
    run = runs.load(runs.where(asked.resolved(place), place))
    lines = run.experiment.resolved(place).material().splits.validation
    before = score_lines(first.model, first.tokenizer, lines)
    assert said[0].startswith(f"before: {before}") and said[1].startswith("trained")
    assert run.metrics[0]["before"]["bits_per_char"] == before.bits_per_char > runs.score(run).bits_per_char


def test_what_the_vocabulary_of_the_start_hides_is_told_and_paid_for(place):
    plain, odd = (told(on(place, text, seed=2), place)[0] for text in ("dogs", "goats"))
    letters = ("<unk>" in plain, "<unk>" in odd)
    assert letters == (True, True), "cats are written without d and g"
    assert "<unk>" not in told(on(place, "cats", seed=2), place)[0]
    run = quiet(on(place, "goats", seed=2), place)
    lines = run.experiment.resolved(place).material().splits.validation
    assert runs.score(run) == score_lines(run.model, run.tokenizer, lines)
    assert (
        runs.steps(run)[-1]["bits_per_char"]
        > runs.steps(quiet(on(place, "cats", seed=2), place))[-1]["bits_per_char"]
    )


def test_an_interrupted_run_goes_on_to_the_bit_also_where_it_scores_what_was_before(place, tmp_path):
    asked = on(place, "dogs", start=str(place / "cats"))
    whole = quiet(asked, tmp_path / "whole")
    list(islice(runs.training(asked, tmp_path / "parts"), 7))
    parts = quiet(asked, tmp_path / "parts")
    assert torch.equal(weights(whole), weights(parts)) and len(parts.metrics) == len(whole.metrics) == 32
    assert parts.metrics[0] == whole.metrics[0]


def test_in_a_second_stage_what_has_no_rate_stays_as_it_was(place):
    training = replace(TRAINING, rates=(("embedding.*", 0),))
    later = quiet(on(place, "dogs", training=training), place).model.state_dict()
    first = runs.load(place / "cats").model.state_dict()
    same = {name for name in first if torch.equal(first[name], later[name])}
    assert same == {name for name in first if name.startswith("embedding.")} != set()


def test_dropout_of_any_kind_may_be_another(place):
    kinds = ("dropout", "attention_dropout", "feed_forward_dropout", "layer_dropout")
    dropped = quiet(on(place, "dogs", model=replace(SIZES, **dict.fromkeys(kinds, 0.2))), place)
    assert [getattr(dropped.model.config, kind) for kind in kinds] == [0.2] * 4
    assert dropped.metrics[0] == quiet(on(place, "dogs"), place).metrics[0]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"model": replace(SIZES, width=16, tied=True)}, r"width: 8 -> 16, tied: False -> True"),
        ({"model": RecurrentConfig(40, context=8)}, "kind: TransformerConfig -> RecurrentConfig"),
        ({"data": {"tokenizer": "word"}}, "'char', got 'word'"),
        ({"data": {"corpus": "cats", "split_seed": 1}}, "split_seed, 0, not 1"),
        ({"start": "mice"}, "no run is called 'mice'"),
    ],
)
def test_what_contradicts_the_start_is_refused_by_name(place, changed, named):
    asked = on(place, "dogs")
    if data := changed.pop("data", {}):
        data |= {"corpus": str(place / f"{data.get('corpus', 'dogs')}.txt")}
    asked = replace(asked, data=replace(asked.data, **data), **changed)
    before = runs.run_folders(place)
    with pytest.raises(ValueError, match=named):
        quiet(asked, place)
    assert runs.run_folders(place) == before


def test_a_vocabulary_of_words_is_that_of_the_start(place, tmp_path):
    words = Data(str(place / "cats.txt"), "word", batch_size=4)
    first = quiet(Experiment(SIZES, training=TRAINING, data=words), tmp_path, name="words")
    dogs = replace(words, corpus=str(place / "dogs.txt"))
    run = quiet(Experiment(start="words", training=TRAINING, data=dogs), tmp_path)
    assert run.tokenizer.to_json() == first.tokenizer.to_json()
    less = replace(SIZES, vocab_size=first.tokenizer.vocab_size - 1)
    with pytest.raises(ValueError, match=f"a vocabulary of {first.tokenizer.vocab_size}"):
        quiet(Experiment(less, training=TRAINING, data=dogs, start="words"), tmp_path)


def test_a_start_that_was_not_trained_to_its_end_is_refused(place, tmp_path):
    asked = Experiment(SIZES, training=TRAINING, data=Data(str(place / "cats.txt"), "char"))
    next(runs.training(asked, tmp_path, name="begun"))
    with pytest.raises(ValueError, match="stopped at step 1"):
        quiet(on(place, "dogs", start="begun"), tmp_path)


def test_a_recurrent_model_starts_from_one(place, tmp_path):
    sizes = RecurrentConfig(40, context=8, width=8, cell="gru")
    data = Data(str(place / "cats.txt"), "char", batch_size=4)
    quiet(Experiment(sizes, training=TRAINING, data=data), tmp_path, name="gru")
    usual = Experiment.usual(start="gru", folder=tmp_path)
    assert usual.model.cell == "gru" and usual.data.tokenizer == "char" and usual.start == "gru"
    run = quiet(on(place, "dogs", start="gru"), tmp_path)
    assert run.metrics[0]["before"]["bits_per_char"] > runs.score(run).bits_per_char


def test_what_is_usual_is_that_of_the_start(place):
    usual = Experiment.usual(start="cats", folder=place)
    assert usual.model == runs.load(place / "cats").experiment.model
    assert usual.data.corpus == str((place / "cats.txt").resolve()) and usual.data.sha256 is None
    assert usual.training == Experiment.usual().training, "how to train is another matter"
    with pytest.raises(ValueError, match="recipe 'lstm'"):
        Experiment.usual(recipe="lstm", start="cats", folder=place)


def test_configs_are_compared_in_depth():
    a = SpeechConfig(SIZES, channels=2)
    changed = replace(a, channels=3, decoder=replace(SIZES, dropout=0.1, width=16))
    assert list(config_differences(a, changed)) == ["decoder.width: 8 -> 16", "channels: 2 -> 3"]
