"""Imported vocabularies in which every entry is one character or one word: Hugging Face's WordLevel models."""

from collections.abc import Mapping
from typing import Self

import regex

from lab.text import protocol
from lab.text.bpe_train import MAX_VOCAB
from lab.text.table import TableTokenizer

# How text is cut, with what stands between the pieces when they are text again; \w and \s are Unicode's, as in Rust.
CUTS = {
    "characters": (regex.compile(r"(?s:.)"), ""),
    "Whitespace": (regex.compile(r"\w+|[^\w\s]+"), " "),
    "WhitespaceSplit": (regex.compile(r"\S+"), " "),
}


class WordLevelTokenizer(TableTokenizer):
    """Characters or words with the ids of a file, special tokens included; `from_huggingface` makes one.

    `cut` is one of `CUTS`. Where words are cut at white space it is lost, as in the library: `decode` writes one space.

    >>> entries, special = {"to": 3, "be": 2}, {"[UNK]": 0, "[SOS]": 1}
    >>> tokenizer = WordLevelTokenizer(entries, special, {"unk": 0, "bos": 1}, "WhitespaceSplit")
    >>> tokenizer.encode("to  be at"), tokenizer.decode([1, 3, 2]), tokenizer.pad_id
    ([3, 2, 0], 'to be', None)

    Raises ValueError for ids that are not whole numbers of their own.
    """

    kind = "word level"

    def __init__(
        self, entries: Mapping[str, int], special: Mapping[str, int], roles: Mapping[str, int], cut: str
    ):
        ids = [*entries.values(), *special.values()]
        if len(set(ids)) < len(ids) or not all(type(i) is int and 0 <= i < MAX_VOCAB for i in ids):
            raise ValueError(f"every entry and special token has an id of its own below {MAX_VOCAB}")
        if strays := set(roles.values()) - set(special.values()):
            raise ValueError(f"roles name the ids {sorted(strays)}, which are not special tokens")
        self.cut, self.roles, self.special = cut, dict(roles), dict(special)
        pattern, self.between = CUTS[cut]
        self.split = pattern.findall
        for role in protocol.ROLES:
            setattr(self, f"{role}_id", self.roles.get(role))
        self._look_up(dict(entries), self.special)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`; what is not in the vocabulary becomes `<unk>`, or a ValueError where there is none."""
        ids = super().encode(text)
        if None in ids:
            unknown = self.split(text)[ids.index(None)]
            raise ValueError(
                f"{unknown!r} is not in this imported vocabulary, which has no <unk> to put in its place"
            )
        return ids

    def to_json(self) -> str:
        """The tokenizer as text; `from_json` gives an equal one."""
        fields = {"entries": self._ids, "special": self.special, "roles": self.roles, "cut": self.cut}
        return protocol.write_json(self.kind, **fields)

    @classmethod
    @protocol.refused_as("table of characters or words")
    def from_json(cls, text: str) -> Self:
        """The tokenizer that `to_json` wrote. Raises ValueError for other versions, kinds or keys."""
        return cls(**protocol.read_json(text, cls.kind, required={"entries", "special", "roles", "cut"}))

    def __eq__(self, other) -> bool:
        return type(self) is type(other) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.kind, tuple(self._ids)))
