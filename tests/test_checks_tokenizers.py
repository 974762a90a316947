"""The checks of tokenizers pass what is right, ours and another's, and catch every planted bug."""

import unicodedata
import warnings

import torch
from test_checks import failing, passing

from lab import checks
from lab.checks.tokenizers import NASTY_TEXTS
from lab.text import BPETokenizer, CharTokenizer, WordTokenizer
from lab.text.pretokens import splitter


def lab_bpe(lines, num_merges):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "training stopped")
        return BPETokenizer.train(lines, 261 + num_merges).merges


def reader_bpe(
    lines, num_merges, pattern=None, tie=lambda pair: pair, overlap=True, least=2, from_left=True, joined=False,
    first_byte=5,
):  # fmt: skip
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
            turn = slice(None, None, 1 if from_left else -1)
            words[n] = list(chr(new).join("".join(word)[turn].split(best[turn]))[turn])
        merges.append((ord(best[0]), ord(best[1])))
    return merges


test_right_trainers_pass = passing(
    checks.bpe_train, lab_bpe, reader_bpe, lambda lines, n: torch.tensor(reader_bpe(lines, n)).reshape(-1, 2)
)


FREQUENT, TIES, RUNS, WORDS = "most frequent pair", "equally frequent", "a run such as", "one pre-token"
LINES, STOP, ASKED, BYTES = "one line", "it stops", "no more merges", "UTF-8"


test_wrong_trainers_are_caught = failing(
    lambda bug: checks.bpe_train(lambda lines, n: reader_bpe(lines, n, **bug)),
    ({"tie": lambda pair: 0}, [TIES]),  # the pair met first
    ({"overlap": False}, [RUNS]), ({"from_left": False}, [RUNS]),
    ({"pattern": lambda text: [text] if text else []}, [WORDS]),
    ({"pattern": str.split}, [WORDS]), ({"joined": True}, [LINES]), ({"least": 1}, [STOP]),
    ({"least": 3}, [FREQUENT]), ({"first_byte": 0}, [BYTES]),
    only=False,
)  # fmt: skip
test_trainers_that_do_not_stop_or_never_merge_are_caught = failing(
    checks.bpe_train,
    (lambda lines, n: reader_bpe(lines, n + 1), [ASKED]),
    (lambda lines, n: [], [FREQUENT]),
    (lambda lines, n: reader_bpe(lines, n)[:1], [], "'日本'"),  # merges are spelled
    only=False,
)


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
    checks.tokenizer(CharTokenizer.train(["abc "]), texts=["a", "cab", " "]).raise_if_failed()


def changing(change, **attributes):
    """`Bytes`, which encodes something else."""
    encode = lambda self, text: Bytes.encode(self, change(text))  # noqa: E731
    return type("Changing", (Bytes,), {"encode": encode, **attributes})


class AddsASpace(Bytes):
    """As SentencePiece does; it takes the first space away again, so each text alone comes back."""

    def encode(self, text):
        return super().encode(" " + text)

    def decode(self, ids):
        return super().decode(ids).removeprefix(" ")


class Forgets(Bytes):
    seen = 0

    def encode(self, text):
        self.seen += 1
        return super().encode(text) + [32] * (self.seen > len(NASTY_TEXTS) + 3)


BACK = "decode gives back"


test_wrong_tokenizers_are_caught = failing(
    lambda broken: checks.tokenizer(broken()),
    (changing(str.strip), [BACK], "the end came"),
    (changing(lambda text: unicodedata.normalize("NFC", text)), [BACK], "U+0065 expected, U+00E9 came"),
    (changing(lambda text: text.replace("<s>", "")), [BACK]),
    (AddsASpace, ["the ids of two texts"]),
    (changing(str, vocab_size=128), ["in range(vocab_size)"]),
    (Forgets, ["the same text"]),
    only=False,
)
