from dataclasses import fields, replace

import pytest
import torch
from nn_toys import CONFIG, ids, randomised, same

from lab.nn.step import make_step
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig

VARIANTS = {
    "the default": {},
    "GPT-2": dict(positions="learned", norm="layer", activation="gelu_tanh", bias=True, tied=True),
    "Llama": dict(activation="gated_silu", num_key_value_heads=2),
    "multi-query": dict(num_key_value_heads=1, bias=True, activation="gated_silu"),
    "as in 2017": dict(positions="sinusoidal", norm_place="post", norm="layer"),
    "post-norm with biases": dict(norm_place="post", bias=True),
    "no positions": dict(positions="none"),
    "more places than context": dict(positions="learned", num_positions=40, dropout=0.3),
    "more dropout": dict(attention_dropout=0.3, feed_forward_dropout=0.3, layer_dropout=0.3),
    "another base": dict(rotary_base=100.0, norm_epsilon=0.1),
}


def decoder(**changes) -> DecoderOnlyTransformer:
    return randomised(DecoderOnlyTransformer(replace(CONFIG, **changes)), 0.5)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_step_gives_the_models_logits(variant, batch):
    model, text = decoder(**variant), ids(batch, 24)
    step, cache = make_step(model), model.new_cache(batch)
    with torch.inference_mode():
        model(text[:, :5], cache=cache)
        found = torch.stack([step(text[:, t], cache) for t in range(5, 24)], dim=1)
        same(found, model(text)[:, 5:])
        assert cache.length == 24
        with pytest.raises(ValueError, match="cache"):
            step(text[:, 0], model.new_cache(7))


def test_every_field_of_the_config_is_known_to_the_step():
    known = {name for variant in VARIANTS.values() for name in variant}
    sizes = {"vocab_size", "context", "width", "num_layers", "num_heads", "feed_forward"}
    # A part that Step does not compute must be refused by make_step, and a new one tried here.
    assert {field.name for field in fields(TransformerConfig)} == known | sizes | {"latent_width"}


class Louder(torch.nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m.decoder.blocks[1].feed_forward, "expand", Louder(32, 48)),
        lambda m: setattr(m.decoder.norm, "forward", lambda x: 2 * x),
        lambda m: m.decoder.blocks[0].self_attention.attention.value.register_forward_hook(lambda *_: None),
        lambda m: m.decoder.blocks[0].feed_forward.register_forward_pre_hook(lambda *_: None),
    ],
)
def test_what_it_does_not_know_is_read_by_the_model_itself(change):
    model = decoder()
    assert make_step(model) is not None
    change(model)
    assert make_step(model) is None
    assert make_step(decoder(latent_width=8)) is None
    assert make_step(torch.nn.Linear(2, 2)) is None


@torch.inference_mode()
def test_rows_of_a_cache_can_be_selected_and_copied_from_where_they_differ():
    model, text, new = decoder(), ids(4, 9), ids(4, 1)
    text[3, :6] = text[1, :6]
    cache, rows = model.new_cache(4), torch.tensor([2, 0, 0, 1])
    model(text, cache=cache)
    chosen = cache.select(rows)
    same(model(new, cache=chosen), model(torch.cat([text[rows], new], dim=1))[:, -1:])
    assert (chosen.length, cache.length) == (10, 9), "the cache they come from is left alone"
    cache.copy_rows(torch.tensor([1]), torch.tensor([3]), start=6)
    text[3] = text[1]
    same(model(new, cache=cache), model(torch.cat([text, new], dim=1))[:, -1:])
