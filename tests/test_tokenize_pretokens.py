"""The fast cut is the pattern's cut, wherever white space stands."""

import random

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lab.text.pretokens import (
    HAS_SAFE_CUTS,
    PATTERNS,
    SPELLINGS,
    blocks,
    count_pretokens,
    glue,
    is_safe,
    pattern_name,
    pieces,
    plain,
    splitter,
)

WHITE = [" ", " ", "  ", "\n", "\n\n", "\r\n", "\r", "\t", *"\u00a0\u2028\x85\x1c\u3000\u200b"]
OTHER = ["a", "the", "É", "7", "1234", "٣", "'", "'s", "'LL", "'ſ", "’", ".", ",\u0301", "\U0001f600", "\0"]
# Half of the draws are spaces, breaks and letters alone, where most of the traps are.
adversarial = st.one_of(
    st.lists(st.sampled_from(WHITE + OTHER), max_size=14).map("".join),
    st.lists(st.sampled_from([" ", "\n", "a", ".", "\t"]), max_size=14).map("".join),
    st.text(max_size=12),
)


def fast_cut(text: str, pattern: str) -> list[str]:
    pretokens = []
    for block in blocks(text):
        coded = pieces([block])
        if not all(map(is_safe, coded)):
            coded = glue(coded)
        pretokens += [pretoken for piece in coded for pretoken in splitter(pattern)(plain(piece))]
    return pretokens


@pytest.mark.parametrize("pattern", HAS_SAFE_CUTS)
@given(text=adversarial)
@example("a\n\n\tb")
@example("word.\n And")
@example("\n \n")
@example(" a ")
@settings(max_examples=600, deadline=None, derandomize=True)
def test_fast_cut_equals_the_pattern(pattern, text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lab.text.pretokens.BLOCK", 2)
        assert fast_cut(text, pattern) == regex.findall(PATTERNS[pattern], text)
    assert fast_cut(text, pattern) == regex.findall(PATTERNS[pattern], text)


@given(text=adversarial)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_pattern_with_gaps_loses_nothing(text):
    assert "".join(splitter(r"[a-z]*|(\d)")(text)) == text


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(text=adversarial)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_other_spellings_mean_the_same(spelling, text):
    # Rust's '$' is the end of the text alone, which Python writes \Z.
    cut = [match.group() for match in regex.finditer(spelling.replace("$", r"\Z"), text)]
    assert cut == regex.findall(PATTERNS[pattern_name(spelling)], text)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_counting_blocks_of_lines_equals_counting_each(pattern, monkeypatch):
    monkeypatch.setattr("lab.text.pretokens.LINES_AT_ONCE", 3)
    rng = random.Random(0)
    for _ in range(300):
        tame, wild = [" ", " b"], [*WHITE, " b", ".", " 's"]
        lines = [
            "a" + "".join(rng.choices(wild if rng.random() < 0.1 else tame, k=rng.randrange(4)))
            for _ in range(rng.randrange(9))
        ]
        plainly = {}
        for line in [*lines, "", "\ta"]:
            for pretoken in splitter(pattern)(line):
                plainly[pretoken] = plainly.get(pretoken, 0) + 1
        assert count_pretokens(iter([*lines, "", "\ta"]), pattern) == plainly
