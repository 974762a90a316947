"""A whole text in K latent vectors, and back: what a fixed number of numbers can hold of it.

The text is stretched over K * S places, S to a latent: each place takes the character that stands at its share of the
text, so every text, short or long, fills all latents. A latent is a linear map of the states at its S places. The
writer meets the latents at the same places: at each character it is given that character's part of its latent.
So nothing has to learn first where to look, which attention from learned queries does, and slowly.

Letters: B rows, T characters, K latents of W numbers, S places a latent, C channels.
"""

import math

import torch
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """States `(B, T, C)` of texts of up to `context` characters into latents `(B, K, W)`, and apart again.

    The first of the K * W numbers is the length of the text, as a share of the context: the writer must know it.

    >>> bottleneck = Bottleneck(context=64, width=8, latents=4, latent_width=3)
    >>> latents = bottleneck.fold(torch.randn(1, 10, 8), torch.tensor([10]))
    >>> latents.shape, text_lengths(latents, context=64).tolist()
    (torch.Size([1, 4, 3]), [10])
    """

    def __init__(self, context: int, width: int, latents: int, latent_width: int):
        super().__init__()
        self.context, self.latents = context, latents
        self.slots = math.ceil(context / latents)  # S: the longest text finds a place for each character
        self.into = nn.Linear(self.slots * width, latent_width, bias=False)
        self.out_of = nn.Linear(latent_width, self.slots * width, bias=False)
        nn.init.normal_(self.into.weight, std=self.into.in_features**-0.5)
        nn.init.normal_(self.out_of.weight, std=self.out_of.in_features**-0.5)

    def fold(self, states: Tensor, lengths: Tensor) -> Tensor:
        """`states` `(B, T, C)`, of which the first `lengths` `(B,)` are text -> latents `(B, K, W)`."""
        B, _, C = states.shape
        places = torch.arange(self.latents * self.slots, device=states.device)
        stands = places * lengths[:, None] // len(places)  # (B, K * S): the character at each place
        read = states.gather(1, stands[..., None].expand(-1, -1, C))
        latents = self.into(read.view(B, self.latents, self.slots * C))
        share = lengths[:, None] / self.context
        return torch.cat([share.to(latents.dtype), latents.flatten(1)[:, 1:]], dim=1).view_as(latents)

    def unfold(self, latents: Tensor, positions: Tensor) -> Tensor:
        """What latents `(B, K, W)` hold for the characters at `positions` `(T,)` -> `(B, T, C)`."""
        B = latents.shape[0]
        spread = self.out_of(latents).view(B, self.latents * self.slots, -1)  # (B, K * S, C)
        lengths = text_lengths(latents, self.context)[:, None]
        places = (positions * spread.shape[1] + lengths - 1) // lengths  # the first at which it stood
        places = places.clamp(max=spread.shape[1] - 1)  # beyond the end there is nothing to say
        return spread.gather(1, places[..., None].expand(-1, -1, spread.shape[2]))


def text_lengths(latents: Tensor, context: int) -> Tensor:
    """How many characters each text has, as its latents `(B, K, W)` say: int64 `(B,)`, from 1 to `context`."""
    return (latents[:, 0, 0].detach() * context).round().long().clamp(1, context)


@torch.no_grad()
def write_greedily(model: nn.Module, latents: Tensor, start_id: int) -> Tensor:
    """The texts that `model` (a `CharEncoder`) writes from `latents` `(B, K, W)` alone -> ids `(B, T)`.

    Free-running: each character is the likeliest one after `start_id` and what was written before it. T is the longest
    length that the latents tell; shorter rows end in padding. Compare with what was compressed for exact match.
    """
    lengths = text_lengths(latents, model.config.context)
    cache = model.new_writer_cache(len(latents), latents.device)
    ids = torch.full((len(latents), 1), start_id, device=latents.device)
    written = []
    for _ in range(int(lengths.max())):
        ids = model.write(latents, ids, cache=cache).argmax(dim=-1)  # (B, 1)
        written.append(ids)
    text = torch.cat(written, dim=1)
    beyond = torch.arange(text.shape[1], device=text.device) >= lengths[:, None]
    return text.masked_fill(beyond, model.config.pad_id)
