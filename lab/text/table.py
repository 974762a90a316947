"""What tokenizers of characters and of words share: a table of strings, each with its id."""

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Self

from lab.text import protocol
from lab.text.protocol import REPLACEMENT, SPECIAL_TOKENS


class TableTokenizer:
    """A vocabulary of strings; subclasses say how text is cut (`split`) and what is kept (`train`).

    `vocabulary` holds the strings in order of their ids, which start after the special tokens.
    """

    kind: ClassVar[str]
    split: Callable[[str], list[str]]  # into what is looked up; joined it is the text again
    between: ClassVar[str] = ""  # with this in between
    pad_id, unk_id, bos_id, eos_id, mask_id = range(len(SPECIAL_TOKENS))

    def __init__(self, vocabulary: Iterable[str]):
        self.vocabulary = tuple(vocabulary)
        special = {name: i for i, name in enumerate(SPECIAL_TOKENS)}
        self._look_up({entry: len(special) + i for i, entry in enumerate(self.vocabulary)}, special)
        if len(self._ids) < len(self.vocabulary) or any(self.split(entry) != [entry] for entry in self._ids):
            raise ValueError(
                f"a {self.kind} vocabulary has each entry once, each of which is one {self.kind}"
            )

    def _look_up(self, ids: Mapping[str, int], special: Mapping[str, int]) -> None:
        self._ids, self._special = ids, frozenset(special.values())
        self._entries = {i: entry for table in (ids, special) for entry, i in table.items()}
        self.vocab_size = 1 + max(self._entries)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`; what is not in the vocabulary becomes `<unk>`."""
        lookup, unknown = self._ids.get, self.unk_id
        return [lookup(piece, unknown) for piece in self.split(text)]

    def encode_lines(self, lines: Iterable[str], add_special: bool = True) -> list[list[int]]:
        """The ids of each line, between `<s>` and `</s>` unless `add_special` is False."""
        encoded = [self.encode(line) for line in protocol.as_lines("lines", lines)]
        return protocol.frame_lines(encoded, self.bos_id, self.eos_id) if add_special else encoded

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, white space verbatim: `decode(encode(s)) == s` for text in vocabulary.

        Special tokens leave no trace, but `<unk>` stands for lost text and becomes U+FFFD.
        Raises ValueError for an id outside the vocabulary.
        """
        shown = (i for i in map(int, ids) if i == self.unk_id or i not in self._special)
        return self.between.join(REPLACEMENT if i == self.unk_id else self._entry(i) for i in shown)

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
        if i not in self._entries:
            raise ValueError(f"id {i} is not in this vocabulary; ids go from 0 to {self.vocab_size - 1}")
        return self._entries[i]
