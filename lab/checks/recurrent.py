"""A check of one step of a recurrent cell, one gate at a time.

B rows, C channels of the input, H units of the state.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from lab.checks.check import Case, Check, CheckReport, Examples, one_of
from lab.checks.drawing import shorten
from lab.checks.numbers import apart, differing, noise, parts, real_numbers

GATES = {"elman": ("",), "gru": ("_r", "_z", "_n"), "lstm": ("_i", "_f", "_g", "_o")}
EVERY = {kind: " ".join(f"W{gate} U{gate} b{gate}" for gate in gates) for kind, gates in GATES.items()}
OPEN, SHUT = 50.0, -50.0  # biases with which a gate lets everything through, or nothing
# One gate at a time: which weights are random, and what holds the other gates open, shut or constant.
ALONE = {
    "elman": {"the input alone: tanh(W x)": ("W", {}), "the state comes in by U": ("U", {})},
    "gru": {
        "the reset gate: how much of U_n h the candidate gets": ("W_r U_r b_r U_n", {"b_z": SHUT}),
        "the update gate: how much of h stays": ("W_z U_z b_z", {}),
        "the candidate, with the reset gate open": ("W_n U_n b_n", {"b_z": SHUT, "b_r": OPEN}),
    },
    "lstm": {
        "the input gate: how much of g is let in": ("W_i U_i b_i", {"b_f": SHUT, "b_g": 1.0, "b_o": OPEN}),
        "the forget gate: how much of c stays": ("W_f U_f b_f", {"b_i": SHUT, "b_o": OPEN}),
        "the cell: what is let in is tanh": ("W_g U_g b_g", {"b_f": SHUT, "b_i": OPEN, "b_o": OPEN}),
        "the output gate: how much of tanh(c') is shown": ("W_o U_o b_o", {"b_f": OPEN, "b_i": SHUT}),
    },
}
VARIANTS = {
    "elman": {"no tanh": "no tanh"},
    "gru": {
        "z and 1 - z in each other's place (Chung et al. 2014); here h' = (1 - z) n + z h": "swapped",
        "U_n (r * h), as in Cho et al. 2014; here r * (U_n h), as in torch": "reset first",
    },
    "lstm": {"h' = o * c', without the tanh": "no tanh"},
}


def recurrent(fn: Callable, kind: str, given: str = "torch") -> CheckReport:
    """Is `fn(x, state, weights)` one step of a cell of this kind, "elman", "gru" or "lstm"?

    x `(B, C)`; the state is h `(B, H)`, that of an LSTM a tuple (h, c) of two such. The answer is the next
    state, in the same form. `weights` has for each gate a matrix W `(H, C)` for the input, U `(H, H)` for the
    state, used as `x @ W.T + h @ U.T + b`, and b `(H,)`; below that sum is a, s is the logistic function.

        elman   W, U, b                         h' = tanh(a)
        gru     W_r, U_r, b_r, ..._z, ..._n     r = s(a_r), z = s(a_z), n = tanh(W_n x + b_n + r * (U_n h))
                                                h' = (1 - z) * n + z * h
        lstm    W_i, U_i, b_i, ..._f, _g, _o    i, f, o = s(a_i), s(a_f), s(a_o), g = tanh(a_g)
                                                c' = f * c + i * g, h' = o * tanh(c')

    In examples weights that are left out are zero. `given` says what `fn` gets, "torch" or "numpy", float64
    either way. Sources: Elman 1990 (with tanh); Cho et al. 2014 in torch's variant, where the reset gate acts on
    U_n h; Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000.

    >>> def without_bias(x, h, weights):
    ...     return torch.tanh(x @ weights["W"].T + h @ weights["U"].T)
    >>> report = recurrent(without_bias, "elman")
    >>> print(report.properties[1].name, report.properties[1].example.call, sep="\\n")
    zero input and zero state: the biases alone
    fn(x=[[0.0]], h=[[0.0]], weights={'W': [[-0.6]], 'U': [[0.7]], 'b': [-0.2]})

    Raises ValueError for an unknown kind or `given`.
    """
    one_of("kind", kind, tuple(GATES))
    lstm = kind == "lstm"

    def ask(B: int, C: int, H: int, random: str = EVERY[kind], seed: int = 0, **constant: float) -> Case:
        """Random input and state; the weights named in `random` are random too, others zero or filled with a number."""
        shapes = {"W": (H, C), "U": (H, H), "b": (H,)}
        weights = {}
        for n, name in enumerate(EVERY[kind].split()):
            shape = shapes[name[0]]
            drawn = name in random.split()
            weights[name] = (
                noise(*shape, seed=seed + 10 + n) if drawn else torch.zeros(shape, dtype=torch.float64)
            )
            weights[name] += constant.get(name, 0.0)
        state = {name: noise(B, H, seed=seed + n) for name, n in (("h", 2), ("c", 3)) if lstm or name == "h"}
        return _Case(x=noise(B, C, seed=seed + 1), **state, weights=weights)

    def silent(case: Case) -> Case:
        return case.but(**{name: 0 * v for name, v in case.arguments.items() if name != "weights"})

    def step(x: object, *rest: object) -> object:
        *state, weights = rest
        return fn(x, tuple(state) if lstm else state[0], weights)

    def read(case: Case, answer: object) -> np.ndarray:
        """`(1, B, H)`, or `(2, B, H)` of an LSTM."""
        shape, names = tuple(case["h"].shape), ("h", "c") if lstm else ("",)
        states = parts(answer, names) if lstm else [answer]
        return np.stack([real_numbers(s, shape, name) for s, name in zip(states, names, strict=True)])

    def plain(case: Case, variant: str = "") -> np.ndarray:
        return plain_step(kind, *map(_numpy, case), variant=variant)

    def variants(case: Case) -> Iterator[tuple[str, np.ndarray]]:
        if lstm:
            yield "(c, h) came, (h, c) was expected", plain(case)[::-1]
        for said, variant in VARIANTS[kind].items():
            yield f"as with {said}", plain(case, variant)

    wanted = f"real numbers (B, H){', two of them: (h, c)' if lstm else ''}"
    small = [ask(*size) for size in ((1, 1, 1), (1, 2, 2), (2, 3, 2), (3, 1, 4))]
    check = Check(f"recurrent ({kind})", step, wanted, read, small, right=plain, given=given)

    def expect(name: str, cases: list[Case]) -> None:
        check.expect(name, cases, mistakes=variants, note="rows of h, then of c" if lstm else "")

    def row(case: Case, b: int) -> Case:
        return case.but(**{name: value[[b]] for name, value in case.arguments.items() if name != "weights"})

    def in_turn(case: Case, answer: np.ndarray) -> Examples:
        def after(states: np.ndarray) -> Case:
            state = dict(zip("hc", map(torch.from_numpy, states), strict=False))
            return case.but(x=case["x"].flip(0) + 0.5, **state)

        expected, actual = plain(after(plain(case))), check.ask(after(answer))
        yield differing(f"{case}, and again with what came of it", expected, actual)

    def again(case: Case, answer: np.ndarray) -> Examples:
        check.ask(ask(*case["x"].shape, case["h"].shape[1], seed=7))
        yield differing(case, answer, check.ask(case), "asked twice, with another question between")

    def finite(case: Case, answer: np.ndarray) -> Examples:
        yield differing(case, plain(case), answer, wrong=~np.isfinite(answer))

    random = [ask(*size) for size in ((1, 1, 1), (1, 2, 2), (2, 4, 3), (2, 3, 4))]
    large = [ask(1, 1, 1), ask(2, 2, 3)]
    expect("zero input and zero state: the biases alone", [silent(case) for case in large])
    for name, (weights, constant) in ALONE[kind].items():
        expect(name, [ask(1, C, H, weights, **constant) for C, H in ((1, 1), (2, 2), (3, 2))])
    expect("one step by the formula, on random numbers", random)
    check.judge("each row of the batch works by itself", apart(check.ask, row, axis=1), [ask(2, 2, 2)])
    check.judge("the state is carried: two steps in turn", in_turn, random)
    check.judge("the same question gets the same answer again", again, random[:2])
    check.judge("large numbers do not overflow", finite, [case.but(x=10_000 * case["x"]) for case in large])
    return check.report


class _Case(Case):
    """Shown without the weights that are zero; an LSTM's state as the pair that it is."""

    def __str__(self) -> str:
        x, *state, weights = self
        named = {name: w.tolist() for name, w in weights.items() if w.any()}
        states = [s.tolist() for s in state]
        said = f"state=({states[0]}, {states[1]})" if len(states) == 2 else f"h={states[0]}"
        return shorten(f"fn(x={x.tolist()}, {said}, weights={named})")


def _numpy(value: object) -> object:
    return {name: w.numpy() for name, w in value.items()} if isinstance(value, dict) else value.numpy()


def plain_step(kind: str, x: np.ndarray, *rest, variant: str = "") -> np.ndarray:
    """The definition, `(1, B, H)` or of an LSTM `(2, B, H)`; or a variant that is met with elsewhere."""
    *state, w = rest
    h = state[0]
    tanh = (lambda a: a) if variant == "no tanh" else np.tanh

    def total(gate: str) -> np.ndarray:
        return x @ w[f"W{gate}"].T + h @ w[f"U{gate}"].T + w[f"b{gate}"]

    def logistic(gate: str) -> np.ndarray:
        return (1 + np.tanh(total(gate) / 2)) / 2

    if kind == "elman":
        return tanh(total(""))[None]
    if kind == "gru":
        r, z = logistic("_r"), logistic("_z")
        recalled = (r * h) @ w["U_n"].T if variant == "reset first" else r * (h @ w["U_n"].T)
        n = np.tanh(x @ w["W_n"].T + w["b_n"] + recalled)
        return (z * n + (1 - z) * h if variant == "swapped" else (1 - z) * n + z * h)[None]
    c = logistic("_f") * state[1] + logistic("_i") * np.tanh(total("_g"))
    return np.stack([logistic("_o") * tanh(c), c])
