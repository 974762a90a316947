"""The check for leaks passes models that keep the future out and catches every planted path to it."""

import numpy as np
import pytest
import torch
from test_checks import blamed, failing
from torch import nn

from lab import checks
from lab.chars import CharEncoder, CharEncoderConfig
from lab.nn import TransformerConfig

V, CONTEXT = 23, 12
LATER, TOGETHER, LENGTH, GRADIENT = "no later", "all later", "there are more", "no gradient"
ANSWER, FINITE, AGAIN, NEAREST = "the answer", "finite", "the same ids", "the nearest"


class Recurrent(nn.Module):
    """An independent reader of characters in order, with what a test may add to its input or its states."""

    def __init__(self, *, adds=None, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.cell = nn.Embedding(V, 16), nn.GRU(16, 16, batch_first=True)
        self.dropout, self.output, self.adds = nn.Dropout(dropout), nn.Linear(16, V), adds

    def forward(self, ids):
        x = self.embedding(ids)
        states = self.dropout(self.cell(x)[0])
        return self.output(states if self.adds is None else states + self.adds(x))


def char_encoder(**changes):
    torch.manual_seed(0)
    stack = TransformerConfig(V, context=CONTEXT, width=16, num_layers=1, num_heads=2, feed_forward=32)
    model = CharEncoder(CharEncoderConfig(stack, decoder_layers=1, memory_slots=2, **changes)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def check(fn, model=None, **more):
    embedding = None if model is None else getattr(model.embedding, "token", model.embedding)
    return checks.leak(fn, V, CONTEXT, embedding=embedding, **more)


def test_an_independent_model_passes():
    model = Recurrent()
    report = check(model, model).raise_if_failed()
    assert len(report.properties) == 8 and len(check(model).raise_if_failed().properties) == 7
    check(lambda ids: model(torch.from_numpy(ids)).detach().numpy(), given="numpy").raise_if_failed()


@pytest.mark.parametrize("cross_attention", ["none", "memory"])
def test_the_character_encoder_passes_with_memory_of_another_text(cross_attention):
    model = char_encoder(cross_attention=cross_attention)
    earlier = torch.randn(1, 2, 16, generator=torch.Generator().manual_seed(1))

    def clm(ids):
        return model(ids, memory=earlier.expand(len(ids), -1, -1)).clm

    check(clm, model).raise_if_failed()
    check(lambda ids: model(ids).clm, model).raise_if_failed()


def test_cross_attention_leaks_in_every_way():
    model = char_encoder(cross_attention="states")
    leaking = [LATER, TOGETHER, LENGTH, GRADIENT]
    blamed(check(lambda ids: model(ids).clm, model), leaking, "fn(ids=[[5, 6]])")  # no shorter one shows it

    def every_other_masked(ids):
        masked = ids.clone()
        masked[:, ::2] = 4
        return model(masked, causal_ids=ids).clm

    blamed(check(every_other_masked, model), [LATER, GRADIENT], only=False)


test_planted_leaks_are_caught = failing(
    lambda model: check(model, model),
    (Recurrent(adds=lambda x: x.mean(1, keepdim=True)), [LATER, TOGETHER, LENGTH, GRADIENT]),
    (Recurrent(adds=lambda x: float(x.shape[1])), [LENGTH]),
    (Recurrent(adds=lambda x: 1e-5 * x.sum(1, keepdim=True)), [GRADIENT]),
)  # fmt: skip


def test_logits_of_the_character_itself_must_not_know_it():
    model = Recurrent()

    def shifted(ids):
        return model(torch.cat([torch.full_like(ids[:, :1], 2), ids[:, :-1]], dim=1))

    check(shifted, model, predicts="own").raise_if_failed()
    blamed(check(model, model, predicts="own"), [LATER, TOGETHER, GRADIENT])
    blamed(check(shifted, model), [NEAREST])  # they know less than they may


@pytest.mark.parametrize("fn, embedded, failed, said", [
    (Recurrent(dropout=0.5), None, AGAIN, ""),
    (lambda ids: torch.full((*ids.shape, V), torch.nan), None, FINITE, ""),
    (lambda ids: ids, None, ANSWER, ""),
    (lambda ids: np.zeros((*ids.shape, V)), None, NEAREST, ""),  # a model that sees nothing
    (Recurrent(), Recurrent(), GRADIENT, "without the embedding"),
])  # fmt: skip
def test_what_cannot_be_compared_is_said(fn, embedded, failed, said):
    blamed(check(fn, embedded), [failed], said, only=False)


def test_a_gradient_that_is_cut_is_said():
    model = Recurrent()
    blamed(check(lambda ids: model(ids).detach(), model), [GRADIENT], "without a gradient")
