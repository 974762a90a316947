"""What a running model says of its tensors' shapes, and how a diagram writes them.

Letters: B rows, T tokens, S tokens that are looked at (those T, and before them what is in the cache), C
channels, H heads of queries, G heads of keys and values, E channels a head, F hidden channels of the
feed-forward layer, V tokens in the vocabulary.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lab.nn.attention import MultiHeadAttention, attend, attention_weights
from lab.nn.positions import Positions, turned_width
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig

Shapes = dict[str, tuple[int, ...]]

# The first block stands for all of them. A module's path in the model -> the picture that shows it.
PICTURES = {
    "decoder.blocks.0.self_attention.attention.": "attention",
    "decoder.blocks.0.": "block",
    "decoder.blocks.": "",
    "": "model",
}
# What no module returns is seen where the next one reads it.
READ = {"block.feed_forward.contract": "block.feed_forward.hidden", "attention.output": "attention.joined"}


def report_shapes(model: DecoderOnlyTransformer, ids: Tensor, past: int = 0) -> Shapes:
    """The shape of every tensor on the way of `ids` `(B, past + T)` through the model, by name, in order.

    The first `past` tokens are read beforehand and are only in the cache, so that T and S differ. Names begin
    with the picture that they belong to: `model.`, `block.` (the first) or `attention.` (that block's).

    >>> config = TransformerConfig(vocab_size=10, width=8, num_heads=2, feed_forward=16)
    >>> shapes = report_shapes(DecoderOnlyTransformer(config), torch.zeros(3, 12, dtype=torch.long), past=5)
    >>> shapes["model.ids"], shapes["attention.weights"]
    ((3, 7), (3, 2, 7, 12))
    """
    cache, shapes, read = model.new_cache(len(ids), ids.device), {}, {}

    def note(name, args, kwargs, result):
        if name in READ:
            shapes[READ[name]] = tuple(args[0].shape)
        if name == "block.self_attention.attention":
            read.update(x=args[0], turn=kwargs["turn"] if turned_width(model.config) else None)
        shapes[name] = tuple((result if isinstance(result, Tensor) else result[0]).shape)
        shapes.update(_placed(model, name, torch.arange(past, ids.shape[1], device=ids.device)))

    with torch.no_grad():
        if past:
            model(ids[:, :past], cache=cache)
        shapes["model.ids"] = tuple(ids[:, past:].shape)
        drawn = {_name(path): module for path, module in model.named_modules() if _is_drawn(path, module)}
        with watching(drawn, note):
            model(ids[:, past:], cache=cache)
        layer, attention = cache.layers[0], model.decoder.blocks[0].self_attention.attention
        keys, values = layer.keys[:, :, : layer.length], layer.values[:, :, : layer.length]
        shapes |= {"model.keys": tuple(keys.shape), "model.values": tuple(values.shape)}
        if type(attention) is MultiHeadAttention:  # the latent kind keeps something else than keys and values
            inside = _inside_attention(attention, read["x"], read["turn"], keys, values)
            shapes |= {f"attention.{name}": tuple(tensor.shape) for name, tensor in inside.items()}
    return shapes


@contextmanager
def watching(
    modules: Mapping[str, nn.Module], note: Callable[[str, tuple, dict, object], None]
) -> Iterator[None]:
    """Inside, each call of one of these modules calls `note(name, args, kwargs, result)`; no gradient is kept."""

    def watch(name: str, module: nn.Module):
        return module.register_forward_hook(
            lambda _, args, kwargs, result: note(name, args, kwargs, result), with_kwargs=True
        )

    handles = [watch(name, module) for name, module in modules.items()]
    try:
        with torch.no_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()


def _placed(model: DecoderOnlyTransformer, name: str, positions: Tensor) -> Shapes:
    """What the positions make, after the module `name`; they are no module that is called."""
    place = model.embedding.place
    if name == "model.embedding.token" and type(place).embed is not Positions.embed:
        nothing = model.output.weight.new_zeros(model.config.width)
        return {"model.embedding.place": tuple(place.embed(nothing, positions).shape)}
    if name == "model.embedding" and (tables := place.tables(positions)) is not None:
        return {"model.decoder.rotary": tuple(tables[0].shape)}
    return {}


def _inside_attention(attention, x, turn, keys, values) -> dict[str, Tensor]:
    """The tensors between attention's linear maps, made again by the functions that `forward` is made of."""
    q, k, v = attention.project(x)
    tensors = {"x": x, "q": q, "k": k, "v": v}
    if turn is not None:
        q, k, _ = attention.project(x, turn=turn)
        tensors |= {"turned_q": q, "turned_k": k}
    scores = q @ keys.repeat_interleave(q.shape[1] // keys.shape[1], dim=1).mT
    return tensors | {
        "keys": keys,
        "values": values,
        "scores": scores,
        "weights": attention_weights(q, keys, causal=True),
        "mixed": attend(q, keys, values, causal=True),
    }


def _is_drawn(path: str, module: nn.Module) -> bool:
    """Whether a module is part of a picture: the model as a whole is not, nor is what changes nothing."""
    return (
        path not in ("", "decoder")
        and _name(path) != ""
        and not isinstance(module, nn.ModuleList | nn.Identity)
    )


def _name(path: str) -> str:
    """`_name("decoder.blocks.0.feed_forward.norm") == "block.feed_forward.norm"`; "" for what is not drawn."""
    start = next(start for start in PICTURES if path.startswith(start))
    return f"{PICTURES[start]}.{path.removeprefix(start)}" if PICTURES[start] else ""


def sizes(config: TransformerConfig) -> dict[str, int]:
    """What the letters of a shape stand for in this model; B, T and S depend on what it reads."""
    c = config
    return {
        "C": c.width,
        "H": c.num_heads,
        "G": c.key_value_heads,
        "E": c.head_width,
        "F": c.feed_forward,
        "V": c.vocab_size,
        "HE": c.num_heads * c.head_width,
        "GE": c.key_value_heads * c.head_width,
    }


def of_picture(
    config: TransformerConfig, shapes: Shapes, picture: str, drawn: dict[str, str]
) -> dict[str, str]:
    """What `written` makes of one picture's part of a `report_shapes`, named without the picture."""
    prefix, (B, T), S = f"{picture}.", shapes["model.ids"], shapes["model.keys"][2]
    own = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    return written(drawn, own, sizes(config) | {"B": B, "T": T, "S": S, "1": 1})


def written(drawn: dict[str, str], shapes: Shapes, numbers: dict[str, int]) -> dict[str, str]:
    """The shapes that a picture draws, in letters and in the model's numbers, by name: the check of every picture.

    `drawn` holds the letters of each tensor that the picture shows, in the order in which they come to be, `shapes`
    the running model's, `numbers` what the letters stand for; lengths (B, T, S, U) stay letters.

    >>> written({"q": "B H T E"}, {"q": (3, 4, 7, 48)}, {"B": 3, "H": 4, "T": 7, "E": 48})
    {'q': '(B, H, T, E) = (B, 4, T, 48)'}

    Raises ValueError when the model has other parts than the picture, has them in another order, or when a tensor
    is not of the shape that the letters say.
    """
    if list(shapes) != list(drawn):
        lacks, adds = sorted(set(drawn) - set(shapes)), sorted(set(shapes) - set(drawn))
        raise ValueError(
            f"the picture draws {list(drawn)}, the model has {list(shapes)}: it lacks {lacks}, and has besides {adds}"
        )
    texts = {}
    for name, letters in drawn.items():
        expected = tuple(numbers[letter] for letter in letters.split())
        if shapes[name] != expected:
            raise ValueError(f"{name} is drawn as ({letters}) = {expected}, the model's is {shapes[name]}")
        shown = [" · ".join(letter) for letter in letters.split()]
        known = [letter if letter in "BTSU1" else f"{numbers[letter]:,}" for letter in letters.split()]
        both = (f"({', '.join(words)}{',' if len(words) == 1 else ''})" for words in (shown, known))
        texts[name] = " = ".join(dict.fromkeys(both))
    return texts


def legend(config: TransformerConfig, letters: str) -> str:
    """What letters mean, in words: `legend(config, "TE") == "T tokens, E = 48 channels a head"`."""
    meanings = {
        "B": "rows",
        "T": "tokens",
        "S": "with those in the cache",
        "C": "channels",
        "H": "heads",
        "G": "heads of keys and values",
        "E": "channels a head",
        "F": "hidden channels",
        "V": "tokens in the vocabulary",
    }
    numbers, said = sizes(config), []
    for letter in letters:
        number = f" = {numbers[letter]:,}" if letter in numbers else ""
        meaning = meanings[letter].replace("heads", "head") if number == " = 1" else meanings[letter]
        said.append(f"{letter}{number} {meaning}")
    return ", ".join(said)
