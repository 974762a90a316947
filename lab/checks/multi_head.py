"""A check of attention in several heads, one fact at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lab.checks.attention_cases import CAUSAL, HOLES, plain_attention
from lab.checks.drawing import sentence, shorten
from lab.checks.numbers import Asked, close, differing, noise, real_numbers, spoken, tokens
from lab.checks.report import Case, CheckReport, Example

WEIGHTS = ("query", "key", "value", "output")


def multi_head_attention(fn: Callable, convention: str = "may_attend", given: str = "torch") -> CheckReport:
    """Is `fn(x, memory, weights, num_heads, mask)` multi-head attention from `x` to `memory`?

    x `(B, T, C)` asks, memory `(B, S, C)` has the keys and values. `weights` has the matrices "query", "key",
    "value" and "output", `(C, C)` each, used as in nn.Linear, `x @ weights["query"].T`, without biases; in
    examples those that are left out are the identity. mask is bool `(B, 1, T, S)` or `(1, 1, T, S)`, or None
    for no mask. The answer is `(B, T, C)`. Of H = num_heads heads, head h works on channels h E up to
    (h + 1) E, E = C / H, and scales by sqrt(E). `convention` says what a mask's `True` means, "may_attend" or
    "blocked"; `given` what `fn` gets, "torch" or "numpy", float64 either way.
    Source: Vaswani et al. 2017, section 3.2.2.

    >>> def without_transpose(x, memory, weights, num_heads, mask):
    ...     def heads(tokens, name):
    ...         return (tokens @ weights[name].T).view(len(x), num_heads, tokens.shape[1], -1)
    ...     q, k, v = heads(x, "query"), heads(memory, "key"), heads(memory, "value")
    ...     mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)
    ...     return mixed.reshape(x.shape) @ weights["output"].T
    >>> example = multi_head_attention(without_transpose).properties[4].example
    >>> print(example.call, example.expected, example.actual, sep="\\n")
    fn(x=[[[1.0, 2.0], [5.0, 8.0]]], memory=x, weights={'key': [[0.0, 0.0], [0.0, 0.0]], ...}, num_heads=2, mask=None)
    [3][5]
    [3][5]
    [1.5][1.5]
    [6.5][6.5]
    """
    questions = Questions(convention)

    def read(case: Case, answer: object) -> np.ndarray:
        return real_numbers(answer, tuple(case["x"].shape))

    first = [questions.random(*sizes) for sizes in ((1, 1, 1, 1), (1, 2, 1, 1), (1, 2, 2, 1), (2, 3, 4, 2))]
    asked = Asked(fn, given, "real numbers (B, T, C)", read, first)

    def plain(case: Case, scale: float | None = None) -> np.ndarray:
        x, memory, weights, num_heads, _ = case.arguments.values()
        return plain_multi_head(x, memory, weights, num_heads, questions.may_attend(case), scale)

    def which_scale(case: Case, answer: np.ndarray) -> str:
        C, H = case["x"].shape[-1], case["num_heads"]
        scales = {"no scale": 1.0, "a division by sqrt(C)": C**-0.5, "a division by C / H": H / C}
        return next(
            (f"as with {said}" for said, s in scales.items() if close(plain(case, s), answer).all()), ""
        )

    def leaks(case: Case) -> Example | None:
        before = asked(case)
        for t, s in (~questions.may_attend(case)[0, 0]).nonzero().tolist():
            after = asked(_token_changed(case, s))
            note = f"query {t}, for which token {s} is blocked, before and after token {s} changes"
            if example := differing(str(case), before[:, t], after[:, t], note):
                return example

    def deaf(case: Case) -> Example | None:
        before = asked(case)
        for t, s in questions.may_attend(case)[0, 0].nonzero().tolist():
            stays = close(before[0, t], asked(_token_changed(case, s))[0, t])
            if t != s and stays.any():
                said = (f"another answer to query {t}", f"channels {np.flatnonzero(stays).tolist()} stay")
                return Example(str(case), *map(sentence, said), f"token {s}, which it may see, changes by 2")

    def apart(case: Case) -> Example | None:
        whole = asked(case)
        for b in range(len(whole)):
            arguments = case.arguments | {name: case[name][[b]] for name in ("x", "memory")}
            note = f"row {b} asked alone, and among the others"
            if example := differing(str(case), asked(Case(**arguments)), whole[[b]], note):
                return example

    return CheckReport(
        "multi_head_attention",
        (
            asked.answered,
            asked.expect("one head is plain attention", questions.one_head(), plain),
            asked.expect(
                "query, key and value are x @ W.T, with W their weights", questions.projections(), plain
            ),
            asked.expect("the output weights come last, as y @ W.T", questions.output(), plain),
            asked.expect(
                "head h has channels h E up to (h + 1) E, of the same token", questions.heads(), plain
            ),
            asked.expect(
                "each head is scaled by its own width, sqrt(C / H)", questions.scaled(), plain, which_scale
            ),
            asked.expect("queries come from x, keys and values from memory", questions.cross(), plain),
            asked.judge("a blocked key is blocked in every head", questions.masked(), leaks),
            asked.judge("every other key has influence in every head", questions.masked(), deaf),
            asked.judge("each row of the batch works by itself", [questions.random(2, 2, 2, 2)], apart),
            asked.expect("all together: the formula, on random numbers", questions.together(), plain),
        ),
    )


class Questions:
    """Cases `fn(x, memory, weights, num_heads, mask)`, in each of which one fact decides.

    Weights are the identity where nothing else is said. Keys of zero make every answer an average, and
    large scores let a query see one key alone: then the scale makes no difference.
    """

    def __init__(self, convention: str):
        spoken(None, convention)  # refuses an unknown one
        self.convention = convention

    def may_attend(self, case: Case) -> Tensor | None:
        """The mask of a case as `True` = may attend."""
        return spoken(case["mask"], self.convention)

    def case(
        self,
        x: Tensor,
        num_heads: int = 1,
        memory: Tensor | None = None,
        may_attend: object = None,
        **weights: Tensor,
    ) -> Case:
        """`memory` None: that of `x`."""
        plain = {name: torch.eye(x.shape[-1], dtype=torch.float64) for name in WEIGHTS}
        mask = spoken(may_attend, self.convention)
        memory = x.clone() if memory is None else memory
        return _Case(x=x, memory=memory, weights=plain | weights, num_heads=num_heads, mask=mask)

    def random(self, B: int, T: int, C: int, num_heads: int) -> Case:
        return self.case(noise(B, T, C, seed=1), num_heads)

    def one_head(self) -> list[Case]:
        return [self.case(tokens([1])[0]), self.case(tokens([1], [2])[0])]

    def projections(self) -> list[Case]:
        two, zero = tokens([1, 0], [0, 1])[0], torch.zeros(2, 2, dtype=torch.float64)
        turn = matrix([0, 40], [0, 0])
        return [
            self.case(two, key=zero, value=matrix([1, 2], [0, 3])),
            self.case(two, query=turn),
            self.case(two, key=turn),
        ]

    def output(self) -> list[Case]:
        zero = torch.zeros(2, 2, dtype=torch.float64)
        return [self.case(tokens([1, 2])[0], key=zero, output=matrix([1, 2], [0, 3]))]

    def heads(self) -> list[Case]:
        """Averages first; then two heads of which each sees another key."""
        pair, zero = tokens([1, 2], [5, 8])[0], torch.zeros(2, 2, dtype=torch.float64)
        four = tokens([2, 1, 0, 0], [0, 0, 1, 2])[0]
        return [self.case(pair, 2, key=zero), self.case(four, 2, query=torch.full((4, 4), 40.0).double())]

    def scaled(self) -> list[Case]:
        opposite = tokens([1] * 4, [-1] * 4)[0]
        return [self.case(opposite, 2, query=torch.eye(4, dtype=torch.float64) / 2)]

    def cross(self) -> list[Case]:
        return [
            self.case(tokens([1], [2])[0], memory=tokens([3], [5])[0]),
            self.case(tokens([1])[0], memory=tokens([3], [5], [4])[0]),
        ]

    def masked(self) -> list[Case]:
        sizes = ((2, 2, 1, CAUSAL), (2, 2, 2, CAUSAL), (3, 4, 2, HOLES))
        return [self.case(noise(1, T, C, seed=T), H, may_attend=mask) for T, C, H, mask in sizes]

    def together(self) -> list[Case]:
        weights = {name: noise(4, 4, seed=n) for n, name in enumerate(WEIGHTS)}
        x, memory = noise(2, 3, 4, seed=5), noise(2, 5, 4, seed=6)
        mask = torch.tensor([[1, 0, 1, 0, 1], [0, 1, 1, 1, 0]]).bool()[:, None, None].expand(2, 1, 3, 5)
        return [self.case(x, 2, memory, **weights), self.case(x, 2, memory, mask.clone(), **weights)]


class _Case(Case):
    """Shown without the weights that are the identity, and without a memory that is x."""

    def __str__(self) -> str:
        x, memory, weights, num_heads, mask = self.arguments.values()
        eye = torch.eye(x.shape[-1], dtype=x.dtype)
        named = {name: w.tolist() for name, w in weights.items() if not torch.equal(w, eye)}
        shown = str(named) if len(named) == len(weights) else f"{str(named)[:-1]}{', ' if named else ''}...}}"
        source = "x" if torch.equal(x, memory) else memory.tolist()
        mask = None if mask is None else mask.tolist()
        call = f"fn(x={x.tolist()}, memory={source}, weights={shown}, num_heads={num_heads}, mask={mask})"
        return shorten(call)


def matrix(*rows: Sequence[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _token_changed(case: Case, s: int) -> Case:
    x = case["x"].clone()
    x[:, s] += 2
    return _Case(**(case.arguments | {"x": x, "memory": x.clone()}))


def plain_multi_head(
    x: Tensor,
    memory: Tensor,
    weights: dict[str, Tensor],
    num_heads: int,
    may_attend: Tensor | None,
    scale: float | None = None,
) -> np.ndarray:
    """The definition: one head after another, each on its slice of the channels, `(B, T, C)`."""
    q, k, v = x @ weights["query"].T, memory @ weights["key"].T, memory @ weights["value"].T
    heads = zip(
        *(part[:, None].chunk(num_heads, dim=-1) for part in (q, k, v)), strict=True
    )  # (B, 1, T, E) each
    mixed = [plain_attention(*head, may_attend, scale)[:, 0] for head in heads]
    return np.concatenate(mixed, axis=-1) @ weights["output"].T.numpy()
