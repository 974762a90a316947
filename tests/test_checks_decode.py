"""The checks of decoding pass ours and independent ones, and catch every planted bug."""

import math

import numpy as np
import torch
from test_checks import failing, passing

from lab import checks
from lab.decode import filters
from lab.decode.beam import n_best
from lab.decode.search import BeamSearch, Sampling, generate

inf = math.inf

# --- filters ----------------------------------------------------------------------------------------------------------

K_LEFT, K_BEST, KEPT, REMOVED, K_ALL = "k tokens", "the k likeliest", "kept stays", "becomes -inf", "k of V"
NONE, ROWS, P_LEFT, P_SMALL = "no probability", "each row", "the fewest", "however small"
P_ONE, SHIFT = "p = 1", "a constant"


def slow_top_k(logits, k):
    """One token after another, in NumPy."""
    out = np.full_like(logits, -inf)
    for place in np.ndindex(logits.shape[:-1]):
        for i in sorted(range(logits.shape[-1]), key=lambda i, row=logits[place]: -row[i])[:k]:
            out[(*place, i)] = logits[(*place, i)]
    return out


def slow_top_p(logits, p):
    out = np.full_like(logits, -inf)
    for place in np.ndindex(logits.shape[:-1]):
        powers, total = np.exp(logits[place] - logits[place].max()), 0.0
        for i in sorted(range(len(powers)), key=lambda i, powers=powers: -powers[i]):
            if total < p or p == 1:
                out[(*place, i)] = logits[(*place, i)]
            total += powers[i] / powers.sum()
    return out


test_right_top_k_passes = passing(
    checks.top_k, filters.top_k, lambda logits, k: filters.top_k(logits, k).tolist(), numpy=[slow_top_k]
)
test_right_top_p_passes = passing(checks.top_p, filters.top_p, numpy=[slow_top_p])


def masked(keep):
    return lambda logits, n: np.where(keep(logits, n), logits, -inf)


def rank(logits):
    return np.argsort(np.argsort(-logits, axis=-1), axis=-1)


def nucleus(logits, p, reached, by=lambda x: -x):
    order = np.argsort(by(logits), axis=-1)
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    sorted_ = np.take_along_axis(powers / powers.sum(-1, keepdims=True), order, -1)
    keep = np.empty(logits.shape, dtype=bool)
    np.put_along_axis(keep, order, reached(sorted_, sorted_.cumsum(-1), p), -1)
    return np.where(keep, logits, -inf)


test_wrong_top_k_is_caught = failing(
    checks.top_k,
    (masked(lambda x, k: rank(x) < max(1, k - 1)), [K_LEFT, K_BEST, K_ALL, ROWS]),
    (masked(lambda x, k: rank(x) <= k), [K_LEFT, K_BEST, REMOVED]),
    (masked(lambda x, k: rank(-x) < k), [K_BEST, REMOVED]),
    (masked(lambda x, k: rank(x.ravel()).reshape(x.shape) < k), [ROWS]),
    (lambda x, k: np.where(slow_top_k(x, k) > -inf, x, -1e9), [REMOVED]),
    (lambda x, k: slow_top_k(x, k) - x.max(), [KEPT]),
    (lambda x, k: slow_top_k(x, k) if k < x.shape[-1] else x * -inf, [K_ALL]),
    (lambda x, k: np.where(np.isinf(x).any(), np.nan, slow_top_k(x, k)), [NONE]),
    only=False, given="numpy",
)  # fmt: skip
test_wrong_top_p_is_caught = failing(
    checks.top_p,
    (lambda x, p: nucleus(x, p, lambda q, s, p: s < p), [P_LEFT, P_SMALL]),
    (lambda x, p: nucleus(x, p, lambda q, s, p: s - q < p, by=lambda x: x), [P_LEFT]),
    (lambda x, p: nucleus(x, p, lambda q, s, p: (s - q < p) & (p > 0.2)), [P_SMALL]),
    (lambda x, p: nucleus(x, p, lambda q, s, p: (s - q < p) & (p < 1)), [P_ONE]),
    (lambda x, p: np.where(slow_top_p(x, p) > -inf, x, -100.0), [REMOVED]),
    (lambda x, p: slow_top_p(x, p) - 1, [KEPT]),
    (lambda x, p: np.where(np.exp(x - 2) >= 0.1, slow_top_p(x, p), -inf), [P_LEFT, SHIFT]),
    (lambda x, p: slow_top_p(x.ravel(), p).reshape(x.shape), [ROWS]),
    (lambda x, p: np.where(np.isinf(x).any(), np.nan, slow_top_p(x, p)), [NONE]),
    only=False, given="numpy",
)  # fmt: skip

DIVIDED, MULTIPLIED, ALONE, ONCE = "is divided", "is multiplied", "left alone", "penalised once"
ONE, BELOW, OWN = "a penalty of 1", "below 1", "a text of its own"


def penalise(logits, ids, penalty, change=lambda v, n: v / n if v > 0 else v * n, once=True, own=True):
    out = np.array(logits)
    rows, texts = out.reshape(-1, out.shape[-1]), np.reshape(ids, (-1, ids.shape[-1]))
    for n, row in enumerate(rows):
        text = texts[n if own else 0].tolist()
        for i in set(text) if once else text:
            row[i] = change(row[i], penalty)
    return out


