"""Evidence: trained once at `full`, read at every other profile, stale when what it rests on has changed."""

import errno
import json
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from ideas.countdown import countdown
from ideas.two_ahead import TwoAhead
from nbformat.v4 import new_code_cell, new_notebook
from run_toys import made_text

from lab.nn import TransformerConfig
from lab.notebooks import compare, conclusions, evidence, fingerprint, rows, stale, steps_in
from lab.notebooks.runner import run_notebook
from lab.runs import Data, Experiment, RunFailed
from lab.train import TrainConfig

NAME = "07.positions"
FOLDER = Path("notebooks", "evidence")  # of a test's own folder
FILE = FOLDER / f"{NAME}.json"
SIZES = dict(context=16, width=16, num_layers=1, num_heads=2, feed_forward=16)
TRAINING = TrainConfig(steps=4, warmup=2, evaluate_every=2)


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a row knows a text by its file's name alone
    text = made_text(tmp_path, "made.txt", "in the beginning was a word of light", (3, 8), 200)
    return Experiment(
        TransformerConfig(90, **SIZES), training=TRAINING, data=Data(text, "char", batch_size=4)
    )


@pytest.fixture
def arms(base):
    """Two kinds of positions, two seeds each."""
    kinds = [replace(base, model=replace(base.model, positions=kind)) for kind in ("rotary", "learned")]
    return [replace(kind, seed=seed) for seed in (0, 1) for kind in kinds]


def full(experiments, folder="runs"):
    options = {"folder": folder, "workers": 0, "say": lambda _: None}
    return evidence(NAME, experiments, profile="full", rows_folder=FOLDER, **options)


def read(experiments, profile="smoke", name=NAME):
    return evidence(name, experiments, profile=profile, rows_folder=FOLDER)


def changed(change) -> None:
    """Rewrite each row of the file as `change` leaves it."""
    found = json.loads(FILE.read_text())
    for row in found["rows"]:
        change(row)
    FILE.write_text(json.dumps(found))


def meanwhile(monkeypatch, change) -> None:
    """From now on the runs come from training as the generator `change` gives them on."""
    real = conclusions.trained
    monkeypatch.setattr(conclusions, "trained", lambda *given, **options: change(real(*given, **options)))


def trainings(monkeypatch) -> list:
    """The experiments that are trained from now on."""
    seen = []
    meanwhile(monkeypatch, lambda pairs: (seen.append(pair[0]) or pair for pair in pairs))
    return seen


def test_what_was_trained_at_full_is_read_at_every_other_profile(arms):
    made = full(arms)
    for profile in ("smoke", "standard"):
        assert read(arms, profile).equals(made)
    assert made["model.positions"].tolist() == ["rotary", "learned"] * 2
    assert made["seed"].tolist() == [0, 0, 1, 1] and read(arms[::-1])["seed"].tolist() == [1, 1, 0, 0]
    assert {"bits_per_char", "seconds", "tokens", "parameters", "machine", "date"} <= set(made)
    assert (made["tokens"] == 4 * 16 * 4).all() and (made["state"] == "done").all()
    before, kept = FILE.read_text(), rows.read(FILE)
    rows.write(FILE, kept | {"rows": dict(reversed(kept["rows"].items()))})
    assert FILE.read_text() == before, "the order in which runs end does not show"
    assert compare(made, "model.positions").pairs.keys() == {0, 1}
    assert len(read(arms[2])) == 1


def test_a_row_is_one_line_with_a_thin_curve_and_a_label_for_captions(tmp_path, base):
    made = full(replace(base, training=replace(TRAINING, steps=130)))
    (row,) = rows.read(FILE)["rows"].values()
    assert sum('"settings"' in line for line in FILE.read_text().splitlines()) == 1
    assert made.attrs["curves"][0] == row["curve"]
    steps, tokens, bits, validation = row["curve"].values()
    assert len(steps) <= 60 and steps[-1] == 130 and tokens[-1] == made["tokens"][0]
    assert bits[-1] < bits[0] and None not in validation
    assert str(tmp_path) not in FILE.read_text(), "a row names no place on this machine"
    falling = [{"step": i, "tokens": 1, "loss": 9 - i, "validation": 3.0 - i} for i in range(4)]
    assert rows.curve(falling, points=2)["validation"] == [2.0, 0.0]
    label = made.attrs["label"]
    assert "measured on made" in label and row["date"] in label and "1 seed" in label


