"""The check of a recurrent cell passes steps that are right, ours and torch's, and catches every planted bug."""

import numpy as np
import torch
from test_checks import failing
from torch import nn

from lab import checks

ZEROS, FORMULA, ROWS, TURN = "zero input", "one step by the formula", "each row", "two steps in turn"
AGAIN, LARGE, INPUT, STATE = "the same question", "overflow", "the input alone", "the state comes in"
RESET, UPDATE, CANDIDATE = "the reset gate:", "the update gate", "the candidate,"
IN, FORGET, CELL, OUT = "the input gate", "the forget gate", "the cell", "the output gate"
GATES = {"elman": ("",), "gru": ("_r", "_z", "_n"), "lstm": ("_i", "_f", "_g", "_o")}


def total(x, h, w, gate=""):
    return x @ w[f"W{gate}"].T + h @ w[f"U{gate}"].T + w[f"b{gate}"]


def elman(x, h, w):
    return torch.tanh(total(x, h, w))


def gru(x, h, w, swapped=False, reset_first=False, gates=("_r", "_z"), bend=torch.tanh):
    r, z = (torch.sigmoid(total(x, h, w, gate)) for gate in gates)
    U = w["U_n"].T
    n = bend(x @ w["W_n"].T + w["b_n"] + ((r * h) @ U if reset_first else r * (h @ U)))
    return z * n + (1 - z) * h if swapped else (1 - z) * n + z * h


def lstm(x, state, w, gates=("_i", "_f", "_g", "_o"), shown=torch.tanh, forget=True):
    h, c = state
    i, f, g, o = (total(x, h, w, gate) for gate in gates)
    c = (f.sigmoid() if forget else 1) * c + i.sigmoid() * torch.tanh(g)
    return o.sigmoid() * shown(c), c


def torchs(kind):
    """torch's own cell with these weights."""

    def step(x, state, w):
        (H, C), gates = w["W" + GATES[kind][0]].shape, GATES[kind]
        cell = {"elman": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}[kind](C, H).to(x.dtype)
        with torch.no_grad():
            cell.weight_ih.copy_(torch.cat([w[f"W{gate}"] for gate in gates]))
            cell.weight_hh.copy_(torch.cat([w[f"U{gate}"] for gate in gates]))
            cell.bias_ih.copy_(torch.cat([w[f"b{gate}"] for gate in gates]))
            cell.bias_hh.zero_()
        return cell(x, state)

    return step


def in_numpy(x, state, w):
    assert isinstance(x, np.ndarray)
    h, c = state
    i, f, g, o = (x @ w[f"W_{k}"].T + h @ w[f"U_{k}"].T + w[f"b_{k}"] for k in "ifgo")
    i, f, o = (np.exp(-np.logaddexp(0, -a)) for a in (i, f, o))
    c = f * c + i * np.tanh(g)
    return [(o * np.tanh(c)).tolist(), c.tolist()]


def test_right_steps_pass():
    for kind, ours in (("elman", elman), ("gru", gru), ("lstm", lstm)):
        checks.recurrent(ours, kind).raise_if_failed()
        checks.recurrent(torchs(kind), kind).raise_if_failed()
    checks.recurrent(in_numpy, "lstm", given="numpy").raise_if_failed()


def without(forgotten):
    """The weights with one of them zero."""
    return lambda w: {name: value * (name != forgotten) for name, value in w.items()}


def overflowing(x, h, w):
    up, down = total(x, h, w).exp(), (-total(x, h, w)).exp()
    return (up - down) / (up + down)


def remembering():
    """Adds to what it is given the state that it last gave out."""
    kept = {}

    def step(x, h, w):
        last = kept.get("h", torch.zeros(1, dtype=torch.float64))
        kept["h"] = elman(x, h + 0.1 * last.mean(), w)
        return kept["h"]

    return step


test_wrong_elman_steps_are_caught = failing(
    checks.recurrent,
    (lambda x, h, w: total(x, h, w), [ZEROS, INPUT, STATE, FORMULA, TURN]),
    (lambda x, h, w: elman(x, h, without("b")(w)), [ZEROS, FORMULA, TURN]),
    (lambda x, h, w: elman(x, h, without("W")(w)), [INPUT, FORMULA, TURN]),
    (lambda x, h, w: elman(x, h, without("U")(w)), [STATE, FORMULA, TURN]),
    (lambda x, h, w: elman(x, h.mean(0, keepdim=True).expand_as(h), w), [FORMULA, ROWS, TURN]),
    (overflowing, [LARGE]),
    kind="elman",
)  # fmt: skip
test_a_state_that_is_kept_aside_is_caught = failing(
    lambda make: checks.recurrent(make(), "elman"), (remembering, [AGAIN]), only=False
)
test_wrong_gru_steps_are_caught = failing(
    lambda change: checks.recurrent(lambda *args: gru(*args, **change), "gru"),
    ({"gates": ("_z", "_r")}, [ZEROS, RESET, UPDATE, CANDIDATE, FORMULA, TURN]),
    ({"bend": lambda a: a}, [ZEROS, RESET, CANDIDATE, FORMULA, TURN]),
)  # fmt: skip
test_forgotten_weights_of_a_gru_are_caught = failing(
    lambda name: checks.recurrent(lambda x, h, w: gru(x, h, without(name)(w)), "gru"),
    ("W_z", [UPDATE, FORMULA, TURN]), ("b_n", [ZEROS, CANDIDATE, FORMULA, TURN]),
)  # fmt: skip
test_wrong_lstm_steps_are_caught = failing(
    lambda change: checks.recurrent(lambda *args: lstm(*args, **change), "lstm"),
    ({"gates": ("_f", "_i", "_g", "_o")}, [ZEROS, IN, FORGET, CELL, OUT, FORMULA, TURN]),
    ({"forget": False}, [IN, FORGET, CELL, FORMULA, TURN]),
)  # fmt: skip
test_variants_met_elsewhere_are_named = failing(
    lambda kind_and_fn: checks.recurrent(kind_and_fn[1], kind_and_fn[0]),
    (("lstm", lambda *args: lstm(*args)[::-1]), [FORMULA], "(c, h) came, (h, c) was expected"),
    (("lstm", lambda *args: (lstm(*args)[0],) * 2), [FORGET, FORMULA, TURN], "rows of h, then of c"),
    (("lstm", lambda *args: lstm(*args, shown=lambda c: c)), [FORMULA], "without the tanh"),
    (("gru", lambda *args: gru(*args, swapped=True)), [FORMULA], "Chung et al. 2014"),
    (("gru", lambda *args: gru(*args, reset_first=True)), [RESET, FORMULA], "as in Cho et al. 2014"),
    (("elman", total), [FORMULA], "as with no tanh"),
    only=False,
)


def test_the_smallest_case_is_shown():
    report = checks.recurrent(lambda *args: gru(*args, reset_first=True), "gru")
    (example,) = [p.example for p in report.properties if RESET in p.name]
    assert "weights={'W_r'" in example.call and "'W_n'" not in example.call and len(example.call) < 500
