"""What tokenizer.json says besides vocabulary and merges, and which of it means byte-level BPE."""

from lab.text.pretokens import PATTERNS, pattern_name


def byte_alphabet() -> tuple[str, ...]:
    """GPT-2's visible character for each byte: itself where it prints, else the next from U+0100 on."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = (chr(0x100 + n) for n in range(256))
    return tuple(chr(byte) if byte in visible else next(hidden) for byte in range(256))


ALPHABET = byte_alphabet()

# Values of the model that leave byte-level BPE as it is; any other changes the ids.
PLAIN_MODEL = {
    "dropout": (None, 0, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "fuse_unk": (None, False),
    "byte_fallback": (None, False),
}


def write_pattern(pattern: str) -> dict:
    """The `pre_tokenizer` for a pattern's name or regular expression."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    if pattern == "none":
        return byte_level
    expression = {"Regex": PATTERNS.get(pattern, pattern)}
    isolate = {"type": "Split", "pattern": expression, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [isolate, byte_level]}


def read_pattern(pre_tokenizer: dict | None) -> str:
    """The pattern of a `pre_tokenizer`: ByteLevel, with or without one Split before it.

    Raises ValueError for any other, naming it.
    """
    steps = [pre_tokenizer] if pre_tokenizer else []
    if steps and steps[0].get("type") == "Sequence":
        steps = steps[0]["pretokenizers"]
    types = [step.get("type") for step in steps]
    if types not in (["ByteLevel"], ["Split", "ByteLevel"]):
        raise ValueError(
            f"pre_tokenizer {types} is not supported: this reads byte-level BPE, which is ByteLevel, "
            "or Split and ByteLevel"
        )
    byte_level = steps[-1]
    if byte_level.get("add_prefix_space", True):
        raise ValueError(
            "pre_tokenizer ByteLevel with add_prefix_space is not supported, as it changes the text"
        )
    by_regex = byte_level.get("use_regex", True)
    if len(steps) == 1:
        return "gpt2" if by_regex else "none"
    split = steps[0]
    expression = split.get("pattern", {}).get("Regex")
    if by_regex or split.get("behavior") != "Isolated" or split.get("invert") or expression is None:
        raise ValueError(
            "pre_tokenizer Split is supported with a Regex, behavior 'Isolated', invert false, and after it "
            f"a ByteLevel with use_regex false; got {split!r} and use_regex {by_regex!r}"
        )
    return pattern_name(expression)


def read_added_tokens(file: dict) -> dict[str, int]:
    """The ids of the added tokens by name. Raises ValueError where one also takes the text beside it."""
    special = {}
    for token in file.get("added_tokens") or ():
        if flags := [flag for flag in ("single_word", "lstrip", "rstrip") if token.get(flag)]:
            raise ValueError(
                f"added token {token['content']!r} with {flags} is not supported; set them to false"
            )
        special[token["content"]] = token["id"]
    return special


def refuse_unsupported(file: dict) -> None:
    """Raise a ValueError that names the first part of the file that is more than byte-level BPE."""
    model = file.get("model") or {}
    if model.get("type", "BPE") != "BPE" or not {"vocab", "merges"} <= model.keys():
        raise ValueError(f"model {model.get('type')!r} is not supported; this reads byte-level BPE")
    for part in ("normalizer", "truncation", "padding"):
        if (given := file.get(part)) is not None:
            kind = given.get("type", "") if isinstance(given, dict) else given
            raise ValueError(f"{part} {kind!r} is not supported, as it changes text or ids; set it to null")
    for name, plain in PLAIN_MODEL.items():
        if model.get(name) not in plain:
            raise ValueError(f"model with {name}={model[name]!r} is not supported; expected one of {plain}")
