"""The checks of tokenizers pass what is right, ours and another's, and catch every planted bug."""

import unicodedata
import warnings

import pytest
import torch
from test_checks import caught

from lab import checks
from lab.checks.tokenizers import NASTY_TEXTS
from lab.text import BPETokenizer, CharTokenizer, WordTokenizer
from lab.text.pretokens import splitter


def lab_bpe(lines, num_merges):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "training stopped")
        return BPETokenizer.train(lines, 261 + num_merges).merges


def reader_bpe(
    lines,
    num_merges,
    pattern=None,
    tie=lambda pair: pair,
    overlap=True,
    least=2,
    from_left=True,
    joined=False,
    first_byte=5,
):
    """Another trainer, on strings of characters that stand for ids; its arguments plant bugs."""
    split = pattern or splitter("gpt4")
    lines = ["".join(lines)] if joined else lines
    words = [[chr(first_byte + byte) for byte in word.encode()] for line in lines for word in split(line)]
    merges = []
    for new in range(first_byte + 256, first_byte + 256 + num_merges):
        counts = {}
        for word in words:
            last = None
            for at in range(len(word) - 1):
                pair = word[at] + word[at + 1]
                if not overlap and last == (pair, at - 1):
                    last = None
                    continue
                counts[pair] = counts.get(pair, 0) + 1
                last = pair, at
        counts = {pair: count for pair, count in counts.items() if count >= least}
        if not counts:
            break
        most = max(counts.values())
        best = min((pair for pair in counts if counts[pair] == most), key=tie)
        for n, word in enumerate(words):
            text = "".join(word)
            halves = (
                text.split(best) if from_left else [part[::-1] for part in text[::-1].split(best[::-1])][::-1]
            )
            words[n] = list(chr(new).join(halves))
        merges.append((ord(best[0]), ord(best[1])))
    return merges


def test_right_trainers_pass():
    checks.bpe_train(lab_bpe).raise_if_failed()
    checks.bpe_train(reader_bpe).raise_if_failed()
    checks.bpe_train(lambda lines, n: torch.tensor(reader_bpe(lines, n)).reshape(-1, 2)).raise_if_failed()


def whole(text):
    return [text] if text else []


FREQUENT, TIES = (
    "the most frequent pair is merged next",
    "of pairs equally frequent, the smallest (left, right) is",
)
RUNS = "a run such as aaa holds aa twice, and is merged from its left"
WORDS, LINES = (
    "no merge crosses from one pre-token into the next",
    "no merge goes from one line into the next",
)
STOP, ASKED = "it stops when no pair occurs twice", "it makes no more merges than asked for"
BYTES = "text is its UTF-8 bytes, byte b with the id 5 + b"


@pytest.mark.parametrize(
    "bug, failed",
    [
        ({"tie": lambda pair: (-ord(pair[0]), -ord(pair[1]))}, TIES),
        ({"tie": lambda pair: 0}, TIES),  # the pair met first
        ({"tie": lambda pair: pair[::-1]}, TIES),
        ({"overlap": False}, RUNS),
        ({"from_left": False}, RUNS),
        ({"pattern": whole}, WORDS),
        ({"pattern": str.split}, WORDS),
        ({"joined": True}, LINES),
        ({"least": 1}, STOP),
        ({"least": 3}, FREQUENT),
        ({"first_byte": 0}, BYTES),
    ],
)
def test_wrong_trainers_are_caught(bug, failed):
    assert failed in caught(checks.bpe_train(lambda lines, n: reader_bpe(lines, n, **bug)))


def test_trainers_that_do_not_stop_or_never_merge_are_caught():
    assert ASKED in caught(checks.bpe_train(lambda lines, n: reader_bpe(lines, n + 1)))
    assert FREQUENT in caught(checks.bpe_train(lambda lines, n: []))
    assert FREQUENT in caught(checks.bpe_train(lambda lines, n: [(a, b) for b, a in reader_bpe(lines, n)]))
    assert "'日本'" in str(checks.bpe_train(lambda lines, n: reader_bpe(lines, n)[:1])), "merges are spelled"


class Bytes:
    """The smallest right tokenizer, the reader's: UTF-8."""

    vocab_size = 256

    def encode(self, text):
        return list(text.encode())

    def decode(self, ids):
        return bytes(ids).decode("utf-8", "replace")


def test_right_tokenizers_pass():
    checks.tokenizer(BPETokenizer.train([*NASTY_TEXTS, "the cat that sat"] * 2, 300)).raise_if_failed()
    checks.tokenizer(CharTokenizer.train(NASTY_TEXTS)).raise_if_failed()
    checks.tokenizer(WordTokenizer.train(NASTY_TEXTS)).raise_if_failed()
    checks.tokenizer(Bytes()).raise_if_failed()
    checks.tokenizer(CharTokenizer.train("abc "), texts=["a", "cab", " "]).raise_if_failed()


class Strips(Bytes):
    def encode(self, text):
        return super().encode(text.strip())


class CollapsesSpaces(Bytes):
    def encode(self, text):
        return super().encode(text.replace("  ", " "))


class DropsUnknown(Bytes):
    def encode(self, text):
        return [byte for byte in text.encode() if byte < 128]


class Normalises(Bytes):
    def encode(self, text):
        return super().encode(unicodedata.normalize("NFC", text))


class Lowers(Bytes):
    def encode(self, text):
        return super().encode(text.lower())


class AddsASpace(Bytes):
    """As SentencePiece does; it takes the first space away again, so each text alone comes back."""

    def encode(self, text):
        return super().encode(" " + text)

    def decode(self, ids):
        return super().decode(ids).removeprefix(" ")


class ReadsSpecialTokens(Bytes):
    vocab_size = 257

    def encode(self, text):
        return super().encode(text.replace("<s>", ""))


class OutOfRange(Bytes):
    vocab_size = 128


class Forgets(Bytes):
    seen = 0

    def encode(self, text):
        self.seen += 1
        return super().encode(text) + [32] * (self.seen > len(NASTY_TEXTS) + 3)


class FailsOnEmoji(Bytes):
    def encode(self, text):
        return list(text.encode("utf-8" if max(text, default="") < "\U00010000" else "ascii"))


class DecodeRaises(Bytes):
    def decode(self, ids):
        return bytes(ids).decode("ascii")


BACK = "decode gives back the very text"


@pytest.mark.parametrize(
    "broken, failed",
    [
        (Strips, BACK),
        (CollapsesSpaces, BACK),
        (DropsUnknown, BACK),
        (Normalises, BACK),
        (Lowers, BACK),
        (ReadsSpecialTokens, BACK),
        (DecodeRaises, BACK),
        (AddsASpace, "the ids of two texts, joined, decode to the two texts, joined"),
        (OutOfRange, "every id is in range(vocab_size)"),
        (Forgets, "the same text gives the same ids again"),
        (FailsOnEmoji, "the answer is a list of whole numbers"),
    ],
)
def test_wrong_tokenizers_are_caught(broken, failed):
    assert failed in caught(checks.tokenizer(broken()))


def test_a_different_character_is_named():
    report = str(checks.tokenizer(Normalises()))
    assert "first difference at character 0: U+0065 expected, U+00E9 came" in report
    assert "raised UnicodeDecodeError" in str(checks.tokenizer(DecodeRaises()))
