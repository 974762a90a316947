"""The character encoder: its model, its objectives, and how well it does them."""

from lab.chars.bottleneck import write_greedily
from lab.chars.chance import chance_levels, score_table
from lab.chars.config import CharEncoderConfig
from lab.chars.corruption import (
    character_ids,
    mask_characters,
    remove_characters,
    restore_characters,
    special_ids,
)
from lab.chars.filling import guess, put_back
from lab.chars.memory import memory_effect
from lab.chars.model import CharEncoder, NextCharacter
from lab.chars.objective import CharacterObjectives, Weights
from lab.chars.scores import CharacterScores, bottleneck_score

__all__ = [
    "CharEncoder",
    "CharEncoderConfig",
    "CharacterObjectives",
    "CharacterScores",
    "NextCharacter",
    "Weights",
    "bottleneck_score",
    "chance_levels",
    "character_ids",
    "guess",
    "mask_characters",
    "memory_effect",
    "put_back",
    "remove_characters",
    "restore_characters",
    "score_table",
    "special_ids",
    "write_greedily",
]
