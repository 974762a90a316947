"""A line with holes, as a character encoder fills them in and puts back what was taken out: in colours, as HTML."""

from collections.abc import Collection

from lab.chars.filling import Guess
from lab.show.colours import FAINT
from lab.show.tokens import Token, by_probability, tokens_html, visible

HOLE = "▢"


def guessed_tokens(line: str, guesses: list[Guess]) -> list[Token]:
    """The line with the likeliest guess in each hole, coloured by its probability, the others as details."""
    by_place = {one.place: one for one in guesses}
    tokens = []
    for place, char in enumerate(line):
        one = by_place.get(place)
        if one is None:
            tokens.append(Token(char, FAINT))
            continue
        details = tuple(f"{visible(c)}   {p:.1%}" for c, p in one.likeliest)
        said = "right" if one.right else f"it was {visible(one.truth)}"
        first, p = one.likeliest[0]
        tokens += by_probability([first], [p], [(*details, said)])
    return tokens


def holes(line: str, masked: Collection[int]) -> str:
    """The line with its holes: `holes("light", {0, 2}) == "▢i▢ht"`."""
    return "".join(HOLE if place in masked else char for place, char in enumerate(line))


def render_guesses(line: str, guesses: list[Guess]) -> str:
    """HTML of the line with the guesses in it."""
    right = sum(one.right for one in guesses)
    caption = (
        f"{right} of {len(guesses)} right. Blue: the model was sure; orange: it was not. Point at a guess, or go "
        "to it with Tab, to see the others."
        if guesses
        else "Choose characters to hide: press them, or “hide one in five”."
    )
    return tokens_html(guessed_tokens(line, guesses), caption)


def restored_tokens(restored: list[tuple[str, float | None]]) -> list[Token]:
    """The line as `lab.chars.put_back` restores it, what was put back coloured by its probability."""
    tokens = []
    for character, p in restored:
        if p is None:
            tokens.append(Token(character, FAINT))
        else:
            tokens += by_probability([character], [p], [(f"{visible(character)}   {p:.1%}", "put back here")])
    return tokens
