"""Evidence: trained once at `full`, read at every other profile, stale when what it rests on has changed."""

import errno
import json
from dataclasses import replace
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


@pytest.fixture
def full(tmp_path):
    """`evidence` as at profile full, with the options that a test gives."""

    def made(experiments, **options):
        usual = {"folder": tmp_path / "runs", "workers": 0, "say": lambda _: None}
        return evidence(NAME, experiments, profile="full", rows_folder=folder_of(tmp_path), **usual | options)

    return made


def folder_of(tmp_path):
    return tmp_path / "notebooks" / "evidence"


def file_of(tmp_path):
    return folder_of(tmp_path) / f"{NAME}.json"


def read(tmp_path, experiments, profile="smoke"):
    return evidence(NAME, experiments, profile=profile, rows_folder=folder_of(tmp_path))


def changed(path, change) -> None:
    """Rewrite each row of a file as `change` leaves it."""
    found = json.loads(path.read_text())
    for row in found["rows"]:
        change(row)
    path.write_text(json.dumps(found))


def trainings(monkeypatch) -> list:
    """The experiments that are trained from now on."""
    seen, real = [], evidence.__globals__["trained"]
    spy = lambda given, *more, **options: real(seen.extend(given) or given, *more, **options)  # noqa: E731
    monkeypatch.setitem(evidence.__globals__, "trained", spy)
    return seen


def test_what_was_trained_at_full_is_read_at_every_other_profile(tmp_path, arms, full):
    made = full(arms)
    for profile in ("smoke", "standard"):
        assert read(tmp_path, arms, profile).equals(made)
    assert made["model.positions"].tolist() == ["rotary", "learned"] * 2 and made["seed"].tolist() == [
        0,
        0,
        1,
        1,
    ]
    assert {"bits_per_char", "seconds", "tokens", "parameters", "machine", "date"} <= set(made)
    assert (made["tokens"] == 4 * 16 * 4).all() and (made["state"] == "done").all()
    assert read(tmp_path, arms[::-1])["seed"].tolist() == [1, 1, 0, 0]
    before, kept = file_of(tmp_path).read_text(), rows.read(file_of(tmp_path))
    rows.write(file_of(tmp_path), kept | {"rows": dict(reversed(kept["rows"].items()))})
    assert file_of(tmp_path).read_text() == before, "the order in which runs end does not show"
    assert compare(made, "model.positions").pairs.keys() == {0, 1}
    assert len(read(tmp_path, arms[2])) == 1


def test_a_row_is_one_line_with_a_thin_curve_and_a_label_for_captions(tmp_path, base, full):
    made = full(replace(base, training=replace(TRAINING, steps=130)))
    (row,) = rows.read(file_of(tmp_path))["rows"].values()
    assert sum('"settings"' in line for line in file_of(tmp_path).read_text().splitlines()) == 1
    assert made.attrs["curves"][0] == row["curve"]
    steps, tokens, bits, validation = row["curve"].values()
    assert len(steps) <= 60 and steps[-1] == 130 and tokens[-1] == made["tokens"][0]
    assert bits[-1] < bits[0] and None not in validation
    assert str(tmp_path) not in file_of(tmp_path).read_text(), "a row names no place on this machine"
    falling = [{"step": i, "tokens": 1, "loss": 9 - i, "validation": 3.0 - i} for i in range(4)]
    assert rows.curve(falling, points=2)["validation"] == [2.0, 0.0]
    label = made.attrs["label"]
    assert "measured on made" in label and row["date"] in label and "1 seed" in label


def test_committed_rows_count_as_done_on_another_machine(tmp_path, arms, full, monkeypatch):
    made, seen = full(arms[:2]), trainings(monkeypatch)
    changed(file_of(tmp_path), lambda row: row["machine"].update(cpu="Another CPU"))
    again = full(arms, folder=tmp_path / "elsewhere")
    assert [one.seed for one in seen] == [1, 1]
    assert again["machine"].str.startswith("Another CPU").tolist() == [True, True, False, False]
    assert again["bits_per_char"][:2].tolist() == made["bits_per_char"].tolist()
    assert "Another CPU" in again.attrs["label"] and "2 seeds" in again.attrs["label"]


