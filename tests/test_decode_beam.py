import math
from itertools import product

import pytest
import torch
from lm_toys import randomised, transformer

from lab.decode import BeamSearch, Sampling, beam_search, generate, generate_batch, n_best
from lab.decode.filters import repetition_penalty
from lab.nn import RecurrentConfig, RecurrentLM

STOP = 3
WITH_MEMORY = {
    "cache": transformer(8),
    "state": randomised(RecurrentLM(RecurrentConfig(vocab_size=8, width=12))),
}


def table(V: int, seed: int):
    """A model in which the last two tokens say what comes next, and nothing is certain."""
    logits = torch.randn(V, V, V, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return lambda ids: logits[ids[:, -2], ids[:, -1]]


def log_probability(score_fn, prompt: list[int], text: tuple[int, ...]) -> float:
    total = 0.0
    for n, token in enumerate(text):
        total += score_fn(torch.tensor([[*prompt, *text[:n]]])).log_softmax(-1)[0, token].item()
    return total


def all_texts(V: int, longest: int, stop: int | None) -> list[tuple[int, ...]]:
    """Every text that ends with the stop token, or is as long as may be without."""
    found = []
    for n in range(1, longest + 1):
        for text in product(range(V), repeat=n):
            if stop not in text[:-1] and (text[-1] == stop or n == longest):
                found.append(text)
    return found


@pytest.mark.parametrize("early_stopping", [False, "never"])
@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0, 2.0, -0.5])
@pytest.mark.parametrize("stop", [None, 1])
def test_a_beam_for_every_text_finds_what_trying_all_finds(stop, length_penalty, early_stopping):
    V, longest, prompt = 3, 4, [0, 2]
    score_fn = table(V, seed=5)
    texts = all_texts(V, longest, stop)
    scores = {text: log_probability(score_fn, prompt, text) / len(text) ** length_penalty for text in texts}
    ranking = sorted(texts, key=lambda text: -scores[text])
    search = BeamSearch(V**longest, length_penalty, early_stopping, num_best=len(texts))
    (found,) = n_best(score_fn, [prompt], search, max_new_tokens=longest, stop_id=stop)
    assert [hypothesis.tokens for hypothesis in found] == ranking
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(scores[hypothesis.tokens], abs=1e-12)
        assert hypothesis.finished == (hypothesis.tokens[-1] == stop)
        total = hypothesis.score * len(hypothesis.tokens) ** length_penalty
        assert hypothesis.log_probability == pytest.approx(total)


def test_penalty_temperature_and_filters_change_what_is_summed():
    V, longest, prompt, model = 3, 4, [0, 2], table(3, seed=5)
    lean = torch.tensor(
        [0.3, -0.2, 0.9], dtype=torch.float64
    )  # another model, which says the same after all texts

    def reshaped(ids):
        penalised = repetition_penalty(model(ids), ids, 1.3) / 0.7
        return penalised.log_softmax(-1) + 0.5 * lean

    def total(text):
        beginnings = [torch.tensor([[*prompt, *text[:n]]]) for n in range(len(text))]
        return sum(reshaped(ids)[0, token].item() for ids, token in zip(beginnings, text, strict=True))

    texts = all_texts(V, longest, 1)
    filters = (lambda log_probs, ids: log_probs + 0.5 * lean,)
    settings = dict(temperature=0.7, repetition_penalty=1.3, filters=filters, num_best=len(texts))
    (found,) = n_best(
        model, [prompt], BeamSearch(V**longest, 0.0, **settings), max_new_tokens=longest, stop_id=1
    )
    assert [one.score for one in found] == pytest.approx(sorted(map(total, texts), reverse=True), abs=1e-12)
    assert found[0].tokens == max(texts, key=total)


def test_a_drawn_token_tells_its_chance_among_those_that_were_left(model=WITH_MEMORY["cache"]):
    options = dict(max_new_tokens=8, generator=torch.Generator().manual_seed(3))
    for step in generate(model, [2, 5], Sampling(top_k=3), **options):
        assert step.score == pytest.approx(step.log_probability - math.log(step.kept), abs=1e-5)
    for plain in (Sampling(), Sampling(temperature=0), BeamSearch()):
        assert {step.score for step in generate(model, [2, 5], plain, **options)} == {None}


