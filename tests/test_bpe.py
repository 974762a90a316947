"""BPE: what training learns, and that text, ids and merges agree."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.checks.tokenizers import plain_train
from lab.text import BPETokenizer, tokenizer_from_json
from lab.text.bpe_encode import NEVER, SHORT, apply_merges, merge_with_heap
from lab.text.bpe_train import MAX_VOCAB
from lab.text.pretokens import splitter

FIRST_MERGE = 261
# Words that share pieces, so that merges come in chains, and every way white space can stand between them.
CORPUS = [
    "the cat sat on the mat,",
    "the bat that sat at that mat.  'Tis the cat's\n\n hat",
    "thee, the\tthing é é",
]
PATTERNS = ("gpt4", "gpt2", "none")


def plain_merge(ids, pair, new):
    merged, at = [], 0
    while at < len(ids):
        hit = tuple(ids[at : at + 2]) == pair
        merged.append(new if hit else ids[at])
        at += 2 if hit else 1
    return merged


def plain_encode(text, tokenizer):
    encoded = []
    for word in splitter(tokenizer.pattern)(text):
        ids = [5 + byte for byte in word.encode()]
        for n, pair in enumerate(tokenizer.merges):
            ids = plain_merge(ids, pair, FIRST_MERGE + n)
        encoded += ids
    return encoded


TRAINED = {pattern: BPETokenizer.train(CORPUS * 2, 290, pattern=pattern) for pattern in PATTERNS}
every_pattern = pytest.mark.parametrize("tokenizer", TRAINED.values(), ids=TRAINED)
PARTS = [*"that es\n\t.,'1", " the", " cat", "sat", "  ", "é", "\u2028", "\U0001f600", "<s>"]
any_text = st.lists(st.sampled_from(PARTS), max_size=40).map("".join) | st.text(max_size=30)
small_ids = st.integers(0, 6)


@pytest.mark.filterwarnings("ignore:training stopped")
def test_fast_trainer_equals_the_plain_one():
    rng = random.Random(7)
    for _ in range(120):
        # Few letters make ties and runs such as 'aaaa', where pairs overlap.
        alphabet = rng.choice(["a", "ab", "ab ", "abc  ", "aàé '1\n"])
        lines = ["".join(rng.choices(alphabet, k=rng.randrange(30))) for _ in range(rng.randrange(1, 12))]
        merges = BPETokenizer.train(lines, FIRST_MERGE + 25).merges
        assert merges == plain_train(lines, 25), lines


@every_pattern
@given(text=any_text)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_encoding_equals_applying_merges_in_order(tokenizer, text):
    fresh = tokenizer_from_json(tokenizer.to_json())
    ids = plain_encode(text, tokenizer)
    assert fresh.encode(text) == ids
    assert fresh.encode(text) == ids, "with a warm cache"
    assert tokenizer.encode(text) == ids, "with a cache full of other text"
    assert tokenizer.decode(ids) == text


@every_pattern
def test_steps_end_in_the_encoding(tokenizer):
    text = "that cat's hat  sat\n\nthe thing é"
    steps = list(tokenizer.steps(text))
    assert steps[0] == (0, [5 + byte for byte in text.encode()])
    assert steps[-1][1] == tokenizer.encode(text)
    for (before, earlier), (after, later) in pairwise(steps):
        assert before < after <= len(tokenizer.merges) and len(later) < len(earlier)
        with_so_many = BPETokenizer(tokenizer.merges[:after], pattern=tokenizer.pattern)
        assert later == with_so_many.encode(text)
    assert list(tokenizer.steps("")) == [(0, [])]


@given(
    word=st.lists(st.integers(0, 2), max_size=40),
    merges=st.lists(st.tuples(small_ids, small_ids), max_size=6),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_the_heap_merges_as_the_scan_does(word, merges):
    ranks = {pair: n for n, pair in enumerate(merges)}
    results = range(3, 3 + len(merges))
    assert len(word) <= SHORT
    assert merge_with_heap(word, ranks, results) == apply_merges(list(word), ranks, results)


def test_a_long_word_does_not_take_quadratic_time():
    tokenizer = TRAINED["none"]
    text = "".join(random.Random(1).choices("that es", k=200_000))
    ids = tokenizer.encode(text)  # minutes, were it quadratic
    assert tokenizer.decode(ids) == text and NEVER not in ids


def test_text_like_a_special_token_is_text():
    with pytest.warns(UserWarning, match="264 tokens instead of 300"):
        tokenizer = BPETokenizer.train(["<s>a</s>"] * 3, 300)
    ids = tokenizer.encode("<s>a</s>")
    assert not set(ids) & set(range(5)) and tokenizer.decode(ids) == "<s>a</s>"
    assert tokenizer.encode("<s>a</s><mask>", allow_special=True) == [2, 5 + ord("a"), 3, 4]
    assert tokenizer.encode_lines(["<s>"])[0][1:-1] == tokenizer.encode("<s>")


def test_part_of_a_character_decodes_to_the_replacement_character():
    tokenizer = BPETokenizer([])
    ids = tokenizer.encode("é")
    assert tokenizer.decode(ids[:1]) == tokenizer.decode(ids[1:]) == "\N{REPLACEMENT CHARACTER}"
    assert tokenizer.decode([*ids, 2, ids[0], 3, ids[1]]) == "éé", "special tokens leave no trace"
    assert tokenizer.tokens([*ids, 2]) == ["\\xc3", "\\xa9", "<s>"]


@pytest.mark.parametrize(
    "call, about",
    [(lambda size=size: BPETokenizer.train(CORPUS, size), "vocab_size") for size in (-1, 260, MAX_VOCAB + 1)]
    + [(lambda: BPETokenizer.train(CORPUS, 300, pattern="("), "pattern")]
    + [
        (lambda merge=merge: BPETokenizer([merge]), "merge 0")
        for merge in ((5, 261), (2, 5), (5,), (5, 6, 7), ("a", "b"), ([], 5))
    ]
    + [
        (lambda read=read, text=text: list(read(text)), "surrogate")
        for text in ("a\ud800b", " \udfff", "\ud83d\ude00")
        for tokenizer in TRAINED.values()
        for read in (tokenizer.encode, tokenizer.steps, lambda text: BPETokenizer.train([text], 300).merges)
    ],
)
def test_refusals(call, about):
    with pytest.raises(ValueError, match=about):
        call()
