"""A config refuses what cannot be built, and names the field."""

from dataclasses import replace

import pytest

from lab.nn.config import TransformerConfig

CONFIG = TransformerConfig(vocab_size=50, context=24, width=32, num_layers=3, num_heads=4, feed_forward=48)


@pytest.mark.parametrize("field", list(vars(CONFIG)))
@pytest.mark.parametrize("value", ["nonsense", -1])
def test_every_field_refuses_nonsense(field, value):
    with pytest.raises(ValueError, match=field):
        replace(CONFIG, **{field: value})


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"num_heads": 5}, "width 32 does not split into 5 heads"),
        ({"num_heads": 32}, "width 32 / num_heads 32 = 1 is odd"),
        ({"num_key_value_heads": 3}, "num_key_value_heads 3 must divide num_heads 4"),
        ({"num_key_value_heads": 2, "latent_width": 8}, "choose one of latent_width and num_key_value_heads"),
        ({"width": 24, "latent_width": 8}, "head width 6 must be a multiple of 4"),
        ({"vocab_size": True}, "vocab_size must be a whole number of at least 1, got True"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"dropout": float("nan")}, "dropout must be .* got nan"),
        ({"rotary_base": float("nan")}, "rotary_base must be .* got nan"),
    ],
)
def test_parts_must_fit_together(changes, said):
    with pytest.raises(ValueError, match=said):
        replace(CONFIG, **changes)


def test_an_odd_head_is_fine_where_nothing_turns():
    assert replace(CONFIG, num_heads=32, positions="learned").head_width == 1
