"""The check of scoring passes ours and a slow independent one, and catches every planted bug."""

import math

import torch
from test_checks import failing, passing

from lab import checks
from lab.nn import evaluating
from lab.score import score_lines

BITS, FIRST, END = "equally likely", "the first token", "</s> is scored"
BEGIN, NEWLINE = "<s> itself", "newline"
TOKENS, PADDING, LONG, HALF = "not per token", "padding", "a long line", "half a context"
MANY, ORDER, MODE, ANSWER = "many lines", "the order", "evaluation", "the answer"


def ours(model, tokenizer, lines):
    return score_lines(model, tokenizer, lines).bits_per_char


def scorer(
    *, base=2, end=True, newline=True, first=0, per="char", stride="half", mean=False, drop=0, mode=True,
    stays=False,
):  # fmt: skip
    """One token after another, with everything that a test may break."""

    @torch.no_grad()
    def score(model, tokenizer, lines):
        was = model.training
        if mode:
            model.eval()
        bits, chars, each = 0.0, 0, []
        for n, (line, ids) in enumerate(zip(lines, tokenizer.encode_lines(lines), strict=True)):
            ids = ids if end else ids[:-1]
            cost = sum(token_costs(model, ids, first, stride)) / math.log(base)
            size = len(line) + newline if per == "char" else len(ids) - 1
            if n < len(lines) - drop * (len(lines) > 100):
                bits, chars, each = bits + cost, chars + size, [*each, cost / max(1, size)]
        if not stays:
            model.train(was)
        return sum(each) / len(each) if mean else bits / max(1, chars)

    return score


def token_costs(model, ids, first=0, stride="half"):
    context = model.config.context
    for t in range(1 + first, len(ids)):
        if stride == "cut" and t > context:
            return
        start = {
            "half": max(0, t - context),
            "cut": 0,
            "barely": 0 if t <= context else t - (context + 1) // 2,
            "little": 0 if t <= context else t - max(1, context // 4),  # a quarter of a context is enough
        }[stride]
        logits = model(torch.tensor([ids[start:t]]))[0, -1]
        yield -logits.log_softmax(-1)[ids[t]].item()


def per_char(nats_of):
    """A score of the nats of all lines."""

    @torch.no_grad()
    def score(model, tokenizer, lines, **bug):
        with evaluating(model):
            nats = nats_of(model, tokenizer, lines, **bug)
        return nats / math.log(2) / (sum(map(len, lines)) + len(lines))

    return score


@per_char
def in_a_batch(model, tokenizer, lines, ignore=True, size=64):
    """Short lines, a batch at a time; longer ones by the slow scorer. Things that go wrong with padding."""
    nats, encoded = 0.0, tokenizer.encode_lines(lines)
    if max(map(len, encoded)) - 1 > model.config.context:
        return sum(sum(token_costs(model, ids)) for ids in encoded)
    for i in range(0, len(lines), size):
        rows = encoded[i : i + size]
        T = max(map(len, rows))
        ids = torch.tensor([row + [tokenizer.pad_id] * (T - len(row)) for row in rows])
        x, y = ids[:, :-1], ids[:, 1:]
        costs = -model(x).log_softmax(-1).gather(-1, y[..., None])[..., 0]
        real = (y != tokenizer.pad_id) & (x != tokenizer.pad_id) if ignore else torch.ones_like(y).bool()
        nats += costs[real].sum().item()
    return nats


@per_char
def as_one_stream(model, tokenizer, lines):
    """All lines joined: <s> is predicted from the </s> before it."""
    return sum(token_costs(model, [i for line in tokenizer.encode_lines(lines) for i in line]))


@per_char
def in_a_long_row(model, tokenizer, lines):
    nats = 0.0
    for ids in tokenizer.encode_lines(lines):
        log_p = model(torch.tensor([ids[:-1]])).log_softmax(-1)
        nats -= log_p[0, range(len(ids) - 1), ids[1:]].sum().item()
    return nats


test_right_scores_pass = passing(
    checks.score,
    ours, scorer(stride="barely"), in_a_batch, lambda *args: torch.tensor(ours(*args), dtype=torch.float32),
)  # fmt: skip
RANDOM = [PADDING, LONG, HALF, MANY, MODE]
test_wrong_scores_are_caught = failing(
    checks.score,
    (scorer(base=math.e), [BITS, FIRST, END, NEWLINE, TOKENS, *RANDOM], "as if in nats, not in bits"),
    (scorer(end=False), [BITS, END, TOKENS, *RANDOM], "as if </s> was not scored"),
    (scorer(newline=False), [BITS, FIRST, END, NEWLINE, TOKENS, *RANDOM],
     "as if newlines were not counted as characters"),
    (scorer(first=1), [BITS, FIRST, TOKENS, *RANDOM], "as if the first token were not scored"),
    (scorer(per="token"), [TOKENS], "as if per token, not per character"),
    (scorer(end=False, newline=False), [FIRST, END, NEWLINE, TOKENS, *RANDOM],
     "as if neither </s> were scored nor the newline counted"),
    (scorer(stride="little"), [HALF]), (scorer(stride="cut"), [LONG, HALF]),
    (scorer(mean=True), [PADDING, LONG, HALF, MANY], "as if each line had the same weight, whatever its length"),
    (scorer(drop=10), [MANY, ORDER]), (scorer(mode=False), [MODE]),
    (scorer(stays=True), [MODE]), (lambda *args: in_a_batch(*args, ignore=False), [PADDING, MANY, ORDER]),
    (lambda *args: 2 ** ours(*args), [BITS, FIRST, END, BEGIN, NEWLINE, TOKENS, *RANDOM]),
    (in_a_long_row, [LONG, HALF], "raised ValueError: ids of shape"),
)  # fmt: skip
test_other_wrong_scores_are_caught = failing(
    checks.score,
    (as_one_stream, [BEGIN, PADDING, MANY]),
    (lambda *args: score_lines(*args), [ANSWER], "Score, which is not an array of numbers"),
    only=False,
)  # fmt: skip
