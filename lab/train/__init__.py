"""Training: the loop, the optimizers, several processes."""

from lab.train.loop import Step, TrainConfig, TrainingDiverged, TrainingState, train

__all__ = ["Step", "TrainConfig", "TrainingDiverged", "TrainingState", "train"]
