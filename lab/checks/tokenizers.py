"""Checks of BPE training, and of any tokenizer's way from text to ids and back."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain, pairwise

import regex

from lab.checks.check import Case, Check, CheckReport, Example, Examples
from lab.checks.numbers import told, unequal, whole_numbers
from lab.text.bpe_layout import FIRST_BYTE, FIRST_MERGE
from lab.text.pretokens import PATTERNS

Merges = list[tuple[int, int]]

# What a trainer must do, and corpora (lines, num_merges) on which one that does not gives other merges.
BPE_PROPERTIES = {
    "the most frequent pair is merged next": [
        (["abab"], 1), (["abcbc"], 2), (["abcabcab"], 3), (["low lower lowest newest widest"], 8),
    ],
    "of pairs equally frequent, the smallest (left, right) is": [
        (["ab", "ab", "cd", "cd"], 1), (["cd", "cd", "ab", "ab"], 2), (["ba", "ba", "ab", "ab"], 2),
        (["aaabdaaabac"], 3), (["zyx", "zyx", "abc", "abc"], 4),
    ],
    "a run such as aaa holds aa twice, and is merged from its left": [
        (["aaa"], 1), (["aaa", "bc", "bc"], 2), (["aaaaa", "aaaaa"], 3), (["aaaaaaa", "baaa"], 4),
    ],
    "no merge crosses from one pre-token into the next": [
        (["a1a1"], 1), (["ab ab ab"], 4), (["123456", "123456"], 6), (["it's it's, it's"], 9), (["a  a  a"], 3),
    ],
    "no merge goes from one line into the next": [(["a", "b", "a", "b"], 1), (["ab", "ab", "ab"], 3)],
    "it stops when no pair occurs twice": [([], 1), ([""], 1), (["ab"], 2), (["ab", "ab"], 5)],
    "it makes no more merges than asked for": [(["abab"], 0), (["abcabc"], 1)],
    "text is its UTF-8 bytes, byte b with the id 5 + b": [(["éé"], 1), (["日本 日本"], 5), (["\0\1\0\1"], 1)],
}  # fmt: skip


def bpe_train(fn: Callable) -> CheckReport:
    """Does `fn(lines, num_merges)` learn the merges of byte-level BPE?

    `fn` returns a list of pairs of ids `(left, right)`, in the order in which they were merged. Ids 0 to 4
    are special tokens, byte b has 5 + b, merge i makes 261 + i. Each line is a text of its own, cut into
    pre-tokens by GPT-4's pattern (`lab.text.pretokens.PATTERNS["gpt4"]`, for the library `regex`). The
    most frequent pair is merged next, of equally frequent ones the smallest (left, right), in every word
    from left to right; 'aaa' holds 'aa' twice. It stops early where no pair occurs twice.

    >>> bool(bpe_train(lambda lines, num_merges: [(102, 103)] * num_merges))
    False
    """
    groups = {
        name: [Case(lines=lines, num_merges=n) for lines, n in corpora]
        for name, corpora in BPE_PROPERTIES.items()
    }

    def compare(case: Case, expected: Merges, merges: Merges, note: str) -> Example | None:
        return unequal(case, _spelled(expected), _spelled(merges), note)

    cases, right = chain.from_iterable(groups.values()), lambda case: plain_train(*case)
    check = Check(
        "bpe_train", fn, "a list of pairs of ids", _read_merges, cases, right=right, compare=compare
    )
    for name, group in groups.items():
        check.expect(name, of=group, note="left id, right id, the bytes that they make")
    return check.report


def plain_train(lines: Sequence[str], num_merges: int) -> Merges:
    """The definition: count every pair again for each merge (Sennrich et al. 2016, Algorithm 1)."""
    pretokens = [word for line in lines for word in regex.findall(PATTERNS["gpt4"], line)]
    words = [[FIRST_BYTE + byte for byte in word.encode()] for word in pretokens]
    merges = []
    while len(merges) < num_merges:
        counts = Counter(pair for word in words for pair in pairwise(word))
        repeated = [pair for pair, count in counts.items() if count > 1]
        if not repeated:
            break
        best = min(repeated, key=lambda pair: (-counts[pair], pair))
        for word in words:
            at = 0
            while at + 1 < len(word):
                if (word[at], word[at + 1]) == best:
                    word[at : at + 2] = [FIRST_MERGE + len(merges)]
                at += 1
        merges.append(best)
    return merges


# From the smallest up: what tokenizers have been seen to lose, change or add.
NASTY_TEXTS = (
    "", "a", " ", "A", "\n", "\t", "\0", "😀",
    "\u00e9", "e\u0301",  # é as one character, and as two
    "\ufb01", "\u00bd\u00b2", "\u00a0", "\u200b", "\ufeff", "\u2028", "\U0010ffff",
    "  ", " a", "a ", "\r\n", "a  b", "<s>", "</s>", "<pad>", "<unk>",
    "I'll don'T", "1234567", "שלום", "日本語", "नमस्ते", "    if x:\n\n\n\treturn  \n",
    "👩\u200d👩\u200d👧 🏳\ufe0f\u200d🌈", "Z\u0351\u036b\u0343o\u0325\u0323",
    "".join(map(chr, range(256))),
)  # fmt: skip


def tokenizer(tok: object, texts: Sequence[str] = NASTY_TEXTS) -> CheckReport:
    """Does a tokenizer lead every text to ids and back, without loss?

    `tok` has `encode(text) -> ids`, `decode(ids) -> text` and `vocab_size`. `texts` are tried from the
    first to the last; the default is nasty: white space, emoji, combining marks, every byte, the names of
    special tokens. Give texts within its vocabulary to a tokenizer that has a limited one.

    >>> from lab.text import BPETokenizer
    >>> bool(tokenizer(BPETokenizer([])))
    True
    """
    cases = [Case("encode", text=text) for text in texts]
    check = Check("tokenizer", lambda text: tok.encode(text), "a list of whole numbers", _read_ids, cases)
    couples = [
        (Case("decode of encode, part by part, of ", text=one["text"] + two["text"]), ids + more)
        for (one, ids), (two, more) in pairwise(check.answers)
    ]

    def out_of_range(case: Case, ids: list[int]) -> Examples:
        if wrong := [i for i in ids if not 0 <= i < tok.vocab_size]:
            yield told(case, f"ids in 0 .. {tok.vocab_size - 1}", wrong)

    def lost(case: Case, ids: list[int]) -> Examples:
        yield _other_text(f"decode({case})", case["text"], tok.decode(ids))

    def changed(case: Case, ids: list[int]) -> Examples:
        yield unequal(f"{case}, a second time", [ids], [check.ask(case)])

    def not_joined(couple: Case, ids: list[int]) -> Examples:
        yield _other_text(couple, couple["text"], tok.decode(ids))

    check.judge("every id is in range(vocab_size)", out_of_range)
    check.judge("decode gives back the very text", lost)
    check.judge("the same text gives the same ids again", changed)
    check.answers = couples
    check.judge("the ids of two texts, joined, decode to the two texts, joined", not_joined)
    return check.report


def _other_text(call: object, expected: str, actual: str) -> Example | None:
    """How the two texts differ, the first different character by its code point; None where they are equal."""
    if actual == expected:
        return None
    if not isinstance(actual, str):
        return told(call, repr(expected), f"{type(actual).__name__} {actual!r}")
    differing = (i for i, (a, b) in enumerate(zip(expected, actual, strict=False)) if a != b)
    at = next(differing, min(len(expected), len(actual)))
    note = f"first difference at character {at}: {_named(expected, at)} expected, {_named(actual, at)} came"
    return told(call, repr(expected), repr(actual), note)


def _named(text: str, at: int) -> str:
    return f"U+{ord(text[at]):04X}" if at < len(text) else "the end"


def _spelled(merges: Merges) -> list[list]:
    """Each merge with the bytes of its token, for as long as its ids are known."""
    spelling = {FIRST_BYTE + byte: bytes([byte]) for byte in range(256)}
    rows = []
    for n, (left, right) in enumerate(merges):
        known = left in spelling and right in spelling
        token = spelling[left] + spelling[right] if known else None
        if known:
            spelling[FIRST_MERGE + n] = token
        rows.append([left, right, repr(token.decode("utf-8", "backslashreplace")) if known else "?"])
    return rows


def _read_merges(case: Case, answer: object) -> Merges:
    pairs = (whole_numbers(pair, (2,), f"merge {n}") for n, pair in enumerate(answer))
    return [tuple(pair.tolist()) for pair in pairs]


def _read_ids(case: Case, answer: object) -> list[int]:
    return whole_numbers(answer, (None,)).tolist()
