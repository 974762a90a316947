"""Discrete diffusion over tokens drawn as small grids of colours."""

from lab.diffusion.bound import score_bound
from lab.diffusion.codebook import Codebook
from lab.diffusion.denoiser import Denoiser, DenoiserConfig
from lab.diffusion.learned_codes import Autoencoder
from lab.diffusion.lines import LineLengths, line_batches
from lab.diffusion.losses import diffusion_loss
from lab.diffusion.noise import Absorbing, Uniform
from lab.diffusion.objective import Diffusion, Reconstruction, Tuning
from lab.diffusion.rewards import Judge, Reward
from lab.diffusion.sampler import canvas, denoise
from lab.diffusion.visual import VisualDiffusion, VisualDiffusionConfig
from lab.diffusion.writing import write_line

__all__ = [
    "Absorbing",
    "Autoencoder",
    "Codebook",
    "Denoiser",
    "DenoiserConfig",
    "Diffusion",
    "Judge",
    "LineLengths",
    "Reconstruction",
    "Reward",
    "Tuning",
    "Uniform",
    "VisualDiffusion",
    "VisualDiffusionConfig",
    "canvas",
    "denoise",
    "diffusion_loss",
    "line_batches",
    "score_bound",
    "write_line",
]
