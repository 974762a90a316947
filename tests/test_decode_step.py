from dataclasses import fields

import pytest
import torch
from lm_toys import transformer

from lab.nn.step import make_step
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig


def of(**variant) -> DecoderOnlyTransformer:
    return transformer(12, **(dict(num_heads=4, feed_forward=24, num_layers=3) | variant))


VARIANTS = {
    "the default": {},
    "GPT-2": dict(positions="learned", norm="layer", activation="gelu_tanh", bias=True, tied=True),
    "Llama": dict(activation="gated_silu", num_key_value_heads=2),
    "multi-query": dict(num_key_value_heads=1, bias=True, activation="gated_silu"),
    "as in 2017": dict(positions="sinusoidal", norm_place="post", norm="layer"),
    "post-norm with biases": dict(norm_place="post", bias=True),
    "no positions": dict(positions="none"),
    "more places than context": dict(positions="learned", num_positions=40, dropout=0.3),
    "another base": dict(rotary_base=100.0, norm_epsilon=0.1),
}


def ids(B: int, T: int) -> torch.Tensor:
    return torch.randint(12, (B, T), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_step_gives_the_models_logits(variant, batch):
    model = of(**variant)
    step, cache, text = make_step(model), model.new_cache(batch), ids(batch, 16)
    with torch.inference_mode():
        model(text[:, :5], cache=cache)
        found = torch.stack([step(text[:, t], cache) for t in range(5, 16)], dim=1)
        torch.testing.assert_close(found, model(text)[:, 5:], rtol=0, atol=1e-10)
        assert cache.length == 16
        with pytest.raises(ValueError, match="cannot take keys"):
            step(text[:, 0], model.new_cache(7))


def test_every_field_of_the_config_is_known_to_the_step():
    known = {name for variant in VARIANTS.values() for name in variant}
    sizes = {"vocab_size", "context", "width", "num_layers", "num_heads", "feed_forward"}
    without_step = {"latent_width"}
    assert {field.name for field in fields(TransformerConfig)} == known | sizes | without_step, (
        "a part that Step does not compute must be refused by make_step, and a new one tried here"
    )


def test_what_it_does_not_know_is_read_by_the_model_itself():
    assert make_step(of(latent_width=8)) is None
    assert make_step(torch.nn.Linear(2, 2)) is None

    class Louder(torch.nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = of()
    model.decoder.blocks[1].feed_forward.expand = Louder(16, 24)
    assert make_step(model) is None
    for hook in ("register_forward_hook", "register_forward_pre_hook"):
        model = of()
        handle = getattr(model.decoder.blocks[0].self_attention.attention.value, hook)(lambda *_: None)
        assert make_step(model) is None
        handle.remove()
        assert make_step(model) is not None


def test_rows_of_a_cache_can_be_selected_or_copied_from_where_they_differ():
    model, text, new = of(), ids(4, 9), torch.tensor([[1], [2], [3], [4]])
    text[3, :6] = text[1, :6]
    cache, rows = model.new_cache(4), torch.tensor([2, 0, 0, 1])
    with torch.inference_mode():
        model(text, cache=cache)
        chosen = cache.select(rows)
        expected = model(torch.cat([text[rows], new], dim=1))[:, -1:]
        torch.testing.assert_close(model(new, cache=chosen), expected, rtol=0, atol=1e-10)
        assert (chosen.length, cache.length) == (10, 9), "the cache they come from is left alone"
        cache.copy_rows(torch.tensor([1]), torch.tensor([3]), start=6)
        text[3] = text[1]
        expected = model(torch.cat([text, new], dim=1))[:, -1:]
        torch.testing.assert_close(model(new, cache=cache), expected, rtol=0, atol=1e-10)
