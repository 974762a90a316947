"""The check of a decoder passes language models that are right and catches every planted bug."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_checks import blamed, failing
from torch import nn

from lab import checks
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig

FINITE, AGAIN, FUTURE, PAST = "finite", "the same ids", "sees the future", "its past"
ORDER, ROWS, PREFIX = "the order of", "each row", "the start of"
V, CONTEXT = 11, 8


class Small(nn.Module):
    """One layer of attention with everything that a test may break."""

    def __init__(self, *, positions="learned", dropout=0.0, mix=None, sees=torch.tril):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.places = nn.Embedding(V, 16), nn.Embedding(CONTEXT, 16)
        self.norm, self.dropout = nn.LayerNorm(16), nn.Dropout(dropout)
        self.query_key_value, self.output = nn.Linear(16, 48), nn.Linear(16, V)
        self.positions, self.mix, self.sees = positions, mix, sees

    def forward(self, ids):
        T = ids.shape[1]
        x = self.embedding(ids)
        if self.positions == "learned":
            x = x + self.places.weight[:T]
        elif self.positions == "from the end":
            x = x + self.places.weight[:T].flip(0)
        if self.mix is not None:
            x = self.mix(x)
        mask = self.sees(torch.ones(T, T).tril()).bool()
        q, k, v = self.query_key_value(self.norm(x)).chunk(3, dim=-1)
        x = x + self.dropout(F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], mask)[:, 0])
        return self.output(x)


def check(model, **more):
    return checks.decoder(model, vocab_size=V, context=CONTEXT, **more)


def in_numpy(ids):
    """The tokens so far, weighted by where they stand: logits that need no training."""
    assert isinstance(ids, np.ndarray)
    one_hot = np.eye(V)[ids] * (1 + np.arange(ids.shape[1]))[:, None]
    return one_hot.cumsum(axis=1).tolist()


def test_right_models_pass():
    check(Small(dropout=0.5).eval()).raise_if_failed()
    check(Small().double()).raise_if_failed()
    check(in_numpy, given="numpy").raise_if_failed()
    counts = lambda ids: F.one_hot(ids, 2).cumsum(1)  # noqa: E731
    checks.decoder(lambda ids: counts(ids) + 0.5 * counts(ids).cumsum(1), 2, 3).raise_if_failed()


def test_no_gradients_are_kept_and_the_mode_stays():
    model = Small().train()
    check(model).raise_if_failed()
    assert model.training and all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_the_decoder_of_the_lab_passes(positions):
    torch.manual_seed(0)
    config = TransformerConfig(V, CONTEXT, 16, num_heads=2, feed_forward=32, positions=positions)
    model = DecoderOnlyTransformer(config)
    blamed(check(model), [PAST, ORDER], "all logits are equal")  # its output starts at zero
    nn.init.normal_(model.output.weight, std=0.02)
    if not (report := check(model)):  # and so may what its attention adds
        blamed(report, [PAST, ORDER], "weights of zero may silence attention")
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.1)
    check(model).raise_if_failed()


def one_more(mask):
    """The next token too."""
    return torch.ones_like(mask).tril(1)


test_wrong_models_are_caught = failing(
    lambda model: check(model().eval()),
    (lambda: Small(sees=lambda mask: mask.mT), [FUTURE, PAST, ORDER, PREFIX]),
    (lambda: Small(positions=None), [ORDER]), (lambda: Small(positions="from the end"), [PREFIX]),
    (lambda: Small(sees=lambda mask: mask.triu(-1)), [PAST]),
    (lambda: Small(mix=lambda x: x + x.mean(dim=0)), [ROWS]),
    (lambda: Small(mix=lambda x: x + x.mean(dim=1, keepdim=True)), [FUTURE, PREFIX]),
)  # fmt: skip


def first_is_nan(ids):
    return Small()(ids).masked_fill(torch.arange(ids.shape[1])[:, None] == 0, torch.nan)


@pytest.mark.parametrize("model, failed, said", [
    (Small(dropout=0.5).train(), [AGAIN], "model.eval() turns it off"),
    (first_is_nan, [FINITE], "[nan]"),
])  # fmt: skip
def test_what_went_wrong_is_explained(model, failed, said):
    report = check(model)
    blamed(report, failed, said, only=False)
    assert failed not in ([AGAIN], [FINITE]) or str(report).count("(not judged)") == 5


def test_the_smallest_peek_is_shown():
    (example,) = [p.example for p in check(Small(sees=one_more).eval()).properties if FUTURE in p.name]
    assert example.call == "fn(ids=[[5, 6]]) and fn(ids=[[5, 9]])"
    assert "position 0" in example.note and "position 1" in example.note
