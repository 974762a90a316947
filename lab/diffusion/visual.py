"""All of a visual-token model in one module, as a bundle holds it: encoder, codebook, decoder, denoiser, noise.

Letters: B lines, T tokens, V words, n cells a token, K colours, C channels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.diffusion.codebook import Codebook
from lab.diffusion.codes import collision_report
from lab.diffusion.denoiser import Denoiser, DenoiserConfig
from lab.diffusion.learned_codes import Autoencoder, AutoencoderConfig, FixedEncoder
from lab.diffusion.lines import LineLengths
from lab.diffusion.noise import GRANULARITIES, Absorbing, Uniform
from lab.nn.config import check_whole

NOISES = {"absorbing": Absorbing, "uniform": Uniform}


@dataclass(frozen=True)
class VisualDiffusionConfig(DenoiserConfig):
    """A denoiser's sizes and parts, and beside them the code and the noise.

    code          how tokens are drawn: "linear", "random" (from `code_seed`), or "learned"
    rows          of the grid; a row has num_cells / rows cells
    schedule      of the noise: "linear", "cosine" or "log-linear"
    granularity   what is lost at once: a whole "token" or a single "cell" (under uniform noise always a cell)
    longest_line  tokens in the longest line of the text, of which the model knows how many have each length;
                  `lab.runs.prepare` fills it in

    Raises ValueError for what cannot be built; the message names the field.
    """

    code: str = "linear"
    code_seed: int = 0
    rows: int = 5
    schedule: str = "linear"
    granularity: str = "token"
    longest_line: int = 0

    def __post_init__(self):
        super().__post_init__()
        for name, least in {"code_seed": 0, "rows": 1, "longest_line": 0}.items():
            check_whole(name, getattr(self, name), least)
        if self.num_cells % self.rows:
            raise ValueError(f"num_cells {self.num_cells} do not make a grid of {self.rows} rows")
        if self.granularity not in GRANULARITIES:
            raise ValueError(
                f"granularity must be one of {', '.join(GRANULARITIES)}; got {self.granularity!r}"
            )
        if self.noise == "uniform" and self.granularity == "token":
            raise ValueError("uniform noise changes single cells: granularity must be 'cell', got 'token'")
        self.autoencoder(), self.make_noise()  # each refuses what it cannot build

    def autoencoder(self) -> AutoencoderConfig:
        """Encoder and decoder, the first stage."""
        columns = self.num_cells // self.rows
        return AutoencoderConfig(
            self.vocab_size, self.rows, columns, self.num_colours, self.code, self.code_seed
        )

    def make_noise(self) -> Absorbing | Uniform:
        """What the cells go through."""
        return NOISES[self.noise](self.num_colours, self.schedule)


class VisualDiffusion(nn.Module):
    """Encoder, codebook and decoder (`autoencoder`), `denoiser`, `noise`, and the `lengths` of lines of the text.

    The code is that of the encoder's weights. After these have changed, `refresh` lets the denoiser draw with it.

    >>> model = VisualDiffusion(VisualDiffusionConfig(50, width=8, num_heads=2, feed_forward=16))
    >>> cells = model.codebook().encode(torch.tensor([[7, 9, 3]]))
    >>> model(cells).argmax(-1).tolist()
    [[7, 9, 3]]
    """

    def __init__(self, config: VisualDiffusionConfig):
        super().__init__()
        self.config, self.noise = config, config.make_noise()
        self.autoencoder = Autoencoder(config.autoencoder())
        try:
            book = self.codebook()
        except ValueError:  # before the first stage words of a learned code may share a pattern
            grid = (config.rows, config.num_cells // config.rows)
            book = Codebook.random(config.vocab_size, grid=grid, num_colours=config.num_colours)
        self.denoiser = CodedDenoiser(config, book)
        self.register_buffer("line_lengths", torch.zeros(config.longest_line + 1, dtype=torch.int64))

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
        patterns, known = self.autoencoder.encoder.patterns(), self.denoiser.patterns
        _ = self.lengths
        if torch.equal(patterns, known):
            return
        if isinstance(self.autoencoder.encoder, FixedEncoder):
            raise ValueError(
                f"the encoder's patterns are not those of the {self.config.code} code of its config"
            )
        if not collision_report(patterns):
            self.denoiser.set_codebook(self.codebook())
            self.denoiser.to(self.denoiser.from_cells.weight.dtype)  # its new tables too

    @property
    def lengths(self) -> LineLengths:
        """How many tokens lines have, `<s>` and `</s>` not counted."""
        return LineLengths(tuple(self.line_lengths.tolist()))

    def count_lines(self, lines: list[list[int]]) -> None:
        """Take the lengths of encoded lines, `<s>` to `</s>`; ValueError where config.longest_line is another."""
        counts = LineLengths.of(lines).counts
        if len(counts) != len(self.line_lengths):
            raise ValueError(
                f"the longest of these lines has {len(counts) - 1} tokens, the config says longest_line "
                f"{self.config.longest_line}"
            )
        self.line_lengths.copy_(torch.tensor(counts))

    @torch.no_grad()
    def start_from(self, earlier: "VisualDiffusion", *, denoiser: bool = True) -> None:
        """Take over the weights of an earlier stage: the code, its decoder, and with `denoiser` all the others.

        Raises ValueError for a code or a denoiser of another config, and for a code in which words share a pattern.
        """
        parts = [(self.autoencoder, earlier.autoencoder)] + [(self.denoiser, earlier.denoiser)] * denoiser
        for mine, theirs in parts:
            if mine.config != theirs.config:
                raise ValueError(
                    f"the earlier stage has {theirs.config}, this one {mine.config}: they must be equal"
                )
        earlier.codebook()
        for mine, theirs in parts:
            mine.load_state_dict(theirs.state_dict())
        self.refresh()

    def new_cache(self, batch: int, device=None):
        """There is none; the error says what to do instead."""
        raise ValueError(
            "a denoiser writes all places of a line at once: use lab.diffusion.writing.write_line"
        )

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())


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
