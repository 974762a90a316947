"""What a reader wrote with the sampler, as a file: settings, texts, choices, and where the random numbers stood."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from lab.config import from_json, to_json
from lab.decode import Drawn
from lab.files import sha256_bytes, write_atomic
from lab.show.widgets.writing import Draft, Settings

KIND, VERSION = "lab-sampler-session", 1


@dataclass(frozen=True)
class SavedText:
    """One model's text. `tokenizer` is the SHA-256 of the tokenizer's JSON: with another one the ids mean nothing."""

    name: str
    tokenizer: str
    settings: Settings
    drawn: tuple[Drawn, ...]
    by_hand: tuple[int, ...]
    random_state: str


@dataclass(frozen=True)
class Session:
    """All that stood in the widget."""

    settings: Settings
    texts: tuple[SavedText, ...]
    kind: str = KIND
    version: int = VERSION


def saved(name: str, draft: Draft) -> SavedText:
    """A draft as a record."""
    hashed = sha256_bytes(draft.tokenizer.to_json().encode())
    by_hand = tuple(sorted(draft.by_hand))
    return SavedText(name, hashed, draft.settings, tuple(draft.drawn), by_hand, draft.random_state())


def restore(draft: Draft, text: SavedText) -> None:
    """Put a saved text into a draft, which goes on as the saved one would have.

    Raises ValueError for a text that was written with another tokenizer, or that holds tokens there are not.
    """
    if text.tokenizer != sha256_bytes(draft.tokenizer.to_json().encode()):
        raise ValueError(f"the text of {text.name!r} was written with another tokenizer than this model has")
    V = draft.tokenizer.vocab_size
    ids = {i for step in text.drawn for i in (step.token, *(i for i, _ in step.alternatives))}
    if wrong := sorted(i for i in ids if not 0 <= i < V):
        raise ValueError(f"the text of {text.name!r} holds tokens {wrong[:5]}; there are 0 .. {V - 1}")
    if wrong := [place for place in text.by_hand if not 0 <= place < len(text.drawn)]:
        raise ValueError(
            f"the text of {text.name!r} has {len(text.drawn)} tokens, but choices at {wrong[:5]}"
        )
    draft.set_random_state(text.random_state)  # which may fail, and then the draft is as it was
    draft.begin(text.settings)
    draft.set_random_state(text.random_state)
    draft.drawn, draft.by_hand = list(text.drawn), set(text.by_hand)


def save(path: str | os.PathLike, session: Session) -> Path:
    """Write a session as JSON; the file appears whole or not at all."""
    return write_atomic(path, json.dumps(to_json(session), ensure_ascii=False, indent=1) + "\n")


def load(path: str | os.PathLike) -> Session:
    """The session that `save` wrote. Raises ValueError for a file that is anything else, naming it."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a session: {error}") from None
    kind, version = (values.get(key) if isinstance(values, dict) else None for key in ("kind", "version"))
    if (kind, version) != (KIND, VERSION):
        raise ValueError(
            f"{path}: expected a {KIND} of version {VERSION}, got {kind!r} of version {version!r}; "
            "the sampler's own Save writes one"
        )
    return from_json(Session, values)
