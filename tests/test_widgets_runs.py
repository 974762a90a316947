"""The curves of runs, and the widget around them: every control is moved, also on a page in a browser."""

import shutil
from dataclasses import replace

import pytest
from plain_page import HOSTILE, NAMES, NASTY, PlainPage, plain_page

from lab import runs
from lab.nn.transformer import TransformerConfig
from lab.notebooks.stills import HOW, find_chromium
from lab.runs import Data, Experiment, Run
from lab.show.runs import compare, curve, labelled
from lab.show.widgets import RunsExplorer
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
    explorer = RunsExplorer(folder, prompt="line", seed=4, temperature=1.5)
    explorer.generate()
    for text, (label, run) in zip(explorer.texts, explorer.chosen.items(), strict=True):
        drawn = list(draw(run.model, run.tokenizer, explorer.settings))
        assert text["name"] == label and text["prompt"] == "line"
        assert [name for name, *_ in text["tokens"]] == run.tokenizer.tokens([step.token for step in drawn])
    assert len({tuple(name for name, *_ in text["tokens"]) for text in explorer.texts}) > 1
    first = explorer.texts
    explorer.seed = 5
    assert explorer.texts == first, "nothing is written before it is asked for"
    explorer.generate()
    assert explorer.texts != first


def test_picked_runs_and_the_axis_change_the_curves(folder, opened):
    explorer = RunsExplorer(folder)
    for x in ("tokens", "seconds", "steps"):
        explorer.x = x
        for drawn, run in zip(explorer.drawing["curves"], opened.values(), strict=True):
            xs, ys = curve(run, x)
            assert drawn["line"] == [pytest.approx(pair) for pair in zip(xs, ys, strict=True)]
            assert [at for at, _ in drawn["measured"]] == [xs[2], xs[5]] and drawn["last"] == xs[-1]
            assert drawn["score"] == runs.score(run).bits_per_char
    explorer.models = ["width 16, seed 0"]
    (left,) = explorer.drawing["curves"]
    assert left["name"] == "width 16, seed 0" and left["place"] == 2, "its colour stays"
    explorer.models = []
    assert explorer.drawing["curves"] == [] and explorer.texts == []
    with pytest.raises(ValueError, match="choose a model"):
        explorer.generate()


def test_damage_and_emptiness_are_told(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "copy")
    for weights in (copied / "a").glob("step-*/model.safetensors"):
        weights.write_bytes(b"rubbish")
    explorer = RunsExplorer(copied)
    assert "a is left out" in explorer.drawing["left_out"][0] and len(explorer.drawing["names"]) == 2
    empty = RunsExplorer(tmp_path / "none")
    assert "no runs in" in empty.drawing["left_out"][0] and empty.drawing["curves"] == []


# In a browser


@pytest.fixture
def page() -> PlainPage:
    with plain_page() as opened:
        yield opened
    assert opened.errors == []


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason=HOW)
def test_the_explorer_on_a_page(page, folder, tmp_path):
    explorer = RunsExplorer(folder, prompt="line")
    page.show(explorer, 400, dark=True)
    keys, cards = page.find(".lab-keys li"), page.find(".lab-card")
    assert keys.count() == 3 and page.find(".lab-curve").count() == 6 and cards.count() == 0
    page.find(".lab-models input").nth(1).press("Space")
    assert page.until(lambda: keys.count() == 2 and len(explorer.models) == 2)
    page.find(".lab-x select").select_option("steps")
    assert page.until(lambda: "over steps" in page.find(".lab-plot").get_attribute("aria-label"))
    page.find(".lab-temperature input").press("Home")
    page.find(".lab-seed input").fill("3")
    page.find(".lab-prompt input").fill(HOSTILE[:9])
    page.find(".lab-generate").press("Enter")
    assert page.until(lambda: not explorer.busy and cards.count() == 2)
    assert (explorer.temperature, explorer.seed, explorer.prompt) == (0, 3, HOSTILE[:9])
    for card, text in zip(cards.all(), explorer.texts, strict=True):
        shown = card.locator(".lab-written").all_text_contents()
        assert shown == [name for name, *_ in text["tokens"]] and text["name"] in card.inner_text()
    for place in (0, 2):
        page.find(".lab-models input").nth(place).press("Space")
    assert page.until(lambda: explorer.models == [] and keys.count() == 0)
    assert "Pick a run" in page.text("[role=status]")
    page.find(".lab-generate").click()
    assert page.until(lambda: "choose a model" in page.text("[role=alert]"))
    assert page.too_wide() == [] and page.unlabelled() == [] and page.find("main img").count() == 0
    page.show(RunsExplorer(tmp_path / "none"), 400)
    assert any("no runs in" in line for line in page.find("[role=alert]").all_inner_texts())


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason=HOW)
@pytest.mark.parametrize("name", NASTY[:-1], ids=NAMES[:-1])
def test_any_name_of_a_run_is_text_and_fits(page, opened, monkeypatch, name):
    found = {name: opened["a"], f"{name} again": opened["a"]}
    monkeypatch.setattr("lab.show.widgets.runs_explorer.open_runs", lambda _: found)
    explorer = RunsExplorer(".", prompt=name[:5])
    explorer.generate()
    page.show(explorer, 400)
    assert name in page.find(".lab-keys").inner_text()
    assert page.find(".lab-card").count() == 2
    assert page.too_wide() == [] and page.unlabelled() == [] and page.find("main img").count() == 0
