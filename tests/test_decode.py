import math

import numpy as np
import pytest
import torch
from lm_toys import randomised, transformer

from lab.decode import BeamSearch, Drawn, Sampling, generate, generate_batch
from lab.decode.strategies import draw
from lab.nn import DecoderOnlyTransformer, RecurrentConfig, RecurrentLM


def no_token_twice(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return logits.scatter(-1, ids[..., -2:], -torch.inf)


STRATEGIES = {
    "greedy": Sampling(temperature=0),
    "greedy, penalised": Sampling(temperature=0, repetition_penalty=1.4),
    "sampling": Sampling(temperature=0.9),
    "filtered": Sampling(temperature=1.2, top_k=8, top_p=0.9, min_p=0.05, repetition_penalty=1.2),
    "from outside": Sampling(temperature=1.2, filters=(no_token_twice,)),
    "beams": BeamSearch(width=3),
}


@pytest.fixture
def model() -> DecoderOnlyTransformer:
    return transformer(12)


def every_kind() -> dict:
    model = transformer(12)
    recurrent = randomised(RecurrentLM(RecurrentConfig(vocab_size=12, context=16, width=16)))
    return {"transformer": model, "recurrent": recurrent, "function": lambda ids: model(ids[:, -16:])[:, -1]}


every_model = pytest.mark.parametrize("kind", ["transformer", "recurrent", "function"])
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def misfit(counts: torch.Tensor, probabilities: torch.Tensor) -> float:
    """The chance of counts at least so far from what is expected (Pearson's chi-squared test)."""
    expected = probabilities * counts.sum()
    possible = probabilities > 0
    assert counts[~possible].sum() == 0, "what the filters removed was drawn"
    chi_squared = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    freedom = (possible.sum() - 1).double() / 2
    return torch.special.gammaincc(freedom, chi_squared / 2).item()


@pytest.mark.parametrize("sampling", [
    Sampling(), Sampling(temperature=0.9, top_k=6, top_p=0.95), Sampling(1.3, min_p=0.1, repetition_penalty=1.5)
])  # fmt: skip
def test_tokens_are_drawn_as_often_as_the_filtered_distribution_says(model, sampling):
    ids = torch.tensor([[2, 7]])
    with torch.no_grad():
        logits = model(ids)[:, -1]
    filtered = sampling.logits(logits[0], ids[0])
    tokens, *_ = sampling.choose(logits.expand(100_000, -1), ids.expand(100_000, -1), seeded(1))
    counts = torch.bincount(tokens, minlength=12).double()
    assert misfit(counts, filtered.softmax(-1)) > 1e-3
    assert misfit(counts, (filtered / 1.05).softmax(-1)) < 1e-3, "the test can see it"


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_the_ends_of_the_random_numbers_draw_nothing_impossible(uniform, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, **kind: torch.full(shape, uniform, dtype=kind["dtype"]))
    probabilities = torch.tensor([[0.0, 0.1, 0.7, 0.2, 0.0], [1.0, 0, 0, 0, 0], [0, 0, 0, 0, 1.0]])
    assert (probabilities.gather(1, draw(probabilities)[:, None]) > 0).all()


def test_the_text_may_outgrow_the_context_and_a_prompt_only_if_it_may_be_cut(model):
    assert len(list(generate(model, [2], max_new_tokens=50, generator=seeded()))) == 50
    long = [2] + [7, 8] * 15
    with pytest.raises(ValueError, match=r"31 tokens .* context of 16.*cut_prompt=True"):
        next(generate(model, long, max_new_tokens=50))
    cut = list(generate(model, long, max_new_tokens=50, generator=seeded(), cut_prompt=True))
    assert cut == list(generate(model, long[-16:], max_new_tokens=50, generator=seeded()))
    recurrent = every_kind()["recurrent"]
    greedy = Sampling(temperature=0)
    whole = next(generate(recurrent, long, greedy, max_new_tokens=1))
    log_p = recurrent(torch.tensor([long]))[0, -1].log_softmax(-1)
    assert whole.log_probability == pytest.approx(log_p.max().item())


def test_past_the_context_the_model_reads_the_last_half_of_it(model):
    steps = list(generate(model, [2], max_new_tokens=17, generator=seeded(3)))
    text = [2] + [step.token for step in steps]
    with torch.no_grad():
        expected = model(torch.tensor([text[16 - 7 : 17]]))[0, -1].double().softmax(-1)
    assert steps[16].probability == pytest.approx(expected[steps[16].token].item(), abs=1e-6)


def test_a_loop_left_early_leaves_gradients_and_training_mode_alone(model):
    model.train()
    for _ in generate(model, [2], max_new_tokens=5):
        break
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    steps = generate(model, [2], max_new_tokens=5)
    next(steps)
    steps.close()
    assert model.training


@every_model
@every_strategy
def test_a_row_of_a_batch_gives_what_it_gives_alone(kind, strategy):
    model, stop_id = every_kind()[kind], 3 if kind == "recurrent" else 0  # tokens that some texts reach soon
    prompts = [[2, 7], [2], [5, 5, 9, 1], [2, 8], [4, 6, 7, 1, 0, 11], [9]]
    rows = zip(*generate_batch(
        model, prompts, strategy, max_new_tokens=24, stop_id=stop_id, num_alternatives=2,
        generator=[seeded(n) for n in range(6)],
    ), strict=True)  # fmt: skip
    lengths = set()
    for n, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
        alone = list(generate(
            model, prompt, strategy, max_new_tokens=24, stop_id=stop_id, num_alternatives=2, generator=seeded(n)
        ))  # fmt: skip
        together = [drawn for drawn in row if drawn is not None]
        assert [d.token for d in together] == [d.token for d in alone]
        assert all(drawn is None for drawn in row[len(together) :]), "what has ended changes no more"
        lengths.add(len(alone))
        for a, b in zip(together, alone, strict=True):
            assert a.log_probability == pytest.approx(b.log_probability, abs=1e-9)
            assert a.kept == pytest.approx(b.kept, abs=1e-9)
            assert dict(a.alternatives) == pytest.approx(dict(b.alternatives), abs=1e-9)
    assert len(lengths) > 1, "the rows must end at different times"


@every_strategy
@pytest.mark.parametrize("kind", ["transformer", "recurrent"])
def test_the_same_seed_gives_the_same_text_with_a_cache_or_without(kind, strategy):
    asked = dict(model=every_kind()[kind], ids=[2], strategy=strategy, max_new_tokens=40)
    texts = (generate(**asked, generator=seeded(4), cached=cached) for cached in (True, False))
    one, other = ([drawn.token for drawn in text] for text in texts)
    assert one == other and len(one) == 40  # beyond the transformer's context of 16


BY_PLACE = torch.randn(5, 9, generator=seeded(1)).double()  # whose row says what it writes; 0 ends it


def by_place(ids):
    return BY_PLACE[: len(ids)].roll(ids.shape[1], dims=1)


def by_name(ids, rows):
    return BY_PLACE[rows].roll(ids.shape[1], dims=1)


@pytest.mark.parametrize("strategy", [Sampling(), Sampling(temperature=0), BeamSearch(3)], ids=repr)
@pytest.mark.parametrize("prompts", [[[2]] * 5, [[2], [3, 4], [5], [6, 7], [1]]], ids=["even", "uneven"])
@pytest.mark.parametrize("model", [by_place, by_name])
def test_a_function_knows_whose_text_a_row_is(model, prompts, strategy):
    """By its place, to the end, where prompts are equally long; by its name always."""
    if model is by_place and (len(prompts[1]) > 1 or isinstance(strategy, BeamSearch)):
        return
    asked = dict(strategy=strategy, max_new_tokens=12, stop_id=0)
    steps = generate_batch(model, prompts, generator=[seeded(n) for n in range(5)], **asked)
    texts = [[drawn.token for drawn in row if drawn] for row in zip(*steps, strict=True)]
    for n, prompt in enumerate(prompts):
        alone = generate(lambda ids, n=n: by_name(ids, [n] * len(ids)), prompt, generator=seeded(n), **asked)
        assert texts[n] == [drawn.token for drawn in alone]
    assert len(set(map(len, texts))) > 1, "the rows must end at different times"


def test_one_generator_serves_all_rows_that_go_on(model):
    def texts(seed: int) -> list:
        return list(generate_batch(model, [[2]] * 4, max_new_tokens=12, generator=seeded(seed), stop_id=3))

    assert texts(1) == texts(1) != texts(2)
    assert len({step[0].token for step in texts(1)}) > 2
    assert any(len({drawn.token for drawn in step if drawn}) > 1 for step in texts(1)), "rows differ"


def test_what_was_kept_is_the_models_own_probability_of_what_the_filters_left(model):
    with torch.no_grad():
        best = model(torch.tensor([[2, 7]]))[0, -1].softmax(-1).sort(descending=True).values

    def step(**settings) -> Drawn:
        ids = np.array([2, 7])
        return next(generate(model, ids, Sampling(**settings), max_new_tokens=1, generator=seeded()))

    assert step().kept == 1 == step(temperature=3).kept
    assert step(top_k=3, temperature=2).kept == pytest.approx(best[:3].sum().item())
    greedy = step(temperature=0)
    assert greedy.kept == pytest.approx(greedy.probability) == pytest.approx(best[0].item())
    assert [p for _, p in greedy.alternatives] == pytest.approx(best[:5].tolist())


@every_strategy
@pytest.mark.parametrize(
    "prompts, options, about",
    [
        ([[]], {}, "no tokens"),
        ([], {}, "no prompts"),
        ([[2, 12]], {}, "id 12"),
        ([[-1]], {}, "id -1"),
        ([[0.5]], {}, "whole numbers"),
        ([[2]], {"max_new_tokens": 0}, "max_new_tokens"),
        ([[2]] * 5, {"max_new_tokens": 10**13}, "5 x 10,000,000,000,000 tokens.* GiB"),
        ([[2]], {"model": "gpt"}, "new_cache"),
        ([[2]], {"model": lambda ids: torch.zeros(1, 1, 4)}, r"\(1, 1, 4\)"),
        ([[2]], {"model": lambda ids: torch.tensor([[-1, math.nan, 0]])}, "nan"),
        ([[2]], {"model": lambda ids: torch.full((1, 4), -math.inf)}, "no token is left"),
        ([[2]], {"model": lambda ids: torch.tensor([[-1, math.inf, 0]])}, "inf"),
        ([[2]], {"strategy": 0.7}, "0.7"),
        ([[2]], {"strategy": Sampling(filters=(lambda logits, ids: logits - math.inf,))}, "no token is left"),
        ([[2], [7]], {"strategy": Sampling(), "generator": [seeded()]}, "2 prompts"),
    ],
)
def test_refusals(model, strategy, prompts, options, about):
    asked = {"model": model, "prompts": prompts, "strategy": strategy, "max_new_tokens": 1} | options
    with pytest.raises(ValueError, match=about):
        next(generate_batch(**asked))
