"""Training: objectives, the loop, its state, the optimizers, several processes; predicting the next token."""

from lab.train.loop import Report, TrainingDiverged, train
from lab.train.material import TextMaterial, text_material, trained_tokenizer
from lab.train.next_token import NextToken, next_token_loss, summed_nats
from lab.train.objective import Loss, Objective, Step
from lab.train.starting import config_differences, take_over
from lab.train.state import TrainConfig, TrainingState

__all__ = [
    "Loss",
    "NextToken",
    "Objective",
    "Report",
    "Step",
    "TextMaterial",
    "TrainConfig",
    "TrainingDiverged",
    "TrainingState",
    "config_differences",
    "next_token_loss",
    "summed_nats",
    "take_over",
    "text_material",
    "train",
    "trained_tokenizer",
]
