"""Learning BPE merges, exactly and fast.

The plain way counts every pair of neighbours in every word again for each merge. Three things make it
fast without changing the answer:

1. A word is stored as a `str` whose characters are token ids (`chr(id)`), so that finding and replacing
   a pair run in C, and pairs are two-character strings that sort as (left, right) pairs of ids do.
2. A merge that makes the new token `m` changes only pairs beside it. Counts of old pairs can but fall;
   the pairs that appear all hold `m`, so each pair's list of words is complete the moment it is made.
3. The heap holds for each pair an upper bound of its count. The top is either current, and then truly
   the most frequent pair, or it goes back with its current count.
"""

import heapq
from collections import Counter
from collections.abc import Mapping
from operator import add

# Python's strings hold code points below this, so ids end there too.
MAX_VOCAB = 0x110000


def learn_merges(words: Mapping[str, int], first_id: int, num_merges: int) -> list[tuple[int, int]]:
    """The `num_merges` most frequent pairs, one after another; fewer where no pair occurs twice.

    `words` maps each distinct word, a `str` of `chr(id)`, to how often it occurs; merge `i` makes the
    token `first_id + i`. Each step merges the pair of highest count, among equals the smallest
    (left, right), everywhere from left to right. A word's count of a pair is how many times it stands
    at neighbouring places: 'aaa' holds 'aa' twice.

    Source: Sennrich, Haddow and Birch (2016), "Neural Machine Translation of Rare Words with Subword
    Units", Algorithm 1.

    >>> learn_merges({"\\0\\0\\1": 3, "\\0\\0": 1}, first_id=2, num_merges=2)
    [(0, 0), (2, 1)]
    """
    texts, counts = list(words), list(words.values())
    pair_counts, places = count_pairs(texts, counts)
    heap = [(-count, pair) for pair, count in pair_counts.items() if count > 1]
    heapq.heapify(heap)
    merges = []
    while heap and len(merges) < num_merges:
        bound, pair = heap[0]
        count = pair_counts[pair]
        if count < 2:
            heapq.heappop(heap)
        elif count < -bound:
            heapq.heapreplace(heap, (-count, pair))
        else:
            heapq.heappop(heap)
            born = merge_everywhere(pair, chr(first_id + len(merges)), texts, counts, pair_counts, places)
            for new_pair in born:
                if pair_counts[new_pair] > 1:
                    heapq.heappush(heap, (-pair_counts[new_pair], new_pair))
            merges.append((ord(pair[0]), ord(pair[1])))
    return merges


def count_pairs(texts: list[str], counts: list[int]) -> tuple[dict[str, int], dict[str, list[int]]]:
    """How often each pair occurs, and the indices of the texts that hold it."""
    pair_counts, places = {}, {}
    for index, text in enumerate(texts):
        count = counts[index]
        for pair, times in Counter(map(add, text, text[1:])).items():
            pair_counts[pair] = pair_counts.get(pair, 0) + times * count
            places.setdefault(pair, []).append(index)
    return pair_counts, places


def merge_everywhere(
    pair: str,
    new: str,
    texts: list[str],
    counts: list[int],
    pair_counts: dict[str, int],
    places: dict[str, list[int]],
) -> list[str]:
    """Replace `pair` by `new` in every text, keep counts and places true, return the pairs born."""
    born = {}
    for index in places.pop(pair):
        text, count = texts[index], counts[index]
        at = text.find(pair)
        if at < 0:
            continue  # an earlier merge broke this text's pair up
        if text.find(pair, at + 1) >= 0:
            # Several times, perhaps overlapping as in 'aaa': take all pairs of the text out, put the new in.
            merged = texts[index] = text.replace(pair, new)
            for old in map(add, text, text[1:]):
                pair_counts[old] -= count
            for now, times in Counter(map(add, merged, merged[1:])).items():
                if new not in now:
                    pair_counts[now] += times * count
                    continue
                pair_counts[now] = pair_counts.get(now, 0) + times * count
                born.setdefault(now, []).append(index)
            continue
        # Once, which is nearly always: only the pairs with the two neighbours change.
        texts[index] = text[:at] + new + text[at + 2 :]
        for old, now in neighbours(text, at, new):
            pair_counts[old] -= count
            pair_counts[now] = pair_counts.get(now, 0) + count
            born.setdefault(now, []).append(index)
    pair_counts[pair] = 0
    places.update(born)
    return list(born)


def neighbours(text: str, at: int, new: str):
    if at:
        yield text[at - 1 : at + 1], text[at - 1] + new
    if at + 2 < len(text):
        yield text[at + 1 : at + 3], new + text[at + 2]
