"""Recurrent language models: the published equations, and what may and may not touch the state."""

from dataclasses import replace

import pytest
import torch
from nn_toys import ids, in_parts, randomised, reach, same
from torch import nn
from torch.nn.functional import cross_entropy

from lab.data import masks
from lab.data.packing import pack
from lab.decode.search import generate
from lab.nn.recurrent import RecurrentConfig, RecurrentLM, RecurrentState
from lab.score import score_lines
from lab.text import CharTokenizer
from lab.train import next_token_loss
from lab.train.optim import make_optimizers

CONFIG = RecurrentConfig(vocab_size=30, context=16, width=12, num_layers=2)
CELLS = ("elman", "gru", "lstm")
BLOCKS = "_in_blocks"  # after the name of a cell: with feed-forward layers, residual
every_cell = pytest.mark.parametrize("cell", [*CELLS, "gru" + BLOCKS, "lstm" + BLOCKS])
every_depth = pytest.mark.parametrize("num_layers", [1, 3])


def configured(cell: str, **changes) -> RecurrentConfig:
    feed_forward = 20 if cell.endswith(BLOCKS) else 0
    return replace(CONFIG, cell=cell.removesuffix(BLOCKS), feed_forward=feed_forward, **changes)


def recurrent(cell="lstm", **changes) -> RecurrentLM:
    return randomised(RecurrentLM(configured(cell, **changes)), 0.4)