test_a_right_repetition_penalty_passes = passing(
    checks.repetition_penalty, filters.repetition_penalty, numpy=[penalise]
)
test_a_wrong_repetition_penalty_is_caught = failing(
    checks.repetition_penalty,
    (lambda *a: penalise(*a, change=lambda v, n: v / n), [MULTIPLIED], "divided, a negative logit becomes likelier"),
    (lambda *a: penalise(*a, change=lambda v, n: v * n), [DIVIDED, ONCE, BELOW, OWN]),
    (lambda *a: penalise(*a, change=lambda v, n: v - n), [DIVIDED, MULTIPLIED, ALONE, ONCE, ONE, BELOW, OWN]),
    (lambda *a: penalise(*a, once=False), [ONCE, OWN]), (lambda *a: penalise(*a, own=False), [OWN]),
    (lambda x, ids, n: penalise(x, ids, max(n, 1.0)), [BELOW]),
    only=False, given="numpy",
)  # fmt: skip


# --- search -----------------------------------------------------------------------------------------------------------

TAKEN, NEW, READ, BEGIN = "likeliest token is taken", "only the new", "each new token", "to its beginning"
MOST, STOP, PROMPT, ALL = "at most max_new_tokens", "it ends with", "in the prompt", "all together"


def our_greedy(score_fn, ids, max_new_tokens, stop_id):
    steps = generate(score_fn, ids, Sampling(temperature=0), max_new_tokens=max_new_tokens, stop_id=stop_id)
    return [step.token for step in steps]


def loop(
    score_fn, ids, n, stop, pick=np.argmax, prompt=False, reads=slice(None), more=0, keep_stop=True, grows=True,
    any_stop=False,
):  # fmt: skip
    text = list(ids)
    for _ in range(n + more):
        if stop in (text if any_stop else text[len(ids) :]):
            break
        text.append(int(pick(score_fn(torch.tensor([(text if grows else list(ids))[reads]])).numpy()[0])))
    new = text if prompt else text[len(ids) :]
    return new if keep_stop or new[-1] != stop else new[:-1]


test_right_greedy_decoding_passes = passing(
    checks.greedy, our_greedy, loop, lambda *args: torch.tensor(loop(*args))
)
test_wrong_greedy_decoding_is_caught = failing(
    lambda changes: checks.greedy(lambda *args: loop(*args, **changes)),
    (dict(pick=np.argmin), [TAKEN, NEW, READ, STOP, ALL]),
    (dict(pick=lambda x: np.random.default_rng(0).choice(5, p=np.exp(x) / np.exp(x).sum())), [ALL]),
    (dict(prompt=True), [TAKEN, NEW, ALL]), (dict(grows=False), [READ, ALL]),
    (dict(reads=slice(-3, None)), [BEGIN, ALL]), (dict(more=1), [TAKEN, MOST]),
    (dict(keep_stop=False), [STOP, ALL]), (dict(any_stop=True), [PROMPT]),
    only=False,
)  # fmt: skip

ONE_BEAM, TWO, NO_MORE, NO_FEWER = "one beam", "two beams", "no more beams", "no fewer"
WIDE, WHOLE, ENDED, PENALTY = (
    "for every text",
    "whole prompt",
    "has ended is kept",
    "length ** length_penalty",
)


def our_beams(score_fn, ids, width, length_penalty, max_new_tokens, stop_id):
    search = BeamSearch(width, length_penalty)
    ((found,),) = n_best(score_fn, [ids], search, max_new_tokens=max_new_tokens, stop_id=stop_id)
    return list(found.tokens), found.score


def beams(
    score_fn, ids, width, penalty, longest, stop, *, extra=0, ends=True, per_beam=None, normalise=True, sums=True,
    counts_stop=True, divide=True, forget=False, loses_ended=False, first=1, reads=0, unended=True,
):  # fmt: skip
    """A beam search in which a text that ends takes up a beam, with everything that a test may break."""
    alive, done = [((), 0.0)] * first, []
    for _ in range(longest):
        grown = []
        for text, total in alive:
            logits = score_fn(torch.tensor([[*ids, *text][reads:]]))[0]
            log_p = (logits.log_softmax(-1) if normalise else logits).tolist()
            ranked = sorted(range(len(log_p)), key=lambda i, log_p=log_p: -log_p[i])[:per_beam]
            grown += [((*text, i), log_p[i] + (total if sums else 0.0)) for i in ranked]
        grown = sorted(grown, key=lambda scored: -scored[1])[: width + extra]
        ended = [scored for scored in grown if ends and scored[0][-1] == stop]
        done = [*([] if loses_ended else done), *ended]
        alive = [scored for scored in grown if scored not in ended]
        if not alive:
            break
    done = done + alive if unended or not done else done

    def score(scored):
        text, total = scored
        length = len(text) - (not counts_stop and text[-1] == stop)
        return total / max(1, length) ** penalty if divide else total

    text, total = max(done, key=score)
    return list(text), total if forget else score((text, total))


test_right_beam_searches_pass = passing(
    checks.beam_search, our_beams, beams, lambda *args: tuple(map(torch.tensor, beams(*args)))
)
test_wrong_beam_searches_are_caught = failing(
    lambda changes: checks.beam_search(lambda *args: beams(*args, **changes)),
    (dict(extra=1), [ONE_BEAM, NO_MORE]), (dict(per_beam=1), [TWO, NO_FEWER, WIDE]), (dict(first=2), [NO_FEWER]),
    (dict(normalise=False), [ONE_BEAM, WIDE]), (dict(sums=False), [TWO, WIDE, ALL]),
    (dict(ends=False), [ENDED, ALL]), (dict(loses_ended=True), [ENDED]), (dict(divide=False), [PENALTY, ALL]),
    (dict(forget=True), [PENALTY, ALL]), (dict(counts_stop=False), [ALL]), (dict(unended=False), [PENALTY]),
    (dict(reads=1), [WHOLE]),
    only=False,
)  # fmt: skip
