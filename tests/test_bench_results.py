"""Result files come back as they were, damaged ones are refused, two can be compared."""

import json
import math

import pytest

from lab.bench import Result, Row, Timing, load_result, machine, save_result


def result(seconds: float = 1.0) -> Result:
    notes = {"flops": 10**12, "extrapolated": False}
    rows = (
        Row({"batch": 1, "mode": "eager"}, (seconds, 2 * seconds, 3 * seconds), notes),
        Row({"batch": 2, "mode": "eager"}, (4 * seconds,)),
        Row({"batch": 2, "mode": "graph"}, problem="no CUDA [here]  at all"),
    )
    return Result("How fast?", {"kind": "cpu", "name": "Some CPU"}, {"sweep": rows, "threads": ()}, machine())


def test_a_result_comes_back_as_it_was(tmp_path):
    path = save_result(tmp_path / "deep" / "a.json", result())
    assert load_result(path) == result()
    with pytest.raises(ValueError):
        save_result(tmp_path / "b.json", result(math.nan))
    assert not (tmp_path / "b.json").exists(), "what JSON cannot hold is not written"


def test_rows_are_chosen_by_their_case():
    assert [row.seconds for row in result().select("sweep", mode="eager", batch=2)] == [(4.0,)]
    assert len(result().select("sweep", batch=2)) == 2
    assert result().select("sweep", batch=3) == [] == result().select("threads")
    assert result().select("sweep", batch=1)[0].timing == Timing((1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="swep"):
        result().select("swep")
    with pytest.raises(ValueError, match="no CUDA"):
        _ = result().select("sweep", mode="graph")[0].timing


DAMAGED = [
    lambda v: v.pop("machine"),
    lambda v: v.update(extra=1),
    lambda v: v.update(format=99),
    lambda v: v["device"].pop("kind"),
    lambda v: v["parts"].update(sweep=3),
    lambda v: v["parts"]["sweep"][0].pop("case"),
    *[lambda v, s=s: v["parts"]["sweep"][1].update(seconds=s) for s in ([-1.0], ["1"], [])],
    lambda v: v["parts"]["sweep"][2].update(seconds=[1.0]),
]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_file_that_is_not_a_result_is_refused(tmp_path, damage):
    path = save_result(tmp_path / "a.json", result())
    values = json.loads(path.read_text())
    damage(values)
    for text in (json.dumps(values), "{", "[]"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"a\.json"):
            load_result(path)
