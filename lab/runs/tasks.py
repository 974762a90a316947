"""What an objective asks of a run: its loss, what is measured on the way, and what comes of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from lab import bundle
from lab.bundle import BundleError, NextToken, Run
from lab.bundle.run_folder import newest, step_of
from lab.bundle.step_folder import read_manifest
from lab.chars import CharacterObjectives, character_loss, character_rows, character_scores, in_order
from lab.data.batch import Batch
from lab.diffusion.rewards import Judge
from lab.diffusion.stages import (
    Diffusion,
    Reconstruction,
    Tuning,
    diffusion_stage,
    line_bound,
    reconstruction_stage,
    recovered,
    tuning_stage,
)
from lab.runs.folder import find
from lab.runs.prepared import Prepared
from lab.runs.tables import Outcome, outcome
from lab.score import next_token_loss, score_lines
from lab.speech.recognition import Recognition, recognition_loss
from lab.speech.transcribe import transcribed
from lab.train import TrainingState, parallel
from lab.train.draws import seeded_by_batch
from lab.train.loop import LossFunction

EVALUATED_LINES = 200  # validation lines that `evaluate_every` looks at; the score at the end takes more
EVALUATED_UTTERANCES = 100


@dataclass(frozen=True)
class Task:
    """`loss` as `lab.train.train` takes it; `evaluate(model)`, lower is better; `outcome(model)` at the end.

    `told` holds what else there is to say of the step just taken, for its line in the metrics.
    """

    loss: LossFunction
    evaluate: Callable[[nn.Module], float]
    outcome: Callable[[nn.Module], Outcome]
    told: dict = field(default_factory=dict)


def task(prepared: Prepared, state: TrainingState) -> Task:
    """What this experiment asks for; `state` counts the steps."""
    return TASKS[type(prepared.experiment.objective)](prepared, state)


def _next_token(prepared: Prepared, state: TrainingState) -> Task:
    """Bits a character of the validation lines."""
    if prepared.experiment.kind == "encoder":
        raise ValueError(
            "an encoder sees the token that it should predict: runs are of models that predict the next one"
        )
    tokenizer, lines = prepared.tokenizer, prepared.splits.validation
    return Task(
        next_token_loss,
        lambda model: score_lines(model, tokenizer, lines[:EVALUATED_LINES]).bits_per_char,
        lambda model: score_lines(model, tokenizer, lines),
    )


def _reconstruction(prepared: Prepared, state: TrainingState) -> Task:
    """The share of the vocabulary that does not come back."""
    loss = reconstruction_stage(lambda: state.step, prepared.experiment.training.steps)
    return Task(loss, lambda model: 1 - recovered(model).accuracy, recovered)


def _diffusion(prepared: Prepared, state: TrainingState) -> Task:
    """The bound in bits a character of the validation lines."""
    experiment = prepared.experiment
    stage = experiment.objective
    if experiment.model.code == "learned" and experiment.start is None and not stage.train_codes:
        raise ValueError(
            "a learned code comes from a run of the first stage: train one with Reconstruction(), name it as the start "
            "of this one, or let this one learn the code with train_codes=True"
        )
    loss = diffusion_stage(
        stage, experiment.model, lambda: state.batches_taken, experiment.seed, parallel.rank()
    )
    return _bounded(prepared, loss, stage)


def _tuning(prepared: Prepared, state: TrainingState) -> Task:
    """The bound, as of the second stage; each step also tells what was written."""
    experiment = prepared.experiment
    stage, told = experiment.objective, {}
    if experiment.start is None:
        raise ValueError("tuning begins with a trained denoiser: name a run of the second stage as the start")
    first = earlier(prepared)
    if isinstance(first.experiment.objective, Reconstruction):
        raise ValueError(
            f"{prepared.start} is of the first stage, in which the denoiser has learned nothing yet"
        )
    device = next(state.model.parameters()).device
    judge = _judge(prepared, stage.judge, device) if stage.judge else None
    loss = tuning_stage(
        stage, state.model, first.model.denoiser.to(device), judge, lambda: state.batches_taken, told,
        experiment.seed, parallel.rank(),
    )  # fmt: skip
    return replace(_bounded(prepared, loss, stage), told=told)


def _judge(prepared: Prepared, name: str, device) -> Judge:
    """The autoregressive model of that run, and what it says of validation lines that it can read at once."""
    run = bundle.load(find(name, prepared.folder), device=device)
    if run.experiment.objective != NextToken() or outcome(run) is None:
        raise ValueError(
            f"the judge must be a run that learned to predict the next token to its end, got {name!r}"
        )
    if run.tokenizer.to_json() != prepared.tokenizer.to_json():
        raise ValueError(
            f"the judge {name!r} has another tokenizer: train it on the same corpus, split and vocabulary"
        )
    lines = prepared.tokenizer.encode_lines(prepared.splits.validation[:EVALUATED_LINES])
    return Judge.of(run.model, [ids for ids in lines if len(ids) <= run.model.config.context])


def _bounded(prepared: Prepared, loss: LossFunction, stage: Diffusion | Tuning) -> Task:
    """`loss`, with the bound in bits a character of the validation lines."""
    bound, lines = (
        partial(line_bound, tokenizer=prepared.tokenizer, draws=stage.draws),
        prepared.splits.validation,
    )
    return Task(
        loss,
        lambda model: bound(model, lines=lines[:EVALUATED_LINES]).bits_per_char,
        lambda model: bound(model, lines=lines[: stage.scored_lines or None]),
    )


def _characters(prepared: Prepared, state: TrainingState) -> Task:
    """All scores of a character encoder; on the way, the weighted sum of the losses of some validation lines."""
    experiment, tokenizer = prepared.experiment, prepared.tokenizer
    objectives, config = experiment.objective, experiment.model
    _check_characters(prepared)
    told, generator = {}, torch.Generator()
    loss = character_loss(
        objectives,
        tokenizer,
        generator,
        progress=lambda: state.step / experiment.training.steps,
        begin=seeded_by_batch(generator, lambda: state.batches_taken, experiment.seed, parallel.rank()),
        told=told,
    )

    def trained(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        found = loss(model, batch)
        if "clm" in told:  # what the metrics call bits a character is then that of the decoder
            told["bits_per_char"] = told["clm"] / math.log(2)
        return found

    alone = replace(objectives, memory=0, weights=objectives.weights_at(1.0), last_weights=None)
    lines = tokenizer.encode_lines(prepared.splits.validation[:EVALUATED_LINES])
    rows, seed = [row for ids in lines for row in character_rows(ids, config.context)], torch.Generator()
    held_out_loss = character_loss(alone, tokenizer, seed)

    def evaluate(model: nn.Module) -> float:
        seed.manual_seed(experiment.seed)
        device, nats, chars = next(model.parameters()).device, 0.0, 0
        for batch in in_order(rows, config.pad_id):
            batch_nats, count = held_out_loss(model, batch.to(device))
            nats, chars = nats + batch_nats.item(), chars + count
        return nats / chars

    scores = partial(
        character_scores, tokenizer=tokenizer, lines=prepared.splits.validation, objectives=objectives
    )
    return Task(trained, evaluate, scores, told)


def _check_characters(prepared: Prepared) -> None:
    """ValueError where the model, the tokenizer or the processes do not fit the objectives."""
    experiment = prepared.experiment
    objectives, config = experiment.objective, experiment.model
    asked = max(objectives.weights_at(share).bottleneck for share in (0.0, 1.0))
    if experiment.data.tokenizer != "char":
        raise ValueError(
            f'a character encoder reads characters: tokenizer must be "char", got {experiment.data.tokenizer!r}'
        )
    if asked and not config.latents:
        raise ValueError(
            "this model has no bottleneck: set latents and latent_width, or the weight of bottleneck to 0"
        )
    if objectives.chunk > config.context:
        raise ValueError(
            f"a chunk of {objectives.chunk} characters does not fit in a context of {config.context}"
        )
    if objectives.memory > config.memory_slots:
        raise ValueError(
            f"a memory of {objectives.memory} lines, but the model has memory_slots={config.memory_slots}"
        )
    if objectives.memory and parallel.world_size() > 1:
        raise ValueError(
            f"lines with a memory must stay together: train in one process, not {parallel.world_size()}"
        )


def _recognition(prepared: Prepared, state: TrainingState) -> Task:
    """Wrong characters and words of validation utterances; on the way, wrong characters of some by CTC alone."""
    objective, told = prepared.experiment.objective, {}
    spoken, attention = prepared.speech.validation, objective.ctc_weight < 1
    if not spoken:
        raise ValueError(f"{prepared.speech.name} has no validation part: there is nothing to measure")
    few = spoken[:EVALUATED_UTTERANCES]
    measured = partial(transcribed, tokenizer=prepared.tokenizer)
    return Task(
        recognition_loss(objective.ctc_weight, told),
        lambda model: measured(model, utterances=few, attention=False).ctc_cer,
        lambda model: measured(model, utterances=spoken[: objective.scored or None], attention=attention),
        told,
    )


TASKS = {
    NextToken: _next_token,
    Reconstruction: _reconstruction,
    Diffusion: _diffusion,
    Tuning: _tuning,
    CharacterObjectives: _characters,
    Recognition: _recognition,
}


def begin_from(prepared: Prepared, model: nn.Module) -> None:
    """Give a fresh model the weights of the run that its experiment starts from, if it starts from one.

    Raises what `earlier` raises, and ValueError when that run's model is of another shape.
    """
    if prepared.experiment.start is None:
        return
    first = earlier(prepared)
    try:
        model.start_from(first.model, denoiser=not isinstance(first.experiment.objective, Reconstruction))
    except ValueError as error:
        raise ValueError(f"cannot start from {prepared.start}: {error}") from error


def earlier(prepared: Prepared) -> Run:
    """The run that the experiment starts from.

    Raises BundleError when it cannot be loaded, and ValueError when it is not trained to its end, is another by now, or
    is of another kind or tokenizer.
    """
    experiment, path = prepared.experiment, prepared.start
    try:
        path = path if step_of(path) is not None else newest(path)
        weights, run = read_manifest(path)["files"]["model.safetensors"]["sha256"], bundle.load(path)
    except BundleError as error:
        raise BundleError(f"the run to start from cannot be loaded: {error}") from error
    problem = None
    if weights != experiment.start.weights:
        problem = "it has been trained anew since: make the experiment from a Plan again"
    elif outcome(run) is None:
        problem = f"it stopped at step {run.training_state.step}: train it to its end first"
    elif run.tokenizer.to_json() != prepared.tokenizer.to_json():
        problem = "it has another tokenizer: train it on the same corpus, split and vocabulary"
    elif run.experiment.kind != experiment.kind:
        problem = f"it holds a model of kind {run.experiment.kind!r}, not {experiment.kind!r}"
    if problem:
        raise ValueError(f"cannot start from {path}: {problem}")
    return run
