"""One token a word: sequences are short, and every word not seen in training is lost."""

import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Self

from lab.text.protocol import SPECIAL_TOKENS, as_lines
from lab.text.table import TableTokenizer

# A run of letters, digits and underscores, or any other single character.
WORD = re.compile(r"\w+|\W")


class WordTokenizer(TableTokenizer):
    """Words are tokens; so is each white-space character and each punctuation mark.

    Nothing is dropped between tokens, so `decode(encode(s)) == s` for text in vocabulary.

    >>> tokenizer = WordTokenizer.train(["Let there be light: and there was light."])
    >>> tokenizer.tokens(tokenizer.encode("there was night."))
    ['there', ' ', 'was', ' ', '<unk>', '.']
    """

    kind = "word"
    split = staticmethod(WORD.findall)

    @classmethod
    def train(cls, lines: Iterable[str], max_vocab: int | None = None) -> Self:
        """Learn the words of `lines`, the most frequent first, equal counts in alphabetical order.

        `max_vocab` is the largest `vocab_size`, special tokens included; `None` keeps every word.
        Raises ValueError where it leaves no room for a word, or `lines` hold no text.
        """
        if max_vocab is not None and max_vocab <= len(SPECIAL_TOKENS):
            raise ValueError(
                f"max_vocab={max_vocab!r} must be above {len(SPECIAL_TOKENS)}, the special tokens"
            )
        counts = Counter(chain.from_iterable(map(cls.split, as_lines("lines", lines))))
        if not counts:
            raise ValueError("there is no word in these lines to learn from; give a corpus with text")
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(ranked[: None if max_vocab is None else max_vocab - len(SPECIAL_TOKENS)])
