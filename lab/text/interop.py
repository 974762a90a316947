"""Tokenizers to and from the formats of the field: Hugging Face's tokenizer.json, tiktoken's ranks.

Only the formats are read and written here; neither library is needed. An imported tokenizer keeps the
ids of its file, special tokens included.
"""

import json
from collections.abc import Mapping

from lab.text.bpe import BPETokenizer
from lab.text.bpe_encode import apply_merges
from lab.text.bpe_layout import Layout
from lab.text.hf_format import (
    ALPHABET,
    BYTE_LEVEL,
    PLAIN,
    PLAIN_MODEL,
    read_added_tokens,
    read_cut,
    read_pattern,
    refuse_unsupported,
    write_pattern,
)
from lab.text.pretokens import pattern_name
from lab.text.protocol import parse_object, refused_as
from lab.text.word_level import WordLevelTokenizer

# tokenizer.json does not say what its special tokens are for; these are the usual names, by role.
USUAL_NAMES = {
    "pad": ("<pad>", "[PAD]", "<|pad|>", "<|endoftext|>"),
    "unk": ("<unk>", "[UNK]", "<|unk|>"),
    "bos": ("<s>", "<bos>", "[BOS]", "[SOS]", "<|begin_of_text|>", "<|startoftext|>", "<|endoftext|>"),
    "eos": ("</s>", "<eos>", "[EOS]", "<|end_of_text|>", "<|endoftext|>"),
    "mask": ("<mask>", "[MASK]"),
}


def to_huggingface(tokenizer: BPETokenizer) -> str:
    """The text of a `tokenizer.json` with the same ids, for `tokenizers.Tokenizer.from_str`.

    Hugging Face always reads special tokens inside text: its `encode(text, add_special_tokens=False)`
    equals `tokenizer.encode(text, allow_special=True)`. Raises ValueError where two tokens are spelled
    alike, which the format cannot say.
    """
    layout = tokenizer.layout
    vocabulary = dict(layout.special)
    spelled = {i: spell(tokenizer.token_bytes(i)) for i in tokenizer.spelled_ids()}
    for i, name in spelled.items():
        if vocabulary.setdefault(name, i) != i:
            raise ValueError(
                f"tokens {vocabulary[name]} and {i} are both spelled {name!r}, and tokenizer.json "
                "can hold one of them; train on text without it"
            )
    added = [
        {"id": i, "content": name, "special": True, "normalized": False}
        | {"single_word": False, "lstrip": False, "rstrip": False}
        for name, i in layout.special.items()
    ]
    unk = None if layout.drops_unknown else tokenizer.unk_id
    model = {name: values[0] for name, values in PLAIN_MODEL.items()} | {
        "unk_token": next((name for name, i in layout.special.items() if i == unk), None),
        "ignore_merges": layout.whole_words,
        "vocab": dict(sorted(vocabulary.items(), key=lambda item: item[1])),
        "merges": [[spelled[left], spelled[right]] for left, right in tokenizer.merges],
    }
    parts = {name: values[0] for name, values in PLAIN.items()} | {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": write_pattern(tokenizer.pattern),
        "post_processor": None,
        "decoder": BYTE_LEVEL | {"trim_offsets": False},
        "model": model,
    }
    return json.dumps(parts, ensure_ascii=False)


@refused_as("tokenizer.json")
def from_huggingface(text: str, roles: Mapping[str, str] | None = None) -> BPETokenizer | WordLevelTokenizer:
    """The byte-level BPE of a `tokenizer.json`, or its characters or words (WordLevel), with the ids of the file.

    `roles` names the tokens that are "pad", "unk", "bos", "eos" and "mask"; by default "unk" is the `unk_token`
    of the file where the file has it, the others are found by their usual names, such as `[SOS]`, and those not found
    are None. Post-processing is left to `encode_lines`. What the vocabulary lacks becomes `<unk>`, or a ValueError
    where there is none; but where the `unk_token` of BPE is null and `roles` name none, it is passed over, as the
    library does.

    Raises ValueError for what is neither, naming the part of the file.
    """
    file = parse_object(text)
    refuse_unsupported(file)
    word_level = file["model"].get("type") == "WordLevel"
    cut = (read_cut if word_level else read_pattern)(file.get("pre_tokenizer"))
    model, special = file["model"], read_added_tokens(file)
    vocabulary, unk = model["vocab"], model.get("unk_token")
    if unk in vocabulary:
        special.setdefault(unk, vocabulary[unk])
    given = dict(roles or {})
    found = find_roles(special, ({"unk": unk} if unk in special else {}) | given)
    if word_level:
        entries = {entry: i for entry, i in vocabulary.items() if entry not in special}
        return WordLevelTokenizer(entries, special, found, cut)
    merges = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in model["merges"]]
    try:
        ids = [(vocabulary[left], vocabulary[right]) for left, right in merges]
        merged = [vocabulary[left + right] for left, right in merges]
    except KeyError as error:
        raise ValueError(
            f"a merge uses or makes {error.args[0]!r}, which is not in the file's vocabulary"
        ) from None
    made = {*special, *ALPHABET, *(left + right for left, right in merges)}
    layout = Layout(
        special=special,
        roles=found,
        byte_ids=tuple(vocabulary.get(char) for char in ALPHABET),
        merged_ids=tuple(merged),
        extra={unspell(name).hex(): i for name, i in vocabulary.items() if name not in made},
        whole_words=bool(model.get("ignore_merges")),
        drops_unknown=unk is None and "unk" not in given,
    )
    return BPETokenizer(ids, pattern=cut, layout=layout)


