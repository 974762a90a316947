"""What holds of every tokenizer, and of characters and words in particular."""

import json
import pickle
from contextlib import suppress

import numpy as np
import pytest

import lab.text as tokenize
from lab.text import SPECIAL_TOKENS, BPETokenizer, CharTokenizer, Tokenizer, WordTokenizer, from_tiktoken
from lab.text.bpe_train import MAX_VOCAB
from lab.text.protocol import JSON_VERSION, write_json

LINES = [
    "In the beginning God created the heaven and the earth.",
    "And the earth was without form, and void;",
]


RANKS = {bytes([byte]): byte for byte in range(256)} | {b"th": 256, b"the": 258}


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


def changed(value):
    """Every value that differs from a JSON value at one place, where something odd stands."""
    yield from (None, True, -1, 0.5, 10**12, "", "x", [], ["x"], [[5]], {}, {"x": 7})
    inside = (
        value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    )
    for key, part in inside:
        for other in changed(part):
            again = value.copy()
            again[key] = other
            yield again


@pytest.mark.parametrize("tokenizer", [*make_all(), from_tiktoken(RANKS)], ids=lambda t: type(t).__name__)
def test_a_forged_tokenizer_is_a_value_error_or_works(tokenizer):
    for forged in map(json.dumps, changed(json.loads(tokenizer.to_json()))):
        with suppress(ValueError):
            read = tokenize.tokenizer_from_json(forged)
            assert read.vocab_size <= MAX_VOCAB and read.decode(read.encode("the")) is not None


DOUBLING = [(5 + ord("a"), 5 + ord("a")), *((261 + n, 261 + n) for n in range(33))]
TOO_MUCH = ["(" * 9999, "a|" * 10**5, "a{1000000000}", "((ab){999}){999}", "(?R)", "(?P<x>(?&x)a)", "(a(?1))"]
NEVER_ENDING = BPETokenizer([], pattern="(?:a|aa|aaa)+$")


@pytest.mark.parametrize(
    "call, about",
    [
        (lambda: tokenize.tokenizer_from_json("[" * 10**5), "JSON"),
        (lambda: BPETokenizer(DOUBLING), "merge 2"),
        *((lambda p=p: BPETokenizer([], pattern=p), "pattern") for p in TOO_MUCH),
        (lambda: NEVER_ENDING.encode("a" * 99 + "b"), "pattern"),
        (lambda: list(NEVER_ENDING.steps("a" * 99 + "b")), "pattern"),
        (lambda: BPETokenizer.train(["a" * 99 + "b"], 300, pattern=NEVER_ENDING.pattern), "pattern"),
    ],
)
def test_a_tokenizer_that_would_take_for_ever_is_refused(call, about, monkeypatch):
    monkeypatch.setattr("lab.text.pretokens.SECONDS", 0.1)
    with pytest.raises(ValueError, match=about) as error:
        call()
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(("min_percentile", "kept"), [(0, "abcd"), (66, "abcd"), (67, "ab"), (100, "a")])
def test_rare_characters_are_left_out_and_ties_stay_together(min_percentile, kept):
    tokenizer = CharTokenizer.train(["a" * 9, "b" * 5, "cd"], min_percentile=min_percentile)
    assert "".join(tokenizer.vocabulary) == kept


def test_the_most_frequent_words_are_kept():
    tokenizer = WordTokenizer.train(["light: and light.", "and light"], max_vocab=9)
    assert tokenizer.vocabulary == (" ", "light", "and", ".")
