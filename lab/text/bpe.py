"""Byte-level BPE: every text is bytes, so nothing is out of vocabulary, and frequent runs become tokens."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain, pairwise
from typing import Self

import regex

from lab.text.bpe_encode import Pieces, Words, apply_merges
from lab.text.bpe_layout import FIRST_BYTE, FIRST_MERGE, Layout
from lab.text.bpe_train import MAX_VOCAB, learn_merges
from lab.text.pretokens import HAS_SAFE_CUTS, count_pretokens, splitter
from lab.text.protocol import REPLACEMENT, ROLES, as_lines, frame_lines, read_json, refused_as, write_json

# Latin-1 reads byte b as character b, which this table turns into the id of that byte.
BYTE_TO_ID = {byte: FIRST_BYTE + byte for byte in range(256)}


class BPETokenizer:
    """Byte pair encoding over UTF-8 bytes (Sennrich et al., 2016; the bytes after GPT-2, 2019).

    Ids after training: 5 special tokens, then the 256 bytes, then one for each merge, in order.
    `merges` lists the pairs of ids that were merged.

    >>> tokenizer = BPETokenizer.train(["aaabdaaabac"], vocab_size=264)
    >>> tokenizer.merges
    [(102, 102), (102, 103), (261, 262)]
    >>> tokenizer.tokens(tokenizer.encode("aaabdaaabac"))
    ['aaab', 'd', 'aaab', 'a', 'c']
    """

    def __init__(
        self, merges: Iterable[tuple[int, int]], *, pattern: str = "gpt4", layout: Layout | None = None
    ):
        """A tokenizer from its merges; use `train`, `from_json` or `lab.text.interop` to get one.

        `pattern` is "gpt4", "gpt2", "none" or a regular expression. Raises ValueError where a merge
        uses an id that does not exist before it.
        """
        self.merges = [tuple(pair) for pair in merges]
        self.pattern = pattern
        self.layout = layout or Layout.native(len(self.merges))
        for role in ROLES:
            setattr(self, f"{role}_id", self.layout.roles.get(role))
        self._names = {i: name for name, i in self.layout.special.items()}
        self._bytes = self.layout.spell_out(self.merges)
        # Special tokens, bytes and merges together; with gaps in an imported file, the highest id + 1.
        self.vocab_size = 1 + max(chain(self._names, self._bytes))
        whole = {data: i for i, data in self._bytes.items()} if self.layout.whole_words else {}
        ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._split = splitter(pattern)
        self._words = Words(self.layout, whole, ranks)
        self._pieces = Pieces(self._split, self._words) if pattern in HAS_SAFE_CUTS else None

    @classmethod
    def train(cls, lines: Iterable[str], vocab_size: int, pattern: str = "gpt4") -> Self:
        """Learn merges from the lines of a corpus until there are `vocab_size` ids.

        `vocab_size` counts everything: 5 special tokens, 256 bytes, the merges. Each line is a text of
        its own, cut into pre-tokens by `pattern` ("gpt4", "gpt2", or "none" for whole lines) that
        merges never cross; nothing is added between lines. The pair of highest count is merged next,
        among equals the smallest (left, right). Where no pair occurs twice, training stops with fewer
        merges and a warning that says so. Text that looks like a special token is text.

        Raises ValueError for a `vocab_size` below 261, an unknown pattern, or lone surrogates.
        """
        if not FIRST_MERGE <= vocab_size <= MAX_VOCAB:
            raise ValueError(
                f"vocab_size={vocab_size!r} is out of range: it counts {FIRST_BYTE} special tokens, "
                f"256 bytes and the merges, so give at least {FIRST_MERGE} and at most {MAX_VOCAB}"
            )
        counts = {}
        for pretoken, count in count_pretokens(lines, pattern).items():
            counts[pretoken.encode().decode("latin-1").translate(BYTE_TO_ID)] = count
        merges = learn_merges(counts, FIRST_MERGE, vocab_size - FIRST_MERGE)
        tokenizer = cls(merges, pattern=pattern)
        if tokenizer.vocab_size < vocab_size:
            warnings.warn(
                f"the tokenizer has {tokenizer.vocab_size} tokens instead of {vocab_size}: "
                "no pair of them occurs twice any more in this text",
                stacklevel=2,
            )
        return tokenizer

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """The ids of `text`, without `<s>` and `</s>`.

        Text such as "<s>" is encoded as the plain text it is, unless `allow_special` is True; then the
        names of special tokens, the longest first, become their ids. Raises ValueError for a lone
        surrogate, which has no UTF-8 bytes.
        """
        if not allow_special or not self._names:
            return self._encode_text(text)
        names = sorted(self.layout.special, key=len, reverse=True)
        parts = regex.split(f"({'|'.join(map(regex.escape, names))})", text)
        ids = ([self.layout.special[p]] if n % 2 else self._encode_text(p) for n, p in enumerate(parts))
        return list(chain.from_iterable(ids))

    def encode_lines(self, lines: Iterable[str], add_special: bool = True) -> list[list[int]]:
        """The ids of each line, between `<s>` and `</s>` unless `add_special` is False."""
        encoded = [self.encode(line) for line in as_lines("lines", lines)]
        return frame_lines(encoded, self.bos_id, self.eos_id) if add_special else encoded

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`: the tokens' bytes one after another, read as UTF-8, white space verbatim.

        Special tokens leave no trace, but `<unk>` becomes U+FFFD, and so do bytes that are not UTF-8,
        as part of a character's bytes is not. Raises ValueError for an id outside the vocabulary.
        """
        data = []
        for i in map(int, ids):
            if i == self.unk_id:
                data.append(REPLACEMENT.encode())
            elif i not in self._names:
                data.append(self.token_bytes(i))
        return b"".join(data).decode("utf-8", errors="replace")

    def token_bytes(self, i: int) -> bytes:
        """The bytes of one token; those of a special token are its name's."""
        if i in self._bytes:
            return self._bytes[i]
        if i in self._names:
            return self._names[i].encode()
        raise ValueError(f"id {i!r} is not in this vocabulary; ids go from 0 to {self.vocab_size - 1}")

    def spelled_ids(self) -> list[int]:
        """The ids that stand for bytes of text: all but the special tokens'."""
        return list(self._bytes)

    def tokens(self, ids: Iterable[int]) -> list[str]:
        r"""One string an id, for display: special tokens by name, bytes that are not UTF-8 as '\xe2'."""
        return [self.token_bytes(int(i)).decode("utf-8", errors="backslashreplace") for i in ids]

    def steps(self, text: str) -> Iterator[tuple[int, list[int]]]:
        """The ids of `text` while the merges are applied one by one, for a viewer.

        Yields `(k, ids)`, where `ids` are those of the text after the first `k` merges: first `k = 0`,
        the bytes, then each `k` whose merge changes the text. The last `ids` are `encode(text)`, but for
        an imported tokenizer whose merges do not lead to each of its tokens.

        >>> [ids for k, ids in BPETokenizer([(102, 103), (261, 102)]).steps("aba")]
        [[102, 103, 102], [261, 102], [262]]
        """
        words = [self.layout.byte_to_id(pretoken.encode()) for pretoken in self._split(text)]
        ranks = self._words.ranks
        yield 0, list(chain.from_iterable(words))
        while True:
            pairs = {pair for word in words for pair in pairwise(word)} & ranks.keys()
            if not pairs:
                return
            rank = min(ranks[pair] for pair in pairs)
            one_merge = {self.merges[rank]: rank}
            words = [apply_merges(word, one_merge, self.layout.merged_ids) for word in words]
            yield rank + 1, list(chain.from_iterable(words))

    def to_json(self) -> str:
        """The tokenizer as text; `from_json` gives an equal one."""
        imported = self.layout != Layout.native(len(self.merges))
        layout = {"layout": asdict(self.layout)} if imported else {}
        return write_json("bpe", pattern=self.pattern, merges=self.merges, **layout)

    @classmethod
    @refused_as("BPE tokenizer")
    def from_json(cls, text: str) -> Self:
        """The tokenizer that `to_json` wrote. Raises ValueError for other versions, kinds or keys."""
        fields = read_json(text, "bpe", required={"pattern", "merges"}, optional={"layout"})
        layout = Layout(**fields.pop("layout")) if "layout" in fields else None
        return cls(**fields, layout=layout)

    def __eq__(self, other) -> bool:
        return type(self) is type(other) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.pattern, tuple(self.merges)))

    def __reduce__(self):
        return type(self).from_json, (self.to_json(),)  # copies for other processes leave the caches behind

    def _encode_text(self, text: str) -> list[int]:
        if self._pieces is None:
            return list(chain.from_iterable(map(self._words.__getitem__, self._split(text))))
        return self._pieces.encode(text)
