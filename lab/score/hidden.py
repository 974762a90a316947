"""What `<unk>` hides has a price: else a vocabulary of six words would predict any text nearly for nothing.

A code for the text is a code for its tokens, and then one for what the unknown of them stand for: a stretch of
characters of which nothing is known, each of which may be any that is left.
"""

import math
from collections.abc import Iterator, Sequence

from lab.text import CharTokenizer

UNICODE = 0x110000  # so many code points there are


def unknown_nats(count: int, known: int) -> float:
    """What `count` characters cost of which is said only that they are none of `known` kinds: all others are alike.

    >>> round(unknown_nats(1, known=80) / math.log(2), 4)
    20.0874
    """
    return count * math.log(UNICODE - known)


def hidden_nats(tokenizer, lines: Sequence[str], encoded: Sequence[Sequence[int]]) -> float:
    """What `lines` cost beyond their tokens: 0.0 where nothing is hidden; `encoded` are their ids, `<s>` to `</s>`.

    With a `CharTokenizer` of K characters each `<unk>` is one character, none of the K and no newline, as in
    `KneserNey`: log(0x110000 - K - 1). Of any other tokenizer an `<unk>` may hide a word, so its length is paid for
    too: n characters and their end, where a newline would stand, cost (n + 1) log(0x110000). What stands between the
    unknown is known; a line that does not come back from its ids, but for these (of a tokenizer that knows no capital
    letters, say), is paid for as if all of it were one hidden word.

    >>> from lab.text import WordTokenizer
    >>> tokenizer = WordTokenizer.train(["a cat"])
    >>> nats = hidden_nats(tokenizer, ["a dog", "a cat"], tokenizer.encode_lines(["a dog", "a cat"]))
    >>> round(nats / math.log(UNICODE), 9)  # d, o, g, and the end
    4.0
    """
    if isinstance(tokenizer, CharTokenizer):
        unknown = sum(list(ids).count(tokenizer.unk_id) for ids in encoded)
        return unknown_nats(unknown, len({*tokenizer.vocabulary, "\n"}))
    lost = sum(_lost(line, list(_known(tokenizer, ids))) for line, ids in zip(lines, encoded, strict=True))
    return unknown_nats(lost, known=0)


def _known(tokenizer, ids: Sequence[int]) -> Iterator[str]:
    """The text before the first `<unk>`, between each and the next, and after the last."""
    ids, start = list(ids), 0
    for end in (*(at for at, one in enumerate(ids) if one == tokenizer.unk_id), len(ids)):
        yield tokenizer.decode(ids[start:end])
        start = end + 1


def _lost(line: str, known: list[str]) -> int:
    """How many characters stand between the known parts of a line, and ends of such stretches.

    >>> _lost("a dog ran", ["a ", " ran"]), _lost("a cat", ["a cat"]), _lost("A cat", ["a cat"])
    (4, 0, 6)
    """
    *parts, last = known
    if not parts:
        return 0 if line == last else len(line) + 1
    fits, at = line.startswith(parts[0]), 0
    for part in parts:  # where it first fits, which no other place could better
        found = line.find(part, at)
        fits, at = fits and found >= 0, found + len(part)
    fits = fits and line[at:].endswith(last)
    return len(line) - sum(map(len, known)) + len(parts) if fits else len(line) + 1