def shifted(line: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([line[:-1]]), torch.tensor([line[1:]])


def nats_alone(model, lines) -> torch.Tensor:
    """The loss of all lines, read one by one."""
    return sum(cross_entropy(model(x)[0], y[0], reduction="sum") for x, y in map(shifted, lines))


def elman(x, h, W, U, b, _):
    """Elman 1990, with tanh."""
    return (torch.tanh(W @ x + U @ h[0] + b),)


def gru(x, h, W, U, b, d):
    """Cho et al. 2014, eqs. 5 to 8; as in cuDNN, the reset gate acts on U h + d and not on h."""
    (W_r, W_z, W_n), (U_r, U_z, U_n) = W.chunk(3), U.chunk(3)
    (b_r, b_z, b_n), (d_r, d_z, d_n) = b.chunk(3), d.chunk(3)
    r = torch.sigmoid(W_r @ x + U_r @ h[0] + b_r + d_r)
    z = torch.sigmoid(W_z @ x + U_z @ h[0] + b_z + d_z)
    n = torch.tanh(W_n @ x + b_n + r * (U_n @ h[0] + d_n))
    return (z * h[0] + (1 - z) * n,)


def lstm(x, h, W, U, b, d):
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000."""
    i, f, g, o = (W @ x + U @ h[0] + b + d).chunk(4)
    c = torch.sigmoid(f) * h[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def rms_norm(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean() + 1e-6).sqrt() * gain


def step_by_step(model: RecurrentLM, row: torch.Tensor) -> torch.Tensor:
    """The logits `(T, V)` of one row `(T,)`, by the equations alone."""
    c, p = model.config, dict(model.named_parameters())
    step = {"elman": elman, "gru": gru, "lstm": lstm}[c.cell]
    tokens = list(p["embedding.token.weight"][row])
    if c.feed_forward:
        before = [torch.zeros(c.width).double(), *tokens[:-1]]
        tokens = [x + p["blocks.shift.share"] * y for x, y in zip(tokens, before, strict=True)]
    for layer in range(c.num_layers):
        block = f"blocks.blocks.{layer}"
        at = f"{block}.recurrence.cell.#_l0" if c.feed_forward else f"blocks.#_l{layer}"
        W, U, b, d = (p[at.replace("#", name)] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h = (torch.zeros(c.width).double(),) * 2
        for t, x in enumerate(tokens):
            read = rms_norm(x, p[f"{block}.recurrence.norm.weight"]) if c.feed_forward else x
            h = step(read, h, W, U, b + d if step is elman else b, d)
            tokens[t] = x + h[0] if c.feed_forward else h[0]
            if c.feed_forward:
                read = rms_norm(tokens[t], p[f"{block}.feed_forward.norm.weight"])
                hidden = nn.functional.gelu(p[f"{block}.feed_forward.expand.weight"] @ read)
                tokens[t] = tokens[t] + p[f"{block}.feed_forward.contract.weight"] @ hidden
    if c.feed_forward:
        tokens = [rms_norm(x, p["blocks.norm.weight"]) for x in tokens]
    return torch.stack(tokens) @ p["output.weight"].T


@every_cell
@every_depth
def test_the_model_is_the_published_equations(cell, num_layers):
    model, x = recurrent(cell, num_layers=num_layers), ids()
    same(model(x), torch.stack([step_by_step(model, row) for row in x]))


@every_cell
@every_depth
def test_no_gradient_reaches_the_future_and_all_of_the_past_has_one(cell, num_layers):
    model, x = recurrent(cell, num_layers=num_layers), ids(rows=1, length=8)
    for more in ({}, {"document_ids": torch.zeros_like(x)}):
        assert torch.equal(reach(model.embedding, lambda: model(x, **more)), masks.causal(8))  # noqa: B023


@every_cell
@every_depth
def test_reading_in_parts_gives_the_same_logits(cell, num_layers):
    model, x = recurrent(cell, num_layers=num_layers), ids(rows=3, length=20)  # longer than the context
    for dtype, atol in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        whole = model.to(dtype)(x)
        for sizes in ([1] * 20, [20], [7, 1, 1, 11], [1, 19]):
            state = model.new_cache(batch=3)
            same(in_parts(model, x, sizes, state), whole, atol)
            assert state.length == 20 and not any(t.requires_grad for t in state.detach().tensors)
    rows, more = torch.tensor([2, 0, 0, 1]), ids(rows=4, length=2)
    chosen = state.select(rows)
    same(model(more, cache=chosen), model(torch.cat([x[rows], more], dim=1))[:, 20:], atol)
    assert chosen.length == 22 and state.length == 20


@every_cell
def test_padding_never_touches_the_state(cell):
    model, x, lengths = recurrent(cell), ids(rows=4, length=9), [9, 4, 0, 1]
    document_ids = torch.where(torch.arange(9) < torch.tensor(lengths)[:, None], 0, -1)
    state = model.new_cache(4)
    model(ids(rows=4, length=3), cache=state)
    before = RecurrentState(tuple(t.clone() for t in state.tensors))
    logits = model(x, document_ids=document_ids, cache=state)
    for row, length in enumerate(lengths):
        alone = RecurrentState(tuple(t[:, [row]].clone() for t in before.tensors), 3)
        if length:
            same(logits[[row], :length], model(x[[row], :length], cache=alone))
        same(state.select(torch.tensor([row])).tensors, alone.tensors)
    other = x.masked_fill(document_ids < 0, 0)  # what stands in padding makes no difference
    assert torch.equal(model(other, document_ids=document_ids), model(x, document_ids=document_ids))


@every_cell
def test_a_document_goes_on_after_padding_within_it(cell):
    model, first, x = recurrent(cell), ids(rows=1, length=3), ids(rows=1, length=6)
    document_ids = torch.tensor([[-1, -1, 0, 0, -1, 0]])
    real = document_ids[0] >= 0
    state = model.new_cache(1)
    model(first, cache=state)
    positions = torch.tensor([0, 0, 3, 4, 0, 5])  # position 0 in padding begins no document
    logits = model(x, document_ids=document_ids, positions=positions, cache=state)
    same(logits[:, real], model(torch.cat([first, x[:, real]], dim=1))[:, 3:])


@every_cell
@pytest.mark.parametrize("strategy", ["in_order", "best_fit"])
def test_packed_documents_are_as_if_alone(cell, strategy):
    model = recurrent(cell)
    lines = [[2, *range(5, 5 + n), 3] for n in (3, 9, 0, 1, 5, 2, 6)]
    packed = pack(lines, row_length=12, strategy=strategy)
    (batch,) = packed.loader(100, isolate=True)
    apart, restart = {"document_ids": batch.document_ids}, {"positions": batch.positions}
    for facts in (apart, restart, apart | restart):
        logits = model(batch.ids, **facts)
        for n, line in enumerate(lines):
            same(logits[packed.document_ids == n], model(torch.tensor([line]))[0])
    nats, count, *_ = next_token_loss(model, batch)
    alone, weights = nats_alone(model, lines), list(model.parameters())
    assert count == sum(map(len, lines)) - len(lines)
    same(nats, alone)
    same(torch.autograd.grad(nats, weights), torch.autograd.grad(alone, weights))


@every_cell
def test_documents_may_go_on_from_call_to_call(cell):
    model, x = recurrent(cell), ids(rows=2, length=13)
    document_ids = torch.tensor([[0] * 6 + [1] * 7, [0] * 3 + [1] * 1 + [2] * 5 + [-1] * 4])
    positions = torch.tensor([[*range(6), *range(7)], [*range(3), 0, *range(5), *range(1, 5)]])
    whole_state = model.new_cache(2)
    whole = model(x, document_ids=document_ids, cache=whole_state)
    for with_ids in (True, False):
        state, parts = model.new_cache(2), []
        for start, end in ((0, 4), (4, 5), (5, 8), (8, 13)):
            seen = {"document_ids": document_ids[:, start:end]} if with_ids else {}
            parts.append(model(x[:, start:end], positions=positions[:, start:end], cache=state, **seen))
        same(torch.cat(parts, dim=1)[document_ids >= 0], whole[document_ids >= 0])
    same([t[:, 0] for t in state.tensors], [t[:, 0] for t in whole_state.tensors])


@every_cell
def test_lines_are_scored_as_one_by_one(cell):
    lines = ["abba", "", "abcabcabcabcabc", "b", "cab"]
    tokenizer = CharTokenizer.train(lines)
    model = recurrent(cell, vocab_size=tokenizer.vocab_size)
    exact = pytest.approx(nats_alone(model, tokenizer.encode_lines(lines)).item(), rel=1e-9)
    assert score_lines(model, tokenizer, lines, batch_size=2).nats == exact


@every_cell
def test_a_text_is_written_from_one_state_without_end(cell):
    model, fed = recurrent(cell), []
    model.register_forward_hook(lambda _, args, __: fed.append(args[0].shape[1]))
    assert len(list(generate(model, [2, 7, 8], max_new_tokens=40))) == 40
    assert fed == [3] + [1] * 39, "each token is read once, past the context too"


@every_cell
def test_it_starts_from_a_uniform_guess_and_orthogonal_steps(cell):
    model = RecurrentLM(configured(cell))
    assert not model(ids()).any()
    for name, parameter in model.blocks.named_parameters():
        gates = parameter.detach().split(12)
        if "weight_hh" in name:
            for gate in gates:
                same(gate @ gate.T, torch.eye(12), atol=1e-5)
        elif "bias" in name:
            opened = cell.startswith("lstm") and "bias_ih" in name  # the second gate, that forgets
            for n, gate in enumerate(gates):
                assert gate.eq(opened and n == 1).all()


def test_tied_weights_are_one_tensor():
    model, plain = RecurrentLM(replace(CONFIG, tied=True)), RecurrentLM(CONFIG)
    assert model.output.weight is model.embedding.token.weight
    assert model.num_parameters == plain.num_parameters - 30 * 12
    gates, layers = 4, 2
    assert plain.num_parameters == 2 * 30 * 12 + layers * gates * (2 * 12 * 12 + 2 * 12)


@pytest.mark.parametrize("cell, matrices", [("lstm", 2), ("lstm" + BLOCKS, 2 + 2)])
def test_the_matrices_of_the_layers_are_for_muon_and_nothing_else_is(cell, matrices):
    model = RecurrentLM(configured(cell))
    _, muon = make_optimizers(model, matrix_lr=0.03, other_lr=1e-3)
    found = {id(p) for group in muon.param_groups for p in group["params"]}
    assert found == {id(p) for p in model.blocks.parameters() if p.dim() == 2}
    assert len(found) == CONFIG.num_layers * matrices


@pytest.mark.parametrize("num_layers, drops", [(1, 2), (2, 3)])
def test_dropout_is_on_what_goes_up_and_stops_in_evaluation(num_layers, drops, recwarn):
    model = recurrent(dropout=0.5, num_layers=num_layers)
    assert not recwarn.list
    places = sum(isinstance(module, nn.Dropout) for module in model.modules())
    assert places + (model.blocks.dropout > 0) == drops
    x = ids()
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda m: m(ids(2, 3), positions=torch.arange(4)), "positions"),
        (lambda m: m(ids(2, 3), positions=torch.ones(3)), "positions"),
        (lambda m: m(ids(2, 3), mask=masks.causal(3)), "document_ids"),
        (lambda m: m(ids(2, 3), cache=m.new_cache(3)), "new_cache"),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(ValueError, match=named):
        call(recurrent())
