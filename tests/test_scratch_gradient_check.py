"""The gradient check passes what is right, and says which array is wrong where a bug was planted."""

import numpy as np
import pytest

from lab.scratch import Layer, Linear, MultiHeadAttention, ScaledDotProductAttention, Softmax, gradient_check

RIGHT, WRONG = 1e-7, 1e-2


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def heads(width: int = 4, num_heads: int = 2) -> MultiHeadAttention:
    return MultiHeadAttention(width, num_heads, np.random.default_rng(0))


BLIND = np.array([[True, False, False], [False, False, False], [True, True, True]])


@pytest.mark.parametrize(
    "layer, inputs, how",
    [
        (Linear(3, 2, np.random.default_rng(0)), [normal(4, 2, 3)], {}),
        (Softmax(dim=1), [normal(2, 3, 2)], {"mask": np.tri(3, 2, dtype=bool)}),
        (Softmax(), [normal(3, 3)], {"mask": BLIND}),
        (ScaledDotProductAttention(), [normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 3)], {}),
        (ScaledDotProductAttention(), [normal(2, 3, 4)] * 3, {"mask": BLIND}),
        (heads(), [normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 4)], {}),
        (heads(), [normal(2, 2, 3, 4)] * 3, {"attention_mask": BLIND}),
        (heads(), [normal(2, 3, 4)] * 3, {"key_padding_mask": np.array([[True] * 3, [False] * 3])}),
        (heads(), [10 * normal(1, 2, 4), 0.1 * normal(1, 3, 4), normal(1, 3, 4)], {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Layer) else "",
)
def test_the_layers_are_right(layer, inputs, how):
    check = gradient_check(layer, *inputs, **how)
    assert check.worst < RIGHT, str(check)
    assert len(check.errors) == len(inputs) + len(layer.parameters())


class NoScale(ScaledDotProductAttention):
    """d_query and d_key without the 1 / sqrt(E)."""

    def backward(self, grad_output):
        d_query, d_key, d_value = super().backward(grad_output)
        scale = d_query.shape[-1] ** 0.5
        return d_query * scale, d_key * scale, d_value


class NoCorrection(Softmax):
    def backward(self, grad_output):
        (y,) = self._recall(grad_output)
        return y * grad_output


class MeanBias(Linear):
    def backward(self, grad_output):
        dx = super().backward(grad_output)
        self._bias_gradient = grad_output.reshape(-1, len(self.bias)).mean(axis=0)
        return dx


class NotANumber(Linear):
    def backward(self, grad_output):
        return super().backward(grad_output) * np.nan


SQUARE = [normal(2, 3, 3), 2 * normal(2, 3, 3), 3 * normal(2, 3, 3)]


@pytest.mark.parametrize(
    "layer, inputs, how, wrong",
    [
        (NoScale(), SQUARE, {}, {"query", "key"}),
        (NoCorrection(), [normal(4, 3)], {}, {"x"}),
        (MeanBias(3, 2, np.random.default_rng(0)), [normal(4, 3)], {}, {"bias"}),
        (NotANumber(3, 2, np.random.default_rng(0)), [normal(4, 3)], {}, {"x"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Layer) else "",
)
def test_planted_bugs_are_found_where_they_are(layer, inputs, how, wrong):
    check = gradient_check(layer, *inputs, **how)
    assert {name for name, error in check.errors.items() if error > WRONG} == wrong, str(check)
    assert all(error < RIGHT for name, error in check.errors.items() if name not in wrong), str(check)
    assert check.worst > WRONG


class Embedding(Layer):
    """A table's rows by whole numbers, which have no gradient."""

    def __init__(self, table):
        self.table = table

    def forward(self, *ids):
        (self.ids,) = ids
        return self._remember(self.table[self.ids])

    def backward(self, grad_output):
        self._recall(grad_output)
        self.gradient = np.zeros_like(self.table)
        np.add.at(self.gradient, self.ids, grad_output)

    def parameters(self):
        return {"table": self.table}

    def gradients(self):
        return {"table": self.gradient}


def test_whole_numbers_and_masks_are_passed_on():
    ids = np.array([[0, 2], [2, 2]])
    assert gradient_check(Embedding(normal(3, 2)), ids).worst < RIGHT
    assert gradient_check(Softmax(), normal(3, 3), BLIND).errors.keys() == {"x"}
    assert gradient_check(heads(), *[normal(2, 3, 4)] * 3, None, BLIND).worst < RIGHT


def test_it_writes_to_nothing_of_the_callers_and_repeats_itself():
    layer, x = heads(), normal(2, 3, 4)
    before, same = {name: array.copy() for name, array in layer.parameters().items()}, x.copy()
    layer.forward(x, x, x)
    layer.backward(x)
    gradients = {name: array.copy() for name, array in layer.gradients().items()}
    first = gradient_check(layer, x, x, x)
    assert gradient_check(layer, x, x, x) == first
    assert gradient_check(layer, x, x, x, rng=np.random.default_rng(5)) != first
    assert np.array_equal(x, same)
    assert all(np.array_equal(layer.parameters()[name], array) for name, array in before.items())
    assert all(np.array_equal(layer.gradients()[name], array) for name, array in gradients.items())


class Unnamed(Linear):
    def gradients(self):
        return {"weights": self._weight_gradient}


@pytest.mark.parametrize(
    "about, call",
    [
        ("float32", lambda: gradient_check(Softmax(), normal(3).astype(np.float32))),
        ("table", lambda: gradient_check(Embedding(normal(3, 2).astype(np.float16)), np.array([0]))),
        ("keywords", lambda: gradient_check(ScaledDotProductAttention(), *SQUARE[:2], value=SQUARE[2])),
        ("weights", lambda: gradient_check(Unnamed(2, 2, np.random.default_rng(0)), normal(3, 2))),
    ],
)
def test_refusals(about, call):
    with pytest.raises(ValueError, match=about):
        call()
