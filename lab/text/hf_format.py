"""What tokenizer.json says besides vocabulary and merges, and which of it means byte-level BPE or WordLevel."""

from lab.text.pretokens import PATTERNS, pattern_name


def byte_alphabet() -> tuple[str, ...]:
    """GPT-2's visible character for each byte: itself where it prints, else the next from U+0100 on."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = (chr(0x100 + n) for n in range(256))
    return tuple(chr(byte) if byte in visible else next(hidden) for byte in range(256))


ALPHABET = byte_alphabet()
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
CHARACTERS = {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": False}

# What leaves a tokenizer, and byte-level BPE, as it is, the value that is written here first; any other changes text
# or ids.
PLAIN = {"normalizer": (None,), "truncation": (None,), "padding": (None,)}
PLAIN_MODEL = {
    "type": ("BPE", None),
    "dropout": (None, 0, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "fuse_unk": (False, None),
    "byte_fallback": (False, None),
}


def write_pattern(pattern: str) -> dict:
    """The `pre_tokenizer` for a pattern's name or regular expression."""
    if pattern == "none":
        return BYTE_LEVEL
    expression = {"Regex": PATTERNS.get(pattern, pattern)}
    isolate = {"type": "Split", "pattern": expression, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [isolate, BYTE_LEVEL]}


def read_pattern(pre_tokenizer: dict | None) -> str:
    """The pattern of a `pre_tokenizer`: ByteLevel, with or without one Split by a regular expression before it.

    Raises ValueError for any other, naming it.
    """
    steps = [pre_tokenizer] if pre_tokenizer else []
    if steps and steps[0].get("type") == "Sequence":
        steps = steps[0]["pretokenizers"]
    *splits, byte_level = steps or [{}]
    by_regex, expression = byte_level.get("use_regex", True), None
    if byte_level.get("type") == "ByteLevel" and not byte_level.get("add_prefix_space", True):
        if not splits:
            return "gpt2" if by_regex else "none"
        isolates = splits[0].get("behavior") == "Isolated" and not splits[0].get("invert")
        if len(splits) == 1 and splits[0].get("type") == "Split" and isolates and not by_regex:
            expression = splits[0].get("pattern", {}).get("Regex")
    if expression is None:
        raise ValueError(
            f"pre_tokenizer {steps} is not supported: this reads ByteLevel with add_prefix_space false, alone, or "
            "with use_regex false after one Split by a Regex, behavior 'Isolated', invert false"
        )
    return pattern_name(expression)


def read_added_tokens(file: dict) -> dict[str, int]:
    """The ids of the added tokens by name.

    Raises ValueError where one also takes the text beside it, or has another id than the library gives it: that of
    the vocabulary, else the next free one.
    """
    special, vocabulary = {}, file["model"]["vocab"]
    for token in file.get("added_tokens") or ():
        if flags := [flag for flag in ("single_word", "lstrip", "rstrip") if token.get(flag)]:
            raise ValueError(
                f"added token {token['content']!r} with {flags} is not supported; set them to false"
            )
        following = max([len(vocabulary), *(i + 1 for i in special.values())])
        if token["id"] != (expected := vocabulary.get(token["content"], following)):
            raise ValueError(f"added token {token['content']!r} has id {token['id']!r}, expected {expected}")
        special[token["content"]] = token["id"]
    return special


def read_cut(pre_tokenizer: dict | None) -> str:
    """How a WordLevel model's text is cut, one of `word_level.CUTS`. Raises ValueError for other ways, naming them."""
    kind = (pre_tokenizer or {}).get("type")
    if pre_tokenizer == CHARACTERS:
        return "characters"
    if kind in ("Whitespace", "WhitespaceSplit"):
        return kind
    raise ValueError(
        f"pre_tokenizer {pre_tokenizer} is not supported: of a WordLevel model this reads Whitespace, WhitespaceSplit, "
        f"and {CHARACTERS}, which cuts between all characters"
    )


def refuse_unsupported(file: dict) -> None:
    """Raise a ValueError that names the first part of the file that is more than byte-level BPE, or WordLevel."""
    model = file.get("model") or {}
    word_level = model.get("type") == "WordLevel"
    for part, plain in ((file, PLAIN), (model, {} if word_level else PLAIN_MODEL)):
        for name, values in plain.items():
            if part.get(name) not in values:
                raise ValueError(f"{name} {part[name]!r} is not supported: it must be one of {values}")
    if missing := {"vocab", *(() if word_level else ("merges",))} - model.keys():
        raise ValueError(f"the model lacks {sorted(missing)}; it has {sorted(model)}")
