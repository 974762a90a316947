"""The diagram of attention's backward pass: its formulas, computed as they are drawn, are right."""

import math
import re

import numpy as np
import torch
from diagram_toys import assert_readable, laid_out

from lab.scratch import ScaledDotProductAttention
from lab.show.diagrams import attention_backward
from lab.show.diagrams.sketch import labels

B, T, S, E = 3, 7, 11, 5


def test_formulas_of_the_backward_pass_are_right():
    """The formulas as drawn, computed, against autograd and against the layer by hand; so for their shapes."""
    code = {
        "Q K' / √E": lambda t: t["Q"] @ t["K"].mT / math.sqrt(E),
        "softmax(Z), row by row": lambda t: t["Z"].softmax(dim=-1),
        "A V": lambda t: t["A"] @ t["V"],
        "A' dO": lambda t: t["A"].mT @ t["dO"],
        "dO V'": lambda t: t["dO"] @ t["V"].mT,
        "A * (dA − sum(dA * A))": lambda t: t["A"] * (t["dA"] - (t["dA"] * t["A"]).sum(-1, keepdim=True)),
        "dZ K / √E": lambda t: t["dZ"] @ t["K"] / math.sqrt(E),
        "dZ' Q / √E": lambda t: t["dZ"].mT @ t["Q"] / math.sqrt(E),
    }
    plain, svg = laid_out(attention_backward)
    assert_readable(plain, svg)
    said = labels(svg)
    drawn = {said[i]: said[i + 1 : i + 3] for i in range(len(said)) if re.fullmatch("d?[QKVZAO]", said[i])}
    generator = torch.Generator().manual_seed(0)
    t = {
        name: torch.randn(B, 2, rows, E, dtype=torch.float64, generator=generator, requires_grad=name != "dO")
        for name, rows in {"Q": T, "K": S, "V": S, "dO": T}.items()
    }
    for name in ("Z", "A", "O"):
        t[name] = code[drawn[name][0]](t)
        t[name].retain_grad()
    t["O"].backward(t["dO"])
    for name in ("dA", "dZ", "dV", "dQ", "dK"):
        t[name] = code[drawn[name][0]](t)
        assert torch.allclose(t[name], t[name[1:]].grad)
    layer = ScaledDotProductAttention()
    arrays = {name: tensor.detach().numpy() for name, tensor in t.items()}
    assert np.allclose(arrays["O"], layer.forward(*(arrays[n] for n in "QKV")))
    for name, array in zip(("dQ", "dK", "dV"), layer.backward(arrays["dO"]), strict=True):
        assert np.allclose(arrays[name], array)
    letters = {"B": B, "H": 2, "T": T, "S": S, "E": E}
    for name, tensor in t.items():
        assert tensor.shape == tuple(letters[letter] for letter in re.findall("[A-Z]", drawn[name][1])), name
    assert len(drawn) == len(t) == 12
