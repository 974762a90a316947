"""The recogniser: padding changes nothing, the future of a transcript is unseen, what it writes is what it scores."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import checks
from lab.data.batch import IGNORE
from lab.decode import BeamSearch, n_best
from lab.nn.config import TransformerConfig
from lab.score import KneserNey
from lab.speech.batches import SpeechBatch, Utterance, collate
from lab.speech.corpus import SpeechCorpus
from lab.speech.ctc import ctc_nats
from lab.speech.ctc_beam import NGramScorer, prefix_beam
from lab.speech.encoder import SpeechEncoder, make_embedding, reduced
from lab.speech.features import FeatureSpec, Normalizer
from lab.speech.model import SpeechConfig, SpeechTransformer
from lab.speech.objective import Recognition, SpeechMaterial
from lab.speech.reading import (
    Reading,
    Writer,
    attention_log_probs,
    fusion,
    listen,
    read,
    rescored,
    transcribe,
    write,
)
from lab.speech.text import character_alphabet

quick = settings(max_examples=8, deadline=None, derandomize=True)
SPEC = FeatureSpec(bands=12)
TOKENIZER = character_alphabet()
DECODER = TransformerConfig(33, context=12, width=16, num_layers=1, num_heads=2, feed_forward=24)
CONFIG = SpeechConfig(DECODER, features=SPEC, channels=3, kernel=5)
TWO_LAYERS = {"decoder": replace(DECODER, num_layers=2)}


def random_model(seed: int = 0, **changes) -> SpeechTransformer:
    """A model that is not at rest, in float64."""
    model = SpeechTransformer(replace(CONFIG, **changes)).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(seed))
    model.mean.normal_(generator=torch.Generator().manual_seed(1))
    return model


def noise(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def utterances(*texts: str) -> list[Utterance]:
    said = lambda n: noise(20 + 9 * n, SPEC.bands, seed=n).float()  # noqa: E731
    return [Utterance(f"u{n}", said(n), text) for n, text in enumerate(texts)]


every_front = pytest.mark.parametrize("embedding", ["conv", "blstm", "blstm pooled", "both"])


@every_front
@pytest.mark.parametrize("reduction", [1, 3, 4, 5, 14])
def test_the_lengths_are_exact_and_padding_changes_nothing(embedding, reduction):
    embed = make_embedding(embedding, 5, 8, 3, reduction)
    checks.output_lengths(lambda lengths: reduced(lengths, reduction), embed, bands=5).raise_if_failed()


def test_a_pooled_lstm_keeps_the_largest_of_neighbours():
    embed = make_embedding("blstm pooled", 5, 8, 3, 6).double()
    x = noise(1, 13, 5)
    expected = x
    for layer, step in zip(embed.layers, (2, 3), strict=True):
        states = layer(expected)[0].mT
        expected = torch.nn.functional.max_pool1d(states, step, ceil_mode=True).mT
    torch.testing.assert_close(embed(x, torch.tensor([13])), expected)


PARTS = {
    "tied, sinusoidal": {"tied": True, "positions": "sinusoidal"},
    "no positions, layer norm": {"positions": "none", "norm": "layer", "bias": True},
    "post-norm, gated": {"norm_place": "post", "activation": "gated_silu"},
}


@every_front
@pytest.mark.parametrize(
    "changes",
    [{}, {"kernel": 0}, {"normalize": "utterance"}, {"reduction": 3}, {"encoder_heads": 4}]
    + [{"decoder": replace(DECODER, **parts)} for parts in PARTS.values()],
)
def test_what_stands_behind_an_utterance_changes_nothing(embedding, changes):
    model = random_model(embedding=embedding, **changes)
    lengths = torch.tensor([30, 17, 5])
    ids = torch.randint(5, 33, (3, 4), generator=torch.Generator().manual_seed(2))
    features = noise(3, 30, SPEC.bands)
    for b, n in enumerate(lengths):
        features[b, n:] = torch.tensor([0.0, 1e3, torch.nan])[b]
    heard, logits = model(features, lengths, ids)
    assert heard.lengths.tolist() == model.output_lengths(lengths).tolist()
    for b, n in enumerate(lengths):
        alone, alone_logits = model(features[b : b + 1, :n], lengths[b : b + 1], ids[b : b + 1])
        row = heard.row(b)
        assert row.memory.shape == alone.memory.shape
        found, expected = (*row[:2], logits[b : b + 1]), (*alone[:2], alone_logits)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_nothing_leaks_from_the_future_of_the_transcript():
    model = random_model(**TWO_LAYERS)
    features, lengths = noise(1, 24, SPEC.bands), torch.tensor([24])
    heard = model.encode(features, lengths)
    rows = lambda count: type(heard)(*(x.expand(count, *x.shape[1:]) for x in heard))  # noqa: E731
    logits = lambda ids: model.decode(ids, rows(len(ids)))  # noqa: E731
    checks.decoder(logits, TOKENIZER.vocab_size, context=12).raise_if_failed()


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_positions_that_are_added_are_added_to_frames_too(positions):
    encoder = SpeechEncoder(replace(DECODER, positions=positions), 0)
    x = torch.ones(1, 4, 16)
    assert len(encoder(x, torch.tensor([4]))[0].unique(dim=0)) == 4, "equal frames are told apart"


def test_the_cross_attention_maps_are_those_that_forward_uses():
    model = random_model(**TWO_LAYERS)
    lengths = torch.tensor([30, 17])
    heard = model.encode(noise(2, 30, SPEC.bands), lengths)
    ids = torch.randint(5, 33, (2, 4), generator=torch.Generator().manual_seed(2))
    maps = model.cross_attention_maps(ids, heard)
    assert len(maps) == 2 and not maps[0][1, :, :, int(heard.lengths[1]) :].any()
    block, found = model.decoder.blocks[1], []
    layer = block.cross_attention
    layer.register_forward_pre_hook(lambda _, given, named: found.append((given, named)), with_kwargs=True)
    model.decode(ids, heard)
    (x, mask), named = found[0]
    torch.testing.assert_close(maps[1], layer.weights(x, mask, memory=named["memory"]))


def test_the_attention_maps_are_those_of_all_layers():
    model = random_model(**TWO_LAYERS, encoder_heads=4)
    features, lengths, heard = noise(2, 30, SPEC.bands), torch.tensor([30, 17]), []
    ids = torch.randint(5, 33, (2, 4), generator=torch.Generator().manual_seed(2))
    layers = [block.self_attention for block in (*model.encoder.blocks, *model.decoder.blocks)]
    for layer in layers:
        listen = lambda module, args, given: heard.append((module, args, given))  # noqa: E731
        layer.register_forward_pre_hook(listen, with_kwargs=True)
    encoded, _ = model(features, lengths, ids)
    used = {module: module.weights(*x, **given | {"cache": None}) for module, x, given in heard}
    maps = model.attention_maps(features, lengths, ids)
    assert [m.shape[1] for m in (*maps.encoder, *maps.decoder, *maps.cross)] == [4] * 3 + [2] * 4
    for found, layer in zip([*maps.encoder, *maps.decoder], layers, strict=True):
        torch.testing.assert_close(found, used[layer])
    torch.testing.assert_close(maps.cross, model.cross_attention_maps(ids, encoded))


def test_the_normalizer_is_saved_with_the_weights():
    model, own = SpeechTransformer(CONFIG), SpeechTransformer(replace(CONFIG, normalize="utterance"))
    x = noise(40, SPEC.bands).float() * 5 + 2
    spread, mean = torch.std_mean(x, 0, correction=0)
    model.normalize_by(Normalizer.fit([x]))
    torch.testing.assert_close(model.normalized(x[None], torch.tensor([40]))[0], (x - mean) / spread)
    assert {"mean", "std"} <= model.state_dict().keys()
    padded = torch.nn.functional.pad(x, (0, 0, 0, 9), value=7.0)[None]
    torch.testing.assert_close(own.normalized(padded, torch.tensor([40]))[0, :40], (x - mean) / spread)


@given(weight=st.sampled_from([0.0, 0.4, 1.0]), seed=st.integers(0, 99))
@quick
def test_the_loss_is_the_weighted_sum_over_utterances(weight, seed):
    model = random_model(seed % 3)
    batch = collate(utterances("one", "two six", "a"), TOKENIZER)
    batch = SpeechBatch(batch.features.double(), batch.lengths, batch.targets, batch.target_lengths)
    nats, count, metrics = Recognition(weight).loss(model, batch)
    expected = dict.fromkeys(("ctc", "attention"), 0.0)
    for row in range(3):
        one = batch.rows(slice(row, row + 1))
        target = [token for token in one.targets[0].tolist() if token != IGNORE]
        heard = model.encode(one.features[:, : one.lengths[0]], one.lengths)
        expected["ctc"] += ctc_nats(heard.ctc_logits[0].log_softmax(-1), target).item()
        expected["attention"] -= attention_log_probs(model, heard, TOKENIZER, [target])[0]
    assert count == 11
    weights = {"ctc": weight, "attention": 1 - weight}
    total = sum(weights[name] * expected[name] for name in weights)
    assert nats.item() == pytest.approx(total, rel=1e-6)  # float32 in CTC
    each = {name: expected[name] / 11 for name in weights if weights[name]}
    assert metrics == pytest.approx(each, rel=1e-6)


def test_listening_to_many_is_listening_to_each():
    model, spoken = random_model().train(), utterances("one", "two six", "a", "nine")
    for one, heard in zip(spoken, listen(model, [u.features for u in spoken], frames=80), strict=True):
        alone = model.encode(one.features[None].double(), torch.tensor([len(one)]))
        torch.testing.assert_close(heard.memory, alone.memory, rtol=0, atol=1e-12)
    assert model.training


@pytest.fixture
def model_and_heard():
    model = random_model()
    return model, *listen(model, [utterances("one")[0].features])


def test_what_the_decoder_writes_is_what_it_finds_likeliest(model_and_heard):
    model, heard = model_and_heard
    ids = [TOKENIZER.bos_id]
    for _ in range(min(11, int(heard.lengths[0]))):  # without a cache
        token = int(model.decode(torch.tensor([ids]), heard)[0, -1].argmax())
        if token == TOKENIZER.eos_id:
            break
        ids.append(token)
    assert write(model, [heard], TOKENIZER) == [ids[1:]]


@pytest.mark.parametrize("beam", [1, 4])
def test_writing_of_many_utterances_is_writing_of_each(beam):
    model = random_model(2, **TWO_LAYERS)
    with torch.no_grad():
        model.output.weight[TOKENIZER.eos_id] *= 2.0  # some texts end early
    spoken = [noise(n, SPEC.bands, seed=n).float() for n in (9, 60, 14, 61, 30, 45)]
    heard = listen(model, spoken)
    together = write(model, heard, TOKENIZER, beam)
    assert together == [write(model, [one], TOKENIZER, beam)[0] for one in heard]
    assert len({len(text) for text in together}) > 2 and len(together[0]) <= 3, "no more tokens than frames"


@pytest.mark.parametrize("weight", [0.3, 4.0])
def test_a_language_model_has_its_say_in_what_the_decoder_writes(model_and_heard, weight):
    model, heard = model_and_heard
    scorer = NGramScorer(KneserNey(["one", "on no", "none"], 3), TOKENIZER)
    text = []
    for _ in range(min(11, int(heard.lengths[0]))):
        log_probs = model.decode(torch.tensor([[TOKENIZER.bos_id, *text]]), heard)[0, -1].log_softmax(-1)
        token = int((log_probs + weight * torch.tensor(list(scorer([tuple(text)])[0]))).argmax())
        if token == TOKENIZER.eos_id:
            break
        text.append(token)
    reading = Reading("attention", weight=weight)
    assert read(model, heard, TOKENIZER, reading, scorer) == text != read(model, heard, TOKENIZER, reading)
    search = BeamSearch(8, num_best=8, filters=(fusion(scorer, weight),))
    asked = {"max_new_tokens": 12, "stop_id": TOKENIZER.eos_id}
    (found,) = n_best(Writer(model, heard), [[TOKENIZER.bos_id]], search, **asked)
    best = [one for one in found if one.finished]
    assert best
    for one in best:
        log_lm = sum(scorer([one.tokens[:n]])[0][token] for n, token in enumerate(one.tokens))
        (log_attention,) = attention_log_probs(model, heard, TOKENIZER, [one.tokens[:-1]])
        assert one.score == pytest.approx((log_attention + weight * log_lm) / len(one.tokens), rel=1e-6)


def test_a_text_has_the_probability_of_its_tokens(model_and_heard):
    model, heard = model_and_heard
    *found, too_long = attention_log_probs(model, heard, TOKENIZER, [[7, 8, 9], [], [12], [7] * 12])
    for text, log_prob in zip([[7, 8, 9], [], [12]], found, strict=True):
        log_probs = model.decode(torch.tensor([[2, *text]]), heard)[0].log_softmax(-1)
        assert log_prob == pytest.approx(sum(log_probs[range(len(text) + 1), [*text, 3]]).item(), rel=1e-9)
    assert too_long == -torch.inf, "it is longer than the decoder can read"


def test_both_ways_of_reading_are_weighed(model_and_heard):
    model, heard = model_and_heard
    found = prefix_beam(heard.ctc_logits[0].log_softmax(-1), bonus=0.5)
    by_attention = attention_log_probs(model, heard, TOKENIZER, [one.tokens for one in found])
    expected = {
        one.tokens: 0.7 * one.log_ctc + 0.3 * log_attention + 0.5 * len(one.tokens)
        for one, log_attention in zip(found, by_attention, strict=True)
    }
    changed = rescored(model, heard, TOKENIZER, found, 0.3)
    assert {one.tokens: one.score for one in changed} == pytest.approx(expected)
    assert changed[0].tokens == max(expected, key=expected.get)
    too_long = replace(found[0], tokens=(7,) * 99)  # for the decoder: -inf, of which 0 is no number
    assert rescored(model, heard, TOKENIZER, [too_long], 0.0) == [too_long]
    reading = Reading("both", bonus=0.5, attention_weight=0.3)
    assert read(model, heard, TOKENIZER, reading) == list(changed[0].tokens)


def test_a_model_that_learned_three_utterances_transcribes_them():
    spoken = utterances("one", "six", "on")
    model = SpeechTransformer(CONFIG)
    objective, batch = Recognition(), collate(spoken, TOKENIZER)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(75):
        nats, count, _ = objective.loss(model, batch)
        (nats / count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
    texts = [u.text for u in spoken]
    for method in ("ctc", "ctc beam", "attention", "both"):
        assert transcribe(model, TOKENIZER, [u.features for u in spoken], Reading(method)) == texts
    material = SpeechMaterial(SpeechCorpus("s", SPEC, (), tuple(spoken)), TOKENIZER, "s", "none", "")
    outcome = objective.outcome(model, material)
    assert outcome["cer"] == outcome["attention.wer"] == 0 and outcome["scored.utterances"] == 3
    assert objective.evaluate(model, material) == 0
    assert Recognition(1.0, scored=2).outcome(model, material) == {"cer": 0, "wer": 0, "scored.utterances": 2}


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: replace(CONFIG, kernel=4), "kernel"),
        (lambda: replace(CONFIG, reduction=0), "reduction"),
        (lambda: replace(CONFIG, encoder_heads=3), "encoder_heads"),
        (lambda: heard_by_a_model(1, 12, 20), "changed places"),
        (lambda: heard_by_a_model(20, 12), "12 bands"),
        *[(lambda n=n: heard_by_a_model(1, 20, 12, lengths=[n]), "lengths") for n in (0, 21)],
        (lambda: heard_by_a_model(1, 44, 12), "max_frames"),
        (lambda: heard_by_a_model(1, 20, 12, ids=torch.ones(1, 13).long()), "context"),
        (lambda: listen(random_model(), [noise(20, 12), noise(12, 20)]), "transpose"),
        (lambda: listen(random_model(), [noise(20, 12), noise(20, 12) * torch.nan]), "NaN"),
        (lambda: loss_of(utterances("o" * 9)), "1 of 1 rows"),
    ],
)
def test_what_does_not_fit_is_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def loss_of(spoken):
    return Recognition().loss(random_model().float(), collate(spoken, TOKENIZER))


def heard_by_a_model(*shape, lengths=(20,), ids=None):
    return random_model(max_frames=40)(noise(*shape), torch.tensor(lengths), ids)
