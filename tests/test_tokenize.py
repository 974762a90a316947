"""What holds of every tokenizer, and of characters and words in particular."""

import json
import pickle

import numpy as np
import pytest

import lab.text as tokenize
from lab.text import SPECIAL_TOKENS, BPETokenizer, CharTokenizer, Tokenizer, WordTokenizer
from lab.text.protocol import JSON_VERSION, write_json
from lab.text.wikitext import kept_lines

LINES = [
    "In the beginning God created the heaven and the earth.",
    "And the earth was without form, and void;",
]


def make_all() -> list[Tokenizer]:
    """One of each kind, from settings that are not the defaults."""
    return [
        CharTokenizer.train(LINES, min_percentile=30),
        WordTokenizer.train(LINES, max_vocab=15),
        BPETokenizer.train(LINES, vocab_size=270, pattern="gpt2"),
    ]


every_kind = pytest.mark.parametrize("tokenizer", make_all(), ids=lambda t: type(t).__name__)


@every_kind
def test_special_tokens_have_the_first_ids(tokenizer):
    ids = [getattr(tokenizer, f"{role}_id") for role in ("pad", "unk", "bos", "eos", "mask")]
    assert ids == [0, 1, 2, 3, 4]
    assert tokenizer.tokens(ids) == list(SPECIAL_TOKENS)
    assert isinstance(tokenizer, Tokenizer)


@every_kind
def test_decode_leaves_special_tokens_out_and_shows_what_was_lost(tokenizer):
    ids = tokenizer.encode("the")
    assert tokenizer.decode(np.array([2, *ids, 3, 0, 4])) == "the"
    assert tokenizer.decode([*ids, 1]) == "the\N{REPLACEMENT CHARACTER}"


@every_kind
def test_encode_lines_frames_each_line(tokenizer):
    plain = [tokenizer.encode(line) for line in LINES]
    assert tokenizer.encode_lines(LINES, add_special=False) == plain
    assert tokenizer.encode_lines(iter(LINES)) == [[2, *ids, 3] for ids in plain]
    assert tokenizer.encode_lines([""]) == [[2, 3]]


@every_kind
def test_json_makes_an_equal_tokenizer(tokenizer):
    again = tokenize.tokenizer_from_json(tokenizer.to_json())
    assert sum(again == other for other in make_all()) == 1
    assert again == tokenizer and again is not tokenizer and hash(again) == hash(tokenizer)
    assert again.vocab_size == tokenizer.vocab_size
    text = "And God created zebras, \u00e9 \n void;"
    assert again.encode(text) == tokenizer.encode(text)
    assert type(tokenizer).from_json(tokenizer.to_json()) == tokenizer
    assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer


@every_kind
def test_every_id_below_vocab_size_has_a_token(tokenizer):
    assert len(tokenizer.tokens(range(tokenizer.vocab_size))) == tokenizer.vocab_size
    for bad in (-1, tokenizer.vocab_size):
        for method in (tokenizer.decode, tokenizer.tokens):
            with pytest.raises(ValueError, match=f"id {bad} "):
                method([2, bad])


@every_kind
@pytest.mark.parametrize(
    "change",
    [{"version": JSON_VERSION + 1}, {"kind": "sentencepiece"}, {"kind": ["bpe"]}, {"dropout": 0.1}],
    ids=str,
)
def test_json_of_another_make_is_refused(tokenizer, change):
    text = json.dumps(json.loads(tokenizer.to_json()) | change)
    for read in (tokenize.tokenizer_from_json, type(tokenizer).from_json):
        with pytest.raises(ValueError, match=next(iter(change))):
            read(text)


@pytest.mark.parametrize(
    "call, about",
    [
        (lambda: tokenize.tokenizer_from_json(""), "Expecting value"),
        (lambda: tokenize.tokenizer_from_json("[]"), "tokenizer"),
        (lambda: tokenize.tokenizer_from_json('{"kind": "char", "version": 1}'), "vocabulary"),
        (lambda: CharTokenizer.train(["", ""]), "character"),
        (lambda: WordTokenizer.train([""]), "word"),
        (lambda: CharTokenizer.train(["a"], min_percentile=101), "min_percentile"),
        (lambda: WordTokenizer.train(["a"], max_vocab=5), "max_vocab"),
        (lambda: CharTokenizer(["a", "a"]), "vocabulary"),
        (lambda: CharTokenizer.from_json(write_json("char", vocabulary="ab")), r"\['ab'\]"),
        (lambda: WordTokenizer(["two words"]), "vocabulary"),
    ],
)
def test_refusals(call, about):
    with pytest.raises(ValueError, match=about):
        call()


@pytest.mark.parametrize(
    "call",
    [
        CharTokenizer.train,
        WordTokenizer.train,
        lambda lines: BPETokenizer.train(lines, 300),
        *(tokenizer.encode_lines for tokenizer in make_all()),
        lambda lines: tokenize.Corpus("mine", lines),
        tokenize.grammar.grammar().log2_probability,
        kept_lines,
    ],
)
@pytest.mark.parametrize("text", ["To be", b"To be"])
def test_one_string_is_no_list_of_lines(call, text):
    with pytest.raises(ValueError, match=r"\[b?'To be'\]"):
        call(text)


def test_a_long_string_is_not_printed_whole():
    with pytest.raises(ValueError) as error:
        CharTokenizer.train("x" * 10**6)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(("min_percentile", "kept"), [(0, "abcd"), (66, "abcd"), (67, "ab"), (100, "a")])
def test_rare_characters_are_left_out_and_ties_stay_together(min_percentile, kept):
    tokenizer = CharTokenizer.train(["a" * 9, "b" * 5, "cd"], min_percentile=min_percentile)
    assert "".join(tokenizer.vocabulary) == kept


def test_the_most_frequent_words_are_kept():
    tokenizer = WordTokenizer.train(["light: and light.", "and light"], max_vocab=9)
    assert tokenizer.vocabulary == (" ", "light", "and", ".")
