"""Applying BPE merges to one stretch of text, and remembering what came out."""

import gc
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise, repeat

from lab.text.bpe_layout import Layout
from lab.text.pretokens import blocks, glue, is_safe, pieces, plain

# Above this many ids a heap beats scanning the whole list for each merge.
SHORT = 100
NEVER = 1 << 60

MARKS = ".,;:!?\n"


def apply_merges(ids: list[int], ranks: Mapping[tuple[int, int], int], results: Sequence[int]) -> list[int]:
    """Merge the pair of lowest rank, the leftmost among equals, until no pair has one.

    `ranks` gives each mergeable (left, right) pair its place in the order of merges, and `results` the
    id that each merge makes. The cost is `n log n` in the length of `ids`.

    >>> apply_merges([0, 0, 0, 1], ranks={(0, 0): 0, (0, 1): 1}, results=[2, 3])
    [2, 3]
    """
    if len(ids) > SHORT:
        return merge_with_heap(ids, ranks, results)
    get = ranks.get
    waiting = list(map(get, pairwise(ids), repeat(NEVER)))
    while waiting and (rank := min(waiting)) is not NEVER:
        at = waiting.index(rank)
        ids[at] = new = results[rank]
        del ids[at + 1]
        del waiting[at]
        if at > 0:
            waiting[at - 1] = get((ids[at - 1], new), NEVER)
        if at < len(waiting):
            waiting[at] = get((new, ids[at + 1]), NEVER)
    return ids


def merge_with_heap(
    ids: list[int], ranks: Mapping[tuple[int, int], int], results: Sequence[int]
) -> list[int]:
    """`apply_merges` for long lists: a linked list of the ids still there, a heap of the merges open."""
    size = len(ids)
    following, previous = list(range(1, size + 1)), list(range(-1, size - 1))
    heap = [(ranks[pair], at, *pair) for at, pair in enumerate(pairwise(ids)) if pair in ranks]
    heapq.heapify(heap)
    ids = list(ids)
    while heap:
        rank, at, left, right = heapq.heappop(heap)
        after = following[at]
        if ids[at] != left or after == size or ids[after] != right:
            continue  # one of the two has been merged meanwhile
        ids[at], ids[after] = results[rank], None
        following[at] = following[after]
        if following[at] < size:
            previous[following[at]] = at
        for here in (previous[at], at):
            if here >= 0 and following[here] < size:
                pair = ids[here], ids[following[here]]
                if pair in ranks:
                    heapq.heappush(heap, (ranks[pair], here, *pair))
    return [i for i in ids if i is not None]


class Cache(dict):
    """A dict that computes what it lacks, so that looking up all keys of a text can run in C.

    `map(cache.__getitem__, keys)` calls Python only for keys not seen before. The dict is emptied when it
    holds `MAX_ENTRIES`, and keys longer than `MAX_KEY` characters are not kept, so it stays small.
    """

    MAX_ENTRIES = 1 << 17
    MAX_KEY = 128

    def keep(self, key: str, ids: tuple[int, ...]) -> tuple[int, ...]:
        if len(key) <= self.MAX_KEY:
            if len(self) >= self.MAX_ENTRIES:
                self.clear()
            self[key] = ids
        return ids


class Words(Cache):
    """The ids of pre-tokens."""

    def __init__(self, layout: Layout, whole: Mapping[bytes, int], ranks: Mapping[tuple[int, int], int]):
        self.byte_to_id, self.merged_ids = layout.byte_to_id, layout.merged_ids
        self.whole, self.ranks = whole, ranks

    def __missing__(self, word: str) -> tuple[int, ...]:
        return self.keep(word, self.encode(word))

    def encode(self, word: str) -> tuple[int, ...]:
        data = word.encode()
        token = self.whole.get(data)
        if token is not None:
            return (token,)
        return tuple(apply_merges(self.byte_to_id(data), self.ranks, self.merged_ids))


@contextmanager
def collector_paused() -> Iterator[None]:
    """No search for reference cycles inside: strings and tuples of ints form none, and each search takes time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Pieces(Cache):
    """The ids of pieces of text, as `pretokens.pieces` cuts them."""

    def __init__(self, split: Callable[[str], list[str]], words: Words):
        self.split, self.lookup, self.encode_word = split, words.__getitem__, words.encode

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        ids = []
        with collector_paused():
            for block in blocks(text):
                coded, before = pieces([block]), len(ids)
                try:
                    ids.extend(chain.from_iterable(map(self.__getitem__, coded)))
                except UnsafePiece:
                    del ids[before:]
                    ids.extend(chain.from_iterable(map(self.encode_glued, glue(coded, known_safe=self))))
        return ids

    def __missing__(self, piece: str) -> tuple[int, ...]:
        # A word after a space, then marks: each is cut from the other by either pattern, so ask no pattern.
        # The marks are looked up as a piece of their own, with the code of a line's head.
        word = piece.rstrip(MARKS)
        if word.isalpha():
            marks = piece[len(word) :]
            if not marks:
                return self.keep(piece, self.encode_word(" " + word))
            if marks != "\n":
                return self.keep(piece, self[word] + self["\n" + marks])
        if not is_safe(piece):
            raise UnsafePiece
        return self.keep(piece, self.encode_piece(piece))

    def encode_glued(self, piece: str) -> tuple[int, ...]:
        try:
            return self[piece]
        except UnsafePiece:  # white space at an end of the text
            return self.encode_piece(piece)

    def encode_piece(self, piece: str) -> tuple[int, ...]:
        words = self.split(plain(piece))
        if len(words) == 1:
            return self.lookup(words[0])
        return tuple(chain.from_iterable(map(self.lookup, words)))


class UnsafePiece(Exception):
    """A cut beside a piece was wrong: the text has runs of white space and must be glued first."""