def to_tiktoken(tokenizer: BPETokenizer) -> dict[bytes, int]:
    """The `mergeable_ranks` of a `tiktoken.Encoding` with the same ids; its `special_tokens` are
    `tokenizer.layout.special`, its `pat_str` is `pretokens.PATTERNS[tokenizer.pattern]`.

    Raises ValueError where ids do not rise with the merges, since tiktoken merges in the order of ids.
    """
    merged = list(tokenizer.layout.merged_ids)
    if merged != sorted(set(merged)) or tokenizer.layout.extra:
        raise ValueError(
            "tiktoken merges in the order of ids, but this imported tokenizer's ids have another"
        )
    ranks = {tokenizer.token_bytes(i): i for i in tokenizer.spelled_ids()}
    if len(ranks) < len(tokenizer.spelled_ids()):
        raise ValueError("two tokens have the same bytes, and tiktoken's ranks can hold one of them")
    return ranks


def from_tiktoken(
    ranks: Mapping[bytes, int],
    special: Mapping[str, int] | None = None,
    pattern: str = "gpt4",
    roles: Mapping[str, str] | None = None,
) -> BPETokenizer:
    """The tokenizer of tiktoken's `mergeable_ranks`, `special_tokens` and `pat_str`, with their ids.

    The merge that made each token is found by merging its bytes with those of lower rank until two
    are left. Raises ValueError where a byte has no rank or a token is not made of two.
    """
    special = dict(special or {})
    if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        raise ValueError(f"tiktoken ranks give every byte a rank, but these lack 0x{missing[0]:02x}")
    longer = sorted((i, data) for data, i in ranks.items() if len(data) > 1)
    merges, order, merged = [], {}, []
    for i, data in longer:
        parts = apply_merges([ranks[data[n : n + 1]] for n in range(len(data))], order, merged)
        if len(parts) != 2:
            raise ValueError(f"token {i}, {data!r}, is not made of two tokens of lower rank; check the ranks")
        order[tuple(parts)] = len(merges)
        merges.append(tuple(parts))
        merged.append(i)
    layout = Layout(
        special=special,
        roles=find_roles(special, roles or {}),
        byte_ids=tuple(ranks[bytes([byte])] for byte in range(256)),
        merged_ids=tuple(merged),
        whole_words=True,
    )
    return BPETokenizer(merges, pattern=pattern_name(pattern), layout=layout)


def find_roles(special: Mapping[str, int], given: Mapping[str, str]) -> dict[str, int]:
    """The id for each role: the token `given` for it, none where None is, else the first that has a usual name."""
    if strays := {name for name in given.values() if name is not None and name not in special}:
        raise ValueError(
            f"roles name {sorted(strays)}, which are not among the special tokens {sorted(special)}"
        )
    usual = {role: next((n for n in names if n in special), None) for role, names in USUAL_NAMES.items()}
    return {role: special[name] for role, name in (usual | dict(given)).items() if name is not None}


def spell(data: bytes) -> str:
    """Bytes as the visible characters that stand for them in tokenizer.json: b" a" is 'Ġa'."""
    return "".join(ALPHABET[byte] for byte in data)


def unspell(name: str) -> bytes:
    """The bytes of a vocabulary entry; one that holds other characters is taken for plain text."""
    places = {char: byte for byte, char in enumerate(ALPHABET)}
    if all(char in places for char in name):
        return bytes(places[char] for char in name)
    return name.encode()
