"""The check for leaks passes models that keep the future out and catches every planted path to it."""

import numpy as np
import pytest
import torch
from test_checks import caught
from torch import nn

from lab import checks
from lab.chars import CharEncoder, CharEncoderConfig
from lab.nn import TransformerConfig

V, CONTEXT = 23, 12
LATER, TOGETHER = "no later character moves the logits", "all later characters together do not move them"
LENGTH, GRADIENT = "nor does it matter that there are more", "no gradient reaches a later character"
AGAIN, NEAREST = "the same ids give the same again", "the nearest character that may be seen moves them"
ANSWER, FINITE = "the answer is real numbers (B, T, vocab_size)", "all logits are finite"


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


class Convolution(nn.Module):
    """A window of three characters: the right one ends at the character itself."""

    def __init__(self, ends_after=0):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.window = nn.Embedding(V, 16), nn.Conv1d(16, V, 3)
        self.pads = (2 - ends_after, ends_after)

    def forward(self, ids):
        return self.window(nn.functional.pad(self.embedding(ids).mT, self.pads)).mT


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


@pytest.mark.parametrize("model", [Recurrent(), Convolution()], ids=["recurrent", "convolution"])
def test_independent_models_pass(model):
    report = check(model, model).raise_if_failed()
    assert [p.name for p in report.properties] == [
        ANSWER, FINITE, AGAIN, LATER, TOGETHER, LENGTH, GRADIENT, NEAREST,
    ]  # fmt: skip
    check(lambda ids: model(torch.from_numpy(ids)).detach().numpy(), given="numpy").raise_if_failed()


@pytest.mark.parametrize("cross_attention", ["none", "memory"])
def test_the_character_encoder_passes_with_memory_of_another_text(cross_attention):
    model = char_encoder(cross_attention=cross_attention)
    earlier = torch.randn(1, 2, 16, generator=torch.Generator().manual_seed(1))

    def clm(ids):
        return model(ids, memory=earlier.expand(len(ids), -1, -1)).clm

    check(clm, model).raise_if_failed()
    check(lambda ids: model(ids).clm, model).raise_if_failed()


def test_cross_attention_to_states_of_the_same_text_leaks():
    model = char_encoder(cross_attention="states")
    report = check(lambda ids: model(ids).clm, model)
    assert caught(report) == [LATER, TOGETHER, LENGTH, GRADIENT]
    assert "fn(ids=[[5, 6]])" in str(report), "the shortest text that shows it"


def test_states_of_masked_characters_leak_the_others():
    model = char_encoder(cross_attention="states")

    def every_other_masked(ids):
        masked = ids.clone()
        masked[:, ::2] = 4
        return model(masked, causal_ids=ids).clm

    assert LATER in caught(check(every_other_masked)) and GRADIENT in caught(check(every_other_masked, model))


def test_memory_of_the_same_chunk_leaks():
    model = char_encoder(cross_attention="memory")

    def own_memory(ids):
        memory = model(ids, heads=()).chunk_embedding[:, None]
        return model(ids, memory=memory).clm

    assert set(caught(check(own_memory, model))) >= {LATER, TOGETHER, LENGTH, GRADIENT}


@pytest.mark.parametrize(
    "model, wrong",
    [
        (Convolution(ends_after=1), [LATER, TOGETHER, LENGTH, GRADIENT]),  # a mask that is off by one
        (Recurrent(adds=lambda x: x.mean(1, keepdim=True)), [LATER, TOGETHER, LENGTH, GRADIENT]),
        (Recurrent(adds=lambda x: x[:, -1:]), [LATER, TOGETHER, LENGTH, GRADIENT]),
        (Recurrent(adds=lambda x: x.roll(-1, 1)), [LATER, TOGETHER, LENGTH, GRADIENT]),  # its own target
        (Recurrent(adds=lambda x: float(x.shape[1])), [LENGTH]),
        (Recurrent(adds=lambda x: 1e-5 * x.sum(1, keepdim=True)), [GRADIENT]),
    ],
    ids=["off by one", "mean of the text", "last character", "own target", "length", "too little to see"],
)
def test_planted_leaks_are_caught(model, wrong):
    assert caught(check(model, model)) == wrong


def test_logits_of_the_character_itself_must_not_know_it():
    model = Recurrent()

    def shifted(ids):
        return model(torch.cat([torch.full_like(ids[:, :1], 2), ids[:, :-1]], dim=1))

    check(shifted, model, predicts="own").raise_if_failed()
    assert caught(check(model, model, predicts="own")) == [LATER, TOGETHER, GRADIENT]
    assert caught(check(shifted, model)) == [NEAREST], "they know less than they may"


def test_what_cannot_be_compared_is_said():
    assert caught(check(Recurrent(dropout=0.5)))[0] == AGAIN
    assert caught(check(lambda ids: torch.full((*ids.shape, V), torch.nan)))[0] == FINITE
    assert caught(check(lambda ids: ids))[0] == ANSWER
    assert caught(check(lambda ids: np.zeros((*ids.shape, V)))) == [NEAREST], "a model that sees nothing"


def test_a_gradient_that_cannot_be_followed_is_said():
    model = Recurrent()
    assert "without the embedding" in str(check(model, Recurrent()))
    assert "without a gradient" in str(check(lambda ids: model(ids).detach(), model))


def test_bad_arguments_are_named():
    for more, said in (
        ({"predicts": "last"}, "unknown predicts 'last'"),
        ({"given": "numpy", "embedding": nn.Embedding(V, 2)}, "gradients are those of torch"),
        ({"context": 1}, "at least 2 ids and 2 places"),
    ):
        with pytest.raises(ValueError, match=said):
            checks.leak(Recurrent(), **{"vocab_size": V, "context": CONTEXT, **more})
