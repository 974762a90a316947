"""CTC against the enumeration of all alignments and torch's own; both searches against all transcripts there are."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as nnf
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.data import IGNORE, pad
from lab.score import KneserNey
from lab.speech import ctc
from lab.speech.ctc_beam import NGramScorer, prefix_beam
from lab.text import BPETokenizer, CharTokenizer

quick = settings(max_examples=40, deadline=None, derandomize=True)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_log_probs(T: int, V: int, seed: int = 0, spread: float = 1.5) -> torch.Tensor:
    return (torch.randn(T, V, generator=seeded(seed), dtype=torch.float64) * spread).log_softmax(-1)


def path_nats(log_probs: torch.Tensor, paths) -> float:
    """-log of the summed probability of paths, one at a time."""
    total = sum(math.exp(sum(log_probs[t, token].item() for t, token in enumerate(path))) for path in paths)
    return -math.log(total) if total else math.inf


@given(T=st.integers(1, 5), target=st.lists(st.integers(1, 3), max_size=4), seed=st.integers(0, 1000))
@quick
def test_the_recursion_is_the_sum_over_all_alignments(T, target, seed):
    log_probs = random_log_probs(T, 4, seed)
    paths = list(ctc.alignments(target, T))
    assert ctc.ctc_nats(log_probs, target).item() == pytest.approx(path_nats(log_probs, paths), rel=1e-12)
    assert bool(paths) == (ctc.frames_needed(target) <= T), "feasible is what has a path"
    assert len(set(paths)) == len(paths) and all(ctc.collapse(path) == target for path in paths)


def test_the_blank_may_be_any_token():
    log_probs = random_log_probs(5, 4)
    turned = log_probs[:, [1, 2, 3, 0]]  # what was token 0 is now 3
    found, expected = ctc.ctc_nats(turned, [0, 0, 1], blank=3), ctc.ctc_nats(log_probs, [1, 1, 2])
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    assert ctc.greedy(turned, blank=3) == [(token - 1) % 4 for token in ctc.greedy(log_probs)]


def test_values_and_gradients_are_those_of_torch():
    B, T, V = 4, 30, 9
    logits = torch.randn(B, T, V, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    lengths, targets = torch.tensor([30, 17, 9, 5]), [[3, 3, 4, 8, 1], [5], [1, 2, 1, 1, 2, 3], [2, 2, 2]]
    rows = zip(logits.log_softmax(-1), lengths, targets, strict=True)
    ours = torch.stack([ctc.ctc_nats(row[:n], y) for row, n, y in rows])
    fast = ctc.ctc_loss(logits.log_softmax(-1), lengths, pad(targets, IGNORE))
    flat, counts = torch.cat([torch.tensor(y) for y in targets]), torch.tensor([len(y) for y in targets])
    log_probs = logits.log_softmax(-1).transpose(0, 1)
    theirs = nnf.ctc_loss(log_probs, flat, lengths, counts, reduction="none")
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    expected = torch.autograd.grad(theirs @ weights, logits, retain_graph=True)[0]
    for nats in (ours, fast):
        torch.testing.assert_close(nats, theirs, rtol=1e-12, atol=0)
        gradient = torch.autograd.grad(nats @ weights, logits, retain_graph=True)[0]
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype):
    half = random_log_probs(60, 5).to(dtype).requires_grad_()
    full = half.detach().float().requires_grad_()
    lengths, targets = (
        torch.tensor([60], dtype=torch.int32),
        torch.tensor([[1, 1, 4, -100]], dtype=torch.int16),
    )
    rows = [ctc.ctc_loss(x[None], lengths, targets) for x in (half, full)]
    rows += [ctc.ctc_nats(x, targets[0, :3])[None] for x in (half, full)]
    for nats in rows:
        torch.testing.assert_close(nats, rows[1])
    for ours, expected in (rows[:2], rows[2:]):
        (gradient,), (right,) = torch.autograd.grad(ours, half), torch.autograd.grad(expected, full)
        assert ours.dtype == torch.float32 and gradient.dtype == dtype
        torch.testing.assert_close(gradient.float(), right, rtol=0.01, atol=1e-3)
    assert ctc.occupancy(half.detach(), [1, 1, 4]).sum(1).allclose(torch.ones(60))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        *(({"targets": [[1, 2], [3, wrong]]}, f"targets.* got {wrong} in row 1") for wrong in (0, 4, 100_000, -1)),
        ({"targets": [[1, 2], [-100, 3]]}, "got 3 in row 1"),
        ({"targets": [[1, 2]]}, r"targets.*\(1, 2\)"),
        ({"targets": [1, 2]}, "targets"),
        ({"targets": [[1.0, 2.0], [3.0, 1.0]]}, "targets.*float32"),
        *(({"lengths": [5, wrong]}, f"lengths.* 1 .. 6; got {wrong} in row 1") for wrong in (7, 0, -3)),
        ({"lengths": [5]}, r"lengths.*\(1,\)"),
        ({"lengths": [5.0, 5.0]}, "lengths.*float32"),
        ({"log_probs": torch.zeros(2, 6)}, r"\(B, T, V\)"),
        ({"log_probs": torch.zeros(2, 6, 4, dtype=torch.int64)}, "int64"),
        ({"log_probs": torch.zeros(2, 0, 4)}, "T"),
        ({"blank": 4}, "blank"),
    ],
)  # fmt: skip
def test_a_batch_that_cannot_be_is_refused_before_torch_reads_beyond_it(changed, named):
    right = {"log_probs": torch.zeros(2, 6, 4), "lengths": [5, 6], "targets": [[1, 2], [3, -100]]}
    with pytest.raises(ValueError, match=named):
        ctc.ctc_loss(
            **{name: torch.as_tensor(x) if name != "blank" else x for name, x in (right | changed).items()}
        )


def test_no_rows_and_no_tokens_are_a_batch():
    log_probs = torch.zeros(0, 6, 4, requires_grad=True)
    nats = ctc.ctc_loss(log_probs, torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2, dtype=torch.int64))
    nats.sum().backward()
    assert nats.shape == (0,) and log_probs.grad.shape == (0, 6, 4)
    silent = random_log_probs(6, 4)
    nats = ctc.ctc_loss(silent[None], torch.tensor([6]), torch.zeros(1, 0, dtype=torch.int64))
    assert nats.item() == pytest.approx(-silent[:, 0].sum().item())


def test_occupancy_is_minus_the_gradient():
    log_probs, target = random_log_probs(7, 4).requires_grad_(), [2, 2, 1]
    (gradient,) = torch.autograd.grad(ctc.ctc_nats(log_probs, target), log_probs)
    share = ctc.occupancy(log_probs.detach(), target)
    by_token = torch.zeros(7, 4, dtype=torch.float64)
    by_token.index_add_(1, torch.tensor([0, 2, 0, 2, 0, 1, 0]), share)
    torch.testing.assert_close(gradient, -by_token, rtol=1e-10, atol=1e-12)


def test_what_cannot_be_aligned_has_no_probability_and_is_named():
    assert ctc.ctc_nats(random_log_probs(3, 4), [1, 1, 2]).item() == math.inf
    assert ctc.ctc_nats(torch.tensor([[0.5, 0.5, 0.0]] * 2).log(), [2]).item() == math.inf
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).log().requires_grad_()
    ctc.ctc_nats(certain, [1]).backward()
    assert certain.grad.isfinite().all()
    rows, lengths = pad([[1, 2], [1, 1], [3] * 5, []], IGNORE), torch.tensor([2, 2, 8, 1])
    assert ctc.infeasible(lengths, rows) == [ctc.Infeasible(1, 2, 3), ctc.Infeasible(2, 8, 9)]
    with pytest.raises(ValueError, match=r"2 of 4 rows .* row 1: 2 frames, .* needs 3"):
        ctc.ctc_loss(torch.randn(4, 8, 4).log_softmax(-1), lengths, rows)


@given(st.integers(1, 6), st.integers(0, 1000))
@quick
def test_greedy_is_the_likeliest_of_all_paths(T, seed):
    log_probs = random_log_probs(T, 3, seed)
    best = max(product(range(3), repeat=T), key=lambda path: log_probs[range(T), path].sum())
    assert ctc.greedy(log_probs) == ctc.collapse(best)


class Bigrams:
    """A language model of tokens 1 and 2, and 3 for the end: made-up numbers, by the last token."""

    eos_id = 3

    def __init__(self, V=4, seed=5):
        self.table = random_log_probs(V, V, seed)

    def __call__(self, prefixes):
        return [self.table[prefix[-1] if prefix else 0].tolist() for prefix in prefixes]

    def log_prob(self, tokens):
        read = [0, *tokens]
        return sum(self.table[a, b].item() for a, b in zip(read, [*tokens, self.eos_id], strict=True))


@pytest.mark.parametrize("weight, bonus", [(0.0, 0.0), (1.3, 0.4)])
@given(T=st.integers(1, 5), seed=st.integers(0, 1000))
@quick
def test_a_beam_without_bounds_is_the_search_of_all_transcripts(weight, bonus, T, seed):
    log_probs, scorer = random_log_probs(T, 3, seed), Bigrams()
    found = prefix_beam(log_probs, beam=None, margin=None, scorer=scorer, weight=weight, bonus=bonus)
    texts = {tuple(ctc.collapse(path)) for path in product(range(3), repeat=T)}
    scores = {}
    for text in texts:
        heard = -ctc.ctc_nats(log_probs, text).item()
        scores[text] = heard + weight * scorer.log_prob(text) + bonus * len(text)
    assert {one.tokens for one in found} == texts
    for one in found:
        assert one.score == pytest.approx(scores[one.tokens], rel=1e-10)
        assert one.log_ctc == pytest.approx(-ctc.ctc_nats(log_probs, one.tokens).item(), rel=1e-10)
        assert one.log_lm == pytest.approx(scorer.log_prob(one.tokens) if weight else 0, rel=1e-10)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert found[0].tokens == max(scores, key=scores.get)


@given(
    T=st.integers(1, 5), seed=st.integers(0, 10_000), margin=st.sampled_from([0.1, 2.0, 10.0]),
    beam=st.sampled_from([1, 2, None]), spread=st.sampled_from([1.0, 8.0, 40.0]),
)  # fmt: skip
@settings(quick, max_examples=150)
def test_whatever_is_cut_each_find_has_a_path(T, seed, margin, beam, spread):
    log_probs = random_log_probs(T, 3, seed, spread)
    near = log_probs >= log_probs.amax(1, keepdim=True) - margin
    kept = [path for path in product(range(3), repeat=T) if near[range(T), path].all()]
    found = prefix_beam(log_probs, beam=beam, margin=margin)
    for one in found:
        paths = [path for path in kept if ctc.collapse(path) == list(one.tokens)]
        assert one.log_ctc <= -path_nats(log_probs, paths) + 1e-9 and math.isfinite(one.score)
    if beam is None:
        assert {one.tokens for one in found} == {tuple(ctc.collapse(path)) for path in kept}
        assert found[0].log_ctc == pytest.approx(max(one.log_ctc for one in found))


def test_beam_and_margin_cut_what_is_least_likely():
    log_probs = random_log_probs(40, 8, spread=4)
    wide, narrow = prefix_beam(log_probs, beam=200, margin=None), prefix_beam(log_probs, beam=12)
    assert (len(narrow), len(wide)) == (12, 200) and narrow[0].tokens == wide[0].tokens
    exact = -ctc.ctc_nats(log_probs, wide[0].tokens).item()
    assert narrow[0].log_ctc - 1e-9 <= wide[0].log_ctc <= exact + 1e-9
    assert prefix_beam(log_probs, beam=1, margin=1e-6)[0].tokens == tuple(ctc.greedy(log_probs))


def test_a_narrow_beam_keeps_what_the_language_prefers():
    class OneOnly:
        eos_id = 3

        def __call__(self, prefixes):
            return [[-9.0, -0.1, -6.0, -2.0] for _ in prefixes]

    log_probs = torch.tensor([[0.02, 0.46, 0.52], [0.9, 0.05, 0.05]]).log()
    assert prefix_beam(log_probs, beam=1)[0].tokens == (2,)
    assert prefix_beam(log_probs, beam=1, scorer=OneOnly(), weight=1.0, bonus=5.0)[0].tokens == (1,)


@pytest.mark.parametrize("train", [CharTokenizer.train, lambda lines: BPETokenizer.train(lines * 9, 275)])
@pytest.mark.parametrize("order", [1, 4])
def test_the_n_gram_says_what_it_says_of_whole_lines(order, train):
    lines = ["in the beginning", "the end of the day", "then the night", "an odd thing"]
    tokenizer = train([*lines, "xyz"])  # of which the model has seen nothing
    model = KneserNey(lines, order)
    scorer = NGramScorer(model, tokenizer)
    for text in ("the thing", "t", "", "thx zz end"):
        tokens = tokenizer.encode(text)
        nats = 0.0
        for n, token in enumerate([*tokens, tokenizer.eos_id]):
            (following,) = scorer([tuple(tokens[:n])])
            nats -= following[token]
        assert nats == pytest.approx(model.score([text]).nats, rel=1e-10)
    if train is CharTokenizer.train:
        assert math.fsum(map(math.exp, scorer([()])[0])) <= 1 + 1e-9
    assert scorer([()])[0][tokenizer.pad_id] == -math.inf, "the blank is no character"


def without_end() -> CharTokenizer:
    tokenizer = CharTokenizer.train(["ab"])
    tokenizer.eos_id = None
    return tokenizer


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: ctc.occupancy(random_log_probs(3, 4), [1, 1, 2]), "4 are needed"),
        (lambda: ctc.ctc_nats(torch.zeros(2, 3, 4), [1]), r"\(T, V\)"),
        *(
            (lambda wrong=wrong: ctc.ctc_nats(torch.zeros(2, 3), [1, wrong]), "target")
            for wrong in (0, 3, 1.5)
        ),
        (lambda: ctc.ctc_nats(torch.zeros(2, 3), [1], blank=3), "blank"),
        (lambda: prefix_beam(torch.zeros(2, 3), beam=0), "beam"),
        (lambda: prefix_beam(torch.zeros(2, 3), margin=0.0), "margin"),
        *(
            (lambda wrong=wrong: prefix_beam(torch.zeros(2, 3), weight=wrong), "weight")
            for wrong in (-1.0, math.inf)
        ),
        (lambda: prefix_beam(torch.zeros(2, 3), bonus=math.nan), "bonus"),
        *(
            (lambda wrong=wrong: prefix_beam(torch.tensor([[0.0, 0.0], [wrong] * 2])), "frame 1")
            for wrong in (math.nan, math.inf, -math.inf)
        ),
        (lambda: prefix_beam(torch.zeros(3)), r"\(T, V\)"),
        (lambda: NGramScorer(KneserNey(["a"], 2), without_end()), "end-of-text"),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()