def test_a_row_of_other_code_counts_until_its_numbers_or_its_cell_change(tmp_path, base, full, monkeypatch):
    full(base)
    seen = trainings(monkeypatch)
    changed(file_of(tmp_path), lambda row: row["settings"]["model"].pop("tied") or row.update(code="older"))
    full(base)
    changed(file_of(tmp_path), lambda row: row.update(probe=[loss + 1e-5 for loss in row["probe"]]))
    full(base)
    assert not seen, "neither a field that lab has got since, nor other code, nor rounding makes it stale"
    changed(file_of(tmp_path), lambda row: row.update(probe=[loss * 1.001 for loss in row["probe"]]))
    full(base)
    assert len(seen) == 1
    cell = SimpleNamespace(history_manager=SimpleNamespace(input_hist_raw=["%pwd\nevidence(one)"]))
    monkeypatch.setattr(fingerprint, "get_ipython", lambda: cell)
    full(base)
    cell.history_manager.input_hist_raw.append("%pwd\nevidence( one )  # explained")
    full(base)
    assert len(seen) == 2
    assert len(rows.read(file_of(tmp_path))["rows"]) == 1


def test_two_wishes_that_come_to_the_same_are_trained_once_and_have_a_row_each(
    tmp_path, base, full, monkeypatch
):
    seen = trainings(monkeypatch)
    made = full([replace(base, model=replace(base.model, vocab_size=size)) for size in (90, 300)])
    assert len(seen) == 1 and made["bits_per_char"].nunique() == 1 and len(made) == 2


def test_an_interruption_loses_nothing(tmp_path, arms, full, monkeypatch):
    real = evidence.__globals__["trained"]

    def interrupted(*given, **options):
        for number, pair in enumerate(real(*given, **options)):
            if number == 2:
                raise KeyboardInterrupt
            yield pair

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setitem(evidence.__globals__, "trained", interrupted)
        full(arms)
    assert len(rows.read(file_of(tmp_path))["rows"]) == 2
    seen = trainings(monkeypatch)
    assert len(full(arms)) == 4 and len(seen) == 2


def test_a_row_that_another_process_adds_meanwhile_stays(tmp_path, arms, full, monkeypatch):
    full(arms[0])
    real = evidence.__globals__["trained"]

    def beside(*given, **options):
        kept = rows.read(file_of(tmp_path))
        (row,) = kept["rows"].values()
        rows.write(file_of(tmp_path), kept | {"rows": {1: row, 2: row | {"text": "of another process"}}})
        yield from real(*given, **options)

    monkeypatch.setitem(evidence.__globals__, "trained", beside)
    full(arms[1])
    assert len(rows.read(file_of(tmp_path))["rows"]) == 3


def test_a_full_disk_loses_no_row_and_the_same_call_goes_on(tmp_path, arms, full, monkeypatch):
    full(arms[0])
    before = file_of(tmp_path).read_bytes()

    def no_room(path, _):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch, pytest.raises(OSError, match=NAME):
        patch.setattr(rows, "write_atomic", no_room)
        full(arms)
    assert file_of(tmp_path).read_bytes() == before
    assert len(full(arms)) == 4


def test_a_run_that_diverges_is_a_row_and_one_that_dies_is_none(tmp_path, arms, full, monkeypatch):
    real = evidence.__globals__["trained"]
    errors = {0: RunFailed("diverged", "the loss is nan"), 1: RunFailed("died", "killed")}

    def failing(given, *more, **options):
        for number, pair in enumerate(real(given, *more, **options)):
            yield pair[0], errors.get(number, pair[1])

    with monkeypatch.context() as patch, pytest.raises(ValueError, match=r"1 of 4.*died: killed"):
        patch.setitem(evidence.__globals__, "trained", failing)
        full(arms)
    made = full(arms)
    assert made["state"].tolist() == ["diverged: the loss is nan", "done", "done", "done"]
    assert made["bits_per_char"].isna().tolist() == [True, False, False, False]
    with pytest.raises(ValueError, match="'rotary', seed 0"):
        compare(made, "model.positions")


