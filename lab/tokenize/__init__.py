"""Text to ids and back: characters, words and byte-level BPE behind one protocol."""

from lab.tokenize.bpe import BPETokenizer
from lab.tokenize.chars import CharTokenizer
from lab.tokenize.interop import from_huggingface, from_tiktoken, to_huggingface, to_tiktoken
from lab.tokenize.protocol import SPECIAL_TOKENS, Tokenizer, parse_object
from lab.tokenize.words import WordTokenizer

__all__ = [
    "SPECIAL_TOKENS",
    "BPETokenizer",
    "CharTokenizer",
    "Tokenizer",
    "WordTokenizer",
    "from_huggingface",
    "from_json",
    "from_tiktoken",
    "to_huggingface",
    "to_tiktoken",
]

KINDS = {"char": CharTokenizer, "word": WordTokenizer, "bpe": BPETokenizer}


def from_json(text: str) -> Tokenizer:
    """The tokenizer, of whichever kind, that some `to_json` wrote.

    Raises ValueError for an unknown kind, another version, or unknown keys.
    """
    kind = parse_object(text).get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"unknown tokenizer kind {kind!r}; expected one of {sorted(KINDS)}")
    return KINDS[kind].from_json(text)
