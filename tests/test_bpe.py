"""BPE: what training learns, and that text, ids and merges agree."""

import json
import random
import warnings
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.text import BPETokenizer, tokenizer_from_json
from lab.text.bpe_encode import NEVER, SHORT, Cache, apply_merges, merge_with_heap
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


def train(lines, vocab_size, **settings):
    """Train where text may run out of pairs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "training stopped")
        return BPETokenizer.train(lines, vocab_size, **settings)


def plain_merge(ids, pair, new):
    merged, at = [], 0
    while at < len(ids):
        hit = tuple(ids[at : at + 2]) == pair
        merged.append(new if hit else ids[at])
        at += 2 if hit else 1
    return merged


def plain_train(lines, num_merges, pattern):
    """BPE as the papers state it: count every pair again for each merge."""
    words = Counter()
    for line in lines:
        words.update(tuple(5 + byte for byte in word.encode()) for word in splitter(pattern)(line))
    words = [(list(word), count) for word, count in words.items()]
    merges = []
    while len(merges) < num_merges:
        counts = Counter()
        for word, count in words:
            for pair in pairwise(word):
                counts[pair] += count
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < 2:
            break
        words = [(plain_merge(word, best, FIRST_MERGE + len(merges)), count) for word, count in words]
        merges.append(best)
    return merges


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
corpus_like = st.lists(st.sampled_from(PARTS), max_size=40).map("".join)
small_ids = st.integers(0, 6)


@pytest.mark.parametrize("pattern", ["gpt4", "gpt2", "none"])
def test_fast_trainer_equals_the_plain_one(pattern):
    rng = random.Random(7)
    for _ in range(60):
        # Few letters make ties and runs such as 'aaaa', where pairs overlap.
        alphabet = rng.choice(["a", "ab", "ab ", "abc  ", "aàé '1\n"])
        lines = ["".join(rng.choices(alphabet, k=rng.randrange(30))) for _ in range(rng.randrange(1, 12))]
        merges = train(lines, FIRST_MERGE + 25, pattern=pattern).merges
        assert merges == plain_train(lines, 25, pattern), lines


def test_training_stops_when_no_pair_occurs_twice():
    with pytest.warns(UserWarning, match=r"stopped at 262 of 1000 tokens"):
        tokenizer = BPETokenizer.train(["ab", "ab"], 1000)
    assert tokenizer.merges == [(102, 103)] and tokenizer.vocab_size == 262
    with pytest.warns(UserWarning, match="stopped at 261"):
        assert BPETokenizer.train([], 300).merges == []


@every_pattern
@given(text=st.text(max_size=30))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@every_pattern
@given(text=corpus_like)
@settings(max_examples=150, deadline=None, derandomize=True)
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
    with pytest.warns(UserWarning, match="no pair"):
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


def test_caches_stay_small_and_out_of_sight(monkeypatch):
    tokenizer = tokenizer_from_json(TRAINED["gpt4"].to_json())
    monkeypatch.setattr(Cache, "MAX_ENTRIES", 10)
    text = " ".join(f"w{n:x}" for n in range(500)) + " " + "x" * 1000
    assert tokenizer.decode(tokenizer.encode(text)) == text
    for cache in (tokenizer._pieces, tokenizer._words):
        assert 0 < len(cache) <= 10 and max(map(len, cache)) <= Cache.MAX_KEY
    assert tokenizer == TRAINED["gpt4"] and tokenizer.to_json() == TRAINED["gpt4"].to_json()


def from_merges(*merges):
    return lambda: BPETokenizer(merges)


def from_text_of_merges(*merges):
    text = json.dumps({"kind": "bpe", "version": 1, "pattern": "gpt4", "merges": merges})
    return lambda: tokenizer_from_json(text)


@pytest.mark.parametrize(
    "call, about",
    [
        (lambda size=size: BPETokenizer.train(CORPUS, size), "vocab_size")
        for size in (-1, 0, 260, MAX_VOCAB + 1)
    ]
    + [(lambda: BPETokenizer.train(CORPUS, 300, pattern="("), "pattern")]
    + [
        (make(merge), "merge 0")
        for make in (from_merges, from_text_of_merges)
        for merge in ((5, 261), (2, 5), (5,), (5, 6, 7), ("a", "b"), ([], 5), (-1, 5))
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
