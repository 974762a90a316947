"""A check of the edit distance, against its definition: try every first step, keep the cheapest."""

from collections.abc import Callable
from functools import cache

from lab.checks.check import Case, Check, CheckReport, Example
from lab.checks.numbers import Unreadable, one_number, told

# Short first. Each shows what an implementation can forget: an empty side, the last row, a repeated letter, that the
# cheapest way is not the one which takes what is equal first.
PAIRS = (
    ("", ""), ("a", "a"), ("a", "b"), ("a", ""), ("", "a"), ("ab", "b"), ("b", "ab"), ("ab", "a"), ("a", "ab"),
    ("ab", "ba"), ("aa", "a"), ("a", "aaa"), ("abc", "cab"), ("abcd", "acbd"), ("kitten", "sitting"),
    ("saturday", "sunday"), ("intention", "execution"),
)  # fmt: skip
WORDS = (
    (["the", "cat"], ["the", "cat"]), (["the"], ["then"]), (["the", "cat", "sat"], ["cat", "sat"]),
    (["the", "cat"], ["the", "black", "cat"]), (["ab", "c"], ["a", "bc"]), ([], ["the", "cat"]),
)  # fmt: skip


def edit_distance(fn: Callable) -> CheckReport:
    """Does `fn(reference, hypothesis)` count the fewest substitutions, deletions and insertions between the two?

    It gets two strings, then two lists of words, and returns a whole number. Source: Levenshtein 1966.

    >>> from lab.speech import scores
    >>> print(edit_distance(lambda a, b: scores.edit_distance("".join(a), "".join(b))))
    edit_distance: failed, 7 of 8 properties hold
      ✓ the answer is a whole number
      ✓ what is equal costs nothing
      ✓ a substitution costs one
      ✓ against nothing, every item costs one
      ✓ a deletion costs one, wherever it is
      ✓ an insertion costs one, wherever it is
      ✓ of several ways the cheapest counts
      ✗ items may be words
          fn(reference=['the', 'cat', 'sat'], hypothesis=['cat', 'sat'])
          expected    actual
           1           3
    """

    def read(case: Case, answer: object) -> int:
        number = one_number(answer).item()
        if number != int(number):
            raise Unreadable(f"{number}, which is no whole number")
        return int(number)

    def compare(case: Case, right: int, answer: int, note: str) -> Example | None:
        return None if answer == right else told(case, right, answer)

    cases = [Case(reference=a, hypothesis=b) for a, b in (*PAIRS, *WORDS)]
    right = lambda case: plain_distance(*map(tuple, case))  # noqa: E731
    check = Check("edit_distance", fn, "a whole number", read, cases, right=right, compare=compare)

    def expect(name: str, wanted: Callable[[str, str], bool]) -> None:
        check.expect(name, of=[case for case in cases[: len(PAIRS)] if wanted(*case)])

    expect("what is equal costs nothing", lambda a, b: a == b)
    expect("a substitution costs one", lambda a, b: len(a) == len(b) == 1 and a != b)
    expect("against nothing, every item costs one", lambda a, b: not a or not b)
    expect("a deletion costs one, wherever it is", lambda a, b: 0 < len(b) == len(a) - 1)
    expect("an insertion costs one, wherever it is", lambda a, b: 0 < len(a) == len(b) - 1)
    expect("of several ways the cheapest counts", lambda a, b: len(a) > 1 and len(b) > 1)
    check.expect("items may be words", of=cases[len(PAIRS) :])
    return check.report


@cache
def plain_distance(a: tuple, b: tuple) -> int:
    """The definition: without a first item of one side, or of both."""
    if not a or not b:
        return len(a) + len(b)
    return min(
        plain_distance(a[1:], b) + 1,
        plain_distance(a, b[1:]) + 1,
        plain_distance(a[1:], b[1:]) + (a[0] != b[0]),
    )
