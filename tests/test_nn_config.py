"""A config refuses what cannot be built, and names the field."""

from dataclasses import replace

import pytest
from nn_toys import CONFIG

from lab.nn import RecurrentConfig


@pytest.mark.parametrize("config", [CONFIG, RecurrentConfig(vocab_size=30)], ids=lambda c: type(c).__name__)
def test_every_field_refuses_nonsense(config):
    for field in vars(config):
        for value in ("nonsense", -1, float("nan")):
            with pytest.raises(ValueError, match=field):
                replace(config, **{field: value})


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"num_heads": 5}, "num_heads"),
        ({"num_heads": 32}, "positions"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"num_key_value_heads": 2, "latent_width": 8}, "num_key_value_heads"),
        ({"width": 24, "latent_width": 8}, "positions"),
    ],
)
def test_parts_must_fit_together(changes, field):
    with pytest.raises(ValueError, match=field):
        replace(CONFIG, **changes)
    assert replace(CONFIG, num_heads=32, positions="learned").head_width == 1, "odd, but nothing turns"