def test_committed_rows_count_as_done_on_another_machine(arms, monkeypatch):
    made, seen = full(arms[:2]), trainings(monkeypatch)
    changed(lambda row: row["machine"].update(cpu="Another CPU"))
    again = full(arms, folder="elsewhere")
    assert [one.seed for one in seen] == [1, 1]
    assert again["machine"].str.startswith("Another CPU").tolist() == [True, True, False, False]
    assert again["bits_per_char"][:2].tolist() == made["bits_per_char"].tolist()
    assert "Another CPU" in again.attrs["label"] and "2 seeds" in again.attrs["label"]


def test_a_row_of_other_code_counts_until_its_numbers_or_its_cell_change(base, monkeypatch):
    full(base)
    seen = trainings(monkeypatch)
    changed(lambda row: row["settings"]["model"].pop("tied") or row.update(code="older"))
    full(base)
    changed(lambda row: row.update(probe=[loss + 1e-5 for loss in row["probe"]]))
    full(base)
    assert not seen, "neither a field that lab has got since, nor other code, nor rounding makes it stale"
    changed(lambda row: row.update(probe=[loss * 1.001 for loss in row["probe"]]))
    full(base)
    assert len(seen) == 1
    cell = SimpleNamespace(history_manager=SimpleNamespace(input_hist_raw=["%pwd\nevidence(one)"]))
    monkeypatch.setattr(fingerprint, "get_ipython", lambda: cell)
    full(base)
    cell.history_manager.input_hist_raw.append("%pwd\nevidence( one )  # explained")
    full(base)
    assert len(seen) == 2 and len(rows.read(FILE)["rows"]) == 1


def test_two_wishes_that_come_to_the_same_are_trained_once_and_have_a_row_each(base, monkeypatch):
    seen = trainings(monkeypatch)
    made = full([replace(base, model=replace(base.model, vocab_size=size)) for size in (90, 300)])
    assert len(seen) == 1 and made["bits_per_char"].nunique() == 1 and len(made) == 2


def test_an_interruption_loses_nothing(arms, monkeypatch):
    def interrupted(pairs):
        yield from islice(pairs, 2)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        meanwhile(patch, interrupted)
        full(arms)
    assert len(rows.read(FILE)["rows"]) == 2
    seen = trainings(monkeypatch)
    assert len(full(arms)) == 4 and len(seen) == 2


def test_a_row_that_another_process_adds_meanwhile_stays(arms, monkeypatch):
    full(arms[0])

    def beside(pairs):
        (row,) = rows.read(FILE)["rows"].values()
        rows.write(FILE, {"speeds": {}, "rows": {1: row, 2: row | {"text": "of another process"}}})
        yield from pairs

    meanwhile(monkeypatch, beside)
    full(arms[1])
    assert len(rows.read(FILE)["rows"]) == 3


def test_a_full_disk_loses_no_row_and_the_same_call_goes_on(arms, monkeypatch):
    full(arms[0])
    before = FILE.read_bytes()

    def no_room(path, _):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch, pytest.raises(OSError, match=NAME):
        patch.setattr(rows, "write_atomic", no_room)
        full(arms)
    assert FILE.read_bytes() == before
    assert len(full(arms)) == 4


