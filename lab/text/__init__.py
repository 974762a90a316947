"""Text: corpora by name, your own and generated ones, and the tokenizers that cut it, with foreign formats."""

from lab.text import grammar
from lab.text.bpe import BPETokenizer
from lab.text.chars import CharTokenizer
from lab.text.corpus import Corpus, CorpusError, Splits
from lab.text.facts import TextFacts, describe
from lab.text.interop import from_huggingface, from_tiktoken, to_huggingface, to_tiktoken
from lab.text.named import NAMES, load
from lab.text.pretokens import PATTERNS, splitter
from lab.text.protocol import SPECIAL_TOKENS, Tokenizer, parse_object
from lab.text.word_level import WordLevelTokenizer
from lab.text.words import WordTokenizer

__all__ = [
    "NAMES",
    "PATTERNS",
    "SPECIAL_TOKENS",
    "TOKENIZERS",
    "BPETokenizer",
    "CharTokenizer",
    "Corpus",
    "CorpusError",
    "Splits",
    "TextFacts",
    "Tokenizer",
    "WordLevelTokenizer",
    "WordTokenizer",
    "describe",
    "from_huggingface",
    "from_tiktoken",
    "grammar",
    "load",
    "splitter",
    "to_huggingface",
    "to_tiktoken",
    "tokenizer_from_json",
]

TOKENIZERS = {"char": CharTokenizer, "word": WordTokenizer, "bpe": BPETokenizer}


def tokenizer_from_json(text: str) -> Tokenizer:
    """The tokenizer, of whichever kind, that some `to_json` wrote.

    Raises ValueError for an unknown kind, another version, or unknown keys.
    """
    kind, kinds = parse_object(text).get("kind"), TOKENIZERS | {WordLevelTokenizer.kind: WordLevelTokenizer}
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"unknown tokenizer kind {kind!r}; expected one of {sorted(kinds)}")
    return kinds[kind].from_json(text)
