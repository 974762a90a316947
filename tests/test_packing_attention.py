"""Kept apart, the documents of a packed row are what they are one by one, in our model and in torch's own."""

import pytest
import torch
import torch.nn.functional as F
from nn_toys import randomised
from torch import nn

from lab.data.batch import IGNORE
from lab.data.masks import documents, to_blocked
from lab.data.packing import pack
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig

V, CONTEXT, HEADS = 30, 16, 2
LINES = [
    [2, *torch.randint(5, V, (n,), generator=torch.Generator().manual_seed(n)).tolist(), 3]
    for n in (4, 9, 1, 6, 14, 3, 0)
]


class TorchsOwn(nn.Module):
    """`nn.TransformerEncoder` with learned positions; a row of padding sees itself, for it would be NaN else."""

    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(V, 16), nn.Embedding(CONTEXT, 16)
        layer = nn.TransformerEncoderLayer(16, HEADS, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.output = nn.Linear(16, V)

    def forward(self, ids, *, document_ids, positions):
        mask = documents(document_ids) | torch.eye(ids.shape[1], dtype=torch.bool)
        blocked = to_blocked(mask).repeat_interleave(HEADS, dim=1).flatten(0, 1)  # (B * H, T, T)
        return self.output(self.encoder(self.tokens(ids) + self.places(positions), mask=blocked))


def ours() -> nn.Module:
    sizes = dict(width=16, num_layers=2, num_heads=HEADS, feed_forward=32)
    return randomised(DecoderOnlyTransformer(TransformerConfig(V, CONTEXT, **sizes)), dtype=torch.float32)


@pytest.fixture(params=[ours, TorchsOwn], ids=["ours", "torch"])
def model(request):
    return request.param()


@pytest.fixture(params=["in_order", "best_fit"])
def packed(request):
    return pack(LINES, CONTEXT, request.param)


def logits_and_gradients(model, rows):
    """The logits of each row, and the gradients of the summed loss of all rows."""
    model.zero_grad()
    logits = []
    for ids, targets, document_ids, positions in rows:
        logits.append(model(ids, document_ids=document_ids, positions=positions))
        nats = F.cross_entropy(logits[-1].mT, targets, ignore_index=IGNORE, reduction="sum")
        nats.backward()
    return logits, [parameter.grad.clone() for parameter in model.parameters()]


def test_packed_logits_and_gradients_are_those_of_the_documents_one_by_one(model, packed):
    singles = []
    for line in LINES:
        targets = torch.tensor([[*line[1:], IGNORE]])
        facts = torch.zeros_like(targets), torch.arange(len(line))[None]
        singles.append((torch.tensor([line]), targets, *facts))
    expected, expected_gradients = logits_and_gradients(model, singles)
    packed_row = (packed.ids, packed.targets, packed.document_ids, packed.positions)
    [logits], gradients = logits_and_gradients(model, [packed_row])
    assert all(gradient.abs().max() > 1e-3 for gradient in expected_gradients), "the test sees something"
    for document, alone in enumerate(expected):
        torch.testing.assert_close(logits[packed.document_ids == document], alone[0], rtol=1e-5, atol=1e-5)
    for gradient, alone in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, alone, rtol=1e-5, atol=1e-5 * alone.abs().max().item())


@torch.no_grad()
def test_changing_one_document_leaves_the_others_bit_identical(model, packed):
    def read(ids):
        return model(ids, document_ids=packed.document_ids, positions=packed.positions)

    before = read(packed.ids)
    for document in range(len(LINES)):
        inside = packed.document_ids == document
        after = read(torch.where(inside, (packed.ids + 7) % V, packed.ids))
        others = (packed.document_ids >= 0) & ~inside
        assert torch.equal(before[others], after[others])
        assert not torch.equal(before[inside], after[inside])