def test_a_run_that_diverges_is_a_row_and_one_that_dies_is_none(arms, monkeypatch):
    def failing(pairs):
        yield next(pairs)[0], RunFailed("diverged", "the loss is nan")
        yield next(pairs)[0], RunFailed("died", "killed")
        yield from pairs

    with monkeypatch.context() as patch, pytest.raises(ValueError, match=r"1 of 4.*died: killed"):
        meanwhile(patch, failing)
        full(arms)
    made = full(arms)
    assert made["state"].tolist() == ["diverged: the loss is nan", "done", "done", "done"]
    assert made["bits_per_char"].isna().tolist() == [True, False, False, False]
    with pytest.raises(ValueError, match="'rotary', seed 0"):
        compare(made, "model.positions")


def test_another_text_has_rows_of_its_own(tmp_path, arms):
    full(arms)
    committed = FILE.read_bytes()
    other = made_text(tmp_path, "other.txt", "all that is gold does not glitter", (3, 8), 150)
    others, lost = (
        [replace(one, data=replace(one.data, corpus=text)) for one in arms]
        for text in (other, "/nowhere.txt")
    )
    for elsewhere in (others, lost):
        shown = read(elsewhere)
        assert shown.equals(read(arms)) and "measured on made" in shown.attrs["label"]
    own = full(others)
    assert "measured on other" in own.attrs["label"] and read(others).equals(own)
    assert Path("build", "evidence", FILE.name).is_file() and FILE.read_bytes() == committed


def test_seconds_become_steps_by_a_speed_that_is_measured_once(arms, monkeypatch):
    def timed(profile, seconds=3.0):
        return steps_in(NAME, arms, seconds, profile=profile, rows_folder=FOLDER, measured_for=0.05)

    with pytest.raises(ValueError, match="lab run 07"):
        timed("smoke")
    assert all(20 < steps < 20_000 for steps in timed("full"))
    FILE.unlink()
    monkeypatch.setattr(conclusions, "seconds_per_step", lambda given, **_: [0.5, 0.25][: len(given)])
    assert timed("full") == [6, 12, 6, 12]
    monkeypatch.delattr(conclusions, "seconds_per_step")
    full(arms)
    assert timed("full") == timed("smoke") == [6, 12, 6, 12] and timed("smoke", 0.001) == [1] * 4
    assert len(read(arms)) == 4
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="seconds"):
            timed("smoke", seconds)


def test_what_is_missing_and_what_is_no_experiment_is_said(arms):
    with pytest.raises(ValueError, match=r"4 of 4.*lab run 07 --profile full"):
        read(arms)
    full(arms[:1])
    with pytest.raises(ValueError, match="3 of 4"):
        read(arms)
    for bad in ([], [3], "an experiment"):
        with pytest.raises(ValueError, match="experiments"):
            read(bad)
    for name in ("", "positions", "7.positions", "07.../x", "07.a/b", "07.", "07.Positions"):
        with pytest.raises(ValueError, match=r"07\.equal_tokens"):
            read(arms, name=name)
    with pytest.raises(ValueError, match="profile"):
        read(arms, "fast")
    with pytest.raises(ValueError, match="start"):
        read([replace(Experiment.usual("tuning"), start=run) for run in ("a run", "another")])


