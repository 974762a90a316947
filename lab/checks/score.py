"""A check of scoring: bits per character, on models whose exact answer is known."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from lab.checks.check import Case, Check, CheckReport, Examples
from lab.checks.drawing import shorten
from lab.checks.numbers import differing, reals, told
from lab.text import BPETokenizer, CharTokenizer

RARE = 1e-30  # the probability of what is as good as impossible


class TableModel(nn.Module):
    """A language model that knows the next token by the last one alone, from a table `(V, V)` of probabilities.

    `model(ids)` takes ids `(B, T)`, T up to `model.config.context`, and gives logits `(B, T, V)`; what else is
    given changes nothing. Two defects show what a scorer does, if it is `sensitive`: where a
    row does not begin with `<s>` (after padding), the model is at a loss, all tokens equally likely, until it has
    read half a context; and while it is in training its logits are wrong, as with dropout.
    """

    def __init__(self, name: str, table: Tensor, context: int = 8, sensitive: bool = False):
        super().__init__()
        self.name, self.sensitive = name, sensitive
        self.config = SimpleNamespace(context=context, vocab_size=len(table))
        self.table = nn.Parameter((table / table.sum(-1, keepdim=True)).log(), requires_grad=False)

    def forward(self, ids: Tensor, *, mask=None, document_ids=None, positions=None, cache=None) -> Tensor:
        if ids.dim() != 2 or ids.shape[1] > self.config.context:
            raise ValueError(
                f"ids of shape {tuple(ids.shape)}; this model reads (B, T), T up to {self.config.context}"
            )
        logits = self.table[ids]
        if not self.sensitive:
            return logits
        read = (ids != CharTokenizer.pad_id).cumsum(1)
        begun = (ids == CharTokenizer.bos_id).cumsum(1) > 0
        lost = ~begun & (read < self.config.context // 2)
        return logits.masked_fill(lost[..., None], 0.0) * (-1 if self.training else 1)


def score(fn: Callable) -> CheckReport:
    """Does `fn(model, tokenizer, lines)` give the bits a character that the model needs for the lines?

    Each line is scored alone: `<s>` is given, `</s>` is predicted, in the place of the newline, which counts as a
    character. So it is -log2 P(all tokens of all lines), divided by all characters and one newline a line.
    Longer lines are read in overlapping windows of at most `model.config.context` tokens; each token is scored once,
    with at least half a context before it. The answer is one number.

    The models are tables (`TableModel`): `model(ids)` gives logits `(B, T, V)` for ids `(B, T)`. They are modules,
    in training or evaluation, but have no cache. The tokenizers are a `CharTokenizer` and a `BPETokenizer`, with
    `encode_lines`, `pad_id`, `bos_id`, `eos_id`.

    >>> from lab.score import score_lines
    >>> bool(score(lambda model, tokenizer, lines: score_lines(model, tokenizer, lines).bits_per_char))
    True
    """

    def exact(case: Case) -> np.ndarray:
        return np.array([sum(map(sum, _costs(case))) / _chars(case["lines"])])

    small = [_uniform("a"), _uniform("a", "ab")]
    check = Check("score", fn, "one number, bits per character", reals(lambda case: ()), small, right=exact)

    def order(case: Case, answer: np.ndarray) -> Examples:
        turned = check.ask(case.but(lines=case["lines"][::-1]))
        yield differing(f"{case} and the lines turned round", answer, turned)

    def mode(case: Case, _) -> Examples:
        for training in (True, False):
            model = case["model"].train(training)
            said = f"{case}, model.training={training}"
            yield differing(said, exact(case), check.ask(case), "is model.eval() called?")
            if model.training != training:
                left = "model.training is {} after it"
                yield told(said, left.format(training), left.format(not training))

    def expect(name: str, *cases: Case) -> None:
        check.expect(name, cases, mistakes=_mistakes)

    long = ["abcdabcdabcdabdcabd", "a", "dcbaabcdaabbccdd"]
    many = ["abcdcba"[n % 3 :][: n // 25] for n in range(150)]  # longer and longer
    expect("V equally likely tokens cost log2 V bits each", _uniform("a"))
    expect("the first token is scored, after <s>", *_free("abc", "sa", 0.25))
    expect("</s> is scored, at the end of each line", *_free("abc", "ce", 0.125))
    expect("<s> itself is given, and not scored", *_free("abc"))
    expect("each line's newline counts as a character", *_free("abc", "bc", 0.5))
    expect(
        "it is per character, not per token", _uniform("abab", tokenizer=BPETokenizer([(102, 103)]))
    )  # "ab" is one token
    expect("padding beside a longer line is not scored", _random("a", "abcd", "", "cb"))
    expect("each token of a long line is scored once", *_long(long))
    check.expect("and with at least half a context before it", _long(long, True))
    expect("many lines: all count, by their length", _random(*many))
    check.judge("the order of the lines does not matter", order, [_random(*many, "abcabc")])
    check.judge("the model is scored in evaluation, and left in its mode", mode, _long(["ab"], True))
    return check.report


class _Scoring(Case):
    def __str__(self) -> str:
        model, tokenizer, lines = self
        about = f"{model.name}, context {model.config.context}"
        return shorten(f"fn(model <{about}>, {type(tokenizer).__name__}, lines={lines})")


def _case(name: str, table: Tensor, lines: Sequence[str], tokenizer=None, **more) -> Case:
    return _Scoring(model=TableModel(name, table, **more), tokenizer=tokenizer or _LETTERS, lines=list(lines))


_LETTERS = CharTokenizer("abcd")
_PLACES = {"s": _LETTERS.bos_id, "e": _LETTERS.eos_id} | {c: _LETTERS.encode(c)[0] for c in "abcd"}


def _uniform(*lines: str, tokenizer=None) -> Case:
    V = (tokenizer or _LETTERS).vocab_size
    return _case("uniform", torch.ones(V, V).double(), lines, tokenizer)


def _free(line: str, costly: str = "", p: float = 1.0) -> list[Case]:
    """A table that is certain of the tokens of `line`, but for one step, such as "ab", with probability `p`."""
    table = torch.full((_LETTERS.vocab_size, _LETTERS.vocab_size), RARE, dtype=torch.float64)
    table[:, _LETTERS.unk_id] = 1.0  # what takes the probability of all that never comes
    for one, two in pairwise(f"s{line}e"):
        share = p if one + two == costly else 1.0
        table[_PLACES[one], _LETTERS.unk_id] = 1 - share + RARE
        table[_PLACES[one], _PLACES[two]] = share
    name = f"certain of {line!r}" + (f", but {_spoken(costly)} has p = {p}" if costly else "")
    return [_case(name, table, [line] * n) for n in (1, 2)]


def _spoken(step: str) -> str:
    one, two = ({"s": "<s>", "e": "</s>"}.get(token, token) for token in step)
    return f"{two} after {one}"


def _random(*lines: str, **more) -> Case:
    table = torch.rand((_LETTERS.vocab_size,) * 2, generator=torch.Generator().manual_seed(0)).double() + 0.01
    return _case("a table of random bigrams", table, lines, **more)


def _long(lines: Sequence[str], sensitive: bool = False) -> list[Case]:
    contexts = (4, 6, 7) if sensitive else (1, 2, 4, 7)
    cases = [_random(*lines, context=context, sensitive=sensitive) for context in contexts]
    for case in cases:
        case["model"].eval()
    return cases


def _costs(case: Case) -> list[list[float]]:
    """The bits of every token of every line, by the definition."""
    table = -case["model"].table.detach() / math.log(2)
    return [
        [table[pair].item() for pair in pairwise(ids)]
        for ids in case["tokenizer"].encode_lines(case["lines"])
    ]


def _chars(lines: Sequence[str]) -> int:
    return sum(map(len, lines)) + len(lines)


def _mistakes(case: Case) -> Iterator[tuple[str, float]]:
    """What would come of well-known mistakes."""
    costs, texts, chars = _costs(case), case["lines"], _chars(case["lines"])
    total, without_newlines = sum(map(sum, costs)), max(1, chars - len(texts))
    without_end = sum(sum(line[:-1]) for line in costs)
    each = [sum(line) / (len(text) + 1) for line, text in zip(costs, texts, strict=True)]
    yield "as if in nats, not in bits", total * math.log(2) / chars
    yield "as if newlines were not counted as characters", total / without_newlines
    yield "as if </s> was not scored", without_end / chars
    yield "as if the first token were not scored", sum(sum(line[1:]) for line in costs) / chars
    yield "as if neither </s> were scored nor the newline counted", without_end / without_newlines
    yield "as if per token, not per character", total / sum(map(len, costs))
    yield "as if each line had the same weight, whatever its length", np.mean(each)
    yield "as if the sum came, not divided by anything", total
