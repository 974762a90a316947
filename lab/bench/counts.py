"""Operations and bytes of a training step of a decoder-only transformer, counted from its config by formula.

With the ceilings of a machine they say how fast a step could be at all (the roofline; Williams et al. 2009).

Letters: B rows, T tokens, N = B * T, C channels, F hidden channels of feed-forward, K = channels of all keys, V the
vocabulary, L layers.
"""

from dataclasses import dataclass

PHASES = ("forward", "backward", "optimizer")
GRADIENT_BYTES = 4  # gradients, weights and AdamW's moments are float32, also under autocast


@dataclass(frozen=True)
class Operation:
    """A kind of operation in one phase of a step, all layers together.

    `flops` counts a multiplication and the addition after it as two; `matmul_flops` are those of matrix products
    among them, the rest is elementwise and approximate (a square root counts as one). `bytes` is the least traffic
    with memory: each operation reads its inputs and writes its output once, and nothing waits in a cache between
    operations. A compiler that fuses two of them can stay below.
    """

    name: str
    phase: str
    flops: int
    matmul_flops: int
    bytes: int

    @property
    def intensity(self) -> float:
        """Operations a byte: low ones wait for memory, high ones for arithmetic."""
        return self.flops / self.bytes


def operations(
    config, batch: int, context: int, *, element_bytes: int = 4, weight_bytes: int = 4
) -> list[Operation]:
    """What a step on `batch` rows of `context` tokens has to do: forward, backward, and AdamW's update.

    `config` is a `lab.nn.transformer.TransformerConfig`, read by its fields, since models stand above this room.
    `element_bytes` of an activation and `weight_bytes` of a weight that a product reads: 4 for float32, 2 for bfloat16.

    Attention is the fused kernel: T x T scores that never leave the chip, counted in full though causal ones are half
    of it, and counted again in the backward pass, which makes them anew (Dao et al. 2022, algorithm 4).

    >>> from lab.nn.transformer import TransformerConfig
    >>> small = TransformerConfig(vocab_size=10, width=8, num_heads=2, num_layers=1, feed_forward=16)
    >>> [o.matmul_flops for o in operations(small, 1, 4) if (o.name, o.phase) == ("output", "forward")]
    [640]

    Raises ValueError for batch or context below 1, and for attention with a latent width, which is not counted.
    """
    _check(config, batch, context)
    c, N, T, C, e = config, batch * context, context, config.width, element_bytes
    F, V, L, K = c.feed_forward, c.vocab_size, c.num_layers, c.key_value_heads * c.head_width
    scores = batch * c.num_heads * T * T * L
    found = []

    def add(name: str, forward: tuple[int, int, int], backward: tuple[int, int, int]) -> None:
        """Each is (flops of matrix products, other flops, bytes)."""
        for phase, (matmul, other, moved) in (("forward", forward), ("backward", backward)):
            found.append(Operation(name, phase, matmul + other, matmul, moved))

    def add_linear(name: str, shapes: list[tuple[int, int]], times: int, bias: bool) -> None:
        """Backward is two products: with the weights for the input's gradient, with the input for the weights'."""
        weights = times * sum(a * b for a, b in shapes)
        inputs, outputs = times * N * sum(a for a, _ in shapes), times * N * sum(b for _, b in shapes)
        product, extra = 2 * N * weights, outputs if bias else 0
        moved = e * (inputs + outputs)
        backward_moved = 2 * moved + (weight_bytes + GRADIENT_BYTES) * weights
        add(name, (product, extra, moved + weight_bytes * weights), (2 * product, extra, backward_moved))

    x, norms, hidden = N * C, 2 * L + (c.norm_place == "pre"), L * N * F
    per_norm = 4 if c.norm == "rms" else 7  # operations an element
    places = x if c.positions in ("learned", "sinusoidal") else 0
    gated = c.activation == "gated_silu"
    looked_up = N * (8 + C * (4 + e))
    add("embedding", (0, places, looked_up + e * places), (0, x, e * x + GRADIENT_BYTES * (V * C + x)))
    add("norms", (0, per_norm * norms * x, 2 * e * norms * x), (0, 9 * norms * x, 3 * e * norms * x))
    add_linear("projections", [(C, C), (C, K), (C, K), (C, C)], L, c.bias)
    if c.positions == "rotary":
        turned = L * N * (C + K)
        add("rotary", (0, 3 * turned, 2 * e * turned), (0, 3 * turned, 2 * e * turned))
    product, moved = 2 * scores * c.head_width, 2 * e * L * N * (C + K)
    add("attention", (2 * product, 5 * scores, moved), (5 * product, 8 * scores, 2 * moved))
    add_linear("feed-forward", [(C, F)] * (2 if gated else 1) + [(F, C)], L, c.bias)
    if gated:
        add("activation", (0, 6 * hidden, 3 * e * hidden), (0, 10 * hidden, 5 * e * hidden))
    else:
        add("activation", (0, 10 * hidden, 2 * e * hidden), (0, 16 * hidden, 3 * e * hidden))
    stream = 2 * L * N * C
    add("residual", (0, stream, 3 * e * stream), (0, stream, 3 * e * stream))
    add_linear("output", [(C, V)], 1, False)
    add("loss", (0, 5 * N * V, N * V * (e + 4)), (0, 3 * N * V, N * V * (e + 4)))
    weights = num_parameters(c)
    # AdamW reads the weight, its gradient and two moments, and writes all but the gradient.
    found.append(Operation("AdamW", "optimizer", 12 * weights, 0, 7 * 4 * weights))
    return found


