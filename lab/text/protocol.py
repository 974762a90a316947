"""What every tokenizer promises: the special tokens, the methods, and the shape of its JSON."""

import json
from collections.abc import Iterable
from typing import Protocol, Self, runtime_checkable

# Every tokenizer trained here gives these the ids 0 to 4, in this order.
SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
PAD, UNK, BOS, EOS, MASK = range(5)

JSON_VERSION = 1
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back. A tokenizer exists only trained: `train` and `from_json` make one.

    The special ids are attributes. A tokenizer trained here has 0 to 4; an imported one keeps those
    of its file, and `None` where it has no such token. Every id is in `range(vocab_size)`.
    """

    pad_id: int | None
    unk_id: int | None
    bos_id: int | None
    eos_id: int | None
    mask_id: int | None

    @property
    def vocab_size(self) -> int:
        """How many ids there are, special tokens included: the rows of an embedding table."""

    @classmethod
    def train(cls, lines: Iterable[str], **settings) -> Self:
        """Learn a vocabulary from the lines of a corpus."""

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without `<s>` and `</s>`."""

    def encode_lines(self, lines: Iterable[str], add_special: bool = True) -> list[list[int]]:
        """The ids of each line, between `<s>` and `</s>` unless `add_special` is False."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`. Special tokens leave no trace, but `<unk>` becomes U+FFFD."""

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """One string an id, for display; special tokens are shown by name."""

    def to_json(self) -> str:
        """Everything the tokenizer is, as text that `from_json` turns into an equal one."""

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The tokenizer that `to_json` wrote."""


def frame_lines(lines: Iterable[list[int]], bos_id: int | None, eos_id: int | None) -> list[list[int]]:
    """Put `<s>` before and `</s>` after each encoded line."""
    if bos_id is None or eos_id is None:
        missing = "<s>" if bos_id is None else "</s>"
        raise ValueError(
            f"encode_lines(add_special=True) needs a begin and an end token, but this imported tokenizer "
            f"has none in the role of {missing}; pass add_special=False, or set bos_id and eos_id on it"
        )
    return [[bos_id, *ids, eos_id] for ids in lines]


def write_json(kind: str, **fields) -> str:
    """The versioned JSON that `read_json` reads."""
    return json.dumps({"kind": kind, "version": JSON_VERSION, **fields})


def read_json(text: str, kind: str, required: set[str], optional: frozenset[str] = frozenset()) -> dict:
    """The fields that `write_json(kind, ...)` was given; a ValueError where `text` is anything else.

    >>> read_json(write_json("char", vocabulary=["a"]), "char", required={"vocabulary"})
    {'vocabulary': ['a']}
    """
    fields = parse_object(text)
    given, version = fields.pop("kind", None), fields.pop("version", None)
    if given != kind:
        raise ValueError(f"expected tokenizer JSON of kind {kind!r}, got {given!r}; use lab.text.from_json")
    if version != JSON_VERSION:
        raise ValueError(
            f"tokenizer JSON has version {version!r}, this code reads version {JSON_VERSION}; "
            "train the tokenizer again, or load it with the code that wrote it"
        )
    if missing := required - fields.keys():
        raise ValueError(f"tokenizer JSON of kind {kind!r} lacks {sorted(missing)}")
    if unknown := fields.keys() - required - optional:
        raise ValueError(
            f"tokenizer JSON of kind {kind!r} has unknown keys {sorted(unknown)}; "
            f"expected {sorted(required | optional)}"
        )
    return fields


def parse_object(text: str) -> dict:
    """`text` as a JSON object, or a ValueError that shows how it begins."""
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"tokenizer JSON cannot be parsed ({error}); it begins {text[:40]!r}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"tokenizer JSON must be an object, got {type(fields).__name__}")
    return fields
