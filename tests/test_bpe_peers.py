"""The same merges and ids as rustbpe, tokenizers and tiktoken give, and their formats both ways."""

import json
import random

import pytest
import rustbpe
import tiktoken
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from lab.text import (
    BPETokenizer,
    CorpusError,
    from_huggingface,
    from_tiktoken,
    load,
    to_huggingface,
    to_tiktoken,
    tokenizer_from_json,
)
from lab.text.pretokens import PATTERNS, SPELLINGS

CORPUS = [
    "In the beginning God created the heaven and the earth.",
    "And the earth was without form, and void; and darkness was upon the face of the deep.",
    "'Tis the king's own word, and they'll keep it: 1234 souls, 56 more, naïve café <s> ...",
] * 3
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
PARTS = [
    " ", "  ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u2028", "\x85", "\x1c", "the", " earth", "God", "12345",
    "'s", "'LL", "'ſ", "é", "e\u0301", "\U0001f600", "日本", "<s>", "<mask>", "</s", ".", ",", "...\n", "\0",
]  # fmt: skip


def texts() -> list[str]:
    """What tokenizers may disagree on: white space, apostrophes, digits, other alphabets, special names."""
    rng = random.Random(3)
    mixed = ("".join(rng.choices(PARTS, k=rng.randrange(1, 12))) for _ in range(400))
    return ["", "".join(map(chr, range(0x250))), *CORPUS, *mixed]


@pytest.fixture(scope="module")
def kjv() -> list[str]:
    try:
        return load("kjv").lines
    except CorpusError as error:
        pytest.skip(f"no King James text at hand: {error}")


@pytest.mark.parametrize("vocab_size", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_merges_equal_rustbpe_on_kjv(kjv, vocab_size):
    ours = BPETokenizer.train(kjv, vocab_size)
    theirs = rustbpe.Tokenizer()
    theirs.train_from_iterator(kjv, vocab_size=256 + len(ours.merges))
    tokens = [bytes(data) for data, _ in sorted(theirs.get_mergeable_ranks(), key=lambda pair: pair[1])]
    assert len(ours.merges) == vocab_size - 261
    assert [ours.token_bytes(5 + n) for n in range(len(tokens))] == tokens
    text = "\n".join(kjv[:3000])
    assert [i - 5 for i in ours.encode(text)] == theirs.encode(text)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_huggingface_gives_the_same_ids(pattern):
    ours = BPETokenizer.train(CORPUS, 320, pattern=pattern)
    theirs = tokenizers.Tokenizer.from_str(to_huggingface(ours))
    assert theirs.get_vocab_size() == ours.vocab_size
    for text in texts():
        ids = theirs.encode(text).ids
        assert ours.encode(text, allow_special=True) == ids
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    theirs.encode_special_tokens = True
    for text in set(texts()) - set(SPECIAL):  # they look a whole pre-token up among the special ones too
        assert ours.encode(text) == theirs.encode(text).ids
    assert from_huggingface(to_huggingface(ours)) == ours


def their_tokenizer(
    pre_tokenizer, alphabet=(), special=("<|endoftext|>", "<unk>"), **model
) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    settings = dict(vocab_size=400, initial_alphabet=list(alphabet), show_progress=False)
    trainer = trainers.BpeTrainer(special_tokens=list(special), **settings)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(["<late>"])
    return tokenizer


def cut_by(expression: str):
    split = pre_tokenizers.Split(tokenizers.Regex(expression), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


@pytest.mark.parametrize(
    ("pre_tokenizer", "pattern"),
    [
        (pre_tokenizers.ByteLevel(add_prefix_space=False), "gpt2"),
        (pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), "none"),
        (cut_by(PATTERNS["gpt4"]), "gpt4"),
        (cut_by(next(iter(SPELLINGS))), "gpt4"),
        (cut_by(r"\p{N}|[a-z]+"), r"\p{N}|[a-z]+"),
    ],
    ids=["gpt2", "none", "gpt4", "cl100k", "own"],
)
@pytest.mark.parametrize("ignore_merges", [False, True])
def test_an_imported_tokenizer_keeps_its_ids(pre_tokenizer, pattern, ignore_merges):
    theirs = their_tokenizer(pre_tokenizer, pre_tokenizers.ByteLevel.alphabet(), ignore_merges=ignore_merges)
    ours = from_huggingface(theirs.to_str())
    assert ours.pattern == pattern and ours.vocab_size == theirs.get_vocab_size()
    assert (ours.bos_id, ours.eos_id, ours.unk_id, ours.mask_id) == (0, 0, 1, None)  # by their names
    again = tokenizer_from_json(ours.to_json())
    assert again == ours
    for text in [*texts(), "a<late>b<|endoftext|>"]:
        ids = theirs.encode(text).ids
        assert ours.encode(text, allow_special=True) == again.encode(text, allow_special=True) == ids
        assert ours.decode(ids) == text.replace("<|endoftext|>", "").replace("<late>", "") or "<" in text
    exported = tokenizers.Tokenizer.from_str(to_huggingface(again))
    assert exported.encode("God<late>'s earth").ids == theirs.encode("God<late>'s earth").ids


def test_an_alphabet_may_lack_bytes():
    pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs = their_tokenizer(pre_tokenizer, unk_token="<unk>")
    ours = from_huggingface(theirs.to_str())
    assert ours.unk_id == 1 and None in ours.layout.byte_ids
    for text in texts():
        assert ours.encode(text, allow_special=True) == theirs.encode(text).ids
    assert ours.decode(ours.encode("the Zoo")) == "the \N{REPLACEMENT CHARACTER}oo"


@pytest.mark.parametrize(
    "special", [["<|endoftext|>", "<unk>"], ["[PAD]", "[UNK]", "[MASK]", "[SOS]", "[EOS]", "[BLANK]"]]
)
def test_without_an_unk_token_unknown_bytes_are_passed_over_as_in_the_library(special):
    theirs = their_tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=False), special=special)
    file = theirs.to_str()
    assert json.loads(file)["model"]["unk_token"] is None
    ours = from_huggingface(file)
    again, exported = tokenizer_from_json(ours.to_json()), tokenizers.Tokenizer.from_str(to_huggingface(ours))
    assert ours.unk_id == 1 and again == ours == from_huggingface(to_huggingface(ours))
    for text in [*texts(), "the Zoo", "Zthe", "Z"]:
        ids = theirs.encode(text).ids
        assert ours.encode(text, allow_special=True) == again.encode(text, allow_special=True) == ids
        assert exported.encode(text).ids == ids
    assert ours.encode("theZ earth") == ours.encode("the earth") and ours.encode("Z") == []
    assert 1 in from_huggingface(file, roles={"unk": special[1]}).encode("Z")
    with pytest.raises(ValueError, match=r"byte 0x5a .*alphabet.*no <unk>"):
        from_huggingface(file, roles={"unk": None}).encode("the Zoo")


