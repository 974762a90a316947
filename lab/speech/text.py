"""Transcripts: text as it is heard, and as the ids that a recogniser should write."""

import unicodedata
from string import ascii_lowercase

import regex

from lab.speech.audio import Unusable
from lab.text import CharTokenizer, Tokenizer

UNHEARD = regex.compile(r"[^\p{L}\p{M}\p{N}']+")


class TextError(Unusable):
    """A transcript that cannot be a target."""


def character_alphabet() -> CharTokenizer:
    """Space, apostrophe and the letters a to z: what `plain` English is written in.

    >>> character_alphabet().vocab_size
    33
    """
    return CharTokenizer(f" '{ascii_lowercase}")


def plain(text: str) -> str:
    """Text as it is heard: small letters, no punctuation but the apostrophe, one space between words.

    Digits and letters of other alphabets stay, so that `encode` can refuse what nobody knows how to say.

    >>> plain("“Mister QUILTER’s”, he said -- twice.")
    "mister quilter's he said twice"
    """
    text = UNHEARD.sub(" ", text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    # An accent belongs to its letter, however it was typed.
    return unicodedata.normalize("NFC", " ".join(text.split()))


def encode(text: str, tokenizer: Tokenizer) -> list[int]:
    """The ids of a transcript, without `<s>` and `</s>`.

    Raises TextError for one that is empty, and for characters that the tokenizer does not have, naming them: what does
    not come back from its ids could never be read right.

    >>> encode("ab", character_alphabet())
    [7, 8]
    """
    if not text.strip():
        raise TextError("empty transcript", f"the transcript {text!r} is empty: leave the utterance out")
    ids = tokenizer.encode(text)
    if tokenizer.decode(ids) != text:
        unknown = sorted({char for char in text if tokenizer.decode(tokenizer.encode(char)) != char})
        raise TextError(
            "unknown characters",
            f"the transcript {text!r} has {unknown or 'words'} that the tokenizer does not know: spell it with "
            "`plain`, write numbers as words, or train the tokenizer on such text",
        )
    return ids
