"""Weights to and from the models of the field: `transformers`' GPT-2 and Llama, same logits on both sides.

Nothing is downloaded, and `transformers` is only needed where something of it is asked for. Dropout is a setting of
training and is not carried over: the model that is made has none.
"""

from itertools import product

import torch
from torch import Tensor, nn

from lab.nn.config import TransformerConfig
from lab.nn.transformer import DecoderOnlyTransformer

# Our module -> theirs, # being the layer. Where several of ours have one name there, theirs holds them side by side.
GPT2 = {
    "embedding.token": "transformer.wte",
    "embedding.place": "transformer.wpe",
    "decoder.blocks.#.self_attention.norm": "transformer.h.#.ln_1",
    "decoder.blocks.#.self_attention.attention.query": "transformer.h.#.attn.c_attn",
    "decoder.blocks.#.self_attention.attention.key": "transformer.h.#.attn.c_attn",
    "decoder.blocks.#.self_attention.attention.value": "transformer.h.#.attn.c_attn",
    "decoder.blocks.#.self_attention.attention.output": "transformer.h.#.attn.c_proj",
    "decoder.blocks.#.feed_forward.norm": "transformer.h.#.ln_2",
    "decoder.blocks.#.feed_forward.expand": "transformer.h.#.mlp.c_fc",
    "decoder.blocks.#.feed_forward.contract": "transformer.h.#.mlp.c_proj",
    "decoder.norm": "transformer.ln_f",
    "output": "lm_head",
}
LLAMA = {
    "embedding.token": "model.embed_tokens",
    "decoder.blocks.#.self_attention.norm": "model.layers.#.input_layernorm",
    "decoder.blocks.#.self_attention.attention.query": "model.layers.#.self_attn.q_proj",
    "decoder.blocks.#.self_attention.attention.key": "model.layers.#.self_attn.k_proj",
    "decoder.blocks.#.self_attention.attention.value": "model.layers.#.self_attn.v_proj",
    "decoder.blocks.#.self_attention.attention.output": "model.layers.#.self_attn.o_proj",
    "decoder.blocks.#.feed_forward.norm": "model.layers.#.post_attention_layernorm",
    "decoder.blocks.#.feed_forward.gate": "model.layers.#.mlp.gate_proj",
    "decoder.blocks.#.feed_forward.expand": "model.layers.#.mlp.up_proj",
    "decoder.blocks.#.feed_forward.contract": "model.layers.#.mlp.down_proj",
    "decoder.norm": "model.norm",
    "output": "lm_head",
}
# What the parts of our config must be for the model to be one of theirs.
GPT2_PARTS = {
    "norm": ("layer",),
    "norm_place": ("pre",),
    "activation": ("gelu_tanh", "gelu"),
    "bias": (True,),
    "latent_width": (None,),
}
LLAMA_PARTS = {
    "norm": ("rms",),
    "norm_place": ("pre",),
    "activation": ("gated_silu",),
    "latent_width": (None,),
}
# GPT-2's names of curves -> ours; the last is how we write a curve there.
GPT2_CURVES = {"gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh", "gelu": "gelu"}


def from_transformers(model: nn.Module) -> DecoderOnlyTransformer:
    """The same model with our parts: a GPT2LMHeadModel or a LlamaForCausalLM, its weights copied.

    Type, device and training mode are those of `model`. Raises ValueError for other classes, and for settings that
    our parts do not have; the message names the setting.
    """
    kind = type(model).__name__
    if kind == "GPT2LMHeadModel":
        names, config = GPT2, _read_gpt2(model.config)
    elif kind == "LlamaForCausalLM":
        names, config = LLAMA, _read_llama(model.config)
    else:
        raise ValueError(f"expected a GPT2LMHeadModel or a LlamaForCausalLM of transformers, got a {kind}")
    ours = DecoderOnlyTransformer(config).to(model.device, model.dtype).train(model.training)
    theirs, state = model.state_dict(), {}
    for name, places in _places(names, ours).items():
        shares = _turn(name, theirs[name]).chunk(len(places), dim=0)
        state |= dict(zip(places, shares, strict=True))
    ours.load_state_dict(state)
    return ours


def to_transformers(model: DecoderOnlyTransformer) -> nn.Module:
    """The same model of `transformers`, its weights copied.

    A GPT2LMHeadModel where positions are learned, a LlamaForCausalLM where they are rotary.

    Type, device and training mode are those of `model`; it has as many positions as our config has places, and no
    token ends a text. Raises ValueError for parts that GPT-2 or Llama does not have, naming the field of the config,
    and ImportError where `transformers` is not installed.
    """
    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise ImportError("to_transformers needs transformers: pip install transformers") from error
    if not isinstance(model, DecoderOnlyTransformer):
        raise ValueError(f"expected a DecoderOnlyTransformer, got a {type(model).__name__}")
    if model.config.positions == "learned":
        names, config = GPT2, _write_gpt2(model.config)
    elif model.config.positions == "rotary":
        names, config = LLAMA, _write_llama(model.config)
    else:
        raise ValueError(
            f"positions must be 'learned' (GPT-2) or 'rotary' (Llama), got {model.config.positions!r}"
        )
    weight, ours = model.output.weight, model.state_dict()
    theirs = AutoModelForCausalLM.from_config(config, dtype=weight.dtype).to(weight.device)
    state = {
        name: _turn(name, torch.cat([ours[place] for place in places]))
        for name, places in _places(names, model).items()
    }
    theirs.load_state_dict(state)
    return theirs.train(model.training)