@pytest.mark.parametrize("names", [("[SOS]", "[EOS]"), ("[BOS]", "</s>"), ("<bos>", "<|endoftext|>")])
def test_lines_stand_between_the_tokens_that_a_file_has_for_it(names):
    theirs = their_tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=False))
    theirs.add_special_tokens(list(names))
    ours = from_huggingface(theirs.to_str())
    assert ours.encode_lines(["the earth"]) == [theirs.encode(f"{names[0]}the earth{names[1]}").ids]


def test_roles_are_found_or_given():
    text = their_tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=False)).to_str()
    ours = from_huggingface(text, roles={"pad": "<late>", "bos": "<unk>"})
    assert (ours.pad_id, ours.bos_id) == (from_huggingface(text).encode("<late>", allow_special=True)[0], 1)
    assert tokenizer_from_json(ours.to_json()).pad_id == ours.pad_id
    with pytest.raises(ValueError, match="'<nosuch>'"):
        from_huggingface(text, roles={"pad": "<nosuch>"})
    nameless = from_huggingface(json.dumps(json.loads(text) | {"added_tokens": []}))
    with pytest.raises(ValueError, match="bos_id"):
        nameless.encode_lines(["the"])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["normalizer"], {"type": "NFC"}, "normalizer"),
        (["pre_tokenizer"], {"type": "Whitespace"}, "pre_tokenizer"),
        (["pre_tokenizer"], None, "pre_tokenizer"),
        (["pre_tokenizer"], {"type": "ByteLevel", "add_prefix_space": True}, "pre_tokenizer"),
        (["pre_tokenizer", "pretokenizers", 0, "behavior"], "Removed", "pre_tokenizer"),
        (["pre_tokenizer", "pretokenizers", 0, "pattern"], {"String": " "}, "pre_tokenizer"),
        (["pre_tokenizer", "pretokenizers", 1, "use_regex"], True, "pre_tokenizer"),
        (["model", "type"], "Unigram", "type"),
        (["model", "type"], "WordLevel", "WordLevel"),
        (["model"], {"type": "WordLevel", "vocab": {"the": 0}, "unk_token": "<unk>"}, "WordLevel"),
        (["model", "vocab"], ["a"], "tokenizer.json"),
        (["model", "merges"], 7, "tokenizer.json"),
        (["added_tokens", 4], {}, "tokenizer.json"),
        (["added_tokens", 4, "id"], 77, "<mask>"),
        (["added_tokens", 4, "content"], "<late>", "<late>"),
        (["added_tokens", 4, "content"], ["<late>"], "tokenizer.json"),
        (["model"], None, "model"),
        (["model", "dropout"], 0.1, "dropout"),
        (["model", "byte_fallback"], True, "byte_fallback"),
        (["model", "merges"], [["a", "nosuch"]], "nosuch"),
        (["model", "merges"], ["a Z"], "aZ"),
        (["added_tokens", 4, "lstrip"], True, "<mask>"),
    ],
)
def test_what_is_not_byte_level_bpe_is_named(path, value, message):
    part = file = json.loads(to_huggingface(BPETokenizer.train(CORPUS, 300)))
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        from_huggingface(json.dumps(file))


