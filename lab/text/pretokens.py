r"""Cutting text into pre-tokens, the stretches that BPE merges never cross, faster than their pattern.

The definition is `splitter`: every match of the pattern, in order. It runs at some 12 MB/s, and real text
repeats itself, so it pays to cut first at places that need no pattern, and to cut with the pattern only
pieces not seen before. Two kinds of place always begin a pre-token of GPT-4's and GPT-2's patterns:

- a single space between two characters that are not white space: both patterns let white space stand
  only at the head of a match, or in a run of white space;
- a character that is not white space, after a line break that itself follows one: the break ends the
  match before it ('.\n' in GPT-4's pattern), or is one by itself.

Neither pattern looks behind, and they look ahead only from white space to see whether more follows, so
text on each side of such a place is cut as if the other side were not there.

`pieces` finds both kinds with `str.split(" ")` alone, after writing each "\n" as "\n \n". A piece that
begins with "\n" stood at the head of a line; before any other stood a space. `plain` undoes the coding:

>>> pieces(["In the end.\nSo be it"])
['\nIn', 'the', 'end.\n', '\nSo', 'be', 'it']
>>> [plain(piece) for piece in pieces(["In the end.\nSo be it"])]
['In', ' the', ' end.\n', 'So', ' be', ' it']

Where white space comes in runs some of these cuts are wrong: `is_safe` tells, and `glue` mends them.
"""

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import islice
from math import prod

import regex

from lab.config import shown
from lab.text.protocol import as_lines

# GPT-4's is cl100k_base, GPT-2's the one of its encoder.py, with each class in brackets.
# Here \s is Unicode's White_Space, as in Rust; str.isspace() would add U+001C to U+001F.
PATTERNS = {
    "gpt4": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+[\p{L}]+|[\p{N}]{1,3}"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
    ),
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "none": r"(?s:.+)",
}
# The same two as other libraries write them, so that what is imported is cut as fast. (What tiktoken now
# writes for cl100k_base is not among them: it takes a last line break and spaces after it for one pre-token.)
SPELLINGS = {
    # as minbpe and rustbpe write it, and the form that tokenizer.json files carry
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+": "gpt4",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": "gpt4",
    # tiktoken's gpt2, and the form of GPT-2's encoder.py
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s": "gpt2",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt2",
}
HAS_SAFE_CUTS = ("gpt4", "gpt2")

LINES_AT_ONCE = 8192
# Patterns cut millions of characters a second, but some need more time than there is for a few.
SECONDS, CHARS_PER_SECOND = 5, 100_000
# And some take all time or memory there is before they cut anything: what is repeated a given number of times is
# written out when a pattern is compiled.
MOST, CALLS_ITSELF = 10_000, re.compile(r"\(\?(?:R|&|P>|[+-]?\d)")
BLOCK = 8192

# The inside of a piece may hold any white space; only its ends decide whether the cuts there were right.
SAFE_BREAK = re.compile(r"\S\n(?=\S)")
SAFE_PIECE = re.compile(r"\n?\S(?s:.*\S)?\n?")


def pattern_name(expression: str) -> str:
    """The name of a regular expression that some library writes for a named pattern, else itself."""
    named = {known: name for name, known in PATTERNS.items()} | SPELLINGS
    return named.get(expression, expression)