def test_another_text_has_rows_of_its_own(tmp_path, arms, full):
    full(arms)
    committed = file_of(tmp_path).read_bytes()
    other = made_text(tmp_path, "other.txt", "all that is gold does not glitter", (3, 8), 150)
    others = [replace(one, data=replace(one.data, corpus=other)) for one in arms]
    for elsewhere in (others, [replace(one, data=replace(one.data, corpus="/nowhere.txt")) for one in arms]):
        shown = read(tmp_path, elsewhere)
        assert shown.equals(read(tmp_path, arms)) and "measured on made" in shown.attrs["label"]
    own = full(others)
    assert "measured on other" in own.attrs["label"] and read(tmp_path, others).equals(own)
    assert (tmp_path / "build" / "evidence" / f"{NAME}.json").is_file()
    assert file_of(tmp_path).read_bytes() == committed


def test_seconds_become_steps_by_a_speed_that_is_measured_once(tmp_path, arms, full, monkeypatch):
    timed = lambda profile, seconds=3.0: steps_in(  # noqa: E731
        NAME, arms, seconds, profile=profile, rows_folder=folder_of(tmp_path), measured_for=0.01
    )
    with pytest.raises(ValueError, match="lab run 07"):
        timed("smoke")
    monkeypatch.setitem(
        steps_in.__globals__, "seconds_per_step", lambda given, *_, **__: [0.5, 0.25][: len(given)]
    )
    assert timed("full") == [6, 12, 6, 12]
    monkeypatch.delitem(steps_in.__globals__, "seconds_per_step")
    assert timed("full") == timed("smoke") == [6, 12, 6, 12] and timed("smoke", 0.001) == [1] * 4
    full(arms)
    assert timed("standard") == [6, 12, 6, 12] and len(read(tmp_path, arms)) == 4
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="seconds"):
            timed("smoke", seconds)


def test_real_speeds_are_measured(tmp_path, base):
    (steps,) = steps_in(NAME, base, 1.0, profile="full", rows_folder=folder_of(tmp_path), measured_for=0.05)
    assert 20 < steps < 20_000


@pytest.mark.parametrize("name", ["", "positions", "7.positions", "07.../x", "07.a/b", "07.", "07.Positions"])
def test_a_name_that_is_no_files_is_refused(tmp_path, base, name):
    with pytest.raises(ValueError, match=r"07\.equal_tokens"):
        evidence(name, base, profile="smoke", rows_folder=tmp_path)


def test_what_is_missing_and_what_is_no_experiment_is_said(tmp_path, arms, full):
    with pytest.raises(ValueError, match=r"4 of 4.*lab run 07 --profile full"):
        read(tmp_path, arms)
    full(arms[:1])
    with pytest.raises(ValueError, match="3 of 4"):
        read(tmp_path, arms)
    for bad in ([], [3], "an experiment"):
        with pytest.raises(ValueError, match="experiments"):
            read(tmp_path, bad)
    with pytest.raises(ValueError, match="profile"):
        read(tmp_path, arms, "fast")