def tiktokens(pattern, ranks, special) -> tiktoken.Encoding:
    expression = PATTERNS.get(pattern, pattern)
    return tiktoken.Encoding("x", pat_str=expression, mergeable_ranks=ranks, special_tokens=special)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_tiktoken_gives_the_same_ids(pattern):
    ours = BPETokenizer.train(CORPUS, 320, pattern=pattern)
    ranks, special = to_tiktoken(ours), ours.layout.special
    theirs = tiktokens(pattern, ranks, special)
    assert from_tiktoken(ranks, special, pattern) == ours
    for text in texts():
        assert ours.encode(text) == theirs.encode_ordinary(text)
        assert ours.encode(text, allow_special=True) == theirs.encode(text, allowed_special="all")
        assert ours.decode(ours.encode(text)) == text


def test_ranks_of_tiktoken_keep_their_ids():
    trained = BPETokenizer.train(CORPUS, 320)
    ranks = {trained.token_bytes(i): i - 5 for i in range(5, trained.vocab_size)}  # from 0, as theirs are
    special = {"<|endoftext|>": 400}
    # What tiktoken writes for cl100k_base is imported as the regular expression it is.
    cl100k = (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    )
    for pattern in ("gpt2", cl100k):
        ours = from_tiktoken(ranks, special, pattern)
        theirs = tiktokens(pattern, ranks, special)
        assert ours.vocab_size == theirs.n_vocab == 401 and ours.eos_id == 400
        for text in [*texts(), "a\n ", "a \n"]:
            assert ours.encode(text) == theirs.encode_ordinary(text)
        assert to_tiktoken(tokenizer_from_json(ours.to_json())) == ranks
        with pytest.raises(ValueError, match="id 399"):
            ours.decode([399])


def test_bad_ranks_are_named():
    ranks = {bytes([byte]): byte for byte in range(256)}
    with pytest.raises(ValueError, match=r"token 300, b'abc'"):
        from_tiktoken(ranks | {b"abc": 300})
    with pytest.raises(ValueError, match="lack 0x41"):
        from_tiktoken({data: i for data, i in ranks.items() if data != b"A"})
    with pytest.raises(ValueError, match="ids of their own"):
        from_tiktoken(ranks, {"<s>": 65})
    out_of_order = from_tiktoken(ranks | {b"ab": 256, b"cd": 257})
    file = json.loads(out_of_order.to_json())
    file["layout"]["merged_ids"].reverse()
    with pytest.raises(ValueError, match="order of ids"):
        to_tiktoken(tokenizer_from_json(json.dumps(file)))


def test_a_late_token_has_the_librarys_id_or_is_refused():
    theirs = their_tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<unk>"])
    file = json.loads(theirs.to_str())
    late = file["added_tokens"][-1]
    ids = theirs.encode("the<late>earth").ids
    assert (
        late["id"] in ids
        and from_huggingface(json.dumps(file)).encode("the<late>earth", allow_special=True) == ids
    )
    late["id"] += 1
    assert tokenizers.Tokenizer.from_str(json.dumps(file)).encode("the<late>earth").ids == ids
    with pytest.raises(ValueError, match=f"<late>.* {late['id']}, .* {late['id'] - 1}"):
        from_huggingface(json.dumps(file))
