"""What a reader asks a model to write, and the writing: settings, one draft, and the choice of another token."""

import math
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from lab.config import validate
from lab.decode import BeamSearch, Drawn, Sampling, beam_search, generate
from lab.decode.strategies import Filter

STRATEGIES = ("sample", "greedy", "beam")
ALTERNATIVES = 12  # tokens that are kept to choose from, at each place


@dataclass(frozen=True)
class Settings:
    """Everything the controls hold; `top_k` 0 means all tokens, `filters` are the names of those from outside.

    Greedy takes no notice of temperature, top-k, top-p and min-p; beam search of these, of the penalty, the filters and
    the seed.
    """

    prompt: str = "In the beginning"
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 0.95
    seed: int = 0
    length: int = 120
    strategy: Literal["sample", "greedy", "beam"] = "sample"
    min_p: float = 0.0
    penalty: float = 1.0
    beams: int = 4
    length_penalty: float = 1.0
    filters: tuple[str, ...] = ()

    __post_init__ = validate

    def decoding(self, filters: Mapping[str, Filter] | None = None) -> Sampling | BeamSearch:
        """The strategy of `lab.decode`, with those of the `filters` that are chosen; ValueError for what cannot be."""
        if self.strategy == "beam":
            return BeamSearch(self.beams, self.length_penalty)
        filters = filters or {}
        if missing := [name for name in self.filters if name not in filters]:
            raise ValueError(
                f"there are the filters {list(filters)}, not {', '.join(missing)}: give them to Sampler"
            )
        chosen = tuple(filters[name] for name in self.filters)
        if self.strategy == "greedy":
            return Sampling(0.0, repetition_penalty=self.penalty, filters=chosen)
        return Sampling(self.temperature, self.top_k or None, self.top_p, self.min_p, self.penalty, chosen)


def prompt_ids(tokenizer, prompt: str) -> list[int]:
    """`<s>`, where the tokenizer has one, and the tokens of the prompt."""
    return [*([] if tokenizer.bos_id is None else [tokenizer.bos_id]), *tokenizer.encode(prompt)]


def draw(model: nn.Module, tokenizer, settings: Settings) -> Iterator[Drawn]:
    """The tokens that `settings` gives, one at a time; ends with the line. Of a long prompt the end is read."""
    return generate(
        model,
        prompt_ids(tokenizer, settings.prompt),
        settings.decoding(),
        generator=torch.Generator().manual_seed(settings.seed),
        **_options(tokenizer, settings),
    )


def _options(tokenizer, settings: Settings) -> dict:
    return {
        "max_new_tokens": settings.length,
        "stop_id": tokenizer.eos_id,
        "num_alternatives": ALTERNATIVES,
        "cut_prompt": True,
    }