def _places(names: dict[str, str], ours: DecoderOnlyTransformer) -> dict[str, list[str]]:
    """Each of their parameters, and which of ours, one after the other, stand in it."""
    places: dict[str, list[str]] = {}
    weights = ours.state_dict()
    for module, name in names.items():
        layers = range(ours.config.num_layers if "#" in module else 1)
        for layer, kind in product(layers, ("weight", "bias")):
            place, theirs = (f"{path}.{kind}".replace("#", str(layer)) for path in (module, name))
            if place in weights:
                places.setdefault(theirs, []).append(place)
    return places


def _turn(name: str, weight: Tensor) -> Tensor:
    """GPT-2's layers hold their matrices (in, out), torch's Linear (out, in)."""
    return weight.mT if name.startswith("transformer.h.") and weight.dim() == 2 else weight


def _read_gpt2(config) -> TransformerConfig:
    _demand("GPT2LMHeadModel", config, "activation_function", tuple(GPT2_CURVES))
    _demand("GPT2LMHeadModel", config, "scale_attn_weights", (True,))
    _demand("GPT2LMHeadModel", config, "scale_attn_by_inverse_layer_idx", (False,))
    _demand("GPT2LMHeadModel", config, "add_cross_attention", (False,))
    return TransformerConfig(
        vocab_size=config.vocab_size,
        context=config.n_positions,
        width=config.n_embd,
        num_layers=config.n_layer,
        num_heads=config.n_head,
        feed_forward=config.n_inner or 4 * config.n_embd,
        positions="learned",
        norm="layer",
        norm_epsilon=config.layer_norm_epsilon,
        activation=GPT2_CURVES[config.activation_function],
        bias=True,
        tied=config.tie_word_embeddings,
    )


def _write_gpt2(config: TransformerConfig):
    from transformers import GPT2Config

    parts = GPT2_PARTS | {"num_key_value_heads": (None, config.num_heads)}
    for field, accepted in parts.items():
        _demand("GPT2LMHeadModel (positions='learned')", config, field, accepted)
    return GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.places,
        n_embd=config.width,
        n_layer=config.num_layers,
        n_head=config.num_heads,
        n_inner=config.feed_forward,
        layer_norm_epsilon=config.norm_epsilon,
        activation_function={ours: theirs for theirs, ours in GPT2_CURVES.items()}[config.activation],
        tie_word_embeddings=config.tied,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )


def _read_llama(config) -> TransformerConfig:
    rope = config.rope_parameters  # where transformers 5 keeps what was rope_theta and rope_scaling
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"a LlamaForCausalLM must have rope_type 'default', got rope_parameters {rope}")
    _demand("LlamaForCausalLM", config, "hidden_act", ("silu", "swish"))
    _demand("LlamaForCausalLM", config, "head_dim", (config.hidden_size // config.num_attention_heads,))
    _demand("LlamaForCausalLM", config, "mlp_bias", (config.attention_bias,))
    grouped = config.num_key_value_heads != config.num_attention_heads
    return TransformerConfig(
        vocab_size=config.vocab_size,
        context=config.max_position_embeddings,
        width=config.hidden_size,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads if grouped else None,
        feed_forward=config.intermediate_size,
        positions="rotary",
        rotary_base=float(rope["rope_theta"]),
        norm="rms",
        norm_epsilon=config.rms_norm_eps,
        activation="gated_silu",
        bias=config.attention_bias,
        tied=config.tie_word_embeddings,
    )


def _write_llama(config: TransformerConfig):
    from transformers import LlamaConfig

    for field, accepted in LLAMA_PARTS.items():
        _demand("LlamaForCausalLM (positions='rotary')", config, field, accepted)
    return LlamaConfig(
        vocab_size=config.vocab_size,
        max_position_embeddings=config.places,
        hidden_size=config.width,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.key_value_heads,
        intermediate_size=config.feed_forward,
        rope_parameters={"rope_type": "default", "rope_theta": config.rotary_base},
        rms_norm_eps=config.norm_epsilon,
        attention_bias=config.bias,
        mlp_bias=config.bias,
        tie_word_embeddings=config.tied,
        bos_token_id=None,
        eos_token_id=None,
    )


def _demand(kind: str, config, field: str, accepted: tuple) -> None:
    if getattr(config, field) not in accepted:
        needed = " or ".join(map(repr, accepted))
        raise ValueError(f"a {kind} must have {field} {needed}, got {getattr(config, field)!r}")
