"""What a character encoder makes of a line with holes: its guesses, and what it would put back."""

from collections.abc import Collection
from dataclasses import dataclass

import torch

from lab.chars.corruption import character_ids, remove_characters, special_ids
from lab.chars.model import CharEncoder
from lab.text import Tokenizer


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
    ids[0, [place + 1 for place in places]] = tokenizer.mask_id  # <s> stands first
    logits = model(ids, heads=("mlm",)).mlm[0, 1:][places].double()
    logits[:, special_ids(tokenizer)] = -torch.inf
    best = logits.softmax(-1).topk(min(alternatives, logits.shape[-1]))
    return [
        Guess(place, line[place], tuple((tokenizer.decode([i]), p) for i, p in zip(at, share, strict=True)))
        for place, at, share in zip(places, best.indices.tolist(), best.values.tolist(), strict=True)
    ]


@torch.inference_mode()
def put_back(
    model: CharEncoder, tokenizer: Tokenizer, line: str, removed: str
) -> tuple[str, list[tuple[str, float | None]]]:
    """The line without the characters `removed`, and the line as the model restores it, character by character.

    Each comes with the probability with which it was put back, None where it had been left. Raises ValueError for a
    line that is too long.
    """
    taken, pad_id = character_ids(tokenizer, removed), tokenizer.pad_id
    shorter, _ = remove_characters(_read(model, tokenizer, line), taken, pad_id=pad_id)
    allowed = torch.tensor([pad_id, *taken], device=shorter.device)
    chances = model(shorter, heads=("restoration",)).restoration[0][:, allowed].double().softmax(-1)
    chances[0] = torch.eye(1, len(allowed), dtype=torch.float64)  # nothing stands before <s>
    probability, which = chances.max(-1)
    restored: list[tuple[str, float | None]] = []
    for i, label, p in zip(shorter[0].tolist(), allowed[which].tolist(), probability.tolist(), strict=True):
        if label != pad_id:
            restored.append((tokenizer.decode([label]), p))
        if i not in (tokenizer.bos_id, tokenizer.eos_id):
            restored.append((tokenizer.decode([i]), None))
    return tokenizer.decode(shorter[0].tolist()), restored


def _read(model: CharEncoder, tokenizer: Tokenizer, line: str) -> torch.Tensor:
    """Ids `(1, T)` of the line, `<s>` to `</s>`."""
    ids = [tokenizer.bos_id, *tokenizer.encode(line), tokenizer.eos_id]
    if not line or len(ids) > model.config.context:
        raise ValueError(
            f"the model reads 1 to {model.config.context - 2} characters at once, this line has {len(line)}: "
            "change its length"
        )
    return torch.tensor([ids], device=next(model.parameters()).device)
