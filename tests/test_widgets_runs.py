"""The curves of runs, and the widget around them: every control is moved, without a browser."""

import shutil
from dataclasses import replace

import pytest
from widget_toys import text_of

from lab import runs
from lab.nn.transformer import TransformerConfig
from lab.runs import Data, Experiment, Run
from lab.show.runs import compare, curve, labelled
from lab.show.widgets import RunsExplorer
from lab.show.widgets.runs_explorer import render
from lab.show.widgets.writing import draw
from lab.train import TrainConfig

SIZES = {"context": 8, "num_layers": 1, "num_heads": 2, "feed_forward": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three runs, of two widths and two seeds."""
    base = tmp_path_factory.mktemp("runs")
    text = base / "text.txt"
    text.write_text("".join(f"line {n} of <b> a & text\n" for n in range(40)))
    training = TrainConfig(steps=6, warmup=2, evaluate_every=3, other_lr=0.1)
    plan = Experiment(
        TransformerConfig(40, width=8, **SIZES), training=training, data=Data(str(text), "char", batch_size=4)
    )
    for name, chosen in {
        "a": plan,
        "b": replace(plan, seed=1),
        "c": replace(plan, model=replace(plan.model, width=16)),
    }.items():
        runs.get_or_train(chosen, base / "runs", name=name, progress=False, say=lambda _: None)
    return base / "runs"


@pytest.fixture(scope="module")
def opened(folder) -> dict[str, Run]:
    return runs.open_runs(folder)


def legend_of(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_the_curve_is_what_was_read_and_what_it_cost_by_what_sets_runs_apart(opened):
    tokens, bits = curve(opened["a"])
    assert tokens == [32, 64, 96, 128, 160, 192]
    assert bits == [step["bits_per_char"] for step in runs.steps(opened["a"])]
    assert curve(opened["a"], "seconds")[0][-1] == opened["a"].state.seconds
    assert list(labelled({"a": opened["a"], "again": opened["a"]})) == ["a", "again"]


def test_the_figure_shows_each_run_its_measurements_and_its_score(folder, opened, x="seconds"):
    made = compare(folder, x=x, baselines={"bz2": 2.0})
    (ax,) = made.axes
    scores = [f"{runs.score(run).bits_per_char:.3f}" for run in opened.values()]
    labels = ["width 8, seed 0", "width 8, seed 1", "width 16, seed 0"]
    assert legend_of(made) == [*map("{}: {}".format, labels, scores), "bz2: 2.00"]
    lines = ax.get_lines()
    for n, run in enumerate(opened.values()):
        curved, measured, final, _ = lines[4 * n : 4 * n + 4]
        xs, ys = curve(run, x)
        assert list(curved.get_xdata()) == xs and list(curved.get_ydata()) == pytest.approx(ys)
        assert list(measured.get_xdata()) == [xs[2], xs[5]]
        assert final.get_ydata()[0] == runs.score(run).bits_per_char and final.get_xdata()[0] == xs[-1]
        assert curved.get_color() == final.get_color()
    assert len({line.get_marker() for line in lines[2:12:4]}) == 3, "not by colour alone"


def test_what_cannot_be_drawn_is_left_out_or_said(folder, opened, tmp_path):
    run = opened["a"]
    half = Run(run.experiment, run.tokenizer, run.model, run.state, runs.steps(run)[:4])
    assert legend_of(compare({"half": half})) == ["half: unfinished"]
    with pytest.raises(ValueError, match="none of these runs"):
        compare(tmp_path)
    with pytest.raises(ValueError, match="no run z; there are: a, b, c"):
        compare(folder, ["z"])


def test_generate_writes_what_each_run_draws(folder):
    explorer = RunsExplorer(folder, prompt="line", seed=4)
    explorer.temperature.value = 1.5
    explorer.button.click()
    chosen = explorer.chosen.items()
    drawn = {label: list(draw(run.model, run.tokenizer, explorer.settings)) for label, run in chosen}
    assert explorer.texts.value == render(explorer.chosen, "line", drawn)
    seen = text_of(explorer.texts.value)
    for label, run in chosen:
        assert label in seen and f"{runs.score(run).bits_per_char:.3f} bits per character" in seen
    assert len({tuple(step.token for step in steps) for steps in drawn.values()}) > 1


def test_picked_runs_and_the_axis_change_the_curves(folder):
    explorer = RunsExplorer(folder)
    before = explorer.curves.value
    assert "<img alt='Training curves of width 8, seed 0" in before
    explorer.x.value = "seconds"
    assert "over seconds of training" in explorer.curves.value
    explorer.runs.value = ["width 16, seed 0"]
    assert "width 8" not in explorer.curves.value
    explorer.button.click()
    assert "width 8" not in explorer.texts.value
    explorer.runs.value = []
    assert "role='alert'" in explorer.curves.value
    explorer.button.click()
    assert "role='alert'" in explorer.texts.value and "pick a run" in explorer.texts.value


def test_damage_and_emptiness_are_told_in_place(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "copy")
    for weights in (copied / "a").glob("step-*/model.safetensors"):
        weights.write_bytes(b"rubbish")
    explorer = RunsExplorer(copied)
    assert "role='alert'" in explorer.problems.value and "a is left out" in explorer.problems.value
    assert len(explorer.runs.options) == 2
    empty = RunsExplorer(tmp_path / "none")
    assert "no runs in" in empty.problems.value
    empty.button.click()
    assert "role='alert'" in empty.texts.value
