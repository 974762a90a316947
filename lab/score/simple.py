"""Character frequencies, and the compressors that everybody has."""

import bz2
import lzma
import math
import zlib
from collections import Counter
from collections.abc import Callable, Sequence

from lab.text.protocol import as_lines

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": lambda data: zlib.compress(data, 9),
    "bz2": lambda data: bz2.compress(data, 9),
    "lzma": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
}


def unigram_bits_per_char(train_lines: Sequence[str], lines: Sequence[str]) -> float:
    """Bits a character when each is guessed from its frequency in `train_lines` alone.

    One count is added to every character seen in either text (Laplace), so nothing costs infinitely much.
    """
    counts = Counter("\n".join(as_lines("train_lines", train_lines)) + "\n")
    text = Counter("\n".join(as_lines("lines", lines)) + "\n")
    kinds = counts.keys() | text.keys()
    total = counts.total() + len(kinds)
    bits = -sum(n * math.log2((counts[char] + 1) / total) for char, n in text.items())
    return bits / text.total()


def compressed_bits_per_char(name: str, train_lines: Sequence[str], lines: Sequence[str]) -> float:
    """Bits a character that compressor `name` adds for `lines` after it has packed `train_lines`.

    The difference of two file sizes: what the text costs one who has seen the training text, as far
    back as that compressor looks (32 kB for zlib, 900 kB for bz2, everything for lzma).
    """
    compress = COMPRESSORS[name]
    known = ("\n".join(as_lines("train_lines", train_lines)) + "\n").encode()
    new = ("\n".join(as_lines("lines", lines)) + "\n").encode()
    chars = sum(len(line) + 1 for line in lines)
    return 8 * (len(compress(known + new)) - len(compress(known))) / chars