def totals(found: list[Operation]) -> dict[str, Operation]:
    """The sum over operations of each phase."""
    return {phase: _sum("all", phase, [o for o in found if o.phase == phase]) for phase in PHASES}


def step_total(found: list[Operation]) -> Operation:
    """The sum over all operations of a step."""
    return _sum("all", "step", found)


def num_parameters(config) -> int:
    """How many weights the decoder-only model of this config has."""
    c, C = config, config.width
    norm = C if c.norm == "rms" or not c.bias else 2 * C
    norms = norm * (2 * c.num_layers + (c.norm_place == "pre"))
    K = c.key_value_heads * c.head_width
    biases = c.num_layers * (2 * C + 2 * K + C + _hidden(c)) if c.bias else 0
    places = c.places * C if c.positions == "learned" else 0
    lookup = 0 if c.tied else c.vocab_size * C
    return _matrix_weights(c) + lookup + places + norms + biases


def model_flops_per_token(config, context: int) -> int:
    """6 W + 12 L C T: what training must compute for a token (Chowdhery et al. 2022, PaLM, appendix B).

    W are the weights of matrix products: the output's count, lookups do not. Times tokens per second and over the
    machine's peak it is the model FLOPs utilisation: what is computed twice, to save memory, counts once.
    """
    _check(config, 1, context)
    return 6 * _matrix_weights(config) + 12 * config.num_layers * config.width * context


def memory_needed(config, batch: int, context: int, *, element_bytes: int = 4) -> int:
    """About how many bytes a training step takes: weights, gradients, two moments, and what backward needs kept."""
    _check(config, batch, context)
    c, C, K = config, config.width, config.key_value_heads * config.head_width
    a_layer = 7 * C + 2 * K + _hidden(c) + (2 if c.activation == "gated_silu" else 1) * c.feed_forward
    kept = batch * context * (c.num_layers * a_layer + 2 * C) * element_bytes
    # Logits, their gradient, log-probabilities.
    logits = batch * context * c.vocab_size * (2 * element_bytes + 4)
    return 16 * num_parameters(c) + kept + logits


def _matrix_weights(c) -> int:
    K = c.key_value_heads * c.head_width
    a_layer = 2 * c.width * c.width + 2 * c.width * K + c.width * (_hidden(c) + c.feed_forward)
    return c.num_layers * a_layer + c.width * c.vocab_size


def _hidden(c) -> int:
    """Channels that feed-forward makes of the stream: with a gate, twice."""
    return (2 if c.activation == "gated_silu" else 1) * c.feed_forward


def _sum(name: str, phase: str, found: list[Operation]) -> Operation:
    sums = (sum(getattr(o, key) for o in found) for key in ("flops", "matmul_flops", "bytes"))
    return Operation(name, phase, *sums)


def _check(config, batch: int, context: int) -> None:
    if batch < 1 or context < 1:
        raise ValueError(f"batch and context must be at least 1, got {batch} and {context}")
    if config.latent_width is not None:
        raise ValueError(
            f"attention with latent_width {config.latent_width} is not counted here: use a config without one"
        )