@pytest.mark.parametrize("model", [*WITH_MEMORY.values(), table(8, 1)], ids=[*WITH_MEMORY, "function"])
def test_one_beam_is_greedy(model):
    prompts = [[2, n] for n in range(8)]
    greedy, beams = (
        [[drawn and drawn.token for drawn in row] for row in generate_batch(
            model, prompts, strategy, max_new_tokens=30, stop_id=STOP
        )] for strategy in (Sampling(temperature=0), BeamSearch(width=1))
    )  # fmt: skip
    assert greedy == beams


@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("model", WITH_MEMORY.values(), ids=WITH_MEMORY)
def test_the_cache_follows_its_beam(model, early_stopping):
    search = BeamSearch(4, 0.6, early_stopping, num_best=4)
    prompts = [[2], [5, 1], [6], [1, 1, 1]]
    asked = dict(max_new_tokens=40, stop_id=STOP)  # beyond the transformer's context of 16
    cached, read_anew = (n_best(model, prompts, search, cached=cached, **asked) for cached in (True, False))
    assert any(not h.finished for row in cached for h in row) or early_stopping is not False
    for one, other in zip(cached, read_anew, strict=True):
        assert [h.tokens for h in one] == [h.tokens for h in other]
        assert [h.score for h in one] == pytest.approx([h.score for h in other], abs=1e-9)


def test_every_step_tells_what_became_of_its_candidates():
    model, W = transformer(8, seed=2), 3
    alive, steps = {None}, []
    asked = {"max_new_tokens": 12, "stop_id": STOP, "num_alternatives": 2}
    for (step,) in beam_search(model, [[2, 5]], BeamSearch(W), **asked):
        assert len(step.candidates) == 2 * W
        assert [c.total for c in step.candidates] == sorted((c.total for c in step.candidates), reverse=True)
        for candidate in step.candidates:
            assert candidate.parent in alive, "only beams of the step before are continued"
            before = candidate.parent.total if candidate.parent else 0.0
            assert candidate.total == pytest.approx(before + candidate.log_probability)
            assert candidate.alternatives[0][1] >= math.exp(candidate.log_probability) - 1e-12
            assert (candidate.fate == "finished") <= (candidate.token == STOP)
        alive = {c for c in step.candidates if c.fate == "alive"}
        assert len(alive) == W
        steps.append(step)
    assert [step.over for step in steps] == [False] * (len(steps) - 1) + [True]
    assert any(c.fate == "finished" for step in steps for c in step.candidates)
    (best,) = steps[-1].hypotheses
    assert best.tokens == max(steps[-1].ended)[1].tokens


def test_generating_with_beams_yields_the_best_text():
    model, search = transformer(8, seed=2), BeamSearch(4, num_best=2)
    ((best, _),) = n_best(model, [[2]], search, max_new_tokens=15, stop_id=STOP)
    steps = list(generate(model, [2], search, max_new_tokens=15, stop_id=STOP))
    assert tuple(step.token for step in steps) == best.tokens
    assert tuple(step.log_probability for step in steps) == best.log_probabilities
    assert all(len(step.alternatives) == 5 and step.kept == 1 for step in steps)


def test_a_vocabulary_smaller_than_the_beam_and_tokens_that_cannot_come():
    only_two = torch.tensor([[-torch.inf, 0.5, -torch.inf, 0.0]], dtype=torch.float64)
    search, two = BeamSearch(8, num_best=8), lambda ids: only_two.expand(len(ids), 4)
    (found,) = n_best(two, [[0]], search, max_new_tokens=2)
    assert len(found) == 4 and all(0 not in h.tokens and 2 not in h.tokens for h in found)
    sure = torch.tensor([[-torch.inf, 0.0]])
    (found,) = n_best(lambda ids: sure.expand(len(ids), 2), [[0]], BeamSearch(2), max_new_tokens=5, stop_id=1)
    assert found[0].tokens == (1,) and found[0].score == 0


@pytest.mark.parametrize(
    "call, about",
    [
        (lambda: BeamSearch(width=0), "width"),
        (lambda: BeamSearch(num_best=5), "num_best"),
        *[(lambda p=p: BeamSearch(length_penalty=p), "length_penalty") for p in (math.inf, 400, -400, 1e300)],
        (
            lambda: next(beam_search(table(8, 1), [[2, 2]], BeamSearch(10**9), max_new_tokens=2)),
            "1,000,000,000 beams",
        ),
        (lambda: BeamSearch(early_stopping=1), "early_stopping"),
        (lambda: next(beam_search(table(8, 1), [[2]], Sampling(), max_new_tokens=1)), "BeamSearch"),
    ],
)
def test_refusals(call, about):
    with pytest.raises(ValueError, match=about):
        call()
