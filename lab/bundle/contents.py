"""A run in memory, and the bytes of the files that hold it."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from lab.bundle.experiment import KINDS, Experiment
from lab.bundle.step_folder import BundleError
from lab.text import Tokenizer, tokenizer_from_json
from lab.train import parallel
from lab.train.state import TrainingState

OPTIMIZER, RANDOM = "optimizer/", "random/"  # what the names in training.safetensors begin with


@dataclass
class Run:
    """All of a run: what was asked, what came of it, and what training needs to go on.

    `metrics` is a list of dicts, one a logged step (`asdict(step)`). `random` holds the states of the random
    generators when the run was saved; None in a run that was never saved.
    """

    experiment: Experiment
    tokenizer: Tokenizer
    model: nn.Module
    training_state: TrainingState
    metrics: list[dict] = field(default_factory=list)
    random: "RandomStates | None" = None


@dataclass(frozen=True)
class RandomStates:
    """The states of Python's, NumPy's and torch's global generators; dropout draws from torch's."""

    python: tuple
    numpy: tuple
    torch: Tensor
    cuda: tuple[Tensor, ...] = ()


def restore_random(run: Run) -> None:
    """Set the global generators to what they were when `run` was saved, so that dropout goes on as it would have.

    Raises ValueError for a run that was never saved.
    """
    if run.random is None:
        raise ValueError("this run was never saved, so there are no random states to go back to")
    random.setstate(run.random.python)
    np.random.set_state(run.random.numpy)
    torch.set_rng_state(run.random.torch)
    for device, state in enumerate(run.random.cuda[: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, device)
    if parallel.rank():  # the bundle holds process 0's; the others must not drop out the same units
        torch.manual_seed(int(torch.randint(1 << 62, ())) + parallel.rank())


def pack(run: Run) -> dict[str, bytes]:
    """The bytes of every file but the manifest; BundleError when the parts of the run do not belong together."""
    experiment, state = run.experiment, run.training_state
    if type(run.model) is not KINDS[experiment.kind][1] or run.model.config != experiment.model:
        raise BundleError("the model is not the one that the experiment describes: its config differs")
    if state.model is not run.model or state.config != experiment.training:
        raise BundleError("the training state belongs to another model or another training config")
    _check_vocabulary(run.tokenizer, experiment)
    weights = {name: t.detach().cpu().contiguous() for name, t in _own_tensors(run.model).items()}
    memories = {OPTIMIZER + name: t.detach().cpu().contiguous() for name, t in state.tensors().items()}
    _check_finite(weights | memories)
    random_tensors, random_values = _pack_random()
    training = {"state": state.values(), "random": random_values}
    try:
        return {
            "experiment.json": _json(experiment.to_json()),
            "tokenizer.json": run.tokenizer.to_json().encode(),
            "model.safetensors": tensors_to_bytes(weights),
            "training.safetensors": tensors_to_bytes(memories | random_tensors),
            "training.json": _json(training),
            "metrics.jsonl": "".join(json.dumps(m, allow_nan=False) + "\n" for m in run.metrics).encode(),
        }
    except (TypeError, ValueError) as error:
        raise BundleError(f"the run cannot be written as JSON: {error}") from error


def unpack(contents: dict[str, bytes], path: Path, device: torch.device | str = "cpu") -> Run:
    """The run that `pack` made `contents` of; the global generators are left as they are.

    Raises BundleError, naming the file under `path`, for contents that do not make a run.
    """
    with _naming(path / "experiment.json"):
        experiment = Experiment.from_json(json.loads(contents["experiment.json"]))
    with _naming(path / "tokenizer.json"):
        tokenizer = tokenizer_from_json(contents["tokenizer.json"].decode())
        _check_vocabulary(tokenizer, experiment)
    with _naming(path / "model.safetensors"):
        with torch.random.fork_rng(devices=[]):  # initial weights draw random numbers
            model = KINDS[experiment.kind][1](experiment.model)
        _load_weights(model, tensors_from_bytes(contents["model.safetensors"]))
        model = model.to(device).eval()
    with _naming(path / "training.json"):
        training = json.loads(contents["training.json"])
        counts, random_values = training["state"], training["random"]
    with _naming(path / "training.safetensors"):
        tensors = tensors_from_bytes(contents["training.safetensors"])
        _check_finite(tensors)
        memories = {n.removeprefix(OPTIMIZER): t for n, t in tensors.items() if n.startswith(OPTIMIZER)}
        random_tensors = {n: t for n, t in tensors.items() if not n.startswith(OPTIMIZER)}
        random_states = _unpack_random(random_tensors, random_values)
        state = TrainingState(model, experiment.training)
        state.load(memories, counts)
        state.last_bundle = str(path)
    with _naming(path / "metrics.jsonl"):
        metrics = [json.loads(line) for line in contents["metrics.jsonl"].splitlines()]
        if not all(isinstance(line, dict) for line in metrics):
            raise ValueError("each line must be an object")
    return Run(experiment, tokenizer, model, state, metrics, random_states)


def _own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and buffers, each once: tied weights go by their first name."""
    named, seen = {}, set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            named[name] = tensor
    return named


