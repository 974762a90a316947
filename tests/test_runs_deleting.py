"""Runs weighed, compared and deleted, on the way through Python and at the command line."""

import io
import sys
from dataclasses import replace

import pytest
from run_toys import made_text, quiet

from lab import cli, runs
from lab.nn import TransformerConfig
from lab.runs import Data, Experiment
from lab.runs.lock import locked
from lab.train import TrainConfig


@pytest.fixture
def place(tmp_path):
    """A folder with the runs "first", "wider", and "second", which began with the first."""
    text = made_text(tmp_path, "cats.txt", "the cat sat ran on under a mat", (3, 9), 60)
    model = TransformerConfig(40, context=8, width=8, num_layers=1, num_heads=2, feed_forward=8)
    first = Experiment(model, training=TrainConfig(steps=4, warmup=2), data=Data(text, "char", batch_size=4))
    place = tmp_path / "runs"
    quiet(first, place, name="first")
    quiet(replace(first, model=replace(model, width=16)), place, name="wider")
    quiet(replace(first, model=None, start="first"), place, name="second")
    return place


def test_the_table_says_what_room_a_run_takes_with_all_its_checkpoints(place):
    (place / "wider" / "step-00000004" / "manifest.json").write_text("{}")  # a damaged one takes room too
    table = runs.table(place)
    for name in ("first", "second", "wider"):
        files = [file for file in (place / name).rglob("*") if file.is_file()]
        assert len(files) >= 8 and runs.disk_use(place / name) == sum(file.stat().st_size for file in files)
        assert table.loc[name, "megabytes"] == runs.disk_use(place / name) / 1e6 > 0


def test_two_runs_side_by_side_show_only_what_differs(place):
    table = runs.side_by_side("first", place / "wider", place)
    assert list(table.index) == ["first", str(place / "wider")] and table.columns[0] == "model.width"
    assert table["model.width"].tolist() == [8, 16] and not {"seed", "data.corpus"} & set(table.columns)
    assert (
        table["bits_per_char"].tolist() == runs.table(place).loc[["first", "wider"], "bits_per_char"].tolist()
    )
    with pytest.raises(ValueError, match="one run"):
        runs.side_by_side("first", place / "first", place)
    with pytest.raises(ValueError, match="no run is called 'third'"):
        runs.side_by_side("first", "third", place)


def test_a_run_is_deleted_and_what_is_not_of_it_stays(place):
    (place / "wider" / "notes.txt").write_text("mine")
    (place / "first" / ".step-00000009.1234.part").mkdir()  # of a save that was killed
    (place / "first" / ".about.json.1234.part").write_text("{")
    assert runs.started_from(place / "first") == ["second"] and runs.started_from(place / "wider") == []
    assert runs.delete("first", place) == place / "first" and not (place / "first").exists()
    runs.delete(place / "wider")
    assert {file.name for file in (place / "wider").iterdir()} <= {"notes.txt", ".lock"}
    assert (place / "wider" / "notes.txt").read_text() == "mine"
    assert list(runs.table(place).index) == ["second"] and runs.load(place / "second").state.step == 4
    with pytest.raises(ValueError, match="no run is called 'first'"):
        runs.delete("first", place)


def test_what_is_not_a_run_at_rest_is_not_deleted(place):
    with pytest.raises(ValueError, match="one checkpoint of a run: name the run, first"):
        runs.delete(place / "first" / "step-00000004")
    with locked(place / "first"), pytest.raises(runs.RunBusy, match="trains"):
        runs.delete("first", place)
    assert runs.load(place / "first").state.step == 4
    begun = runs.training(
        replace(runs.load(place / "first").experiment, seed=7), place, name="begun", save_seconds=99
    )
    next(begun)
    with pytest.raises(runs.RunBusy):
        runs.delete("begun", place)
    begun.close()
    runs.delete("begun", place)
    assert not (place / "begun").exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def lab(monkeypatch, capsys, place):
    def lab(*arguments, answer: str | None = None) -> str:
        monkeypatch.setattr(sys, "argv", ["lab", "runs", str(place), *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO() if answer is None else Terminal(f"{answer}\n"))
        try:
            cli.main()
        except SystemExit as end:
            assert end.code == 2
        said = capsys.readouterr()
        return said.out + said.err

    return lab


def test_a_person_is_asked_before_a_run_is_deleted(lab, place):
    said = lab("--delete", "first", answer="")
    assert "second began with it" in said and "MB" in said and (place / "first").exists()
    assert "--yes" in lab("--delete", "first"), "nobody is there to be asked"
    assert (place / "first").exists()
    lab("--delete", "first", answer="y")
    assert not (place / "first").exists() and (place / "second").exists()
    assert "deleted" in lab("--delete", "wider", "--yes") and not (place / "wider").exists()
    assert "no run is called 'third'" in lab("--delete", "third", "--yes")


def test_two_runs_are_compared_a_column_each(lab):
    lines = lab("--compare", "first", "second").splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["run"] == ["first", "second"] and rows["start.run"] == ["-", "first"]
    assert rows["state"] == ["done", "done"] and "width" not in rows and float(rows["bits_per_char"][0]) > 0
