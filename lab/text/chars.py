"""One token a character: the smallest vocabulary, the longest sequences."""

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Self

from lab.text.protocol import as_lines
from lab.text.table import TableTokenizer


class CharTokenizer(TableTokenizer):
    """Every character (Unicode code point) is a token; unknown ones become `<unk>`.

    >>> tokenizer = CharTokenizer.train(["abba", "cab"])
    >>> tokenizer.encode("bad")
    [6, 5, 1]
    """

    kind = "char"
    split = staticmethod(list)

    @classmethod
    def train(cls, lines: Iterable[str], min_percentile: float = 0.0) -> Self:
        """Learn the characters of `lines`, in order of their code points.

        `min_percentile`, from 0 to 100, leaves rare characters out: sort the distinct characters by
        count and find the one that stands `min_percentile` per cent of the way from the rarest to the
        most frequent (rounded down); a character is kept when its count is at least that one's, so
        characters of equal count stay or go together. 0 keeps all; 100 keeps the most frequent.
        With counts a 9, b 5, c 1, d 1, percentiles below 67 keep all, and 67 keeps a and b.

        Raises ValueError where `min_percentile` is out of range or `lines` hold no character.
        """
        if not 0 <= min_percentile <= 100:
            raise ValueError(f"min_percentile is a percentage from 0 to 100, got {min_percentile!r}")
        counts = Counter(chain.from_iterable(as_lines("lines", lines)))
        if not counts:
            raise ValueError("there is no character in these lines to learn from; give a corpus with text")
        ascending = sorted(counts.values())
        least = ascending[int(min_percentile / 100 * (len(ascending) - 1))]
        return cls(sorted(char for char, count in counts.items() if count >= least))
