"""What CharTokenizer and WordTokenizer share: a list of strings, whose places are the ids."""

from collections.abc import Callable, Iterable
from typing import ClassVar, Self

from lab.text import protocol
from lab.text.protocol import REPLACEMENT, SPECIAL_TOKENS, UNK


class TableTokenizer:
    """A vocabulary of strings; subclasses say how text is cut (`split`) and what is kept (`train`).

    `vocabulary` holds the strings in order of their ids, which start after the special tokens.
    """

    kind: ClassVar[str]
    split: ClassVar[Callable[[str], list[str]]]  # into what is looked up; joined it is the text again
    pad_id, unk_id, bos_id, eos_id, mask_id = range(len(SPECIAL_TOKENS))

    def __init__(self, vocabulary: Iterable[str]):
        self.vocabulary = tuple(vocabulary)
        self.vocab_size = len(SPECIAL_TOKENS) + len(self.vocabulary)
        self._ids = {entry: len(SPECIAL_TOKENS) + i for i, entry in enumerate(self.vocabulary)}
        if len(self._ids) < len(self.vocabulary) or any(self.split(entry) != [entry] for entry in self._ids):
            raise ValueError(
                f"a {self.kind} vocabulary has each entry once, each of which is one {self.kind}"
            )

    def encode(self, text: str) -> list[int]:
        """The ids of `text`; what is not in the vocabulary becomes `<unk>`."""
        lookup = self._ids.get
        return [lookup(piece, UNK) for piece in self.split(text)]

    def encode_lines(self, lines: Iterable[str], add_special: bool = True) -> list[list[int]]:
        """The ids of each line, between `<s>` and `</s>` unless `add_special` is False."""
        encoded = [self.encode(line) for line in protocol.as_lines("lines", lines)]
        return protocol.frame_lines(encoded, self.bos_id, self.eos_id) if add_special else encoded

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, white space verbatim: `decode(encode(s)) == s` for text in vocabulary.

        Special tokens leave no trace, but `<unk>` stands for lost text and becomes U+FFFD.
        Raises ValueError for an id outside the vocabulary.
        """
        shown = dict.fromkeys(range(len(SPECIAL_TOKENS)), "") | {UNK: REPLACEMENT}
        return "".join(shown[i] if i in shown else self._entry(i) for i in map(int, ids))

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """One string an id, for display; special tokens are shown by name."""
        return [self._entry(i) for i in map(int, ids)]

    def to_json(self) -> str:
        """The tokenizer as text; `from_json` gives an equal one."""
        return protocol.write_json(self.kind, vocabulary=self.vocabulary)

    @classmethod
    @protocol.refused_as("table of characters or words")
    def from_json(cls, text: str) -> Self:
        """The tokenizer that `to_json` wrote. Raises ValueError for other versions, kinds or keys."""
        vocabulary = protocol.read_json(text, cls.kind, required={"vocabulary"})["vocabulary"]
        return cls(protocol.as_lines("vocabulary", vocabulary))

    def __eq__(self, other) -> bool:
        return type(self) is type(other) and self.vocabulary == other.vocabulary

    def __hash__(self) -> int:
        return hash((self.kind, self.vocabulary))

    def _entry(self, i: int) -> str:
        if not 0 <= i < self.vocab_size:
            raise ValueError(f"id {i} is not in this vocabulary; ids go from 0 to {self.vocab_size - 1}")
        if i < len(SPECIAL_TOKENS):
            return SPECIAL_TOKENS[i]
        return self.vocabulary[i - len(SPECIAL_TOKENS)]
