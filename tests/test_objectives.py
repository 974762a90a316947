import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.score import (
    COMPRESSORS,
    Score,
    compressed_bits_per_char,
    score_lines,
    scoring_windows,
    unigram_bits_per_char,
)
from lab.text import CharTokenizer


class Bigrams(nn.Module):
    """A model whose answers are known: a fixed table of logits by the last token."""

    def __init__(self, vocab_size: int, context: int = 8):
        super().__init__()
        self.config = SimpleNamespace(context=context)
        self.table = nn.Parameter(torch.randn(vocab_size, vocab_size, dtype=torch.float64))

    def forward(self, ids, *, mask=None, positions=None, cache=None):
        assert ids.shape[1] <= self.config.context
        return self.table[ids]


LINES = ["abba", "b", "", "abcabcabcabcabcabcabcabcabc", "cab"]


def exact_nats(model: Bigrams, tokenizer, lines) -> float:
    log_p = model.table.log_softmax(-1)
    return -sum(log_p[a, b].item() for ids in tokenizer.encode_lines(lines) for a, b in pairwise(ids))


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("context", [1, 2, 5, 8, 100])
def test_every_token_is_scored_exactly_once(batch_size, context):
    tokenizer = CharTokenizer.train(["abc"])
    model = Bigrams(tokenizer.vocab_size, context)
    score = score_lines(model, tokenizer, LINES, batch_size=batch_size)
    assert score.nats == pytest.approx(exact_nats(model, tokenizer, LINES), rel=1e-9)
    assert score.chars == sum(map(len, LINES)) + len(LINES)
    assert score.tokens == sum(map(len, LINES)) + len(LINES)  # one </s> a line where the newline stood


def test_padding_and_other_lines_change_nothing():
    tokenizer = CharTokenizer.train(["abc"])
    config = TransformerConfig(tokenizer.vocab_size, context=8, width=16, num_heads=2, feed_forward=16)
    model = DecoderOnlyTransformer(config).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    together = score_lines(model, tokenizer, LINES)
    alone = [score_lines(model, tokenizer, [line]) for line in LINES]
    assert together.nats == pytest.approx(sum(score.nats for score in alone), rel=1e-9)


def test_the_mode_of_the_model_is_left_as_it_was():
    tokenizer = CharTokenizer.train(["abc"])
    for training in (True, False):
        model = Bigrams(tokenizer.vocab_size).train(training)
        score_lines(model, tokenizer, ["ab"])
        assert model.training is training


@given(length=st.integers(1, 200), context=st.integers(1, 40))
def test_windows_score_each_place_once_with_half_a_context_before_it(length, context):
    scored = []
    for start, end, first in scoring_windows(length, context):
        assert 0 <= start <= first < end <= length and end - start <= context
        scored += range(first, end)
        if start > 0:
            assert first - start >= context // 2
    assert scored == list(range(length))


def test_no_lines_is_an_error():
    with pytest.raises(ValueError, match="no lines to score"):
        score_lines(Bigrams(9), CharTokenizer.train(["abc"]), [])


def test_a_score_in_bits_and_perplexity():
    score = Score(nats=10 * math.log(8), chars=10, tokens=4)
    assert score.bits_per_char == pytest.approx(3)
    assert score.char_perplexity == pytest.approx(8)
    assert "3.000 bits per character" in str(score)
    assert str(Score(1, 1, 1, is_bound=True)).startswith("<= ")


def test_the_unigram_baseline_is_the_entropy_of_the_characters():
    lines = ["ab" * 500] * 20
    newline = 1 / 1001
    share = (1 - newline) / 2
    entropy = -2 * share * math.log2(share) - newline * math.log2(newline)
    assert unigram_bits_per_char(lines, lines) == pytest.approx(entropy, rel=1e-3)


def test_an_unseen_character_costs_much_but_not_infinitely():
    seen, unseen = unigram_bits_per_char(["ab"], ["ab"]), unigram_bits_per_char(["ab" * 50], ["zz"])
    assert seen < unseen < 20


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_compressor_pays_little_for_what_it_has_seen(name):
    generator = torch.Generator().manual_seed(0)
    words = ["".join(chr(97 + i) for i in torch.randint(26, (9,), generator=generator)) for _ in range(300)]
    seen, fresh = [" ".join(words[:150])], [" ".join(words[150:])]
    assert compressed_bits_per_char(name, seen, fresh) > 4.5  # random letters: log2 26 = 4.7
    if name != "bz2":  # which sorts blocks and gains less from repetition
        assert compressed_bits_per_char(name, seen, seen) < 1
