"""Checks of how a text is searched for: greedy decoding and beam search, on models small enough to try all texts."""

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from lab.checks.check import Case, Check, CheckReport, Example
from lab.checks.numbers import ATOL, RTOL, one_number, parts, told, unequal, whole_numbers

Text = tuple[int, ...]


class Scores:
    """A language model that says the logits of the next token, `(B, V)`, after ids `(B, T)`.

    It is made of the probabilities after each text, those of the prompt counted in; what is 0 gets -inf.
    """

    def __init__(self, name: str, after: Callable[[Text], Sequence[float]]):
        self.name, self.after = name, after

    def __call__(self, ids: Tensor) -> Tensor:
        ids = torch.as_tensor(ids)
        if ids.dim() != 2 or ids.is_floating_point() or not ids.shape[1]:
            raise ValueError(f"score_fn reads ids (B, T), whole numbers; got {ids.dtype} {tuple(ids.shape)}")
        rows = [self.after(tuple(row)) for row in ids.tolist()]
        return torch.tensor(rows, dtype=torch.float64).log() + 3  # logits, no log-probabilities

    def log_probability(self, prompt: Text, text: Text) -> float:
        """Of all tokens of `text` after `prompt`."""
        total = 0.0
        for n, token in enumerate(text):
            p = self.after(prompt + text[:n])
            total += math.log(p[token] / sum(p)) if p[token] else -math.inf
        return total

    def __repr__(self) -> str:
        return f"<{self.name}>"


def greedy(fn: Callable) -> CheckReport:
    """Does `fn(score_fn, ids, max_new_tokens, stop_id)` add the likeliest token, again and again?

    `ids` is a list of token ids, the prompt; `score_fn` takes ids `(B, T)`, int64, and gives the logits `(B, V)` of the
    next token, float64. The answer is the list of new tokens. It ends with `stop_id`, or after `max_new_tokens`; a
    `stop_id` in the prompt ends nothing.

    >>> def without_end(score_fn, ids, max_new_tokens, stop_id):
    ...     text = list(ids)
    ...     for _ in range(max_new_tokens):
    ...         text.append(int(score_fn(torch.tensor([text])).argmax()))
    ...     return text[len(ids):]
    >>> [p.name for p in greedy(without_end).properties if not p.passed]
    ['it ends with the stop token, which is part of the answer', 'all together: a model that reads the whole text']
    """

    def case(model: Scores, ids: Sequence[int], n: int, stop_id: int = 9) -> Case:
        return Case(score_fn=model, ids=list(ids), max_new_tokens=n, stop_id=stop_id)

    def right(case: Case) -> Text:
        model, prompt, longest, stop_id = case
        text = ()
        while len(text) < longest and (not text or text[-1] != stop_id):
            text += (int(np.argmax(model.after((*prompt, *text)))),)
        return text

    def compare(case: Case, right: Text, found: Text, note: str) -> Example | None:
        return unequal(case, [right], [found], note)

    next_up = Scores("the next number, from 4 to 0", lambda text: _sharp((text[-1] + 1) % 5))
    back = Scores(
        "as far from the first token as from the last", lambda text: _sharp((text[0] + len(text)) % 5)
    )
    flat = Scores("0 and 1, nearly the same", lambda text: [0.5, 0.5001, 0, 0, 0])
    first, wanted = [case(next_up, [0], 1), case(next_up, [0, 1], 2)], "a list of token ids"
    check = Check("greedy", fn, wanted, lambda _, answer: _ids(answer), first, right=right, compare=compare)
    ends = [case(next_up, [0], 9, stop) for stop in (1, 4)]
    check.expect("the likeliest token is taken", [case(next_up, [0], 1), case(flat, [0], 1)])
    check.expect("only the new tokens are the answer", [case(next_up, [0, 1, 2], 1)])
    check.expect("each new token is read before the next", [case(next_up, [0], n) for n in (2, 7)])
    check.expect("the text before it is read to its beginning", [case(back, [3, 0], 5)])
    check.expect("there are at most max_new_tokens", [case(flat, [1], n) for n in (1, 3, 12)])
    check.expect("it ends with the stop token, which is part of the answer", ends)
    check.expect("a stop token in the prompt ends nothing", [case(next_up, [4, 1], 2, 4)])
    noisy = [case(_noise(5, seed), [seed, 1], 20, 4) for seed in range(5)]
    check.expect("all together: a model that reads the whole text", noisy)
    return check.report