def _load_weights(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put `tensors` in the place of the model's own, in the number format that they have."""
    own = _own_tensors(model)
    if own.keys() != tensors.keys():
        raise ValueError(f"these weights are missing or too many: {sorted(own.keys() ^ tensors.keys())[:3]}")
    _check_finite(tensors)
    formats = {t.dtype for t in tensors.values() if t.is_floating_point()}
    if len(formats) == 1:
        model.to(formats.pop())  # tables that are not stored follow the weights
    for name, tensor in own.items():
        given = tensors[name]
        both_floats = tensor.is_floating_point() and given.is_floating_point()
        if tensor.shape != given.shape or not (tensor.dtype == given.dtype or both_floats):
            raise ValueError(
                f"{name} must be {tensor.dtype} {tuple(tensor.shape)}, got {given.dtype} {given.shape}"
            )
        # The parameter stays the same object, so tied weights stay tied; the copy is aligned as torch aligns.
        tensor.data = given.clone()
    if hasattr(model, "refresh"):
        model.refresh()  # what follows from the weights, and is not stored


def _check_vocabulary(tokenizer: Tokenizer, experiment: Experiment) -> None:
    if tokenizer.vocab_size != experiment.model.vocab_size:
        raise BundleError(
            f"the tokenizer has {tokenizer.vocab_size} ids, the model {experiment.model.vocab_size}: they do not "
            f"belong together"
        )


def _check_finite(tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise BundleError(
                f"{name} holds numbers that are not finite: the run diverged; use an earlier bundle"
            )


def _pack_random() -> tuple[dict[str, Tensor], dict]:
    """The global generators' states: long ones as tensors, the rest as JSON values."""
    version, words, gauss_next = random.getstate()
    _, key, position, has_gauss, cached = np.random.get_state()
    tensors = {"python": _words(words), "numpy": _words(key), "torch": torch.get_rng_state()}
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    tensors |= {f"cuda/{device}": state for device, state in enumerate(cuda)}
    values = {
        "python": {"version": version, "gauss_next": gauss_next},
        "numpy": {"position": position, "has_gauss": has_gauss, "cached_gaussian": cached},
    }
    return {RANDOM + name: tensor for name, tensor in tensors.items()}, values


def _unpack_random(tensors: dict[str, Tensor], values: dict) -> RandomStates:
    """What `_pack_random` gave, tried on generators of their own, so that bad states fail here."""
    tensors = {name.removeprefix(RANDOM): tensor for name, tensor in tensors.items()}
    cuda = tuple(tensors.pop(f"cuda/{n}") for n in range(len(tensors) - 3))
    words = {name: np.frombuffer(tensors[name].numpy().tobytes(), "<u4") for name in ("python", "numpy")}
    python, numpy = values["python"], values["numpy"]
    states = RandomStates(
        (python["version"], tuple(words["python"].tolist()), python["gauss_next"]),
        ("MT19937", words["numpy"], numpy["position"], numpy["has_gauss"], numpy["cached_gaussian"]),
        tensors["torch"],
        cuda,
    )
    random.Random().setstate(states.python)
    np.random.RandomState().set_state(states.numpy)
    torch.Generator().set_state(states.torch)
    return states


def _words(words) -> Tensor:
    return torch.from_numpy(np.array(words, dtype="<u4").view(np.uint8))


def _json(values: dict) -> bytes:
    return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()


@contextmanager
def _naming(place: Path) -> Iterator[None]:
    """Whatever is wrong with a file's contents becomes a BundleError that names the file."""
    try:
        yield
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        RuntimeError,
        RecursionError,
        SafetensorError,
    ) as error:
        about = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise BundleError(
            f"{place} does not hold what a bundle of this experiment should: {about}"
        ) from error
