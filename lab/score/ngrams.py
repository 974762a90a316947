"""The next character from the last few: interpolated modified Kneser-Ney, the best of the n-gram models.

Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling", section 4.1. Letters:
N characters of text, K kinds of character. A k-gram is k characters in a row; its context is all but the last.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lab.score.hidden import unknown_nats
from lab.score.lines import Score
from lab.text.protocol import as_lines

FALLBACK = (
    0.5,
    1.0,
    1.5,
)  # discounts where too few k-grams tell (Heafield et al. 2013, KenLM, does the same)
UNKNOWN = "<unk>"


@dataclass(frozen=True)
class _Order:
    """The k-grams of one order: P(char | context) = share + left_over * P(char | shorter context).

    codes      int64 `(grams + 1,)`, ascending: `context * K + char`, contexts numbered as the (k - 1)-grams are;
               in the last place the largest number there is
    share      float64 `(grams + 1,)`: what is left of a gram's relative count; 0 in the last place, for unseen ones
    left_over  float64 `(contexts + 1,)`: what was taken from a context's grams; 1 in the last, for unseen ones
    """

    codes: np.ndarray
    share: np.ndarray
    left_over: np.ndarray

    def find(self, codes: np.ndarray) -> np.ndarray:
        """The number of the gram of each code; -1 where it was never seen."""
        at = self.codes.searchsorted(codes)
        return np.where(self.codes[at] == codes, at, -1)


class KneserNey:
    """An n-gram model over the characters of lines; a newline ends each line, and stands before it as context.

    Its probabilities are over all of Unicode: over the kinds of character in `lines` and, for any other, "<unk>",
    whose probability the other code points share equally. What the longest contexts are counted by is how often
    they occur; shorter ones by how many different characters stand before them (a line's beginning has none, so
    there it is again how often). Discounts are made from the counts of each order, or are 0.5, 1 and 1.5 where
    there are too few kinds of count to make them from.

    >>> model = KneserNey(["abab", "abab", "abba"], order=3)
    >>> {char: round(p, 2) for char, p in model.next_char("ab").items()}
    {'\\n': 0.34, 'a': 0.4, 'b': 0.24, '<unk>': 0.03}
    >>> model.bits_per_char(["abab"]) < model.bits_per_char(["bbaa"])
    True

    Raises ValueError for no lines and for an order below 1.
    """

    def __init__(self, lines: Sequence[str], order: int = 5):
        if isinstance(order, bool) or not isinstance(order, int) or order < 1:
            raise ValueError(f"order must be a whole number of at least 1, got {order!r}")
        if not as_lines("lines", lines):
            raise ValueError("no lines to count: pass at least one")
        points = _code_points(lines)
        self.order = order
        self.kinds = np.unique(points)  # ascending code points, the newline among them
        self.num_kinds = len(self.kinds) + 1  # K, with <unk>
        self._newline = int(self.kinds.searchsorted(ord("\n")))
        self._orders = self._count(self._symbols(points))

    def score(self, lines: Sequence[str]) -> Score:
        """How well the model predicts `lines`, each alone, newline included.

        Raises ValueError for no lines.
        """
        if not as_lines("lines", lines):
            raise ValueError("no lines to score: pass at least one")
        symbols = self._symbols(_code_points(lines))
        nats = -float(np.log(self._probabilities(symbols)[1:]).sum())
        unknown = int((symbols == self.num_kinds - 1).sum())
        nats += unknown_nats(unknown, len(self.kinds))
        return Score(nats, chars=len(symbols) - 1, tokens=len(symbols) - 1)

    def bits_per_char(self, lines: Sequence[str]) -> float:
        """The bits that one character of `lines` costs on average."""
        return self.score(lines).bits_per_char

    def next_char(self, text: str) -> dict[str, float]:
        """The probability of every character that may follow `text`, the beginning of a line; "\\n" ends it."""
        past = self._symbols(_code_points([text])[:-1])
        p = self._following(past[-max(1, self.order - 1) :])
        return dict(zip([*map(chr, self.kinds), UNKNOWN], p.tolist(), strict=True))

    def _symbols(self, points: np.ndarray) -> np.ndarray:
        """Code points as 0 .. K - 1, where K - 1 is <unk>."""
        at = self.kinds.searchsorted(points).clip(max=len(self.kinds) - 1)
        return np.where(self.kinds[at] == points, at, self.num_kinds - 1)

    def _probabilities(self, symbols: np.ndarray) -> np.ndarray:
        """Of each symbol `(N,)` after those before it in its line; of the first, a line's beginning, whatever."""
        p = np.full(len(symbols), 1 / self.num_kinds)
        grams = symbols
        for k, order in enumerate(self._orders, start=1):
            contexts = self._contexts(grams, symbols, k)
            grams = order.find(contexts * self.num_kinds + symbols)
            p = order.share[grams] + order.left_over[contexts] * p
            if k == 1:
                grams = symbols  # an unknown one is number K - 1, which is the last place, as -1 is
        return p

    def _following(self, past: np.ndarray) -> np.ndarray:
        """Of each of the K symbols after `past` `(N,)`: what `_probabilities` says, for all of them at once."""
        p = np.full(self.num_kinds, 1 / self.num_kinds)
        grams, symbols = past, np.arange(self.num_kinds)
        for k, order in enumerate(self._orders, start=1):
            context = self._contexts(np.append(grams, -1), np.append(past, 0), k)[-1]
            found = order.find(context * self.num_kinds + symbols)
            p = order.share[found] + order.left_over[context] * p
            if k > 1:
                grams = order.find(self._contexts(grams, past, k) * self.num_kinds + past)
        return p

    def _contexts(self, grams: np.ndarray, symbols: np.ndarray, k: int) -> np.ndarray:
        """The (k - 1)-gram before each place, from those that end at each; -1 where the line has none."""
        if k == 1:
            contexts = np.zeros_like(symbols)  # the empty one
        elif k == 2:
            contexts = np.roll(grams, 1)
        else:  # a newline may be the first character of a context, not one inside it
            contexts = np.roll(np.where(symbols == self._newline, -1, grams), 1)
        contexts[0] = -1
        return contexts

    def _count(self, symbols: np.ndarray) -> list[_Order]:
        """The orders from 1 up of a text `(N,)` that begins and ends with a newline."""
        orders, grams, num_contexts, waiting = [], symbols, 1, None
        for k in range(1, self.order + 1):
            contexts = self._contexts(grams, symbols, k)
            places = np.flatnonzero(contexts >= 0)
            codes, first, number, counts = np.unique(
                contexts[places] * self.num_kinds + symbols[places],
                return_index=True, return_inverse=True, return_counts=True,
            )  # fmt: skip
            first = places[first]
            if waiting is not None:  # the order below: now it is known what stands before its grams
                below, occurs, begins, of_contexts = waiting
                differ = np.bincount(grams[first], minlength=len(below))
                orders.append(_discount(below, np.where(begins, occurs, differ), of_contexts, self.num_kinds))
            begins = (symbols[first - k + 1] == self._newline) & (k > 1)
            waiting = codes, counts, begins, num_contexts
            num_contexts = len(codes)
            if k > 1:
                grams = np.full(len(symbols), -1)
                grams[places] = number
        codes, counts, _, of_contexts = waiting
        return [*orders, _discount(codes, counts, of_contexts, self.num_kinds)]


