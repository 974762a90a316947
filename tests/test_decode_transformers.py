"""Token for token what `transformers` writes with the same weights."""

from dataclasses import fields

import pytest
import torch

from lab.decode.beam import n_best
from lab.decode.search import BeamSearch, Sampling, generate_batch
from lab.decode.strategies import draw
from lab.nn.interop import to_transformers
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig

pytest.importorskip("transformers")

PAD, STOP, V, NEW = 0, 3, 8, 24
SIZES = dict(vocab_size=V, context=48, width=16, num_layers=2, num_heads=4, feed_forward=24)
CONFIGS = {
    "gpt2": TransformerConfig(**SIZES, positions="learned", norm="layer", activation="gelu_tanh", bias=True),
    "llama": TransformerConfig(**SIZES, activation="gated_silu", num_key_value_heads=2),
}
# Seed and size of weights whose texts end, some soon and some late.
RANDOM = {"gpt2": (9, 1.0), "llama": (0, 0.6)}
PROMPTS = torch.randint(4, V, (200, 6), generator=torch.Generator().manual_seed(0))
FILTERS = {
    "temperature": Sampling(temperature=0.7),
    "top-k": Sampling(top_k=4),
    "top-p": Sampling(top_p=0.8),
    "min-p": Sampling(min_p=0.2),
    "repetition penalty": Sampling(repetition_penalty=1.4),
    "all of them": Sampling(1.5, 8, 0.95, 0.05, 1.3),
}


@pytest.fixture(params=CONFIGS)
def models(request):
    seed, std = RANDOM[request.param]
    generator = torch.Generator().manual_seed(seed)
    ours = DecoderOnlyTransformer(CONFIGS[request.param]).eval()
    for name, parameter in ours.named_parameters():
        torch.nn.init.normal_(parameter, std=std if "norm" not in name else 1.0, generator=generator)
    theirs = to_transformers(ours)
    theirs.generation_config.eos_token_id, theirs.generation_config.pad_token_id = STOP, PAD
    return ours, theirs


def until_stop(row: list[int]) -> list[int]:
    return row[: row.index(STOP) + 1] if STOP in row else row


def written_there(theirs, **settings) -> list[list[int]]:
    found = theirs.generate(PROMPTS, attention_mask=torch.ones_like(PROMPTS), max_new_tokens=NEW, **settings)
    return [until_stop(row) for row in found[:, PROMPTS.shape[1] :].tolist()]


def written_here(ours, strategy, **options) -> list[list[int]]:
    steps = generate_batch(ours, PROMPTS, strategy, max_new_tokens=NEW, stop_id=STOP, **options)
    return [[drawn.token for drawn in row if drawn] for row in zip(*steps, strict=True)]


def at_least_half_end(texts: list[list[int]]) -> bool:
    """And not all of them at once."""
    return sum(text[-1] == STOP for text in texts) >= len(texts) / 2 and len(set(map(len, texts))) > 4


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy(models, penalty):
    ours, theirs = models
    here = written_here(ours, Sampling(temperature=0, repetition_penalty=penalty))
    assert here == written_there(theirs, do_sample=False, repetition_penalty=penalty)
    assert at_least_half_end(here)


@pytest.mark.parametrize("sampling", FILTERS.values(), ids=FILTERS)
def test_sampling_with_every_filter(models, sampling, monkeypatch):
    """Their filters, our way to draw from what they leave: the same random numbers give the same tokens."""
    ours, theirs = models
    generators = [torch.Generator().manual_seed(row) for row in range(len(PROMPTS))]
    monkeypatch.setattr(torch, "multinomial", lambda probs, num_samples: draw(probs, generators)[:, None])
    same = {one.name: getattr(sampling, one.name) for one in fields(sampling) if one.name != "filters"}
    there = written_there(theirs, do_sample=True, **same | {"top_k": sampling.top_k or 0})
    again = [torch.Generator().manual_seed(row) for row in range(len(PROMPTS))]
    assert written_here(ours, sampling, generator=again) == there
    assert at_least_half_end(there)


@pytest.mark.parametrize(
    "search",
    [
        BeamSearch(4),
        BeamSearch(4, length_penalty=0.0, num_best=2),
        BeamSearch(3, length_penalty=2.0, early_stopping=True, num_best=3),
        BeamSearch(4, length_penalty=1.5, early_stopping="never"),
        BeamSearch(2, length_penalty=-0.5, num_best=2),
        BeamSearch(4, length_penalty=-2.0, early_stopping="never", num_best=3),
    ],
    ids=str,
)
def test_beam_search(models, search):
    ours, theirs = models
    same = dict(length_penalty=search.length_penalty, early_stopping=search.early_stopping)
    same |= dict(num_beams=search.width, num_return_sequences=search.num_best, max_new_tokens=NEW)
    asked = dict(do_sample=False, return_dict_in_generate=True, output_scores=True)
    found = theirs.generate(PROMPTS, attention_mask=torch.ones_like(PROMPTS), **same, **asked)
    there = [until_stop(row) for row in found.sequences[:, PROMPTS.shape[1] :].tolist()]
    best = n_best(ours, PROMPTS, search, max_new_tokens=NEW, stop_id=STOP)
    here = [list(hypothesis.tokens) for hypotheses in best for hypothesis in hypotheses]
    scores = [hypothesis.score for hypotheses in best for hypothesis in hypotheses]
    assert here == there
    assert scores == pytest.approx(found.sequences_scores.tolist(), rel=1e-4, abs=1e-4)
    assert at_least_half_end(here)
