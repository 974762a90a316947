"""The check of scoring passes ours and a slow independent one, and catches every planted bug."""

import math

import torch
from test_checks import failing, passing

from lab import checks
from lab.score import score_lines

BITS, FIRST, END, BEGIN, NEWLINE = (
    "equally likely",
    "the first token",
    "</s> is scored",
    "<s> itself",
    "newline",
)
TOKENS, PADDING, LONG, HALF = "not per token", "padding", "a long line", "half a context"
MANY, ORDER, MODE, ANSWER = "many lines", "the order", "evaluation", "the answer"


def ours(model, tokenizer, lines):
    return score_lines(model, tokenizer, lines).bits_per_char


def scorer(
    *, base=2, end=True, newline=True, first=0, per="char", stride="half", mean=False, drop=0, mode=True,
    stays=False, order=False,
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
            cost = sum(token_costs(model, ids, first, stride)) / math.log(base) * (1 + n * order)
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
            "apart": (t - 1) // context * context,
            "cut": 0,
            "barely": 0 if t <= context else t - (context + 1) // 2,
            "little": 0 if t <= context else t - max(1, context // 4),  # a quarter of a context is enough
        }[stride]
        logits = model(torch.tensor([ids[start:t]]))[0, -1]
        yield -logits.log_softmax(-1)[ids[t]].item()


@torch.no_grad()
def in_a_batch(model, tokenizer, lines, ignore=True, left=False, mean=False, size=64, shift=0):
    """Short lines, a batch at a time; longer ones by the slow scorer. Things that go wrong with padding."""
    was, encoded = model.training, tokenizer.encode_lines(lines)
    if max(map(len, encoded)) - 1 > model.config.context:
        return scorer()(model, tokenizer, lines)
    model.eval()
    nats, chars, batches = 0.0, sum(map(len, lines)) + len(lines), []
    for i in range(0, len(lines), size):
        rows = encoded[i : i + size]
        T = max(map(len, rows))
        fill = [[tokenizer.pad_id] * (T - len(row)) for row in rows]
        ids = torch.tensor([f + r if left else r + f for r, f in zip(rows, fill, strict=True)])
        x, y = ids[:, :-1], ids[:, 1:]
        costs = -model(x).log_softmax(-1).gather(-1, y[..., None])[..., 0]
        real = (y != tokenizer.pad_id) & (x != tokenizer.pad_id) if ignore else torch.ones_like(y).bool()
        nats += costs[real].sum().item()
        batches.append(costs[real].mean().item())
    model.train(was)
    return (sum(batches) / len(batches) if mean else nats / chars) / math.log(2)


@torch.no_grad()
def as_one_stream(model, tokenizer, lines):
    """All lines joined: <s> is predicted from the </s> before it."""
    ids, was = [i for line in tokenizer.encode_lines(lines) for i in line], model.training
    model.eval()
    nats = sum(token_costs(model, ids))
    model.train(was)
    return nats / math.log(2) / (sum(map(len, lines)) + len(lines))


@torch.no_grad()
def in_a_long_row(model, tokenizer, lines):
    was, nats = model.training, 0.0
    model.eval()
    for ids in tokenizer.encode_lines(lines):
        log_p = model(torch.tensor([ids[:-1]])).log_softmax(-1)
        nats -= log_p[0, range(len(ids) - 1), ids[1:]].sum().item()
    model.train(was)
    return nats / math.log(2) / (sum(map(len, lines)) + len(lines))


test_right_scores_pass = passing(
    checks.score,
    ours, scorer(), scorer(stride="barely"), in_a_batch, lambda *args: in_a_batch(*args, left=True, size=7),
    lambda model, tokenizer, lines: score_lines(model, tokenizer, lines, batch_size=3).bits_per_char,
    lambda *args: torch.tensor(ours(*args), dtype=torch.float32),
)  # fmt: skip
RANDOM = [PADDING, LONG, HALF, MANY, MODE]
test_wrong_scores_are_caught = failing(
    checks.score,
    (scorer(base=math.e), [BITS, FIRST, END, NEWLINE, TOKENS, *RANDOM]),
    (scorer(end=False), [BITS, END, TOKENS, *RANDOM]),
    (scorer(newline=False), [BITS, FIRST, END, NEWLINE, TOKENS, *RANDOM]),
    (scorer(first=1), [BITS, FIRST, TOKENS, *RANDOM]), (scorer(per="token"), [TOKENS]),
    (scorer(end=False, newline=False), [FIRST, END, NEWLINE, TOKENS, *RANDOM]),
    (scorer(stride="apart"), [HALF]), (scorer(stride="little"), [HALF]), (scorer(stride="cut"), [LONG, HALF]),
    (scorer(mean=True), [PADDING, LONG, HALF, MANY]), (scorer(drop=10), [MANY, ORDER]),
    (scorer(order=True), [FIRST, END, NEWLINE, PADDING, LONG, HALF, MANY, ORDER]), (scorer(mode=False), [MODE]),
    (scorer(stays=True), [MODE]), (lambda *args: in_a_batch(*args, ignore=False), [PADDING, MANY, ORDER]),
    (lambda *args: in_a_batch(*args, mean=True, size=16), [TOKENS, MANY, ORDER]),
    (lambda *args: -ours(*args), [BITS, FIRST, END, NEWLINE, TOKENS, *RANDOM]),
    (lambda *args: 2 ** ours(*args), [BITS, FIRST, END, BEGIN, NEWLINE, TOKENS, *RANDOM]),
    (lambda model, tokenizer, lines: ours(model, tokenizer, lines[:1]), [PADDING, LONG, HALF, MANY, ORDER]),
    (in_a_long_row, [LONG, HALF], "raised ValueError: ids of shape"),
)  # fmt: skip
test_well_known_mistakes_are_named = failing(
    checks.score,
    *((fn, [], said) for fn, said in (
    (scorer(base=math.e), "as if in nats, not in bits"),
    (scorer(newline=False), "as if newlines were not counted as characters"),
    (scorer(end=False), "as if </s> was not scored"),
    (scorer(first=1), "as if the first token were not scored"),
    (scorer(end=False, newline=False), "as if neither </s> were scored nor the newline counted"),
    (scorer(per="token"), "as if per token, not per character"),
    (scorer(mean=True), "as if each line had the same weight, whatever its length"),
    )),
    (as_one_stream, [BEGIN, PADDING, MANY]),
    (lambda *args: score_lines(*args), [ANSWER], "Score, which is not an array of numbers"),
    only=False,
)  # fmt: skip
