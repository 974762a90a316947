"""Files of Hugging Face's WordLevel model, characters or words: the ids that `tokenizers` gives."""

import json
import unicodedata

import pytest
import regex
import tokenizers
from tokenizers import models, pre_tokenizers

from lab import runs
from lab.nn import TransformerConfig
from lab.text import BPETokenizer, WordLevelTokenizer, from_huggingface, tokenizer_from_json
from lab.text.hf_format import CHARACTERS
from lab.train import TrainConfig, text_material

SPECIAL = ["[PAD]", "[UNK]", "[MASK]", "[SOS]", "[EOS]", "[BLANK]"]
KNOWN = {name: i for i, name in enumerate(SPECIAL)}
WAYS = {
    "characters": pre_tokenizers.Split("", "isolated"),
    "Whitespace": pre_tokenizers.Whitespace(),
    "WhitespaceSplit": pre_tokenizers.WhitespaceSplit(),
}
ENTRIES = {
    "characters": [" ", *"ABEHNORT'", "\n", "\u0301"],
    "Whitespace": ["TO", "BE", ",", "...", "cafe\u0301", "x_1"],
    "WhitespaceSplit": ["TO", "BE,", "O'BE"],
}
TEXTS = ["TO BE,  OR NOT\tTO... BE", "O'BE x_1", "cafe\u0301 caf\xe9", "Z", "", "\u2028TO\x1cBE\x85", " TO\n"]


def their_tokenizer(way: str, unk: str = "[UNK]") -> tokenizers.Tokenizer:
    vocabulary = {entry: i for i, entry in enumerate([*SPECIAL, *ENTRIES[way]])}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=unk))
    tokenizer.pre_tokenizer = WAYS[way]
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


@pytest.mark.parametrize("way", WAYS)
def test_the_ids_are_those_of_the_library(way):
    theirs = their_tokenizer(way)
    ours = from_huggingface(theirs.to_str())
    again = tokenizer_from_json(ours.to_json())
    assert (
        again == ours
        and hash(again) == hash(ours)
        and ours != from_huggingface(their_tokenizer(way).to_str(), {"pad": None})
    )
    assert [getattr(ours, f"{role}_id") for role in ("pad", "unk", "mask", "bos", "eos")] == [0, 1, 2, 3, 4]
    assert ours.vocab_size == theirs.get_vocab_size() and ours.tokens([5, 6]) == ["[BLANK]", ENTRIES[way][0]]
    # What is a word, and what white space? Newer characters are known to one library before the other.
    every = "".join(
        char for char in map(chr, range(0x30000)) if unicodedata.category(char) not in ("Cn", "Cs")
    )
    for text in [*TEXTS, *(every[at : at + 5000] for at in range(0, len(every), 5000))]:
        assert again.encode(text) == theirs.encode(text).ids, ascii(text)
    assert ours.encode_lines(["TO"]) == [[3, *theirs.encode("TO").ids, 4]]


def test_characters_come_back_and_words_with_one_space_between_them():
    characters, words = (
        from_huggingface(their_tokenizer(way).to_str()) for way in ("characters", "Whitespace")
    )
    assert characters.decode([3, *characters.encode("TO  BE"), 5, 4]) == "TO  BE"
    assert words.decode([3, *words.encode("TO  BE, OR"), 4]) == "TO BE , \N{REPLACEMENT CHARACTER}"
    with pytest.raises(ValueError, match="id 99"):
        words.decode([99])


def test_an_unk_token_that_the_vocabulary_lacks_is_that_of_the_usual_name():
    theirs = their_tokenizer("characters", unk="<unk>")  # as in the files of CMU's 11-785
    ours = from_huggingface(theirs.to_str())
    assert ours.encode("TO") == theirs.encode("TO").ids and ours.unk_id == 1
    with pytest.raises(Exception, match="UNK"):
        theirs.encode("TOZ")
    assert ours.encode("Z") == [1] and ours.decode([1]) == "\N{REPLACEMENT CHARACTER}"
    with pytest.raises(ValueError, match="'Z' is not in"):
        from_huggingface(theirs.to_str(), roles={"unk": None}).encode("TOZ")


@pytest.mark.parametrize(
    ("part", "value", "named"),
    [
        ("pre_tokenizer", None, "pre_tokenizer None"),
        ("pre_tokenizer", {"type": "Digits"}, "Digits"),
        ("pre_tokenizer", CHARACTERS | {"pattern": {"String": " "}}, "Split"),
        ("normalizer", {"type": "Lowercase"}, "normalizer"),
        ("model", {"type": "WordLevel", "unk_token": "[UNK]"}, "vocab"),
        ("model", {"type": "WordLevel", "vocab": KNOWN | {"a": 6, "b": 6}}, "id of its own"),
        ("model", {"type": "WordLevel", "vocab": KNOWN | {"a": -1}}, "id of its own"),
        ("model", {"type": "WordLevel", "vocab": ["a"]}, "tokenizer.json"),
    ],
)  # fmt: skip
def test_what_else_a_file_may_say_is_refused(part, value, named):
    file = json.loads(their_tokenizer("characters").to_str()) | {part: value}
    with pytest.raises(ValueError, match=regex.escape(named)):
        from_huggingface(json.dumps(file))
    saved = json.loads(from_huggingface(their_tokenizer("characters").to_str()).to_json())
    for key, wrong in (("cut", "Digits"), ("roles", {"pad": 9}), ("special", 3)):
        with pytest.raises(ValueError):
            WordLevelTokenizer.from_json(json.dumps(saved | {key: wrong}))


class Course(BPETokenizer):
    """A vocabulary that was given, in the place of one that is learned."""

    FILE = None

    @classmethod
    def train(cls, lines, vocab_size):
        return cls.from_json(from_huggingface(cls.FILE).to_json())


def test_a_run_may_have_a_vocabulary_that_was_given(tmp_path):
    lines = ["THE CAT SAT", "A CAT", "THE HAT", "THAT HAT"] * 3
    theirs = tokenizers.Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=24, special_tokens=SPECIAL, show_progress=False)
    theirs.train_from_iterator(lines, trainer)
    Course.FILE = theirs.to_str()
    (tmp_path / "cats.txt").write_text("\n".join(lines))
    data = runs.Data(str(tmp_path / "cats.txt"), Course)
    sizes = TransformerConfig(24, 8, 8, num_layers=1, num_heads=2, feed_forward=8)
    asked = runs.Experiment(sizes, training=TrainConfig(steps=2, warmup=1), data=data)
    material = text_material(asked)
    assert asked.resolved().model.vocab_size == theirs.get_vocab_size()
    assert material.lines[0] == [3, *theirs.encode(material.splits.train[0]).ids, 4]
    run = runs.get_or_train(asked, tmp_path / "runs", progress=False, say=lambda _: None)
    (path,) = (tmp_path / "runs").glob("next-token-*")
    loaded = runs.load(path, outside=[Course])
    assert loaded.tokenizer == run.tokenizer == material.tokenizer and loaded.tokenizer.bos_id == 3