DAMAGE = {
    "torn": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "another format": lambda text: text.replace('"format": 1', '"format": 9'),
    "a field is gone": lambda text: text.replace('"probe"', '"prob"'),
    "no settings": lambda text: text.replace('"settings": {', '"settings": 3, "old": {'),
    "twice": lambda text: json.dumps({**json.loads(text), "rows": json.loads(text)["rows"] * 2}),
    "a list": lambda text: "[]",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_file_is_named_and_left_as_it_is(tmp_path, base, full, what):
    full(base)
    damaged = DAMAGE[what](file_of(tmp_path).read_text())
    file_of(tmp_path).write_text(damaged)
    for use in (lambda: read(tmp_path, base), lambda: full(base)):
        with pytest.raises(ValueError, match=NAME):
            use()
    assert file_of(tmp_path).read_text() == damaged
    (complaint,) = [
        text for text in stale.complaints(folder_of(tmp_path), tmp_path) if "damaged" in text or NAME in text
    ]
    assert NAME in complaint


def test_an_objective_from_outside_has_rows_until_its_source_changes(tmp_path, base, full, monkeypatch):
    idea = replace(base, objective=TwoAhead(weight=0.5), data=Data(countdown(), "char", batch_size=4))
    full(idea)
    seen = trainings(monkeypatch)
    assert full(idea).equals(read(tmp_path, idea)) and not seen
    monkeypatch.setattr("lab.config.source_hash", lambda cls: "another")
    with pytest.raises(ValueError, match="lab run 07"):
        read(tmp_path, idea)


CELL = """
base = Experiment(TransformerConfig(90, **{sizes}), training=TrainConfig(steps=4),
                  data=Data({text!r}, "char", batch_size=4))
table = evidence({name!r}, [base], profile=profile, rows_folder={folder!r}, folder={runs!r}, workers=0)  # one
record("bits", table["bits_per_char"][0])
"""


def test_a_notebook_makes_its_rows_at_full_and_check_names_what_is_stale(tmp_path, base):
    folder = folder_of(tmp_path)
    places = {"folder": str(folder), "runs": str(tmp_path / "runs"), "text": base.data.corpus}
    setup = "from lab.nn import TransformerConfig\nfrom lab.notebooks import evidence, record\n"
    setup += "from lab.runs import Data, Experiment\nfrom lab.train import TrainConfig"
    cells = ['profile = "standard"', setup, CELL.format(sizes=SIZES, name=NAME, **places)]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    folder.mkdir(parents=True)
    path = folder.parent / "07_positions.ipynb"
    check = lambda: stale.complaints(folder, folder.parent, say=said.append)  # noqa: E731

    said = []
    nbformat.write(notebook, path)
    (complaint,) = check()
    assert "is not there" in complaint and "lab run 07" in complaint
    run = run_notebook(path, tmp_path / "full", {"profile": "full"}, progress=False)
    assert run.passed, run.error
    assert check() == []
    made = read(tmp_path, replace(base, training=TrainConfig(steps=4)))
    assert made["bits_per_char"].tolist() == [metric["value"] for metric in run.metrics]

    notebook.cells[2].source = notebook.cells[2].source.replace("# one", "# two")
    nbformat.write(notebook, path)
    assert check() == []
    changed(file_of(tmp_path), lambda row: row.update(probe=[loss + 0.01 for loss in row["probe"]]))
    (complaint,) = check()
    assert "begin otherwise" in complaint and not said
    changed(file_of(tmp_path), lambda row: row["settings"]["data"].update(corpus="/nowhere.txt"))
    assert check() == [] and "not probed" in said[0]
    notebook.cells[2].source += "\nprint(table)"
    nbformat.write(notebook, path)
    (complaint,) = check()
    assert "another version of the cell" in complaint
    path.unlink()
    (complaint,) = check()
    assert "no notebook" in complaint


def test_a_row_that_is_drawn_is_trained_again_and_compared(tmp_path, arms, full):
    again = lambda: stale.check_again(folder_of(tmp_path), seed=1, say=said.append)  # noqa: E731
    said = []
    assert again() == []
    full(arms)
    assert again() == [] and any("drawn by 1" in text for text in said)

    def moved(row, by):
        row["outcome"]["bits_per_char"] *= 1 + by

    changed(file_of(tmp_path), lambda row: moved(row, 1e-4))
    (complaint,) = again()
    assert "bits_per_char" in complaint
    changed(file_of(tmp_path), lambda row: row["machine"].update(cpu="Another CPU"))
    assert again() == []
    changed(file_of(tmp_path), lambda row: moved(row, 1e-2))
    assert len(again()) == 1


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
