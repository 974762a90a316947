"""What a character encoder makes of a line with holes: its guesses, and what it would put back.

Letters: V the vocabulary.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch

from lab.chars import CharEncoder, character_ids, remove_characters, restore_characters
from lab.show.colours import FAINT
from lab.show.tokens import Token, by_probability, tokens_html, visible
from lab.text import Tokenizer

HOLE = "▢"


@dataclass(frozen=True)
class Guess:
    """At `place` of the line stood `truth`; `likeliest` holds (character, probability), the likeliest first."""

    place: int
    truth: str
    likeliest: tuple[tuple[str, float], ...]

    @property
    def right(self) -> bool:
        return self.likeliest[0][0] == self.truth


@torch.inference_mode()
def guess(
    model: CharEncoder, tokenizer: Tokenizer, line: str, masked: Collection[int], alternatives: int = 5
) -> list[Guess]:
    """What the model would put at the places `masked` of `line`, all of them hidden at once; in order of place.

    Special ids are never guessed. Raises ValueError for places that are not in the line, or a line that is too long.
    """
    places = sorted(masked)
    ids = _read(model, tokenizer, line)
    if places and not 0 <= places[0] <= places[-1] < len(line):
        raise ValueError(f"there are {len(line)} characters to mask, got the places {places}")
    if not places:
        return []
    hidden = ids.clone()
    hidden[0, [place + 1 for place in places]] = tokenizer.mask_id  # <s> stands first
    logits = model(hidden, heads=("mlm",)).mlm[0, 1:][places].double()
    logits[:, _specials(tokenizer)] = -torch.inf
    best = logits.softmax(-1).topk(min(alternatives, logits.shape[-1]))
    found = []
    for place, at, share in zip(places, best.indices.tolist(), best.values.tolist(), strict=True):
        likeliest = tuple((tokenizer.decode([i]), p) for i, p in zip(at, share, strict=True))
        found.append(Guess(place, line[place], likeliest))
    return found


@torch.inference_mode()
def strip_and_restore(
    model: CharEncoder, tokenizer: Tokenizer, line: str, removed: str
) -> tuple[str, list[Token], str]:
    """The line without the characters `removed`, what is put back (coloured by its probability), and that as text.

    Raises ValueError for a line that is too long.
    """
    ids = _read(model, tokenizer, line)
    taken = character_ids(tokenizer, removed)
    shorter, _ = remove_characters(ids, taken, pad_id=tokenizer.pad_id)
    allowed = torch.tensor([tokenizer.pad_id, *taken], device=ids.device)
    chances = model(shorter, heads=("restoration",)).restoration[0][:, allowed].double().softmax(-1)
    chances[0] = torch.eye(1, len(allowed), dtype=torch.float64)  # nothing stands before <s>
    sure, which = chances.max(-1)
    labels = allowed[which][None]
    restored = restore_characters(shorter, labels, pad_id=tokenizer.pad_id)
    tokens = []
    for i, label, p in zip(shorter[0].tolist(), labels[0].tolist(), sure.tolist(), strict=True):
        if label != tokenizer.pad_id:
            char = tokenizer.decode([label])
            tokens += by_probability([char], [p], [(f"{visible(char)}   {p:.1%}", "put back here")])
        if i not in (tokenizer.bos_id, tokenizer.eos_id):
            tokens.append(Token(tokenizer.decode([i]), FAINT))
    without = tokenizer.decode(shorter[0].tolist())
    return without, tokens, tokenizer.decode(restored[0].tolist())


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


def _read(model: CharEncoder, tokenizer: Tokenizer, line: str) -> torch.Tensor:
    """Ids `(1, T)` of the line, `<s>` to `</s>`."""
    ids = [tokenizer.bos_id, *tokenizer.encode(line), tokenizer.eos_id]
    if not line or len(ids) > model.config.context:
        raise ValueError(
            f"the model reads 1 to {model.config.context - 2} characters at once, this line has {len(line)}: "
            "change its length"
        )
    return torch.tensor([ids], device=next(model.parameters()).device)


def _specials(tokenizer: Tokenizer) -> list[int]:
    names = ("pad_id", "unk_id", "bos_id", "eos_id", "mask_id")
    return [i for i in (getattr(tokenizer, name, None) for name in names) if i is not None]
