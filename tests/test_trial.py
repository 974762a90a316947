"""The referee: what a trial compares, what it refuses to believe, and how it goes on."""

import json
import math
import re
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from run_toys import made_text
from scipy.stats import ttest_1samp
from torch import nn

from lab import cli, runs
from lab.nn import DecoderOnlyTransformer, RecurrentConfig, RecurrentLM, TransformerConfig
from lab.runs import Data, Experiment
from lab.score import score_lines
from lab.text import CharTokenizer, Corpus, CorpusError, load
from lab.train import NextToken
from lab.trial import Trial, keep, level, read_idea, reads_ahead, referee, trial, write_page
from lab.trial.plan import planned
from lab.trial.result import PARAMETERS, SECONDS, TOKENS
from lab.trial.scoring import NoScore, hold_out, score
from lab.trial.search import best_rates
from lab.trial.sides import BASELINE, IDEA, IN_TIME, RESIZED, as_large, num_parameters

EXAMPLES = sorted((Path(__file__).parents[1] / "trials").glob("*.py"))
SIZES = dict(context=12, width=8, num_layers=1, num_heads=2, feed_forward=16)
START = """
from dataclasses import dataclass, replace
import torch
from lab.nn import DecoderOnlyTransformer, TransformerConfig
from lab.runs import Data, Experiment
from lab.train import NextToken, TrainConfig

def baseline():
    sizes = dict(context=12, width=8, num_layers=1, num_heads=2, feed_forward=16)
    how = TrainConfig(99, 0.1, 0.05, warmup=2)
    return Experiment(TransformerConfig(60, **sizes), training=how, data=Data(TEXT, "char", 4))
"""
WIDER = "def idea(baseline): return replace(baseline, model=replace(baseline.model, feed_forward=24))"
TIED = "def idea(baseline): return replace(baseline, model=replace(baseline.model, tied=True))"
SLOW = """
def idea(baseline):
    return replace(baseline, training=replace(baseline.training, matrix_lr=1e-6, other_lr=1e-6))
"""
LEAKY = """
class Both(DecoderOnlyTransformer):
    def forward(self, ids, **facts):
        return super().forward(ids, mask=torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool))

@dataclass(frozen=True)
class Leak(NextToken):
    name = "leak"
    def build(self, config, material):
        return Both(config)

def idea(baseline):
    return replace(baseline, objective=Leak())
"""
STARTED = """
from lab.diffusion import Diffusion, VisualDiffusionConfig
def idea(b):
    return Experiment(VisualDiffusionConfig(b.model), Diffusion(), start="earlier")
"""
DIVERGING = """
@dataclass(frozen=True)
class Wild(NextToken):
    name = "wild"
    def loss(self, model, batch, step):
        found = super().loss(model, batch, step)
        return found._replace(nats=found.nats * float("nan"))

def idea(baseline):
    return replace(baseline, objective=Wild())
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return made_text(
        tmp_path_factory.mktemp("text"), "short.txt", "the cat sat on a mat and ran", (2, 6), 120
    )


@pytest.fixture
def idea_file(tmp_path, text):
    def written(source: str, name: str = "my_idea.py"):
        path = tmp_path / name
        path.write_text(START.replace("TEXT", repr(text)) + source)
        return path

    return written


@pytest.fixture
def try_it(idea_file, tmp_path, monkeypatch):
    """A short trial of an idea, in this process, whose sides are equally fast unless `speeds` says otherwise."""
    search = referee.best_rates

    def tried(source: str, speeds=(1.0, 1.0, 1.0), steps=6, pairs=3, minutes=9.0, searched=False, **more):
        found = search if searched else lambda *_: {BASELINE: 1.0, IDEA: 1.0}
        monkeypatch.setattr(referee, "best_rates", found)
        monkeypatch.setattr(runs, "seconds_per_step", lambda sides, **_: [*speeds[: len(sides)]])
        options = {"folder": tmp_path / "runs", "workers": 0, "progress": False, "say": lambda _: None}
        return trial(idea_file(source), minutes=minutes, steps=steps, pairs=pairs, **options | more)

    return tried


# ---- the file ----


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("x = 1", "idea()"),
        ("idea = 3", "idea()"),
        ("def idea(): return 3", "int"),
        ("def idea(baseline): return baseline.model", "TransformerConfig"),
        ("def idea(baseline):\n    return 1 / 0", "ZeroDivisionError in line 13"),
        ("def idea(): return (", "SyntaxError"),
        ("import nowhere_at_all", "nowhere_at_all"),
        ("def baseline(): return None\ndef idea(b): return b", "baseline()"),
        ("def idea(baseline): return baseline", "must change"),
        ("def idea(b): return replace(b, seed=3, training=replace(b.training, steps=7))", "must change"),
        (
            "def idea(b): return replace(b, data=replace(b.data, corpus='kjv', sha256='0' * 64))",
            "must change",
        ),
        (STARTED, "holds out"),
    ],
)
def test_a_file_that_holds_no_idea_is_refused_by_name(idea_file, source, named):
    path = idea_file(source)
    with pytest.raises(ValueError, match=re.escape(named)) as refused:
        read_idea(path)
    assert "my_idea.py" in str(refused.value)


def test_a_file_that_is_not_there_is_refused_and_one_of_a_modules_name_hides_nothing(idea_file, tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.py"):
        read_idea(tmp_path / "nothing.py")
    assert read_idea(idea_file(WIDER, "json.py")).changes and sys.modules["json"] is json


def test_the_changes_are_named_and_a_changed_file_is_read_again(idea_file):
    assert read_idea(idea_file(WIDER)).changes == ("model.feed_forward: 16 -> 24",)
    assert read_idea(idea_file(TIED)).changes == ("model.tied: False -> True",)
    found = read_idea(idea_file("del baseline\ndef idea(): return Experiment.usual(recipe='gru')"))
    assert found.baseline == Experiment.usual() and found.idea.model.cell == "gru"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_short_and_do_not_read_ahead(path, text):
    assert sum(map(bool, path.read_text().splitlines())) <= 30
    found = read_idea(path)
    assert found.changes
    tried = replace(found.idea, data=Data(text, "char"))
    model = tried.objective.build(tried.resolved().model, None)
    assert not reads_ahead(drawn(model), [[2, 5, 6, 7, 8, 3], [2, 6, 3]])


def test_a_model_that_cannot_be_built_is_told_with_its_line(try_it):
    with pytest.raises(ValueError, match=r"KeyError in line \d+"):
        try_it(
            "@dataclass(frozen=True)\nclass Broken(NextToken):\n    name = 'broken'\n"
            "    def build(self, config, material): return {}['model']\n"
            "def idea(b): return replace(b, objective=Broken())"
        )


# ---- the rule ----


@pytest.mark.parametrize(("comparisons", "most"), [(1, 8), (3, 8), (1, 5)])
def test_an_idea_that_changes_nothing_is_called_different_in_less_than_one_trial_of_twenty(comparisons, most):
    dice = np.random.default_rng(11)
    a, b, c, d = dice.normal(3, 0.1, (4, 10_000, most))
    differences = np.stack([b - a, c - a, b - d][:comparisons])
    looks = [ttest_1samp(differences[..., :n], 0, axis=-1).pvalue.min(0) for n in range(3, most + 1)]
    called = (np.min(looks, axis=0) < level(comparisons, most)).mean()
    assert 0.035 < called < 0.05


# ---- scores ----


class Sees(nn.Module):
    """A language model of logits that are a function of the ids."""

    def __init__(self, logits):
        super().__init__()
        self.config, self.logits, self.calls = SimpleNamespace(context=12), logits, 0
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, ids):
        self.calls += 1
        return self.logits(self, nn.functional.one_hot(ids, 9).float())


def drawn(model):
    for p in model.parameters():
        nn.init.normal_(p)
    return model


@pytest.mark.parametrize(
    ("model", "ahead"),
    [
        (Sees(lambda model, x: x.cumsum(1)), False),
        (drawn(DecoderOnlyTransformer(TransformerConfig(9, **SIZES))), False),
        (drawn(RecurrentLM(RecurrentConfig(9, width=8))), False),
        (Sees(lambda model, x: x.roll(-1, dims=1)), True),
        (Sees(lambda model, x: x.cumsum(1) + x.roll(-1, dims=1) * 0.01), True),
        (Sees(lambda model, x: x.cumsum(1) + x.mean(1, keepdim=True)), True),
        (Sees(lambda model, x: x.cumsum(1) + x.mean(0)), True),
        (Sees(lambda model, x: x.cumsum(1) * model.calls), True),
    ],
)
def test_a_model_that_reads_ahead_is_found(model, ahead):
    lines = [[2, 5, 6, 7, 8, 3], [2, 6, 3], *[[2, *[5, 7] * 10, 3]] * isinstance(model, Sees)]
    assert reads_ahead(model, lines) is ahead


def run_of(objective, model, tokenizer):
    return SimpleNamespace(experiment=SimpleNamespace(objective=objective), model=model, tokenizer=tokenizer)


def test_a_score_is_that_of_score_lines_and_lies_are_refused():
    lines = ["abba", "ab", "ba"]
    tokenizer = CharTokenizer.train(lines)
    honest = Sees(lambda model, x: x[..., : tokenizer.vocab_size].cumsum(1))
    expected = score_lines(honest, tokenizer, lines).bits_per_char
    assert score(run_of(NextToken(), honest, tokenizer), lines) == expected
    with pytest.raises(NoScore, match="nan"):
        score(run_of(NextToken(), Sees(lambda model, x: x / 0 * 0 + math.nan), tokenizer), lines)
    with pytest.raises(NoScore, match="after it"):
        score(run_of(NextToken(), Sees(lambda model, x: x.roll(-1, dims=1)), tokenizer), lines)

    class Telling(CharTokenizer):
        def encode_lines(self, lines):
            return [[5 + len(ids) % 2, *ids[1:]] for ids in super().encode_lines(lines)]

    with pytest.raises(NoScore, match="begin with different tokens"):
        score(run_of(NextToken(), honest, Telling(tokenizer.vocabulary)), ["abba", "aba"])


def test_an_objective_without_a_language_model_measures_the_held_out_lines_itself():
    @dataclass(frozen=True)
    class Own:
        measured: float

        def outcome(self, model, material):
            return {"bits_per_char": self.measured * len(material.splits.validation)}

    assert score(run_of(Own(0.5), None, None), ["one", "two", "three"]) == 1.5
    with pytest.raises(NoScore):
        score(run_of(Own(math.inf), None, None), ["one"])


def test_no_line_that_is_scored_is_trained_on():
    lines = [f"line {n}" for n in range(50)] * 2 + ["cafe\u0301", "caf\u00e9"] * 5
    kept, test = hold_out(Corpus("twice", lines))
    assert not {*kept} & {*test} and {*kept} | {*test} == {*lines} and len(test) >= 2
    assert kept == [line for line in lines if line in {*kept}], "in the order of the text"


def test_a_text_in_parts_is_scored_on_its_test_part():
    lines = ["caf\u00e9", "b", "c", "b", "d", "cafe\u0301"]
    assert hold_out(Corpus("divided", lines, parts=(3, 2, 1))) == (["b", "c", "b", "d"], ["cafe\u0301"])
    with pytest.raises(CorpusError, match=r"4, 2, 0.*test part"):
        hold_out(Corpus("untested", lines, parts=(4, 2, 0)))


# ---- the plan ----


def test_a_baseline_is_made_as_large_as_the_idea(text):
    base = Experiment(TransformerConfig(60, **SIZES), data=Data(text, "char"))
    size = partial(num_parameters, material=base.material())
    for larger in ({"feed_forward": 51}, {"width": 16, "tied": True}, {"width": 80}):
        parameters = size(replace(base, model=replace(base.model, **larger)))
        assert abs(size(as_large(base, parameters)) / parameters - 1) <= 0.01
    assert as_large(base, 3) is None
    recurrent = replace(base, model=RecurrentConfig(60, width=16))
    parameters = size(replace(base, model=RecurrentConfig(60, width=20)))
    assert as_large(recurrent, parameters).model.width == 20


def test_a_plan_fits_into_the_minutes(text, monkeypatch):
    base = Experiment(TransformerConfig(60, **SIZES), data=Data(text, "char", 4))
    sides = {BASELINE: base, IDEA: replace(base, data=replace(base.data, batch_size=8)), RESIZED: base}
    monkeypatch.setattr(runs, "seconds_per_step", lambda sides, **_: [0.1, 0.4, 0.2])
    plan = planned(sides, 30, workers=2)
    steps = plan["steps"]
    assert plan["pairs"] == 8 and steps[RESIZED] == steps[BASELINE]
    assert steps[IDEA] == pytest.approx(steps[BASELINE] / 2, abs=1), "it reads twice as much a step"
    assert steps[IN_TIME] == pytest.approx(steps[BASELINE] / 4, abs=1), (
        "a step of it takes four times as long"
    )
    seconds = 0.1 * steps[BASELINE] + 0.4 * (steps[IDEA] + steps[IN_TIME]) + 0.2 * steps[RESIZED]
    assert 0.5 < (8 * seconds / 2) / (30 * 60) < 0.8
    assert planned(sides, 5, workers=1)["pairs"] < 8
    with pytest.raises(ValueError, match="too few") as refused:
        planned(sides, 0.5, workers=1)
    needed = float(re.search(r"about (\d+)", str(refused.value))[1])
    assert planned(sides, needed, workers=1)["pairs"] == 3
    monkeypatch.setattr(runs, "seconds_per_step", lambda sides, **_: [0.1, 0.203, 0.2])
    assert IN_TIME not in planned(sides, 30, workers=2)["steps"], "that is what two speeds differ by chance"


def off(factor: float, best: float = 1.0) -> float:
    return 2 + abs(math.log2(factor / best))


@pytest.mark.parametrize(
    ("bits", "chosen", "tried"),
    [
        (lambda side, factor, seed: off(factor, 4 if side == IDEA else 1), (1, 4), {0.5, 1, 2, 4, 8}),
        (lambda side, factor, seed: 2 + factor, (1 / 8, 1 / 8), {1 / 8, 1 / 4, 0.5, 1, 2}),
        (lambda side, factor, seed: None if factor > 1 else 3 - factor, (1, 1), {0.5, 1, 2}),
        # One seed's luck does not part the sides.
        (
            lambda side, factor, seed: off(factor) - 1.1 * ((side, factor) == (IDEA, 2) and seed != 102),
            (1, 1),
            {0.5, 1, 2, 4},
        ),
        (lambda side, factor, seed: None if side == IDEA else 2.0, None, None),
    ],
)
def test_both_sides_are_searched_alike_and_a_rate_of_its_own_must_be_better_with_other_seeds(
    bits, chosen, tried
):
    def train(jobs):
        for job in jobs:
            found = bits(*job)
            run = SimpleNamespace(metrics=[{"outcome": {"bits_per_char": found}}])
            yield job, run if found else runs.RunFailed("diverged", "")

    sides = dict.fromkeys((BASELINE, IDEA), Experiment(TransformerConfig(60, **SIZES)))
    found = Trial("", "", "", 1, [], {"search_steps": dict.fromkeys(sides, 5)}, [])
    if chosen is None:
        with pytest.raises(NoScore, match="idea diverged"):
            best_rates(found, sides, train)
    else:
        assert tuple(best_rates(found, sides, train).values()) == chosen
        assert {*found.rates[BASELINE]} == {*found.rates[IDEA]} == tried


# ---- a whole trial ----


def test_a_bad_idea_is_worse_by_what_an_independent_test_says(try_it):
    found = try_it(SLOW, steps=40, pairs=5, searched=True)
    scores = pd.DataFrame(found.rows).pivot(index="seed", columns="side", values="bits_per_char")
    assert len(scores) == 3 and not found.problem, "clear after the fewest pairs"
    differences = scores[IDEA] - scores[BASELINE]
    interval = ttest_1samp(differences, 0).confidence_interval(1 - level(1, 5))
    for arm in (TOKENS, SECONDS, PARAMETERS):
        one = found.arms[arm]
        assert [one.difference, one.low, one.high] == pytest.approx([differences.mean(), *interval])
        assert found.answers[arm].startswith("worse by ")
    assert [*found.rates[IDEA]] == [*found.rates[BASELINE]], "the same search"
    assert min(found.rates[IDEA], key=found.rates[IDEA].get) == 8 and max(found.rates[IDEA]) == 8
    assert any("learning rate" in note for note in found.notes)


def test_what_trains_never_receives_a_line_that_is_scored(try_it, tmp_path, text):
    found = try_it(TIED)
    _, scored = hold_out(load(text))
    folder = tmp_path / "runs" / "trials" / found.name
    assert scored and not {*(folder / "lines.txt").read_text().splitlines()} & {*scored}
    of_pairs = [run for run in map(runs.load, runs.run_folders(folder)) if run.experiment.seed == 1]
    assert {run.experiment.data.corpus for run in of_pairs} == {str(folder / "lines.txt")}
    expected = {score_lines(run.model, run.tokenizer, scored).bits_per_char for run in of_pairs}
    assert {row["bits_per_char"] for row in found.rows if row["seed"] == 1} == expected


def test_equal_seconds_and_equal_parameters_have_runs_of_their_own(try_it):
    wide = TIED.replace("tied=True", "width=16")
    found = try_it(wide, speeds=(1.0, 2.0, 1.0), steps=8)
    of = {row["side"]: (row["steps"], row["parameters"]) for row in found.rows}
    assert [of[side][0] for side in (BASELINE, IDEA, IN_TIME, RESIZED)] == [8, 8, 4, 8]
    assert of[IDEA][1] != of[BASELINE][1] and of[RESIZED][1] == pytest.approx(of[IDEA][1], rel=0.01)
    compared = [(BASELINE, IDEA), (BASELINE, IN_TIME), (RESIZED, IDEA)]
    assert [(one.a, one.b) for one in found.arms.values()] == compared
    assert any("parameters" in note for note in found.notes)
    unlike = try_it(TIED)
    assert PARAMETERS not in unlike.arms and "nothing to compare" in unlike.answers[PARAMETERS]
    assert unlike.name != found.name, "a changed idea is another trial"


def test_an_idea_that_the_baseline_becomes_with_equal_parameters_is_not_compared_with_itself(try_it):
    found = try_it(WIDER)
    assert TOKENS in found.arms and PARAMETERS not in found.arms and RESIZED not in found.plan["steps"]
    assert any("the baseline is the idea" in note for note in found.notes)


def test_ideas_that_lie_or_diverge_are_a_result(try_it):
    leak = try_it(LEAKY, steps=12)
    assert "after it" in leak.problem and "idea" in leak.problem and not leak.arms
    wild = try_it(DIVERGING, searched=True)
    assert "the idea diverged" in wild.problem and set(wild.rates[IDEA].values()) == {math.inf}
    assert "diverged" in str(wild)


def test_a_stopped_trial_goes_on_and_ends_as_if_it_had_not(try_it, tmp_path, monkeypatch):
    whole = try_it(TIED, searched=True)
    trained = runs.trained

    def stopped(*given, **more):
        for n, found in enumerate(trained(*given, **more)):
            if n == 4:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(runs, "trained", stopped)
    with pytest.raises(KeyboardInterrupt):
        try_it(TIED, searched=True, folder=tmp_path / "again")
    assert len(runs.run_folders(tmp_path / "again" / "trials" / whole.name)) >= 3
    monkeypatch.setattr(runs, "trained", trained)
    again = try_it(TIED, searched=True, folder=tmp_path / "again", speeds=(1.0, 5.0, 1.0))
    assert again.arms == whole.arms, "by the same plan, however fast the machine is by now"
    monkeypatch.setattr("lab.runs.loop._finish", None)
    assert try_it(TIED, searched=True).arms == whole.arms, "nothing is trained twice"


def test_a_text_with_too_few_lines_is_refused(try_it):
    with pytest.raises(CorpusError):
        try_it(TIED, corpus=Corpus("three", ["a", "b", "c"]))


def test_time_that_is_out_ends_a_trial_after_three_pairs(try_it):
    found = try_it(TIED, minutes=1e-6, pairs=6)
    assert len(found.rows) == 6 and any("Time was out" in note for note in found.notes)


# ---- what it leaves ----


def test_the_page_needs_nothing_else_and_shows_what_it_is_given_as_text(try_it, tmp_path):
    found = replace(try_it(TIED), text="<b>bold</b>")
    page = write_page(found, tmp_path / "out").read_text()
    assert "<b>bold" not in page and page.count("data:image/svg+xml") == 2
    assert not re.search(r"(src|href)=.?(http|/|file)", page)
    assert all(answer in page for answer in found.answers.values())
    told = json.loads((tmp_path / "out" / f"{found.name}.json").read_text())
    assert told["arms"][TOKENS]["difference"] == found.arms[TOKENS].difference and told["machine"]["cpu"]
    failed = replace(found, arms={}, rows=[], problem="it <failed>")
    assert "it &lt;failed&gt;" in write_page(failed, tmp_path / "out").read_text()


def test_keeping_a_trial_again_replaces_its_row(try_it, tmp_path):
    found, table = try_it(TIED), tmp_path / "TRIALS.md"
    keep(found, table)
    keep(replace(found, name="other-12345678", arms={}, problem="a | in\nits words"), table)
    keep(replace(found, minutes=17.0), table)
    rows = [line for line in table.read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 2 and rows[0].startswith("| other-12345678 |") and "| 17 |" in rows[1]
    assert all(row.count("|") == 8 for row in rows), "seven cells"


def test_the_command_writes_the_page(idea_file, tmp_path, monkeypatch, capsys, text):
    monkeypatch.setattr("lab.cli.trial.ROOT", tmp_path)
    monkeypatch.setattr(runs, "seconds_per_step", lambda sides, **_: [1e-3] * len(sides))
    given = f"trial {idea_file(TIED)} --minutes 0.01 --workers 0 --folder {tmp_path / 'runs'} --keep".split()
    monkeypatch.setattr(sys, "argv", ["lab", *given])
    cli.main()
    said = capsys.readouterr().out
    (page,) = (tmp_path / "build" / "trials").glob("my_idea-*.html")
    assert str(page) in said and "equal tokens" in said and "my_idea" in (tmp_path / "TRIALS.md").read_text()
