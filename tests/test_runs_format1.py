"""Runs saved in format 1 stay loadable: each was made by the code of that time, which also noted what it says of them.

tests/fixtures/format1/NAME/    expected.json    weights, losses, outcome; a score and a text, drawn anew
                                step-.../        the run
"""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lab import runs
from lab.chars import CharacterScores
from lab.decode.search import Sampling, generate
from lab.diffusion.objective import line_bound
from lab.diffusion.writing import write_line
from lab.runs import CheckpointError
from lab.score import hidden_nats, score_lines
from lab.speech import Reading, synthetic, transcribe

FIXTURES = Path(__file__).parent / "fixtures" / "format1"
NAMES = sorted(path.name for path in FIXTURES.iterdir())


def expected_of(name: str) -> dict:
    return json.loads((FIXTURES / name / "expected.json").read_text("utf-8"))


def fingerprint(weights: dict[str, Tensor]) -> str:
    """Of the tensors alone, whatever they are called."""
    short = lambda data: hashlib.sha256(data).hexdigest()[:24]  # noqa: E731
    bytes_of = lambda t: f"{t.dtype} {tuple(t.shape)} ".encode() + t.contiguous().numpy().tobytes()  # noqa: E731
    return short("\n".join(sorted(short(bytes_of(t)) for t in weights.values())).encode())


@pytest.mark.parametrize("name", NAMES)
def test_it_has_the_weights_and_the_history_that_were_saved(name):
    run, expected = runs.load(FIXTURES / name), expected_of(name)
    assert fingerprint(run.model.state_dict()) == expected["weights"]
    assert [step["loss"] for step in runs.steps(run)] == expected["losses"]
    assert run.state.step == expected["step"] and not run.model.training
    assert (runs.outcome(run) is None) == (expected["outcome"] is None)


def test_what_it_came_to_is_read():
    outcomes = {name: runs.outcome(runs.load(FIXTURES / name)) or {} for name in NAMES}
    expected = {name: expected_of(name)["outcome"] for name in NAMES}
    for name in ("recurrent", "visual-diffusion", "visual-tuning"):
        for column in ("bits_per_char", "nats", "chars", "tokens"):
            assert outcomes[name][column] == expected[name][column]
    assert runs.score(runs.load(FIXTURES / "visual-diffusion")).is_bound
    assert outcomes["visual-reconstruction"]["accuracy"] == expected["visual-reconstruction"]["accuracy"]
    assert outcomes["speech"]["cer"] == expected["speech"]["ctc_cer"]
    assert outcomes["speech"]["attention.wer"] == expected["speech"]["attention_wer"]
    scores = asdict(CharacterScores.from_outcome(outcomes["char-encoder"]))
    for name in ("mlm", "clm", "reconstruction", "bottleneck"):
        assert scores[name].items() <= expected["char-encoder"][name].items()
    there = [[one["there"] for one in each["restoration"]] for each in (scores, expected["char-encoder"])]
    assert there[0] == there[1]


def test_the_table_lists_them_all():
    table = runs.table(FIXTURES)
    assert sorted(table.index) == NAMES
    assert set(table["state"]) == {"done", "stopped at step 30 of 40"}


@pytest.mark.parametrize("name", ["decoder", "recurrent"])
def test_a_language_model_scores_and_samples(name):
    run, expected = runs.load(FIXTURES / name), expected_of(name)
    lines = expected["score"]["lines"]
    score = score_lines(run.model, run.tokenizer, lines)
    hidden = hidden_nats(run.tokenizer, lines, run.tokenizer.encode_lines(lines))  # which was free then
    assert score.nats - hidden == pytest.approx(expected["score"]["nats"], rel=1e-5)
    prompt = [run.tokenizer.bos_id, *run.tokenizer.encode(expected["text"]["prompt"])]
    drawn = generate(
        run.model, prompt, Sampling(), max_new_tokens=24 if name == "decoder" else 12,
        stop_id=run.tokenizer.eos_id, generator=torch.Generator().manual_seed(13),
    )  # fmt: skip
    assert run.tokenizer.decode([one.token for one in drawn]) == expected["text"]["written"]


@pytest.mark.parametrize("name", ["visual-diffusion", "visual-tuning"])
def test_visual_diffusion_scores_and_writes(name):
    run, expected = runs.load(FIXTURES / name), expected_of(name)
    asked, text = expected["score"], expected["text"]
    bound = line_bound(run.model, run.tokenizer, asked["lines"], draws=asked["draws"], seed=asked["seed"])
    assert bound.nats == pytest.approx(asked["nats"], rel=1e-5)
    rng = torch.Generator().manual_seed(14)
    line = write_line(run.model, run.tokenizer, prompt=text["prompt"], length=16, generator=rng)
    assert line.text == text["written"]


def test_characters_are_scored_and_go_through_the_bottleneck():
    run, expected = runs.load(FIXTURES / "char-encoder"), expected_of("char-encoder")
    asked = expected["score"]
    scores = run.experiment.objective.scores(run.model, run.tokenizer, asked["lines"], seed=asked["seed"])
    assert scores.clm.nats == pytest.approx(asked["clm"]["nats"], rel=1e-5)
    assert scores.mlm.nats == pytest.approx(asked["mlm"]["nats"], rel=1e-5)
    ids = torch.tensor([run.tokenizer.encode(expected["latents"]["text"])])
    with torch.inference_mode():
        latents = run.model.compress(ids)[0]
    torch.testing.assert_close(latents, torch.tensor(expected["latents"]["numbers"]))


def test_speech_is_written_down():
    run, expected = runs.load(FIXTURES / "speech"), expected_of("speech")
    said = synthetic(run.experiment.objective.script).test
    assert [one.text for one in said] == expected["text"]["said"]
    features = [one.features for one in said]
    found = transcribe(run.model, run.tokenizer, features, Reading(method="attention"))
    assert found == expected["text"]["written"]


def test_training_is_not_gone_on_with():
    run = runs.load(FIXTURES / "decoder")
    with pytest.raises(CheckpointError, match="older"):
        runs.resume(FIXTURES / "decoder", run.experiment)


def test_a_run_at_its_end_is_taken_as_it_is(tmp_path):
    shutil.copytree(FIXTURES / "recurrent", tmp_path / "recurrent")
    experiment = runs.load(tmp_path / "recurrent").experiment
    said = []
    run = runs.get_or_train(experiment, tmp_path, name="recurrent", progress=False, say=said.append)
    assert said[0].startswith("loaded")
    assert runs.outcome(run) == runs.outcome(runs.load(FIXTURES / "recurrent"))


def test_saved_again_it_is_of_the_format_of_today(tmp_path):
    run = runs.load(FIXTURES / "recurrent")
    path = runs.save(tmp_path / "again", run)
    assert json.loads((path / "manifest.json").read_text("utf-8"))["format"] > 1
    assert fingerprint(runs.load(path).model.state_dict()) == expected_of("recurrent")["weights"]


def test_a_byte_changed_is_found(tmp_path):
    shutil.copytree(FIXTURES / "recurrent", tmp_path / "recurrent")
    place = next((tmp_path / "recurrent").glob("step-*/model.safetensors"))
    damaged = bytearray(place.read_bytes())
    damaged[-1] ^= 1
    place.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        runs.load(tmp_path / "recurrent")
