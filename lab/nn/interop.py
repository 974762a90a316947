"""Weights to and from the models of the field: `transformers`' GPT-2 and Llama, same logits on both sides.

Nothing is downloaded, and `transformers` is only needed where something of it is asked for. Dropout is a setting of
training and is not carried over: the model that is made has none.
"""

from itertools import product

import torch
from torch import Tensor, nn

from lab.nn.config import TransformerConfig
from lab.nn.transformer import DecoderOnlyTransformer

# Our modules, and theirs in GPT-2 and in Llama; # is a block. Where several of ours have one name there, theirs holds
# them side by side.
MODULES = {
    "embedding.token": ("transformer.wte", "model.embed_tokens"),
    "embedding.place": ("transformer.wpe", None),
    "#.self_attention.norm": ("#.ln_1", "#.input_layernorm"),
    "#.self_attention.attention.query": ("#.attn.c_attn", "#.self_attn.q_proj"),
    "#.self_attention.attention.key": ("#.attn.c_attn", "#.self_attn.k_proj"),
    "#.self_attention.attention.value": ("#.attn.c_attn", "#.self_attn.v_proj"),
    "#.self_attention.attention.output": ("#.attn.c_proj", "#.self_attn.o_proj"),
    "#.feed_forward.norm": ("#.ln_2", "#.post_attention_layernorm"),
    "#.feed_forward.gate": (None, "#.mlp.gate_proj"),
    "#.feed_forward.expand": ("#.mlp.c_fc", "#.mlp.up_proj"),
    "#.feed_forward.contract": ("#.mlp.c_proj", "#.mlp.down_proj"),
    "decoder.norm": ("transformer.ln_f", "model.norm"),
    "output": ("lm_head", "lm_head"),
}
BLOCKS = ("transformer.h", "model.layers")
GPT2, LLAMA = 0, 1
# Our sizes, and what theirs are called in GPT-2 and in Llama.
SIZES = {
    "vocab_size": ("vocab_size", "vocab_size"),
    "context": ("max_position_embeddings", "max_position_embeddings"),
    "width": ("hidden_size", "hidden_size"),
    "num_layers": ("num_hidden_layers", "num_hidden_layers"),
    "num_heads": ("num_attention_heads", "num_attention_heads"),
    "feed_forward": ("n_inner", "intermediate_size"),
    "norm_epsilon": ("layer_norm_epsilon", "rms_norm_eps"),
    "tied": ("tie_word_embeddings", "tie_word_embeddings"),
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
        which, parts = GPT2, _read_gpt2(model.config)
    elif kind == "LlamaForCausalLM":
        which, parts = LLAMA, _read_llama(model.config)
    else:
        raise ValueError(f"expected a GPT2LMHeadModel or a LlamaForCausalLM of transformers, got a {kind}")
    sizes = {ours: getattr(model.config, names[which]) for ours, names in SIZES.items()}
    ours = DecoderOnlyTransformer(TransformerConfig(**sizes | parts))
    ours.to(model.device, model.dtype).train(model.training)
    theirs, state = model.state_dict(), {}
    for name, places in _places(which, ours).items():
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
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise ImportError("to_transformers needs transformers: pip install transformers") from error
    if not isinstance(model, DecoderOnlyTransformer):
        raise ValueError(f"expected a DecoderOnlyTransformer, got a {type(model).__name__}")
    c = model.config
    if c.positions == "learned":
        which, kind, parts = GPT2, "gpt2", _write_gpt2(c)
    elif c.positions == "rotary":
        which, kind, parts = LLAMA, "llama", _write_llama(c)
    else:
        raise ValueError(f"positions must be 'learned' (GPT-2) or 'rotary' (Llama), got {c.positions!r}")
    sizes = {
        names[which]: getattr(c, "places" if ours == "context" else ours) for ours, names in SIZES.items()
    }
    config = AutoConfig.for_model(kind, **sizes, **parts, bos_token_id=None, eos_token_id=None)
    weight, ours, state = model.output.weight, model.state_dict(), {}
    for name, places in _places(which, model).items():
        state[name] = _turn(name, torch.cat([ours[place] for place in places]))
    theirs = AutoModelForCausalLM.from_config(config, dtype=weight.dtype).to(weight.device)
    theirs.load_state_dict(state)
    return theirs.train(model.training)


def _places(which: int, ours: DecoderOnlyTransformer) -> dict[str, list[str]]:
    """Each of their parameters, and which of ours, one after the other, stand in it."""
    places: dict[str, list[str]] = {}
    weights = ours.state_dict()
    for module, names in MODULES.items():
        for n, kind in product(range(ours.config.num_layers if "#" in module else 1), ("weight", "bias")):
            place = f"{module}.{kind}".replace("#", f"decoder.blocks.{n}")
            if place in weights:
                theirs = f"{names[which]}.{kind}".replace("#", f"{BLOCKS[which]}.{n}")
                places.setdefault(theirs, []).append(place)
    return places


def _turn(name: str, weight: Tensor) -> Tensor:
    """GPT-2's layers hold their matrices (in, out), torch's Linear (out, in)."""
    return weight.mT if name.startswith("transformer.h.") and weight.dim() == 2 else weight


def _read_gpt2(config) -> dict:
    """What our config has besides the sizes."""
    parts = dict(activation_function=list(GPT2_CURVES), add_cross_attention=[False])
    scales = dict(scale_attn_weights=[True], scale_attn_by_inverse_layer_idx=[False])
    _demand("a GPT2LMHeadModel", config, **parts, **scales)
    return dict(
        feed_forward=config.n_inner or 4 * config.n_embd,
        positions="learned",
        norm="layer",
        activation=GPT2_CURVES[config.activation_function],
        bias=True,
    )


def _write_gpt2(config: TransformerConfig) -> dict:
    """What theirs has besides the sizes."""
    parts = dict(norm=["layer"], norm_place=["pre"], activation=["gelu_tanh", "gelu"], bias=[True])
    keys = dict(latent_width=[None], num_key_value_heads=[None, config.num_heads])
    _demand("for a GPT2LMHeadModel (positions='learned'), ours", config, **parts, **keys)
    curves = {ours: theirs for theirs, ours in GPT2_CURVES.items()}
    no_dropout = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    return dict(activation_function=curves[config.activation], **no_dropout)


def _read_llama(config) -> dict:
    rope = config.rope_parameters  # where transformers 5 keeps what was rope_theta and rope_scaling
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"a LlamaForCausalLM must have rope_type 'default', got rope_parameters {rope}")
    width = config.hidden_size // config.num_attention_heads
    parts = dict(hidden_act=["silu", "swish"], head_dim=[width], mlp_bias=[config.attention_bias])
    _demand("a LlamaForCausalLM", config, **parts)
    grouped = config.num_key_value_heads != config.num_attention_heads
    return dict(
        num_key_value_heads=config.num_key_value_heads if grouped else None,
        rotary_base=float(rope["rope_theta"]),
        activation="gated_silu",
        bias=config.attention_bias,
    )


def _write_llama(config: TransformerConfig) -> dict:
    parts = dict(norm=["rms"], norm_place=["pre"], activation=["gated_silu"], latent_width=[None])
    _demand("for a LlamaForCausalLM (positions='rotary'), ours", config, **parts)
    return dict(
        num_key_value_heads=config.key_value_heads,
        rope_parameters={"rope_type": "default", "rope_theta": config.rotary_base},
        attention_bias=config.bias,
        mlp_bias=config.bias,
    )


def _demand(kind: str, config, **accepted: list) -> None:
    for field, values in accepted.items():
        if getattr(config, field) not in values:
            needed = " or ".join(map(repr, values))
            raise ValueError(f"{kind} must have {field} {needed}, got {getattr(config, field)!r}")
