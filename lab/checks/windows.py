"""A check of sliding windows over lines, under each of the five policies."""

from collections.abc import Callable, Sequence
from itertools import chain, pairwise

from lab.checks.check import Case, Check, CheckReport, Example, Examples, one_of
from lab.checks.drawing import tables
from lab.checks.numbers import Unreadable, unequal, whole_numbers
from lab.data.batch import IGNORE

PAD = 0

# A line of n inputs `[<s>, t1 ... tm]` stands in padding without end; a policy says where windows begin.
STARTS = {
    "slide": lambda n, context: range(1 - context, n - context + 1),
    "slide_through": lambda n, context: range(1 - context, n),
    "full_only": lambda n, context: range(max(1, n - context + 1)),
    "short_slides": lambda n, context: range(n - context, 1) if n < context else range(n - context + 1),
    "continuous": lambda n, context: range(n - context + 1),
}

Pair = tuple[list[int], list[int]]


def windows(fn: Callable, policy: str) -> CheckReport:
    """Does `fn(lines, context)` give the windows of a policy, each once and in order?

    `lines` are lists of ids `[<s>, t1, ..., </s>]` with `<s>` 2 and `</s>` 3; none holds the padding id 0.
    `fn` returns a list, or anything with a length and indices, of pairs `(x, y)` of `context` ids each: `y`
    is the token after each of `x`, -100 where `x` is padding. Pairs come line by line, from left to right.
    `policy` is "slide", "slide_through", "full_only", "short_slides" or "continuous" (stride 1).

    >>> def full_only(lines, context):
    ...     return [(ids[i : i + context], ids[i + 1 : i + 1 + context])
    ...             for ids in lines for i in range(len(ids) - context)]
    >>> print(windows(full_only, "full_only"))
    windows (full_only): failed, 2 of 4 properties hold
      ✓ the answer is pairs (x, y) of `context` ids each
      ✗ there are as many pairs as the policy makes
          fn(lines=[[2, 3]], context=2)
          expected              actual
          [2][0][→][3][-100]     (nothing)
          1 expected, 0 came
      ✗ every x is the window of the policy, in order
          fn(lines=[[2, 5, 6, 7, 3], [2, 3], [2, 8, 9, 3]], context=3)
          expected     actual
           2  5  6      2  5  6
           5  6  7      5  6  7
           2 [0][0]     2 [8][9]
          [2][8][9]
          x of every pair
      ✓ every y is the token after each of x, and -100 where x is padding
    """
    one_of("policy", policy, tuple(STARTS))
    cases = [Case(lines=_lines(lengths), context=context) for lengths, context in SIZES]
    if policy == "continuous":
        cases = [case for case in cases if sum(map(len, case["lines"])) > case["context"]]

    def right(case: Case) -> list[Pair]:
        return all_windows(*case, policy)

    def count(case: Case, pairs: list[Pair]) -> Examples:
        if len(pairs) != len(right(case)):
            drawn = tables(*([[*x, "→", *y] for x, y in some] for some in (right(case), pairs)))
            yield Example(str(case), *drawn, f"{len(right(case))} expected, {len(pairs)} came")

    def inputs(case: Case, pairs: list[Pair]) -> Examples:
        expected, actual = [x for x, _ in right(case)], [x for x, _ in pairs]
        common = min(len(expected), len(actual))
        if actual[:common] != expected[:common]:
            yield unequal(case, expected, actual, "x of every pair")

    def targets(case: Case, pairs: list[Pair]) -> Examples:
        lines = [list(chain.from_iterable(case["lines"]))] if policy == "continuous" else case["lines"]
        follows = {after for line in lines for after in pairwise(line)}
        for n, (x, y) in enumerate(pairs):
            right = [["x", *x], ["y", *_right_targets(x, y, follows)]]
            yield unequal(f"{case}, pair {n}", right, [["x", *x], ["y", *y]])

    check = Check(f"windows ({policy})", fn, "pairs (x, y) of `context` ids each", _read_pairs, cases)
    check.judge("there are as many pairs as the policy makes", count)
    check.judge("every x is the window of the policy, in order", inputs)
    check.judge("every y is the token after each of x, and -100 where x is padding", targets)
    return check.report


# How many tokens each line has between <s> and </s>, and the context; from the smallest up.
SIZES = (
    ([0], 1), ([1], 1), ([0], 2), ([1], 2), ([2], 2), ([1], 3), ([0, 0], 1), ([1, 2], 2), ([2], 5),
    ([4], 3), ([3, 0, 2], 3), ([6, 2, 3], 4),
)  # fmt: skip


def _lines(lengths: Sequence[int]) -> list[list[int]]:
    """Lines in which every token is another one: `_lines([1, 2])` is `[[2, 5, 3], [2, 6, 7, 3]]`."""
    starts = [5 + sum(lengths[:n]) for n in range(len(lengths))]
    return [[2, *range(start, start + n), 3] for start, n in zip(starts, lengths, strict=True)]


def all_windows(lines: list[list[int]], context: int, policy: str) -> list[Pair]:
    """The definition, one index at a time."""
    if policy == "continuous":
        lines = [list(chain.from_iterable(lines))]
    pairs = []
    for line in lines:
        n = len(line) - 1  # the last token is only ever a target
        for start in STARTS[policy](n, context):
            places = range(start, start + context)
            x = [line[i] if 0 <= i < n else PAD for i in places]
            y = [line[i + 1] if 0 <= i < n else IGNORE for i in places]
            pairs.append((x, y))
    return pairs


def _right_targets(x: list[int], y: list[int], follows: set[tuple[int, int]]) -> list[int]:
    """What `y` should be for this `x`, whatever window it is; where several tokens may follow, any will do."""
    right = []
    for here, after, target in zip(x, [*x[1:], PAD], y, strict=True):
        if here == PAD:
            right.append(IGNORE)
        elif after != PAD:
            right.append(after)
        else:
            possible = sorted(b for a, b in follows if a == here)
            right.append(target if target in possible or not possible else possible[0])
    return right


def _read_pairs(case: Case, answer: object) -> list[Pair]:
    if hasattr(answer, "__getitem__") and hasattr(answer, "__len__"):
        answer = [answer[i] for i in range(len(answer))]
    pairs, size = [], (case["context"],)
    for n, pair in enumerate(answer):
        try:
            x, y = pair
        except (TypeError, ValueError):
            raise Unreadable(f"pair {n} is {pair!r}, which is not two things") from None
        both = whole_numbers(x, size, f"x of pair {n}"), whole_numbers(y, size, f"y of pair {n}")
        pairs.append(tuple(ids.tolist() for ids in both))
    return pairs