class Draft:
    """A text that one model writes: begun, stopped, gone on with, changed by hand at any place.

    >>> draft = Draft(model, tokenizer)  # doctest: +SKIP
    >>> for _ in draft.begin(Settings("And God said", seed=1)):  # doctest: +SKIP
    ...     print(draft.text)
    >>> draft.choose(3, draft.drawn[3].alternatives[1][0])  # doctest: +SKIP
    >>> for _ in draft.go_on(Settings(length=20)): ...  # doctest: +SKIP

    `drawn` are the tokens after the prompt, `by_hand` the places of those that a reader chose. One generator serves the
    whole text: stopped and gone on with, it is the same text. After a choice the generator starts from the seed again.
    """

    def __init__(self, model: nn.Module, tokenizer, filters: Mapping[str, Filter] | None = None):
        self.model, self.tokenizer, self.filters = model, tokenizer, filters
        self.settings = Settings("")
        self.prompt: list[int] = []
        self.drawn: list[Drawn] = []
        self.by_hand: set[int] = set()
        self.generator = torch.Generator().manual_seed(0)

    @property
    def text(self) -> str:
        """The prompt and what was written, as plain text."""
        return self.settings.prompt + self.tokenizer.decode(self.tokens)

    @property
    def tokens(self) -> list[int]:
        return [step.token for step in self.drawn]

    @property
    def ended(self) -> bool:
        """Whether the line has come to its end, `</s>`."""
        return bool(self.drawn) and self.drawn[-1].token == self.tokenizer.eos_id

    def begin(self, settings: Settings) -> Iterator[None]:
        """Write anew, a step at a time. Raises ValueError, then or at the first step, for what cannot be written."""
        prompt = prompt_ids(self.tokenizer, settings.prompt)  # which may fail, and then the old text stays
        self.settings, self.prompt, self.drawn, self.by_hand = settings, prompt, [], set()
        self.generator.manual_seed(settings.seed)
        return self._write(settings)

    def go_on(self, settings: Settings) -> Iterator[None]:
        """Write `settings.length` tokens more, by these settings but for the prompt.

        Raises ValueError where the line has ended.
        """
        if self.ended:
            raise ValueError("the line has ended: choose another token to go on from, or generate a new one")
        if not self.prompt:
            return self.begin(settings)
        self.settings = replace(settings, prompt=self.settings.prompt)
        return self._write(self.settings)

    def choose(self, place: int, token: int) -> None:
        """Put another token at a place; what stood behind it is gone.

        Raises ValueError for a token that is not among the alternatives of that place.
        """
        if not 0 <= place < len(self.drawn):
            raise ValueError(f"there are the places 0 .. {len(self.drawn) - 1}, got {place}")
        # What stood there stays among the alternatives, so that it can be taken back.
        pairs = tuple(self.alternatives(place))
        shares = dict(pairs)
        if token not in shares:
            raise ValueError(
                f"token {token} is not among the alternatives at place {place}: {sorted(shares)}"
            )
        chosen = replace(
            self.drawn[place], token=token, log_probability=math.log(shares[token]), alternatives=pairs
        )
        self.drawn = [*self.drawn[:place], chosen]
        self.by_hand = {other for other in self.by_hand if other < place} | {place}
        self.generator.manual_seed(self.settings.seed)

    def alternatives(self, place: int) -> list[tuple[int, float]]:
        """The tokens to choose from at a place, likeliest first, with the model's own probabilities."""
        step = self.drawn[place]
        shares = dict(step.alternatives) | {step.token: step.probability}
        return sorted(((i, p) for i, p in shares.items() if p > 0), key=lambda pair: -pair[1])

    def random_state(self) -> str:
        """Where the generator stands, as text."""
        return b64encode(bytes(self.generator.get_state().tolist())).decode()

    def set_random_state(self, state: str) -> None:
        """Put the generator where `random_state` found it. Raises ValueError for a text that says no such thing."""
        try:
            self.generator.set_state(torch.tensor(list(b64decode(state, validate=True)), dtype=torch.uint8))
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"the random state cannot be read: {error}") from None

    def _write(self, settings: Settings) -> Iterator[None]:
        begun, ids = len(self.drawn), [*self.prompt, *self.tokens]
        decoding, options = settings.decoding(self.filters), _options(self.tokenizer, settings)
        if isinstance(decoding, BeamSearch):
            for line in leading(beam_search(self.model, [ids], decoding, **options)):
                self.drawn[begun:] = line
                yield
            return
        for step in generate(self.model, ids, decoding, generator=self.generator, **options):
            self.drawn.append(step)
            yield


def leading(steps: Iterator) -> Iterator[list[Drawn]]:
    """From each step of a beam search over one prompt the line that leads; at its end the line that won.

    Beam search filters nothing, so all of the probability is kept.
    """
    for (step,) in steps:
        if step.over:
            line = step.hypotheses[0].steps
        else:
            best = next(one for one in step.candidates if one.fate == "alive")
            line = [(one.token, one.log_probability, one.alternatives) for one in best.path]
        yield [Drawn(*values) for values in line]
