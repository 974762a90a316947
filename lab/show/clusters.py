"""What a reader takes for a letter, how wide it is, and how any text is shown: whole, or as far as there is room.

A cluster (Unicode's "extended grapheme cluster") is one such letter: an accent or a vowel sign belongs to the letter
before it, and a family of emoji is one.
"""

import html
from collections.abc import Iterator
from textwrap import wrap
from unicodedata import category, east_asian_width

import regex

SPACES = "\n\t\r"
# Also those of another width, and those at which no line may break.
EVERY_SPACE = SPACES + "".join(map(chr, [0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000]))


def clusters(text: str) -> list[str]:
    r"""The letters of a text as a reader counts them.

    >>> [len(cluster) for cluster in clusters("e\u0301\U0001F468\u200d\U0001F469")]
    [2, 3]
    """
    return regex.findall(r"\X", text)


def advance(text: str) -> int:
    """How many letters of a typewriter a text is wide: Chinese and emoji are two.

    >>> advance("word"), advance("中文"), advance("e\\u0301")
    (4, 4, 1)
    """
    return len(text) if text.isascii() else sum(map(_width, clusters(text)))


def parts(text: str, most: int) -> list[str]:
    """A text cut where its parts would get wider than `most` columns: `parts("letters", 5) == ["lette", "rs"]`."""
    if advance(text) <= most:
        return [text]
    cut, room = [""], most
    for cluster in clusters(text):
        room -= _width(cluster)
        if room < 0:
            cut.append("")
            room = most - _width(cluster)
        cut[-1] += cluster
    return cut


def shortened(text: str, most: int) -> str:
    """At most so many columns of a text, with an ellipsis where it was cut: `shortened("letters", 4) == "let…"`."""
    if advance(text) <= most:
        return text
    return parts(text[: 8 * most], most - 1)[0] + "…"


def legible(text: str, spaces: str = SPACES) -> str:
    r"""The text with each character that has no picture written as in a Python string; white space stays.

    What joins letters, as in Persian words and families of emoji, is left where it joins; of white space, `spaces`.

    >>> legible("a b\x0b")
    'a b\\x0b'
    """
    return text if text.isascii() and text.isprintable() else "".join(_shown(clusters(text), spaces))


def one_line(text: str, space: str = "␣") -> str:
    """The text in one line, its white space made visible: `one_line(" a\\n") == "␣a⏎"`."""
    return legible(text).replace(" ", space).replace("\n", "⏎").replace("\t", "⇥").replace("\r", "␍")


def fitted(text: str, most: int, high: int = 6) -> str:
    """What can be drawn of a text in `high` lines of at most `most` columns."""
    lines = []
    for line in legible(text, EVERY_SPACE).replace("\t", "    ").replace("\r", "").split("\n", high):
        if (wide := advance(line)) > most:
            lines += wrap(line[: (high + 1) * most], max(1, most * len(line) // wide))
        else:
            lines.append(line)
    if len(lines) > high:
        lines[high - 1 :] = [shortened(f"{lines[high - 1]}…", most)]
    return "\n".join(lines)


def escaped(text: str, quote: bool = True) -> str:
    """The text for HTML, where it is never markup; what cannot be printed is written as in `legible`."""
    return html.escape(legible(text, EVERY_SPACE), quote)


def _shown(letters: list[str], spaces: str) -> Iterator[str]:
    for letter in letters:
        joined = letter[0].isprintable() and not letter[0].isspace()
        yield from (c if joined or c.isprintable() or c in spaces else repr(c)[1:-1] for c in letter)


def _width(cluster: str) -> int:
    if east_asian_width(cluster[0]) in "WF" or "\N{VARIATION SELECTOR-16}" in cluster:
        return 2
    return max(1, sum(category(c) not in ("Mn", "Me", "Cf") for c in cluster))
