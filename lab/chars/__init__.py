"""The character encoder: its model, its objectives, and how well it does them."""

from lab.chars.batches import (
    character_batches,
    character_rows,
    in_order,
    passages,
    running_rows,
    single_rows,
)
from lab.chars.chance import Chance, chance_levels, score_table
from lab.chars.losses import (
    Memory,
    bottleneck_loss,
    character_loss,
    clm_loss,
    head_loss,
    mlm_loss,
    random_chunks,
    reconstruction_loss,
    restoration_loss,
)
from lab.chars.memory import MemoryEffect, memory_effect
from lab.chars.objective import CharacterObjectives, Weights
from lab.chars.scores import (
    CharacterScores,
    Exact,
    Found,
    Guessed,
    NextCharacter,
    bottleneck_score,
    character_scores,
    clm_score,
    mlm_score,
    reconstruction_score,
    restoration_score,
)

__all__ = [
    "Chance",
    "CharacterObjectives",
    "CharacterScores",
    "Exact",
    "Found",
    "Guessed",
    "Memory",
    "MemoryEffect",
    "NextCharacter",
    "Weights",
    "bottleneck_loss",
    "bottleneck_score",
    "chance_levels",
    "character_batches",
    "character_loss",
    "character_rows",
    "character_scores",
    "clm_loss",
    "clm_score",
    "head_loss",
    "in_order",
    "memory_effect",
    "mlm_loss",
    "mlm_score",
    "passages",
    "random_chunks",
    "reconstruction_loss",
    "reconstruction_score",
    "restoration_loss",
    "restoration_score",
    "running_rows",
    "score_table",
    "single_rows",
]
