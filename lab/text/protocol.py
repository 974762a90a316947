"""What every tokenizer promises: the special tokens, the methods, and the shape of its JSON."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, Self, runtime_checkable

from lab.config import shown

# Every tokenizer trained here gives these the ids 0 to 4, in this order.
SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
PAD, UNK, BOS, EOS, MASK = range(5)
ROLES = ("pad", "unk", "bos", "eos", "mask")  # in the same order: `pad_id` and so on

JSON_VERSION = 1
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back: what any tokenizer must have, one from outside too; it exists only trained.

    `train`, `to_json` and `from_json` are needed where it is trained for a run and kept with it, `tokens` by widgets;
    the rest by all who read or write text. The special ids are attributes: a tokenizer trained here has 0 to 4; an
    imported one keeps those of its file, and `None` where it has no such token. Every id is in `range(vocab_size)`.
    What `to_json` writes is any text from which `from_json` makes an equal tokenizer.
    """

    pad_id: int | None
    unk_id: int | None
    bos_id: int | None
    eos_id: int | None
    mask_id: int | None
    vocab_size: int  # how many ids there are, special tokens included: the rows of an embedding table

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


def as_lines(name: str, lines: Iterable[str]) -> Iterable[str]:
    """`lines` as given; a ValueError where they are one string, whose letters would each be taken for a line."""
    if isinstance(lines, str | bytes):
        given = shown(lines, 40)
        raise ValueError(f"{name}={given} is one string, expected a list of strings: pass [{given}]")
    return lines


def frame_lines(lines: Iterable[list[int]], bos_id: int | None, eos_id: int | None) -> list[list[int]]:
    """Put `<s>` before and `</s>` after each encoded line."""
    if bos_id is None or eos_id is None:
        raise ValueError(
            f"encode_lines(add_special=True) needs a begin and an end token, but this imported tokenizer has bos_id "
            f"{bos_id} and eos_id {eos_id}: pass add_special=False, or set both on it"
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
    given = fields.pop("kind", None), fields.pop("version", None)
    if given != (kind, JSON_VERSION):
        raise ValueError(f"expected tokenizer JSON of kind and version {(kind, JSON_VERSION)}, got {given}")
    if not required <= fields.keys() <= required | optional:
        raise ValueError(
            f"tokenizer JSON of kind {kind!r} has the keys {sorted(required | optional)}, got {sorted(fields)}"
        )
    return fields


@contextmanager
def refused_as(kind: str) -> Iterator[None]:
    """What stumbles over the shape of a forged or damaged file inside is a ValueError: this is no `kind`."""
    try:
        yield
    except (TypeError, AttributeError, LookupError, OverflowError, RecursionError) as error:
        raise ValueError(f"this is no {kind}: {type(error).__name__}, {str(error)[:200]}") from None


@refused_as("tokenizer JSON")
def parse_object(text: str) -> dict:
    """`text` as a JSON object, or a ValueError."""
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError(f"tokenizer JSON must be an object, got {shown(text, 40)}")
    return fields
