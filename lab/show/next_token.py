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
from lab.show.clusters import escaped
from lab.show.colours import BLUE, FAINT, GREY, INK, SKY

SHOWN = 10  # of the likeliest tokens
BAR = 260  # pixels of the longest bar


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


def told(step: NextToken) -> str:
    """How much is kept, and how much removed, in one sentence."""
    return (
        f"{step.kept:,} of {len(step.own):,} tokens kept: {step.kept_mass:.1%} of the probability; "
        f"removed: {1 - step.kept_mass:.1%}"
    )


def next_html(step: NextToken, tokenizer, heading: str) -> str:
    """HTML: one bar of kept and removed mass, and below the likeliest tokens before and after the filters."""
    kept = 100 * step.kept_mass
    hatched = f"repeating-linear-gradient(45deg,{FAINT} 0 4px,#fff 4px 8px)"
    mass = (
        f"<div class='lab-mass' role='img' aria-label='{escaped(told(step))}' style='display:flex;height:14px;"
        f"max-width:{BAR + 220}px;border:1px solid {GREY};border-radius:3px;overflow:hidden;margin:3px 0'>"
        f"<div style='width:{kept:.2f}%;background:{SKY}'></div>"
        f"<div style='flex:1;background:{hatched}'></div></div>"
    )
    ids = step.likeliest()
    longest = float(torch.stack([step.own[ids], step.drawn_from[ids]]).max())
    rows = "".join(_row(step, i, tokenizer.tokens([i])[0], BAR / longest) for i in ids)
    key = (
        f"<div style='color:{GREY}'>Above: kept, and hatched what is removed. "
        f"Bars: <span style='color:{GREY}'>■</span> the model's own probability, <span style='color:{BLUE}'>■</span> "
        "what is drawn from.</div>"
    )
    table = f"<table style='border-spacing:0 2px;color:{INK};font-size:13px'>{rows}</table>"
    return f"<div><b>{escaped(heading)}</b> {told(step)}</div>{mass}{table}{key}"


def _row(step: NextToken, i: int, name: str, pixels: float) -> str:
    """A token's own probability and what the filters make of it; `pixels` are those of 100%."""
    own, drawn_from = float(step.own[i]), float(step.drawn_from[i])
    bars = "".join(
        f"<div style='height:7px;width:{max(1, pixels * share):.0f}px;background:{colour}'></div>"
        for share, colour in ((own, GREY), (drawn_from, BLUE))
    )
    then = f"{drawn_from:.1%}" if drawn_from else "removed"
    return (
        f"<tr><td style='font-family:monospace;padding-right:10px'>{escaped(label(name, 24))}</td>"
        f"<td style='min-width:{BAR}px'>{bars}</td><td style='padding-left:8px'>{own:.1%} &rarr; {then}</td></tr>"
    )