DAMAGE = {
    "torn": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "a list": lambda text: "[]",
    "another format": lambda text: text.replace('"format": 1', '"format": 9'),
    "a field is gone": lambda text: text.replace('"probe"', '"prob"'),
    "no settings": lambda text: text.replace('"settings": {', '"settings": 3, "old": {'),
    "twice": lambda text: json.dumps({**json.loads(text), "rows": json.loads(text)["rows"] * 2}),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_file_is_named_and_left_as_it_is(base, what):
    full(base)
    damaged = DAMAGE[what](FILE.read_text())
    FILE.write_text(damaged)
    for use in (read, full):
        with pytest.raises(ValueError, match=NAME):
            use(base)
    assert FILE.read_text() == damaged
    (complaint,) = stale.complaints(FOLDER, FOLDER.parent)
    assert NAME in complaint


def test_an_objective_from_outside_has_rows_until_its_source_changes(base, monkeypatch):
    idea = replace(base, objective=TwoAhead(weight=0.5), data=Data(countdown(), "char", batch_size=4))
    full(idea)
    seen = trainings(monkeypatch)
    assert full(idea).equals(read(idea)) and not seen
    monkeypatch.setattr("lab.config.source_hash", lambda cls: "another")
    with pytest.raises(ValueError, match="lab run 07"):
        read(idea)


CELL = """
base = Experiment(TransformerConfig(90, **{sizes}), training=TrainConfig(steps=4),
                  data=Data({text!r}, "char", batch_size=4))
table = evidence({name!r}, [base], profile=profile, rows_folder={folder!r}, folder={runs!r}, workers=0)  # one
record("bits", table["bits_per_char"][0])
"""


def test_a_notebook_makes_its_rows_at_full_and_check_names_what_is_stale(tmp_path, base):
    places = {"folder": str(tmp_path / FOLDER), "runs": str(tmp_path / "runs"), "text": base.data.corpus}
    setup = "from lab.nn import TransformerConfig\nfrom lab.notebooks import evidence, record\n"
    setup += "from lab.runs import Data, Experiment\nfrom lab.train import TrainConfig"
    cells = ['profile = "standard"', setup, CELL.format(sizes=SIZES, name=NAME, **places)]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    FOLDER.mkdir(parents=True)
    path, said = tmp_path / FOLDER.parent / "07_positions.ipynb", []

    def check(old="", new=""):
        """After an edit of the cell that asks for evidence."""
        notebook.cells[2].source = notebook.cells[2].source.replace(old, new)
        nbformat.write(notebook, path)
        return stale.complaints(FOLDER, FOLDER.parent, say=said.append)

    (complaint,) = check()
    assert "is not there" in complaint and "lab run 07" in complaint
    run = run_notebook(path, tmp_path / "full", {"profile": "full"}, progress=False)
    assert run.passed, run.error
    made = read(replace(base, training=TrainConfig(steps=4)))
    assert made["bits_per_char"].tolist() == [metric["value"] for metric in run.metrics]
    assert check() == check("# one", "# two") == []
    changed(lambda row: row.update(probe=[loss + 0.01 for loss in row["probe"]]))
    (complaint,) = check()
    assert "begin otherwise" in complaint and not said
    changed(lambda row: row["settings"]["data"].update(corpus="/nowhere.txt"))
    assert check() == [] and "not probed" in said[0]
    (complaint,) = check("record", "print(table)\nrecord")
    assert "another version of the cell" in complaint
    (complaint, _) = check(NAME, "07.other")
    assert "no notebook" in complaint


def test_a_row_that_is_drawn_is_trained_again_and_compared(arms):
    said = []

    def again(by=0.0, **machine):
        """The complaints after the rows' scores were moved by so much of themselves."""

        def moved(row):
            row["outcome"]["bits_per_char"] *= 1 + by
            row["machine"] |= machine

        changed(moved)
        return stale.check_again(FOLDER, seed=1, say=said.append)

    assert stale.check_again(FOLDER) == []
    full(arms)
    assert again() == [] and any("drawn by 1" in text for text in said)
    (complaint,) = again(by=1e-4)
    assert "bits_per_char" in complaint
    assert again(cpu="Another CPU") == []
    assert len(again(by=1e-2)) == 1


def test_the_probe_is_small_and_the_same_for_every_seed(base):
    long = replace(
        base, training=replace(TRAINING, steps=10**6, accumulate=8), data=replace(base.data, batch_size=512)
    )
    probes = [fingerprint.probe(replace(long, seed=seed)) for seed in (0, 1)]
    assert probes[0] == probes[1] and len(probes[0]) == 5
    assert probes[0] == fingerprint.probe(replace(long, training=replace(long.training, accumulate=1)))
    other = replace(base, model=replace(base.model, positions="none"))
    assert not fingerprint.same_probe(fingerprint.probe(other), probes[0])
    assert fingerprint.probe(replace(Experiment.usual("tuning"), start="a run")) == []


def test_claims_alone_load_neither_torch_nor_pandas():
    script = "import sys; from lab.notebooks import expect; assert not {'torch', 'pandas'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
