"""Which id stands for what in a BPE vocabulary: ours, or that of an imported file."""

from dataclasses import dataclass, field
from typing import Self

from lab.text.bpe_train import MAX_VOCAB
from lab.text.protocol import ROLES, SPECIAL_TOKENS

FIRST_BYTE = len(SPECIAL_TOKENS)
FIRST_MERGE = FIRST_BYTE + 256
MOST_BYTES = 1 << 26  # of all tokens; those of a large vocabulary have 2 MB, a forged one doubles for ever


@dataclass(frozen=True)
class Layout:
    """The ids of a BPE vocabulary, JSON in and out.

    special      the special tokens by name
    roles        which of them is pad, unk, bos, eos and mask; some may be absent
    byte_ids     the id of each of the 256 bytes, None where the alphabet lacks it
    merged_ids   the id that each merge makes
    extra        the ids of tokens that neither a byte nor a merge makes, by their bytes in hex
    whole_words  whether a pre-token that is itself in the vocabulary becomes that token at once, as in
                 tiktoken and in files with "ignore_merges"
    drops_unknown  whether bytes without an id are passed over, as in files with "unk_token" null; else `<unk>` stands
                 for them

    Training here gives tokenizers for which `whole_words` is a shortcut and no more: a token was made
    inside some word by merges that all kept within its bytes, so the same merges make it of its bytes alone.
    """

    special: dict[str, int]
    roles: dict[str, int]
    byte_ids: tuple[int | None, ...]
    merged_ids: tuple[int, ...]
    extra: dict[str, int] = field(default_factory=dict)
    whole_words: bool = False
    drops_unknown: bool = False

    @classmethod
    def native(cls, num_merges: int) -> Self:
        """The layout of every tokenizer trained here: special tokens, bytes in order, merges in order."""
        return cls(
            special={name: i for i, name in enumerate(SPECIAL_TOKENS)},
            roles=dict(zip(ROLES, range(FIRST_BYTE), strict=True)),
            byte_ids=tuple(range(FIRST_BYTE, FIRST_MERGE)),
            merged_ids=tuple(range(FIRST_MERGE, FIRST_MERGE + num_merges)),
            whole_words=True,
        )

    def spell_out(self, merges: list[tuple[int, int]]) -> dict[int, bytes]:
        """The bytes of every id but the special tokens'. Raises ValueError for merges of unknown ids."""
        if len(merges) != len(self.merged_ids):
            raise ValueError(f"a layout for {len(self.merged_ids)} merges cannot hold {len(merges)}")
        spelled = {i: bytes([byte]) for byte, i in enumerate(self.byte_ids) if i is not None}
        spelled |= {i: bytes.fromhex(data) for data, i in self.extra.items()}
        size = 0
        for n, (pair, merged) in enumerate(zip(merges, self.merged_ids, strict=True)):
            if len(pair) != 2 or any(type(i) is not int or i not in spelled for i in pair):
                raise ValueError(f"merge {n} is {pair}; expected (left, right), ids of tokens made before it")
            spelled[merged] = spelled[pair[0]] + spelled[pair[1]]
            size += len(spelled[merged])
            if size > MOST_BYTES:
                raise ValueError(f"merge {n} is one too many: the tokens have {size:,} bytes in all by then")
        return spelled

    def byte_to_id(self, data: bytes) -> list[int]:
        """The ids of bytes one by one. Raises ValueError where one has none and there is no `<unk>`."""
        ids = list(map(self.byte_ids.__getitem__, data))
        if None not in ids:
            return ids
        if self.drops_unknown:
            return [i for i in ids if i is not None]
        if "unk" not in self.roles:
            raise ValueError(
                f"byte 0x{data[ids.index(None)]:02x} of {data!r} is not in the alphabet of this imported "
                "tokenizer, which has no <unk> to put in its place; leave it out of the text"
            )
        return [self.roles["unk"] if i is None else i for i in ids]

    def __post_init__(self):
        for name in ("byte_ids", "merged_ids"):  # lists, where they come from JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))
        fixed = [*self.special.values(), *self.extra.values(), *(i for i in self.byte_ids if i is not None)]
        if len(set(fixed)) < len(fixed) or not all(
            type(i) is int and 0 <= i < MAX_VOCAB for i in (*fixed, *self.merged_ids)
        ):
            raise ValueError(f"special, byte and extra tokens have ids of their own below {MAX_VOCAB}")
        if len(self.byte_ids) != 256:
            raise ValueError(f"a layout gives each of 256 bytes an id or None, got {len(self.byte_ids)}")
        if strays := set(self.roles.values()) - set(self.special.values()):
            raise ValueError(f"roles name the ids {sorted(strays)}, which are not special tokens")
