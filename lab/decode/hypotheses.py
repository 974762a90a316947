"""What a search looks at and what it finds: candidates, which know their parents, and whole texts.

Letters: B rows, W beams a prompt, V the vocabulary.
"""

from dataclasses import dataclass, field

from torch import Tensor

Alternatives = tuple[tuple[int, float], ...]


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """A text that a step considered: `parent`'s, None for the prompt, and one `token` more.

    log_probability  of the token after its parent; `total` is the sum since the prompt
    fate             "alive" (a beam of the next step), "finished" (ends in the stop token), or "pruned"
    alternatives     the likeliest `(token id, probability)` pairs in the token's place, if they were asked for
    """

    parent: "Candidate | None" = field(repr=False)
    token: int
    log_probability: float
    total: float
    fate: str
    alternatives: Alternatives = field(default=(), repr=False)

    @property
    def path(self) -> tuple["Candidate", ...]:
        """Those from the first token to this one."""
        found: list[Candidate] = []
        node: Candidate | None = self
        while node is not None:
            found.append(node)
            node = node.parent
        return tuple(reversed(found))

    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens since the prompt."""
        return tuple(node.token for node in self.path)


@dataclass(frozen=True)
class Hypothesis:
    """A text that the search would return, with the tokens since the prompt.

    `score` is what texts are compared by (`BeamSearch.score`); `finished`: it ends in the stop token, not because
    there was room for no more. `steps` holds (token, log-probability, alternatives) of each token.
    """

    tokens: tuple[int, ...]
    score: float
    finished: bool
    steps: tuple[tuple[int, float, Alternatives], ...] = field(repr=False)

    @property
    def log_probabilities(self) -> tuple[float, ...]:
        return tuple(log_p for _, log_p, _ in self.steps)

    @property
    def log_probability(self) -> float:
        """Of all new tokens together."""
        return sum(self.log_probabilities)


@dataclass(frozen=True)
class BeamStep:
    """One step of one prompt's search.

    candidates  the 2 W likeliest continuations of the beams, likeliest first; of these beams and texts are made
    ended       the W best texts so far, with their scores, best first
    over        whether the search has ended with this step
    """

    candidates: tuple[Candidate, ...]
    ended: tuple[tuple[float, Candidate], ...]
    over: bool
    num_best: int = 1

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """The `num_best` best texts so far; of the last step, the result."""
        return tuple(_hypothesis(score, last) for score, last in self.ended[: self.num_best])


def likeliest(log_probs: Tensor, count: int) -> list[Alternatives]:
    """The `count` likeliest tokens of each row of `(B, V)`, with their probabilities."""
    best = log_probs.topk(min(count, log_probs.shape[-1]), dim=-1)
    pairs = zip(best.indices.tolist(), best.values.exp().tolist(), strict=True)
    return [tuple(zip(ids, values, strict=True)) for ids, values in pairs]


def _hypothesis(score: float, last: Candidate) -> Hypothesis:
    steps = tuple((node.token, node.log_probability, node.alternatives) for node in last.path)
    return Hypothesis(last.tokens, score, last.fate == "finished", steps)