def splitter(pattern: str) -> Callable[[str], list[str]]:
    """The function that cuts text into its pre-tokens, which joined again are the text.

    `pattern` is one of the names in `PATTERNS` or a regular expression; text between its matches
    becomes pre-tokens too. Raises ValueError where it is neither.

    >>> splitter("gpt2")("Egg, egg")
    ['Egg', ',', ' egg']
    """
    try:
        counts = [int(count) or 1 for count in re.findall(r"\{(\d+)", pattern)]
        if CALLS_ITSELF.search(pattern) or prod(counts) > MOST or len(pattern) > MOST:
            raise regex.error("it calls itself, repeats something too often, or is too long")
        compiled = regex.compile(PATTERNS.get(pattern, pattern))
    except (regex.error, TypeError, RecursionError) as error:
        raise ValueError(
            f"pattern {shown(pattern, 40)} is neither one of {sorted(PATTERNS)} nor a regular expression ({error})"
        ) from None
    if pattern in PATTERNS:
        # These match every character. The standard library's engine is three times as fast, but knows
        # no \p{L}; on ASCII text it needs none.
        ascii = re.compile(PATTERNS[pattern].replace(r"\p{L}", "A-Za-z").replace(r"\p{N}", "0-9"), re.ASCII)
        split_ascii, split_any = ascii.findall, compiled.findall
        return lambda text: split_ascii(text) if text.isascii() else split_any(text)

    def split(text: str) -> list[str]:
        pretokens, end = [], 0
        try:
            for match in compiled.finditer(text, timeout=SECONDS + len(text) / CHARS_PER_SECOND):
                pretokens += [text[end : match.start()], match.group()]
                end = match.end()
        except TimeoutError:
            raise ValueError(f"pattern {shown(pattern, 200)} finds no end in {shown(text, 40)}") from None
        return [pretoken for pretoken in [*pretokens, text[end:]] if pretoken]

    return split


def blocks(text: str) -> Iterator[str]:
    """Text in stretches of some `BLOCK` characters, which stay in the processor's cache while worked on.

    Each but the last ends with a line break between two characters that are not white space, where a
    pre-token always ends; text without such breaks comes whole.
    """
    start = 0
    while start < len(text):
        found = SAFE_BREAK.search(text, start + BLOCK)
        end = found.end() if found else len(text)
        yield text[start:end]
        start = end


def pieces(lines: Iterable[str]) -> list[str]:
    """Lines, each a text of its own, coded and cut at every space and line break inside.

    The cuts are right where every piece `is_safe`.
    """
    # A line break that ends a text starts no new line in it, so it is left as it is.
    coded = ["\n" + line[:-1].replace("\n", "\n \n") + line[-1:] for line in lines]
    return " ".join(coded).split(" ")


def plain(piece: str) -> str:
    """The text of a piece: without the mark of a line's head, or with the space that stood before it."""
    text = piece[1:] if piece.startswith("\n") else " " + piece
    return text.replace("\n \n", "\n")


def is_safe(piece: str) -> bool:
    """Whether the cuts at both ends of a piece are right, if those of its neighbours are.

    False for empty pieces and those with white space at an end, but for one line break as the last.
    """
    return SAFE_PIECE.fullmatch(piece) is not None


def glue(coded: list[str], known_safe: Container[str] = ()) -> list[str]:
    """Join every piece that is not safe with its neighbours again, so that all cuts left are right.

    >>> [plain(piece) for piece in glue(pieces(["one  two three four"]))]
    ['one  two', ' three', ' four']
    """
    glued, group, safe_before = [], [], False
    for piece in coded:
        safe = piece in known_safe or is_safe(piece)
        if safe and safe_before:
            glued.append(" ".join(group))
            group = []
        group.append(piece)
        safe_before = safe
    return [*glued, " ".join(group)]


def count_pretokens(lines: Iterable[str], pattern: str) -> dict[str, int]:
    """How often each pre-token occurs in `lines`, each line a text of its own.

    >>> count_pretokens(["to be or", "not to be"], "gpt4")[" be"]
    2
    """
    split, lines = splitter(pattern), as_lines("lines", lines)
    if pattern not in HAS_SAFE_CUTS:
        return Counter(pretoken for line in lines for pretoken in split(line))
    piece_counts, known_safe, lines = Counter(), set(), filter(None, lines)
    while block := list(islice(lines, LINES_AT_ONCE)):
        counts = Counter(pieces(block))
        new = counts.keys() - known_safe
        if all(map(is_safe, new)):
            known_safe |= new
        else:
            counts = Counter(piece for line in block for piece in glue(pieces([line]), known_safe))
        piece_counts.update(counts)
    totals = {}
    for piece, count in piece_counts.items():
        for pretoken in split(plain(piece)):
            totals[pretoken] = totals.get(pretoken, 0) + count
    return totals