def _discount(codes: np.ndarray, counts: np.ndarray, num_contexts: int, K: int) -> _Order:
    """Take 0 to 3 from each count, by whether it is 1, 2 or more, and keep what was taken for unseen characters."""
    taken = np.array([0.0, *_discounts(counts)])[counts.clip(max=3)]
    contexts = codes // K
    totals = np.bincount(contexts, counts, minlength=num_contexts)
    left_over = np.ones(num_contexts + 1)
    np.divide(np.bincount(contexts, taken, minlength=num_contexts), totals, left_over[:-1], where=totals > 0)
    codes = np.append(codes, np.iinfo(np.int64).max)
    return _Order(codes, np.append((counts - taken) / totals[contexts], 0.0), left_over)


def _discounts(counts: np.ndarray) -> tuple[float, float, float]:
    """What is taken from counts of 1, of 2, and of 3 or more (Chen and Goodman 1999, eq. 26).

    >>> _discounts(np.repeat([1, 2, 3, 4], [40, 20, 10, 5]))
    (0.5, 1.25, 2.0)
    """
    n = np.bincount(counts.clip(max=5), minlength=6)  # n[i] grams were counted i times
    if not n[1:5].all():
        return FALLBACK
    y = n[1] / (n[1] + 2 * n[2])
    found = tuple(float(i - (i + 1) * y * n[i + 1] / n[i]) for i in (1, 2, 3))
    return found if all(0 < taken <= i for i, taken in enumerate(found, start=1)) else FALLBACK


def _code_points(lines: Iterable[str]) -> np.ndarray:
    """A newline, then each line and its newline, as int64 code points."""
    text = "\n" + "".join(f"{line}\n" for line in lines)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)
