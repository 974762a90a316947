"""A config refuses what cannot be built, and names the field."""

from dataclasses import replace

import pytest

from lab.nn import RecurrentConfig, TransformerConfig

CONFIG = TransformerConfig(vocab_size=50, context=24, width=32, num_layers=3, num_heads=4, feed_forward=48)
RECURRENT = RecurrentConfig(vocab_size=30, context=16, width=12, num_layers=2)


@pytest.mark.parametrize("value", ["nonsense", -1, float("nan")])
@pytest.mark.parametrize(
    "config, field", [(config, field) for config in (CONFIG, RECURRENT) for field in vars(config)]
)
def test_every_field_refuses_nonsense(config, field, value):
    with pytest.raises(ValueError, match=field):
        replace(config, **{field: value})


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"num_heads": 5}, "num_heads"),
        ({"num_heads": 32}, "width / num_heads"),
        ({"num_key_value_heads": 3}, "num_key_value_heads 3"),
        ({"num_key_value_heads": 2, "latent_width": 8}, "num_key_value_heads"),
        ({"width": 24, "latent_width": 8}, "rotary positions"),
        ({"vocab_size": True}, "vocab_size"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_parts_must_fit_together(changes, field):
    with pytest.raises(ValueError, match=field):
        replace(CONFIG, **changes)


def test_an_odd_head_is_fine_where_nothing_turns():
    assert replace(CONFIG, num_heads=32, positions="learned").head_width == 1
