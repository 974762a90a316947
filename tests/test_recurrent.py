"""Recurrent language models: the published equations, and what may and may not touch the state."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lab.data import LineWindows, Transcripts, masks
from lab.data.packing import pack
from lab.decode.search import Sampling, generate
from lab.nn.recurrent import RecurrentConfig, RecurrentLM, RecurrentState
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.score import score_lines
from lab.text import CharTokenizer
from lab.train import next_token_loss
from lab.train.optim import Muon, make_optimizers

CONFIG = RecurrentConfig(vocab_size=30, context=16, width=12, num_layers=2)
CELLS = ("elman", "gru", "lstm")
BLOCKS = " in blocks"  # after the name of a cell: with feed-forward layers, residual
every_cell = pytest.mark.parametrize("cell", [*CELLS, "gru" + BLOCKS, "lstm" + BLOCKS])
every_depth = pytest.mark.parametrize("num_layers", [1, 3])


def configured(cell: str, **changes) -> RecurrentConfig:
    feed_forward = 20 if cell.endswith(BLOCKS) else 0
    return replace(CONFIG, cell=cell.removesuffix(BLOCKS), feed_forward=feed_forward, **changes)


def recurrent(cell="lstm", **changes) -> RecurrentLM:
    """Random weights everywhere: with the zero initialisation most tests here could not fail."""
    model = RecurrentLM(configured(cell, **changes)).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def ids(rows: int = 2, length: int = 14) -> torch.Tensor:
    return torch.randint(5, 30, (rows, length))


def same(actual, expected, atol=1e-10):
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


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
    model, x, embedded = recurrent(cell, num_layers=num_layers), ids(rows=1, length=8), []
    model.embedding.token.register_forward_hook(lambda *args: embedded.append(args[2].requires_grad_()))
    for more in ({}, {"document_ids": torch.zeros_like(x)}):
        logits = model(x, **more)
        for t in range(8):
            (gradient,) = torch.autograd.grad(logits[0, t].square().sum(), embedded[-1], retain_graph=True)
            assert torch.equal(gradient[0].abs().sum(-1) > 0, torch.arange(8) <= t)


@every_cell
@every_depth
def test_reading_in_parts_gives_the_same_logits(cell, num_layers):
    model, x = recurrent(cell, num_layers=num_layers), ids(rows=3, length=20)  # longer than the context
    for dtype, atol in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        whole = model.to(dtype)(x)
        for sizes in ([1] * 20, [20], [7, 1, 1, 11], [1, 19]):
            state = model.new_cache(batch=3)
            parts = [model(part, cache=state) for part in x.split(sizes, dim=1)]
            same(torch.cat(parts, dim=1), whole, atol)
            assert state.length == 20


def states_equal(one: RecurrentState, other: RecurrentState, row=slice(None)) -> bool:
    return all(
        torch.allclose(a[:, row], b[:, row], rtol=0, atol=1e-10)
        for a, b in zip(one.tensors, other.tensors, strict=True)
    )


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
        assert states_equal(state.select(torch.tensor([row])), alone)
    padded = x.masked_fill(document_ids < 0, 0)
    again = model(padded, document_ids=document_ids)
    assert torch.equal(again, model(x, document_ids=document_ids)), (
        "what stands in padding makes no difference"
    )


@every_cell
def test_padding_on_the_left_is_as_if_it_were_not_there(cell):
    model, lines = recurrent(cell), [[2, 7, 8, 9, 3], [2, 11, 3]]
    windows = LineWindows(lines, context=6, policy="slide")
    (batch,) = windows.loader(100, isolate=True)
    logits = model(batch.ids, document_ids=batch.document_ids)
    for row, (x, y) in enumerate(zip(batch.ids, batch.targets, strict=True)):
        real = y != -100
        same(logits[[row]][:, real], model(x[real][None]))
    (by_position,) = windows.loader(100, positions="line")
    begun = (batch.ids == 2).any(1)  # in a window that holds its line's beginning, positions say enough
    real = (batch.targets != -100) & begun[:, None]
    same(model(by_position.ids, positions=by_position.positions)[real], logits[real])


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
    alone = [cross_entropy(model(x)[0], y[0], reduction="sum") for x, y in map(shifted, lines)]
    assert count == sum(map(len, lines)) - len(lines)
    same(nats, sum(alone))


def shifted(line: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([line[:-1]]), torch.tensor([line[1:]])


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
    assert states_equal(state, whole_state, row=[0])


@every_cell
def test_gradients_are_those_of_documents_alone(cell):
    model = recurrent(cell)
    lines = [[2, 7, 8, 9, 3], [2, 11, 3], [2, 5, 6, 5, 3]]
    (batch,) = pack(lines, row_length=9).loader(100, isolate=True)
    next_token_loss(model, batch)[0].backward()
    packed = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    sum(cross_entropy(model(x)[0], y[0], reduction="sum") for x, y in map(shifted, lines)).backward()
    for one, other in zip(packed, model.parameters(), strict=True):
        same(one, other.grad)


@every_cell
def test_the_state_goes_on_through_a_continuous_stream(cell):
    model = recurrent(cell)
    windows = LineWindows([[2, *range(5, 25), 3]] * 3, context=5, policy="continuous", stride=5)
    rows, steps = 2, len(windows) // 2
    whole = torch.cat([windows.batch([i]).ids for i in range(rows * steps)], dim=1).view(rows, -1)
    state, parts = model.new_cache(rows), []
    for step in range(steps):
        batch = windows.batch([step, steps + step])
        parts.append(model(batch.ids, cache=state))
        parts[-1].sum().backward()
        state = state.detach()
        assert not any(t.requires_grad for t in state.tensors)
    same(torch.cat(parts, dim=1).detach(), model(whole).detach())
    assert state.length == 5 * steps


def test_a_graph_that_is_kept_by_mistake_is_loud():
    model, state = recurrent(), None
    state = model.new_cache(2)
    model(ids(), cache=state).sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        model(ids(), cache=state).sum().backward()


@every_cell
def test_rows_of_a_state_may_be_chosen(cell):
    model, x, more = recurrent(cell), ids(rows=3, length=4), ids(rows=4, length=2)
    state = model.new_cache(3)
    model(x, cache=state)
    rows = torch.tensor([2, 0, 0, 1])
    chosen = state.select(rows)
    same(model(more, cache=chosen), model(torch.cat([x[rows], more], dim=1))[:, 4:])
    assert chosen.length == 6 and state.length == 4


@every_cell
def test_lines_are_scored_as_one_by_one(cell):
    lines = ["abba", "", "abcabcabcabcabc", "b", "cab"]
    tokenizer = CharTokenizer.train(lines)
    model = recurrent(cell, vocab_size=tokenizer.vocab_size)
    exact = 0.0
    for line in tokenizer.encode_lines(lines):
        x, y = shifted(line)
        exact += cross_entropy(step_by_step(model, x[0]), y[0], reduction="sum").item()
    assert score_lines(model, tokenizer, lines, batch_size=2).nats == pytest.approx(exact, rel=1e-9)
    (batch,) = Transcripts(lines, tokenizer).loader(9)
    assert next_token_loss(model, batch)[0].item() == pytest.approx(exact, rel=1e-9)


@every_cell
def test_a_text_is_written_from_one_state_without_end(cell):
    model, fed = recurrent(cell), []
    model.register_forward_hook(lambda _, args, __: fed.append(args[0].shape[1]))
    drawn = list(generate(model, [2, 7, 8], max_new_tokens=40, strategy=Sampling(temperature=0.0)))
    assert fed == [3] + [1] * 39, "each token is read once, past the context too"
    text = [2, 7, 8] + [step.token for step in drawn]
    probabilities = model(torch.tensor([text]))[0].softmax(-1)
    for place, step in enumerate(drawn, start=2):
        assert step.probability == pytest.approx(probabilities[place].max().item(), abs=1e-10)


def test_a_transformer_still_starts_again_when_its_cache_is_full():
    sizes = {"vocab_size": 30, "context": 8, "width": 8, "num_heads": 2, "feed_forward": 8}
    model, fed = DecoderOnlyTransformer(TransformerConfig(**sizes)), []
    model.register_forward_hook(lambda _, args, __: fed.append(args[0].shape[1]))
    list(generate(model, [2], max_new_tokens=14))
    assert fed == [1] * 8 + [4] + [1] * 4 + [4]


@every_cell
def test_it_starts_from_a_uniform_guess_and_orthogonal_steps(cell):
    model, x = RecurrentLM(configured(cell)), ids()
    loss = cross_entropy(model(x).flatten(0, 1), x.flatten())
    assert loss.item() == pytest.approx(math.log(30), rel=1e-6)
    for name, parameter in model.blocks.named_parameters():
        gates = parameter.detach().split(12)
        if "weight_hh" in name:
            for gate in gates:
                same(gate @ gate.T, torch.eye(12), atol=1e-5)
        elif "bias" in name:
            kept = cell.startswith("lstm") and "bias_ih" in name
            assert [gate.unique().tolist() for gate in gates] == [
                [float(kept and n == 1)] for n in range(len(gates))
            ]


def test_tied_weights_are_one_tensor():
    model, plain = RecurrentLM(replace(CONFIG, tied=True)), RecurrentLM(CONFIG)
    assert model.output.weight is model.embedding.token.weight
    assert model.num_parameters == plain.num_parameters - 30 * 12
    gates, layers = 4, 2
    assert plain.num_parameters == 2 * 30 * 12 + layers * gates * (2 * 12 * 12 + 2 * 12)
    x = ids(rows=8)
    assert cross_entropy(model(x).flatten(0, 1), x.flatten()).item() < math.log(30) + 0.1


def test_the_matrices_of_feed_forward_layers_are_for_muon_too():
    model = RecurrentLM(configured("lstm" + BLOCKS))
    _, muon = make_optimizers(model, matrix_lr=0.03, other_lr=1e-3)
    cell, feed_forward, layers = 2, 2, 2
    assert sum(len(group["params"]) for group in muon.param_groups) == layers * (cell + feed_forward)


def test_the_matrices_of_the_cells_are_for_muon_and_nothing_else_is():
    model = RecurrentLM(CONFIG)
    _, muon = make_optimizers(model, matrix_lr=0.03, other_lr=1e-3)
    assert isinstance(muon, Muon)
    given = {id(p) for group in muon.param_groups for p in group["params"]}
    assert given == {id(p) for name, p in model.named_parameters() if name.startswith("blocks.weight")}
    assert len(given) == 4


@pytest.mark.parametrize("num_layers, drops", [(1, 2), (2, 3)])
def test_dropout_is_on_what_goes_up_and_stops_in_evaluation(num_layers, drops, recwarn):
    model = recurrent(dropout=0.5, num_layers=num_layers)
    assert not recwarn.list
    places = [m for m in model.modules() if isinstance(m, nn.Dropout)]
    assert len(places) + (model.blocks.dropout > 0) == drops
    x = ids()
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


@every_cell
def test_a_little_training_helps(cell):
    model, x = RecurrentLM(configured(cell)), torch.arange(5, 21).repeat(4, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(80):
        loss = cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < math.log(30) / 4


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda m: m(torch.ones(2, 3)), "ids"),
        (lambda m: m(torch.ones(3, dtype=torch.long)), "ids"),
        (lambda m: m(ids(2, 3), positions=torch.arange(4)), "positions"),
        (lambda m: m(ids(2, 3), positions=torch.ones(3)), "positions"),
        (lambda m: m(ids(2, 3), mask=masks.causal(3)), "document_ids"),
        (lambda m: m(ids(2, 3), cache=m.new_cache(3)), "new_cache"),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(ValueError, match=named):
        call(recurrent())