def beam_search(fn: Callable) -> CheckReport:
    """Is `fn(score_fn, ids, width, length_penalty, max_new_tokens, stop_id)` a beam search?

    It keeps the `width` likeliest beginnings at each step. A text ends with `stop_id`, or where it has
    `max_new_tokens` tokens; its score is the sum of its tokens' log-probabilities over `length ** length_penalty`,
    the stop token counted in both. The answer is the best text found, as a pair (list of new tokens, score). `ids` and
    `score_fn` are as those of `greedy`; `score_fn` takes several rows at once, and gives logits, not log-probabilities.

    Whether a text that ends takes up one of the beams, and how soon the search may end, is not judged.

    >>> def one_beam(score_fn, ids, width, length_penalty, max_new_tokens, stop_id):
    ...     text, total = list(ids), 0.0
    ...     while len(text) < len(ids) + max_new_tokens and (text == ids or text[-1] != stop_id):
    ...         best = score_fn(torch.tensor([text])).log_softmax(-1)[0].max(0)
    ...         text, total = [*text, int(best.indices)], total + float(best.values)
    ...     return text[len(ids):], total / (len(text) - len(ids)) ** length_penalty
    >>> [p.name for p in beam_search(one_beam).properties if not p.passed][0]
    'two beams find what the likeliest first token hides'
    """

    def case(model: Scores, width: int, n: int, penalty: float = 0.0, stop_id: int = 9, ids=(0,)) -> Case:
        settings = dict(width=width, length_penalty=penalty, max_new_tokens=n, stop_id=stop_id)
        return Case(score_fn=model, ids=list(ids), **settings)

    def scored(case: Case, text: Text) -> tuple[float, Text]:
        total = case["score_fn"].log_probability(tuple(case["ids"]), text)
        return total / len(text) ** case["length_penalty"], text

    def best(case: Case) -> tuple[float, Text]:
        """Of all texts."""
        V = len(case["score_fn"].after(tuple(case["ids"])))
        return max(scored(case, text) for text in all_texts(V, case["max_new_tokens"], case["stop_id"]))

    def compare(
        case: Case, right: tuple[float, Text], answer: tuple[float, Text], note: str
    ) -> Example | None:
        (score, text), (given, found) = right, answer
        if example := unequal(case, [text], [found], f"with the score {given:.4g}"):
            return example
        if not math.isclose(score, given, rel_tol=RTOL, abs_tol=ATOL):
            return told(case, f"score {score:.4g}", f"score {given:.4g}", f"of {text}")

    def these(*text: int) -> Callable:
        return lambda case: scored(case, text)

    wanted, first = "a pair: a list of token ids, and its score", [case(_noise(3, 0), 1, 1)]
    check = Check("beam_search", fn, wanted, _scored, first, right=best, compare=compare)
    # After 1, which is likelier at first, all is open; after 2 all is sure.
    garden = Scores("1 hides what 2 leads to", lambda text: _garden(text[1:]))
    # The third likeliest beginning is the best in the end.
    third = Scores("the best begins with the third likeliest token", lambda text: _third(text[1:]))
    short = Scores("0 ends a text, and is not the likeliest", lambda text: [0.4, 0.6, 0.0])
    # Greedy misses the best of most.
    noisy = [(_noise(3, seed), n) for seed in (4, 9, 14, 25) for n in (2, 3)]
    prompts = [case(_noise(3, 7), 9, 2, ids=ids) for ids in ([1, 0], [2, 0])]
    penalised = [case(short, 32, 5, penalty, stop_id=0) for penalty in (1.0, 2.0, 0.5)]
    together = [case(m, 3**n, n, penalty, stop_id=2) for m, n in noisy for penalty in (0.0, 0.7, 1.5)]
    check.expect("one beam is greedy", [case(garden, 1, 2)], right=these(1, 1))
    check.expect(
        "two beams find what the likeliest first token hides", [case(garden, 2, 2)], right=these(2, 2)
    )
    check.expect("no more beams than width are kept", [case(third, 2, 2)], right=these(0, 1))
    check.expect("and no fewer", [case(third, 3, 2)], right=these(2, 2))
    check.expect("with a beam for every text the best of all is found", [case(m, 3**n, n) for m, n in noisy])
    check.expect("the whole prompt is read", prompts)
    ended = [case(short, 8, 5, stop_id=0)]
    check.expect("a text that has ended is kept, its score as it was", ended, right=these(0))
    check.expect("the score is divided by length ** length_penalty", penalised)
    check.expect("all together: texts that end, and every penalty", together)
    return check.report


def all_texts(V: int, longest: int, stop_id: int) -> list[Text]:
    """Every text that ends with the stop token, or has `longest` tokens and does not hold it before the last."""
    return [
        text
        for n in range(1, longest + 1)
        for text in product(range(V), repeat=n)
        if stop_id not in text[:-1] and (n == longest or text[-1] == stop_id)
    ]


def _sharp(token: int, V: int = 5) -> list[float]:
    return [0.8 if i == token else 0.2 / (V - 1) for i in range(V)]


def _garden(written: Text) -> list[float]:
    if not written:
        return [0.0, 0.6, 0.4]
    return [0.3, 0.4, 0.3] if written[0] == 1 else [0.05, 0.05, 0.9]


def _third(written: Text) -> list[float]:
    if not written:
        return [0.45, 0.35, 0.2]
    return {0: [0.3, 0.4, 0.3], 1: [0.35, 0.4, 0.25], 2: [0.0, 0.0, 1.0]}[written[0]]


def _noise(V: int, seed: int) -> Scores:
    """Random probabilities after each text, all of which is read."""

    def after(text: Text) -> list[float]:
        chance = np.random.default_rng([seed, len(text), *text])
        return chance.dirichlet(np.ones(V)).tolist()

    return Scores(f"random, {seed}", after)


def _ids(answer: object) -> Text:
    return tuple(whole_numbers(answer, (None,)).tolist())


def _scored(case: Case, answer: object) -> tuple[float, Text]:
    tokens, score = parts(answer, ("tokens", "score"))
    return one_number(score).item(), _ids(tokens)
