"""All of a visual-token model in one module, as a run holds it: encoder, codebook, decoder, denoiser.

Letters: B lines, T tokens, V words, n cells a token, K colours, C channels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lab.config import AtLeast
from lab.diffusion.codebook import Codebook
from lab.diffusion.codes import check_sizes, collision_report
from lab.diffusion.denoiser import Denoiser, DenoiserConfig
from lab.diffusion.learned_codes import Autoencoder, Code, FixedEncoder
from lab.diffusion.lines import LineLengths
from lab.nn.model import Model

CODE = ("vocab_size", "grid", "num_colours", "code", "code_seed")  # what stages of one code share


@dataclass(frozen=True)
class VisualDiffusionConfig(DenoiserConfig):
    """A denoiser's sizes and parts, and beside them the code.

    code          how tokens are drawn: "linear", "random" (from `code_seed`), or "learned"
    code_seed     of a random code
    longest_line  tokens in the longest line of the text, of which the model knows how many have each length; filled in
                  when the text is known

    Raises ValueError for what cannot be built; the message names the field.
    """

    code: Code = "linear"
    code_seed: Annotated[int, AtLeast(0)] = 0
    longest_line: Annotated[int, AtLeast(0)] = 0

    def __post_init__(self):
        super().__post_init__()
        check_sizes(self.vocab_size, self.num_cells, self.num_colours)


class VisualDiffusion(Model):
    """Encoder, codebook and decoder (`autoencoder`), `denoiser`, and the `lengths` of lines of the text.

    The code is that of the encoder's weights. After these have changed, `refresh` lets the denoiser draw with it.

    >>> from lab.nn import TransformerConfig
    >>> stack = TransformerConfig(50, width=8, num_heads=2, feed_forward=16)
    >>> model = VisualDiffusion(VisualDiffusionConfig(stack))
    >>> cells = model.codebook().encode(torch.tensor([[7, 9, 3]]))
    >>> model(cells).argmax(-1).tolist()
    [[7, 9, 3]]
    """

    def __init__(self, config: VisualDiffusionConfig):
        super().__init__()
        c, sizes = config, {"grid": config.grid, "num_colours": config.num_colours}
        self.config = c
        self.autoencoder = Autoencoder(c.vocab_size, code=c.code, seed=c.code_seed, **sizes)
        if collision_report(self.autoencoder.encoder.patterns()):  # of a learned code, before the first stage
            book = Codebook.random(c.vocab_size, **sizes)
        else:
            book = self.codebook()
        self.denoiser = CodedDenoiser(c, book)
        self.register_buffer("line_lengths", torch.zeros(c.longest_line + 1, dtype=torch.int64))

    def forward(self, cells: Tensor, **seen) -> Tensor:
        """The denoiser's answer: see `Denoiser.forward`."""
        return self.denoiser(cells, **seen)

    def codebook(self) -> Codebook:
        """The code as it stands; ValueError where two ids share a pattern."""
        return self.autoencoder.codebook()

    def refresh(self) -> None:
        """Let the denoiser draw with the code as it stands; while words share a pattern it keeps the one it had.

        Raises ValueError when a code that nobody learns is not what the config says, or the lengths are no counts.
        """
        patterns = self.autoencoder.encoder.patterns()
        _ = self.lengths
        if torch.equal(patterns, self.denoiser.patterns):
            return
        if isinstance(self.autoencoder.encoder, FixedEncoder):
            raise ValueError(f"the patterns are not those of the {self.config.code} code of its config")
        if not collision_report(patterns):
            self.denoiser.set_codebook(self.codebook())
            self.denoiser.to(self.denoiser.from_cells.weight.dtype)  # its new tables too

    @contextmanager
    def learning_code(self) -> Iterator[None]:
        """Within, a gradient of the denoiser's answers reaches a learned code, which is first made the denoiser's own.

        Raises ValueError when words have come to share a pattern.
        """
        self.refresh()
        encoder, denoiser = self.autoencoder.encoder, self.denoiser
        if not torch.equal(encoder.patterns(), denoiser.patterns):
            self.codebook()  # says which
        if self.config.code == "learned":
            denoiser.code = straight_through(
                encoder.logits(torch.arange(self.config.vocab_size, device=denoiser.patterns.device))
            )
        try:
            yield
        finally:
            denoiser.code = None

    @property
    def lengths(self) -> LineLengths:
        """How many tokens lines have, `<s>` and `</s>` not counted."""
        return LineLengths(tuple(self.line_lengths.tolist()))

    def count_lines(self, lines: Sequence[Sequence[int]]) -> None:
        """Take the lengths of encoded lines, `<s>` to `</s>`, of which the longest must be the config's."""
        self.line_lengths.copy_(torch.tensor(LineLengths.of(lines).counts))

    @torch.no_grad()
    def start_from(self, earlier: "VisualDiffusion", *, denoiser: bool = True) -> None:
        """Take over the weights of an earlier stage: the code, its decoder, and with `denoiser` all the others.

        Raises ValueError for a code or a denoiser of another config, and for a code in which words share a pattern.
        """
        if not isinstance(earlier, VisualDiffusion):
            raise ValueError(
                f"visual tokens start from a run of visual tokens, got a {type(earlier).__name__}"
            )
        names = [field.name for field in fields(self.config)] if denoiser else CODE
        if differ := [name for name in names if getattr(earlier.config, name) != getattr(self.config, name)]:
            raise ValueError(f"the model to start from differs from this one in {', '.join(differ)}")
        earlier.codebook()
        self.autoencoder.load_state_dict(earlier.autoencoder.state_dict())
        if denoiser:
            self.denoiser.load_state_dict(earlier.denoiser.state_dict())
        self.refresh()


class CodedDenoiser(Denoiser):
    """A denoiser through which, while `code` is set, a gradient reaches the encoder: straight through the cells.

    Only through tokens that are wholly visible: of a token that is partly blank, the cells that are not.
    """

    code: Tensor | None = None  # (V, n, K): 0 throughout, with the gradient of how likely each colour is

    def embed(self, cells: Tensor, alpha: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """Cells `(B, T, n)` -> `(B, T, C)`, each token by itself."""
        x = super().embed(cells, alpha, given)
        if self.code is None:
            return x
        ids = self.ids(cells)  # (B, T)
        nothing = self.code[ids.clamp_min(0)] * (ids >= 0)[..., None, None]  # (B, T, n, K)
        return x + self.from_cells(F.pad(nothing, (0, self.states - self.config.num_colours)).flatten(-2))


def straight_through(logits: Tensor) -> Tensor:
    """Zeros with the gradient of softmax(logits) `(..., K)`: added to hard cells, they let these learn as soft ones."""
    soft = logits.softmax(-1)
    return soft - soft.detach()
