"""The character encoder: what each of its parts may know, and that a text comes back out of the bottleneck."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ideas.alibi import ALiBi
from nn_toys import same
from torch import nn
from torch.nn.functional import cross_entropy

from lab import checks
from lab.chars import CharEncoder, CharEncoderConfig, NextCharacter, write_greedily
from lab.chars.bottleneck import Bottleneck, text_lengths
from lab.chars.model import HEADS
from lab.nn import TransformerConfig

V, T, PAD = 30, 12, 0
STACK = dict(vocab_size=V, context=20, width=16, num_layers=2, num_heads=2, feed_forward=24, tied=True)
CONFIG = CharEncoderConfig(TransformerConfig(**STACK), memory_slots=3, latents=4, latent_width=5)
KINDS = {
    "defaults": ({}, {}),
    "cross-attention to memory": ({}, {"cross_attention": "memory"}),
    "cross-attention to states": ({}, {"cross_attention": "states"}),
    "post-norm, learned places": (
        {"positions": "learned", "norm": "layer", "norm_place": "post", "bias": True},
        {"head_maps": False},
    ),
    "post-norm, biased positions": ({"positions": ALiBi(steepest=8.0), "norm_place": "post"}, {}),
    "untied, sinusoidal": ({"tied": False, "positions": "sinusoidal", "activation": "gated_silu"}, {}),
}
every_kind = pytest.mark.parametrize(("stack", "changes"), KINDS.values(), ids=KINDS)
few_examples = settings(max_examples=20, deadline=None)


def config(stack=None, **changes) -> CharEncoderConfig:
    return replace(CONFIG, stack=replace(CONFIG.stack, **stack or {}), **changes)


def fresh(stack=None, **changes) -> CharEncoder:
    torch.manual_seed(0)
    return CharEncoder(config(stack, **changes))


def random_weights(stack=None, **changes) -> CharEncoder:
    """Random weights everywhere: with the zero initialisation most tests here could not fail."""
    model = fresh(stack, **changes).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def text(rows: int = 3, length: int = T, seed: int = 1) -> torch.Tensor:
    return torch.randint(5, V, (rows, length), generator=torch.Generator().manual_seed(seed))


def memory_of(model: CharEncoder, rows: int = 3, count: int = 2) -> torch.Tensor:
    chunks = [model(text(rows, seed=10 + i), heads=()).chunk_embedding for i in range(count)]
    return torch.stack(chunks, dim=1)  # (B, M, C)


def shifted(ids: torch.Tensor) -> torch.Tensor:
    """What the writer has written before each character: `<s>`, and the text without its last."""
    return torch.cat([torch.full_like(ids[:, :1], 2), ids[:, :-1]], dim=1)


@every_kind
def test_every_head_says_something_of_every_character(stack, changes):
    model, ids = random_weights(stack, **changes), text()
    encoding = model(ids, memory=memory_of(model))
    assert encoding._fields == (*HEADS, "states", "chunk_embedding")
    assert all(getattr(encoding, name).shape == (3, T, V) for name in HEADS)
    assert encoding.states.shape == (3, T, 16) and encoding.chunk_embedding.shape == (3, 16)
    only = model(ids, heads=("restoration",))
    said = {name for name, value in only._asdict().items() if value is not None}
    assert said == {"restoration", "states", "chunk_embedding"}
    same(only.restoration, model(ids).restoration)


def test_the_three_stacks_differ_in_depth_alone():
    stack = dict(num_layers=3, width=24, num_heads=4, feed_forward=40, dropout=0.25)
    model = fresh(stack, decoder_layers=4, writer_layers=2, cross_attention="memory")
    for part, layers, depth in ((model.encoder, 2, 3), (model.decoder, 3, 4), (model.writer, 2, 2)):
        assert len(part.blocks) == depth
        for block in part.blocks:
            dropouts = [module.p for module in block.modules() if isinstance(module, nn.Dropout)]
            assert dropouts == [0.25] * layers, "each layer that adds to the stream drops some of it"
            assert block.feed_forward.expand.weight.shape == (40, 24)


@every_kind
@few_examples
@given(lengths=st.lists(st.integers(1, T), min_size=3, max_size=3), extra=st.integers(1, 5))
def test_padding_changes_no_real_output(stack, changes, lengths, extra):
    model, ids = random_weights(stack, **changes), text()
    memory = memory_of(model)
    padded = torch.cat([ids, torch.zeros(3, extra, dtype=torch.long)], dim=1)
    for row, n in enumerate(lengths):
        padded[row, n:] = PAD
    together, latents = model(padded, memory=memory), model.compress(padded)
    written = model.write(latents, shifted(padded))
    for row, n in enumerate(lengths):
        part = ids[row : row + 1, :n]
        alone = model(part, memory=memory[row : row + 1])
        for name in (*HEADS, "states"):
            same(getattr(together, name)[row, :n], getattr(alone, name)[0])
        same(together.chunk_embedding[row], alone.chunk_embedding[0])
        same(latents[row], model.compress(part)[0])
        same(written[row, :n], model.write(latents[row : row + 1], shifted(part))[0])


@every_kind
def test_an_explicit_mask_says_what_is_padding(stack, changes):
    model, ids = random_weights(stack, **changes), text()
    ids[:, 9:] = PAD
    same(model(ids, mask=ids != PAD).states, model(ids).states)
    attended = model(ids, mask=torch.ones_like(ids, dtype=torch.bool))
    assert (attended.states - model(ids).states)[:, :9].abs().max() > 1e-3, "padding was read"
    left = ids.roll(3, dims=1)
    a, b = (model(each, mask=left != PAD) for each in (left, left.masked_fill(left == PAD, 7)))
    for name in (*HEADS, "states"):
        same(getattr(a, name)[:, 3:], getattr(b, name)[:, 3:])


@pytest.mark.parametrize("kind", ["defaults", "cross-attention to memory", "post-norm, learned places"])
def test_the_next_character_is_in_nothing_that_predicts_it(kind):
    stack, changes = KINDS[kind]
    model = random_weights(stack, **changes)
    memory = memory_of(model, rows=1).detach()

    def leak(model, **more):
        clm = lambda ids: model(ids, **{k: v.expand(len(ids), -1, -1) for k, v in more.items()}).clm  # noqa: E731
        return checks.leak(clm, V, CONFIG.context, embedding=model.embedding.token)

    leak(model, memory=memory).raise_if_failed()
    report = leak(random_weights(stack, cross_attention="states"))
    assert not report and "✗ no gradient reaches a later character" in str(report), "states tell it"


def test_the_decoder_reads_its_own_ids_and_the_encoder_all_of_its_own():
    model, ids = random_weights(), text()
    masked = ids.masked_fill(ids % 3 == 0, 4)
    both = model(masked, causal_ids=ids)
    same(both.clm, model(ids).clm)
    same(both.states, model(masked).states)
    assert model(masked, causal_ids=ids[:, :5]).clm.shape == (3, 5, V)
    for place in range(T):
        other = ids.clone()
        other[:, place] = 5 + (ids[:, place] - 4) % (V - 5)
        assert ((model(other).states - model(ids).states).abs().amax(-1) > 1e-9).all(), "it sees both ways"


@every_kind
def test_memory_reaches_what_reads_it(stack, changes):
    model, ids = random_weights(stack, **changes), text()
    memory = torch.randn(3, 3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    without, given, swapped = model(ids), model(ids, memory=memory), model(ids, memory=memory.flip(1))
    assert given.states.shape == without.states.shape, "the places of the memory are cut off"
    for name in ("mlm", "reconstruction", "restoration"):
        assert (getattr(given, name) - getattr(without, name)).abs().max() > 1e-3
        assert (getattr(given, name) - getattr(swapped, name)).abs().max() > 1e-3, "their order matters"
    assert torch.equal(given.clm, without.clm) == (model.config.cross_attention == "none")


@every_kind
def test_missing_memory_is_as_if_there_were_none(stack, changes):
    model, ids = random_weights(stack, **changes), text()
    memory = memory_of(model, count=3)
    there = torch.tensor([[True] * 3, [False, True, True], [False] * 3])
    together = model(ids, memory=memory, memory_mask=there)
    for row, left in enumerate((memory[:1], memory[1:2, 1:], None)):
        alone = model(ids[row : row + 1], memory=left)
        for name in (*HEADS, "states"):
            same(getattr(together, name)[row], getattr(alone, name)[0])


@every_kind
@few_examples
@given(cuts=st.sets(st.integers(1, T - 1)))
def test_decoding_in_parts_with_a_cache_gives_the_same(stack, changes, cuts):
    model, ids = random_weights(stack, **changes), text()
    ends = [*sorted(cuts), T]
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    memory = memory_of(model)
    read = {"memory": memory, "states": model.encode(ids, memory=memory)}
    cache = model.new_cache(3)
    parts = [model.decode(part, cache=cache, **read) for part in ids.split(sizes, dim=1)]
    same(torch.cat(parts, dim=1), model.decode(ids, **read))
    same(model.decode(ids, **read), model(ids, memory=memory).clm)
    latents, cache = model.compress(ids), model.new_writer_cache(3)
    parts = [model.write(latents, part, cache=cache) for part in shifted(ids).split(sizes, dim=1)]
    same(torch.cat(parts, dim=1), model.write(latents, shifted(ids)))


@pytest.mark.parametrize("stack", [{}, {"tied": False}, {"norm_place": "post", "positions": "learned"}])
def test_every_first_loss_is_that_of_a_uniform_guess(stack):
    model, ids = fresh(stack), text()
    encoding = model(ids, memory=memory_of(model))
    logits = [getattr(encoding, name) for name in HEADS] + [model.write(model.compress(ids), shifted(ids))]
    for each in logits:
        assert cross_entropy(each.flatten(0, 1), ids.flatten()).item() == pytest.approx(math.log(V), rel=1e-6)


@few_examples
@given(latents=st.integers(1, 16), n=st.integers(1, 16))
def test_every_character_has_a_place_in_a_latent(latents, n):
    bottleneck = Bottleneck(context=16, width=6, latents=latents, latent_width=4).double()
    states = torch.randn(2, 16, 6, dtype=torch.float64, requires_grad=True)
    folded = bottleneck.fold(states, torch.tensor([n, 16]))
    assert folded.shape == (2, latents, 4) and text_lengths(folded, 16).tolist() == [n, 16]
    (gradient,) = torch.autograd.grad(folded[0].square().sum(), states, retain_graph=True)
    assert (gradient[0].abs().sum(-1) > 0).tolist() == [True] * n + [False] * (16 - n)
    same(folded[0], bottleneck.fold(states[:1, :n], torch.tensor([n]))[0])
    given_back = bottleneck.unfold(folded, torch.arange(16))
    for t in range(n):
        (gradient,) = torch.autograd.grad(given_back[0, t].sum(), folded, retain_graph=True)
        (latent,) = gradient[0].abs().sum(-1).nonzero().flatten().tolist()
        (gradient,) = torch.autograd.grad(folded[0, latent].square().sum(), states, retain_graph=True)
        assert gradient[0, t].abs().sum() > 0, "it comes from a latent that read this character"
    assert len({tuple(row.tolist()) for row in given_back[0, :n].detach()}) == n, "no two get the same"


def test_writing_greedily_is_what_the_writer_says_is_likeliest():
    model, ids = random_weights(), text()
    ids[1, 7:] = PAD
    ids[2, 1:] = PAD
    latents = model.compress(ids)
    assert text_lengths(latents, CONFIG.context).tolist() == [T, 7, 1]
    written = write_greedily(model, latents, start_id=2)
    likeliest = model.write(latents, shifted(written)).argmax(dim=-1)
    assert torch.equal(written, likeliest.masked_fill(ids == PAD, PAD))
    for row, n in enumerate((T, 7, 1)):
        assert torch.equal(write_greedily(model, latents[row : row + 1], 2)[0], written[row, :n])


WRONG = {"head_maps": 1, "decoder_layers": 0, "cross_attention": "all", "latents": 21, "pad_id": V}
REFUSED = [
    *[(lambda _, change={name: wrong}: config(**change), name) for name, wrong in WRONG.items()],
    (lambda m: config(stack={"num_layers": 0}), "num_layers"),
    (lambda m: config(stack={"num_positions": 40}), "num_positions"),
    (lambda m: config(cross_attention="memory", memory_slots=0), "memory_slots"),
    (lambda m: config(latents=4, latent_width=0), "latent_width"),
    (lambda m: m(text(length=21)), "context"),
    (lambda m: m(text(), memory=torch.zeros(3, 4, 16)), "memory_slots"),
    (lambda m: m.compress(text().masked_fill(text() > 20, PAD)), "padding"),
    (lambda m: m.compress(torch.zeros(2, 4, dtype=torch.long)), "padding"),
    (lambda m: random_weights(latents=0, latent_width=0).compress(text()), "latents"),
    (lambda m: random_weights(memory_slots=0)(text(), memory=torch.zeros(3, 1, 16)), "memory_slots"),
    (lambda m: NextCharacter(m)(text(), document_ids=torch.zeros(3, T, dtype=torch.long)), "document_ids"),
]


@pytest.mark.parametrize(("call", "named"), REFUSED)
def test_what_cannot_be_built_or_read_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call(random_weights())
