"""What a model is trained to do, and how well it does it, in figures that can be compared."""

from lab.objectives.character_batches import (
    character_batches,
    character_rows,
    in_order,
    passages,
    running_rows,
    single_rows,
)
from lab.objectives.character_chance import Chance, chance_levels, score_table
from lab.objectives.character_losses import (
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
from lab.objectives.character_memory import MemoryEffect, memory_effect
from lab.objectives.character_scores import (
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
from lab.objectives.characters import CharacterObjectives, Weights
from lab.objectives.draws import seeded_by_batch
from lab.objectives.language import Score, next_token_loss, score_lines, scoring_windows

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
    "Score",
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
    "next_token_loss",
    "passages",
    "random_chunks",
    "reconstruction_loss",
    "reconstruction_score",
    "restoration_loss",
    "restoration_score",
    "running_rows",
    "score_lines",
    "score_table",
    "scoring_windows",
    "seeded_by_batch",
    "single_rows",
]
