"""A decoding filter of one's own: locally typical sampling (Meister et al. 2022).

Keep the tokens whose surprise is nearest to the entropy of the whole distribution, until they hold a share `mass`.
"""

import torch


def typical(logits, ids, mass=0.9):
    log_probs = logits.log_softmax(-1)
    probs = log_probs.exp()
    entropy = -(probs * log_probs.clamp(min=-1e9)).sum(-1, keepdim=True)
    order = (entropy + log_probs).abs().argsort(dim=-1, stable=True)  # the most typical first
    before = probs.gather(-1, order).cumsum(-1) - probs.gather(-1, order)
    removed = torch.zeros_like(probs, dtype=torch.bool).scatter(-1, order, before >= mass)
    return logits.masked_fill(removed, -torch.inf)
