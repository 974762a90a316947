"""One step of decoding, in sight: the model's own distribution, what the filters keep of it, and what they remove.

Letters: V the vocabulary, T tokens of the text so far.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lab.decode import Sampling
from lab.decode.filters import kept_mass
from lab.nn import evaluating
from lab.show.attention import label

SHOWN = 10  # of the likeliest tokens


@dataclass(frozen=True)
class NextToken:
    """Probabilities `(V,)` of the next token: the model's own, and those that are drawn from.

    `kept_mass` is the share of the model's own probability on the tokens that the filters leave.
    """

    own: Tensor
    drawn_from: Tensor
    kept_mass: float

    @property
    def kept(self) -> int:
        """How many tokens are left to draw from."""
        return int((self.drawn_from > 0).sum())

    def likeliest(self, count: int = SHOWN) -> list[int]:
        """The ids of the likeliest tokens by the model's own probabilities."""
        return self.own.topk(min(count, len(self.own))).indices.tolist()


def next_token(model: nn.Module, ids: Sequence[int], sampling: Sampling) -> NextToken:
    """What a model says of the token after `ids`, and what `sampling` makes of it; of a long text the end is read."""
    read = torch.tensor([list(ids)[-model.config.context :]], device=next(model.parameters()).device)
    with torch.inference_mode(), evaluating(model):
        logits = model(read)[0, -1].double().cpu()
    return filtered(logits, ids, sampling)


def filtered(logits: Tensor, ids: Sequence[int], sampling: Sampling) -> NextToken:
    """The same from logits `(V,)`, which the repetition penalty changes where `ids` holds the token.

    >>> both = filtered(torch.tensor([2.0, 1.0, 0.0]), [], Sampling(top_k=2))
    >>> both.kept, round(both.kept_mass, 3)
    (2, 0.91)
    """
    left = sampling.logits(logits, torch.tensor(list(ids), dtype=torch.int64))
    return NextToken(logits.softmax(-1), left.softmax(-1), float(kept_mass(logits, left)))


def next_token_json(step: NextToken, tokenizer) -> dict:
    """What a page draws of a step: how much is kept, and of the likeliest tokens `[name, own, drawn from]`."""
    ids = step.likeliest()
    names = [label(name, 24) for name in tokenizer.tokens(ids)]
    rows = [[name, float(step.own[i]), float(step.drawn_from[i])] for name, i in zip(names, ids, strict=True)]
    return {"kept": step.kept, "of": len(step.own), "mass": step.kept_mass, "rows": rows}
