"""A check of attention in several heads, one fact at a time."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from lab.checks.attention_cases import CAUSAL, HOLES, Masked, pairs, plain_attention
from lab.checks.check import Case, Check, CheckReport, Examples
from lab.checks.drawing import shorten
from lab.checks.numbers import apart, close, differing, noise, reals, told

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
    ask = Questions(convention)

    def plain(case: Case, scale: float | None = None) -> np.ndarray:
        x, memory, weights, num_heads, _ = case
        return plain_multi_head(x, memory, weights, num_heads, ask.may_attend(case), scale)

    def other_scales(case: Case) -> Iterator[tuple[str, np.ndarray]]:
        C, H = case["x"].shape[-1], case["num_heads"]
        yield "as with no scale", plain(case, 1.0)
        yield "as with a division by sqrt(C)", plain(case, C**-0.5)
        yield "as with a division by C / H", plain(case, H / C)

    small = [ask.random(*size) for size in ((1, 1, 1, 1), (1, 2, 1, 1), (1, 2, 2, 1), (2, 3, 4, 2))]
    wanted, read = "real numbers (B, T, C)", reals(lambda case: case["x"].shape)
    check = Check("multi_head_attention", fn, wanted, read, small, right=plain, given=given)

    def token_changed(case: Case, s: int) -> Case:
        x = case["x"].clone()
        x[:, s] += 2
        return case.but(x=x, memory=x.clone())

    def leaks(case: Case, before: np.ndarray) -> Examples:
        for t, s in pairs(~ask.visible(case)):
            after = check.ask(token_changed(case, s))
            note = f"query {t}, for which token {s} is blocked, before and after token {s} changes"
            yield differing(case, before[:, t], after[:, t], note)

    def deaf(case: Case, before: np.ndarray) -> Examples:
        for t, s in pairs(ask.visible(case)):
            stays = close(before[0, t], check.ask(token_changed(case, s))[0, t])
            if t != s and stays.any():
                channels = f"channels {np.flatnonzero(stays).tolist()} stay"
                note = f"token {s}, which it may see, changes by 2"
                yield told(case, f"another answer to query {t}", channels, note)

    def row(case: Case, b: int) -> Case:
        return case.but(x=case["x"][[b]], memory=case["memory"][[b]])

    pair, two, turn = matrix([1, 2], [5, 8]), matrix([1, 0], [0, 1]), matrix([0, 40], [0, 0])
    zero, some = matrix([0, 0], [0, 0]), matrix([1, 2], [0, 3])
    one_head = [ask.case(matrix(*rows)) for rows in (([1],), ([1], [2]))]
    projections = [ask.case(two, key=zero, value=some), ask.case(two, query=turn), ask.case(two, key=turn)]
    output = [ask.case(matrix([1, 2]), key=zero, output=some)]
    # Averages first; then two heads of which each sees another key.
    four, large = matrix([2, 1, 0, 0], [0, 0, 1, 2]), torch.full((4, 4), 40.0).double()
    heads = [ask.case(pair, 2, key=zero), ask.case(four, 2, query=large)]
    scaled = [ask.case(matrix([1] * 4, [-1] * 4), 2, query=torch.eye(4, dtype=torch.float64) / 2)]
    crossed = (([1], [2]), ([3], [5])), (([1],), ([3], [5], [4]))
    cross = [ask.case(matrix(*x), memory=matrix(*memory)) for x, memory in crossed]
    sizes = ((2, 2, 1, CAUSAL), (2, 2, 2, CAUSAL), (3, 4, 2, HOLES))
    masked = [ask.case(noise(T, C, seed=T), H, may_attend=mask) for T, C, H, mask in sizes]
    weights = {name: noise(4, 4, seed=n) for n, name in enumerate(WEIGHTS)}
    mask = torch.tensor([[1, 0, 1, 0, 1], [0, 1, 1, 1, 0]])[:, None, None].repeat(1, 1, 3, 1)
    x, memory = noise(2, 3, 4, seed=5), noise(2, 5, 4, seed=6)
    together = [ask.case(x, 2, memory, may_attend, **weights) for may_attend in (None, mask)]

    check.expect("one head is plain attention", one_head)
    check.expect("query, key and value are x @ W.T, with W their weights", projections)
    check.expect("the output weights come last, as y @ W.T", output)
    check.expect("head h has channels h E up to (h + 1) E, of the same token", heads)
    check.expect("each head is scaled by its own width, sqrt(C / H)", scaled, mistakes=other_scales)
    check.expect("queries come from x, keys and values from memory", cross)
    check.judge("a blocked key is blocked in every head", leaks, masked)
    check.judge("every other key has influence in every head", deaf, masked)
    check.judge("each row of the batch works by itself", apart(check.ask, row), [ask.random(2, 2, 2, 2)])
    check.expect("all together: the formula, on random numbers", together)
    return check.report


class Questions(Masked):
    """Cases `fn(x, memory, weights, num_heads, mask)`, in each of which one fact decides.

    Weights are the identity where nothing else is said. Keys of zero make every answer an average, and
    large scores let a query see one key alone: then the scale makes no difference.
    """

    def case(
        self,
        x: Tensor,
        num_heads: int = 1,
        memory: Tensor | None = None,
        may_attend: object = None,
        **weights,
    ) -> Case:
        """`memory` None: that of `x`."""
        plain = {name: torch.eye(x.shape[-1], dtype=torch.float64) for name in WEIGHTS}
        x = x if x.dim() == 3 else x[None]
        memory = x.clone() if memory is None else memory.view(-1, *memory.shape[-2:])
        return _Case(
            x=x, memory=memory, weights=plain | weights, num_heads=num_heads, mask=self.mask(may_attend)
        )

    def random(self, B: int, T: int, C: int, num_heads: int) -> Case:
        return self.case(noise(B, T, C, seed=1), num_heads)


class _Case(Case):
    """Shown without the weights that are the identity, and without a memory that is x."""

    def __str__(self) -> str:
        x, memory, weights, num_heads, mask = self
        eye = torch.eye(x.shape[-1], dtype=x.dtype)
        named = {name: w.tolist() for name, w in weights.items() if not torch.equal(w, eye)}
        shown = str(named) if len(named) == len(weights) else f"{str(named)[:-1]}{', ' if named else ''}...}}"
        source = "x" if torch.equal(x, memory) else memory.tolist()
        mask = None if mask is None else mask.tolist()
        call = f"fn(x={x.tolist()}, memory={source}, weights={shown}, num_heads={num_heads}, mask={mask})"
        return shorten(call)


def matrix(*rows: Sequence[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def plain_multi_head(
    x: Tensor, memory: Tensor, weights: dict, num_heads: int, may_attend: Tensor | None, scale=None
) -> np.ndarray:
    """The definition: one head after another, each on its slice of the channels, `(B, T, C)`."""
    q, k, v = x @ weights["query"].T, memory @ weights["key"].T, memory @ weights["value"].T
    split = (projected[:, None].chunk(num_heads, dim=-1) for projected in (q, k, v))  # (B, 1, T, E) each
    mixed = [plain_attention(*head, may_attend, scale)[:, 0] for head in zip(*split, strict=True)]
    return np.concatenate(mixed, axis=-1) @ weights["output"].T.numpy()
