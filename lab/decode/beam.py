"""Beam search: several beginnings of a text are kept at once, and those that end best win.

Letters: P prompts, W beams a prompt, V the vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lab.decode.filters import REMOVED
from lab.decode.hypotheses import BeamStep, Candidate, Hypothesis, likeliest
from lab.decode.reading import Model, Reader, in_turn
from lab.decode.strategies import BeamSearch
from lab.machine import check_memory


def beam_search(
    model: Model,
    prompts: Sequence[Sequence[int]] | Tensor,
    strategy: BeamSearch | None = None,
    *,
    max_new_tokens: int,
    stop_id: int | None = None,
    num_alternatives: int = 0,
    **options,
) -> Iterator[tuple[BeamStep | None, ...]]:
    """Search for the likeliest continuations: at each step a `BeamStep` for each prompt, None when its search is over.

    Of the continuations of a prompt's W beams by one token, the W likeliest may end the text; the W likeliest that do
    not are the next beams. Texts that are as long as `max_new_tokens` allows end there. Scores of a text that has
    ended change no more. Arguments and errors as those of `generate`; the choices are those of transformers.

    >>> def fair(ids):  # 1 is likelier at first, 2 leads to a sure thing
    ...     rows = {0: [0.0, 0.6, 0.4], 1: [0.4, 0.3, 0.3], 2: [0.0, 0.0, 1.0]}
    ...     return torch.tensor([rows[i] for i in ids[:, -1].tolist()]).log()
    >>> for (step,) in beam_search(fair, [[0]], BeamSearch(width=2), max_new_tokens=2):
    ...     print([(c.tokens, round(float(torch.tensor(c.total).exp()), 2), c.fate) for c in step.candidates])
    [((1,), 0.6, 'alive'), ((2,), 0.4, 'alive')]
    [((2, 2), 0.4, 'alive'), ((1, 0), 0.24, 'alive'), ((1, 1), 0.18, 'pruned'), ((1, 2), 0.18, 'pruned')]
    """
    strategy = strategy or BeamSearch()
    if not isinstance(strategy, BeamSearch):
        raise ValueError(f"a beam search takes a BeamSearch, got {strategy!r}")

    def begin(reader: Reader):
        return _Group(reader, strategy, max_new_tokens, stop_id, num_alternatives).advance

    yield from in_turn(model, prompts, begin, max_new_tokens=max_new_tokens, **options)


def n_best(
    model: Model, prompts: Sequence[Sequence[int]] | Tensor, strategy: BeamSearch | None = None, **options
) -> list[tuple[Hypothesis, ...]]:
    """The `num_best` best texts of each prompt, best first; `options` as those of `beam_search`."""
    last: list[BeamStep | None] = []
    for steps in beam_search(model, prompts, strategy, **options):
        last = [new or old for new, old in zip(steps, last or steps, strict=True)]
    return [step.hypotheses for step in last]


@dataclass
class _Search:
    """The search of one prompt. `beams[i]` is in the i-th of its rows; None where there are fewer beams than rows."""

    name: int
    beams: list[Candidate | None]
    ended: list[tuple[float, Candidate]] = field(default_factory=list)


class _Group:
    """The searches of prompts of one length, whose beams are the rows of one reader: W rows for each search."""

    def __init__(
        self,
        reader: Reader,
        strategy: BeamSearch,
        max_new_tokens: int,
        stop_id: int | None,
        num_alternatives: int,
    ):
        self.reader, self.strategy, self.longest = reader, strategy, max_new_tokens
        self.stop_id, self.num_alternatives, self.length = stop_id, num_alternatives, 0
        self.searches = [_Search(name, [None]) for name in reader.names]  # one row each: the prompt

    def advance(self) -> list[tuple[int, BeamStep]]:
        """A step of every search; those that are over leave, and the reader goes on with the others' beams."""
        log_probs = self.strategy.log_probs(self.reader.logits(), self.reader.text)
        others = likeliest(log_probs, self.num_alternatives)
        V, found = log_probs.shape[-1], self._likeliest_continuations(log_probs)
        self.length += 1
        steps, going_on, rows, tokens = [], [], [], []
        W = len(self.searches[0].beams)
        if self.length == 1:  # each beam's text and cache, its logits in three forms, and candidates
            text = self.reader.ids.shape[1] * (8 + getattr(self.reader.cache, "bytes_per_token", 0))
            needed = self.strategy.width * len(self.searches) * (text + 12 * V + 1000)
            check_memory(f"a search with {self.strategy.width:,} beams", needed, "take fewer")
        for place, (search, *values) in enumerate(zip(self.searches, *found, strict=True)):
            first = place * W
            candidates, sources = self._candidates(search, first, V, others, *values)
            over = self._is_over(search, candidates)
            steps.append(
                (search.name, BeamStep(tuple(candidates), tuple(search.ended), over, self.strategy.num_best))
            )
            if not over:
                going_on.append(search)
                new_rows, search.beams = self._seat(candidates, sources, first, W)
                rows += new_rows
                tokens += [0 if beam is None else beam.token for beam in search.beams]
        self.searches = going_on
        self.reader.select(rows)
        if going_on:
            self.reader.append(torch.tensor(tokens))
        return steps

    def _likeliest_continuations(self, log_probs: Tensor) -> tuple[list, list, list]:
        """Sums, the numbers (row of the search * V + token) and log-probabilities of the 2 W best for each search."""
        P, V = len(self.searches), log_probs.shape[-1]
        totals = [
            [0.0 if not self.length else REMOVED if beam is None else beam.total for beam in search.beams]
            for search in self.searches
        ]
        log_probs = log_probs.view(P, -1, V)  # (P, W, V)
        sums = (log_probs + log_probs.new_tensor(totals)[:, :, None]).flatten(1)
        best = sums.topk(min(2 * self.strategy.width, sums.shape[1]), dim=-1)
        own = log_probs.flatten(1).gather(1, best.indices)
        return best.values.tolist(), best.indices.tolist(), own.tolist()

    def _candidates(
        self, search: _Search, first: int, V: int, others, totals, numbers, log_ps
    ) -> tuple[list, list]:
        """The candidates of one search, and the row of the parent of each; `search.ended` takes up what ends."""
        W, last = self.strategy.width, self.length == self.longest
        candidates, sources, alive = [], [], 0
        for rank, (total, number, log_p) in enumerate(zip(totals, numbers, log_ps, strict=True)):
            if total == REMOVED:
                break
            beam, token = divmod(number, V)
            if token == self.stop_id:
                fate = "finished" if rank < W else "pruned"
            else:
                fate = "alive" if alive < W else "pruned"
                alive += fate == "alive"
            node = Candidate(search.beams[beam], token, log_p, total, fate, others[first + beam])
            candidates.append(node)
            sources.append(first + beam)
            if fate == "finished" or (last and fate == "alive"):
                search.ended.append((self.strategy.score(total, self.length), node))
        search.ended.sort(key=lambda scored: -scored[0])
        del search.ended[W:]
        return candidates, sources

    def _is_over(self, search: _Search, candidates: list[Candidate]) -> bool:
        beams = [node.total for node in candidates if node.fate == "alive"]
        if self.length == self.longest or not beams:
            return True
        if len(search.ended) < self.strategy.width:
            return False
        if self.strategy.early_stopping is True:
            return True
        hopeful = self.strategy.early_stopping == "never" and self.strategy.length_penalty > 0
        best = self.strategy.score(beams[0], self.longest if hopeful else self.length)
        return best <= search.ended[-1][0]

    def _seat(self, candidates: list[Candidate], sources: list[int], first: int, W: int) -> tuple[list, list]:
        """Rows to take the new beams' texts from, and the beams in them: a parent's first child keeps its row.

        So only rows whose beam died are written anew, and in place.
        """
        width = self.strategy.width
        if width != W:  # the first step: from one row to as many as there are beams
            beams = [node for node in candidates if node.fate == "alive"]
            return [first] * width, beams + [None] * (width - len(beams))
        rows, beams, others = list(range(first, first + W)), [None] * W, []
        for node, source in zip(candidates, sources, strict=True):
            if node.fate == "alive" and beams[source - first] is None:
                beams[source - first] = node
            elif node.fate == "alive":
                others.append((node, source))
        free = [seat for seat in range(W) if beams[seat] is None]
        for seat, (node, source) in zip(free, others, strict=False):
            rows[seat], beams[seat] = source, node
        return rows, beams
